package crypto

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

func mustKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	key, err := GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func mustSelfSigned(t testing.TB, key ed25519.PrivateKey, now time.Time, life time.Duration) tls.Certificate {
	t.Helper()
	cert, err := SelfSigned(key, now, life)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// mustIdentity returns the identity of key with a certificate for a day.
func mustIdentity(t testing.TB, key ed25519.PrivateKey) *Identity {
	t.Helper()
	id, err := NewIdentity(mustSelfSigned(t, key, time.Now(), 24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func newIdentity(t testing.TB) *Identity { t.Helper(); return mustIdentity(t, mustKey(t)) }

// end is one side of a TLS channel after its handshake.
type end struct {
	state tls.ConnectionState
	err   error
}

func (e end) Export(label string, n int) ([]byte, error) {
	return e.state.ExportKeyingMaterial(label, nil, n)
}

// handshakes are the two ways in which TLS is used: as records on a stream, and within QUIC.
var handshakes = []struct {
	name string
	do   func(t *testing.T, client, server *tls.Config) (c, s end)
}{
	{"tcp", handshakeTCP},
	{"quic", handshakeQUIC},
}

// bothWays runs f over TCP and QUIC.
func bothWays(t *testing.T, f func(t *testing.T, handshake func(t *testing.T, client, server *tls.Config) (c, s end))) {
	for _, h := range handshakes {
		t.Run(h.name, func(t *testing.T) { f(t, h.do) })
	}
}

// handshakeTCP does a handshake; then the server writes a byte and the client reads it, since a TLS 1.3 client learns
// only then whether it was accepted.
func handshakeTCP(t *testing.T, client, server *tls.Config) (c, s end) {
	t.Helper()
	up, down := newHalf(), newHalf()
	a, b := &pipe{r: down, w: up}, &pipe{r: up, w: down}
	cc, sc := tls.Client(a, client), tls.Server(b, server)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer b.Close()
		if s.err = sc.Handshake(); s.err == nil {
			s.state = sc.ConnectionState()
			_, s.err = sc.Write([]byte("k"))
		}
	})
	wg.Go(func() {
		defer a.Close()
		if c.err = cc.Handshake(); c.err == nil {
			c.state = cc.ConnectionState()
			_, c.err = io.ReadFull(cc, make([]byte, 1))
		}
	})
	wg.Wait()
	return c, s
}

// half is one direction of a pipe that, unlike net.Pipe's, takes all that is written at once: an alert is never lost
// nor blocked, whoever closes first.
type half struct {
	mu     sync.Mutex
	more   sync.Cond
	buf    []byte
	closed bool
}

func newHalf() *half {
	h := new(half)
	h.more.L = &h.mu
	return h
}

type pipe struct {
	net.Conn
	r, w *half
}

func (p *pipe) Read(b []byte) (int, error) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	for len(p.r.buf) == 0 {
		if p.r.closed {
			return 0, io.EOF
		}
		p.r.more.Wait()
	}
	n := copy(b, p.r.buf)
	p.r.buf = p.r.buf[n:]
	return n, nil
}

func (p *pipe) Write(b []byte) (int, error) {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.buf = append(p.w.buf, b...)
	p.w.more.Broadcast()
	return len(b), nil
}

// Close ends our direction.
func (p *pipe) Close() error {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.w.closed = true
	p.w.more.Broadcast()
	return nil
}

func (*pipe) SetDeadline(time.Time) error      { return nil }
func (*pipe) SetReadDeadline(time.Time) error  { return nil }
func (*pipe) SetWriteDeadline(time.Time) error { return nil }

// handshakeQUIC does what a QUIC implementation does with TLS (RFC 9001 4), without packets.
func handshakeQUIC(t *testing.T, client, server *tls.Config) (c, s end) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if client.MinVersion < tls.VersionTLS13 || server.MinVersion < tls.VersionTLS13 {
		t.Skip("QUIC has no TLS before 1.3")
	}
	cc := tls.QUICClient(&tls.QUICConfig{TLSConfig: client})
	sc := tls.QUICServer(&tls.QUICConfig{TLSConfig: server})
	defer cc.Close()
	defer sc.Close()
	cc.SetTransportParameters([]byte("c"))
	sc.SetTransportParameters([]byte("s"))
	if c.err = cc.Start(ctx); c.err != nil {
		return c, s
	}
	if s.err = sc.Start(ctx); s.err != nil {
		return c, s
	}
	// pump hands what from wants to send to to, and tells whether anything happened.
	pump := func(from, to *tls.QUICConn, fromEnd, toEnd *end) (moved bool) {
		for {
			e := from.NextEvent()
			switch e.Kind {
			case tls.QUICNoEvent:
				return moved
			case tls.QUICWriteData:
				moved = true
				if err := to.HandleData(e.Level, slices.Clone(e.Data)); err != nil && toEnd.err == nil {
					toEnd.err = err
					// The error reaches the other side as CONNECTION_CLOSE with the alert in it.
					var alert tls.AlertError
					if errors.As(err, &alert) && fromEnd.err == nil {
						fromEnd.err = fmt.Errorf("the peer closed: %w", alert)
					}
					return false
				}
			case tls.QUICHandshakeDone:
				moved = true
			case tls.QUICStoreSession, tls.QUICResumeSession:
				t.Error("QUIC: a session is stored or resumed")
			}
		}
	}
	for c.err == nil && s.err == nil {
		x := pump(cc, sc, &c, &s)
		y := pump(sc, cc, &s, &c)
		if !x && !y {
			break
		}
	}
	c.state, s.state = cc.ConnectionState(), sc.ConnectionState()
	if c.err == nil && (!c.state.HandshakeComplete || !s.state.HandshakeComplete) {
		c.err = errors.New("the handshake does not come to its end")
	}
	return c, s
}

func mustHandshake(t *testing.T, handshake func(*testing.T, *tls.Config, *tls.Config) (c, s end), client, server *tls.Config) (c, s end) {
	t.Helper()
	c, s = handshake(t, client, server)
	if c.err != nil || s.err != nil {
		t.Fatalf("client: %v, server: %v", c.err, s.err)
	}
	return c, s
}
