package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"xfer/crypto"
)

// What a QUIC connection may take of our memory, and when it counts as dead.
const (
	quicStreams      = 32 // that a peer may have open
	quicStreamFirst  = 512 << 10
	quicConnFirst    = 1 << 20
	quicWindowLeast  = 2 << 20
	quicWindowMost   = 16 << 20
	quicIdleTimeout  = 45 * time.Second
	quicKeepAlive    = 15 * time.Second
	quicAbandoned    = 1 // stream error code: Close of a stream
	quicNobodyReads  = 2 // stream error code: Close of the connection
	quicGoodbyeLimit = 1 // unidirectional streams, see the package comment on closing
)

// quicConfig is what both sides share. The handshake ends after a silence of handshakeIdle, or after twice that.
func quicConfig(handshakeIdle time.Duration, windows *Budget) *quic.Config {
	c := &quic.Config{
		HandshakeIdleTimeout:           handshakeIdle,
		MaxIdleTimeout:                 quicIdleTimeout,
		KeepAlivePeriod:                quicKeepAlive,
		InitialStreamReceiveWindow:     quicStreamFirst,
		MaxStreamReceiveWindow:         quicWindowMost,
		InitialConnectionReceiveWindow: quicConnFirst,
		MaxConnectionReceiveWindow:     quicWindowMost,
		MaxIncomingStreams:             quicStreams,
		MaxIncomingUniStreams:          quicGoodbyeLimit,
	}
	c.AllowConnectionWindowIncrease = func(conn *quic.Conn, n uint64) bool {
		// Nothing of an ended connection gives it back.
		return conn.Context().Err() == nil && windows.grow(conn, n, windowFor(conn.ConnectionStats().MinRTT)-quicConnFirst)
	}
	return c
}

// windowFor is the most that a connection of this round trip time gets, in bytes: what 1 GiB/s would keep on its way. quic-go
// doubles a window that is used up within four round trips; where these are short and the reader is busy, that is always,
// and it only means that as much waits in memory, and is no longer in a cache when its turn comes.
func windowFor(rtt time.Duration) uint64 {
	return uint64(min(max(rtt.Seconds()*(1<<30), quicWindowLeast), quicWindowMost))
}

// quicConn is a Conn over a QUIC connection.
type quicConn struct {
	place
	q       *quic.Conn
	state   tls.ConnectionState
	windows *Budget
	release func() // what belongs to the connection: the socket of a dialler, the listener's count

	closing chan struct{} // closed by Close
	goodbye chan struct{} // closed when the peer says that nobody reads there any more
	done    chan struct{}

	closeOnce sync.Once

	mu      sync.Mutex // guards the following
	closed  bool
	wrote   bool // anything that the peer may not have read yet
	streams map[*quicStream]struct{}
}

var (
	_ Conn   = (*quicConn)(nil)
	_ Stream = (*quicStream)(nil)
)

// newQUICConn takes q, whose handshake is complete. release is called once, when nothing is left of the connection;
// on failure too.
func newQUICConn(q *quic.Conn, cfg *tls.Config, windows *Budget, release func()) (*quicConn, error) {
	c := &quicConn{
		place:   place{QUIC, q.RemoteAddr().String()},
		q:       q,
		state:   q.ConnectionState().TLS,
		windows: windows,
		release: release,
		closing: make(chan struct{}),
		goodbye: make(chan struct{}),
		done:    make(chan struct{}),
		streams: make(map[*quicStream]struct{}),
	}
	go c.watch()
	if err := checkState(c.state, cfg); err != nil {
		c.abort()
		<-c.done
		return nil, c.wrap("handshake", err)
	}
	return c, nil
}

// watch lives as long as the connection.
func (c *quicConn) watch() {
	defer close(c.done)
	if s, err := c.q.AcceptUniStream(c.q.Context()); err == nil {
		s.CancelRead(quicAbandoned)
		close(c.goodbye)
	}
	<-c.q.Context().Done()
	c.windows.release(c.q)
	c.release()
}

func (c *quicConn) Kind() Kind                            { return QUIC }
func (c *quicConn) Multiplexed() bool                     { return true }
func (c *quicConn) PeerCertificates() []*x509.Certificate { return c.state.PeerCertificates }
func (c *quicConn) Peer() crypto.PeerID                   { return crypto.PeerIDOf(c.state.PeerCertificates[0]) }
func (c *quicConn) LocalAddr() net.Addr                   { return c.q.LocalAddr() }
func (c *quicConn) RemoteAddr() net.Addr                  { return c.q.RemoteAddr() }
func (c *quicConn) Done() <-chan struct{}                 { return c.done }

func (c *quicConn) Export(label string, n int) ([]byte, error) {
	return c.state.ExportKeyingMaterial(label, nil, n)
}

func (c *quicConn) OpenStream(ctx context.Context) (Stream, error) {
	return c.stream(ctx, "open", c.q.OpenStreamSync)
}

func (c *quicConn) AcceptStream(ctx context.Context) (Stream, error) {
	return c.stream(ctx, "accept", c.q.AcceptStream)
}

func (c *quicConn) stream(ctx context.Context, op string, get func(context.Context) (*quic.Stream, error)) (Stream, error) {
	if c.isClosed() {
		return nil, net.ErrClosed
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-c.closing:
			cancel(net.ErrClosed)
		case <-stop:
		}
	}()
	q, err := get(ctx)
	if err != nil {
		switch cause := context.Cause(ctx); {
		case c.isClosed():
			return nil, net.ErrClosed
		case cause != nil && errors.Is(err, ctx.Err()):
			return nil, cause
		}
		return nil, c.quicError(op, err)
	}
	s := &quicStream{c: c, q: q}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		q.CancelRead(quicNobodyReads)
		q.CancelWrite(quicNobodyReads)
		return nil, net.ErrClosed
	}
	c.streams[s] = struct{}{}
	return s, nil
}

func (c *quicConn) isClosed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

func (c *quicConn) Close(code uint64, reason string) error {
	c.closeOnce.Do(func() {
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		close(c.closing)
		go c.linger(code, reason)
	})
	return nil
}

// abort closes without ceremony.
func (c *quicConn) abort() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.closeOnce.Do(func() { close(c.closing) })
	c.q.CloseWithError(0, "")
}

// linger ends our directions, says goodbye, and gives the peer a second and some round trips to read it all.
func (c *quicConn) linger(code uint64, reason string) {
	defer func() { c.q.CloseWithError(quic.ApplicationErrorCode(code), reason) }()
	c.mu.Lock()
	wrote := c.wrote
	var streams []*quicStream
	for s := range c.streams {
		streams = append(streams, s)
	}
	c.mu.Unlock()
	for _, s := range streams {
		s.kick() // whoever reads or writes now stops
	}
	select {
	case <-c.goodbye:
		return // nobody there to read it
	default:
	}
	if !wrote {
		return
	}
	for _, s := range streams {
		s.fin()
	}
	if s, err := c.q.OpenUniStream(); err == nil {
		s.Close()
	}
	timer := time.NewTimer(lingerTime + min(4*c.q.ConnectionStats().SmoothedRTT, 4*lingerTime))
	defer timer.Stop()
	select {
	case <-c.goodbye:
	case <-c.q.Context().Done():
	case <-timer.C:
	}
}

// quicError judges an error of quic-go.
func (c *quicConn) quicError(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if c.isClosed() {
		return net.ErrClosed
	}
	return wrapQUIC(c.place, op, err)
}

// wrapQUIC is place.wrap for the errors of quic-go, most of which claim to be net.ErrClosed.
func wrapQUIC(at place, op string, err error) error {
	var app *quic.ApplicationError
	var tr *quic.TransportError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &app):
		if app.Remote {
			return &NetError{op, at.kind, at.addr, &CloseError{uint64(app.ErrorCode), app.ErrorMessage}}
		}
		return net.ErrClosed
	case errors.As(err, &tr) && tr.ErrorCode.IsCryptoError():
		alert := tls.AlertError(tr.ErrorCode - 0x100)
		if tr.Remote {
			return at.wrap(op, refused(alert))
		}
		return at.wrap(op, ownRefusal(tr, alert))
	case errors.As(err, &tr):
		return &NetError{op, at.kind, at.addr, opaque(tr.Error())}
	case isDeadline(err):
		return err
	case errors.As(err, &timeout) && timeout.Timeout() && errors.Is(err, net.ErrClosed):
		return &NetError{op, at.kind, at.addr, silence(err.Error())}
	}
	return at.wrap(op, socketError(err))
}

// ownRefusal digs out the error with which our own TLS configuration ended the handshake.
func ownRefusal(tr *quic.TransportError, alert tls.AlertError) error {
	for _, e := range tr.Unwrap() {
		if e != nil && e != net.ErrClosed {
			return e
		}
	}
	return alert
}

// socketError digs out what the system said when the socket failed beneath quic-go.
func socketError(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil && !errors.Is(op.Err, net.ErrClosed) {
		return op
	}
	return err
}

// quicStream is a Stream of a quicConn.
type quicStream struct {
	c *quicConn
	q *quic.Stream

	wmu      sync.Mutex // held while writing or ending; quic-go wants no Close during a Write
	mu       sync.Mutex // guards the following
	closed   bool
	wroteEnd bool
}

func (s *quicStream) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func (s *quicStream) Read(p []byte) (int, error) {
	if s.isClosed() || s.c.isClosed() {
		return 0, net.ErrClosed
	}
	n, err := s.q.Read(p)
	return n, s.err("read", err)
}

func (s *quicStream) Write(p []byte) (int, error) {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	s.mu.Lock()
	ended := s.closed || s.wroteEnd
	s.mu.Unlock()
	s.c.mu.Lock()
	ended = ended || s.c.closed
	s.c.wrote = s.c.wrote || !ended
	s.c.mu.Unlock()
	if ended {
		return 0, net.ErrClosed
	}
	n, err := s.q.Write(p)
	return n, s.err("write", err)
}

func (s *quicStream) err(op string, err error) error {
	if err != nil && err != io.EOF && s.isClosed() {
		return net.ErrClosed
	}
	return s.c.quicError(op, err)
}

func (s *quicStream) CloseWrite() error {
	if s.isClosed() || s.c.isClosed() {
		return net.ErrClosed
	}
	return s.err("write", s.fin())
}

// fin ends our direction, once.
func (s *quicStream) fin() error {
	s.wmu.Lock()
	defer s.wmu.Unlock()
	s.mu.Lock()
	ended := s.wroteEnd || s.closed
	s.wroteEnd = true
	s.mu.Unlock()
	if ended {
		return nil
	}
	return s.q.Close()
}

// kick makes reads and writes in progress return.
func (s *quicStream) kick() {
	s.q.SetReadDeadline(time.Unix(1, 0))
	s.q.SetWriteDeadline(time.Unix(1, 0))
}

func (s *quicStream) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	ended := s.wroteEnd
	s.mu.Unlock()
	s.q.CancelRead(quicAbandoned)
	if !ended {
		s.q.CancelWrite(quicAbandoned)
	}
	s.c.mu.Lock()
	delete(s.c.streams, s)
	s.c.mu.Unlock()
	return nil
}

func (s *quicStream) SetReadDeadline(t time.Time) error  { return s.deadline(s.q.SetReadDeadline, t) }
func (s *quicStream) SetWriteDeadline(t time.Time) error { return s.deadline(s.q.SetWriteDeadline, t) }

// deadline sets a deadline unless Close has taken them over.
func (s *quicStream) deadline(set func(time.Time) error, t time.Time) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.c.closed {
		return net.ErrClosed
	}
	return set(t)
}
