package control

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata/*.golden.json anew")

// fake is a daemon that says what it is told to.
type fake struct {
	status  Status
	err     error
	reloads int
	mu      sync.Mutex
}

func (f *fake) Status(context.Context) (Status, error) { return f.status, f.err }

func (f *fake) Reload(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reloads++
	return f.err
}

func sample() Status {
	start := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	return Status{
		Version: "v0.1.0", Identity: strings.Repeat("A", 52), PID: 4711, Started: start, UptimeS: 3600,
		Listeners:   []Listener{{"tcp", "[::]:7419"}, {"quic", "[::]:7419"}},
		Transports:  []string{"tcp", "quic"},
		Connections: 3, Waiting: 1, Clients: 2,
		Sessions: []Session{{
			ID: "0123456789abcdef", Client: "laptop", Peer: strings.Repeat("B", 52), Remote: "192.0.2.1:4242", Transport: "quic",
			Since: start.Add(time.Minute), Streams: 2, Transfers: 1, BytesIn: 1 << 30, BytesOut: 12,
		}},
		Rates: Rates{In: 1.5e6, Out: 10},
		Roots: []Root{
			{Name: "inbox", Path: "/srv/inbox", Free: 1 << 40, Total: 1 << 41},
			{Name: "gone", Path: "/mnt/gone", Error: "no such file or directory"},
		},
		CertificateEnd: start.AddDate(0, 3, 0), CertificateDays: 92,
		Totals: Totals{Sessions: 5, Published: 4, Enrolled: 2, Refused: 1, BytesIn: 1 << 31, BytesOut: 13},
		Panics: 0, Draining: false,
	}
}

func listen(t *testing.T, path string) net.Listener {
	t.Helper()
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// serve runs a daemon behind path until the test ends.
func serve(t *testing.T, path string, b Backend) {
	t.Helper()
	l := listen(t, path)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, b, nil) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
}

func dial(t *testing.T, path string) *Client {
	t.Helper()
	c, err := Dial(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// deep is a path for a socket that is longer than any socket address.
func deep(t *testing.T) string {
	dir := t.TempDir()
	for len(dir) < 700 {
		dir = filepath.Join(dir, strings.Repeat("d", 60))
	}
	return filepath.Join(dir, "xfer.sock")
}

func TestStatusHasTheGoldenForm(t *testing.T) {
	rec := httptest.NewRecorder()
	Handler(&fake{status: sample()}).ServeHTTP(rec, httptest.NewRequest("GET", "/v1/status", nil))
	if rec.Code != http.StatusOK || rec.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("got %d %v", rec.Code, rec.Header())
	}
	name := filepath.Join("testdata", "status.golden.json")
	if *update {
		if err := os.WriteFile(name, rec.Body.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := rec.Body.String(); got != string(want) {
		t.Errorf("the form of the answer has changed (go test -update writes it):\n%s\nwant\n%s", got, want)
	}
	var back Status
	if err := json.Unmarshal(want, &back); err != nil || !reflect.DeepEqual(back, sample()) {
		t.Errorf("read back %+v, %v", back, err)
	}
}

func TestClientAndServerOverSocketsOfAnyLength(t *testing.T) {
	for name, path := range map[string]string{"short": filepath.Join(t.TempDir(), "s"), "long": deep(t)} {
		t.Run(name, func(t *testing.T) {
			b := &fake{status: sample()}
			serve(t, path, b)
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("socket: %v, %v; want mode 0600", info, err)
			}
			c := dial(t, path)
			for range 3 {
				st, err := c.Status(t.Context())
				if err != nil || !reflect.DeepEqual(st, sample()) {
					t.Fatalf("got %+v, %v", st, err)
				}
			}
			if err := c.Reload(t.Context()); err != nil || b.reloads != 1 {
				t.Errorf("reload: %v, %d calls", err, b.reloads)
			}
		})
	}
}

func TestSocketThroughALinkWhereThereIsNoProc(t *testing.T) {
	path := deep(t)
	l := listen(t, path)
	short, done, err := viaLink(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("unix", short)
	if err != nil {
		t.Fatalf("connect by the short name: %v", err)
	}
	c.Close()
	done()
	if _, err := os.Lstat(filepath.Dir(short)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the link is still there: %v", err)
	}
	l.Close()
	if _, _, err := viaLink(filepath.Join(t.TempDir(), strings.Repeat("n", maxName))); err == nil {
		t.Error("a name that fits nowhere was taken")
	}
}

func TestALiveDaemonIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := listen(t, path)
	if _, err := Listen(path); !errors.Is(err, ErrRunning) {
		t.Fatalf("second daemon: got %v, want ErrRunning", err)
	}
	if c, err := Dial(path); err != nil {
		t.Fatalf("the first daemon's socket is gone: %v", err)
	} else {
		c.Close()
	}
	l.Close()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket outlives its listener: %v", err)
	}
	listen(t, path)
}

// Another program, or an older version that knows no lock file, is not pushed aside either.
func TestALiveSocketWithoutALockIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	other, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if _, err := Listen(path); !errors.Is(err, ErrRunning) {
		t.Fatalf("got %v, want ErrRunning", err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("its socket is gone: %v", err)
	} else {
		c.Close()
	}
}

func TestASocketOfAKilledDaemonIsReplaced(t *testing.T) {
	for _, path := range []string{filepath.Join(t.TempDir(), "s"), deep(t)} {
		l := listen(t, path).(*listener)
		l.UnixListener.Close() // what a kill leaves: the name, and a lock that ended with the process
		l.unlock()
		if _, err := os.Lstat(path); err != nil {
			t.Fatal("the test's own stale socket is gone")
		}
		if _, err := Dial(path); !errors.Is(err, ErrNotRunning) {
			t.Errorf("dial a stale socket: got %v, want ErrNotRunning", err)
		}
		serve(t, path, &fake{status: sample()})
		if _, err := dial(t, path).Status(t.Context()); err != nil {
			t.Errorf("after the restart: %v", err)
		}
	}
}

// Two that start at once both find no socket; the lock tells them apart.
func TestTheLockAloneIsEnough(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	unlock, err := lockFile(path + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); !errors.Is(err, ErrRunning) {
		t.Fatalf("got %v, want ErrRunning", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a socket was made: %v", err)
	}
	unlock()
	listen(t, path)
}

func TestPeersThatMayNotAskAreClosed(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	g := &gated{Listener: l, places: make(chan struct{}, 1), allow: func(net.Conn) error {
		if n++; n == 1 {
			return errors.New("somebody else")
		}
		return nil
	}}
	defer g.Close()
	var conns [2]net.Conn
	for i := range conns {
		if conns[i], err = net.Dial("unix", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
	}
	c, err := g.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	conns[0].SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conns[0].Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the first is not closed: %v", err)
	}
	c.Write([]byte("x"))
	if _, err := conns[1].Read(make([]byte, 1)); err != nil {
		t.Errorf("the second is closed: %v", err)
	}
}

func TestAFileInTheSocketsPlaceIsLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Fatalf("got %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
		t.Errorf("the file is changed: %q, %v", b, err)
	}
}

func TestDialWithoutADaemon(t *testing.T) {
	if _, err := Dial(filepath.Join(t.TempDir(), "no", "s")); !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v, want ErrNotRunning", err)
	}
}

func TestRefusalsCarryTheDaemonsWords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serve(t, path, &fake{err: errors.New("root backup: no such directory")})
	c := dial(t, path)
	for name, err := range map[string]error{"reload": c.Reload(t.Context()), "status": second(c.Status(t.Context()))} {
		if err == nil || err.Error() != "root backup: no such directory" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestHandlerRefusesWhatItDoesNotKnow(t *testing.T) {
	h := Handler(&fake{})
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/", http.StatusNotFound},
		{"GET", "/v2/status", http.StatusNotFound},
		{"POST", "/v1/status", http.StatusNotFound},
		{"GET", "/v1/reload", http.StatusNotFound}, // a look must not change anything
		{"GET", "/v1/status", http.StatusOK},
	} {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, httptest.NewRequest(c.method, c.path, nil))
		if rec.Code != c.want {
			t.Errorf("%s %s: got %d, want %d", c.method, c.path, rec.Code, c.want)
		}
		if !json.Valid(rec.Body.Bytes()) {
			t.Errorf("%s %s: no JSON: %q", c.method, c.path, rec.Body)
		}
	}
}

func TestHostileAnswersAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := listen(t, path)
	var body string
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) })}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	c := dial(t, path)
	for name, b := range map[string]string{
		"endless":     strings.Repeat(" ", maxAnswer+1),
		"not JSON":    "<html>",
		"wrong types": `{"panics":"many"}`,
	} {
		body = b
		if _, err := c.Status(t.Context()); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// A client that holds many connections gets no more than its places, and gives them back.
func TestConnectionsAreBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	serve(t, path, &fake{status: sample()})
	held := make([]net.Conn, maxClients)
	for i := range held {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		// A whole request tells that the connection has its place.
		fmt.Fprint(c, "GET /v1/status HTTP/1.1\r\nHost: daemon\r\n\r\n")
		if n, err := c.Read(make([]byte, 1)); n != 1 {
			t.Fatalf("connection %d: %v", i, err)
		}
		held[i] = c
	}
	over, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer over.Close()
	over.SetDeadline(time.Now().Add(10 * time.Second))
	if n, err := over.Read(make([]byte, 1)); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("one too many: got %d, %v; want it closed", n, err)
	}
	for _, c := range held {
		c.Close()
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		c, err := Dial(path)
		if err != nil {
			t.Fatal(err)
		}
		_, err = c.Status(t.Context())
		c.Close()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no place after all were given back: %v", err)
		}
	}
}
