package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

func TestCopyLinks(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		plant(t, fsys, "outer/f", "outer/d/g", "outer/back -> ../t/d",
			"t/d/f", "t/d/in -> ../other", "t/other/x",
			"t/file -> d/f", "t/twice -> file", "t/slow -> ./d//../d/./f", "t/slash -> d/", "t/up -> ../outer/d",
			"t/through -> ../outer/back/f")
		var got []string
		each(t, fsys, "t", WalkOptions{CopyLinks: true, OpenDirs: 1}, func(_ *Walker, it *Item) {
			line := about(it)
			if it.Kind == File {
				line += " holds " + read(t, it.Dir, it.Base)
			}
			got = append(got, line)
		})
		want(t, got,
			`directory []`,
			`directory ["d"]`,
			`file ["d" "f"] holds t/d/f`,
			`directory ["d" "in"] -> ../other (followed)`,
			`file ["d" "in" "x"] holds t/other/x`,
			`file ["file"] -> d/f (followed) holds t/d/f`,
			`directory ["other"]`,
			`file ["other" "x"] holds t/other/x`,
			`directory ["slash"] -> d/ (followed)`,
			`file ["slash" "f"] holds t/d/f`,
			`directory ["slash" "in"] -> ../other (followed)`,
			`file ["slash" "in" "x"] holds t/other/x`,
			`file ["slow"] -> ./d//../d/./f (followed) holds t/d/f`,
			`file ["through"] -> ../outer/back/f (followed) holds t/d/f`,
			`file ["twice"] -> file (followed) holds t/d/f`,
			`directory ["up"] -> ../outer/d (followed)`,
			`file ["up" "g"] holds outer/d/g`)
	})
}

func TestCopyLinksToSpecialFiles(t *testing.T) {
	fsys := crashfs.New(1)
	must(t, fsys.Mkfifo("p", 0o644))
	plant(t, fsys, "t/l -> ../p")
	want(t, items(t, fsys, "t", WalkOptions{CopyLinks: true}), `directory []`, `special file ["l"] -> ../p (followed)`)
}

func TestCopyLinksThatLeadNowhere(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		plant(t, fsys, "t/f", "t/d/",
			"t/a -> missing", "t/b -> d/missing/x", "t/c -> f/", "t/e -> f/../f", "t/g -> f/x", "t/h -> a",
			"t/i -> i", "t/j -> k", "t/k -> j",
			"t/l -> ../..", "t/m -> /etc", "t/n -> o", "t/o -> /f", "t/p -> ../.xfer/stage", "t/q -> ../.XFER-1", "t/r -> ../t/.xfer",
			".xfer/stage/f", ".XFER-1", "t/.xfer/x")
		for i := range maxLinks + 1 { // one more than are followed; the second is good
			plant(t, fsys, fmt.Sprintf("t/z%d -> z%d", i, i+1))
		}
		plant(t, fsys, fmt.Sprintf("t/z%d", maxLinks+1))
		var got []string
		each(t, fsys, "t", WalkOptions{CopyLinks: true}, func(_ *Walker, it *Item) {
			if it.Err != nil {
				got = append(got, strings.TrimPrefix(about(it), "symbolic link "))
			}
		})
		want(t, got,
			`["a"] -> missing: `+ErrDangling.Error(),
			`["b"] -> d/missing/x: `+ErrDangling.Error(),
			`["c"] -> f/: `+ErrDangling.Error(),
			`["e"] -> f/../f: `+ErrDangling.Error(),
			`["g"] -> f/x: `+ErrDangling.Error(),
			`["h"] -> a: `+ErrDangling.Error(),
			`["i"] -> i: `+syscall.ELOOP.Error(),
			`["j"] -> k: `+syscall.ELOOP.Error(),
			`["k"] -> j: `+syscall.ELOOP.Error(),
			`["l"] -> ../..: `+ErrOutside.Error(),
			`["m"] -> /etc: `+ErrOutside.Error(),
			`["n"] -> o: `+ErrOutside.Error(),
			`["o"] -> /f: `+ErrOutside.Error(),
			`["p"] -> ../.xfer/stage: `+ErrOutside.Error(),
			`["q"] -> ../.XFER-1: `+ErrOutside.Error(),
			`["z0"] -> z1: `+syscall.ELOOP.Error())
	})
}

// A loop of directories ends where it closes.
func TestCopyLinksInALoop(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		plant(t, fsys, "t/a/b/f", "t/a/b/here -> .", "t/a/b/up -> ..", "t/a/b/top -> ../..", "t/side -> a", "x/y -> ../t", "t/far -> ../x")
		want(t, items(t, fsys, "t", WalkOptions{CopyLinks: true}),
			`directory []`,
			`directory ["a"]`,
			`directory ["a" "b"]`,
			`file ["a" "b" "f"]`,
			`directory ["a" "b" "here"] -> . (followed): `+ErrLoop.Error(),
			`directory ["a" "b" "top"] -> ../.. (followed): `+ErrLoop.Error(),
			`directory ["a" "b" "up"] -> .. (followed): `+ErrLoop.Error(),
			`directory ["far"] -> ../x (followed)`,
			`directory ["far" "y"] -> ../t (followed): `+ErrLoop.Error(),
			`directory ["side"] -> a (followed)`,
			`directory ["side" "b"]`,
			`file ["side" "b" "f"]`,
			`directory ["side" "b" "here"] -> . (followed): `+ErrLoop.Error(),
			`directory ["side" "b" "top"] -> ../.. (followed): `+ErrLoop.Error(),
			`directory ["side" "b" "up"] -> .. (followed): `+ErrLoop.Error())
	})
}

// A link to the root of the file system has no directory that it is in.
func TestCopyLinksToTheRoot(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		plant(t, fsys, "t/l -> ..", "f", "t/m -> ../t/l/f")
		var got []string
		each(t, fsys, "t", WalkOptions{CopyLinks: true, OpenDirs: 1}, func(_ *Walker, it *Item) {
			got = append(got, about(it))
			if it.Kind == File {
				got[len(got)-1] += " holds " + read(t, it.Dir, it.Base)
			}
		})
		want(t, got,
			`directory []`,
			`directory ["l"] -> .. (followed)`,
			`file ["l" "f"] holds f`,
			`directory ["l" "t"]`,
			`directory ["l" "t" "l"] -> .. (followed): `+ErrLoop.Error(),
			`file ["l" "t" "m"] -> ../t/l/f (followed) holds f`,
			`file ["m"] -> ../t/l/f (followed) holds f`)
	})
}

// Over the system's root absolute links lead where they lead.
func TestCopyLinksThatAreAbsolute(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	if filepath.Separator != '/' {
		t.Skip("there is no single root here")
	}
	for _, dir := range []string{"t", "away/d"} {
		must(t, os.MkdirAll(filepath.Join(top, dir), 0o755))
	}
	for _, file := range []string{"away/f", "away/d/g"} {
		must(t, os.WriteFile(filepath.Join(top, file), []byte(file), 0o644))
	}
	for link, target := range map[string]string{
		"t/d": top + "/away/d", "t/f": top + "/away/f", "t/rel": "../away/f", "t/over": strings.Repeat("../", 100) + top + "/away/f",
		"away/abs": top + "/away/d", "t/two": "../away/abs/g", "t/none": "/none-of-this-name",
	} {
		must(t, os.Symlink(target, filepath.Join(top, link)))
	}
	fsys, err := durable.OpenOS("/")
	must(t, err)
	defer fsys.Close()
	var got []string
	each(t, fsys, strings.TrimPrefix(top, "/")+"/t", WalkOptions{CopyLinks: true, AbsoluteLinks: true}, func(_ *Walker, it *Item) {
		line := fmt.Sprintf("%s %q", it.Kind, it.Path())
		if it.Kind == File {
			line += " holds " + read(t, it.Dir, it.Base)
		}
		if it.Err != nil {
			line = fmt.Sprintf("%q: %v", it.Path(), errors.Is(it.Err, ErrDangling))
		}
		got = append(got, line)
	})
	want(t, got,
		`directory []`,
		`directory ["d"]`,
		`file ["d" "g"] holds away/d/g`,
		`file ["f"] holds away/f`,
		`["none"]: true`,
		`file ["over"] holds away/f`,
		`file ["rel"] holds away/f`,
		`file ["two"] holds away/d/g`)
}

// What a link leads to is opened later only if it is still the same directory, and the file in it no link.
func TestFollowedLinksAreOpenedLater(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		plant(t, fsys, "t/l -> ../away/f", "t/m -> ../away/sub/f", "t/d -> ../dir", "away/f", "away/sub/f", "dir/f", "secret/f")
		dirs := map[string]*Dir{}
		var paths []string
		each(t, fsys, "t", WalkOptions{CopyLinks: true, OpenDirs: 1}, func(_ *Walker, it *Item) {
			if it.Kind == File {
				it.Dir.Retain()
				dirs[it.Path()[0]] = it.Dir
				paths = append(paths, strings.Join(it.Dir.Path(), "/"))
			}
		})
		want(t, paths, "d", "", "") // for links, the directory that they are in
		must(t, fsys.Rename("away/sub", "away/gone"))
		must(t, fsys.Symlink("../secret", "away/sub"))
		if _, err := dirs["m"].Open("f"); !errors.Is(err, ErrChanged) {
			t.Errorf("%v, want ErrChanged", err)
		}
		must(t, fsys.Remove("away/f"))
		must(t, fsys.Symlink("../secret/f", "away/f"))
		if _, err := dirs["l"].Open("f"); !errors.Is(err, durable.ErrNotRegular) {
			t.Errorf("%v, want ErrNotRegular", err)
		}
		if got := read(t, dirs["d"], "f"); got != "dir/f" {
			t.Errorf("beneath the link: %q", got)
		}
		for _, d := range dirs {
			d.Release()
		}
	})
}

// elsewhere tells another device for all that has the mark in its mode.
const elsewhere = 0o004

func onDevices(fi fs.FileInfo) fs.FileInfo {
	id, _ := durable.IDOf(fi)
	if id.Dev = 7; fi.Mode()&elsewhere != 0 && fi.IsDir() {
		id.Dev = 8
	}
	return devInfo{fi, id}
}

type devInfo struct {
	fs.FileInfo
	id durable.ID
}

func (d devInfo) Sys() any { return d.id }

func TestOneFileSystem(t *testing.T) {
	run(t, func(t *testing.T, inner durable.FS) {
		fsys, spying := newSpy(inner)
		plant(t, fsys, "t/a/f", "t/mnt/f", "t/mnt/sub/f", "t/l -> mnt", "t/z/mnt/x")
		for _, dir := range []string{"t", "t/a", "t/z", "t/mnt/sub"} {
			must(t, inner.Chmod(dir, 0o750))
		}
		spying.info = onDevices
		spying.asked = func(op, name string) error {
			if op == "OpenRoot" && strings.HasSuffix(name, "mnt") {
				t.Errorf("%s was opened", name)
			}
			return nil
		}
		want(t, items(t, fsys, "t", WalkOptions{OneFileSystem: true}),
			`directory []`,
			`directory ["a"]`,
			`file ["a" "f"]`,
			`symbolic link ["l"] -> mnt`,
			`directory ["mnt"] (mount)`,
			`directory ["z"]`,
			`directory ["z" "mnt"] (mount)`)
		var got []string
		each(t, fsys, "t", WalkOptions{OneFileSystem: true, CopyLinks: true}, func(_ *Walker, it *Item) {
			if it.Mount {
				got = append(got, it.Name)
			}
		})
		want(t, got, "l", "mnt", "mnt")
	})
}

// noInfo is file information of a system that tells no devices.
type noInfo struct{ fs.FileInfo }

func (noInfo) Sys() any { return nil }

func TestOneFileSystemWhereNoneIsTold(t *testing.T) {
	run(t, func(t *testing.T, inner durable.FS) {
		fsys, spying := newSpy(inner)
		spying.info = func(fi fs.FileInfo) fs.FileInfo { return noInfo{fi} }
		if _, err := NewWalker(fsys, ".", WalkOptions{OneFileSystem: true}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%v, want ErrUnsupported", err)
		}
	})
}

func TestStartAfter(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		plant(t, fsys, "t/a", "t/b/c/f", "t/b/c/g", "t/b/c.d", "t/b/empty/", "t/b-", "t/l -> b/c", "t/z/y/x/w", "t/z/y/z")
		all := items(t, fsys, "t", WalkOptions{})
		var paths [][]string
		each(t, fsys, "t", WalkOptions{}, func(_ *Walker, it *Item) { paths = append(paths, it.Path()) })
		for i := 1; i < len(all); i++ {
			after := paths[i]
			var expect []string
			for j, path := range paths[:i+1] {
				if leads := len(path) <= len(after) && slices.Equal(path, after[:len(path)]); leads && strings.HasPrefix(all[j], "directory") {
					expect = append(expect, all[j]+" (again)")
				}
			}
			expect = append(expect, all[i+1:]...)
			want(t, items(t, fsys, "t", WalkOptions{StartAfter: after}), expect...)
		}
	})
}

// What StartAfter names may not be there any more, or be something else.
func TestStartAfterWhatIsGone(t *testing.T) {
	run(t, func(t *testing.T, inner durable.FS) {
		plant(t, inner, "t/a/f", "t/b/f", "t/b/h", "t/c -> a", "t/d")
		for after, expect := range map[string][]string{
			"aa":    {`directory [] (again)`, `directory ["b"]`, `file ["b" "f"]`, `file ["b" "h"]`, `symbolic link ["c"] -> a`, `file ["d"]`},
			"aa/x":  {`directory [] (again)`, `directory ["b"]`, `file ["b" "f"]`, `file ["b" "h"]`, `symbolic link ["c"] -> a`, `file ["d"]`},
			"b/g":   {`directory [] (again)`, `directory ["b"] (again)`, `file ["b" "h"]`, `symbolic link ["c"] -> a`, `file ["d"]`},
			"b/h/x": {`directory [] (again)`, `directory ["b"] (again)`, `symbolic link ["c"] -> a`, `file ["d"]`},
			"c/f":   {`directory [] (again)`, `file ["d"]`},
			"z":     {`directory [] (again)`},
		} {
			want(t, items(t, inner, "t", WalkOptions{StartAfter: strings.Split(after, "/")}), expect...)
		}
		fsys, spying := newSpy(inner) // it vanishes between listing and looking
		spying.asked = func(op, name string) error {
			if op == "Lstat" && name == "b" {
				return &fs.PathError{Op: "lstat", Path: name, Err: fs.ErrNotExist}
			}
			return nil
		}
		want(t, items(t, fsys, "t", WalkOptions{StartAfter: []string{"b", "f"}}), `directory [] (again)`, `symbolic link ["c"] -> a`, `file ["d"]`)
	})
}
