package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"xfer/transfer/durable"
)

// methods are those of an FS that take a name, each with the error only.
var methods = []struct {
	name    string
	follows bool // a final link
	do      func(fsys durable.FS, name string) error
}{
	{"OpenFile", true, func(f durable.FS, n string) error { return closing(f.OpenFile(n, os.O_RDONLY|durable.NonBlock, 0)) }},
	{"create", true, func(f durable.FS, n string) error {
		return closing(f.OpenFile(n, os.O_RDWR|os.O_CREATE|durable.NonBlock, 0o600))
	}},
	{"WriteFile", false, func(f durable.FS, n string) error { return durable.WriteFile(f, n, nil, 0o600) }},
	{"OpenRegular", false, func(f durable.FS, n string) error { return closing(durable.OpenRegular(f, n)) }},
	{"Mkdir", false, func(f durable.FS, n string) error { return f.Mkdir(n, 0o700) }},
	{"MkdirAll", true, func(f durable.FS, n string) error { return durable.MkdirAll(f, n, 0o700) }},
	{"Remove", false, func(f durable.FS, n string) error { return f.Remove(n) }},
	{"RemoveAll", false, func(f durable.FS, n string) error { return f.RemoveAll(n) }},
	{"Rename from", false, func(f durable.FS, n string) error { return f.Rename(n, "x") }},
	{"Rename to", false, func(f durable.FS, n string) error { return f.Rename("file", n) }},
	{"RenameNoReplace from", false, func(f durable.FS, n string) error { return f.RenameNoReplace(n, "x") }},
	{"RenameNoReplace to", false, func(f durable.FS, n string) error { return f.RenameNoReplace("file", n) }},
	{"RenameTo from", false, func(f durable.FS, n string) error { return f.RenameTo(n, f, "x", true) }},
	{"RenameTo to", false, func(f durable.FS, n string) error { return f.RenameTo("file", f, n, true) }},
	{"RenameTo of no other", false, func(f durable.FS, n string) error { return f.RenameTo("file", f, n, false) }},
	{"Link from", false, func(f durable.FS, n string) error { return f.Link(n, "x") }},
	{"Link to", false, func(f durable.FS, n string) error { return f.Link("file", n) }},
	{"Symlink", false, func(f durable.FS, n string) error { return f.Symlink("target", n) }},
	{"Readlink", false, func(f durable.FS, n string) error { _, err := f.Readlink(n); return err }},
	{"Stat", true, func(f durable.FS, n string) error { _, err := f.Stat(n); return err }},
	{"Lstat", false, func(f durable.FS, n string) error { _, err := f.Lstat(n); return err }},
	{"Chmod", true, func(f durable.FS, n string) error { return f.Chmod(n, 0o700) }},
	{"SetTimes", false, func(f durable.FS, n string) error { return f.SetTimes(n, time.Unix(1, 0)) }},
	{"ReadDir", true, func(f durable.FS, n string) error { _, err := f.ReadDir(n); return err }},
	{"SyncDir", true, func(f durable.FS, n string) error { return f.SyncDir(n) }},
	{"OpenRoot", true, func(f durable.FS, n string) error { return closing(f.OpenRoot(n)) }},
	{"Lock", false, func(f durable.FS, n string) error {
		unlock, err := f.Lock(n)
		if err == nil {
			err = unlock()
		}
		return err
	}},
	{"Lchown", false, func(f durable.FS, n string) error { return f.Lchown(n, os.Getuid(), os.Getgid()) }},
	{"LXAttrs", false, func(f durable.FS, n string) error { _, err := f.LXAttrs(n); return err }},
	{"LSetXAttr", false, func(f durable.FS, n string) error { return f.LSetXAttr(n, "user.x", []byte("x")) }},
	{"LRemoveXAttr", false, func(f durable.FS, n string) error { return f.LRemoveXAttr(n, "user.x") }},
}

func closing[C interface{ Close() error }](c C, err error) error {
	if err == nil {
		err = c.Close()
	}
	return err
}

// canary makes a directory outside and one inside, and reports a change of the outside.
type canary struct {
	outside string
	before  fs.FileInfo
}

func newCanary(t *testing.T) canary {
	t.Helper()
	c := canary{outside: t.TempDir()}
	must(t, os.WriteFile(c.outside+"/secret", []byte("secret"), 0o644))
	must(t, os.Mkdir(c.outside+"/d", 0o755))
	must(t, os.WriteFile(c.outside+"/d/secret", []byte("secret"), 0o644))
	c.before, _ = os.Stat(c.outside + "/secret")
	return c
}

func (c canary) check(t *testing.T, what string) {
	t.Helper()
	fi, err := os.Stat(c.outside + "/secret")
	if err != nil || fi.Mode() != c.before.Mode() || !fi.ModTime().Equal(c.before.ModTime()) {
		t.Fatalf("%s: the outside changed: %v, %v", what, fi, err)
	}
	for dir, want := range map[string]int{c.outside: 2, c.outside + "/d": 1} {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != want {
			t.Fatalf("%s: the outside changed: %v, %v", what, entries, err)
		}
	}
}

func TestNoMethodLeavesTheRoot(t *testing.T) {
	c := newCanary(t)
	up := "../" + c.outside[strings.LastIndexByte(c.outside, '/')+1:]
	run(t, func(t *testing.T, fsys durable.FS) {
		must(t, fsys.Mkdir("d", 0o755))
		mustWrite(t, fsys, "file", "file")
		for name, target := range map[string]string{
			"abs": c.outside, "rel": "../../" + up, "chain": "abs", "self": "self", "a": "b", "b": "a",
			"absfile": c.outside + "/secret", "through": "d/../../x", "dotdot": "..",
		} {
			must(t, fsys.Symlink(target, name))
		}
		bad := []string{
			"", "..", "../x", "/", "/etc/passwd", c.outside, c.outside + "/secret", "d/../..", "d/../../x",
			up + "/secret", "./../x", "d/../../" + up[3:] + "/secret",
			"abs/secret", "abs/new", "abs/d/secret", "rel/secret", "chain/secret", "chain/new", "self/x", "a/x",
			"through/x", "dotdot/x", "dotdot/../x",
			"nul\x00", "d/nul\x00x",
		}
		for _, m := range methods {
			for _, name := range bad {
				if err := m.do(fsys, name); err == nil {
					t.Errorf("%s(%q) succeeded", m.name, name)
				}
				c.check(t, m.name+" "+name)
			}
			for _, name := range []string{"abs", "rel", "chain", "absfile", "self", "a", "through", "dotdot"} {
				if err := m.do(fsys, name); m.follows && err == nil {
					t.Errorf("%s(%q) followed a link to outside", m.name, name)
				}
				c.check(t, m.name+" "+name)
				// What acts on the link itself may have removed or replaced it.
				_ = fsys.RemoveAll("x")
				if _, err := fsys.Lstat("file"); err != nil {
					mustWrite(t, fsys, "file", "file")
				}
			}
			for name, target := range map[string]string{
				"abs": c.outside, "rel": "../../" + up, "chain": "abs", "self": "self", "a": "b", "b": "a",
				"absfile": c.outside + "/secret", "through": "d/../../x", "dotdot": "..",
			} {
				_ = fsys.RemoveAll(name)
				must(t, fsys.Symlink(target, name))
			}
		}
	})
}

func TestLinksInsideAreFollowed(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		must(t, durable.MkdirAll(fsys, "d/e", 0o755))
		mustWrite(t, fsys, "d/f", "f")
		for name, target := range map[string]string{
			"l": "d", "chain": "l/e", "up": "d/e/..", "file": "up/f", "d/e/back": "../../d/f",
		} {
			must(t, fsys.Symlink(target, name))
		}
		for _, name := range []string{"l/f", "up/f", "chain/../f", "file", "d/e/back", "l/e/back", "./d//f"} {
			f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
			if err != nil {
				t.Errorf("%q: %v", name, err)
				continue
			}
			must(t, f.Close())
		}
	})
}

func TestOddNames(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		names := []string{"-x", " ", "...", strings.Repeat("n", 255)}
		if runtime.GOOS == "linux" {
			names = append(names, "new\nline", "\x1b[2J", "\xff\xfe\x80", `a\b`, "*?")
		}
		for _, name := range names {
			must(t, durable.MkdirAll(fsys, "d/"+name, 0o755))
			file := "d/" + name + "/" + name
			mustWrite(t, fsys, file, name)
			must(t, fsys.SetTimes(file, time.Unix(1, 0)))
			must(t, fsys.RenameNoReplace(file, file[:len(file)-1]+"2"))
			must(t, fsys.Rename(file[:len(file)-1]+"2", file))
			f, err := durable.OpenRegular(fsys, file)
			must(t, err)
			must(t, f.Close())
			unlock, err := fsys.Lock(file)
			must(t, err)
			must(t, unlock())
			if got := mustRead(t, fsys, file); got != name {
				t.Errorf("%q holds %q", file, got)
			}
		}
		long := strings.Repeat("n", 256)
		if err := fsys.Mkdir(long, 0o755); !errors.Is(err, syscall.ENAMETOOLONG) && runtime.GOOS != "windows" {
			t.Errorf("a component of 256 bytes: %v", err)
		}
	})
}

func TestOpenRegular(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		must(t, fsys.Mkdir("d", 0o755))
		mustWrite(t, fsys, "f", "data")
		must(t, fsys.Symlink("f", "link"))
		must(t, fsys.Symlink("missing", "dangling"))
		must(t, fsys.Symlink("d", "dlink"))
		mustWrite(t, fsys, "d/f", "data")
		for _, name := range []string{"d", "link", "dangling", "dlink", "."} {
			for _, flag := range []int{os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC} {
				f, err := durable.OpenRegularFlag(fsys, name, flag)
				if !errors.Is(err, durable.ErrNotRegular) {
					t.Errorf("%q, flag %#x: %v, %v; want ErrNotRegular", name, flag, f, err)
				}
			}
		}
		if _, err := durable.OpenRegular(fsys, "missing"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("missing: %v", err)
		}
		f, err := durable.OpenRegular(fsys, "dlink/f") // a link on the way is no matter
		must(t, err)
		must(t, f.Close())
		f, err = durable.OpenRegularFlag(fsys, "f", os.O_RDWR|os.O_TRUNC|os.O_CREATE)
		must(t, err)
		must(t, f.Close())
		if got := mustRead(t, fsys, "f"); got != "" {
			t.Errorf("O_TRUNC left %q", got)
		}
	})
}

// NoFollow with O_CREATE makes no file at the end of a dangling link.
func TestNoFollowCreatesNothingThroughALink(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		must(t, fsys.Symlink("made", "dangling"))
		for _, flag := range []int{durable.NoFollow, os.O_EXCL} {
			if f, err := fsys.OpenFile("dangling", os.O_RDWR|os.O_CREATE|flag, 0o600); err == nil {
				f.Close()
				t.Errorf("flag %#x: opened", flag)
			}
		}
		if _, err := fsys.Lock("dangling"); err == nil {
			t.Error("locked through a link")
		}
		if _, err := fsys.Lstat("made"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("made through the link: %v", err)
		}
	})
}

func TestNoFollowOfADirectory(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		must(t, fsys.Mkdir("d", 0o755))
		mustWrite(t, fsys, "d/f", "")
		d, err := fsys.OpenFile("d", os.O_RDONLY|durable.NoFollow, 0)
		must(t, err)
		defer d.Close()
		entries, err := d.ReadDir(-1)
		if err != nil || len(entries) != 1 {
			t.Fatalf("%v, %v", entries, err)
		}
		if fi, err := entries[0].Info(); err != nil || !fi.Mode().IsRegular() {
			t.Errorf("%v, %v", fi, err)
		}
	})
}

func TestSetTimesActsOnTheLink(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("times are set through the link here")
	}
	run(t, func(t *testing.T, fsys durable.FS) {
		mustWrite(t, fsys, "f", "")
		must(t, fsys.Symlink("f", "link"))
		when := time.Date(1999, 12, 31, 23, 59, 59, 123456789, time.UTC)
		must(t, fsys.SetTimes("link", when))
		link, err := fsys.Lstat("link")
		must(t, err)
		file, err := fsys.Stat("f")
		must(t, err)
		if !link.ModTime().Equal(when) || file.ModTime().Equal(when) {
			t.Errorf("link %v, file %v, want %v of the link only", link.ModTime(), file.ModTime(), when)
		}
		old := time.Date(1960, 1, 2, 3, 4, 5, 6, time.UTC)
		must(t, fsys.SetTimes(".", old))
		if fi, err := fsys.Stat("."); err != nil || !fi.ModTime().Equal(old) {
			t.Errorf("before 1970: %v, %v", fi.ModTime(), err)
		}
	})
}
