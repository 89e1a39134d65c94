package daemon

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xfer/certs"
	"xfer/crypto"
	"xfer/transfer"
	"xfer/transfer/transport"
)

// guarded runs what watches sessions, until the test ends.
func (w *world) guard() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	first := w.review(nil)
	go func() { w.watch(ctx, first); close(done) }()
	w.t.Cleanup(func() { cancel(); <-done })
}

// connect begins a session and returns a function that waits for its end and gives cause and time from now.
func (w *world) connect(c *fakeConn) (end func() (time.Duration, error)) {
	ctx, cancel := context.WithCancel(context.Background())
	w.t.Cleanup(cancel)
	before := len(w.engine.ended())
	over := make(chan struct{})
	w.conns.serve(ctx, c, func() { close(over) })
	synctest.Wait()
	if n := len(w.engine.ended()); n != before {
		w.t.Fatalf("the session has not begun: %v", w.engine.ended()[n-1])
	}
	return func() (time.Duration, error) {
		w.t.Helper()
		start := time.Now()
		select {
		case <-over:
		case <-time.After(time.Hour):
			w.t.Fatal("the session lives after an hour")
		}
		ends := w.engine.ended()
		return time.Since(start), ends[len(ends)-1]
	}
}

func TestWithdrawnAccessCutsLiveSessions(t *testing.T) {
	const within = 10 * time.Second
	for _, c := range []struct {
		what   string
		change func(*world, certs.Client)
		kind   transfer.Kind
		text   string
	}{
		{"the client is removed", func(w *world, c certs.Client) { w.store.RemoveClient(c.Name) }, transfer.KindTrust, "access was withdrawn"},
		{"its file becomes unreadable", func(w *world, c certs.Client) {
			os.WriteFile(filepath.Join(w.store.Dir(), "clients.d", c.Name+".toml"), []byte("}"), 0o600)
		}, transfer.KindTrust, "access was withdrawn"},
		{"its file is open to others", func(w *world, c certs.Client) {
			os.Chmod(filepath.Join(w.store.Dir(), "clients.d", c.Name+".toml"), 0o666)
		}, transfer.KindTrust, "access was withdrawn"},
		{"it has no rights any more", func(w *world, c certs.Client) {
			c.Roots = grants("first", "")
			w.enrol(c)
		}, transfer.KindTrust, "access was withdrawn"},
		{"another key has its name", func(w *world, c certs.Client) {
			c.ID = peer(99)
			w.enrol(c)
		}, transfer.KindTrust, "access was withdrawn"},
		{"it has fewer rights", func(w *world, c certs.Client) {
			c.Roots = grants("first", "get,put", "second", "get")
			w.enrol(c)
		}, transfer.KindBusy, "rights have changed"},
		{"it may only append", func(w *world, c certs.Client) {
			c.Roots = grants("first", "append", "second", "get")
			w.enrol(c)
		}, transfer.KindBusy, "rights have changed"},
		{"it loses a root", func(w *world, c certs.Client) {
			c.Roots = grants("first", "all")
			w.enrol(c)
		}, transfer.KindBusy, "rights have changed"},
		{"a root is no more served", func(w *world, c certs.Client) {
			cfg := w.cfg
			cfg.Roots = cfg.Roots[:1]
			if err := w.Reload(cfg); err != nil {
				w.t.Error(err)
			}
		}, transfer.KindBusy, "rights have changed"},
		{"a root gets another directory", func(w *world, c certs.Client) {
			cfg := w.cfg
			cfg.Roots = []RootConfig{cfg.Roots[0], {Name: "second", Path: w.t.TempDir()}}
			if err := w.Reload(cfg); err != nil {
				w.t.Error(err)
			}
		}, transfer.KindBusy, "rights have changed"},
		{"it has expired", func(w *world, c certs.Client) {
			c.Expires = time.Now().Add(time.Second)
			w.enrol(c)
		}, transfer.KindTrust, "expired at"},
	} {
		t.Run(c.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil)
				client := w.enrol(certs.Client{Name: "laptop", ID: peer(1), Roots: grants("first", "all", "second", "get")})
				w.enrol(certs.Client{Name: "other", ID: peer(2), Roots: grants("first", "all")})
				w.guard()
				end := w.connect(newConn(client.ID))
				other := newConn(peer(2))
				w.connect(other)
				time.Sleep(5 * time.Second)
				c.change(w, client)
				took, err := end()
				kind(t, err, c.kind)
				if !strings.Contains(err.Error(), c.text) {
					t.Errorf("got %q, want %q", err, c.text)
				}
				if c.kind == transfer.KindBusy {
					if after := busyAfter(t, err); after != 0 {
						t.Errorf("the client is told to wait %v for what is left", after)
					}
				}
				if took > within {
					t.Errorf("cut after %v, want at most %v", took, within)
				}
				select {
				case <-other.done:
					t.Error("another client's session was cut as well")
				case <-time.After(time.Minute):
				}
			})
		})
	}
}

func TestWhatTakesNothingAwayCutsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.enrol(certs.Client{Name: "laptop", ID: peer(1), Roots: grants("first", "append")})
		w.guard()
		conn := newConn(c.ID)
		w.connect(conn)
		c.Roots = grants("second", "all", "first", "all")
		c.Expires = time.Now().AddDate(1, 0, 0)
		w.enrol(c)
		time.Sleep(time.Minute)
		cfg := w.cfg
		cfg.Roots = []RootConfig{cfg.Roots[1], cfg.Roots[0]}
		if err := w.Reload(cfg); err != nil {
			t.Fatal(err)
		}
		// Another client's broken file is that client's problem.
		os.WriteFile(filepath.Join(w.store.Dir(), "clients.d", "other.toml"), []byte("}"), 0o600)
		time.Sleep(time.Minute)
		if ends := w.engine.ended(); len(ends) != 0 {
			t.Errorf("cut: %v", ends)
		}
	})
}

// A file that is just being written in place must not end a backup for good.
func TestAFileBeingWrittenCutsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.enrol(certs.Client{Name: "laptop", ID: peer(1), Roots: grants("first", "all")})
		name := filepath.Join(w.store.Dir(), "clients.d", "laptop.toml")
		good, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		w.guard()
		w.connect(newConn(c.ID))
		os.WriteFile(name, good[:len(good)/2], 0o600)
		time.Sleep(lookEvery)
		synctest.Wait()
		os.WriteFile(name, good, 0o600)
		time.Sleep(time.Minute)
		if ends := w.engine.ended(); len(ends) != 0 {
			t.Errorf("cut: %v", ends)
		}
	})
}

func TestExpiredCertificatesAreCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.enrol(certs.Client{Name: "laptop", ID: peer(1), Roots: grants("first", "all")})
		w.guard()
		conn := newConn(c.ID)
		conn.notAfter = time.Now().Add(time.Hour + 100*time.Millisecond)
		end := w.connect(conn)
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(w.engine.ended()) != 0 {
			t.Fatal("cut before its certificate expired")
		}
		took, err := end()
		kind(t, err, transfer.KindTrust)
		if took > time.Minute || !strings.Contains(err.Error(), "certificate of this key expired") {
			t.Errorf("cut after %v with %v", took, err)
		}
	})
}

// An engine that does not heed its context loses the connection under it.
func TestCutsDoNotDependOnTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		c := w.enrol(certs.Client{Name: "laptop", ID: peer(1), Roots: grants("first", "all")})
		w.engine.serve = func(ctx context.Context, c transport.Conn) error {
			_, release, err := w.policy.Authorize(ctx, c.Peer(), nil, "")
			if err != nil {
				return err
			}
			defer release()
			<-c.Done() // deaf to ctx
			return errors.New("connection closed")
		}
		w.guard()
		end := w.connect(newConn(c.ID))
		w.store.RemoveClient("laptop")
		if took, _ := end(); took > 10*time.Second {
			t.Errorf("cut after %v", took)
		}
	})
}

func TestPanicsOfOneConnectionAreCountedAndHarmNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.engine.serve = func(ctx context.Context, c transport.Conn) error {
			if c.Peer() == peer(1) {
				panic("a bug\x1b[31m")
			}
			<-ctx.Done()
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		bad, good := newConn(peer(1)), newConn(peer(2))
		w.conns.serve(ctx, good, func() {})
		over := make(chan struct{})
		w.conns.serve(ctx, bad, func() { close(over) })
		<-over
		synctest.Wait()
		select {
		case <-bad.done:
		default:
			t.Error("the connection that panicked is open")
		}
		select {
		case <-good.done:
			t.Error("another connection was closed")
		default:
		}
		if n := w.Status().Panics; n != 1 {
			t.Errorf("%d panics counted, want 1", n)
		}
		if log := w.log.String(); !strings.Contains(log, "panic in a connection") || strings.Contains(log, "\x1b") {
			t.Errorf("log: %q", log)
		}
	})
}

// Keys that nobody enrolled get few connections, so that they cannot take the places of clients.
func TestStrangersAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.engine.policy = nil // every connection stays
		w.enrol(certs.Client{Name: "laptop", ID: peer(1), Roots: grants("first", "all")})
		w.guard()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		count := func(remote string, id func(i int) crypto.PeerID) (open int) {
			var conns []*fakeConn
			for i := range 100 {
				c := newConn(id(i))
				c.remote = remote
				conns = append(conns, c)
				w.conns.serve(ctx, c, func() {})
			}
			time.Sleep(time.Minute)
			for _, c := range conns {
				select {
				case <-c.done:
				default:
					open++
				}
			}
			return open
		}
		stranger := func(i int) crypto.PeerID { return peer(byte(100 + i)) }
		for i, want := range []int{16, 16, 16, 16, 0} {
			if got := count("[2001:db8:0:"+string(rune('0'+i))+"::1]:7", stranger); got != want {
				t.Errorf("address %d: %d connections of strangers, want %d", i, got, want)
			}
		}
		if got := count("192.0.2.1:7", func(int) crypto.PeerID { return peer(1) }); got != 100 {
			t.Errorf("%d of 100 connections of a client got through", got)
		}
	})
}
