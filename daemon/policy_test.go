package daemon

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xfer/certs"
	"xfer/transfer"
)

func splitWords(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}

// show is a grant as text: "name root[*]:right right; ...".
func show(g transfer.Grant) string {
	var parts []string
	for _, r := range g.Roots {
		mark := ""
		if r.Default {
			mark = "*"
		}
		parts = append(parts, r.Name+mark+":"+strings.Join(r.Rights, " "))
	}
	return g.Name + " " + strings.Join(parts, "; ")
}

func TestAuthorize(t *testing.T) {
	w := newWorld(t, nil)
	for i, c := range []struct {
		what   string
		client certs.Client
		want   string
	}{
		{"one root", certs.Client{Roots: grants("first", "get")}, "c first*:get list stat"},
		{"only the second: that is its default", certs.Client{Roots: grants("second", "append")}, "c second*:append get put list stat mkdir"},
		{"both, in the order of the server", certs.Client{Roots: grants("second", "put", "first", "get"), Default: "first"}, "c first*:get list stat; second:put"},
		{"the default is the first of its own list", certs.Client{Roots: grants("second", "put", "first", "get")}, "c first:get list stat; second*:put"},
		{"a default without rights is none", certs.Client{Roots: grants("second", "", "first", "get"), Default: "second"}, "c first*:get list stat"},
		{"roots that are not here grant nothing", certs.Client{Roots: grants("third", "all", "first", "stat"), Default: "third"}, "c first*:stat"},
		{"write-only", certs.Client{Roots: grants("first", "write-only")}, "c first*:write-only put mkdir"},
		{"not yet expired", certs.Client{Roots: grants("first", "stat"), Expires: time.Now().Add(time.Hour)}, "c first*:stat"},
	} {
		c.client.Name, c.client.ID = "c", peer(byte(i+1))
		w.enrol(c.client)
		g, release, err := w.policy.Authorize(t.Context(), c.client.ID, nil, "192.0.2.1:1")
		if err != nil {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if got := show(g); got != c.want || g.Owner != c.client.ID.String() {
			t.Errorf("%s: got %q of %q, want %q", c.what, got, g.Owner, c.want)
		}
		release()
		release()
	}
	if len(w.policy.live) != 0 {
		t.Error("grants outlive their release")
	}
	// What the words promise is what the view enforces.
	last := w.roots["first"].views[len(w.roots["first"].views)-2:]
	if want := fmt.Sprintf("%s %d", peer(7), mode(wordWriteOnly)); last[0] != want {
		t.Errorf("view %q, want %q", last[0], want)
	}
}

func TestAuthorizeRefuses(t *testing.T) {
	w := newWorld(t, nil)
	authorize := func(n byte) error {
		_, _, err := w.policy.Authorize(t.Context(), peer(n), nil, "192.0.2.1:1")
		return err
	}
	kind(t, authorize(1), transfer.KindTrust)
	w.enrol(certs.Client{Name: "old", ID: peer(2), Roots: grants("first", "all"), Expires: time.Now().Add(-time.Second)})
	kind(t, authorize(2), transfer.KindTrust)
	w.enrol(certs.Client{Name: "nowhere", ID: peer(3), Roots: grants("third", "all")})
	kind(t, authorize(3), transfer.KindDenied)
	w.enrol(certs.Client{Name: "nothing", ID: peer(4), Roots: grants("first", "", "second", "")})
	kind(t, authorize(4), transfer.KindDenied)
	w.enrol(certs.Client{Name: "broken", ID: peer(5), Roots: grants("first", "all")})
	if err := os.WriteFile(filepath.Join(w.store.Dir(), "clients.d", "broken.toml"), []byte("id = "), 0o600); err != nil {
		t.Fatal(err)
	}
	kind(t, authorize(5), transfer.KindTrust)
	if n := len(w.policy.live); n != 0 {
		t.Errorf("%d grants of refused sessions are live", n)
	}
	if n := len(w.policy.sessions.keys); n != 0 {
		t.Errorf("refused sessions hold %d places", n)
	}
	for name, r := range w.roots {
		if len(r.views) != 0 {
			t.Errorf("root %s was given to a refused session: %v", name, r.views)
		}
	}
}

// Two hundred clients of one identity at once: never more than eight together, and all get through in the end.
func TestSessionsOfOneClientAreLimitedAndAllGetThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		w.enrol(certs.Client{Name: "c", ID: peer(1), Roots: grants("first", "all")})
		var mu sync.Mutex
		now, most, busy := 0, 0, 0
		var all sync.WaitGroup
		for range 200 {
			all.Go(func() {
				for {
					start := time.Now()
					_, release, err := w.policy.Authorize(t.Context(), peer(1), nil, "192.0.2.1:1")
					if err != nil {
						after := busyAfter(t, err)
						if after < 500*time.Millisecond || after > time.Second {
							t.Errorf("come again in %v, want 0.5 to 1 s", after)
						}
						if d := time.Since(start); d > 3*time.Second {
							t.Errorf("told to come again after %v, want at most 3 s", d)
						}
						mu.Lock()
						busy++
						mu.Unlock()
						time.Sleep(after)
						continue
					}
					mu.Lock()
					now++
					most = max(most, now)
					mu.Unlock()
					time.Sleep(time.Second) // the transfer
					mu.Lock()
					now--
					mu.Unlock()
					release()
					return
				}
			})
		}
		start := time.Now()
		all.Wait()
		if most != 8 {
			t.Errorf("at most %d at once, want 8", most)
		}
		if busy == 0 {
			t.Error("nobody was told to come again, so the test shows nothing")
		}
		if d := time.Since(start); d > 60*time.Second {
			t.Errorf("it took %v, want about 25 s", d)
		}
	})
}

func TestAClientsOwnLimitOfSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Limits.Sessions = 4 })
		w.enrol(certs.Client{Name: "two", ID: peer(1), Roots: grants("first", "all"), MaxSessions: 2})
		w.enrol(certs.Client{Name: "many", ID: peer(2), Roots: grants("first", "all"), MaxSessions: 100})
		for n, want := range map[byte]int{1: 2, 2: 4} {
			got := 0
			for {
				_, _, err := w.policy.Authorize(t.Context(), peer(n), nil, "")
				if err != nil {
					busyAfter(t, err)
					break
				}
				got++
			}
			if got != want {
				t.Errorf("client %d: %d sessions, want %d", n, got, want)
			}
		}
	})
}

// Access that ends while a session waits for its place must not be given.
func TestAccessIsCheckedAgainAfterWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Limits.Sessions = 1 })
		w.enrol(certs.Client{Name: "c", ID: peer(1), Roots: grants("first", "all")})
		_, release, err := w.policy.Authorize(t.Context(), peer(1), nil, "")
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() {
			_, _, err := w.policy.Authorize(t.Context(), peer(1), nil, "")
			got <- err
		}()
		synctest.Wait()
		if _, err := w.store.RemoveClient("c"); err != nil {
			t.Fatal(err)
		}
		release()
		kind(t, <-got, transfer.KindTrust)
		if len(w.policy.sessions.keys) != 0 {
			t.Error("the refused session kept its place")
		}
	})
}

func TestAuthorizeEndsWithItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Limits.Sessions = 1 })
		w.enrol(certs.Client{Name: "c", ID: peer(1), Roots: grants("first", "all")})
		if _, _, err := w.policy.Authorize(t.Context(), peer(1), nil, ""); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		got := make(chan error, 1)
		go func() {
			_, _, err := w.policy.Authorize(ctx, peer(1), nil, "")
			got <- err
		}()
		synctest.Wait()
		cancel(trustError("session", "gone"))
		kind(t, <-got, transfer.KindTrust)
	})
}
