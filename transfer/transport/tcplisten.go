package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// tcpListener does the handshakes of a net.Listener's connections. Each has a goroutine and one absolute deadline;
// it takes a slot of the admission only when its first byte has come, so that an idle socket costs nothing but
// itself.
type tcpListener struct {
	l        net.Listener
	cfg      *tls.Config
	o        ListenOptions
	accepted chan *tcpConn

	ctx     context.Context // of the handshakes, ends with Close
	cancel  context.CancelCauseFunc
	all     sync.WaitGroup // every goroutine
	pending atomic.Int64   // sockets not handed out
	close   func() error
}

// ListenTCP accepts from l, which it owns, and does the handshakes of cfg.
func ListenTCP(l net.Listener, cfg *tls.Config, o ListenOptions) (Listener, error) {
	if cfg == nil {
		return nil, errors.New("transport: no TLS configuration")
	}
	t := &tcpListener{l: l, cfg: cfg, o: o.withDefaults(), accepted: make(chan *tcpConn)}
	t.ctx, t.cancel = context.WithCancelCause(context.Background())
	t.close = sync.OnceValue(func() error {
		t.cancel(net.ErrClosed)
		err := l.Close()
		t.all.Wait()
		return err
	})
	t.all.Go(t.run)
	return t, nil
}

func (t *tcpListener) Addr() net.Addr { return t.l.Addr() }
func (t *tcpListener) Close() error   { return t.close() }

func (t *tcpListener) Accept(ctx context.Context) (Conn, error) {
	select {
	case <-t.ctx.Done(): // before a connection that is also ready
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-t.accepted:
		return c, nil
	case <-t.ctx.Done():
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

func (t *tcpListener) run() {
	const first, most = 5 * time.Millisecond, time.Second
	wait := first
	for {
		c, err := t.l.Accept()
		if err == nil {
			wait = first
			t.admit(c)
			continue
		}
		if t.ctx.Err() != nil {
			return
		}
		// Out of descriptors, or the client is gone already: the listener itself lives.
		t.o.Log.Warn("accept failed", "addr", t.l.Addr().String(), "err", err)
		if errors.Is(err, net.ErrClosed) { // by somebody else
			t.cancel(net.ErrClosed)
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-t.ctx.Done():
			timer.Stop()
			return
		}
		wait = min(2*wait, most)
	}
}

// admit starts a connection's way, or ends it at once when there are too many.
func (t *tcpListener) admit(c net.Conn) {
	if t.pending.Add(1) > int64(t.o.MaxPending) {
		t.pending.Add(-1)
		c.Close()
		t.o.Log.Debug("too many connections, closed", "remote", c.RemoteAddr().String())
		return
	}
	t.all.Go(func() {
		defer t.pending.Add(-1)
		ctx, cancel := context.WithTimeoutCause(t.ctx, t.o.HandshakeTimeout, silence("not through the handshake in time"))
		defer cancel()
		if err := t.serve(ctx, c); err != nil {
			t.o.Log.LogAttrs(ctx, slog.LevelDebug, "connection refused",
				slog.String("remote", c.RemoteAddr().String()), slog.String("err", err.Error()))
		}
	})
}

func (t *tcpListener) serve(ctx context.Context, c net.Conn) error {
	if c, ok := c.(*net.TCPConn); ok {
		_ = c.SetKeepAliveConfig(keepAlive())
		setUserTimeout(c)
	}
	stop := context.AfterFunc(ctx, func() { c.Close() })
	var first [1]byte
	n, err := c.Read(first[:])
	if n == 0 {
		stop()
		c.Close()
		return fmt.Errorf("nothing came: %w", ofContext(ctx, err))
	}
	release, err := t.o.shared.acquire(ctx, addressKey(c.RemoteAddr()))
	if err != nil || !stop() {
		if release != nil {
			release()
		}
		c.Close()
		return fmt.Errorf("waiting for its turn: %w", context.Cause(ctx))
	}
	conn, err := newTCPConn(ctx, c, t.cfg, true, first[:n])
	release()
	if err != nil {
		<-conn.Done()
		return err
	}
	select {
	case t.accepted <- conn:
		return nil
	case <-ctx.Done():
		conn.abort()
		return fmt.Errorf("nobody took the connection: %w", context.Cause(ctx))
	}
}
