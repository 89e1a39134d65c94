//go:build unix

package sink

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"xfer/transfer/durable"
)

func TestNewPath(t *testing.T) {
	long := strings.Repeat("x", 255)
	for _, ok := range [][]string{
		{}, {"a"}, {"a", "b"}, {"..."}, {"\xff\xfe"}, {"a\nb"}, {"-rf"}, {long}, {"a", ".xfer"}, {".xferx"}, {" "}, {"a\\b"},
	} {
		p, err := NewPath(ok...)
		if err != nil || len(p.Parts()) != len(ok) {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range [][]string{
		{""}, {"."}, {".."}, {"a", ".."}, {"a/b"}, {"/"}, {"a\x00"}, {long + "x"}, {"a", ""}, {".xfer"}, {".XFER"},
		{".xfer-1"}, {"a", ".xfer-tmp-x"}, {"a", ".Xfer-x", "b"}, make([]string, 257),
		strings.Split(strings.Repeat(long+"/", 17)+"x", "/"),
	} {
		if _, err := NewPath(bad...); !errors.Is(err, ErrBadPath) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// world is a directory outside of a root that must stay as it is.
func world(t *testing.T) (root, outside string, check func()) {
	t.Helper()
	top := t.TempDir()
	root, outside = top+"/root", top+"/outside"
	must(t, os.MkdirAll(root+"/real/deep", 0o755))
	must(t, os.MkdirAll(outside+"/dir", 0o755))
	must(t, os.WriteFile(outside+"/secret", bystander, 0o644))
	must(t, os.WriteFile(root+"/real/file", []byte("hello"), 0o644))
	return root, outside, func() {
		t.Helper()
		var names []string
		filepath.WalkDir(outside, func(p string, e fs.DirEntry, err error) error {
			names = append(names, p[len(outside):])
			return err
		})
		if got := strings.Join(names, " "); got != " /dir /secret" {
			t.Errorf("outside of the root there is %s", got)
		}
		if b, err := os.ReadFile(outside + "/secret"); err != nil || !bytes.Equal(b, bystander) {
			t.Error("the file outside was changed", err)
		}
	}
}

// plant makes links of all kinds in the root.
func plant(t *testing.T, root, outside string) []string {
	t.Helper()
	for name, target := range map[string]string{
		"abs": outside, "rel": "../outside", "up": "..", "chain": "chain2", "chain2": "real/../../outside", "loop": "loop2", "loop2": "loop",
		"self": "self", "dangling": "../outside/new", "absroot": "/", "state": ".xfer", "dot": ".", "inner": "real/deep/../../.xfer",
		"away": ".xfer-00000000", "proc": "/proc/self/root", "file": "../outside/secret",
	} {
		must(t, os.Symlink(target, filepath.Join(root, name)))
	}
	return []string{"abs", "rel", "up", "chain", "chain2", "loop", "self", "dangling", "absroot", "state", "inner", "away", "proc", "file"}
}

// Guards: path.go resolve (the edge of the root is also held by os.Root).
func TestLinksLeadNowhere(t *testing.T) {
	root, outside, check := world(t)
	d := openDir(t, root, Options{})
	v := d.View("alice", All)
	// Something is in our state, for the links that lead there.
	parked, _ := mustBegin(t, v, specOf(t, content(9, 2*chunk18), "parked"))
	mustPut(t, parked, content(9, 2*chunk18), 0)
	must(t, parked.Park())
	links := plant(t, root, outside)
	b := []byte("intruder")
	ctx := context.Background()
	for _, l := range links {
		for _, p := range []Path{mustPath(t, l, "x"), mustPath(t, l, "stage", "x"), mustPath(t, l, "secret"), mustPath(t, l, "dir", "x", "y")} {
			if s, _, err := v.Begin(ctx, specOf(t, b, p.parts...)); err == nil {
				if _, err := sendRest(s, b); err == nil {
					t.Errorf("put %q worked", p.parts)
				}
				s.Discard()
			}
			if err := v.Mkdir(p, true, true, nil); err == nil {
				t.Errorf("mkdir %q worked", p.parts)
			}
			if err := v.Symlink(p, "x", Replace, nil); err == nil {
				t.Errorf("symlink %q worked", p.parts)
			}
			if err := v.Rename(mustPath(t, "real", "file"), p, false); err == nil {
				t.Errorf("rename to %q worked", p.parts)
			}
			if err := v.Rename(p, mustPath(t, "stolen"), false); err == nil {
				t.Errorf("rename of %q worked", p.parts)
			}
			if err := v.Remove(p, true, false); err == nil {
				t.Errorf("remove %q worked", p.parts)
			}
			if err := v.SetMeta(p, Meta{HasMode: true, Mode: 0o777}); err == nil {
				t.Errorf("set meta of %q worked", p.parts)
			}
			if f, err := v.Open(p); err == nil {
				t.Errorf("open %q worked", p.parts)
				f.Close()
			}
			if _, _, err := v.Hash(ctx, p, nil); err == nil {
				t.Errorf("hash of %q worked", p.parts)
			}
			if _, err := v.Stat(p); err == nil {
				t.Errorf("stat of %q worked", p.parts)
			}
		}
		p := mustPath(t, l)
		if _, _, err := v.List(ctx, p, "", 10); err == nil {
			t.Errorf("list of %q worked", l)
		}
		if f, err := v.Open(p); err == nil {
			t.Errorf("open of %q worked", l)
			f.Close()
		}
		if err := v.SetMeta(p, Meta{HasMode: true, Mode: 0o777}); err != nil {
			t.Errorf("set meta of the link %q itself: %v", l, err)
		}
		if e, err := v.Stat(p); err != nil || e.Kind != Link {
			t.Errorf("stat of the link %q: %+v %v", l, e, err)
		}
		// A final name that is a link is replaced, not followed.
		s, _ := mustBegin(t, v, specOf(t, b, l))
		if _, err := sendRest(s, b); err != nil {
			t.Errorf("publish over the link %q: %v", l, err)
		}
		wantContent(t, d, l, b)
	}
	check()
	if _, found := mustBegin(t, v, specOf(t, content(9, 2*chunk18), "parked")); len(found.Have) != 1 {
		t.Error("the stage was touched", found)
	}
}

// A link within the root is a directory like any other, but never a way into our state.
func TestLinksWithinTheRoot(t *testing.T) {
	root, _, check := world(t)
	must(t, os.Symlink("real/deep", root+"/in"))
	must(t, os.Symlink(".", root+"/dot"))
	d := openDir(t, root, Options{})
	v := d.View("alice", All)
	b := []byte("hello there")
	s, _ := mustBegin(t, v, specOf(t, b, "in", "new", "file"))
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "real/deep/new/file", b)
	s, _ = mustBegin(t, v, specOf(t, b, "dot", "dot", "file"))
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "file", b)
	s, _ = mustBegin(t, v, specOf(t, b, "held"))
	defer s.Park()
	for _, p := range [][]string{{"dot", ".xfer", "x"}, {"dot", "dot", ".XFER", "stage", "x"}} {
		path := mustPath(t, p...)
		if _, _, err := v.Begin(context.Background(), specOf(t, b, p...)); !errors.Is(err, ErrBadPath) {
			t.Errorf("begin %q: %v", p, err)
		}
		if _, err := v.Stat(path); !errors.Is(err, ErrBadPath) {
			t.Errorf("stat %q: %v", p, err)
		}
		if err := v.Remove(path, true, true); !errors.Is(err, ErrBadPath) {
			t.Errorf("remove %q: %v", p, err)
		}
		if err := v.Mkdir(path, true, true, nil); !errors.Is(err, ErrBadPath) {
			t.Errorf("mkdir %q: %v", p, err)
		}
	}
	es, _, err := v.List(context.Background(), mustPath(t, "dot"), "", 100)
	for _, e := range es {
		if strings.HasPrefix(e.Name, ".xfer") {
			t.Error("listed:", e.Name)
		}
	}
	if err != nil || len(es) == 0 {
		t.Error(es, err)
	}
	check()
}

// Nothing waits for a peer of a FIFO, and none is read or written.
func TestSpecialFiles(t *testing.T) {
	root, _, check := world(t)
	must(t, syscall.Mkfifo(root+"/fifo", 0o600))
	d := openDir(t, root, Options{})
	v := d.View("alice", All)
	if _, err := v.Open(mustPath(t, "fifo")); !errors.Is(err, durable.ErrNotRegular) {
		t.Error("open:", err)
	}
	if _, err := v.Open(mustPath(t, "real")); !errors.Is(err, ErrIsDir) {
		t.Error("open of a directory:", err)
	}
	if _, err := v.Open(mustPath(t, "fifo", "x")); !errors.Is(err, ErrNotDir) {
		t.Error("open beneath a FIFO:", err)
	}
	if _, _, err := v.Hash(context.Background(), mustPath(t, "fifo"), nil); err == nil {
		t.Error("hashed")
	}
	b := []byte("file now")
	sp := specOf(t, b, "fifo")
	sp.IfExists = Fail
	s, _ := mustBegin(t, v, sp)
	if _, err := sendRest(s, b); !errors.Is(err, fs.ErrExist) {
		t.Error("no clobber:", err)
	}
	s.Discard()
	s, _ = mustBegin(t, v, specOf(t, b, "fifo"))
	if _, err := sendRest(s, b); err != nil {
		t.Error("replace:", err)
	}
	wantContent(t, d, "fifo", b)
	if _, _, err := v.Begin(context.Background(), specOf(t, b, "real")); !errors.Is(err, ErrIsDir) {
		t.Error("a directory as target:", err)
	}
	if _, _, err := v.Begin(context.Background(), specOf(t, b, "real", "file", "x")); !errors.Is(err, ErrNotDir) {
		t.Error("a file as directory:", err)
	}
	check()
}

// TestSwappedDirectory has somebody swap a directory with a link to the outside, again and again, while files are put,
// read, listed and removed beneath it.
func TestSwappedDirectory(t *testing.T) {
	root, outside, check := world(t)
	d := openDir(t, root, Options{})
	v := d.View("alice", All)
	must(t, os.Mkdir(root+"/swap", 0o755))
	must(t, os.Symlink(outside, root+"/evil"))
	swaps := 100_000
	if testing.Short() {
		swaps = 2_000
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range swaps {
			os.Rename(root+"/swap", root+"/aside")
			os.Rename(root+"/evil", root+"/swap")
			os.Rename(root+"/swap", root+"/evil")
			os.Rename(root+"/aside", root+"/swap")
		}
	}()
	ctx := context.Background()
	var wg sync.WaitGroup
	names := []string{"a", "b", "secret"}
	for i, n := range names {
		wg.Go(func() {
			b := content(uint64(i), 700)
			p := mustPath(t, "swap", n)
			for ok, k := 0, 0; ; k++ {
				select {
				case <-done:
					if ok == 0 {
						t.Error("never did anything arrive: the test shows nothing")
					}
					return
				default:
				}
				sp := specOf(t, b, p.parts...)
				s, _, err := v.Begin(ctx, sp)
				if err == nil {
					if _, err = sendRest(s, b); err == nil {
						ok++
					} else {
						s.Discard()
					}
				}
				if f, err := v.Open(p); err == nil {
					buf := make([]byte, 4)
					if n, _ := f.ReadAt(buf, 0); n == 4 && bytes.Equal(buf, bystander[:4]) {
						t.Error("read the secret")
					}
					f.Close()
				}
				v.List(ctx, mustPath(t, "swap"), "", 10)
				v.SetMeta(p, Meta{HasMode: true, Mode: 0o600})
				v.Mkdir(mustPath(t, "swap", "dir", n), true, true, nil)
				v.Remove(mustPath(t, "swap", "dir"), true, true)
				v.Remove(p, false, true)
			}
		})
	}
	wg.Wait()
	check()
	if fi, err := os.Stat(outside + "/secret"); err != nil || fi.Mode().Perm() != 0o644 {
		t.Error("mode of the file outside", fi.Mode(), err)
	}
}

// TestPeersSwapADirectoryWithOurState: one peer puts a link to ".xfer" in place of a directory at the worst moment: between
// the resolving of another's path and its use. Guard: the lock Dir.ns, from resolving to use.
func TestPeersSwapADirectoryWithOurState(t *testing.T) {
	private, b := mustPath(t, "swap", "private"), []byte("evil")
	ctx := context.Background()
	begin := func(v *View, how IfExists) error {
		sp := specOf(t, b, "swap", "private")
		sp.IfExists = how
		s, _, err := v.Begin(ctx, sp)
		if err != nil {
			return err
		}
		defer s.Discard()
		_, err = sendRest(s, b)
		return err
	}
	for name, do := range map[string]func(v *View) error{
		"open": func(v *View) error {
			f, err := v.Open(private)
			if err != nil {
				return err
			}
			defer f.Close()
			buf := make([]byte, 4)
			if _, err := f.ReadAt(buf, 0); err == nil && bytes.Equal(buf, bystander[:4]) {
				t.Error("a peer reads our state")
			}
			return nil
		},
		"hash": func(v *View) error {
			h, _, err := v.Hash(ctx, private, nil)
			if h == digest(bystander) {
				t.Error("a peer learns a hash of our state")
			}
			return err
		},
		"list": func(v *View) error {
			es, _, err := v.List(ctx, mustPath(t, "swap"), "", 10)
			for _, e := range es {
				if e.Size == int64(len(bystander)) || e.Name == "done.log" {
					t.Error("a peer sees our state:", e)
				}
			}
			return err
		},
		"set meta": func(v *View) error { return v.SetMeta(private, Meta{HasMode: true, Mode: 0o777}) },
		"symlink":  func(v *View) error { return v.Symlink(private, "x", Replace, nil) },
		"mkdir":    func(v *View) error { return v.Mkdir(mustPath(t, "swap", "evil"), true, true, nil) },
		"remove":   func(v *View) error { return v.Remove(private, false, true) },
		"rename":   func(v *View) error { return v.Rename(private, mustPath(t, "stolen"), false) },
		"replace":  func(v *View) error { return begin(v, Replace) },
		"fail":     func(v *View) error { begin(v, Fail); return nil },
		"version":  func(v *View) error { return begin(v, Version) },
	} {
		t.Run(name, func(t *testing.T) {
			root, _, _ := world(t)
			os, real := os.WriteFile, openDir(t, root, Options{KeepDoneLog: true})
			v := real.View("mallory", All)
			must(t, v.Mkdir(mustPath(t, "swap"), false, false, nil))
			must(t, v.Symlink(mustPath(t, "link"), ".xfer", Replace, nil))
			must(t, os(root+"/.xfer/private", bystander, 0o600))
			must(t, os(root+"/swap/private", []byte("public"), 0o644))
			var wg sync.WaitGroup
			swapped := make(chan struct{})
			real.fs = &worstMoment{FS: real.fs, do: func() {
				wg.Go(func() {
					defer close(swapped)
					v.Rename(mustPath(t, "swap"), mustPath(t, "aside"), false)
					v.Rename(mustPath(t, "link"), mustPath(t, "swap"), false)
				})
				select {
				case <-swapped:
				case <-time.After(30 * time.Millisecond): // it waits for us, as it should
				}
			}}
			if err := do(real.View("alice", All)); err != nil && !errors.Is(err, ErrBadPath) && !errors.Is(err, fs.ErrNotExist) {
				t.Error(err)
			}
			wg.Wait()
			checkPrivate(t, root)
		})
	}
}

func checkPrivate(t *testing.T, root string) {
	t.Helper()
	if b, err := os.ReadFile(root + "/.xfer/private"); err != nil || !bytes.Equal(b, bystander) {
		t.Error("our state was changed", err)
	}
	if fi, err := os.Stat(root + "/.xfer/private"); err == nil && fi.Mode().Perm() != 0o600 {
		t.Error("mode of our state", fi.Mode())
	}
	if _, err := os.Lstat(root + "/.xfer/evil"); err == nil {
		t.Error("a peer has made a name in our state")
	}
}

// worstMoment calls do before the first use of a name in "swap" that changes or opens something.
type worstMoment struct {
	durable.FS
	do   func()
	once atomic.Bool
}

func (f *worstMoment) hit(names ...string) {
	for _, n := range names {
		if n == "swap" || strings.HasPrefix(n, "swap/") {
			if f.once.CompareAndSwap(false, true) {
				f.do()
			}
		}
	}
}

func (f *worstMoment) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f.hit(name)
	return f.FS.OpenFile(name, flag, perm)
}
func (f *worstMoment) OpenRoot(name string) (durable.FS, error) {
	f.hit(name)
	return f.FS.OpenRoot(name)
}
func (f *worstMoment) Mkdir(name string, perm fs.FileMode) error {
	f.hit(name)
	return f.FS.Mkdir(name, perm)
}
func (f *worstMoment) Remove(name string) error { f.hit(name); return f.FS.Remove(name) }
func (f *worstMoment) Chmod(name string, mode fs.FileMode) error {
	f.hit(name)
	return f.FS.Chmod(name, mode)
}
func (f *worstMoment) Link(a, b string) error { f.hit(a, b); return f.FS.Link(a, b) }
func (f *worstMoment) Rename(a, b string) error {
	if a != "swap" { // not the swap itself
		f.hit(a, b)
	}
	return f.FS.Rename(a, b)
}
func (f *worstMoment) RenameNoReplace(a, b string) error {
	f.hit(a, b)
	return f.FS.RenameNoReplace(a, b)
}
