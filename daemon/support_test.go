package daemon

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"xfer/certs"
	"xfer/crypto"
	"xfer/transfer"
	"xfer/transfer/sink"
	"xfer/transfer/transport"
)

// buffer is a log that may be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// fakeRoot stands for a directory; it remembers which views were given.
type fakeRoot struct {
	mu      sync.Mutex
	views   []string // "owner rights"
	closed  int
	cleaned int
	moved   error
	err     error
}

func (f *fakeRoot) View(owner string, r sink.Rights) *sink.View {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.views = append(f.views, fmt.Sprintf("%s %d", owner, r))
	return &sink.View{}
}

func (f *fakeRoot) CleanUp(context.Context) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cleaned++
	return 0, f.err
}

func (f *fakeRoot) Here() error                           { return f.moved }
func (f *fakeRoot) Space() (free, total int64, err error) { return 10, 20, f.err }

func (f *fakeRoot) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed++
	return nil
}

func (f *fakeRoot) closes() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// fakeEngine serves a connection by asking the policy, if it has one, and waiting for the end of the context.
type fakeEngine struct {
	policy transfer.Policy
	serve  func(ctx context.Context, c transport.Conn) error // instead

	mu      sync.Mutex
	drained int
	ends    []error // causes, or what Serve returned
}

func (f *fakeEngine) Serve(ctx context.Context, c transport.Conn) (err error) {
	defer func() {
		f.mu.Lock()
		f.ends = append(f.ends, err)
		f.mu.Unlock()
	}()
	if f.serve != nil {
		return f.serve(ctx, c)
	}
	if f.policy != nil {
		_, release, err := f.policy.Authorize(ctx, c.Peer(), c.PeerCertificates(), c.RemoteAddr().String())
		if err != nil {
			return err
		}
		defer release()
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.Done():
		return net.ErrClosed
	}
}

func (f *fakeEngine) Drain(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drained++
	return nil
}

func (f *fakeEngine) Sessions() []transfer.SessionInfo { return nil }
func (f *fakeEngine) Panics() int64                    { return 0 }

func (f *fakeEngine) ended() []error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.ends)
}

// fakeConn is a connection of a peer that says nothing.
type fakeConn struct {
	transport.Conn // no other method is called
	peer           crypto.PeerID
	remote         string
	notAfter       time.Time
	once           sync.Once
	done           chan struct{}
}

func newConn(peer crypto.PeerID) *fakeConn {
	return &fakeConn{peer: peer, remote: "192.0.2.1:99", done: make(chan struct{})}
}

func (c *fakeConn) Kind() transport.Kind  { return transport.Memory }
func (c *fakeConn) Peer() crypto.PeerID   { return c.peer }
func (c *fakeConn) Done() <-chan struct{} { return c.done }
func (c *fakeConn) RemoteAddr() net.Addr  { return fakeAddr(c.remote) }

func (c *fakeConn) PeerCertificates() []*x509.Certificate {
	if c.notAfter.IsZero() {
		return nil
	}
	return []*x509.Certificate{{NotAfter: c.notAfter}}
}

func (c *fakeConn) Close(uint64, string) error {
	c.once.Do(func() { close(c.done) })
	return nil
}

type fakeAddr string

func (fakeAddr) Network() string  { return "fake" }
func (a fakeAddr) String() string { return string(a) }

// world is a daemon with fakes beneath: no sockets, no disk but that of the certificate store.
type world struct {
	*Server
	t      *testing.T
	store  *certs.Store
	engine *fakeEngine
	roots  map[string]*fakeRoot // by name
	log    *buffer
}

// newWorld makes a daemon with the roots "first" and "second".
func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	store, err := certs.Open(filepath.Join(t.TempDir(), "keys"), certs.Options{CheckRights: CheckRights})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	w := &world{t: t, store: store, roots: make(map[string]*fakeRoot), log: &buffer{}}
	dir := t.TempDir()
	cfg := Config{
		Listen: []string{"127.0.0.1:0"},
		Roots:  []RootConfig{{Name: "first", Path: filepath.Join(dir, "1")}, {Name: "second", Path: filepath.Join(dir, "2")}},
		Log:    slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&cfg)
	}
	s, err := build(cfg, store, func(_ string, c RootConfig) (rootDir, error) {
		r := w.roots[c.Name]
		if r == nil {
			r = &fakeRoot{}
			w.roots[c.Name] = r
		}
		return r, r.err
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Server = s
	w.engine = &fakeEngine{policy: s.policy}
	s.engine, s.conns.engine = w.engine, w.engine
	return w
}

// peer makes a key that nobody has.
func peer(n byte) crypto.PeerID { return crypto.PeerID{n, 1} }

// enrol makes a client; grants are "root=right,right".
func (w *world) enrol(c certs.Client) certs.Client {
	w.t.Helper()
	if err := w.store.PutClient(c); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func grants(list ...string) (g []certs.Grant) {
	for i := 0; i < len(list); i += 2 {
		g = append(g, certs.Grant{Root: list[i], Rights: splitWords(list[i+1])})
	}
	return g
}

func kind(t *testing.T, err error, want transfer.Kind) {
	t.Helper()
	if err == nil || transfer.KindOf(err) != want {
		t.Fatalf("got %v (kind %d), want kind %d", err, transfer.KindOf(err), want)
	}
}

func busyAfter(t *testing.T, err error) time.Duration {
	t.Helper()
	kind(t, err, transfer.KindBusy)
	var busy *transfer.BusyError
	if !errors.As(err, &busy) {
		t.Fatalf("no BusyError beneath %v", err)
	}
	return busy.RetryAfter
}
