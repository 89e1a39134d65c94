package transporttest

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// pipeListener is a net.Listener of net.Pipes.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

// pipeFront makes the client's end and the relay's.
func pipeFront(context.Context, net.Conn) (near, relay net.Conn, err error) {
	near, relay = net.Pipe()
	return near, relay, nil
}

// tcpFront is pipeFront with a real TCP connection.
func tcpFront(ctx context.Context, _ net.Conn) (near, relay net.Conn, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	near, err = new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	for {
		relay, err = l.Accept()
		if err != nil {
			near.Close()
			return nil, nil, err
		}
		if relay.RemoteAddr().String() == near.LocalAddr().String() {
			return near, relay, nil
		}
		relay.Close() // a stranger
	}
}

// relay carries bytes between a and b until both directions have ended or one fails.
func (f *Faults) relay(wg *sync.WaitGroup, a, b net.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	cut := sync.OnceFunc(func() {
		for _, c := range [...]net.Conn{a, b} {
			if c, ok := c.(*net.TCPConn); ok {
				c.SetLinger(0) // a reset
			}
			c.Close()
		}
		cancel()
	})
	forget := f.onCut(cut)
	var both sync.WaitGroup
	both.Go(func() { f.pump(ctx, cut, b, a) })
	both.Go(func() { f.pump(ctx, cut, a, b) })
	wg.Go(func() {
		both.Wait()
		forget()
		a.Close()
		b.Close()
		cancel()
	})
}

// parcel is some bytes on their way.
type parcel struct {
	b   []byte
	at  time.Time // of arrival
	cut bool      // behind b
}

// pump carries one direction.
func (f *Faults) pump(ctx context.Context, cut func(), dst, src net.Conn) {
	way := make(chan parcel, 64)
	var reader sync.WaitGroup
	reader.Go(func() {
		defer close(way)
		for {
			b := make([]byte, 16<<10)
			n, err := src.Read(b)
			if n > 0 {
				if f.pass(ctx) != nil {
					return
				}
				keep, last, at := f.touch(b[:n])
				select {
				case way <- parcel{b[:keep], at, last}:
				case <-ctx.Done():
					return
				}
			}
			if err == io.EOF {
				if f.pass(ctx) != nil {
					return
				}
				return
			}
			if err != nil {
				cut()
				return
			}
		}
	})
	for p := range way {
		if !sleepUntil(ctx, p.at) {
			continue
		}
		if _, err := dst.Write(p.b); err != nil {
			cut()
		}
		if p.cut {
			f.CutNow()
		}
	}
	reader.Wait()
	if c, ok := dst.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
	} else {
		dst.Close() // a pipe has no half to close
	}
}

// sleepUntil tells whether ctx lived until then.
func sleepUntil(ctx context.Context, at time.Time) bool {
	d := time.Until(at)
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
