package daemon

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xfer/certs"
	"xfer/crypto"
	"xfer/daemon/control"
	"xfer/transfer"
	"xfer/transfer/transport"
)

// run starts w and waits until it is ready. stop ends it and returns what Run did.
func (w *world) run() (info ReadyInfo, stop func() error) {
	w.t.Helper()
	ready := make(chan ReadyInfo, 1)
	w.cfg.Ready = func(i ReadyInfo) { ready <- i }
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	w.t.Cleanup(cancel)
	select {
	case info = <-ready:
	case err := <-done:
		w.t.Fatalf("Run: %v", err)
	}
	return info, func() error { cancel(); return <-done }
}

// identity makes a key with its certificate.
func identity(t *testing.T) *crypto.Identity {
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

func dial(t *testing.T, k transport.Kind, info ReadyInfo, id *crypto.Identity) transport.Conn {
	t.Helper()
	dial := transport.DialTCP
	if k == transport.QUIC {
		dial = transport.DialQUIC
	}
	c, err := dial(t.Context(), info.Listen[0], crypto.ClientTLS(id, info.Identity), transport.DialOptions{})
	if err != nil {
		t.Fatalf("%s: %v", k, err)
	}
	t.Cleanup(func() { c.Close(0, "") })
	return c
}

func TestRunServesBothTransportsOnOnePort(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Socket = filepath.Join(t.TempDir(), strings.Repeat("deep/", 40), "xfer.sock")
		c.Version = "v1"
	})
	id := identity(t)
	w.enrol(certs.Client{Name: "laptop", ID: id.ID(), Roots: grants("first", "all")})
	began := make(chan transport.Conn, 2)
	w.engine.serve = func(ctx context.Context, c transport.Conn) error {
		_, release, err := w.policy.Authorize(ctx, c.Peer(), c.PeerCertificates(), c.RemoteAddr().String())
		if err != nil {
			return err
		}
		defer release()
		began <- c
		<-ctx.Done()
		return context.Cause(ctx)
	}
	socket, next := manager(t)
	w.tell = notifier{socket}
	info, stop := w.run()
	if got := next(); !strings.HasPrefix(got, "READY=1\n") {
		t.Errorf("the service manager got %q", got)
	}
	if len(info.Listen) != 1 || len(info.Transports) != 2 || info.Identity != w.id.ID() {
		t.Fatalf("ready: %+v", info)
	}
	for _, k := range []transport.Kind{transport.TCP, transport.QUIC} {
		c := dial(t, k, info, id)
		if k == transport.QUIC {
			st, err := c.OpenStream(t.Context()) // the server hears of a stream with its first byte
			if err != nil {
				t.Fatal(err)
			}
			st.Write([]byte{1})
		}
		select {
		case s := <-began:
			if s.Peer() != id.ID() || s.Kind() != k {
				t.Errorf("%s: served %v over %s", k, s.Peer(), s.Kind())
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: not served", k)
		}
	}

	cl, err := control.Dial(w.cfg.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	st, err := cl.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.Version != "v1" || st.Identity != info.Identity.String() || st.Connections != 2 || st.Clients != 1 || st.Panics != 0 ||
		len(st.Listeners) != 2 || st.Listeners[0].Address != info.Listen[0] || st.Listeners[1].Address != info.Listen[0] ||
		len(st.Roots) != 2 || st.Roots[0].Name != "first" || st.Roots[0].Free != 10 || st.CertificateDays < 80 || st.Draining {
		t.Errorf("status: %+v", st)
	}
	if err := cl.Reload(t.Context()); err != nil {
		t.Errorf("reload: %v", err)
	}
	if got := next() + next(); got != "RELOADING=1READY=1" {
		t.Errorf("the service manager got %q", got)
	}

	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if got := next(); !strings.HasPrefix(got, "STOPPING=1") {
		t.Errorf("the service manager got %q", got)
	}
	ends := w.engine.ended()
	if len(ends) != 2 || w.engine.drained != 1 {
		t.Fatalf("ends %v, drained %d times", ends, w.engine.drained)
	}
	for _, err := range ends { // clients of a daemon that is restarted come again
		if after := busyAfter(t, err); after <= 0 || after > time.Second {
			t.Errorf("come again in %v", after)
		}
	}
	if w.roots["first"].closes() != 1 || w.roots["second"].closes() != 1 {
		t.Error("the roots were not closed")
	}
	if _, err := control.Dial(w.cfg.Socket); !errors.Is(err, control.ErrNotRunning) {
		t.Errorf("the control socket outlives the daemon: %v", err)
	}
	if _, err := net.DialTimeout("tcp", info.Listen[0], time.Second); err == nil {
		t.Error("the port is open after the end")
	}
	if w.roots["first"].cleaned == 0 {
		t.Error("abandoned transfers are not looked for at the start")
	}
	if err := w.Run(t.Context()); !errors.Is(err, ErrRan) {
		t.Errorf("a second Run: %v", err)
	}
}

func TestOnlyTheTransportsAskedForAreServed(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Transports = []transport.Kind{transport.QUIC} })
	info, stop := w.run()
	if len(info.Transports) != 1 || info.Transports[0] != transport.QUIC {
		t.Errorf("ready: %+v", info)
	}
	if c, err := net.DialTimeout("tcp", info.Listen[0], time.Second); err == nil {
		c.Close()
		t.Error("TCP is served")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestSocketsFromOutsideAreServed(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *Config) { c.Listen = []string{"127.0.0.1:1"}; c.Listeners = []net.Listener{tcp} })
	served := make(chan transport.Conn, 1)
	w.engine.serve = func(_ context.Context, c transport.Conn) error { served <- c; return nil }
	info, stop := w.run()
	if len(info.Listen) != 1 || info.Listen[0] != tcp.Addr().String() || len(info.Transports) != 1 || info.Transports[0] != transport.TCP {
		t.Fatalf("ready: %+v", info)
	}
	dial(t, transport.TCP, info, identity(t))
	<-served
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestASecondDaemonSaysThatOneIsRunning(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	first := newWorld(t, func(c *Config) { c.Socket = socket })
	_, stop := first.run()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	second := newWorld(t, func(c *Config) { c.Socket = socket; c.Listeners = []net.Listener{tcp} })
	if err := second.Run(t.Context()); !errors.Is(err, control.ErrRunning) {
		t.Errorf("got %v, want ErrRunning", err)
	}
	if err := tcp.Close(); !errors.Is(err, net.ErrClosed) {
		t.Error("the socket that was passed is still open")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestAPortInUseIsAnError(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	socket := filepath.Join(t.TempDir(), "s")
	w := newWorld(t, func(c *Config) { c.Listen = []string{"127.0.0.1:0", taken.Addr().String()}; c.Socket = socket })
	w.cfg.Ready = func(ReadyInfo) { t.Error("ready") }
	if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), taken.Addr().String()) {
		t.Errorf("got %v", err)
	}
	if l, err := control.Listen(socket); err != nil {
		t.Errorf("the control socket is still taken: %v", err)
	} else {
		l.Close()
	}
}

func TestAListenerThatBreaksEndsTheDaemon(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, func(c *Config) { c.Listeners = []net.Listener{tcp} })
	ready := make(chan struct{})
	w.cfg.Ready = func(ReadyInfo) { close(ready) }
	done := make(chan error, 1)
	go func() { done <- w.Run(t.Context()) }()
	<-ready
	tcp.Close()
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "listener tcp") {
			t.Errorf("got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the daemon goes on without its listener")
	}
}

// Above the limit nothing is lost: the next connection is served when one ends.
func TestConnectionsAreLimited(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Limits.Connections = 2; c.Transports = []transport.Kind{transport.TCP} })
	id := identity(t)
	w.enrol(certs.Client{Name: "c", ID: id.ID(), Roots: grants("first", "all")})
	served := make(chan transport.Conn, 10)
	w.engine.serve = func(ctx context.Context, c transport.Conn) error {
		served <- c
		select {
		case <-ctx.Done():
		case <-c.Done():
		}
		return nil
	}
	info, stop := w.run()
	var first transport.Conn
	for i := range 3 {
		c := dial(t, transport.TCP, info, id)
		if i == 0 {
			first = c
		}
		if i < 2 {
			<-served
		}
	}
	select {
	case <-served:
		t.Error("three connections are served, want 2")
	case <-time.After(300 * time.Millisecond): // that something does not happen can only be waited for
	}
	go func() { // as an engine does: what the client closed, ends
		w.conns.mu.Lock()
		defer w.conns.mu.Unlock()
		for lc := range w.conns.live {
			lc.cancel(nil)
			break
		}
	}()
	first.Close(0, "")
	select {
	case <-served:
	case <-time.After(10 * time.Second):
		t.Error("the third connection is never served")
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestMeter(t *testing.T) {
	var m meter
	now := time.Now()
	at := func(s float64) time.Time { return now.Add(time.Duration(s * float64(time.Second))) }
	sample := func(s float64, list ...transfer.SessionInfo) {
		m.sample(func() []transfer.SessionInfo { return list }, at(s))
	}
	sample(0)
	sample(0.5, transfer.SessionInfo{ID: "a", BytesIn: 1000, BytesOut: 10}) // too soon for a rate
	sample(2, transfer.SessionInfo{ID: "a", BytesIn: 2000, BytesOut: 20}, transfer.SessionInfo{ID: "b", BytesIn: 500})
	if r, in, out := m.read(); r.In != 1250 || r.Out != 10 || in != 2500 || out != 20 {
		t.Errorf("got %+v %d %d", r, in, out)
	}
	sample(4, transfer.SessionInfo{ID: "b", BytesIn: 700}) // a has ended
	if r, in, out := m.read(); r.In != 100 || r.Out != 0 || in != 2700 || out != 20 {
		t.Errorf("got %+v %d %d", r, in, out)
	}
}

func TestResetKeyIsTheSameInEachRunAndNoOthers(t *testing.T) {
	a, b := identity(t), identity(t)
	again, err := crypto.NewIdentity(a.Certificate()) // as the next run reads it from the disk
	if err != nil {
		t.Fatal(err)
	}
	if resetKey(a) != resetKey(again) || resetKey(a) == resetKey(b) || resetKey(a) == [32]byte{} {
		t.Error("not bound to the identity")
	}
}
