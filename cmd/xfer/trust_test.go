//go:build unix

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"xfer/certs"
	"xfer/certs/certstest"
	"xfer/crypto"
	"xfer/transfer/transport"
	"xfer/transfer/wire"
)

// refusedWithin is how long a refusal may take here: it is meant to be less than a second, on a machine with nothing else to do.
const refusedWithin = 5 * time.Second

// TestServerRefuses: whoever is not an enrolled client with a good certificate is turned away at once, before it was answered anything.
func TestServerRefuses(t *testing.T) {
	expired := certstest.Expired(t)
	with := func(id *crypto.Identity, server crypto.PeerID, change func(*tls.Config)) *tls.Config {
		c := crypto.ClientTLS(id, server)
		change(c)
		return c
	}
	show := func(c tls.Certificate) func(*tls.Config) {
		return func(cfg *tls.Config) {
			cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
		}
	}
	cases := map[string]struct {
		change   func(*tls.Config)
		stranger bool // the handshake is good, but the key is nobody's
		tcpOnly  bool // QUIC has no older TLS (RFC 9001)
	}{
		"TLS 1.2": {func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }, false, true},
		"no certificate": {func(c *tls.Config) {
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
		}, false, false},
		"a stranger":            {func(*tls.Config) {}, true, false},
		"an expired one":        {show(expired.Certificate()), false, false},
		"one not valid yet":     {show(certstest.NotYetValid(t).Certificate()), false, false},
		"an ECDSA key":          {show(certstest.WrongKeyType(t)), false, false},
		"another protocol":      {func(c *tls.Config) { c.NextProtos = []string{"h2"} }, false, false},
		"no protocol":           {func(c *tls.Config) { c.NextProtos = nil }, false, true},
		"a certificate of two":  {func(c *tls.Config) { twoCertificates(t, c) }, false, false},
		"another's certificate": {func(c *tls.Config) { stolenCertificate(t, c) }, false, false},
	}
	over(t, func(t *testing.T, kind string) {
		d := acceptDaemon(t)
		server := d.identity(t).ID()
		for name, c := range cases {
			if c.tcpOnly && kind != "tcp" {
				continue
			}
			began := time.Now()
			conn, err := dialAs(kind, d.addr, with(certstest.New(t), server, c.change))
			if err == nil { // TLS 1.3: the client learns of the refusal with its first read
				var m wire.Message
				var f *framer
				if f, err = framerOn(t, conn); err == nil {
					_, _ = f.st.Write(frameOf(t, 0, wire.Hello{Versions: []uint64{0}})) // which may come too late
					m, err = f.next()
				}
				e, isError := m.(wire.Error)
				switch {
				case c.stranger && (!isError || e.Code != wire.CodeAuth):
					t.Errorf("%s: answered by %T %+v, %v", name, m, m, err)
				case !c.stranger && err == nil:
					t.Errorf("%s: answered by %T %+v", name, m, m)
				}
			} else if c.stranger {
				t.Errorf("%s: no handshake: %v", name, err)
			}
			took := time.Since(began)
			if took > refusedWithin {
				t.Errorf("%s: refused after %v", name, took)
			}
			t.Logf("%s: refused after %v: %v", name, took.Round(time.Millisecond), err)
		}
		if o := d.must("status", "--json"); !strings.Contains(o.stdout, `"sessions":0`) {
			t.Errorf("a session has begun: %s", o.stdout)
		}
	})
}

func twoCertificates(t testing.TB, c *tls.Config) {
	one, other := certstest.New(t).Certificate(), certstest.New(t).Certificate()
	one.Certificate = append(one.Certificate[:1:1], other.Certificate[0])
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &one, nil }
}

// stolenCertificate shows a certificate without having its key.
func stolenCertificate(t testing.TB, c *tls.Config) {
	one, other := certstest.New(t).Certificate(), certstest.New(t).Certificate()
	one.PrivateKey = other.PrivateKey
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &one, nil }
}

// TestStrangerIsRefused is the same with the program: a client that knows the server, and is not known to it.
func TestStrangerIsRefused(t *testing.T) {
	over(t, func(t *testing.T, transport string) {
		d := acceptDaemon(t)
		known := d.enrolled()
		stranger := newSide(t)
		stranger.env = known.env
		stranger.identity(t)
		mustWrite(t, filepath.Join(stranger.home, "trust/known_hosts.toml"), string(mustRead(t, filepath.Join(known.home, "trust/known_hosts.toml"))), 0o600)
		src := filepath.Join(t.TempDir(), "a-name-to-keep")
		mustRandomFile(t, src, 1, 1000)
		for _, args := range [][]string{{"send", src, d.host("")}, {"get", d.host("x"), t.TempDir()}, {"ls", d.host("")}, {"rm", d.host("x")}} {
			began := time.Now()
			stranger.want(t, 5, append(args, "--transport", transport, "--retry-for", "1m")...)
			if took := time.Since(began); took > refusedWithin {
				t.Errorf("%s: refused after %v", args[0], took)
			}
		}
		if strings.Contains(d.logs.String(), "a-name-to-keep") {
			t.Errorf("the server knows the name:\n%s", d.logs)
		}
		if _, err := os.Stat(d.inbox("a-name-to-keep")); err == nil {
			t.Error("the file is there")
		}
		// The known one whose access is taken away.
		known.want(t, 0, "send", "--transport", transport, src, d.host(""))
		clients, err := os.ReadDir(filepath.Join(d.home, "trust/clients.d"))
		must(t, err)
		d.want(t, 0, "trust", "rm", strings.TrimSuffix(clients[0].Name(), ".toml"))
		known.want(t, 5, "ls", "--transport", transport, d.host(""))
	})
}

// fakeServer is a server with a key of our choice, on one port for TCP and QUIC. It reads all that a client sends.
type fakeServer struct {
	port int
	mu   sync.Mutex
	got  bytes.Buffer // after handshakes
	all  int          // connections whose handshake was complete
}

// startFake answers every first bytes with answer, if there is one.
func startFake(t testing.TB, id *crypto.Identity, answer []byte) *fakeServer {
	t.Helper()
	ls, err := transport.Listen("127.0.0.1:0", []transport.Kind{transport.TCP, transport.QUIC}, crypto.ServerTLS(id, nil), transport.ListenOptions{})
	must(t, err)
	s := &fakeServer{port: ls[0].Addr().(*net.TCPAddr).Port}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for _, l := range ls {
		wg.Go(func() {
			for {
				c, err := l.Accept(ctx)
				if err != nil {
					return
				}
				s.mu.Lock()
				s.all++
				s.mu.Unlock()
				wg.Go(func() { s.serve(ctx, c, answer) })
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		for _, l := range ls {
			_ = l.Close()
		}
		wg.Wait()
	})
	return s
}

func (s *fakeServer) serve(ctx context.Context, c transport.Conn, answer []byte) {
	defer c.Close(0, "")
	st, err := c.AcceptStream(ctx)
	if err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close(0, "") })
	defer stop()
	_ = st.SetReadDeadline(time.Now().Add(20 * time.Second))
	b := make([]byte, 64<<10)
	for first := true; ; first = false {
		n, err := st.Read(b)
		s.mu.Lock()
		s.got.Write(b[:n])
		s.mu.Unlock()
		if err != nil {
			return
		}
		if first && answer != nil {
			_, _ = st.Write(answer)
		}
	}
}

func (s *fakeServer) received() (connections int, bytes string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all, s.got.String()
}

// pinnedTo makes c believe that the server at port has the key id.
func (s *side) pinnedTo(t testing.TB, port int, id crypto.PeerID) {
	t.Helper()
	store, err := certs.Open(filepath.Join(s.home, "trust"), certs.Options{})
	must(t, err)
	defer store.Close()
	must(t, store.Pin(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), id, "us"))
	s.env = []string{"XFER_PORT=" + strconv.Itoa(port)}
}

// TestWrongKeyOfTheServer: a client that meets another key than the one it knows says both, and sends nothing at all.
func TestWrongKeyOfTheServer(t *testing.T) {
	over(t, func(t *testing.T, kind string) {
		pinned, shown := certstest.New(t), certstest.New(t)
		fake := startFake(t, shown, nil)
		c := newSide(t)
		c.pinnedTo(t, fake.port, pinned.ID())
		src := filepath.Join(t.TempDir(), "a-name-to-keep")
		mustRandomFile(t, src, 1, 1000)
		for _, args := range [][]string{
			{"send", src, "127.0.0.1:dir/a-name-to-keep"}, {"get", "127.0.0.1:a-name-to-keep", t.TempDir()}, {"ls", "127.0.0.1:a-name-to-keep"}, {"send", "--batch", src, "127.0.0.1:"},
		} {
			began := time.Now()
			o := c.want(t, 5, append(args, "--transport", kind, "--retry-for", "1m")...)
			if took := time.Since(began); took > refusedWithin {
				t.Errorf("%s: gave up after %v", args[0], took)
			}
			for _, id := range []crypto.PeerID{pinned.ID(), shown.ID()} {
				if !strings.Contains(o.stderr, id.Grouped()) && !strings.Contains(o.stderr, id.String()) {
					t.Errorf("%s: %s is not among what is said:\n%s", args[0], id, o.stderr)
				}
			}
		}
		if n, got := fake.received(); got != "" {
			t.Errorf("%d connections, and the wrong server was sent %q", n, got)
		}
		peer, known := pinOf(t, c, fake.port)
		if !known || peer != pinned.ID() {
			t.Errorf("the pin has changed: %v %v", peer, known)
		}
	})
	t.Run("a certificate that has expired", func(t *testing.T) {
		over(t, func(t *testing.T, kind string) {
			id := certstest.Expired(t)
			fake := startFake(t, id, nil)
			c := newSide(t)
			c.pinnedTo(t, fake.port, id.ID())
			if o := c.want(t, 5, "ls", "--transport", kind, "127.0.0.1:a-name-to-keep"); !strings.Contains(o.stderr, "expired") {
				t.Errorf("it does not say so: %s", o.stderr)
			}
			if _, got := fake.received(); got != "" {
				t.Errorf("it was sent %q", got)
			}
		})
	})
}

func pinOf(t testing.TB, s *side, port int) (crypto.PeerID, bool) {
	t.Helper()
	store, err := certs.Open(filepath.Join(s.home, "trust"), certs.Options{})
	must(t, err)
	defer store.Close()
	p, ok, err := store.KnownPeer(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	must(t, err)
	return p.ID, ok
}

// TestNoNameBeforeTheWelcome: a client says HELLO to the right server, is told that it is not welcome, and has not said what it wants.
func TestNoNameBeforeTheWelcome(t *testing.T) {
	over(t, func(t *testing.T, kind string) {
		id := certstest.New(t)
		refusal := frameOf(t, 0, wire.Error{Code: wire.CodeAuth, Class: wire.CodeAuth.Class(), Text: "who are you\x1b[31m"})
		fake := startFake(t, id, refusal)
		c := newSide(t)
		c.pinnedTo(t, fake.port, id.ID())
		src := filepath.Join(t.TempDir(), "a-name-to-keep")
		mustWrite(t, src, "content to keep", 0o644)
		for _, args := range [][]string{{"send", src, "127.0.0.1:/a-root-to-keep/a-name-to-keep"}, {"get", "127.0.0.1:a-name-to-keep", t.TempDir()}, {"mv", "127.0.0.1:a-name-to-keep", "127.0.0.1:x"}} {
			c.want(t, 5, append(args, "--transport", kind)...).clean(t, args[0])
		}
		n, got := fake.received()
		if n < 3 || len(got) == 0 {
			t.Errorf("%d connections, %d bytes: the server was not asked at all", n, len(got))
		}
		if i := strings.Index(got, "to-keep"); i >= 0 || strings.Contains(got, "content to keep") {
			t.Errorf("it was sent %q", got)
		}
	})
}

// code asks for an invitation and returns its code.
func (s *server) code(args ...string) string {
	s.t.Helper()
	lines := strings.Split(strings.TrimSpace(s.must(append([]string{"invite"}, args...)...).stdout), "\n")
	return lines[len(lines)-1]
}

// wrongCode is another code with the same public part.
func wrongCode(t testing.TB, code string, i int) string {
	t.Helper()
	letters := "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	b := []byte(code)
	at := len(b) - 1 - i
	b[at] = letters[(strings.IndexByte(letters, b[at])+1)%len(letters)]
	right, err := crypto.ParseCode(code)
	must(t, err)
	wrong, err := crypto.ParseCode(string(b))
	must(t, err)
	if right.ID() != wrong.ID() || right == wrong {
		t.Fatalf("%s and %s: not another code of the same id", code, b)
	}
	return string(b)
}

// clients are the names of those that a server knows.
func (s *server) clients(t testing.TB) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.home, "trust", "clients.d"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestCodes: five wrong tries kill a code, four do not; one is good once, and not for ever.
func TestCodes(t *testing.T) {
	over(t, func(t *testing.T, kind string) {
		d := acceptDaemon(t)
		enroll := func(code string) (*side, outcome) {
			c := newSide(t)
			c.env = []string{"XFER_PORT=" + d.port(), "XFER_TRANSPORT=" + kind}
			began := time.Now()
			o := c.run(code+"\n", "enroll", "127.0.0.1")
			if took := time.Since(began); took > refusedWithin {
				t.Errorf("the answer to a code took %v", took)
			}
			if strings.Contains(o.stdout+o.stderr+d.logs.String(), code) {
				t.Error("the code was printed")
			}
			return c, o
		}
		refused := func(what, code string) {
			t.Helper()
			before := len(d.clients(t))
			c, o := enroll(code)
			if o.code != 5 {
				t.Errorf("%s: exit %d: %s", what, o.code, o.stderr)
			}
			if _, known := pinOf(t, c, mustPort(t, d)); known {
				t.Errorf("%s: the server was pinned", what)
			}
			if now := d.clients(t); len(now) != before {
				t.Errorf("%s: a new client: %q", what, now)
			}
		}
		four := d.code("--name", "four")
		for i := range 4 {
			refused("a wrong code", wrongCode(t, four, i))
		}
		c, o := enroll(strings.ToLower(strings.ReplaceAll(four, "-", " ")))
		if o.code != 0 {
			t.Fatalf("after four wrong tries: exit %d: %s", o.code, o.stderr)
		}
		c.want(t, 0, "ls", d.host(""))
		refused("a used code", four)

		// The daemon counts failed tries of an address, too: a new one begins at nought.
		d.kill(15)
		d.restart()
		five := d.code("--name", "five")
		for i := range 5 {
			refused("a wrong code", wrongCode(t, five, i))
		}
		refused("the right code after five wrong ones", five)
		late := d.code("--name", "late", "--expires", "1ms")
		refused("an expired code", late)
		if now := d.clients(t); len(now) != 1 {
			t.Errorf("clients: %q", now)
		}
	})
}

func mustPort(t testing.TB, d *server) int {
	t.Helper()
	n, err := strconv.Atoi(d.port())
	must(t, err)
	return n
}

// middle ends TLS on both sides with keys of its own, and passes on all that is within; or answers by itself.
type middle struct {
	port   int
	passed *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Len()
}

func startMiddle(t testing.TB, kind, to string) *middle {
	t.Helper()
	front, back := certstest.Pair(t)
	ls, err := transport.Listen("127.0.0.1:0", []transport.Kind{transport.TCP, transport.QUIC}, crypto.ServerTLS(front, nil), transport.ListenOptions{})
	must(t, err)
	m := &middle{port: ls[0].Addr().(*net.TCPAddr).Port, passed: &syncBuffer{}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	relay := func(c transport.Conn) {
		defer c.Close(0, "")
		st, err := c.AcceptStream(ctx)
		if err != nil {
			return
		}
		out, err := dialAs(kind, to, crypto.ClientTLSAny(back, nil))
		if err != nil {
			t.Error(err)
			return
		}
		defer out.Close(0, "")
		stop := context.AfterFunc(ctx, func() { _ = c.Close(0, ""); _ = out.Close(0, "") })
		defer stop()
		up, err := out.OpenStream(ctx)
		if err != nil {
			return
		}
		wg.Go(func() { _, _ = io.Copy(io.MultiWriter(up, m.passed), st); _ = up.CloseWrite() })
		_, _ = io.Copy(st, up)
		_ = st.CloseWrite()
	}
	for _, l := range ls {
		wg.Go(func() {
			for {
				c, err := l.Accept(ctx)
				if err != nil {
					return
				}
				wg.Go(func() { relay(c) })
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		for _, l := range ls {
			_ = l.Close()
		}
		wg.Wait()
	})
	return m
}

// TestManInTheMiddleOfEnroll: whoever stands between the two while a code is given, with keys of his own, is found out by both.
func TestManInTheMiddleOfEnroll(t *testing.T) {
	over(t, func(t *testing.T, kind string) {
		d := acceptDaemon(t)
		code := d.code("--name", "victim")
		m := startMiddle(t, kind, d.addr)
		c := newSide(t)
		c.env = []string{"XFER_PORT=" + strconv.Itoa(m.port)}
		o := c.run(code+"\n", "enroll", "--transport", kind, "127.0.0.1")
		if o.code != 5 {
			t.Errorf("exit %d: %s", o.code, o.stderr)
		}
		if m.passed.Len() == 0 {
			t.Error("nothing went through the man in the middle")
		}
		if _, known := pinOf(t, c, m.port); known {
			t.Error("the client has pinned him")
		}
		if now := d.clients(t); len(now) > 0 {
			t.Errorf("the server knows %q", now)
		}
		// He answers by himself, with proofs that he can make.
		for name, proof := range map[string][]byte{"zero": make([]byte, 32), "of another code": anyProof(t)} {
			answer := frameOf(t, 1, wire.Enrolled{MAC: proof, Name: "victim", Roots: []wire.RootInfo{{Name: "inbox", Rights: []string{"put"}, Default: true}}})
			fake := startFake(t, certstest.New(t), answer)
			c := newSide(t)
			c.env = []string{"XFER_PORT=" + strconv.Itoa(fake.port)}
			if o := c.run(code+"\n", "enroll", "--transport", kind, "127.0.0.1"); o.code != 5 {
				t.Errorf("a proof that is %s: exit %d: %s", name, o.code, o.stderr)
			}
			if _, known := pinOf(t, c, fake.port); known {
				t.Errorf("a proof that is %s: pinned", name)
			}
		}
		// It was one wrong try: the code is still good for the two alone.
		c.env = []string{"XFER_PORT=" + d.port()}
		if o := c.run(code+"\n", "enroll", "--transport", kind, "127.0.0.1"); o.code != 0 {
			t.Errorf("without him: exit %d: %s", o.code, o.stderr)
		}
	})
}

func anyProof(t testing.TB) []byte {
	code, err := crypto.NewCode()
	must(t, err)
	proof, err := code.ServerProof(noExporter{}, certstest.New(t).SPKI(), certstest.New(t).SPKI())
	must(t, err)
	return proof
}

type noExporter struct{}

func (noExporter) Export(_ string, n int) ([]byte, error) { return make([]byte, n), nil }

// TestRights: what a client may do is what it was invited for, by each verb.
func TestRights(t *testing.T) {
	over(t, func(t *testing.T, kind string) {
		base := t.TempDir()
		root, other := filepath.Join(base, "data"), filepath.Join(base, "other")
		d := acceptDaemon(t, "--root", "data="+root, "--root", "other="+other)
		mustWrite(t, filepath.Join(other, "theirs"), "secret of the other root", 0o644)
		one, two, tree := filepath.Join(base, "one"), filepath.Join(base, "two"), filepath.Join(base, "tree")
		mustWrite(t, one, "one", 0o644)
		mustWrite(t, two, "two, and more", 0o644)
		mustWrite(t, filepath.Join(tree, "sub/f"), "in a tree", 0o644)
		type step struct {
			code int
			args []string
		}
		read := func(code int) []step {
			return []step{
				{code, []string{"get", ":there", base + "/got"}}, {code, []string{"cat", ":there"}}, {code, []string{"hash", ":there"}}, {code, []string{"stat", ":there"}},
				{code, []string{"ls", ":"}}, {code, []string{"ls", "-l", ":dir"}}, {code, []string{"get", ":dir/", base + "/got2"}},
			}
		}
		change := func(code int) []step {
			return []step{
				{code, []string{"rm", ":there"}}, {code, []string{"rm", "-r", ":dir"}}, {code, []string{"mv", ":there", ":elsewhere"}},
				{code, []string{"mv", ":dir/in", ":there"}}, {code, []string{"send", two, ":there"}},
			}
		}
		steps := map[string][]step{
			"get": append(append(read(0), change(4)...), step{4, []string{"send", one, ":new"}}, step{4, []string{"mkdir", ":newdir"}}, step{4, []string{"send", tree, ":"}}),
			"put": {
				{0, []string{"send", one, ":new"}}, {0, []string{"send", two, ":there"}}, {0, []string{"send", tree, ":"}}, {4, []string{"rm", ":there"}},
				{4, []string{"mv", ":there", ":x"}}, {4, []string{"get", ":there", base + "/got"}}, {4, []string{"cat", ":there"}}, {4, []string{"ls", ":"}}, {4, []string{"hash", ":there"}},
			},
			"append": append(append(read(0), change(4)...),
				step{0, []string{"send", one, ":new"}}, step{0, []string{"send", one, ":new"}}, step{4, []string{"send", two, ":new"}}, step{0, []string{"send", tree, ":"}},
				step{0, []string{"send", tree, ":"}}, step{4, []string{"send", two, ":dir/in"}}, step{0, []string{"mkdir", ":newdir"}}),
			"write-only": append(append(read(4), change(4)...),
				step{0, []string{"send", one, ":new"}}, step{0, []string{"send", one, ":new"}}, step{0, []string{"send", "-c", one, ":new"}}, step{4, []string{"send", two, ":new"}},
				step{0, []string{"send", tree, ":"}}, step{0, []string{"send", tree, ":"}}, step{4, []string{"check", one, ":there"}}),
			"all":      append(read(0), step{0, []string{"send", two, ":there"}}, step{0, []string{"mv", ":there", ":x"}}, step{0, []string{"rm", ":x"}}, step{0, []string{"rm", "-r", ":dir"}}),
			"put,stat": {{0, []string{"send", one, ":new"}}, {0, []string{"stat", ":there"}}, {4, []string{"ls", ":"}}, {4, []string{"get", ":there", base + "/got"}}},
			"list":     {{0, []string{"ls", ":"}}, {4, []string{"cat", ":there"}}, {4, []string{"send", one, ":new"}}},
		}
		roots := func(code int) []step {
			return []step{
				{3, []string{"get", ":/other/theirs", base + "/got"}}, {3, []string{"send", one, ":/other/new"}}, {3, []string{"ls", ":/other"}}, {3, []string{"cat", ":/other/theirs"}},
				{3, []string{"rm", ":/other/theirs"}}, {3, []string{"mv", ":/other/theirs", ":/other/x"}}, {3, []string{"ls", ":/nosuch"}},
			}
		}
		for rights, list := range steps {
			must(t, os.RemoveAll(filepath.Join(root, "tree")))
			for _, name := range []string{"new", "newdir", "x", "elsewhere"} {
				must(t, os.RemoveAll(filepath.Join(root, name)))
			}
			mustWrite(t, filepath.Join(root, "there"), "there before", 0o644)
			mustWrite(t, filepath.Join(root, "dir/in"), "in dir", 0o644)
			c := d.enrolled("--root", "data", "--rights", rights)
			for _, s := range append(list, roots(3)...) {
				args := []string{s.args[0], "--transport", kind}
				for _, a := range s.args[1:] {
					if strings.HasPrefix(a, ":") {
						a = "127.0.0.1" + a
					}
					args = append(args, a)
				}
				must(t, os.RemoveAll(base+"/got"))
				before := takePicture(t, root, ".xfer")
				o := c.run("", args...)
				if o.code != s.code {
					t.Errorf("%s: %q: exit %d, want %d: %s%s", rights, s.args, o.code, s.code, o.stdout, o.stderr)
				}
				if s.code != 0 {
					before.mustEqual(t, rights+": "+strings.Join(s.args, " "), takePicture(t, root, ".xfer"))
				}
				if s.code == 4 || s.code == 3 {
					if regexp.MustCompile("there before|in dir|secret of").MatchString(o.stdout + o.stderr) {
						t.Errorf("%s: %q shows %s%s", rights, s.args, o.stdout, o.stderr)
					}
				}
			}
			if rights == "append" || rights == "write-only" {
				if got := mustRead(t, filepath.Join(root, "new")); string(got) != "one" {
					t.Errorf("%s: %q was replaced", rights, got)
				}
			}
		}
		if got := mustRead(t, filepath.Join(other, "theirs")); string(got) != "secret of the other root" {
			t.Errorf("the other root: %q", got)
		}
		if entries, err := os.ReadDir(other); err != nil || len(entries) > 2 {
			t.Errorf("the other root has %v, %v", entries, err)
		}
	})
}
