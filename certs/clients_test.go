package certs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
)

func mustPut(t testing.TB, s *Store, c Client) {
	t.Helper()
	if err := s.PutClient(c); err != nil {
		t.Fatal(err)
	}
}

func TestClientRoundTrip(t *testing.T) {
	s, c := newStore(t)
	want := Client{
		Name: "laptop", ID: peerID(1), Roots: someGrants, Default: "media", Expires: c.Now().Add(time.Hour),
		MaxSessions: 3, BWLimit: "08:00,512k 19:00,off", Added: c.Now(),
	}
	mustPut(t, s, want)
	least := Client{Name: "a", ID: peerID(2), Added: c.Now()}
	mustPut(t, s, least)
	for _, s := range []*Store{s, mustOpen(t, s.Dir(), Options{Now: c.Now})} {
		got, ok, err := s.ClientByID(peerID(1))
		if err != nil || !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("by id: %+v, %v, %v, want %+v", got, ok, err, want)
		}
		got, ok, err = s.ClientByName("laptop")
		if err != nil || !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("by name: %+v, %v, %v, want %+v", got, ok, err, want)
		}
		all, errs := s.Clients()
		if len(errs) > 0 || !reflect.DeepEqual(all, []Client{least, want}) {
			t.Errorf("all: %+v, %v", all, errs)
		}
		// What a caller does to its copy is its own affair.
		all[1].Roots[0].Rights[0] = "delete"
		if again, _, _ := s.ClientByName("laptop"); !reflect.DeepEqual(again, want) {
			t.Errorf("a caller changed the store: %+v", again)
		}
	}
	for _, id := range []crypto.PeerID{{}, peerID(3)} {
		if _, ok, err := s.ClientByID(id); ok || err != nil {
			t.Errorf("%v comes in: %v", id, err)
		}
	}
	if _, ok, err := s.ClientByName("nobody"); ok || err != nil {
		t.Errorf("nobody: %v, %v", ok, err)
	}
	if _, ok, err := s.ClientByName("../laptop"); ok || err == nil {
		t.Errorf("a path as a name: %v, %v", ok, err)
	}
	for _, gone := range []bool{true, false} {
		if removed, err := s.RemoveClient("laptop"); removed != gone || err != nil {
			t.Errorf("RemoveClient: %v, %v, want %v", removed, err, gone)
		}
		if _, ok, err := s.ClientByID(peerID(1)); ok || err != nil {
			t.Errorf("the removed client comes in: %v", err)
		}
	}
	if _, err := s.RemoveClient("../identity"); err == nil {
		t.Error("a path is removed")
	}
}

// clientText is a good file with lines of the test's choice at its beginning and end.
func clientText(n byte, top, bottom string) string {
	return fmt.Sprintf("id = '%s'\nadded = 2026-01-01T00:00:00Z\n%s[[root]]\nname = 'backup'\nrights = ['put']\n%s", peerID(n), top, bottom)
}

func TestExpiredClientIsRefused(t *testing.T) {
	s, c := newStore(t)
	mustWrite(t, s, clientFile("a"), clientText(1, "expires = 2026-03-01T13:00:00+01:00\n", ""))
	mustWrite(t, s, clientFile("b"), clientText(2, "expires = 2026-03-01T12:00:01Z\n", ""))
	mustWrite(t, s, clientFile("c"), clientText(3, "", ""))
	for i, want := range []bool{false, true, true} {
		cl, ok, err := s.ClientByID(peerID(byte(i + 1)))
		if ok != want || errors.Is(err, ErrClientExpired) == want || ok == cl.Expired(c.Now()) {
			t.Errorf("client %d: %v, %v", i, ok, err)
		}
	}
	c.add(time.Second)
	if _, ok, err := s.ClientByName("b"); ok || !errors.Is(err, ErrClientExpired) {
		t.Errorf("a second later: %v, %v", ok, err)
	}
	if all, errs := s.Clients(); len(all) != 3 || len(errs) != 0 {
		t.Errorf("the expired are not listed: %v, %v", all, errs)
	}
}

// TestBadClientFileRefusesThatClientOnly has one mistake each, and says what is said of it.
func TestBadClientFileRefusesThatClientOnly(t *testing.T) {
	for name, c := range map[string]struct{ data, want string }{
		"unknown key":           {clientText(1, "qota = '1G'\n", ""), "bad.toml:3:1: unknown key \"qota\"\n    3 | qota = '1G'\n      | ^^^^"},
		"unknown key in a root": {clientText(1, "", "  rigths = ['get']\n"), "bad.toml:6:3: unknown key \"root.rigths\"\n    6 |   rigths = ['get']\n      |   ^^^^^^"},
		"unknown table":         {clientText(1, "", "[limits]\nx = 1\n"), "bad.toml:6:2: unknown key \"limits\"\n    6 | [limits]\n      |  ^^^^^^"},
		"syntax":                {clientText(1, "default = backup\n", ""), ":3:"},
		"unknown right":         {clientText(1, "", "[[root]]\nname = 'x'\nrights = ['putt']\n"), `no right "putt"`},
		"no word":               {clientText(1, "", "[[root]]\nname = 'x'\nrights = ['put,get']\n"), "is not a right"},
		"empty right":           {clientText(1, "", "[[root]]\nname = 'x'\nrights = ['']\n"), "is not a right"},
		"rights as a string":    {clientText(1, "", "[[root]]\nname = 'x'\nrights = 'put'\n"), ":8:"},
		"root twice":            {clientText(1, "", "[[root]]\nname = 'backup'\n"), `root "backup" is there twice`},
		"bad root name":         {clientText(1, "", "[[root]]\nname = '../etc'\n"), "root: the name"},
		"no root name":          {clientText(1, "", "[[root]]\nrights = ['put']\n"), "empty name"},
		"default elsewhere":     {clientText(1, "default = 'media'\n", ""), "not one of the roots"},
		"no id":                 {"[[root]]\nname = 'backup'\nrights = ['put']\n", "the id is missing"},
		"cut id":                {strings.Replace(clientText(1, "", ""), "id = '", "id = 'A", 1), "peer id"},
		"negative sessions":     {clientText(1, "max_sessions = -1\n", ""), "max_sessions"},
		"huge sessions":         {clientText(1, "max_sessions = 99999999999999999999\n", ""), ":3:"},
		"long limit":            {clientText(1, "bwlimit = '"+strings.Repeat("1", 300)+"'\n", ""), "bwlimit"},
		"not a date":            {clientText(1, "expires = 'tomorrow'\n", ""), ":3:"},
		"the year one":          {clientText(1, "expires = 0001-01-01T00:00:00Z\n", ""), "expires"},
		"key twice":             {clientText(1, "added = 2026-01-01T00:00:00Z\n", ""), ""},
		"empty":                 {"", "the id is missing"},
		"binary":                {"\x7fELF\x00\xff", "UTF-8"},
		"an escape":             {clientText(1, "x = 1 # \x1b[2J\n", ""), ""},
		"too many roots":        {clientText(1, "", strings.Repeat("[[root]]\n", 300)), "at most"},
		"too many words":        {clientText(1, "", "[[root]]\nname = 'x'\nrights = ["+strings.Repeat("'put',", 40)+"]\n"), "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			clk := newClock()
			s := mustOpen(t, filepath.Join(t.TempDir(), "keys"), Options{Now: clk.Now, CheckRights: func(words []string) error {
				for _, w := range words {
					if w != "put" && w != "get" {
						return fmt.Errorf("there is no right %q", w)
					}
				}
				return nil
			}})
			mustWrite(t, s, clientFile("good"), clientText(2, "", ""))
			mustWrite(t, s, clientFile("bad"), c.data)
			all, errs := s.Clients()
			if len(all) != 1 || all[0].Name != "good" || len(errs) != 1 {
				t.Fatalf("got %v, %v; want the good one and one error", all, errs)
			}
			if e := errs[0].Error(); !strings.Contains(e, c.want) || !strings.Contains(e, s.path(clientFile("bad"))) || strings.Contains(e, "\x1b") {
				t.Errorf("the error is %q, want %q in it", e, c.want)
			}
			if _, ok, _ := s.ClientByID(peerID(1)); ok {
				t.Error("the bad one comes in by its id")
			}
			if _, ok, err := s.ClientByName("bad"); ok || err == nil {
				t.Errorf("the bad one comes in by its name: %v", err)
			}
			if _, ok, err := s.ClientByID(peerID(2)); !ok || err != nil {
				t.Errorf("the good one: %v, %v", ok, err)
			}
			// The admin can get rid of it.
			if removed, err := s.RemoveClient("bad"); !removed || err != nil {
				t.Errorf("RemoveClient: %v, %v", removed, err)
			}
		})
	}
}

func TestOddFileNamesAreNoClients(t *testing.T) {
	s, _ := newStore(t)
	for _, name := range []string{".hidden.toml", "laptop.toml~", "laptop.toml.bak", "README", ".toml"} {
		mustWrite(t, s, clientsDir+"/"+name, clientText(1, "", ""))
	}
	if all, errs := s.Clients(); len(all) != 0 || len(errs) != 0 {
		t.Errorf("got %v, %v", all, errs)
	}
	mustWrite(t, s, clientsDir+"/my laptop.toml", clientText(1, "", ""))
	if all, errs := s.Clients(); len(all) != 0 || len(errs) != 1 || !strings.Contains(errs[0].Error(), `\"my laptop\"`) && !strings.Contains(errs[0].Error(), `"my laptop"`) {
		t.Errorf("got %v, %v", all, errs)
	}
	if err := os.Mkdir(s.path(clientFile("dir")), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, errs := s.Clients(); len(errs) != 2 {
		t.Errorf("a directory as a client: %v", errs)
	}
}

func TestTwoClientsWithOneKeyAreBothRefused(t *testing.T) {
	s, _ := newStore(t)
	mustWrite(t, s, clientFile("a"), clientText(1, "", ""))
	mustWrite(t, s, clientFile("b"), clientText(1, "", ""))
	all, errs := s.Clients()
	if len(all) != 0 || len(errs) != 2 {
		t.Errorf("got %v, %v", all, errs)
	}
	if _, ok, err := s.ClientByID(peerID(1)); ok || err != nil {
		t.Errorf("one of them comes in: %v", err)
	}
	if err := s.PutClient(Client{Name: "c", ID: peerID(1)}); !errors.Is(err, ErrClientExists) {
		t.Errorf("a third with that key: %v", err)
	}
	if _, err := s.RemoveClient("a"); err != nil {
		t.Fatal(err)
	}
	if c, ok, err := s.ClientByID(peerID(1)); !ok || err != nil || c.Name != "b" {
		t.Errorf("the one that is left: %v, %v, %v", c, ok, err)
	}
}

func TestPutClientRefuses(t *testing.T) {
	s, _ := newStore(t)
	mustPut(t, s, Client{Name: "a", ID: peerID(1)})
	for what, c := range map[string]Client{
		"a path":        {Name: "../b", ID: peerID(2)},
		"no id":         {Name: "b"},
		"a taken key":   {Name: "b", ID: peerID(1)},
		"a bad right":   {Name: "b", ID: peerID(2), Roots: []Grant{{Root: "x", Rights: []string{"a\nb"}}}},
		"a bad root":    {Name: "b", ID: peerID(2), Roots: []Grant{{Root: ""}}},
		"a bad default": {Name: "b", ID: peerID(2), Roots: someGrants, Default: "x"},
	} {
		if err := s.PutClient(c); err == nil {
			t.Errorf("%s: is written", what)
		}
	}
	if all, errs := s.Clients(); len(all) != 1 || len(errs) != 0 {
		t.Errorf("got %v, %v", all, errs)
	}
	mustPut(t, s, Client{Name: "a", ID: peerID(2), Roots: someGrants}) // the same client with another key
	if _, ok, _ := s.ClientByID(peerID(1)); ok {
		t.Error("the key that was replaced still comes in")
	}
}

// TestClientsAreReadAgainOnChange changes a file in each way that an editor or a script does, as fast as can be and when
// the former content is remembered: no lookup may see what was there before.
func TestClientsAreReadAgainOnChange(t *testing.T) {
	s, _ := newStore(t)
	path := s.path(clientFile("a"))
	old := time.Now().Add(-time.Hour)
	settle := func() { // the file looks old, so that it may be remembered
		t.Helper()
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	lookup := func() (right string) {
		t.Helper()
		c, ok, err := s.ClientByID(peerID(1))
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return ""
		}
		return c.Roots[0].Rights[0]
	}
	with := func(right string) string { return strings.Replace(clientText(1, "", ""), "'put'", "'"+right+"'", 1) }

	for i := range 50 {
		for _, right := range []string{"put", "get"} { // of one length
			mustWrite(t, s, clientFile("a"), with(right)) // in place: the same inode
			if i%2 == 0 {
				settle() // the same mtime, too
			}
			if got := lookup(); got != right {
				t.Fatalf("round %d: got %q, want %q", i, got, right)
			}
		}
	}
	settle()
	lookup()
	temp := filepath.Join(s.Dir(), "new")
	if err := os.WriteFile(temp, []byte(with("list")), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
	settle()
	if got := lookup(); got != "list" {
		t.Errorf("after a rename over it: got %q", got)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if got := lookup(); got != "" {
		t.Errorf("after its removal: got %q", got)
	}
}

// countOpens counts openings of files.
type countOpens struct {
	durable.FS
	opens *atomic.Int64
}

func (c countOpens) OpenRoot(name string) (durable.FS, error) {
	sub, err := c.FS.OpenRoot(name)
	return countOpens{sub, c.opens}, err
}

func (c countOpens) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	c.opens.Add(1)
	return c.FS.OpenFile(name, flag, perm)
}

// TestUnchangedClientsAreNotReadAgain shows that a lookup costs no reading once a file has settled.
func TestUnchangedClientsAreNotReadAgain(t *testing.T) {
	s, _ := newStore(t)
	opens := new(atomic.Int64)
	s.fs = countOpens{s.fs, opens}
	mustWrite(t, s, clientFile("a"), clientText(1, "", ""))
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(s.path(clientFile("a")), old, old); err != nil {
		t.Fatal(err)
	}
	// The change time cannot be set back: it takes until it is past.
	deadline := time.Now().Add(racy + 10*time.Second)
	if _, ok, err := s.ClientByID(peerID(1)); !ok || err != nil || opens.Load() != 1 {
		t.Fatalf("the first lookup: %v, %v, %d openings", ok, err, opens.Load())
	}
	for {
		before := opens.Load()
		for range 3 {
			if _, ok, err := s.ClientByID(peerID(1)); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		n := opens.Load() - before
		if n == 0 {
			return
		}
		if n != 3 && n != 1 {
			t.Fatalf("%d openings for 3 lookups", n)
		}
		if testing.Short() {
			t.Skip("takes 2 seconds")
		}
		if time.Now().After(deadline) {
			t.Fatal("the file is read at each lookup")
		}
		<-time.After(100 * time.Millisecond)
	}
}

func BenchmarkClientByID(b *testing.B) {
	s, _ := newStore(b)
	for i := range 100 {
		name := fmt.Sprintf("client%d", i)
		mustPut(b, s, Client{Name: name, ID: peerID(byte(i + 1)), Roots: someGrants})
	}
	<-time.After(racy + 100*time.Millisecond) // until then files are read each time
	b.ResetTimer()
	for b.Loop() {
		if _, ok, err := s.ClientByID(peerID(50)); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// coarseFS has times in whole seconds and no inodes, as some file systems do.
type coarseFS struct{ durable.FS }

func (c coarseFS) OpenRoot(name string) (durable.FS, error) {
	sub, err := c.FS.OpenRoot(name)
	return coarseFS{sub}, err
}

func (c coarseFS) Lstat(name string) (fs.FileInfo, error) {
	fi, err := c.FS.Lstat(name)
	return coarseInfo{fi}, err
}

func (c coarseFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := c.FS.OpenFile(name, flag, perm)
	return coarseFile{f}, err
}

type coarseFile struct{ durable.File }

func (f coarseFile) Stat() (fs.FileInfo, error) {
	fi, err := f.File.Stat()
	return coarseInfo{fi}, err
}

type coarseInfo struct{ fs.FileInfo }

func (i coarseInfo) ModTime() time.Time { return i.FileInfo.ModTime().Truncate(time.Second) }
func (i coarseInfo) Sys() any           { return nil }

// TestChangesWithinOneTickAreSeen changes a file when no stamp can tell.
func TestChangesWithinOneTickAreSeen(t *testing.T) {
	s, _ := newStore(t)
	s.fs = coarseFS{s.fs}
	for i := range 20 {
		want := []string{"put", "get"}[i%2]
		mustWrite(t, s, clientFile("a"), strings.Replace(clientText(1, "", ""), "'put'", "'"+want+"'", 1))
		if c, ok, err := s.ClientByID(peerID(1)); err != nil || !ok || c.Roots[0].Rights[0] != want {
			t.Fatalf("round %d: %v, %v, %v, want the right %q", i, c, ok, err, want)
		}
	}
}
