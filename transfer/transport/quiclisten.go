package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

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
	arrivals *admission // connections that have begun

	ctx    context.Context // ends with Close
	cancel context.CancelCauseFunc
	run    sync.WaitGroup
	live   sync.WaitGroup // the connections, and the listener itself
	close  func() error
}

// arrivalKey finds the arrival in a connection's context.
type arrivalKey struct{}

// arrival is a connection whose handshake is in progress.
type arrival struct {
	addr string

	mu       sync.Mutex // guards the following
	over     bool
	releases []func()
}

// keep has release called when the handshake is over.
func (a *arrival) keep(release func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over {
		release()
		return
	}
	a.releases = append(a.releases, release)
}

// end is called when the handshake is complete, and when the connection ends.
func (a *arrival) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, release := range a.releases {
		release()
	}
	a.over, a.releases = true, nil
}

// ListenQUIC accepts from pc, which it owns, and does the handshakes of cfg. Give it a *net.UDPConn as it is: behind a
// wrapper quic-go cannot use what the kernel offers for speed.
func ListenQUIC(pc net.PacketConn, cfg *tls.Config, o ListenOptions) (Listener, error) {
	if cfg == nil {
		return nil, errors.New("transport: no TLS configuration")
	}
	q := &quicListener{pc: pc, cfg: cfg, o: o.withDefaults(), accepted: make(chan *quicConn)}
	q.ctx, q.cancel = context.WithCancelCause(context.Background())
	q.arrivals = newAdmission(4*q.o.Handshakes, q.o.Handshakes)
	q.t = &quic.Transport{Conn: merging(pc), VerifySourceAddress: q.verify, ConnContext: q.arrive}
	if q.o.ResetKey != [32]byte{} {
		key := quic.StatelessResetKey(q.o.ResetKey)
		q.t.StatelessResetKey = &key
	}
	quietBuffers()
	var err error
	if q.l, err = q.t.Listen(q.admitting(cfg), quicConfig(q.o.HandshakeTimeout/2, q.o.Windows)); err != nil {
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

// quicLease is for how long a QUIC handshake holds its slot at most. What is left of it after that is waiting for the
// client, which may be gone without a word; it still counts as an arrival.
const quicLease = 500 * time.Millisecond

// verify tells whether a client has to prove its address first, since somebody may be forging it: when too many have
// begun, or too many of that address.
func (q *quicListener) verify(a net.Addr) bool {
	total, of := q.arrivals.count(addressKey(a))
	return total >= (q.o.Handshakes+1)/2 || of >= (q.o.Handshakes+3)/4
}

// arrive is called with the first datagram of a connection. There is no way to let it wait here, and a refusal has a
// price: a ClientHello is two datagrams, so if one is refused and the other one is not, the rest is a connection that
// can only time out. So the limit for arrivals is high, they take no slot, and admitting does the rest.
func (q *quicListener) arrive(ctx context.Context, info *quic.ClientInfo) (context.Context, error) {
	a := &arrival{addr: addressKey(info.RemoteAddr)}
	release, ok := q.arrivals.try(a.addr)
	if !ok {
		q.o.Log.Debug("too many handshakes, refused", "remote", info.RemoteAddr.String())
		return nil, errors.New("too many handshakes")
	}
	q.o.Log.Debug("handshake begins", "remote", info.RemoteAddr.String(), "verified", info.AddrVerified)
	a.keep(release)
	context.AfterFunc(ctx, a.end)
	return context.WithValue(ctx, arrivalKey{}, a), nil
}

// admitting returns cfg with a handshake that waits for its slot once the whole ClientHello has come. Meanwhile
// quic-go does nothing for the connection, and the client's own timer keeps it alive.
func (q *quicListener) admitting(cfg *tls.Config) *tls.Config {
	inner := cfg.GetConfigForClient
	cfg = cfg.Clone()
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if a, ok := hello.Context().Value(arrivalKey{}).(*arrival); ok {
			ctx, cancel := context.WithTimeoutCause(q.ctx, q.o.HandshakeTimeout/2, silence("its turn did not come in time"))
			defer cancel()
			release, err := q.o.shared.acquire(ctx, a.addr)
			if err != nil {
				return nil, err
			}
			a.keep(release)
			lease := time.AfterFunc(quicLease, release)
			a.keep(func() { lease.Stop() })
		}
		if inner == nil {
			return nil, nil
		}
		return inner(hello)
	}
	return cfg
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
		if a, ok := c.Context().Value(arrivalKey{}).(*arrival); ok {
			a.end()
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
