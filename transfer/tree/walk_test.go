package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// run runs a test over the system's file system and over the one in memory.
func run(t *testing.T, f func(t *testing.T, fsys durable.FS)) {
	t.Run("os", func(t *testing.T) {
		fsys, err := durable.OpenOS(t.TempDir())
		must(t, err)
		defer fsys.Close()
		f(t, fsys)
	})
	t.Run("memory", func(t *testing.T) { f(t, crashfs.New(1)) })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, fsys durable.FS, name string) {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	must(t, err)
	must(t, f.Close())
}

// lines walks and describes each entry in a line.
func lines(t *testing.T, fsys durable.FS, start string, opt Options) []string {
	t.Helper()
	var got []string
	for e, err := range Walk(t.Context(), fsys, start, opt) {
		must(t, err)
		got = append(got, describe(e))
	}
	return got
}

func describe(e Entry) string {
	line := fmt.Sprintf("%s %q", e.Kind, e.Path)
	if e.Target != "" {
		line += " -> " + e.Target
	}
	for _, known := range []error{fs.ErrNotExist, fs.ErrPermission, ErrTooDeep, ErrChanged} {
		if errors.Is(e.Err, known) {
			return line + ": " + known.Error()
		}
	}
	if e.Err != nil {
		line += ": " + e.Err.Error()
	}
	return line
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestWalkOrder(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		must(t, durable.MkdirAll(fsys, "t/b/c", 0o755))
		must(t, durable.MkdirAll(fsys, "t/empty", 0o755))
		for _, name := range []string{"t/b-", "t/b/z", "t/b/a", "t/A", "t/b/c/f"} {
			put(t, fsys, name)
		}
		want(t, lines(t, fsys, "t", Options{}),
			`directory []`,
			`file ["A"]`,
			`directory ["b"]`,
			`file ["b" "a"]`,
			`directory ["b" "c"]`,
			`file ["b" "c" "f"]`,
			`file ["b" "z"]`,
			`file ["b-"]`,
			`directory ["empty"]`)
		want(t, lines(t, fsys, "t/b/a", Options{}), `file []`)
		if got := lines(t, fsys, ".", Options{}); len(got) != 10 || got[1] != `directory ["t"]` {
			t.Errorf("from the root: %q", got)
		}
	})
}

func TestWalkNeverFollowsLinks(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		must(t, fsys.Mkdir("d", 0o755))
		put(t, fsys, "d/f")
		for name, target := range map[string]string{
			"dir": "d", "loop": "loop", "out": "../..", "none": "missing", "up": "d/..", "file": "d/f", "abs": "/etc",
		} {
			must(t, fsys.Symlink(target, name))
		}
		want(t, lines(t, fsys, ".", Options{}),
			`directory []`,
			`symbolic link ["abs"] -> /etc`,
			`directory ["d"]`,
			`file ["d" "f"]`,
			`symbolic link ["dir"] -> d`,
			`symbolic link ["file"] -> d/f`,
			`symbolic link ["loop"] -> loop`,
			`symbolic link ["none"] -> missing`,
			`symbolic link ["out"] -> ../..`,
			`symbolic link ["up"] -> d/..`)
		want(t, lines(t, fsys, "dir", Options{}), `symbolic link [] -> d`)
	})
}

func TestWalkOddNames(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		names := []string{
			"-rf", "new\nline", "\x1b[31mred", "not utf8 \xff\xfe", strings.Repeat("n", 255), "*", "a b", `back\slash`,
			"...", "~", "\xef\xbb\xbfbom", "é", "e\u0301",
		}
		if runtime.GOOS != "linux" {
			if _, ok := fsys.(*crashfs.FS); !ok {
				names = []string{"a b", "..."}
			}
		}
		must(t, fsys.Mkdir("d", 0o755))
		for _, name := range names {
			must(t, fsys.Mkdir("d/"+name, 0o755))
			put(t, fsys, "d/"+name+"/"+name)
		}
		slices.Sort(names)
		lines := []string{`directory []`}
		for _, name := range names {
			lines = append(lines, fmt.Sprintf("directory %q", []string{name}), fmt.Sprintf("file %q", []string{name, name}))
		}
		var got []string
		for e, err := range Walk(t.Context(), fsys, "d", Options{}) {
			must(t, err)
			got = append(got, describe(e))
			if _, err := fsys.Lstat("d/" + e.Name()); err != nil {
				t.Errorf("Name of %q is no name: %v", e.Path, err)
			}
		}
		want(t, got, lines...)
	})
}

// 256 components of 255 bytes: a path of 65,535 bytes, far over PATH_MAX.
func TestWalkDeepTree(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		const depth = 256
		name := strings.Repeat("d", 255)
		at, err := fsys.OpenRoot(".")
		must(t, err)
		for range depth {
			must(t, at.Mkdir(name, 0o755))
			next, err := at.OpenRoot(name)
			must(t, err)
			at.Close()
			at = next
		}
		defer at.Close()
		deepest := 0
		for e, err := range Walk(t.Context(), fsys, ".", Options{}) {
			must(t, err)
			if e.Err != nil {
				t.Fatalf("at %d components: %v", len(e.Path), e.Err)
			}
			deepest = len(e.Path)
		}
		if deepest != depth {
			t.Errorf("%d components, want %d", deepest, depth)
		}
		put(t, at, "f") // the 257th
		var last Entry
		for e, err := range Walk(t.Context(), fsys, ".", Options{}) {
			must(t, err)
			last = e
		}
		if len(last.Path) != depth || !errors.Is(last.Err, ErrTooDeep) {
			t.Errorf("at %d components: %v, want ErrTooDeep at %d", len(last.Path), last.Err, depth)
		}
		must(t, fsys.RemoveAll(name))
	})
}

func TestWalkSpecials(t *testing.T) {
	fsys := crashfs.New(1)
	must(t, fsys.Mkfifo("p", 0o644))
	put(t, fsys, "q")
	want(t, lines(t, fsys, ".", Options{}), `directory []`, `special file ["p"]`, `file ["q"]`)
	want(t, lines(t, fsys, "p", Options{}), `special file []`)
}

// A directory of many batches is complete and sorted.
func TestWalkManyEntries(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		const n = 2*batch + 17
		for i := range n {
			put(t, fsys, fmt.Sprint(i))
		}
		var names []string
		for e, err := range Walk(t.Context(), fsys, ".", Options{}) {
			must(t, err)
			if e.Kind == File {
				names = append(names, e.Path[0])
			}
		}
		if len(names) != n || !slices.IsSorted(names) {
			t.Errorf("%d names, sorted: %v; want %d", len(names), slices.IsSorted(names), n)
		}
	})
}

// faulty is a file system whose OpenRoot and Lstat a test may interfere with, in each directory.
type faulty struct {
	durable.FS
	openRoot func(name string) error
	lstat    func(name string) error
}

func (f faulty) OpenRoot(name string) (durable.FS, error) {
	if err := f.openRoot(name); err != nil {
		return nil, err
	}
	sub, err := f.FS.OpenRoot(name)
	return faulty{sub, f.openRoot, f.lstat}, err
}

func (f faulty) Lstat(name string) (fs.FileInfo, error) {
	if err := f.lstat(name); err != nil {
		return nil, err
	}
	return f.FS.Lstat(name)
}

func TestWalkGoesOnAfterErrors(t *testing.T) {
	run(t, func(t *testing.T, inner durable.FS) {
		for _, d := range []string{"a", "locked", "swapped", "z", "elsewhere"} {
			must(t, inner.Mkdir(d, 0o755))
			put(t, inner, d+"/f")
		}
		put(t, inner, "vanishes")
		fsys := faulty{
			FS: inner,
			openRoot: func(name string) error {
				switch name {
				case "locked":
					return &fs.PathError{Op: "open", Path: name, Err: syscall.EACCES}
				case "swapped":
					must(t, inner.Rename("swapped", "gone"))
					return inner.Symlink("elsewhere", "swapped")
				}
				return nil
			},
			lstat: func(name string) error {
				if name == "vanishes" {
					return inner.Remove("vanishes")
				}
				return nil
			},
		}
		want(t, lines(t, fsys, ".", Options{}),
			`directory []`,
			`directory ["a"]`,
			`file ["a" "f"]`,
			`directory ["elsewhere"]`,
			`file ["elsewhere" "f"]`,
			`directory ["locked"]: permission denied`,
			`directory ["swapped"]: the directory was replaced while it was opened`,
			`unknown ["vanishes"]: file does not exist`,
			`directory ["z"]`,
			`file ["z" "f"]`)
	})
}

func TestWalkMissingStart(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		n := 0
		for _, err := range Walk(t.Context(), fsys, "missing", Options{}) {
			n++
			if !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%v, want fs.ErrNotExist", err)
			}
		}
		if n != 1 {
			t.Errorf("%d results, want 1", n)
		}
	})
}

func TestWalkEndsWithItsContextAndWithItsConsumer(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		must(t, durable.MkdirAll(fsys, "a/b/c", 0o755))
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		reason := errors.New("enough")
		n := 0
		for _, err := range Walk(ctx, fsys, ".", Options{}) {
			if n++; n == 2 {
				cancel(reason)
			}
			if n == 3 && !errors.Is(err, reason) {
				t.Errorf("%v, want the cause of the context", err)
			}
		}
		if n != 3 {
			t.Errorf("%d results, want 3", n)
		}
		for stop := 1; stop <= 4; stop++ {
			n := 0
			for range Walk(t.Context(), fsys, ".", Options{}) {
				if n++; n == stop {
					break
				}
			}
		}
	})
}

// A consumer may keep and change the paths it got.
func TestWalkPathsBelongToTheConsumer(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		must(t, durable.MkdirAll(fsys, "a/b", 0o755))
		put(t, fsys, "a/b/f")
		put(t, fsys, "a/b/g")
		var all [][]string
		for e, err := range Walk(t.Context(), fsys, ".", Options{}) {
			must(t, err)
			all = append(all, slices.Clone(e.Path))
			for i := range e.Path {
				e.Path[i] = "changed"
			}
		}
		want := [][]string{nil, {"a"}, {"a", "b"}, {"a", "b", "f"}, {"a", "b", "g"}}
		if !slices.EqualFunc(all, want, slices.Equal) {
			t.Errorf("%q, want %q", all, want)
		}
	})
}

func TestWalkSystemSpecials(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600))
	if err := mkfifo(filepath.Join(dir, "p")); err != nil {
		t.Skipf("no FIFO here: %v", err)
	}
	fsys, err := durable.OpenOS(dir)
	must(t, err)
	defer fsys.Close()
	want(t, lines(t, fsys, ".", Options{}), `directory []`, `file ["f"]`, `special file ["p"]`)
}
