package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xfer/certs"
	"xfer/transfer/sink"
	"xfer/transfer/transport"
)

func TestReloadAddsAndRemovesRoots(t *testing.T) {
	w := newWorld(t, nil)
	w.enrol(certs.Client{Name: "c", ID: peer(1), Roots: grants("first", "get", "second", "get", "third", "get")})
	_, release, err := w.policy.Authorize(t.Context(), peer(1), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	cfg := w.cfg
	dir := t.TempDir()
	cfg.Roots = []RootConfig{{Name: "third", Path: filepath.Join(dir, "made", "here")}, cfg.Roots[0]}
	if err := w.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "made", "here")); err != nil {
		t.Errorf("a root's missing directory is not made: %v", err)
	}
	if log := w.log.String(); !strings.Contains(log, "is its disk there") || !strings.Contains(log, "root=third") {
		t.Errorf("the log does not say that a directory was made:\n%s", log)
	}
	g, release2, err := w.policy.Authorize(t.Context(), peer(1), nil, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := show(g); got != "c third:get list stat; first*:get list stat" {
		t.Errorf("after the reload: %s", got)
	}
	if n := w.roots["second"].closes(); n != 0 {
		t.Error("a root was closed under a session")
	}
	release()
	if n := w.roots["second"].closes(); n != 1 {
		t.Errorf("the root was closed %d times after its last session, want 1", n)
	}
	release2()
	if w.roots["first"].closes()+w.roots["third"].closes() != 0 {
		t.Error("a root that is served was closed")
	}
	if err := w.Close(); err != nil || w.roots["first"].closes() != 1 || w.roots["third"].closes() != 1 {
		t.Errorf("close: %v, %d, %d", err, w.roots["first"].closes(), w.roots["third"].closes())
	}
}

func TestABadConfigurationKeepsTheOldOne(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(filepath.Join(dir, "a"), link); err != nil {
		t.Fatal(err)
	}
	a := RootConfig{Name: "a", Path: filepath.Join(dir, "a")}
	for what, change := range map[string]func(*Config){
		"no root":             func(c *Config) { c.Roots = nil },
		"a name with a slash": func(c *Config) { c.Roots = []RootConfig{{Name: "a/b", Path: dir}} },
		"our own folder":      func(c *Config) { c.Roots = []RootConfig{{Name: ".xfer", Path: dir}} },
		"a name with ESC":     func(c *Config) { c.Roots = []RootConfig{{Name: "a\x1b", Path: dir}} },
		"no name":             func(c *Config) { c.Roots = []RootConfig{{Path: dir}} },
		"no path":             func(c *Config) { c.Roots = []RootConfig{{Name: "a"}} },
		"a file":              func(c *Config) { c.Roots = []RootConfig{{Name: "a", Path: file}} },
		"twice one name":      func(c *Config) { c.Roots = []RootConfig{a, {Name: "a", Path: filepath.Join(dir, "b")}} },
		"twice one directory": func(c *Config) { c.Roots = []RootConfig{a, {Name: "b", Path: a.Path + "/."}} },
		"one in the other":    func(c *Config) { c.Roots = []RootConfig{a, {Name: "b", Path: filepath.Join(a.Path, "in")}} },
		"the other way round": func(c *Config) { c.Roots = []RootConfig{a, {Name: "b", Path: dir}} },
		"one through a link":  func(c *Config) { c.Roots = []RootConfig{a, {Name: "b", Path: filepath.Join(link, "in")}} },
		"negative versions":   func(c *Config) { c.Roots = []RootConfig{{Name: "a", Path: dir, KeepVersions: -1}} },
		"negative limit":      func(c *Config) { c.Limits.Sessions = -1 },
		"a bad address":       func(c *Config) { c.Listen = []string{"7419"} },
		"a bad port":          func(c *Config) { c.Listen = []string{":70000"} },
		"a port with a sign":  func(c *Config) { c.Listen = []string{":+7419"} },
		"an address twice":    func(c *Config) { c.Listen = []string{":7419", ":7419"} },
		"a bad transport":     func(c *Config) { c.Transports = []transport.Kind{"udp"} },
		"a transport twice":   func(c *Config) { c.Transports = []transport.Kind{transport.TCP, transport.TCP} },
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t, nil)
			w.enrol(certs.Client{Name: "c", ID: peer(1), Roots: grants("first", "get", "a", "get", "b", "get")})
			cfg := w.cfg
			change(&cfg)
			if err := w.Reload(cfg); err == nil || !strings.Contains(err.Error(), "old configuration") {
				t.Fatalf("got %v", err)
			}
			if !strings.Contains(w.log.String(), "reload failed") {
				t.Error("the log does not say so")
			}
			g, release, err := w.policy.Authorize(t.Context(), peer(1), nil, "")
			if err != nil || show(g) != "c first*:get list stat" {
				t.Errorf("after it: %s, %v", show(g), err)
			} else {
				release()
			}
			if r := w.roots["a"]; r != nil && r.closed != 1 {
				t.Errorf("a root that was opened for nothing was closed %d times", r.closed)
			}
			if w.roots["first"].closed != 0 {
				t.Error("a root of the old configuration was closed")
			}
		})
	}
}

func TestARootThatCannotBeOpenedKeepsTheOldConfiguration(t *testing.T) {
	w := newWorld(t, nil)
	w.roots["bad"] = &fakeRoot{err: errors.New("read-only file system")}
	cfg := w.cfg
	cfg.Roots = []RootConfig{{Name: "good", Path: t.TempDir()}, {Name: "bad", Path: t.TempDir()}}
	if err := w.Reload(cfg); err == nil || !strings.Contains(err.Error(), `root "bad": read-only file system`) {
		t.Fatalf("got %v", err)
	}
	if w.roots["good"].closed != 1 || w.roots["first"].closed != 0 {
		t.Error("the wrong roots were closed")
	}
}

func TestReloadSaysWhatHasToWait(t *testing.T) {
	w := newWorld(t, nil)
	cfg := w.cfg
	cfg.Listen = []string{":9999"}
	cfg.Transports = []transport.Kind{transport.TCP}
	cfg.Limits.Handshakes++
	cfg.Limits.Sessions++
	cfg.Roots = append([]RootConfig(nil), cfg.Roots...)
	cfg.Roots[1].KeepVersions = 3
	if err := w.Reload(cfg); err != nil {
		t.Fatal(err)
	}
	want := "listen addresses, transports, limits other than those of sessions, options of root second"
	if log := w.log.String(); !strings.Contains(log, want) {
		t.Errorf("the log does not say %q:\n%s", want, log)
	}
	if w.policy.max != 9 {
		t.Errorf("%d sessions a client, want 9", w.policy.max)
	}
	if w.roots["second"].closed != 0 {
		t.Error("the root was closed")
	}
}

func TestNewRefusesABadConfiguration(t *testing.T) {
	store, err := certs.Open(filepath.Join(t.TempDir(), "keys"), certs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := New(Config{}, store); err == nil || !strings.Contains(err.Error(), "no root") {
		t.Errorf("got %v", err)
	}
}

// A directory that was put in the place of a root's is taken with a reload, and not before.
func TestReloadOpensWhatIsInTheRootsPlace(t *testing.T) {
	w := newWorld(t, nil)
	was := w.roots["second"]
	if err := w.Reload(w.cfg); err != nil {
		t.Fatal(err)
	}
	if w.roots["second"] != was || was.closes() != 0 {
		t.Fatal("a root that is at its place was opened again")
	}
	was.moved = sink.ErrMoved
	delete(w.roots, "second")
	if err := w.Reload(w.cfg); err != nil {
		t.Fatal(err)
	}
	if w.roots["second"] == nil || was.closes() != 1 {
		t.Errorf("a root that was moved is served still, or was closed %d times", was.closes())
	}
	if first := w.roots["first"]; first.closes() != 0 {
		t.Error("the other root was closed")
	}
}
