//go:build linux || darwin

package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// zoo makes a directory with one name of each kind.
func zoo(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	for _, err := range []error{
		os.WriteFile(dir+"/file", []byte("x"), 0o640),
		os.Mkdir(dir+"/dir", 0o750),
		os.Mkdir(dir+"/full", 0o700),
		os.WriteFile(dir+"/full/x", nil, 0o600),
		os.Symlink("file", dir+"/link"),
		os.Symlink("dir", dir+"/dirlink"),
		os.Symlink("nowhere", dir+"/dangling"),
		os.Symlink("/etc", dir+"/outside"),
		os.Symlink("self", dir+"/self"),
		syscall.Mkfifo(dir+"/fifo", 0o600),
		os.Chmod(dir+"/file", os.ModeSetuid|0o640),
		os.Chmod(dir+"/dir", os.ModeSticky|os.ModeSetgid|0o750),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A name of one component does not go through the Root, and all is as if it did: the same operations on the same names
// give the same results and the same errors.
func TestOneComponentIsAsThroughTheRoot(t *testing.T) {
	names := []string{
		"file", "dir", "full", "link", "dirlink", "dangling", "outside", "self", "fifo", "missing",
		"", ".", "..", "dir/", "/", "nul\x00", strings.Repeat("n", 256), "...",
	}
	when := time.Unix(1e9, 12345000)
	open := func(f func(string, int, fs.FileMode) (*os.File, error), name string, flag int) error {
		h, err := f(name, flag, 0o600)
		if err == nil {
			err = h.Close()
		}
		return err
	}
	for _, op := range []struct {
		name string
		fast func(o *osFS, name string) error
		slow func(r *os.Root, name string) error
	}{
		{"mkdir", func(o *osFS, n string) error { return o.Mkdir(n, 0o700) }, func(r *os.Root, n string) error { return r.Mkdir(n, 0o700) }},
		{"remove", func(o *osFS, n string) error { return o.Remove(n) }, func(r *os.Root, n string) error { return r.Remove(n) }},
		{"symlink", func(o *osFS, n string) error { return o.Symlink("t", n) }, func(r *os.Root, n string) error { return r.Symlink("t", n) }},
		{"chmod", func(o *osFS, n string) error { return o.Chmod(n, 0o705) }, func(r *os.Root, n string) error { return r.Chmod(n, 0o705) }},
		{"rename to", func(o *osFS, n string) error { return o.Rename("file", n) }, func(r *os.Root, n string) error { return r.Rename("file", n) }},
		{"rename from", func(o *osFS, n string) error { return o.Rename(n, "new") }, func(r *os.Root, n string) error { return r.Rename(n, "new") }},
		{"rename a directory to", func(o *osFS, n string) error { return o.Rename("full", n) }, func(r *os.Root, n string) error { return r.Rename("full", n) }},
		{"rename itself", func(o *osFS, n string) error { return o.Rename(n, n) }, func(r *os.Root, n string) error { return r.Rename(n, n) }},
		{"link to", func(o *osFS, n string) error { return o.Link("file", n) }, func(r *os.Root, n string) error { return r.Link("file", n) }},
		{"link from", func(o *osFS, n string) error { return o.Link(n, "new") }, func(r *os.Root, n string) error { return r.Link(n, "new") }},
		{
			"create",
			func(o *osFS, n string) error { return closed(o.OpenFile(n, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)) },
			func(r *os.Root, n string) error { return open(r.OpenFile, n, os.O_RDWR|os.O_CREATE|os.O_EXCL) },
		},
		{
			"times",
			func(o *osFS, n string) error { return o.SetTimes(n, when) },
			func(r *os.Root, n string) error {
				fi, err := r.Lstat(n)
				if err == nil && fi.Mode()&fs.ModeSymlink == 0 {
					err = r.Chtimes(n, when, when)
				}
				return err
			},
		},
	} {
		for _, name := range names {
			if op.name == "times" && (name == "" || name == ".." || strings.HasSuffix(name, "/")) {
				continue // EINVAL here
			}
			a, b := zoo(t), zoo(t)
			o := mustOS(t, a)
			r, err := os.OpenRoot(b)
			if err != nil {
				t.Fatal(err)
			}
			got, want := op.fast(o, name), op.slow(r, name)
			r.Close()
			if op.name == "times" && (name == "link" || name == "dangling" || name == "self" || name == "dirlink" || name == "outside") {
				continue // the link's own are set, which the Root cannot do
			}
			if errno(got) != errno(want) {
				t.Errorf("%s %q: %v, through the Root %v", op.name, name, got, want)
			}
			if got, want := listing(t, a), listing(t, b); got != want {
				t.Errorf("%s %q leaves\n%s\nthrough the Root\n%s", op.name, name, got, want)
			}
		}
	}
	// What only looks.
	dir := zoo(t)
	o := mustOS(t, dir)
	r, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, name := range names {
		fi, err1 := o.Lstat(name)
		fi2, err2 := r.Lstat(name)
		sameInfo(t, "Lstat", name, fi, fi2, err1, err2)
		fi, err1 = o.Stat(name)
		fi2, err2 = r.Stat(name)
		sameInfo(t, "Stat", name, fi, fi2, err1, err2)
		l, err1 := o.Readlink(name)
		l2, err2 := r.Readlink(name)
		if l != l2 || errno(err1) != errno(err2) {
			t.Errorf("Readlink %q: %q %v, through the Root %q %v", name, l, err1, l2, err2)
		}
	}
	long := strings.Repeat("x", 4000)
	if err := o.Symlink(long, "long"); err != nil {
		t.Fatal(err)
	}
	if l, err := o.Readlink("long"); l != long || err != nil {
		t.Errorf("a target of %d bytes was read: %v", len(l), err)
	}
}

func closed(f File, err error) error {
	if err == nil {
		err = f.Close()
	}
	return err
}

func mustOS(t testing.TB, dir string) *osFS {
	t.Helper()
	f, err := OpenOS(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f.(*osFS)
}

// errno is what the system said, or whether there was an error at all.
func errno(err error) any {
	var e syscall.Errno
	if errors.As(err, &e) {
		return e
	}
	return err != nil
}

func sameInfo(t *testing.T, op, name string, a, b fs.FileInfo, errA, errB error) {
	t.Helper()
	if errno(errA) != errno(errB) {
		t.Errorf("%s %q: %v, through the Root %v", op, name, errA, errB)
	}
	if errA != nil || errB != nil {
		return
	}
	if a.Name() != b.Name() || a.Size() != b.Size() || a.Mode() != b.Mode() || !a.ModTime().Equal(b.ModTime()) ||
		a.IsDir() != b.IsDir() || *a.Sys().(*syscall.Stat_t) != *b.Sys().(*syscall.Stat_t) || !SameFile(a, b) {
		t.Errorf("%s %q: %v, through the Root %v", op, name, a, b)
	}
}

// listing describes the names in dir.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		l, _ := os.Readlink(dir + "/" + e.Name())
		n := fi.Sys().(*syscall.Stat_t).Nlink
		fmt.Fprintf(&b, "%s %v %d %q %v\n", e.Name(), fi.Mode(), n, l, fi.ModTime().Unix() == 1e9)
	}
	return b.String()
}

// Where /proc is missing the Root of a sub-directory is made by its name, at once.
func TestWithoutProc(t *testing.T) {
	o := mustOS(t, zoo(t))
	o.home = home{&shared{proc: func() bool { return false }}}
	sub, err := o.OpenRoot("full")
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	if _, err := sub.Stat("./x"); err != nil {
		t.Error(err)
	}
	if err := o.RenameTo("file", sub, "file", false); err != nil {
		t.Error(err)
	}
	if _, err := sub.OpenRoot("../dir"); err == nil {
		t.Error("left the root")
	}
}

// Descriptors are those of what is open, however it was opened, and end with it.
func TestNoDescriptorIsLost(t *testing.T) {
	count := func() int {
		entries, err := os.ReadDir("/dev/fd")
		if err != nil {
			t.Skip(err)
		}
		return len(entries)
	}
	o := mustOS(t, zoo(t))
	before := count()
	var open []FS
	for range 20 {
		for _, name := range []string{"dir", ".", "dirlink", "full/.", "file", "missing", "outside", "fifo"} {
			if sub, err := o.OpenRoot(name); err == nil {
				_, _ = sub.ReadDir(".") // makes the Root
				_ = sub.SyncDir(".")
				open = append(open, sub)
			}
		}
		_ = o.SyncDir("dirlink")
		_ = o.SyncDir("file")
		_, _, _ = o.Space()
		_, _ = o.OpenFile("dir", NoFollow|os.O_RDWR, 0)
		_ = closed(o.OpenFile("dir", NoFollow, 0))
		_, _ = o.OpenFile("link", NoFollow, 0)
	}
	if len(open) != 80 {
		t.Fatalf("%d directories were opened, want 80", len(open))
	}
	for _, sub := range open {
		if err := sub.Close(); err != nil {
			t.Error(err)
		}
		if err := sub.Close(); err != nil {
			t.Error("closed again:", err)
		}
		for _, err := range []error{sub.Mkdir("new", 0o700), sub.SyncDir("."), sub.SyncFS(), sub.Chmod(".", 0o700), sub.RenameTo("x", o, "x", true), o.RenameTo("file", sub, "x", true), sub.SetTimes("./x", time.Now())} {
			if !errors.Is(err, fs.ErrClosed) {
				t.Errorf("of a closed FS: %v, want fs.ErrClosed", err)
			}
		}
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// Close while others work: each operation succeeds or is told, and none meets a descriptor that is another's by now.
func TestCloseWhileInUse(t *testing.T) {
	o := mustOS(t, zoo(t))
	for range 200 {
		sub, err := o.OpenRoot("dir")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					for _, err := range []error{sub.Mkdir("d", 0o700), sub.RenameTo("d", o, "moved", true), o.RenameTo("moved", sub, "d", true), sub.Remove("d")} {
						if errors.Is(err, fs.ErrClosed) {
							return
						}
						if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
							t.Error(err)
							return
						}
					}
				}
			})
		}
		if err := sub.Close(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		_ = o.RemoveAll("moved")
	}
}

// RenameTo by links is what is left where the system cannot rename exclusively.
func TestRenameToByLinks(t *testing.T) {
	o := mustOS(t, zoo(t))
	fd, err := o.fd().use()
	if err != nil {
		t.Fatal(err)
	}
	defer o.fd().done()
	if err := renameByLink(fd, "fifo", fd, "file", syscall.EINVAL); err != syscall.EEXIST {
		t.Errorf("onto a file: %v, want EEXIST", err)
	}
	if err := renameByLink(fd, "dir", fd, "new", syscall.EINVAL); err != syscall.EINVAL {
		t.Errorf("a directory: %v, want EINVAL", err)
	}
	if err := renameByLink(fd, "file", fd, "new", syscall.EINVAL); err != nil {
		t.Error(err)
	}
	if data, err := ReadFile(o, "new", 10); string(data) != "x" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
	if _, err := o.Lstat("file"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old name: %v", err)
	}
}

func TestRenameToAnotherWorld(t *testing.T) {
	a, b := mustOS(t, zoo(t)), mustOS(t, zoo(t))
	if err := a.RenameTo("file", b, "new", true); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("%v, want EINVAL", err)
	}
	if _, err := a.Lstat("file"); err != nil {
		t.Error(err)
	}
}
