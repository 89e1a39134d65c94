package crashfs

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"xfer/transfer/durable"
)

// steps is a sequence of operations each of which needs those before it.
var steps = []struct {
	name string
	do   func(*FS) error
}{
	{"mkdir", func(f *FS) error { return f.Mkdir("d", 0o755) }},
	{"symlink", func(f *FS) error { return f.Symlink("d", "l") }},
	{"open", func(f *FS) error {
		h, err := f.OpenFile("f", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if err == nil {
			err = h.Close()
		}
		return err
	}},
	{"link", func(f *FS) error { return f.Link("f", "g") }},
	{"rename", func(f *FS) error { return f.Rename("l", "m") }},
	{"rename-no-replace", func(f *FS) error { return f.RenameNoReplace("g", "h") }},
	{"remove", func(f *FS) error { return f.Remove("m") }},
	{"chmod", func(f *FS) error { return f.Chmod("f", 0o600) }},
	{"rename-to", func(f *FS) error { return f.RenameTo("h", f, "i", true) }},
	{"syncdir", func(f *FS) error { return f.SyncDir(".") }},
	{"syncfs", func(f *FS) error { return f.SyncFS() }},
	{"openroot", func(f *FS) error { _, err := f.OpenRoot("d"); return err }},
}

func TestFailAtFailsOneOperationWithoutEffect(t *testing.T) {
	for k := range steps {
		f := New(1)
		f.FailAt(k+1, syscall.EIO)
		for i, step := range steps {
			err := step.do(f)
			if i != k {
				must(t, err)
				continue
			}
			if !errors.Is(err, syscall.EIO) {
				t.Fatalf("%s: %v, want EIO", step.name, err)
			}
			if err := step.do(f); err != nil {
				t.Fatalf("%s had an effect, or failed twice: %v", step.name, err)
			}
		}
		if got, want := f.Ops(), len(steps)+1; got != want {
			t.Errorf("%d operations, want %d: %q", got, want, f.Trace())
		}
	}
}

func TestFailFromFailsAllAfter(t *testing.T) {
	f := New(1)
	must(t, f.Mkdir("d", 0o755))
	f.FailFrom(2, syscall.EROFS)
	must(t, f.Mkdir("d2", 0o755))
	for range 3 {
		if err := f.Mkdir("d3", 0o755); !errors.Is(err, syscall.EROFS) {
			t.Fatalf("%v, want EROFS", err)
		}
	}
	f.ClearFaults()
	must(t, f.Mkdir("d3", 0o755))
}

func TestShortWrite(t *testing.T) {
	f := New(1)
	h := mustOpen(t, f, "f", os.O_RDWR|os.O_CREATE)
	f.ShortAt(1, syscall.ENOSPC)
	n, err := h.Write([]byte("12345678"))
	if n != 4 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%d, %v; want 4, ENOSPC", n, err)
	}
	if _, err := h.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	data, err := durable.ReadFile(f, "f", 100)
	if string(data) != "1234x" || err != nil {
		t.Errorf("%q, %v", data, err)
	}
}

func TestCrashAt(t *testing.T) {
	for k := 1; k <= len(steps)+1; k++ {
		f := New(1)
		f.CrashAt(k)
		for i, step := range steps {
			if err := step.do(f); errors.Is(err, ErrCrashed) != (i+1 >= k) {
				t.Fatalf("CrashAt(%d): step %d: %v", k, i+1, err)
			}
		}
		_, err := f.Stat(".")
		if crashed := k <= len(steps); errors.Is(err, ErrCrashed) != crashed {
			t.Fatalf("CrashAt(%d): reading: %v", k, err)
		}
		if _, err := f.Crash().Stat("."); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHookSeesNamesAndDecides(t *testing.T) {
	f := New(1)
	var seen []string
	f.SetHook(func(_ int, op, name string) error {
		seen = append(seen, op+" "+name)
		if name == "d/f" && op == "sync" {
			return syscall.EIO
		}
		return nil
	})
	must(t, f.Mkdir("d", 0o755))
	sub, err := f.OpenRoot("d")
	must(t, err)
	h := put(t, sub, "f", "x")
	if err := h.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync: %v", err)
	}
	want := []string{"mkdir d", "openroot d", "open d/f", "write d/f", "sync d/f"}
	if !slices.Equal(seen, want) {
		t.Errorf("seen %q, want %q", seen, want)
	}
	f.SetHook(func(int, string, string) error { return ErrCrashed })
	_ = f.Remove("d")
	if _, err := f.Stat("d"); !errors.Is(err, ErrCrashed) {
		t.Errorf("the hook did not crash the machine: %v", err)
	}
}

func TestCountReads(t *testing.T) {
	f := New(1)
	h := put(t, f, "f", "x")
	before := f.Ops()
	reads := func() []error {
		_, err1 := f.Stat("f")
		_, err2 := f.ReadDir(".")
		_, err3 := h.ReadAt(make([]byte, 1), 0)
		_, err4 := h.Stat()
		return []error{err1, err2, err3, err4}
	}
	reads()
	if got := f.Ops(); got != before {
		t.Fatalf("reading counts: %d, want %d", got, before)
	}
	f.CountReads(true)
	f.FailFrom(1, syscall.EIO)
	for i, err := range reads() {
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("read %d: %v, want EIO", i, err)
		}
	}
}

func TestSpace(t *testing.T) {
	const pages = 10
	f := New(1)
	f.SetSpace(pages * pageSize)
	free := func(want int64) {
		t.Helper()
		got, total, err := f.Space()
		must(t, err)
		if got != want*pageSize || total != pages*pageSize {
			t.Fatalf("free %d of %d, want %d pages of %d", got, total, want, pages)
		}
	}
	h := mustOpen(t, f, "f", os.O_RDWR|os.O_CREATE)
	n, err := h.Write(make([]byte, 11*pageSize))
	if n != 10*pageSize || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("wrote %d, %v", n, err)
	}
	free(0)
	must(t, h.Truncate(pageSize+1))
	free(8)
	if err := h.Allocate(11 * pageSize); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("Allocate: %v, want ENOSPC", err)
	}
	if fi, err := h.Stat(); err != nil || fi.Size() != pageSize+1 {
		t.Fatalf("a failed Allocate changed the size to %d, %v", fi.Size(), err)
	}
	free(8)
	must(t, h.Allocate(5*pageSize))
	free(5)
	g := mustOpen(t, f, "g", os.O_RDWR|os.O_CREATE)
	if _, err := g.Write(make([]byte, 6*pageSize)); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("reserved space was given away: %v", err)
	}
	free(0)
	if _, err := h.WriteAt(make([]byte, 5*pageSize), 0); err != nil {
		t.Fatalf("reserved space was not there: %v", err)
	}
	must(t, f.Remove("g"))
	free(0)
	must(t, g.Close())
	free(5)
	must(t, f.RemoveAll("f"))
	must(t, h.Close())
	free(10)
	f.SetSpace(20 * pageSize)
	got, _, err := f.Space()
	if must(t, err); got != 20*pageSize {
		t.Errorf("free %d after the disk grew", got)
	}
}

// A disk of terabytes takes no memory for what was not written.
func TestSparse(t *testing.T) {
	f := New(1)
	f.SetSpace(1 << 50)
	h := mustOpen(t, f, "f", os.O_RDWR|os.O_CREATE)
	must(t, h.Allocate(1<<48))
	must(t, h.Truncate(1<<49))
	_, err := h.WriteAt([]byte("x"), 1<<48)
	must(t, err)
	must(t, h.Sync())
	must(t, f.SyncDir("."))
	fi, err := f.Crash().Stat("f")
	if err != nil || fi.Size() != 1<<49 {
		t.Errorf("%v %v", fi, err)
	}
}

func TestFIFOsNeverHang(t *testing.T) {
	f := New(1)
	must(t, f.Mkfifo("p", 0o644))
	if _, err := f.OpenFile("p", os.O_RDONLY, 0); !errors.Is(err, ErrWouldHang) {
		t.Errorf("without NonBlock: %v, want ErrWouldHang", err)
	}
	if _, err := durable.OpenRegular(f, "p"); !errors.Is(err, durable.ErrNotRegular) {
		t.Errorf("OpenRegular: %v, want ErrNotRegular", err)
	}
	if _, err := f.Lock("p"); !errors.Is(err, durable.ErrNotRegular) {
		t.Errorf("Lock: %v, want ErrNotRegular", err)
	}
	fi, err := f.Crash().Lstat(".")
	if err != nil || !fi.IsDir() {
		t.Error(err)
	}
}

func TestInodeNumbersAreUsedAgain(t *testing.T) {
	f := New(1)
	id := func(fsys *FS, name string) uint64 {
		fi, err := fsys.Stat(name)
		must(t, err)
		id, ok := durable.IDOf(fi)
		if !ok {
			t.Fatal("no ID")
		}
		return id.Inode
	}
	must(t, putSynced(t, f, "a", "a").Close())
	first := id(f, "a")
	must(t, f.Remove("a"))
	putSynced(t, f, "b", "b")
	if got := id(f, "b"); got != first {
		t.Errorf("inode %d, want that of the removed file, %d", got, first)
	}
	must(t, f.Link("b", "c"))
	for seed := range uint64(20) {
		im := f.Image(seed)
		if _, err := im.Stat("c"); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if id(im, "b") != id(im, "c") {
			t.Fatal("two names of a file are two files after the crash")
		}
	}
}

// A removal that was not synced and an inode number used again do not give two files one number.
func TestRevivedFilesHaveTheirOwnNumber(t *testing.T) {
	f := New(1)
	must(t, putSynced(t, f, "a", "a").Close())
	must(t, f.Remove("a"))
	must(t, put(t, f, "b", "b").Sync())
	both := 0
	for seed := range uint64(100) {
		im := f.Image(seed)
		a, errA := im.Stat("a")
		b, errB := im.Stat("b")
		if errA != nil || errB != nil {
			continue
		}
		both++
		if durable.SameFile(a, b) {
			t.Fatal("two files, one number")
		}
	}
	if both == 0 {
		t.Error("never both")
	}
}

func TestTraceNamesTheOperations(t *testing.T) {
	f := New(1)
	h := put(t, f, "f", "abc")
	f.FailAt(1, syscall.EIO)
	_ = h.Sync()
	got := strings.Join(f.Trace(), "\n")
	for _, want := range []string{`1 open "f"`, `2 write "f" 0+3`, `3 sync "f": input/output error`} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}
