package transfer

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"xfer/certs/certstest"
	"xfer/crypto"
	"xfer/transfer/sink"
	"xfer/transfer/transport"
)

// kinds are the transports that each end-to-end test runs over.
var kinds = []transport.Kind{transport.TCP, transport.QUIC}

// overAll runs f over each transport.
func overAll(t *testing.T, f func(t *testing.T, h *host)) {
	for _, k := range kinds {
		t.Run(string(k), func(t *testing.T) {
			t.Parallel() // most of the time they wait
			f(t, newHost(t, k))
		})
	}
}

// overOne is overAll for what is much work and the same over any transport: with -short over TCP alone.
func overOne(t *testing.T, f func(t *testing.T, h *host)) {
	if !testing.Short() {
		overAll(t, f)
		return
	}
	t.Parallel()
	f(t, newHost(t, kinds[0]))
}

// host is a server with one root on a loopback port, and a client that it knows.
type host struct {
	t      testing.TB
	kind   transport.Kind
	root   string // the root's directory
	server *crypto.Identity
	client *crypto.Identity
	addr   string

	mu     sync.Mutex
	known  crypto.PeerID // the one client that is let in; guarded by mu, as all that set changes
	rights sink.Rights
	dir    *sink.Dir

	bandwidth []*Bandwidth

	srv    *Server
	cancel context.CancelFunc
	done   chan struct{}
	l      transport.Listener

	dials   atomic.Int64
	onDial  func(n int64, c transport.Conn) transport.Conn
	dialErr func(n int64) error
}

func newHost(t testing.TB, kind transport.Kind) *host {
	h := &host{t: t, kind: kind, root: filepath.Join(t.TempDir(), "root"), server: certstest.New(t), client: certstest.New(t), rights: sink.All}
	if err := os.MkdirAll(h.root, 0o755); err != nil {
		t.Fatal(err)
	}
	h.known = h.client.ID()
	h.start()
	t.Cleanup(func() {
		h.stop()
		if n := h.srv.Panics(); n != 0 {
			t.Errorf("%d panics in the server", n)
		}
	})
	return h
}

// start serves; after stop it does so on the same address.
func (h *host) start() {
	h.t.Helper()
	cfg := crypto.ServerTLS(h.server, nil)
	addr := h.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var l transport.Listener
	var err error
	for range 50 {
		if h.kind == transport.QUIC {
			var pc net.PacketConn
			if pc, err = net.ListenPacket("udp", addr); err == nil {
				l, err = transport.ListenQUIC(pc, cfg, transport.ListenOptions{})
			}
		} else {
			var tl net.Listener
			if tl, err = net.Listen("tcp", addr); err == nil {
				l, err = transport.ListenTCP(tl, cfg, transport.ListenOptions{})
			}
		}
		if err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond) // the port is being given back
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.l, h.addr = l, l.Addr().String()
	dir, err := sink.OpenDir(h.root, sink.Options{KeepDoneLog: true})
	if err != nil {
		h.t.Fatal(err)
	}
	h.swapDir(dir)
	h.srv = &Server{Identity: h.server, Policy: h, Agent: "test", Log: slog.New(slog.NewTextHandler(h.t.Output(), nil))}
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel, h.done = cancel, make(chan struct{})
	srv, done := h.srv, h.done
	go func() {
		defer close(done)
		var wg sync.WaitGroup
		defer wg.Wait()
		for {
			c, err := l.Accept(ctx)
			if err != nil {
				return
			}
			h.set(func() {}) // what was set before this connection came is seen
			wg.Go(func() { _ = srv.Serve(ctx, c) })
		}
	}()
}

// stop ends the server; what it received is parked.
func (h *host) stop() {
	h.cancel()
	_ = h.l.Close()
	<-h.done
	if old := h.swapDir(nil); old != nil {
		_ = old.Close()
	}
}

// set changes what the server goes by, for the connections that come from now on.
func (h *host) set(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

// swapDir makes dir what the next session stores in, and returns what it was.
func (h *host) swapDir(dir *sink.Dir) (old *sink.Dir) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old, h.dir = h.dir, dir
	return old
}

func (h *host) Authorize(_ context.Context, peer crypto.PeerID, _ []*x509.Certificate, _ string) (Grant, func(), error) {
	h.mu.Lock()
	known, rights, dir, bandwidth := h.known, h.rights, h.dir, h.bandwidth
	h.mu.Unlock()
	if peer != known {
		return Grant{}, nil, &Error{Op: "authorize", Kind: KindTrust, Err: errors.New("this key is not known here")}
	}
	words := []string{"all"}
	if rights&sink.SpecialModes != 0 {
		words = append(words, "special-modes")
	}
	return Grant{Name: "laptop", Owner: peer.String(), Bandwidth: bandwidth, Roots: []GrantedRoot{
		{Name: "inbox", View: dir.View(peer.String(), rights), Rights: words, Default: true},
	}}, func() {}, nil
}

func (h *host) Enroll(context.Context, crypto.PeerID, string, [2]byte) (Enrolment, error) {
	return nil, errors.New("no codes here")
}

func (h *host) dial(ctx context.Context) (transport.Conn, error) {
	n := h.dials.Add(1)
	if h.dialErr != nil {
		if err := h.dialErr(n); err != nil {
			return nil, err
		}
	}
	cfg := crypto.ClientTLS(h.client, h.server.ID())
	var c transport.Conn
	var err error
	if h.kind == transport.QUIC {
		c, err = transport.DialQUIC(ctx, h.addr, cfg, transport.DialOptions{})
	} else {
		c, err = transport.DialTCP(ctx, h.addr, cfg, transport.DialOptions{})
	}
	if err != nil {
		return nil, &Error{Op: "dial", Kind: KindUnreachable, Err: err}
	}
	if h.onDial != nil {
		c = h.onDial(n, c)
	}
	return c, nil
}

func (h *host) newClient(o Options) *Client {
	if o.RetryFor == 0 {
		o.RetryFor = 20 * time.Second
	}
	return &Client{Dial: h.dial, Identity: h.client, Agent: "test", Options: o}
}

// path is where a name of the root lies.
func (h *host) path(name string) string { return filepath.Join(h.root, name) }

func (h *host) mustSend(o Options, dst string, src ...string) Result {
	h.t.Helper()
	res, err := h.send(o, dst, src...)
	if err != nil {
		h.t.Fatalf("send: %v", err)
	}
	return res
}

func (h *host) send(o Options, dst string, src ...string) (Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	var list []Source
	for _, s := range src {
		list = append(list, Source{Path: s})
	}
	return h.newClient(o).Send(ctx, list, addrOf(dst))
}

func addrOf(s string) Address {
	a := Address{TrailSlash: strings.HasSuffix(s, "/")}
	if s = strings.Trim(s, "/"); s != "" {
		a.Path = strings.Split(s, "/")
	}
	return a
}

func (h *host) mustGet(o Options, dst string, src ...string) Result {
	h.t.Helper()
	res, err := h.get(o, dst, src...)
	if err != nil {
		h.t.Fatalf("get: %v", err)
	}
	return res
}

func (h *host) get(o Options, dst string, src ...string) (Result, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	var list []Address
	for _, s := range src {
		list = append(list, addrOf(s))
	}
	return h.newClient(o).Get(ctx, list, dst, nil)
}

// randomBytes are n bytes of a seed.
func randomBytes(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), 1})
	_, _ = r.Read(b)
	return b
}

func mustWrite(t testing.TB, name string, data []byte, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, data, mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
	old := time.Date(2024, 5, 6, 7, 8, 9, 123456789, time.UTC).Add(time.Duration(len(data)) * time.Nanosecond)
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
}

func mustEqualFile(t *testing.T, got, want string) {
	t.Helper()
	a, err := os.ReadFile(got)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(want)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Fatalf("%s differs from %s: %d and %d bytes", got, want, len(a), len(b))
	}
	ia, _ := os.Lstat(got)
	ib, _ := os.Lstat(want)
	if ia.Mode() != ib.Mode() || !ia.ModTime().Equal(ib.ModTime()) {
		t.Fatalf("%s: mode %v time %v, want %v %v", got, ia.Mode(), ia.ModTime(), ib.Mode(), ib.ModTime())
	}
}

// mustEqualTree compares two trees: names, types, contents, modes, links, and the times of files.
func mustEqualTree(t *testing.T, got, want string) {
	t.Helper()
	a, b := snapshot(t, got), snapshot(t, want)
	for name, x := range b {
		if y, ok := a[name]; !ok {
			t.Errorf("%q is missing", name)
		} else if x != y {
			t.Errorf("%q: got %s, want %s", name, y, x)
		}
	}
	for name := range a {
		if _, ok := b[name]; !ok {
			t.Errorf("%q should not be there", name)
		}
	}
}

func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.Walk(root, func(p string, info fs.FileInfo, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		if rel == ".xfer" {
			return filepath.SkipDir
		}
		s := info.Mode().String()
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			d := crypto.NewHasher()
			_, _ = d.Write(data)
			s += " " + d.Sum().String() + " " + info.ModTime().UTC().Format(time.RFC3339Nano)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			s = "link " + target
		}
		if rel != "." {
			out[rel] = s
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// cutConn ends its connection after a number of bytes written or read on its streams.
type cutConn struct {
	transport.Conn
	left *atomic.Int64
}

// cutAfter ends the connections of a host after n bytes in all on their streams, again and again until cuts times.
func cutAfter(n int64, cuts int64) func(int64, transport.Conn) transport.Conn {
	var left, done atomic.Int64
	left.Store(n)
	return func(_ int64, c transport.Conn) transport.Conn {
		if left.Load() <= 0 && done.Add(1) < cuts {
			left.Store(n)
		}
		if done.Load() >= cuts {
			return c
		}
		return &cutConn{Conn: c, left: &left}
	}
}

func (c *cutConn) OpenStream(ctx context.Context) (transport.Stream, error) {
	s, err := c.Conn.OpenStream(ctx)
	if err != nil {
		return nil, err
	}
	return &cutStream{Stream: s, c: c}, nil
}

type cutStream struct {
	transport.Stream
	c *cutConn
}

func (s *cutStream) count(n int) error {
	if s.c.left.Add(-int64(n)) <= 0 {
		_ = s.c.Conn.Close(1, "cut")
		return errors.New("cut by the test")
	}
	return nil
}

func (s *cutStream) Write(p []byte) (int, error) {
	if err := s.count(len(p)); err != nil {
		return 0, err
	}
	return s.Stream.Write(p)
}

func (s *cutStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	if err == nil {
		err = s.count(n)
	}
	return n, err
}
