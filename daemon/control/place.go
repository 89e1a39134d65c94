package control

import (
	"net"
	"sync"
)

// placed gives its place back when it is closed, once.
type placed struct {
	net.Conn
	once sync.Once
	free chan struct{}
}

func (p *placed) Close() error {
	err := p.Conn.Close()
	p.once.Do(func() { <-p.free })
	return err
}
