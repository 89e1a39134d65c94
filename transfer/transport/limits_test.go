package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"xfer/crypto"
)

func newIdentity(t testing.TB) *crypto.Identity {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := crypto.SelfSigned(key, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	id, err := crypto.NewIdentity(cert)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// site is a server on the loopback whose connections are echoed, and the configuration of a client.
type site struct {
	addr   string
	client *tls.Config
	l      Listener
}

func newSite(t *testing.T, kind Kind, o ListenOptions) *site {
	t.Helper()
	id := newIdentity(t)
	ls, err := Listen("127.0.0.1:0", []Kind{kind}, crypto.ServerTLS(id, nil), o)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{ls[0].Addr().String(), crypto.ClientTLS(newIdentity(t), id.ID()), ls[0]}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := s.l.Accept(ctx)
			if err != nil {
				return
			}
			wg.Go(func() {
				defer func() { <-c.Done() }()
				defer c.Close(0, "")
				st, err := c.AcceptStream(ctx)
				if err != nil {
					return
				}
				io.Copy(st, st)
				st.CloseWrite()
				c.AcceptStream(ctx) // the client ends it
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		s.l.Close()
		wg.Wait()
	})
	return s
}

// visit is what a well-behaved client does.
func (s *site) visit(kind Kind) error {
	dial := DialTCP
	if kind == QUIC {
		dial = DialQUIC
	}
	c, err := dial(context.Background(), s.addr, s.client, DialOptions{Timeout: 30 * time.Second})
	if err != nil {
		return err
	}
	defer func() { <-c.Done() }()
	defer c.Close(0, "")
	st, err := c.OpenStream(context.Background())
	if err != nil {
		return err
	}
	if _, err := st.Write([]byte("hello")); err != nil {
		return err
	}
	if err := st.CloseWrite(); err != nil {
		return err
	}
	if b, err := io.ReadAll(st); err != nil || string(b) != "hello" {
		return errors.Join(err, errors.New("echo: "+string(b)))
	}
	return nil
}

func mustDial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// mustEnd checks that the server ends c before the deadline.
func mustEnd(t *testing.T, c net.Conn, deadline time.Time) {
	t.Helper()
	c.SetReadDeadline(deadline)
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the server left the socket open")
	}
}

func TestIdleSocketsHoldNobodyUpAndEnd(t *testing.T) {
	const timeout = 1500 * time.Millisecond
	s := newSite(t, TCP, ListenOptions{HandshakeTimeout: timeout})
	start := time.Now()
	var idle []net.Conn
	for range 1000 {
		idle = append(idle, mustDial(t, s.addr))
	}
	before := time.Now()
	if err := s.visit(TCP); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(before); d > timeout/2 {
		t.Errorf("a client waited %v behind idle sockets", d)
	}
	if time.Since(start) > timeout {
		t.Skip("too slow a machine to tell")
	}
	for _, c := range idle {
		mustEnd(t, c, start.Add(10*timeout))
	}
	if d := time.Since(before); d < timeout/2 {
		t.Errorf("closed after %v already", d)
	}
}

func TestHalfAHandshakeEnds(t *testing.T) {
	s := newSite(t, TCP, ListenOptions{HandshakeTimeout: 300 * time.Millisecond})
	c := mustDial(t, s.addr)
	if _, err := c.Write([]byte{22, 3, 1, 1, 0}); err != nil {
		t.Fatal(err)
	}
	mustEnd(t, c, time.Now().Add(5*time.Second))
}

// A client over the limit of its address waits until there is room.
func TestTCPWaitsForItsTurn(t *testing.T) {
	s := newSite(t, TCP, ListenOptions{PerAddress: 2})
	adm := s.l.(*tcpListener).o.shared
	var held []net.Conn
	for range 2 {
		c := mustDial(t, s.addr)
		if _, err := c.Write([]byte{22}); err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	until(t, "both hold a slot", func() bool { adm.mu.Lock(); defer adm.mu.Unlock(); return adm.total == 2 })
	errs := make(chan error, 1)
	go func() { errs <- s.visit(TCP) }()
	until(t, "the client waits", func() bool { adm.mu.Lock(); defer adm.mu.Unlock(); return len(adm.waiting) == 1 })
	held[0].Close()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
}

// until waits for something that happens in another goroutine and gives no sign.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}

func TestTooManySocketsAreClosedAtOnce(t *testing.T) {
	s := newSite(t, TCP, ListenOptions{MaxPending: 3})
	var first []net.Conn
	for range 3 {
		first = append(first, mustDial(t, s.addr))
	}
	until(t, "three pending", func() bool { return s.l.(*tcpListener).pending.Load() == 3 })
	mustEnd(t, mustDial(t, s.addr), time.Now().Add(5*time.Second))
	first[0].Close()
	until(t, "room again", func() bool { return s.l.(*tcpListener).pending.Load() == 2 })
	if err := s.visit(TCP); err != nil {
		t.Fatal(err)
	}
}

func TestManyClientsAtOnceOfOneAddress(t *testing.T) {
	for _, kind := range []Kind{TCP, QUIC} {
		t.Run(string(kind), func(t *testing.T) {
			s := newSite(t, kind, ListenOptions{HandshakeTimeout: 30 * time.Second})
			var wg sync.WaitGroup
			for range 100 {
				wg.Go(func() {
					if err := s.visit(kind); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
	}
}

// Over the limit of its address a QUIC client waits, too.
func TestQUICWaitsForItsTurn(t *testing.T) {
	s := newSite(t, QUIC, ListenOptions{PerAddress: 1})
	adm := s.l.(*quicListener).o.shared
	release, ok := adm.try("127.0.0.1")
	if !ok {
		t.Fatal("no slot")
	}
	_, err := DialQUIC(context.Background(), s.addr, s.client, DialOptions{Timeout: 300 * time.Millisecond})
	var ne *NetError
	if !errors.As(err, &ne) || !ne.Timeout() {
		t.Fatalf("got %v", err)
	}
	errs := make(chan error, 1)
	go func() { errs <- s.visit(QUIC) }()
	select {
	case err := <-errs:
		t.Fatalf("not held up: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	release()
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	until(t, "all slots are back", func() bool {
		slots, _ := adm.count("")
		arrivals, _ := s.l.(*quicListener).arrivals.count("")
		return slots == 0 && arrivals <= 1 // the one that gave up is not missed yet
	})
}

// When even too many have begun, clients are refused, and come again by themselves.
func TestQUICComesAgain(t *testing.T) {
	s := newSite(t, QUIC, ListenOptions{Handshakes: 4})
	var releases []func()
	for range 4 {
		release, ok := s.l.(*quicListener).arrivals.try("127.0.0.1")
		if !ok {
			t.Fatal("no slot")
		}
		releases = append(releases, release)
	}
	_, err := DialQUIC(context.Background(), s.addr, s.client, DialOptions{Timeout: 300 * time.Millisecond})
	var ne *NetError
	if !errors.As(err, &ne) || !ne.Timeout() {
		t.Fatalf("got %v", err)
	}
	errs := make(chan error, 1)
	go func() { errs <- s.visit(QUIC) }()
	select {
	case err := <-errs:
		t.Fatalf("not held up: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	for _, release := range releases {
		release()
	}
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
}

// A listener can be closed while somebody waits for his turn.
func TestQUICCloseWhileWaiting(t *testing.T) {
	s := newSite(t, QUIC, ListenOptions{PerAddress: 1})
	adm := s.l.(*quicListener).o.shared
	if _, ok := adm.try("127.0.0.1"); !ok {
		t.Fatal("no slot")
	}
	ctx, cancel := context.WithCancel(context.Background())
	errs := make(chan error, 1)
	go func() {
		_, err := DialQUIC(ctx, s.addr, s.client, DialOptions{})
		errs <- err
	}()
	until(t, "it waits", func() bool { adm.mu.Lock(); defer adm.mu.Unlock(); return len(adm.waiting) > 0 })
	start := time.Now()
	s.l.Close()
	if d := time.Since(start); d > time.Second {
		t.Errorf("closing took %v", d)
	}
	cancel()
	if err := <-errs; err == nil {
		t.Error("dialled")
	}
}

// Above half of the limit, clients have to prove their address.
func TestQUICRetryUnderLoad(t *testing.T) {
	var log syncBuffer
	o := ListenOptions{Handshakes: 4, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	s := newSite(t, QUIC, o)
	if err := s.visit(QUIC); err != nil {
		t.Fatal(err)
	}
	if s := log.String(); !strings.Contains(s, "verified=false") || strings.Contains(s, "verified=true") {
		t.Fatalf("log: %s", s)
	}
	for range 2 {
		if _, ok := s.l.(*quicListener).arrivals.try("192.0.2.1"); !ok {
			t.Fatal("no slot")
		}
	}
	if err := s.visit(QUIC); err != nil {
		t.Fatal(err)
	}
	if s := log.String(); !strings.Contains(s, "verified=true") {
		t.Fatalf("log: %s", s)
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// The alert that says why a client is refused arrives although the client has sent what the server never read.
func TestRefusalOvertakesNothing(t *testing.T) {
	id := newIdentity(t)
	ls, err := Listen("127.0.0.1:0", []Kind{TCP, QUIC}, crypto.ServerTLS(id, nil), ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cfg := crypto.ClientTLS(newIdentity(t), id.ID())
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
	for i, dial := range []func(context.Context, string, *tls.Config, DialOptions) (Conn, error){DialTCP, DialQUIC} {
		fastest := time.Hour // of a machine that may have other things to do
		for range 10 {
			start := time.Now()
			c, err := dial(context.Background(), ls[i].Addr().String(), cfg, DialOptions{})
			if err == nil {
				st, oerr := c.OpenStream(context.Background())
				if oerr == nil {
					werr := error(nil)
					for werr == nil {
						_, werr = st.Write(make([]byte, 64<<10))
					}
					if !crypto.IsTrustError(werr) {
						t.Errorf("write: %v", werr)
					}
					_, err = st.Read(make([]byte, 1))
				} else {
					err = oerr
				}
				c.Close(0, "")
				<-c.Done()
			}
			if !crypto.IsTrustError(err) {
				t.Errorf("%v", err)
			}
			fastest = min(fastest, time.Since(start))
		}
		if fastest > time.Second {
			t.Errorf("after %v at best", fastest)
		}
		ls[i].Close()
	}
}

func TestUDPBufferNote(t *testing.T) {
	if s := UDPBufferNote(); s != "" && !strings.Contains(s, "KiB") {
		t.Errorf("note %q", s)
	}
}
