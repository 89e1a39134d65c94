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

	"xfer/crypto"
)

const (
	lingerTime  = time.Second            // how long Close lets data out
	refusalTime = 500 * time.Millisecond // and a failed handshake its alert
	lingerBytes = 256 << 10              // how much is read and dropped meanwhile
)

// tcpConn is a Conn with one stream over TLS over a net.Conn.
type tcpConn struct {
	place
	low    *lowConn
	tls    *tls.Conn
	state  tls.ConnectionState
	server bool

	// rmu and wmu are held while the stream reads and writes. Close moves the deadlines to get them.
	rmu, wmu sync.Mutex

	ahead []byte // read by lastWords, for the next read; guarded by rmu

	mu                sync.Mutex // guards the following
	taken             bool       // the stream was handed out
	closed            bool       // by us
	readEnd, wroteEnd bool       // the peer's close_notify came; ours was sent
	heard             bool       // the peer has said something since the handshake
	broken            error      // the first fatal error of a read
	readDeadline      time.Time  // as the user set it

	closing  chan struct{} // closed by Close
	readOver chan struct{} // closed when nothing more will be read
	done     chan struct{}

	closeOnce, readOverOnce, finishOnce sync.Once
}

var (
	_ Conn   = (*tcpConn)(nil)
	_ Stream = (*tcpStream)(nil)
)

// NewTCPConn does the handshake of cfg on c, which may be any ordered and reliable net.Conn, within ctx, and returns
// the connection. It owns c from then on and closes it on failure as well. The Kind is Memory for a net.Pipe and TCP
// for everything else. A server that refuses a client lets its alert out in the background.
func NewTCPConn(ctx context.Context, c net.Conn, cfg *tls.Config, server bool) (Conn, error) {
	t, err := newTCPConn(ctx, c, cfg, server, nil)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// newTCPConn is NewTCPConn for a connection from which first was already read. On failure too it returns the
// connection, which is not to be used: its Done tells when nothing is left of it.
func newTCPConn(ctx context.Context, c net.Conn, cfg *tls.Config, server bool, first []byte) (*tcpConn, error) {
	t := &tcpConn{
		place:    place{TCP, c.RemoteAddr().String()},
		low:      &lowConn{Conn: c, first: first},
		server:   server,
		closing:  make(chan struct{}),
		readOver: make(chan struct{}),
		done:     make(chan struct{}),
	}
	if c.RemoteAddr().Network() == "pipe" {
		t.kind, t.addr = Memory, ""
	}
	if server {
		t.tls = tls.Server(t.low, cfg)
	} else {
		t.tls = tls.Client(t.low, cfg)
	}
	err := t.tls.HandshakeContext(ctx)
	if err == nil {
		t.state = t.tls.ConnectionState()
		err = checkState(t.state, cfg)
	}
	if err == nil {
		err = context.Cause(ctx) // the end of ctx may have closed c this very moment
	}
	if err == nil {
		return t, nil
	}
	// A peer that has already sent something would see a reset if we just closed, and its kernel might drop the
	// alert that says why.
	t.wroteEnd = true // the alert was the last word
	t.Close(0, "")
	return t, t.wrap("handshake", ofContext(ctx, err))
}

// checkState is the same for TCP and QUIC; crypto's configurations have checked more already.
func checkState(s tls.ConnectionState, cfg *tls.Config) error {
	if s.Version < tls.VersionTLS13 || len(cfg.NextProtos) > 0 && s.NegotiatedProtocol == "" {
		return &crypto.VersionError{TLS: s.Version, ALPN: s.NegotiatedProtocol}
	}
	if len(s.PeerCertificates) == 0 {
		return &crypto.CertError{Reason: crypto.CertWrongKind, Detail: "there is none"}
	}
	return nil
}

func (t *tcpConn) Kind() Kind                            { return t.kind }
func (t *tcpConn) Multiplexed() bool                     { return false }
func (t *tcpConn) PeerCertificates() []*x509.Certificate { return t.state.PeerCertificates }
func (t *tcpConn) Peer() crypto.PeerID                   { return crypto.PeerIDOf(t.state.PeerCertificates[0]) }
func (t *tcpConn) LocalAddr() net.Addr                   { return t.low.LocalAddr() }
func (t *tcpConn) RemoteAddr() net.Addr                  { return t.low.RemoteAddr() }
func (t *tcpConn) Done() <-chan struct{}                 { return t.done }

func (t *tcpConn) Export(label string, n int) ([]byte, error) {
	return t.state.ExportKeyingMaterial(label, nil, n)
}

func (t *tcpConn) OpenStream(ctx context.Context) (Stream, error) {
	if t.server {
		return nil, ErrNoMoreStreams
	}
	return t.take(ctx, func() error { return ErrNoMoreStreams })
}

func (t *tcpConn) AcceptStream(ctx context.Context) (Stream, error) {
	wait := func() error {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.closing:
			return net.ErrClosed
		case <-t.done:
			return t.whyDone()
		}
	}
	if !t.server {
		return nil, wait()
	}
	return t.take(ctx, wait)
}

// take hands out the stream once; later calls get what other returns.
func (t *tcpConn) take(ctx context.Context, other func() error) (Stream, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, net.ErrClosed
	}
	if t.taken {
		t.mu.Unlock()
		return nil, other()
	}
	t.taken = true
	t.mu.Unlock()
	return &tcpStream{t}, nil
}

// whyDone is the error of operations after the connection has ended.
func (t *tcpConn) whyDone() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return net.ErrClosed
	}
	if t.broken != nil {
		return t.broken
	}
	return &NetError{"accept", t.kind, t.addr, io.EOF}
}

func (t *tcpConn) Close(code uint64, reason string) error {
	t.closeOnce.Do(func() {
		t.mu.Lock()
		t.closed = true
		t.mu.Unlock()
		close(t.closing)
		go t.linger()
	})
	return nil
}

// abort closes without ceremony.
func (t *tcpConn) abort() {
	t.closeOnce.Do(func() {
		t.mu.Lock()
		t.closed = true
		t.mu.Unlock()
		close(t.closing)
	})
	t.low.Close()
	t.finish()
}

func (t *tcpConn) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// finish says that nothing is left of the connection.
func (t *tcpConn) finish() { t.finishOnce.Do(func() { close(t.done) }) }

// linger lets our last words out and closes.
func (t *tcpConn) linger() {
	defer t.finish()
	defer t.low.Close()
	end := time.Now().Add(lingerTime)
	if !t.tls.ConnectionState().HandshakeComplete {
		end = time.Now().Add(refusalTime)
	}
	t.low.Conn.SetDeadline(time.Unix(1, 0)) // whoever reads or writes now stops

	var drained sync.WaitGroup
	// At the same time, since on a net.Pipe no side gets a word in before the other one reads.
	drained.Go(func() { t.drain(end) })
	t.wmu.Lock()
	t.low.Conn.SetWriteDeadline(end)
	if !t.hasEnded() {
		_ = t.tls.CloseWrite() // fails where a write was cut off: then the peer sees the cut
	}
	if c, ok := t.low.Conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	t.wmu.Unlock()
	drained.Wait()
}

// drain reads until the peer has ended its direction too, but not for ever. When it has read enough it still waits,
// so that the peer has the time to read what we said before a reset.
func (t *tcpConn) drain(end time.Time) {
	t.rmu.Lock()
	defer t.rmu.Unlock()
	t.low.Conn.SetReadDeadline(end)
	buf := make([]byte, 16<<10)
	read := t.tls.Read
	if !t.tls.ConnectionState().HandshakeComplete {
		read = t.low.Read // tls.Conn would give the handshake's error
	}
	for sum := 0; sum < lingerBytes; {
		n, err := read(buf)
		if sum += n; err != nil {
			return
		}
	}
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	<-timer.C
}

func (t *tcpConn) hasEnded() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.wroteEnd
}

// tcpStream is the one stream of a tcpConn.
type tcpStream struct{ t *tcpConn }

func (s *tcpStream) Read(p []byte) (int, error) {
	t := s.t
	t.rmu.Lock()
	defer t.rmu.Unlock()
	if t.isClosed() {
		return 0, net.ErrClosed
	}
	if len(t.ahead) > 0 {
		n := copy(p, t.ahead)
		t.ahead = t.ahead[n:]
		return n, nil
	}
	n, err := t.tls.Read(p)
	if n > 0 {
		t.mu.Lock()
		t.heard = true
		t.mu.Unlock()
	}
	if err == nil {
		return n, nil
	}
	return n, t.readError(err)
}

// readError judges the error of a read.
func (t *tcpConn) readError(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.closed:
		return net.ErrClosed
	case err == io.EOF && !t.low.eof.Load():
		t.readEnd = true
		t.readOverOnce.Do(func() { close(t.readOver) })
		if t.wroteEnd {
			t.finish()
		}
		return io.EOF
	case err == io.EOF:
		err = io.ErrUnexpectedEOF // cut, or a forged FIN
	case isDeadline(err):
		return err
	}
	err = t.wrap("read", err)
	if t.broken == nil {
		t.broken = err
	}
	t.readOverOnce.Do(func() { close(t.readOver) })
	t.finish()
	return err
}

func (s *tcpStream) Write(p []byte) (int, error) {
	t := s.t
	t.wmu.Lock()
	defer t.wmu.Unlock()
	if t.isClosed() || t.hasEnded() {
		return 0, net.ErrClosed
	}
	n, err := t.writeRecords(p)
	switch {
	case err == nil:
		return n, nil
	case t.isClosed():
		return n, net.ErrClosed
	case isDeadline(err):
		return n, err
	}
	err = t.wrap("write", err)
	if why := t.lastWords(); why != nil {
		err = why
	}
	t.finish()
	return n, err
}

// lastWords looks, after a write failed before the peer said anything, for the alert with which it refused us: that
// came before the reset.
func (t *tcpConn) lastWords() error {
	t.mu.Lock()
	heard := t.heard
	t.mu.Unlock()
	if heard {
		return nil
	}
	if t.rmu.TryLock() {
		t.readAhead()
		t.rmu.Unlock()
	} else { // somebody else is reading and will get it
		timer := time.NewTimer(lingerTime)
		defer timer.Stop()
		select {
		case <-t.readOver:
		case <-t.closing:
		case <-timer.C:
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var te *TLSError
	if errors.As(t.broken, &te) {
		return t.broken
	}
	return nil
}

// readAhead reads one byte, or the error that is there instead. rmu is held.
func (t *tcpConn) readAhead() {
	t.mu.Lock()
	deadline := t.readDeadline
	if !t.closed {
		t.low.Conn.SetReadDeadline(time.Now().Add(lingerTime))
	}
	t.mu.Unlock()
	var b [1]byte
	n, err := t.tls.Read(b[:])
	t.ahead = append(t.ahead, b[:n]...)
	if err != nil {
		t.readError(err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.low.Conn.SetReadDeadline(deadline)
	}
}

func (s *tcpStream) CloseWrite() error {
	t := s.t
	t.wmu.Lock()
	defer t.wmu.Unlock()
	if t.isClosed() {
		return net.ErrClosed
	}
	if t.hasEnded() {
		return nil
	}
	err := t.tls.CloseWrite()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wroteEnd = true
	switch {
	case err == nil:
	case t.closed:
		return net.ErrClosed
	case isDeadline(err):
		return err
	default:
		t.finish()
		return t.wrap("write", err)
	}
	if t.readEnd {
		t.finish()
	}
	return nil
}

func (s *tcpStream) Close() error {
	if s.t.hasEnded() {
		return s.t.Close(0, "")
	}
	s.t.abort()
	return nil
}

func (s *tcpStream) SetReadDeadline(at time.Time) error {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if s.t.closed { // the deadlines are Close's now
		return net.ErrClosed
	}
	s.t.readDeadline = at
	return s.t.low.Conn.SetReadDeadline(at)
}

func (s *tcpStream) SetWriteDeadline(at time.Time) error {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	if s.t.closed {
		return net.ErrClosed
	}
	return s.t.low.Conn.SetWriteDeadline(at)
}
