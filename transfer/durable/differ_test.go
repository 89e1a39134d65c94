package durable_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// The file system in memory answers as the real one: the same random operations give the same successes, the same
// kinds of failure and the same tree. Else every crash test proves something about another world.
func TestMemoryBehavesAsTheSystem(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the file system in memory is like Linux's")
	}
	sequences, length := 40, 120
	if testing.Short() {
		sequences = 10
	}
	for seed := range uint64(sequences) {
		real, memory := mustOpenOS(t, t.TempDir()), crashfs.New(seed)
		var trace []string
		a, b := rand.New(rand.NewPCG(seed, 0)), rand.New(rand.NewPCG(seed, 0))
		for range length {
			what, errReal := randomStep(real, a)
			_, errMemory := randomStep(memory, b)
			trace = append(trace, fmt.Sprintf("%s: %v", what, errReal))
			if kindOf(errReal) != kindOf(errMemory) {
				t.Fatalf("seed %d: %s\nsystem: %v\nmemory: %v\n%s", seed, what, errReal, errMemory, strings.Join(trace, "\n"))
			}
		}
		got, want := describe(t, memory, "."), describe(t, real, ".")
		if got != want {
			t.Fatalf("seed %d: memory has\n%s\nthe system has\n%s\nafter\n%s", seed, got, want, strings.Join(trace, "\n"))
		}
	}
}

// After any operations: what a crash leaves is a sound tree with what was durable before; and once everything is
// synced, a crash leaves exactly that.
func TestWhatIsSyncedSurvives(t *testing.T) {
	for seed := range uint64(40) {
		fsys := crashfs.New(seed)
		rng := rand.New(rand.NewPCG(seed, 0))
		must(t, durable.WriteFile(fsys, "anchor", []byte("anchor"), 0o644))
		for range 100 {
			_, _ = randomStep(fsys, rng)
		}
		for crash := range uint64(10) {
			im := fsys.Image(crash)
			if got := mustRead(t, im, "anchor"); got != "anchor" {
				t.Fatalf("seed %d, crash %d: the anchor holds %q", seed, crash, got)
			}
			must(t, im.Remove("anchor"))
			describe(t, im, ".") // fails for what cannot be read
		}
		must(t, fsys.Rename("anchor", "a0"))
		must(t, fsys.RemoveAll("a0"))
		syncAll(t, fsys, ".")
		want := describe(t, fsys, ".")
		for crash := range uint64(10) {
			if got := describe(t, fsys.Image(crash), "."); got != want {
				t.Fatalf("seed %d, crash %d: left\n%s\nsynced\n%s", seed, crash, got, want)
			}
		}
	}
}

// syncAll makes everything beneath name durable.
func syncAll(t *testing.T, fsys durable.FS, name string) {
	t.Helper()
	fi, err := fsys.Lstat(name)
	must(t, err)
	switch {
	case fi.Mode().IsRegular():
		f, err := durable.OpenRegularFlag(fsys, name, os.O_RDWR)
		must(t, err)
		must(t, f.Sync())
		must(t, f.Close())
	case fi.IsDir():
		entries, err := fsys.ReadDir(name)
		must(t, err)
		for _, e := range entries {
			syncAll(t, fsys, name+"/"+e.Name())
		}
		must(t, fsys.SyncDir(name))
	}
}

// kindOf reduces an error to what a caller may ask of it.
func kindOf(err error) string {
	for _, kind := range []error{
		fs.ErrNotExist, fs.ErrExist, fs.ErrPermission, fs.ErrInvalid,
		syscall.ENOTDIR, syscall.EISDIR, syscall.ELOOP, syscall.EINVAL, syscall.ENAMETOOLONG, syscall.EBUSY,
	} {
		if errors.Is(err, kind) {
			if kind == fs.ErrExist { // ENOTEMPTY is one, too
				return "exists"
			}
			return kind.Error()
		}
	}
	if err != nil {
		return "other"
	}
	return "success"
}

// randomStep does one operation on names from a small world, and says which.
func randomStep(fsys durable.FS, rng *rand.Rand) (what string, err error) {
	parts := []string{"a", "b", "c", "d"}
	name := func() string {
		n := parts[rng.IntN(len(parts))]
		for rng.IntN(3) == 0 {
			n += "/" + parts[rng.IntN(len(parts))]
		}
		return n
	}
	x, y := name(), name()
	switch op := rng.IntN(19); op {
	case 0, 1:
		return "mkdir " + x, fsys.Mkdir(x, 0o755)
	case 2, 3, 4:
		flags := []int{0, os.O_EXCL, os.O_TRUNC, os.O_APPEND, durable.NoFollow}
		flag := os.O_RDWR | os.O_CREATE | flags[rng.IntN(len(flags))]
		return fmt.Sprintf("write %s flag %#x", x, flag), scribble(fsys, x, flag, rng.Uint64())
	case 5:
		return "remove " + x, fsys.Remove(x)
	case 6:
		if rng.IntN(4) > 0 {
			return "nothing", nil
		}
		return "removeall " + x, fsys.RemoveAll(x)
	case 7, 8:
		return "rename " + x + " " + y, fsys.Rename(x, y)
	case 9:
		return "rename-no-replace " + x + " " + y, fsys.RenameNoReplace(x, y)
	case 10:
		return "link " + x + " " + y, fsys.Link(x, y)
	case 11:
		targets := []string{y, "../" + y, "./" + y, "../../..", "/etc"}
		target := targets[rng.IntN(len(targets))]
		return "symlink " + target + " " + x, fsys.Symlink(target, x)
	case 12:
		return "chmod " + x, fsys.Chmod(x, 0o700|fs.FileMode(rng.IntN(0o100)))
	case 13:
		return "times " + x, fsys.SetTimes(x, time.Unix(int64(rng.IntN(1000)), 5))
	case 14:
		_, err := fsys.Stat(x)
		return "stat " + x, err
	case 15:
		return "syncfs", fsys.SyncFS()
	case 16, 17:
		dir, replace := name(), rng.IntN(2) == 0
		what := fmt.Sprintf("rename %s to %s in %s, replace %t", x, y, dir, replace)
		sub, err := fsys.OpenRoot(dir)
		if err != nil {
			return what, err
		}
		defer sub.Close()
		if rng.IntN(2) == 0 {
			return what, fsys.RenameTo(x, sub, y, replace)
		}
		return "from it: " + what, sub.RenameTo(x, fsys, y, replace)
	default:
		return "syncdir " + x, fsys.SyncDir(x)
	}
}

// scribble opens a file and does random things with its content.
func scribble(fsys durable.FS, name string, flag int, seed uint64) error {
	f, err := fsys.OpenFile(name, flag, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	rng := rand.New(rand.NewPCG(seed, 0))
	buf := make([]byte, rng.IntN(9000))
	for i := range buf {
		buf[i] = byte('a' + rng.IntN(26))
	}
	if _, err := f.Write(buf); err != nil {
		return err
	}
	if flag&os.O_APPEND == 0 {
		if _, err := f.WriteAt(buf, int64(rng.IntN(20_000))); err != nil {
			return err
		}
	}
	size := int64(rng.IntN(30_000))
	switch rng.IntN(4) {
	case 0:
		err = f.Truncate(size)
	case 1:
		err = f.Allocate(size)
	}
	if err == nil && rng.IntN(2) == 0 {
		err = f.SyncData()
	}
	if err == nil && rng.IntN(2) == 0 {
		err = f.DropCache()
	}
	return err
}

// describe lists the tree beneath name, with all that a file has but times of changes.
func describe(t *testing.T, fsys durable.FS, name string) string {
	t.Helper()
	fi, err := fsys.Lstat(name)
	must(t, err)
	line := fmt.Sprintf("%s %v", name, fi.Mode())
	switch fi.Mode().Type() {
	case fs.ModeSymlink:
		target, err := fsys.Readlink(name)
		must(t, err)
		return fmt.Sprintf("%s -> %s (%d)\n", line, target, fi.Size())
	case fs.ModeDir:
		entries, err := fsys.ReadDir(name)
		must(t, err)
		names := map[string]bool{}
		for _, e := range entries {
			names[e.Name()] = true
		}
		line += "\n"
		for _, n := range []string{"a", "b", "c", "d"} {
			if names[n] {
				line += describe(t, fsys, name+"/"+n)
			}
			delete(names, n)
		}
		if len(names) > 0 {
			t.Errorf("strange names in %s: %v", name, names)
		}
		return line
	}
	data, err := durable.ReadFile(fsys, name, 1<<20)
	must(t, err)
	old := ""
	if fi.ModTime().Unix() < 2000 {
		old = fi.ModTime().UTC().String()
	}
	return fmt.Sprintf("%s %d %q %s\n", line, fi.Size(), data, old)
}
