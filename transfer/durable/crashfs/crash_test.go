package crashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"xfer/transfer/durable"
)

const seeds = 300

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t *testing.T, fsys durable.FS, name string, flag int) durable.File {
	t.Helper()
	f, err := fsys.OpenFile(name, flag, 0o644)
	must(t, err)
	return f
}

// put writes a file without any sync.
func put(t *testing.T, fsys durable.FS, name, data string) durable.File {
	t.Helper()
	f := mustOpen(t, fsys, name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	_, err := f.Write([]byte(data))
	must(t, err)
	return f
}

// putSynced writes a file with all syncs.
func putSynced(t *testing.T, fsys durable.FS, name, data string) durable.File {
	t.Helper()
	f := put(t, fsys, name, data)
	must(t, f.Sync())
	must(t, fsys.SyncDir(durable.Dir(name)))
	return f
}

// holds describes a file: its content shortened to its kind, or "none".
func holds(t *testing.T, fsys durable.FS, name string) string {
	t.Helper()
	data, err := durable.ReadFile(fsys, name, 1<<30)
	if errors.Is(err, fs.ErrNotExist) {
		return "none"
	}
	must(t, err)
	switch {
	case len(data) == 0:
		return "empty"
	case len(bytes.Trim(data, "\x00")) == 0:
		return "zeros"
	case len(bytes.Trim(data, string(data[:1]))) == 0:
		return fmt.Sprintf("%d*%c", len(data), data[0])
	}
	return "torn"
}

// outcomes counts what is seen after a crash, over many seeds.
func outcomes(t *testing.T, f *FS, see func(after *FS) string) map[string]int {
	t.Helper()
	got := map[string]int{}
	for seed := range uint64(seeds) {
		got[see(f.Image(seed))]++
	}
	return got
}

// wantExactly checks that each of the outcomes was seen, and nothing else.
func wantExactly(t *testing.T, got map[string]int, want ...string) {
	t.Helper()
	for _, w := range want {
		if got[w] == 0 {
			t.Errorf("never seen: %q in %v", w, got)
		}
	}
	for g := range got {
		if !slices.Contains(want, g) {
			t.Errorf("must not happen: %q in %v", g, got)
		}
	}
}

var (
	oldData = strings.Repeat("o", 10_000)
	newData = strings.Repeat("n", 10_000)
)

const (
	oldFile = "10000*o"
	newFile = "10000*n"
)

func TestUnsyncedDataIsLostKeptOrTorn(t *testing.T) {
	f := New(1)
	putSynced(t, f, "f", oldData)
	h := mustOpen(t, f, "f", os.O_RDWR)
	_, err := h.WriteAt([]byte(newData), 0)
	must(t, err)
	see := func(after *FS) string { return holds(t, after, "f") }
	wantExactly(t, outcomes(t, f, see), oldFile, newFile, "torn")
	must(t, h.SyncData())
	wantExactly(t, outcomes(t, f, see), newFile)
}

// The known disaster: replacing a file by rename, and syncing only the directory.
func TestRenameWithoutSyncOfTheFile(t *testing.T) {
	for _, synced := range []bool{false, true} {
		f := New(2)
		putSynced(t, f, "f", oldData)
		h := put(t, f, "temp", newData)
		if synced {
			must(t, h.Sync())
		}
		must(t, durable.Replace(f, "temp", "f"))
		got := outcomes(t, f, func(after *FS) string { return holds(t, after, "f") })
		if synced {
			wantExactly(t, got, newFile)
			continue
		}
		for _, w := range []string{"empty", "zeros", "torn", newFile} {
			if got[w] == 0 {
				t.Errorf("never seen: %q in %v", w, got)
			}
		}
		if got[oldFile] > 0 {
			t.Errorf("the synced rename was undone: %v", got)
		}
	}
}

func TestTruncatedFileShowsZerosOrOldContent(t *testing.T) {
	f := New(3)
	putSynced(t, f, "f", oldData)
	put(t, f, "f", newData)
	got := outcomes(t, f, func(after *FS) string { return holds(t, after, "f") })
	for _, w := range []string{"empty", "zeros", "torn", oldFile, newFile} {
		// "empty" is a size between the two: both are 10000 here.
		if got[w] == 0 && w != "empty" {
			t.Errorf("never seen: %q in %v", w, got)
		}
	}
}

func TestNamesWithoutSyncDirAreUndone(t *testing.T) {
	f := New(4)
	putSynced(t, f, "f", oldData)
	h := put(t, f, "temp", newData)
	must(t, h.Sync())
	must(t, f.Rename("temp", "f"))
	see := func(after *FS) string { return holds(t, after, "f") + " " + holds(t, after, "temp") }
	// Both old: the creation of temp was lost as well.
	wantExactly(t, outcomes(t, f, see), oldFile+" none", oldFile+" "+newFile, newFile+" none")
	must(t, f.SyncDir("."))
	wantExactly(t, outcomes(t, f, see), newFile+" none")
}

func TestRemoveWithoutSyncDirIsUndone(t *testing.T) {
	f := New(5)
	putSynced(t, f, "f", oldData)
	must(t, f.Remove("f"))
	see := func(after *FS) string { return holds(t, after, "f") }
	wantExactly(t, outcomes(t, f, see), oldFile, "none")
	must(t, f.SyncDir("."))
	wantExactly(t, outcomes(t, f, see), "none")
}

func TestSyncOfAFileDoesNotMakeItsNameDurable(t *testing.T) {
	f := New(6)
	h := put(t, f, "f", newData)
	must(t, h.Sync())
	wantExactly(t, outcomes(t, f, func(after *FS) string { return holds(t, after, "f") }), newFile, "none")
}

func TestDirectoryNeedsSyncOfItsParent(t *testing.T) {
	f := New(7)
	must(t, f.Mkdir("d", 0o755))
	putSynced(t, f, "d/f", newData)
	see := func(after *FS) string { return holds(t, after, "d/f") }
	wantExactly(t, outcomes(t, f, see), newFile, "none")
	must(t, f.SyncDir("."))
	wantExactly(t, outcomes(t, f, see), newFile)
}

func TestRenameBetweenDirectories(t *testing.T) {
	setup := func() *FS {
		f := New(8)
		must(t, durable.MkdirAll(f, "a", 0o755))
		must(t, durable.MkdirAll(f, "b", 0o755))
		putSynced(t, f, "a/f", newData)
		must(t, f.RenameNoReplace("a/f", "b/g"))
		return f
	}
	see := func(after *FS) string { return holds(t, after, "a/f") + " " + holds(t, after, "b/g") }
	const before, both, done = newFile + " none", newFile + " " + newFile, "none " + newFile

	wantExactly(t, outcomes(t, setup(), see), before, both, done)
	f := setup()
	must(t, f.SyncDir("b"))
	wantExactly(t, outcomes(t, f, see), both, done)
	f = setup()
	must(t, f.SyncDir("a"))
	wantExactly(t, outcomes(t, f, see), done)
}

func TestNoFileLosesItsLastName(t *testing.T) {
	f := New(9)
	must(t, durable.MkdirAll(f, "a", 0o755))
	must(t, durable.MkdirAll(f, "b", 0o755))
	putSynced(t, f, "a/f", newData)
	must(t, f.Link("a/f", "b/g"))
	must(t, f.Remove("a/f"))
	got := outcomes(t, f, func(after *FS) string { return holds(t, after, "a/f") + " " + holds(t, after, "b/g") })
	wantExactly(t, got, newFile+" none", newFile+" "+newFile, "none "+newFile)

	// A version kept by a link, and its old name replaced.
	f = New(9)
	must(t, durable.MkdirAll(f, "versions", 0o755))
	putSynced(t, f, "f", oldData)
	must(t, put(t, f, "temp", newData).Sync())
	must(t, f.Link("f", "versions/1"))
	must(t, f.Rename("temp", "f"))
	for got := range outcomes(t, f, func(after *FS) string { return holds(t, after, "f") + " " + holds(t, after, "versions/1") }) {
		if !strings.Contains(got, oldFile) {
			t.Errorf("the old version was lost: %s", got)
		}
	}
}

func TestDirectoriesMoveAtomically(t *testing.T) {
	f := New(10)
	must(t, durable.MkdirAll(f, "a/d", 0o755))
	must(t, durable.MkdirAll(f, "b", 0o755))
	putSynced(t, f, "a/d/f", newData)
	must(t, f.Rename("a/d", "b/d"))
	must(t, f.Rename("b/d", "d"))
	must(t, f.Rename("a", "d/a"))
	got := outcomes(t, f, func(after *FS) string {
		places := ""
		for _, name := range []string{"a/d/f", "b/d/f", "d/f"} {
			if holds(t, after, name) == newFile {
				places += name + " "
			}
		}
		return places
	})
	wantExactly(t, got, "a/d/f ", "b/d/f ", "d/f ")
}

func TestModeAndTimesNeedSync(t *testing.T) {
	when := time.Unix(1000, 1)
	f := New(11)
	h := putSynced(t, f, "f", oldData)
	must(t, h.Chmod(0o600))
	must(t, h.SetTimes(when))
	see := func(after *FS) string {
		fi, err := after.Stat("f")
		must(t, err)
		return fmt.Sprint(fi.Mode().Perm() == 0o600, fi.ModTime().Equal(when))
	}
	all := []string{"false false", "true false", "false true", "true true"}
	wantExactly(t, outcomes(t, f, see), all...)
	must(t, h.SyncData())
	wantExactly(t, outcomes(t, f, see), all...)
	must(t, h.Sync())
	wantExactly(t, outcomes(t, f, see), "true true")
}

func TestSizeOfAnAppendedFile(t *testing.T) {
	f := New(12)
	putSynced(t, f, "f", "oooo")
	h := mustOpen(t, f, "f", os.O_WRONLY|os.O_APPEND)
	_, err := h.Write([]byte("nnnnn"))
	must(t, err)
	sizes := map[int64]bool{}
	for seed := range uint64(seeds) {
		fi, err := f.Image(seed).Stat("f")
		must(t, err)
		sizes[fi.Size()] = true
		data, err := durable.ReadFile(f.Image(seed), "f", 100)
		must(t, err)
		if !bytes.HasPrefix(data, []byte("oooo")) {
			t.Fatalf("seed %d: synced bytes changed: %q", seed, data)
		}
	}
	for size := int64(4); size <= 9; size++ {
		if !sizes[size] {
			t.Errorf("size %d never seen: %v", size, sizes)
		}
	}
	if len(sizes) != 6 {
		t.Errorf("sizes %v, want 4 to 9", sizes)
	}
}

// What a failed sync lost stays lost, although reads show it and the next sync succeeds.
func TestSecondSyncAfterAFailedOneLies(t *testing.T) {
	lost := 0
	for seed := range uint64(50) {
		f := New(seed)
		h := putSynced(t, f, "f", oldData)
		_, err := h.WriteAt([]byte(newData), 0)
		must(t, err)
		f.FailAt(1, syscall.EIO)
		if err := h.SyncData(); !errors.Is(err, syscall.EIO) {
			t.Fatalf("sync: %v, want EIO", err)
		}
		must(t, h.Sync())
		if got := holds(t, f, "f"); got != newFile {
			t.Fatalf("read after the failed sync: %s", got)
		}
		after := holds(t, f.Crash(), "f")
		if after == newFile {
			continue // all of it was written before the sync failed
		}
		lost++
	}
	if lost < 25 {
		t.Errorf("%d of 50 failed syncs lost something", lost)
	}
	// Written again, it is safe.
	f := New(1)
	h := putSynced(t, f, "f", oldData)
	_, err := h.WriteAt([]byte(newData), 0)
	must(t, err)
	f.FailAt(1, syscall.EIO)
	_ = h.SyncData()
	_, err = h.WriteAt([]byte(newData), 0)
	must(t, err)
	must(t, h.SyncData())
	wantExactly(t, outcomes(t, f, func(after *FS) string { return holds(t, after, "f") }), newFile)
}

func TestDropCacheShowsWhatAFailedSyncLost(t *testing.T) {
	shown := 0
	for seed := range uint64(50) {
		f := New(seed)
		h := putSynced(t, f, "f", oldData)
		_, err := h.WriteAt([]byte(newData), 0)
		must(t, err)
		must(t, h.DropCache())
		if got := holds(t, f, "f"); got != newFile {
			t.Fatalf("dirty pages were dropped: %s", got)
		}
		f.FailAt(1, syscall.EIO)
		_ = h.SyncData()
		must(t, h.DropCache())
		if holds(t, f, "f") != newFile {
			shown++
		}
	}
	if shown < 25 {
		t.Errorf("%d of 50 losses were seen", shown)
	}
}

func TestCrashEndsAllHandles(t *testing.T) {
	f := New(13)
	must(t, f.Mkdir("d", 0o755))
	sub, err := f.OpenRoot("d")
	must(t, err)
	h := put(t, f, "f", oldData)
	unlock, err := f.Lock("lock")
	must(t, err)
	after := f.Crash()
	_, errRead := h.Read(make([]byte, 1))
	_, errWrite := h.Write(make([]byte, 1))
	_, errStat := f.Stat("f")
	for i, err := range []error{errRead, errWrite, errStat, h.Sync(), sub.Mkdir("x", 0o755), unlock(), f.SyncDir(".")} {
		if !errors.Is(err, ErrCrashed) {
			t.Errorf("%d: %v, want ErrCrashed", i, err)
		}
	}
	must(t, h.Close())
	unlock, err = after.Lock("lock")
	must(t, err)
	must(t, unlock())
}

// What is on the disk after a crash is durable: a second crash changes nothing.
func TestImageIsDurable(t *testing.T) {
	for seed := range uint64(50) {
		f := New(seed)
		putSynced(t, f, "f", oldData)
		h := mustOpen(t, f, "f", os.O_RDWR)
		_, err := h.WriteAt([]byte(newData), 4096)
		must(t, err)
		must(t, f.Rename("f", "g"))
		first := f.Crash()
		a := holds(t, first, "f") + holds(t, first, "g")
		second := first.Crash()
		if b := holds(t, second, "f") + holds(t, second, "g"); a != b {
			t.Fatalf("seed %d: %s, then %s", seed, a, b)
		}
	}
}

// What is written after a crash is as volatile as before, in the last page of a file too.
func TestWritesAfterACrashAreVolatile(t *testing.T) {
	f := New(20)
	putSynced(t, f, "f", oldData)
	after := f.Crash()
	h := mustOpen(t, after, "f", os.O_RDWR)
	_, err := h.WriteAt([]byte("n"), 9999)
	must(t, err)
	see := func(after *FS) string { return holds(t, after, "f") }
	wantExactly(t, outcomes(t, after, see), oldFile, "torn")
}

// Images share pages. A change of one must not show in another.
func TestImagesAreIndependent(t *testing.T) {
	f := New(14)
	putSynced(t, f, "f", oldData+"o")
	a, b := f.Image(1), f.Image(1)
	for _, fsys := range []*FS{f, a} {
		h := mustOpen(t, fsys, "f", os.O_RDWR)
		_, err := h.WriteAt([]byte(newData), 1)
		must(t, err)
		if got, want := holds(t, b, "f"), "10001*o"; got != want {
			t.Fatalf("%s, want %s", got, want)
		}
		if got := holds(t, fsys.Image(0), "f"); got == "none" {
			t.Fatal("lost")
		}
	}
	must(t, b.Remove("f"))
	if got := holds(t, f, "f"); got != "torn" {
		t.Errorf("%s", got)
	}
}

func TestKillKeepsWhatWasWrittenAndNothingElse(t *testing.T) {
	f := New(15)
	h := put(t, f, "f", newData)
	_, err := f.Lock("lock")
	must(t, err)
	must(t, put(t, f, "open", oldData).Sync())
	must(t, f.Remove("open"))
	after := f.Kill()
	if _, err := h.Write([]byte("x")); !errors.Is(err, ErrCrashed) {
		t.Errorf("the dead process writes: %v", err)
	}
	if got := holds(t, after, "f"); got != newFile {
		t.Errorf("%s", got)
	}
	unlock, err := after.Lock("lock")
	must(t, err)
	must(t, unlock())
	free, total, err := after.Space()
	must(t, err)
	if want := total - 3*pageSize; free != want {
		t.Errorf("free %d, want %d: a removed open file keeps its space", free, want)
	}
	// It is no more durable than before.
	wantMore := outcomes(t, after, func(after *FS) string { return holds(t, after, "f") })
	if wantMore["none"] == 0 || wantMore[newFile] == 0 {
		t.Errorf("outcomes %v", wantMore)
	}
	must(t, after.SyncDir("."))
	must(t, mustOpen(t, after, "f", os.O_RDWR).Sync())
	wantExactly(t, outcomes(t, after, func(after *FS) string { return holds(t, after, "f") }), newFile)
}

func TestSameSeedSameCrash(t *testing.T) {
	run := func() string {
		f := New(99)
		var all string
		for i := range 20 {
			h := put(t, f, fmt.Sprint("f", i), strings.Repeat("x", i*1000))
			if i%3 == 0 {
				must(t, h.Sync())
			}
		}
		after := f.Crash()
		for i := range 20 {
			all += holds(t, after, fmt.Sprint("f", i)) + " "
		}
		return all
	}
	if a, b := run(), run(); a != b {
		t.Errorf("%s\n%s", a, b)
	}
}

func TestSyncFSMakesEverythingDurable(t *testing.T) {
	f := New(1)
	must(t, f.Mkdir("d", 0o755))
	must(t, f.Mkdir("e", 0o755))
	put(t, f, "d/f", newData)
	must(t, f.Symlink("d", "l"))
	put(t, f, "gone", "x")
	must(t, f.Remove("gone"))
	must(t, f.Rename("d/f", "e/f"))
	must(t, f.Chmod("e", 0o700))
	sub, err := f.OpenRoot("e")
	must(t, err)
	must(t, sub.SyncFS())
	got := outcomes(t, f, func(f *FS) string {
		fi, err := f.Stat("e")
		must(t, err)
		return fmt.Sprint(holds(t, f, "e/f"), " ", holds(t, f, "d/f"), " ", holds(t, f, "gone"), " ", fi.Mode())
	})
	wantExactly(t, got, newFile+" none none drwx------")
}

// A SyncFS that failed may have lost any file, or a part of it; a second one succeeds all the same.
func TestFailedSyncFSLosesSome(t *testing.T) {
	got := map[string]int{}
	for seed := range uint64(seeds) {
		f := New(seed)
		put(t, f, "f", newData)
		f.FailAt(1, syscall.EIO)
		if err := f.SyncFS(); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		must(t, f.SyncFS())
		if got := holds(t, f, "f"); got != newFile {
			t.Fatalf("the cache shows %s", got)
		}
		got[holds(t, f.Crash(), "f")]++
	}
	wantExactly(t, got, newFile, "zeros", "torn")
	f := New(1)
	f.SetSyncFS(false)
	for _, f := range []*FS{f, f.Image(1), f.Kill()} {
		if err := f.SyncFS(); err == nil {
			t.Error("SyncFS works")
		}
	}
}

// A rename between two directories may leave both names, through whichever views of the disk it was done.
func TestRenameToOfAnotherView(t *testing.T) {
	f := New(1)
	must(t, f.Mkdir("a", 0o755))
	must(t, f.Mkdir("b", 0o755))
	putSynced(t, f, "a/f", newData)
	must(t, f.SyncFS())
	a, err := f.OpenRoot("a")
	must(t, err)
	b, err := f.OpenRoot("b")
	must(t, err)
	must(t, a.RenameTo("f", b, "g", false))
	got := outcomes(t, f, func(f *FS) string { return holds(t, f, "a/f") + " " + holds(t, f, "b/g") })
	wantExactly(t, got, newFile+" none", "none "+newFile, newFile+" "+newFile)
	if err := New(1).RenameTo("x", New(1), "y", true); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("onto another disk: %v", err)
	}
}
