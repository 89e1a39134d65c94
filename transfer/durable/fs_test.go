package durable_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// run runs a test over the system's file system and over the one in memory: what holds for one holds for both.
func run(t *testing.T, f func(t *testing.T, fsys durable.FS)) {
	t.Run("os", func(t *testing.T) { f(t, mustOpenOS(t, t.TempDir())) })
	t.Run("memory", func(t *testing.T) { f(t, crashfs.New(1)) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustOpenOS(t *testing.T, dir string) durable.FS {
	t.Helper()
	fsys, err := durable.OpenOS(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fsys.Close() })
	return fsys
}

func mustWrite(t *testing.T, fsys durable.FS, name, data string) {
	t.Helper()
	if err := durable.WriteFile(fsys, name, []byte(data), 0o644); err != nil {
		t.Fatal(err)
	}
}

func mustRead(t *testing.T, fsys durable.FS, name string) string {
	t.Helper()
	data, err := durable.ReadFile(fsys, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestOpenOSRefusesWhatIsNoDirectory(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := durable.OpenOS(name); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("a file: %v, want ENOTDIR", err)
	}
	if _, err := durable.OpenOS(name + "-missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing name: %v, want fs.ErrNotExist", err)
	}
}

func TestFileOperations(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		f, err := fsys.OpenFile("a", os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		const size = 100_000
		if err := f.Allocate(size); err != nil {
			t.Fatal(err)
		}
		if err := f.Allocate(size / 2); err != nil {
			t.Fatalf("allocate of less than there is: %v", err)
		}
		fi, err := f.Stat()
		if err != nil || fi.Size() != size {
			t.Fatalf("after Allocate: size %d, %v; want %d", fi.Size(), err, size)
		}
		if err := f.Allocate(-1); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("Allocate(-1): %v, want EINVAL", err)
		}
		if _, err := f.WriteAt([]byte("tail"), size-4); err != nil {
			t.Fatal(err)
		}
		when := time.Date(2001, 2, 3, 4, 5, 6, 789012345, time.UTC)
		for _, step := range []struct {
			name string
			do   func() error
		}{
			{"SyncData", f.SyncData},
			{"DropCache", f.DropCache},
			{"Chmod", func() error { return f.Chmod(0o640) }},
			{"SetTimes", func() error { return f.SetTimes(when) }},
			{"Sync", f.Sync},
		} {
			if err := step.do(); err != nil {
				t.Errorf("%s: %v", step.name, err)
			}
		}
		fi, err = fsys.Stat("a")
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.ModTime().Truncate(time.Microsecond); !got.Equal(when.Truncate(time.Microsecond)) {
			t.Errorf("mtime %v, want %v", fi.ModTime(), when)
		}
		tail := make([]byte, 4)
		if _, err := f.ReadAt(tail, size-4); err != nil || string(tail) != "tail" {
			t.Errorf("read %q, %v", tail, err)
		}
		if want := "/a"; !strings.HasSuffix(f.Name(), want) {
			t.Errorf("Name %q, want one that ends in %q", f.Name(), want)
		}
	})
}

func TestRenameNoReplace(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		mustWrite(t, fsys, "old", "old")
		mustWrite(t, fsys, "new", "new")
		if err := fsys.Mkdir("d", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := fsys.RenameNoReplace("old", "new"); !errors.Is(err, fs.ErrExist) {
			t.Fatalf("onto a file: %v, want fs.ErrExist", err)
		}
		if got := mustRead(t, fsys, "new") + mustRead(t, fsys, "old"); got != "newold" {
			t.Fatalf("a refused rename changed something: %q", got)
		}
		if err := fsys.Symlink("nowhere", "dangling"); err != nil {
			t.Fatal(err)
		}
		if err := fsys.RenameNoReplace("old", "dangling"); !errors.Is(err, fs.ErrExist) {
			t.Fatalf("onto a dangling link: %v, want fs.ErrExist", err)
		}
		if err := fsys.RenameNoReplace("old", "d/x"); err != nil {
			t.Fatal(err)
		}
		if _, err := fsys.Lstat("old"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the old name is still there: %v", err)
		}
		if got := mustRead(t, fsys, "d/x"); got != "old" {
			t.Errorf("read %q", got)
		}
		for _, bad := range []string{"..", "../x", "/x", "d/..", "", ".", "d/../../x"} {
			if err := fsys.RenameNoReplace("new", bad); err == nil {
				t.Errorf("rename to %q succeeded", bad)
			}
		}
	})
}

func TestSpace(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		free, total, err := fsys.Space()
		if err != nil || free <= 0 || total < free {
			t.Errorf("Space: %d free of %d, %v", free, total, err)
		}
	})
}

func TestOpenRootIsAnFSOfItsOwn(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		if err := durable.MkdirAll(fsys, "a/b/c", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := durable.MkdirAll(fsys, "a/b/c", 0o755); err != nil {
			t.Fatalf("again: %v", err)
		}
		sub, err := fsys.OpenRoot("a/b")
		if err != nil {
			t.Fatal(err)
		}
		defer sub.Close()
		mustWrite(t, sub, "c/f", "x")
		if got := mustRead(t, fsys, "a/b/c/f"); got != "x" {
			t.Errorf("read %q", got)
		}
		if _, err := sub.OpenFile("../b/c/f", os.O_RDONLY, 0); err == nil {
			t.Error("the name went above the sub-root")
		}
		if _, err := fsys.OpenRoot("a/b/c/f"); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("a file as root: %v, want ENOTDIR", err)
		}
	})
}

func TestRenameTo(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		must(t, durable.MkdirAll(fsys, "a/b", 0o755))
		must(t, durable.MkdirAll(fsys, "c/full/x", 0o755))
		mustWrite(t, fsys, "a/old", "old")
		mustWrite(t, fsys, "a/two", "two")
		mustWrite(t, fsys, "c/new", "new")
		must(t, fsys.Symlink("nowhere", "c/dangling"))
		a, err := fsys.OpenRoot("a")
		must(t, err)
		defer a.Close()
		c, err := fsys.OpenRoot("c")
		must(t, err)
		defer c.Close()
		for _, name := range []string{"new", "dangling", "full", "full/x"} {
			if err := a.RenameTo("old", c, name, false); !errors.Is(err, fs.ErrExist) {
				t.Errorf("onto %s: %v, want fs.ErrExist", name, err)
			}
		}
		for _, name := range []string{"full", "full/x", "../c/new", "..", ".", "", "/x", "missing/x"} {
			for _, replace := range []bool{true, false} {
				if err := a.RenameTo("old", c, name, replace); err == nil {
					t.Errorf("renamed to %q, replace %t", name, replace)
				}
				if err := c.RenameTo(name, a, "old", replace); err == nil {
					t.Errorf("renamed from %q, replace %t", name, replace)
				}
			}
		}
		if err := a.RenameTo("b", c, "full", true); !errors.Is(err, fs.ErrExist) {
			t.Errorf("a directory onto another: %v, want fs.ErrExist", err)
		}
		if got := mustRead(t, a, "old") + mustRead(t, c, "new"); got != "oldnew" {
			t.Fatalf("a refused rename changed something: %q", got)
		}
		must(t, a.RenameTo("old", c, "new", true))
		must(t, a.RenameTo("two", c, "full/x/two", false))
		must(t, c.RenameTo("full/x/two", fsys, "top", true))
		must(t, fsys.RenameTo("top", a, "b/two", true))
		must(t, a.RenameTo("b", c, "b", false))
		if got := mustRead(t, fsys, "c/new") + mustRead(t, fsys, "c/b/two"); got != "oldtwo" {
			t.Errorf("read %q", got)
		}
		if entries, err := a.ReadDir("."); err != nil || len(entries) != 0 {
			t.Errorf("left: %v, %v", entries, err)
		}
	})
}

func TestIDOf(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		mustWrite(t, fsys, "a", "1")
		mustWrite(t, fsys, "b", "1")
		if err := fsys.Link("a", "a2"); err != nil {
			t.Fatal(err)
		}
		stat := func(name string) fs.FileInfo {
			fi, err := fsys.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			return fi
		}
		if !durable.SameFile(stat("a"), stat("a2")) || durable.SameFile(stat("a"), stat("b")) {
			t.Error("SameFile does not tell files apart")
		}
		id, ok := durable.IDOf(stat("a"))
		if !ok {
			t.Skip("the system tells no inode")
		}
		id2, _ := durable.IDOf(stat("a2"))
		if id != id2 || id.Inode == 0 || id.CTime == 0 {
			t.Errorf("IDs %v and %v of one file", id, id2)
		}
	})
}

func TestReadDirAndBatches(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		want := map[string]bool{}
		for _, name := range []string{"a", "b", "c"} {
			mustWrite(t, fsys, name, name)
			want[name] = true
		}
		entries, err := fsys.ReadDir(".")
		if err != nil || len(entries) != 3 {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		d, err := fsys.OpenFile(".", os.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		for {
			batch, err := d.ReadDir(2)
			for _, e := range batch {
				delete(want, e.Name())
			}
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if len(want) != 0 {
			t.Errorf("not listed: %v", want)
		}
	})
}

func TestWriteFileReplacesWholeAndLeavesNothing(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		for _, data := range []string{"first", "", strings.Repeat("x", 1<<17)} {
			mustWrite(t, fsys, "f", data)
			if got := mustRead(t, fsys, "f"); got != data {
				t.Fatalf("read %d bytes, want %d", len(got), len(data))
			}
		}
		must(t, fsys.Mkdir("d", 0o755))
		if err := durable.WriteFile(fsys, "d", []byte("x"), 0o600); err == nil {
			t.Error("a directory was replaced by a file")
		}
		if err := durable.WriteFile(fsys, "missing/f", []byte("x"), 0o600); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("in a missing directory: %v", err)
		}
		must(t, fsys.Symlink("f", "link"))
		mustWrite(t, fsys, "link", "new")
		if got := mustRead(t, fsys, "link") + mustRead(t, fsys, "f"); got != "new"+strings.Repeat("x", 1<<17) {
			t.Error("a link was written through")
		}
		entries, err := fsys.ReadDir(".")
		if err != nil || len(entries) != 3 {
			t.Errorf("left behind: %v %v", entries, err)
		}
		if _, err := durable.ReadFile(fsys, "f", 1<<17-1); !errors.Is(err, syscall.EFBIG) {
			t.Errorf("a file over the limit: %v, want EFBIG", err)
		}
	})
}

func TestWriteFilePermissionsWhateverTheUmask(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		for _, perm := range []fs.FileMode{0o600, 0o644, 0o666, 0o400} {
			must(t, durable.WriteFile(fsys, "f", []byte("x"), perm))
			fi, err := fsys.Stat("f")
			must(t, err)
			if runtime.GOOS != "windows" && fi.Mode() != perm {
				t.Errorf("mode %v, want %v", fi.Mode(), perm)
			}
		}
	})
}

func TestReplace(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		if err := durable.MkdirAll(fsys, "a", 0o755); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, fsys, "a/old", "1")
		mustWrite(t, fsys, "new", "2")
		if err := durable.Replace(fsys, "a/old", "new"); err != nil {
			t.Fatal(err)
		}
		if got := mustRead(t, fsys, "new"); got != "1" {
			t.Errorf("read %q", got)
		}
	})
}

func TestLockIsExclusive(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		unlock, err := fsys.Lock("lock")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fsys.Lock("lock"); !errors.Is(err, durable.ErrLocked) {
			t.Fatalf("second lock: %v, want ErrLocked", err)
		}
		if err := unlock(); err != nil {
			t.Fatal(err)
		}
		again, err := fsys.Lock("lock")
		if err != nil {
			t.Fatalf("after unlock: %v", err)
		}
		if err := again(); err != nil {
			t.Fatal(err)
		}
	})
}

// A lock on a file that was removed meanwhile guards nothing: the next Lock makes a new file.
func TestLockOfARemovedFile(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		unlock, err := fsys.Lock("lock")
		if err != nil {
			t.Fatal(err)
		}
		defer unlock()
		if err := fsys.Remove("lock"); err != nil {
			t.Skipf("the system removes no open file: %v", err)
		}
		second, err := fsys.Lock("lock")
		if err != nil {
			t.Fatal(err)
		}
		defer second()
		if _, err := fsys.Lock("lock"); !errors.Is(err, durable.ErrLocked) {
			t.Errorf("third lock: %v, want ErrLocked", err)
		}
	})
}

func TestReadFileOfBinary(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		data := bytes.Repeat([]byte{0, 0xff, '\n'}, 1000)
		mustWrite(t, fsys, "f", string(data))
		if got := mustRead(t, fsys, "f"); got != string(data) {
			t.Error("not the same bytes")
		}
	})
}
