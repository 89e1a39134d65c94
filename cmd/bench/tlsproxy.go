package main

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
)

// The TLS of "rsync over TLS": a proxy before the rsync daemon, and one that the client's rsync runs as its remote shell,
// as rsync-ssl does with stunnel or openssl.

// startTLSProxy starts the one before the daemon when it is needed first.
func (b *bench) startTLSProxy(ctx context.Context, port string) (err error) {
	if b.tls != nil {
		return nil
	}
	b.tls, b.tlsAddr, err = b.startPart(ctx, partTLSServe, b.certFile(), "127.0.0.1:"+port)
	return err
}

func tlsServe(args []string) error {
	cfg, err := tlsConfig(args[0])
	if err != nil {
		return err
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		return err
	}
	ready(l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			to, err := net.Dial("tcp", args[1])
			if err != nil {
				complain(err)
				return
			}
			defer to.Close()
			both(c.(*tls.Conn), to.(*net.TCPConn))
		}()
	}
}

// both copies in both directions until both have ended.
func both(a, b halfConn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(a, b)
		_ = a.CloseWrite()
	}()
	_, _ = io.Copy(b, a)
	_ = b.CloseWrite()
	<-done
}

// tlsConnect carries stdin and stdout. It ends when the server does, whatever stdin would still say.
func tlsConnect(args []string) error {
	cfg, err := tlsConfig(args[0])
	if err != nil {
		return err
	}
	c, err := tls.Dial("tcp", args[1], cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	go func() {
		_, _ = io.Copy(c, os.Stdin)
		_ = c.CloseWrite()
	}()
	_, err = io.Copy(os.Stdout, c)
	return err
}
