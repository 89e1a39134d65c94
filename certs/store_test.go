package certs

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) add(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

// mustOpen opens a store that is closed when the test ends.
func mustOpen(t testing.TB, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// newStore opens an empty store with a clock of its own.
func newStore(t testing.TB) (*Store, *clock) {
	t.Helper()
	c := newClock()
	return mustOpen(t, filepath.Join(t.TempDir(), "keys"), Options{Now: c.Now}), c
}

// peerID returns the id of the n-th of a row of keys.
func peerID(n byte) crypto.PeerID {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = n
	return crypto.PeerIDOfSPKI(seed)
}

func mustWrite(t testing.TB, s *Store, name, data string) {
	t.Helper()
	path := filepath.Join(s.Dir(), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t testing.TB, s *Store, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Dir(), filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

var someGrants = []Grant{{Root: "backup", Rights: []string{"put", "get"}}, {Root: "media", Rights: []string{"get"}}}

// fill puts one of each into the store and returns the code of an open invitation.
func fill(t testing.TB, s *Store) crypto.Code {
	t.Helper()
	if _, err := s.Identity(); err != nil {
		t.Fatal(err)
	}
	if err := s.Pin("nas.example:7419", peerID(1), "laptop"); err != nil {
		t.Fatal(err)
	}
	if err := s.PutClient(Client{Name: "desk", ID: peerID(2), Roots: someGrants, Added: s.opts.Now()}); err != nil {
		t.Fatal(err)
	}
	code, err := s.NewInvite("phone", someGrants, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

// fileNames are the files that fill makes.
func fileNames(code crypto.Code) []string {
	return []string{keyFile, certFile, hostsFile, clientFile("desk"), inviteFile(code.ID())}
}

func needModes(t *testing.T) {
	t.Helper()
	if !modesCount {
		t.Skip("file modes mean nothing here")
	}
}

func TestAllIsPrivate(t *testing.T) {
	needModes(t)
	s, _ := newStore(t)
	code := fill(t, s)
	if _, err := s.Redeem(code.ID(), peerID(3)); err != nil {
		t.Fatal(err)
	}
	files := 0
	err := filepath.WalkDir(s.Dir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		fi, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		} else {
			files++
		}
		if fi.Mode().Perm() != want {
			t.Errorf("%s has mode %04o, want %04o", path, fi.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil || files < 7 {
		t.Errorf("%d files, %v", files, err)
	}
}

func wantPermError(t *testing.T, err error, path, command string) {
	t.Helper()
	var pe *PermError
	if !errors.As(err, &pe) || pe.Path != path || !strings.Contains(err.Error(), "Run: "+command+" "+path) {
		t.Errorf("got %v, want a PermError of %s with the command %s", err, path, command)
	}
}

func TestLoosePermissionsAreRefusedOnOpen(t *testing.T) {
	needModes(t)
	for _, mode := range []fs.FileMode{0o640, 0o604, 0o660, 0o666, 0o601, 0o610} {
		s, _ := newStore(t)
		fill(t, s)
		for _, name := range []string{keyFile, certFile, hostsFile, clientsDir, invitesDir, "."} {
			path := s.path(name)
			fi, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			command := "chmod 600"
			if fi.IsDir() {
				command = "chmod 700"
			}
			if err := os.Chmod(path, fi.Mode().Perm()|mode); err != nil {
				t.Fatal(err)
			}
			again, err := Open(s.Dir(), Options{})
			if err == nil {
				again.Close()
			}
			wantPermError(t, err, path, command)
			if err := os.Chmod(path, fi.Mode().Perm()); err != nil {
				t.Fatal(err)
			}
		}
		mustOpen(t, s.Dir(), Options{}) // all is well again
	}
}

// TestLoosePermissionsAreRefusedOnRead shows that it is the file that is read that is looked at, whatever Open saw.
func TestLoosePermissionsAreRefusedOnRead(t *testing.T) {
	needModes(t)
	s, _ := newStore(t)
	code := fill(t, s)
	if err := s.PutClient(Client{Name: "other", ID: peerID(9), Roots: someGrants}); err != nil {
		t.Fatal(err)
	}
	for _, name := range fileNames(code) {
		if err := os.Chmod(s.path(name), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	_, err := s.Identity()
	wantPermError(t, err, s.path(keyFile), "chmod 600")
	_, ok, err := s.KnownPeer("nas.example:7419")
	wantPermError(t, err, s.path(hostsFile), "chmod 600")
	if ok {
		t.Error("a peer is known from a file that others can write")
	}
	_, ok, err = s.Invite(code.ID())
	wantPermError(t, err, s.path(inviteFile(code.ID())), "chmod 600")
	if ok {
		t.Error("an invitation is good from a file that others can read")
	}
	_, err = s.Redeem(code.ID(), peerID(4))
	wantPermError(t, err, s.path(inviteFile(code.ID())), "chmod 600")
	clients, errs := s.Clients()
	if len(errs) != 1 || len(clients) != 1 || clients[0].Name != "other" {
		t.Errorf("clients %v, errors %v; want the other one and one error", clients, errs)
	}
	if len(errs) > 0 {
		wantPermError(t, errs[0], s.path(clientFile("desk")), "chmod 600")
	}
	if _, ok, _ := s.ClientByID(peerID(2)); ok {
		t.Error("a client comes in by a file that others can write")
	}
	if err := os.Chmod(s.path(keyFile), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Identity()
	wantPermError(t, err, s.path(certFile), "chmod 600")
}

func TestPermErrorQuotesThePath(t *testing.T) {
	for path, want := range map[string]string{
		"/etc/xfer/identity.key": "chmod 600 /etc/xfer/identity.key",
		"/a b/identity.key":      "chmod 600 '/a b/identity.key'",
		"/it's/identity.key":     `chmod 600 '/it'\''s/identity.key'`,
		"/a\x1b[2J/identity.key": `"/a\x1b[2J/identity.key"`,
		"/$(rm)/identity.key":    "chmod 600 '/$(rm)/identity.key'",
		"/größe/identity.key":    "chmod 600 '/größe/identity.key'",
	} {
		got := (&PermError{Path: path, Mode: 0o644, Want: 0o600}).Error()
		if !strings.Contains(got, want) || strings.Contains(got, "\x1b") {
			t.Errorf("%q: got %q, want %q in it", path, got, want)
		}
	}
}

// TestLinksAreRefused shows that no file of a store may be a link, which could lead to what others can write.
func TestLinksAreRefused(t *testing.T) {
	s, _ := newStore(t)
	code := fill(t, s)
	for _, name := range fileNames(code) {
		target := s.path(name) + ".moved"
		if err := os.Rename(s.path(name), target); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Base(target), s.path(name)); err != nil {
			t.Skip("no symbolic links here:", err)
		}
	}
	if _, err := s.Identity(); !errors.Is(err, durable.ErrNotRegular) {
		t.Errorf("identity: %v", err)
	}
	if _, ok, err := s.KnownPeer("nas.example:7419"); ok || !errors.Is(err, durable.ErrNotRegular) {
		t.Errorf("known peer: %v, %v", ok, err)
	}
	if _, ok, err := s.ClientByName("desk"); ok || !errors.Is(err, durable.ErrNotRegular) {
		t.Errorf("client: %v, %v", ok, err)
	}
	if _, ok, err := s.ClientByID(peerID(2)); ok || err != nil {
		t.Errorf("client by id: %v, %v", ok, err)
	}
	if _, ok, err := s.Invite(code.ID()); ok || !errors.Is(err, durable.ErrNotRegular) {
		t.Errorf("invitation: %v, %v", ok, err)
	}
	if again, err := Open(s.Dir(), Options{}); !errors.Is(err, durable.ErrNotRegular) {
		if err == nil {
			again.Close()
		}
		t.Errorf("open: %v", err)
	}
}

func TestLargeFilesAreRefused(t *testing.T) {
	s, _ := newStore(t)
	code := fill(t, s)
	for _, name := range fileNames(code) {
		mustWrite(t, s, name, mustRead(t, s, name)+"\n"+strings.Repeat(" ", limitOf(name)))
	}
	if _, err := s.Identity(); err == nil {
		t.Error("a large key file is read")
	}
	if _, ok, err := s.KnownPeer("nas.example:7419"); ok || err == nil {
		t.Error("a large known_hosts.toml is read")
	}
	if _, ok, err := s.ClientByName("desk"); ok || err == nil || !strings.Contains(err.Error(), "larger than 64 KiB") {
		t.Errorf("a large client: %v, %v", ok, err)
	}
	if _, ok, err := s.Invite(code.ID()); ok || err == nil {
		t.Error("a large invitation is read")
	}
}

func TestOpenMakesWhatIsMissing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "keys")
	s := mustOpen(t, dir, Options{})
	if s.Dir() != dir {
		t.Errorf("Dir() = %q, want %q", s.Dir(), dir)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{file, filepath.Join(file, "below")} {
		if s, err := Open(bad, Options{}); err == nil {
			s.Close()
			t.Errorf("a store opens in %s", bad)
		}
	}
}

func TestLeftoversAreSwept(t *testing.T) {
	s, _ := newStore(t)
	code := fill(t, s)
	var left []string
	for _, dir := range []string{"", clientsDir + "/", invitesDir + "/"} {
		name := dir + durable.TempPrefix + "LEFT"
		mustWrite(t, s, name, "code = 'secret'")
		left = append(left, name)
	}
	// Not while somebody else may be writing.
	unlock, err := s.fs.Lock(lockFile)
	if err != nil {
		t.Fatal(err)
	}
	mustOpen(t, s.Dir(), Options{})
	for _, name := range left {
		mustRead(t, s, name)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, s.Dir(), Options{})
	for _, name := range left {
		if _, err := os.Lstat(s.path(name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range fileNames(code) {
		mustRead(t, s, name)
	}
}

func TestCheckName(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "A-b_c.9": true, "_": true, "9": true, strings.Repeat("n", 64): true,
		"": false, ".": false, "..": false, ".a": false, "-a": false, strings.Repeat("n", 65): false,
		"a/b": false, `a\b`: false, "a b": false, "a\n": false, "a\x00": false, "é": false, "a:b": false, "\x1b[2J": false,
	} {
		if err := CheckName(name); (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		} else if err != nil && strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%q: the error holds an escape", name)
		}
	}
}

func TestHostPort(t *testing.T) {
	for in, want := range map[string]string{
		"nas:7419":                      "nas:7419",
		"NAS.Example:7419":              "nas.example:7419",
		"192.0.2.1:1":                   "192.0.2.1:1",
		"[2001:DB8::0:1]:7419":          "[2001:db8::1]:7419",
		"[fe80::1%eth0]:65535":          "[fe80::1%eth0]:65535",
		"nas:07419":                     "nas:7419",
		"nas":                           "",
		"nas:":                          "",
		"nas:0":                         "",
		"nas:65536":                     "",
		"nas:http":                      "",
		"nas:-1":                        "",
		":7419":                         "",
		"2001:db8::1:7419":              "",
		"a b:1":                         "",
		"a\n:1":                         "",
		"[a]b:1":                        "",
		`"a":1`:                         "",
		strings.Repeat("a", 256) + ":1": "",
	} {
		got, err := HostPort(in)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
}

// ExampleFileError shows what a typo looks like.
func ExampleFileError() {
	var v struct {
		Rights []string `toml:"rights"`
	}
	fmt.Println(decode("laptop.toml", []byte("# a comment\n\n  rihgts = [\"put\"]\n"), &v, false))
	// Output:
	// laptop.toml:3:3: unknown key "rihgts"
	//     3 |   rihgts = ["put"]
	//       |   ^^^^^^
}
