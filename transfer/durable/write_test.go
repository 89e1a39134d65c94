package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

var (
	oldData = strings.Repeat("old ", 3000)
	newData = strings.Repeat("new ", 5000)
)

// withOld is a file system that durably holds d/f with old data.
func withOld(t *testing.T, seed uint64) *crashfs.FS {
	t.Helper()
	fsys := crashfs.New(seed)
	must(t, durable.MkdirAll(fsys, "d", 0o755))
	must(t, durable.WriteFile(fsys, "d/f", []byte(oldData), 0o644))
	return fsys
}

// content is that of d/f: old, new, or the test fails.
func content(t *testing.T, fsys durable.FS) string {
	t.Helper()
	switch data := mustRead(t, fsys, "d/f"); data {
	case oldData:
		return "old"
	case newData:
		return "new"
	default:
		t.Fatalf("a mixture of %d bytes", len(data))
		return ""
	}
}

func mustHoldNoTemp(t *testing.T, fsys durable.FS) {
	t.Helper()
	entries, err := fsys.ReadDir("d")
	must(t, err)
	if len(entries) != 1 {
		t.Fatalf("left behind: %v", entries)
	}
}

// Each operation of WriteFile fails, in each way: the file is the old or the new one, whole, also after a crash, and
// no temporary file stays.
func TestWriteFileFailsAtEachOperation(t *testing.T) {
	modes := map[string]func(*crashfs.FS, int){
		"EIO":    func(f *crashfs.FS, k int) { f.FailAt(k, syscall.EIO) },
		"ENOSPC": func(f *crashfs.FS, k int) { f.FailAt(k, syscall.ENOSPC) },
		"short":  func(f *crashfs.FS, k int) { f.ShortAt(k, syscall.ENOSPC) },
	}
	for name, fail := range modes {
		t.Run(name, func(t *testing.T) {
			k := 1
			for ; ; k++ {
				fsys := withOld(t, uint64(k))
				ops := fsys.Ops()
				fail(fsys, k)
				err := durable.WriteFile(fsys, "d/f", []byte(newData), 0o644)
				fsys.ClearFaults()
				if err == nil && fsys.Ops()-ops >= k {
					t.Fatalf("k = %d: the failure was not reported: %q", k, fsys.Trace())
				}
				mustHoldNoTemp(t, fsys)
				content(t, fsys)
				for seed := range uint64(20) {
					if got := content(t, fsys.Image(seed)); err == nil && got != "new" {
						t.Fatalf("k = %d, seed %d: reported as written, and after the crash %s", k, seed, got)
					}
				}
				if err == nil {
					break
				}
			}
			if k < 5 {
				t.Errorf("only %d operations", k)
			}
		})
	}
}

func TestWriteFileCrashesAtEachOperation(t *testing.T) {
	for k := 1; ; k++ {
		fsys := withOld(t, uint64(k))
		fsys.CrashAt(k)
		err := durable.WriteFile(fsys, "d/f", []byte(newData), 0o644)
		for range 20 {
			if got := content(t, fsys.Crash()); err == nil && got != "new" {
				t.Fatalf("k = %d: reported as written, and after the crash %s", k, got)
			}
		}
		if err == nil {
			return
		}
	}
}

// Killed at each operation, WriteFile leaves at most a file that is known by its name.
func TestWriteFileKilledLeavesAKnownName(t *testing.T) {
	for k := 1; ; k++ {
		fsys := withOld(t, uint64(k))
		stop := errors.New("stop")
		fsys.FailFrom(k, stop)
		err := durable.WriteFile(fsys, "d/f", []byte(newData), 0o644)
		after := fsys.Kill()
		content(t, after)
		entries, errDir := after.ReadDir("d")
		must(t, errDir)
		for _, e := range entries {
			if e.Name() != "f" && !strings.HasPrefix(e.Name(), durable.TempPrefix) {
				t.Errorf("k = %d: left %q", k, e.Name())
			}
		}
		if err == nil {
			return
		}
	}
}

func TestReplaceIsDurable(t *testing.T) {
	fsys := withOld(t, 1)
	must(t, durable.WriteFile(fsys, "temp", []byte(newData), 0o644))
	must(t, durable.Replace(fsys, "temp", "d/f"))
	must(t, durable.WriteFile(fsys, "d/g", nil, 0o644))
	must(t, durable.Replace(fsys, "d/g", "d/h"))
	for seed := range uint64(100) {
		im := fsys.Image(seed)
		if got := content(t, im); got != "new" {
			t.Fatalf("seed %d: %s", seed, got)
		}
		if _, err := im.Lstat("temp"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("seed %d: the old name came back: %v", seed, err)
		}
		if _, err := im.Lstat("d/h"); err != nil {
			t.Fatalf("seed %d: renamed within its directory: %v", seed, err)
		}
	}
}

// A directory that another process made and did not sync is made durable by the MkdirAll that finds it.
func TestMkdirAllSyncsWhatItFinds(t *testing.T) {
	fsys := crashfs.New(1)
	must(t, fsys.Mkdir("a", 0o755))
	must(t, fsys.Mkdir("a/b", 0o755))
	fsys = fsys.Kill()
	must(t, durable.MkdirAll(fsys, "a/b/c", 0o755))
	for seed := range uint64(100) {
		if _, err := fsys.Image(seed).Stat("a/b/c"); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func TestMkdirAllReportsWhatIsInTheWay(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		mustWrite(t, fsys, "f", "")
		must(t, fsys.Symlink("missing", "dangling"))
		must(t, fsys.Mkdir("d", 0o755))
		must(t, fsys.Symlink("d", "link"))
		for _, name := range []string{"f", "f/x", "dangling", "dangling/x", "", "/", "/x", "..", "../x"} {
			if err := durable.MkdirAll(fsys, name, 0o755); err == nil {
				t.Errorf("%q: made", name)
			}
		}
		for _, name := range []string{"link", "link/x", ".", "d/y/z"} {
			if err := durable.MkdirAll(fsys, name, 0o755); err != nil {
				t.Errorf("%q: %v", name, err)
			}
		}
		if _, err := fsys.Stat("d/x"); err != nil {
			t.Error(err)
		}
	})
}

// A lock file never gets content, and survives its holder.
func TestLockFileStays(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		must(t, durable.WriteFile(fsys, "lock", []byte("pid"), 0o600))
		unlock, err := fsys.Lock("lock")
		must(t, err)
		must(t, unlock())
		if got := mustRead(t, fsys, "lock"); got != "pid" {
			t.Errorf("%q", got)
		}
		f, err := fsys.OpenFile("lock", os.O_RDONLY, 0)
		must(t, err)
		must(t, f.Close())
	})
}
