package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// write makes a file that holds its own name.
func write(t testing.TB, fsys durable.FS, name string) {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	must(t, err)
	_, err = f.Write([]byte(name))
	must(t, err)
	must(t, f.Close())
}

// read returns what a file of a directory holds.
func read(t testing.TB, dir *Dir, name string) string {
	t.Helper()
	f, err := dir.Open(name)
	must(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	must(t, err)
	return string(b)
}

// plant makes a tree of names: those that end in '/' are directories, "a -> b" are symbolic links, others hold their names.
func plant(t testing.TB, fsys durable.FS, list ...string) {
	t.Helper()
	for _, name := range list {
		link, target, isLink := strings.Cut(name, " -> ")
		if dir, ok := strings.CutSuffix(name, "/"); ok && !isLink {
			must(t, durable.MkdirAll(fsys, dir, 0o755))
			continue
		}
		if dir := durable.Dir(link); dir != "." {
			must(t, durable.MkdirAll(fsys, dir, 0o755))
		}
		if isLink {
			must(t, fsys.Symlink(target, link))
			continue
		}
		write(t, fsys, name)
	}
}

// about describes an item in a line.
func about(it *Item) string {
	line := describe(Entry{Path: it.Path(), Kind: it.Kind, Target: it.Target})
	for word, is := range map[string]bool{" (again)": it.Again, " (mount)": it.Mount, " (followed)": it.Linked} {
		if is {
			line += word
		}
	}
	for _, known := range []error{ErrDangling, ErrOutside, ErrLoop, ErrTooDeep, ErrChanged, syscall.ELOOP, fs.ErrNotExist, fs.ErrPermission} {
		if errors.Is(it.Err, known) {
			return line + ": " + known.Error()
		}
	}
	if it.Err != nil {
		line += ": " + it.Err.Error()
	}
	return line
}

// each calls f with the items of a walk; the walk is closed then.
func each(t testing.TB, fsys durable.FS, start string, opt WalkOptions, f func(w *Walker, it *Item)) {
	t.Helper()
	w, err := NewWalker(fsys, start, opt)
	must(t, err)
	defer func() { must(t, w.Close()) }()
	for {
		it, err := w.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return
		}
		must(t, err)
		f(w, it)
	}
}

func items(t testing.TB, fsys durable.FS, start string, opt WalkOptions) (got []string) {
	t.Helper()
	each(t, fsys, start, opt, func(_ *Walker, it *Item) { got = append(got, about(it)) })
	return got
}

// What a walk shows is a manifest, of any tree.
func TestWalkerShowsAManifest(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		plant(t, fsys, "t/a", "t/b/c/f", "t/b/c.d", "t/b-", "t/l -> b/c", "t/empty/", "t/z/y/x/w")
		must(t, fsys.Chmod("t/a", 0o751))
		when := time.Unix(1234567890, 987654321)
		must(t, fsys.SetTimes("t/a", when))
		e := NewEncoder()
		var b []byte
		var paths []string
		each(t, fsys, "t", WalkOptions{}, func(_ *Walker, it *Item) {
			must(t, it.Err)
			paths = append(paths, strings.Join(it.Path(), "/"))
			r := it.Record()
			r.Up = max(0, e.Up(it.Depth))
			var err error
			b, err = e.Append(b, &r)
			must(t, err)
			if it.Depth != len(it.Path()) {
				t.Errorf("%s: depth %d", about(it), it.Depth)
			}
		})
		want(t, paths, "", "a", "b", "b/c", "b/c/f", "b/c.d", "b-", "empty", "l", "z", "z/y", "z/y/x", "z/y/x/w")
		all, err := decode(b)
		must(t, err)
		if r := all[1]; r.Kind != File || r.Size != 3 || r.Mode != 0o751 || r.MTime != when.UnixNano() {
			t.Errorf("the record of the file: %+v", r)
		}
		if r := all[8]; r.Kind != Symlink || r.Target != "b/c" || r.Up != 1 {
			t.Errorf("the record of the link: %+v", r)
		}
		if r := all[6]; r.Up != 1 || r.Name != "b-" {
			t.Errorf("the record behind a directory: %+v", r)
		}
	})
}

func TestRecordOfAnItem(t *testing.T) {
	for mode, want := range map[fs.FileMode]uint32{
		0:                                 0,
		0o777:                             0o777,
		fs.ModeSetuid | 0o755:             0o4755,
		fs.ModeSetgid | fs.ModeDir | 0o70: 0o2070,
		fs.ModeSticky | 0o7:               0o1007,
		fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky | 0o777: 0o7777,
	} {
		if got := unixMode(mode); got != want {
			t.Errorf("%v is %o, want %o", mode, got, want)
		}
	}
	for when, want := range map[time.Time]int64{
		time.Unix(0, 0):                          0,
		time.Unix(-1, 5):                         -999_999_995,
		time.Unix(1<<40, 0):                      1<<63 - 1,
		time.Unix(-1<<40, 0):                     -1 << 63,
		time.Unix(0, 1<<63-1):                    1<<63 - 1,
		time.Unix(0, -1<<63):                     -1 << 63,
		time.Unix(0, 1<<63-1).Add(1):             1<<63 - 1,
		time.Unix(1_700_000_000, 1).In(time.UTC): 1_700_000_000_000_000_001,
	} {
		if got := unixNano(when); got != want {
			t.Errorf("%v is %d, want %d", when, got, want)
		}
	}
	if r := (&Item{Kind: Unknown, Name: "n"}).Record(); r.Name != "n" || r.Mode != 0 {
		t.Errorf("of what could not be looked at: %+v", r)
	}
}

func TestNewWalkerWantsADirectory(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		plant(t, fsys, "f", "d/", "l -> d")
		for name, want := range map[string]error{"f": syscall.ENOTDIR, "l": syscall.ENOTDIR, "none": fs.ErrNotExist} {
			if w, err := NewWalker(fsys, name, WalkOptions{}); w != nil || !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
		}
	})
}

// Files can be read long after the walk, however few directories stay open.
func TestDirsAreOpenedAgain(t *testing.T) {
	run(t, func(t *testing.T, inner durable.FS) {
		fsys, spying := newSpy(inner)
		var list []string
		for i := range 40 {
			list = append(list, fmt.Sprintf("t/%d/f", i), fmt.Sprintf("t/%d/sub/sub/f", i))
		}
		plant(t, fsys, list...)
		type file struct {
			dir  *Dir
			base string
			name string
		}
		var files []file
		const limit = 3
		each(t, fsys, "t", WalkOptions{OpenDirs: limit}, func(w *Walker, it *Item) {
			must(t, it.Err)
			if it.Kind == File {
				it.Dir.Retain()
				files = append(files, file{it.Dir, it.Base, "t/" + strings.Join(it.Path(), "/")})
			}
			if open, _ := spying.now(); open > len(w.stack)+limit {
				t.Fatalf("%d directories are open, %d are in use", open, len(w.stack))
			}
		})
		if open, most := spying.now(); open != limit || most > limit+6 {
			t.Errorf("%d directories are open after the walk, %d were at most; want %d", open, most, limit)
		}
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
		for _, f := range files {
			if got := read(t, f.dir, f.base); got != f.name {
				t.Errorf("%s holds %q", f.name, got)
			}
			if got := "t/" + strings.Join(append(f.dir.Path(), f.base), "/"); got != f.name {
				t.Errorf("the path of %s is %s", f.name, got)
			}
			if open, _ := spying.now(); open > limit {
				t.Fatalf("%d directories are open", open)
			}
		}
		for _, f := range files {
			f.dir.Release()
		}
		if open, most := spying.now(); open != 0 || most > limit+6 {
			t.Errorf("%d directories are open at the end, %d were", open, most)
		}
		if _, err := files[0].dir.Open("f"); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("a directory that nobody retains: %v", err)
		}
	})
}

func TestDirsAreOpenedAgainOnlyIfTheyAreTheSame(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		plant(t, fsys, "t/gone/f", "t/other/f", "t/link/f", "t/above/d/f", "t/stays/d/f", "t/z1/f", "t/z2/f")
		dirs := map[string]*Dir{}
		each(t, fsys, "t", WalkOptions{OpenDirs: 1}, func(_ *Walker, it *Item) {
			if it.Kind == File {
				it.Dir.Retain()
				dirs[strings.Join(it.Dir.Path(), "/")] = it.Dir
			}
		})
		must(t, fsys.RemoveAll("t/gone"))
		must(t, fsys.Rename("t/other", "t/moved"))
		plant(t, fsys, "t/other/f")
		must(t, fsys.Rename("t/link", "t/moved2"))
		must(t, fsys.Symlink("z1", "t/link"))
		must(t, fsys.Rename("t/above", "t/moved3"))
		plant(t, fsys, "t/above/d/f")
		for name, want := range map[string]error{
			"gone": fs.ErrNotExist, "other": ErrChanged, "link": ErrChanged, "above/d": ErrChanged, "stays/d": nil, "z1": nil, "z2": nil,
		} {
			f, err := dirs[name].Open("f")
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", name, err, want)
			}
			if err == nil {
				must(t, f.Close())
			}
			dirs[name].Release()
		}
	})
}

// A directory moved elsewhere is reached as long as it is open: by its handle, not by its name.
func TestDirOpenFollowsNoLink(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		plant(t, fsys, "t/f", "secret")
		each(t, fsys, "t", WalkOptions{}, func(_ *Walker, it *Item) {
			if it.Kind != File {
				return
			}
			must(t, fsys.Remove("t/f"))
			must(t, fsys.Symlink("../secret", "t/f"))
			if f, err := it.Dir.Open(it.Base); !errors.Is(err, durable.ErrNotRegular) {
				t.Errorf("%v, %v; want ErrNotRegular", f, err)
			}
		})
	})
}

// Many goroutines read while the walk goes on and directories come and go.
func TestDirsAreUsedConcurrently(t *testing.T) {
	run(t, func(t *testing.T, inner durable.FS) {
		fsys, spying := newSpy(inner)
		var list []string
		for i := range 60 {
			for j := range 3 {
				list = append(list, fmt.Sprintf("t/%d/%d/f", i%20, i), fmt.Sprintf("t/%d/%d/g%d", i%20, i, j))
			}
		}
		slices.Sort(list)
		plant(t, fsys, slices.Compact(list)...)
		type file struct {
			dir        *Dir
			base, name string
		}
		files := make(chan file, 50)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for f := range files {
					r, err := f.dir.Open(f.base)
					if err != nil {
						t.Errorf("%s: %v", f.name, err)
						continue
					}
					b, err := io.ReadAll(r)
					if err != nil || string(b) != f.name {
						t.Errorf("%s: %q, %v", f.name, b, err)
					}
					if err := r.Close(); err != nil {
						t.Error(err)
					}
					f.dir.Release()
				}
			})
		}
		each(t, fsys, "t", WalkOptions{OpenDirs: 1}, func(_ *Walker, it *Item) {
			if it.Kind == File {
				it.Dir.Retain()
				files <- file{it.Dir, it.Base, "t/" + strings.Join(it.Path(), "/")}
			}
		})
		close(files)
		wg.Wait()
		if open, _ := spying.now(); open != 0 {
			t.Errorf("%d directories are open at the end", open)
		}
	})
}

func TestReleaseTooOftenPanics(t *testing.T) {
	fsys := crashfs.New(1)
	plant(t, fsys, "t/f")
	var dir *Dir
	each(t, fsys, "t", WalkOptions{}, func(_ *Walker, it *Item) { dir = it.Dir })
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	dir.Release()
}

// A walk that ends early, by Close, its context, or its consumer, leaves nothing open.
func TestWalkerEndsEarly(t *testing.T) {
	run(t, func(t *testing.T, inner durable.FS) {
		fsys, spying := newSpy(inner)
		plant(t, fsys, "t/a/b/c/f", "t/d/l -> ../a/b", "t/e")
		total := len(items(t, fsys, "t", WalkOptions{CopyLinks: true}))
		for stop := range total + 1 {
			w, err := NewWalker(fsys, "t", WalkOptions{CopyLinks: true})
			must(t, err)
			for range stop {
				_, err := w.Next(t.Context())
				must(t, err)
			}
			reason := errors.New("enough")
			ctx, cancel := context.WithCancelCause(t.Context())
			cancel(reason)
			if _, err := w.Next(ctx); !errors.Is(err, reason) {
				t.Errorf("%v, want the cause of the context", err)
			}
			must(t, w.Close())
			if it, err := w.Next(t.Context()); it != nil || !errors.Is(err, io.EOF) {
				t.Errorf("after Close: %v, %v", it, err)
			}
			must(t, w.Close())
			if open, _ := spying.now(); open != 0 {
				t.Errorf("stopped after %d: %d directories are open", stop, open)
			}
		}
	})
}

func TestSkip(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		plant(t, fsys, "t/a/b/f", "t/a/c", "t/d/", "t/e", "t/z/f")
		for name, expect := range map[string][]string{
			"":  {`directory []`},
			"a": {`directory []`, `directory ["a"]`, `directory ["d"]`, `file ["e"]`, `directory ["z"]`, `file ["z" "f"]`},
			"b": {`directory []`, `directory ["a"]`, `directory ["a" "b"]`, `file ["a" "c"]`, `directory ["d"]`, `file ["e"]`, `directory ["z"]`, `file ["z" "f"]`},
			"d": items(t, fsys, "t", WalkOptions{}),
			"e": items(t, fsys, "t", WalkOptions{}),
			"c": items(t, fsys, "t", WalkOptions{}),
		} {
			var got []string
			each(t, fsys, "t", WalkOptions{}, func(w *Walker, it *Item) {
				got = append(got, about(it))
				if it.Name == name {
					w.Skip()
					if it.Self != nil {
						must(t, it.Self.Do(func(durable.FS) error { return nil })) // it is still open
					}
				}
			})
			want(t, got, expect...)
		}
	})
}

// testSelection is a selection by functions.
type testSelection struct {
	path  string
	keep  func(path string, isDir bool) bool
	enter func(path string, dir durable.FS) error
	names func(path string) ([]string, bool)
}

func (s testSelection) Keep(name string, isDir bool) bool { return s.keep(s.path+name, isDir) }

func (s testSelection) Enter(name string, dir durable.FS) (Selection, error) {
	s.path += name + "/"
	if s.enter != nil {
		if err := s.enter(s.path, dir); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s testSelection) Names() (iter.Seq[string], bool) {
	if s.names == nil {
		return nil, false
	}
	names, only := s.names(s.path)
	return slices.Values(names), only
}

func TestSelection(t *testing.T) {
	run(t, func(t *testing.T, inner durable.FS) {
		fsys, spying := newSpy(inner)
		plant(t, fsys, "a/f", "a/g", "a/no/f", "locked/f", "no/f", "nolink -> a", "yeslink -> a", "z/no", "dangling -> nothing")
		spying.asked = func(op, name string) error {
			if strings.HasPrefix(name, "no") && op != "Lstat" && (op != "Readlink" || name != "nolink") {
				t.Errorf("%s of %s, which is left out", op, name)
			}
			return nil
		}
		var entered []string
		broken := errors.New("the rules cannot be read")
		sel := testSelection{
			keep: func(path string, isDir bool) bool {
				if isDir != (slices.Contains([]string{"a", "a/no", "locked", "no", "z"}, path)) {
					t.Errorf("%s: isDir %v", path, isDir)
				}
				return !strings.Contains(path, "no") && path != "dangling"
			},
			enter: func(path string, dir durable.FS) error {
				entered = append(entered, path)
				if _, err := dir.Lstat("f"); err != nil && path != "z/" {
					t.Errorf("the directory of %s: %v", path, err)
				}
				if path == "locked/" {
					return broken
				}
				return nil
			},
		}
		want(t, items(t, fsys, ".", WalkOptions{Select: sel}),
			`directory []`,
			`directory ["a"]`,
			`file ["a" "f"]`,
			`file ["a" "g"]`,
			`directory ["locked"]: `+broken.Error(),
			`symbolic link ["yeslink"] -> a`,
			`directory ["z"]`)
		want(t, entered, "a/", "locked/", "z/")
	})
}

// Where only some names can be kept no directory is listed, and names that are not there are no errors.
func TestSelectionOfNames(t *testing.T) {
	run(t, func(t *testing.T, inner durable.FS) {
		fsys, spying := newSpy(inner)
		plant(t, fsys, "t/a/f", "t/a/g", "t/b/f", "t/c/f", "t/c/g")
		listed := 0
		spying.asked = func(op, name string) error {
			if op == "OpenFile" && name == "." {
				listed++
			}
			return nil
		}
		sel := testSelection{
			keep: func(string, bool) bool { return true },
			names: func(path string) ([]string, bool) {
				switch path {
				case "":
					return []string{"a", "c", "missing"}, true
				case "a/":
					return []string{"e", "f", "nothing"}, true
				}
				return nil, false
			},
		}
		want(t, items(t, fsys, "t", WalkOptions{Select: sel}),
			`directory []`,
			`directory ["a"]`,
			`file ["a" "f"]`,
			`directory ["c"]`,
			`file ["c" "f"]`,
			`file ["c" "g"]`)
		if listed != 1 {
			t.Errorf("%d directories were listed, want 1", listed)
		}
	})
}

// A listing that fails in the middle shows what came before, with the error.
func TestWalkerShowsWhatItCouldList(t *testing.T) {
	broken := &fs.PathError{Op: "readdirent", Path: "d", Err: syscall.EIO}
	fsys := brokenList{FS: crashfs.New(1), err: broken}
	plant(t, fsys, "a", "b", "c")
	got := items(t, fsys, ".", WalkOptions{})
	want(t, got, `directory []: `+broken.Error(), `file ["a"]`, `file ["b"]`, `file ["c"]`)
}

// brokenList is a file system whose directories cannot be read to their end.
type brokenList struct {
	durable.FS
	err error
}

func (b brokenList) OpenRoot(name string) (durable.FS, error) {
	sub, err := b.FS.OpenRoot(name)
	return brokenList{sub, b.err}, err
}

func (b brokenList) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := b.FS.OpenFile(name, flag, perm)
	if name == "." {
		f = &brokenDir{File: f, err: b.err}
	}
	return f, err
}

type brokenDir struct {
	durable.File
	err error
}

func (d *brokenDir) ReadDir(int) ([]fs.DirEntry, error) {
	entries, _ := d.File.ReadDir(-1)
	return entries, d.err
}

// 256 components of 255 bytes, and a single directory that may stay open: the way back is longer than PATH_MAX.
func TestDirsOfADeepTree(t *testing.T) {
	run(t, func(t *testing.T, inner durable.FS) {
		fsys, spying := newSpy(inner)
		name := strings.Repeat("d", 255)
		at, err := fsys.OpenRoot(".")
		must(t, err)
		for range MaxDepth - 1 {
			must(t, at.Mkdir(name, 0o755))
			next, err := at.OpenRoot(name)
			must(t, err)
			must(t, at.Close())
			at = next
		}
		write(t, at, "f")
		must(t, at.Close())
		defer func() { must(t, fsys.RemoveAll(name)) }()
		var dir, other *Dir
		each(t, fsys, ".", WalkOptions{OpenDirs: 1}, func(_ *Walker, it *Item) {
			must(t, it.Err)
			switch {
			case it.Kind == File:
				dir = it.Dir
				dir.Retain()
			case it.Depth == 1:
				other = it.Self
				other.Retain()
			}
		})
		nothing := func(durable.FS) error { return nil }
		must(t, dir.Do(nothing))
		must(t, other.Do(nothing)) // so that the other one is closed
		if open, _ := spying.now(); open != 1 {
			t.Fatalf("%d directories are open", open)
		}
		other.Release()
		if got := read(t, dir, "f"); got != "f" {
			t.Errorf("the file holds %q", got)
		}
		if got := len(dir.Path()); got != MaxDepth-1 {
			t.Errorf("a path of %d components", got)
		}
		dir.Release()
		if open, _ := spying.now(); open != 0 {
			t.Errorf("%d directories are open at the end", open)
		}
	})
}
