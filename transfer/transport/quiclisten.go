package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"

	"github.com/quic-go/quic-go"
)

// quicListener hands out the connections of a UDP socket. The socket lives until the last of them has ended.
type quicListener struct {
	pc       net.PacketConn
	t        *quic.Transport
	l        *quic.Listener
	cfg      *tls.Config
	o        ListenOptions
	accepted chan *quicConn

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	run    sync.WaitGroup
	live   sync.WaitGroup // the connections, and the listener itself
	close  func() error
}

// slotKey finds the slot of the admission in a connection's context.
type slotKey struct{}

// ListenQUIC accepts from pc, which it owns, and does the handshakes of cfg. Give it a *net.UDPConn as it is: behind a
// wrapper quic-go cannot use what the kernel offers for speed.
func ListenQUIC(pc net.PacketConn, cfg *tls.Config, o ListenOptions) (Listener, error) {
	if cfg == nil {
		return nil, errors.New("transport: no TLS configuration")
	}
	q := &quicListener{pc: pc, cfg: cfg, o: o.withDefaults(), accepted: make(chan *quicConn)}
	q.ctx, q.cancel = context.WithCancelCause(context.Background())
	q.t = &quic.Transport{
		Conn:                pc,
		VerifySourceAddress: func(a net.Addr) bool { return q.o.shared.busy(addressKey(a)) },
		ConnContext:         q.admit,
	}
	if q.o.ResetKey != [32]byte{} {
		key := quic.StatelessResetKey(q.o.ResetKey)
		q.t.StatelessResetKey = &key
	}
	quietBuffers()
	var err error
	if q.l, err = q.t.Listen(cfg, quicConfig(q.o.HandshakeTimeout/2, q.o.Windows)); err != nil {
		q.t.Close()
		pc.Close()
		return nil, place{QUIC, pc.LocalAddr().String()}.wrap("listen", err)
	}
	q.live.Add(1)
	q.close = sync.OnceValue(q.end)
	q.run.Go(q.serve)
	go func() {
		q.live.Wait()
		q.t.Close()
		pc.Close()
	}()
	return q, nil
}

func (q *quicListener) Addr() net.Addr { return q.pc.LocalAddr() }
func (q *quicListener) Close() error   { return q.close() }

func (q *quicListener) end() error {
	q.cancel(net.ErrClosed)
	err := q.l.Close()
	q.run.Wait()
	for { // what completed its handshake meanwhile
		c, err := q.l.Accept(context.Background())
		if err != nil {
			break
		}
		c.CloseWithError(0, "")
	}
	q.live.Done()
	return err
}

// admit gives a new connection its slot, or refuses it. The client's address may be forged below half of the limits;
// above, VerifySourceAddress has had it proven.
func (q *quicListener) admit(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	release, ok := q.o.shared.try(addressKey(info.RemoteAddr))
	if !ok {
		q.o.Log.Debug("too many handshakes, refused", "remote", info.RemoteAddr.String())
		return nil, errors.New("too many handshakes")
	}
	q.o.Log.Debug("handshake begins", "remote", info.RemoteAddr.String(), "verified", info.AddrVerified)
	context.AfterFunc(ctx, release) // when the handshake fails
	return context.WithValue(ctx, slotKey{}, release), nil
}

// serve takes connections out of quic-go and hands them to Accept.
func (q *quicListener) serve() {
	for {
		c, err := q.l.Accept(q.ctx)
		if err != nil {
			if q.ctx.Err() == nil {
				q.o.Log.Warn("accept failed", "addr", q.pc.LocalAddr().String(), "err", err)
				q.cancel(net.ErrClosed)
			}
			return
		}
		if release, ok := c.Context().Value(slotKey{}).(func()); ok {
			release()
		}
		q.live.Add(1)
		conn, err := newQUICConn(c, q.cfg, q.o.Windows, q.live.Done)
		if err != nil {
			q.o.Log.Debug("connection refused", "remote", c.RemoteAddr().String(), "err", err)
			continue
		}
		select {
		case q.accepted <- conn:
		case <-q.ctx.Done():
			conn.abort()
		}
	}
}

func (q *quicListener) Accept(ctx context.Context) (Conn, error) {
	select {
	case <-q.ctx.Done(): // before a connection that is also ready
		return nil, net.ErrClosed
	default:
	}
	select {
	case c := <-q.accepted:
		return c, nil
	case <-q.ctx.Done():
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
