package sink

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// extras sends src and returns what was told to be extra, in the order in which it was.
func extras(t *testing.T, v *View, spec TreeSpec, src source) (told []string, o outcome) {
	t.Helper()
	spec.Extra = func(p Path, kind Kind, size int64) { told = append(told, fmt.Sprintf("%q %d %d", p, kind, size)) }
	return told, send(t, v, spec, src)
}

func TestExtraNames(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		v := d.View("alice", All)
		spec := TreeSpec{Path: mustPath(t, "top")}
		mustSend(t, v, spec, source{
			"a": file("1"), "b/x": file("22"), "b/y": file("3"), "b/z/deep/er": file("4444"), "c": symlink("a"), "d/e/f": file("5"), "d/g": file("6"),
			"file": file("x"), "last/x": file("7"), "m": file("m"), "\xff": file("8"), "sub": dir(), "linked": symlink("d"), "b-": file("9"),
		})
		must(t, d.fs.Mkdir("top/.xfer-H", 0o700))
		must(t, durable.WriteFile(d.fs, "top/.xfer-tmp-1", nil, 0o600))
		src := source{
			"0new": file("n"), "b/x": file("22"), "b/xx": file("n"), "d": dir(), "e": file("n"), "file/y": file("n"), "m": file("m"), "newdir/f": file("n"),
			"linked/f": file("n"), "linked/e/new": file("n"), "sub": file("a file where a directory is"),
		}
		want := []string{
			`"top/a" 1 1`, `"top/b/y" 1 1`, `"top/b/z" 2 0`, `"top/b/z/deep" 2 0`, `"top/b/z/deep/er" 1 4`, `"top/b-" 1 1`, `"top/c" 3 0`,
			`"top/d/e" 2 0`, `"top/d/e/f" 1 1`, `"top/d/g" 1 1`, `"top/last" 2 0`, `"top/last/x" 1 1`, `"top/\xff" 1 1`,
		}
		for _, dry := range []bool{true, false} {
			spec.DryRun = dry
			got, o := extras(t, v, spec, src)
			if !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) || o.err != nil {
				t.Errorf("dry run %t: %v\n%s\nwant\n%s", dry, o.err, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if i, j := slices.Index(got, want[2]), slices.Index(got, want[4]); i > j {
				t.Error("a directory comes after what is in it")
			}
		}
		// What is extra is removed before the end: the times are right nevertheless.
		spec.Extra = func(p Path, kind Kind, _ int64) {
			if err := v.Remove(p, true, true); err != nil {
				t.Error(err)
			}
		}
		src = source{"m": file("m"), "b/x": file("22"), "d": dir()}
		mustSend(t, v, spec, src)
		wantTree(t, d.fs, "top", src)
	})
}

// In the root itself our own state is not told, and a backup directory neither.
func TestExtraNamesOfTheRoot(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		v := d.View("alice", All)
		must(t, d.fs.Mkdir(".xfer", 0o700))
		must(t, d.fs.Symlink(".", "self"))
		mustSend(t, v, TreeSpec{}, source{"a": file("1"), "bak/old/x": file("x"), "bak/y": file("y"), "c/.xfer": file("anybody's")})
		got, o := extras(t, v, TreeSpec{Backup: mustPath(t, "bak", "old")}, source{"c": dir(), "self": dir()})
		must(t, o.err)
		if want := []string{`"a" 1 1`, `"c/.xfer" 1 9`}; !slices.Equal(got, want) {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

// A directory that cannot be listed: the rest is told, and Finish says that not all was.
func TestExtraNamesThatCannotBeSeen(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{})
	v := d.View("alice", All)
	spec := TreeSpec{Path: mustPath(t, "top")}
	mustSend(t, v, spec, source{"a/x": file("1"), "b/x": file("2"), "c": file("3")})
	f.CountReads(true)
	f.SetHook(func(_ int, op, name string) error {
		if op == "readdir" && strings.HasPrefix(name, "top/a") {
			return syscall.EACCES
		}
		return nil
	})
	got, o := extras(t, v, spec, source{"new": file("n")})
	if want := []string{`"top/a" 2 0`, `"top/b" 2 0`, `"top/b/x" 1 1`, `"top/c" 1 1`}; !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if !errors.Is(o.err, syscall.EACCES) || o.published["new"] != nil {
		t.Errorf("%v, %v", o.err, o.published)
	}
	f.ClearFaults()
	wantContent(t, d, "top/new", []byte("n"))
}

// A directory of very many names costs little more than its names.
func TestExtraNamesOfALargeDirectory(t *testing.T) {
	d := openDir(t, t.TempDir(), Options{})
	must(t, d.fs.Mkdir("top", 0o755))
	const n = 20_000
	for i := range n {
		must(t, d.fs.Symlink("x", fmt.Sprintf("top/%05d", i)))
	}
	top := must2(d.fs.OpenRoot("top"))
	defer top.Close()
	names := must2(listNames(context.Background(), top, false))
	size := 8 * cap(names.refs)
	for _, b := range names.blocks {
		size += cap(b)
	}
	if len(names.refs) != n || size > 24*n+1<<nameBlock {
		t.Errorf("%d names take %d bytes", len(names.refs), size)
	}
	count := 0
	o := send(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top"), Extra: func(Path, Kind, int64) { count++ }}, source{"10000": symlink("x"), "99999": symlink("x")})
	if o.err != nil || count != n-1 {
		t.Errorf("%d extra names, %v", count, o.err)
	}
}

// Long names are copied once: a list that grew as a whole would take several times its size for a while.
func TestExtraNamesAreCopiedOnce(t *testing.T) {
	const n, length = 100_000, 200
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	names := new(nameList)
	name := []byte(strings.Repeat("x", length))
	for i := range n {
		copy(name, fmt.Sprintf("%06d", n-i))
		names.add(string(name))
	}
	names.sort()
	runtime.ReadMemStats(&after)
	if made := int64(after.TotalAlloc - before.TotalAlloc); made > 3*n*length { // a string each, the list, and what its numbers took as they grew
		t.Errorf("%d bytes of names took %d", n*length, made)
	}
	for i := range n {
		if got := string(names.at(i)); got[:6] != fmt.Sprintf("%06d", i+1) || len(got) != length {
			t.Fatalf("name %d is %q", i, got)
		}
	}
}

func TestBackupDirectory(t *testing.T) {
	for _, at := range []string{"kept", "top/.kept/deep"} {
		overBoth(t, func(t *testing.T, d *Dir) {
			v := d.View("alice", All)
			spec := TreeSpec{Path: mustPath(t, "top"), Backup: mustPath(t, strings.Split(at, "/")...)}
			old := source{"a": file("a1"), "d/b": file("b1"), "l": symlink("l1"), "tolink": file("t1"), "same": file("s"), "h": file("h1"), "d/n/e": file("e1")}
			mustSend(t, v, spec, old)
			if _, err := d.fs.Lstat(at); err == nil {
				t.Fatal("made before there is anything to keep")
			}
			later := noon.AddDate(1, 0, 0)
			src := source{
				"a": file("a2").at(later), "d/b": file("b2").at(later), "l": symlink("l2"), "tolink": symlink("t2"), "same": file("s"), "h": hardlink("a").at(later),
				"d/n/e": file("e2").at(later), "new": file("n"),
			}
			mustSend(t, v, spec, src)
			for p, want := range map[string]string{"a": "a1", "d/b": "b1", "tolink": "t1", "h": "h1", "d/n/e": "e1"} {
				wantContent(t, d, at+"/"+p, []byte(want))
				fi := must2(d.fs.Lstat(at + "/" + p))
				if !fi.ModTime().Equal(noon) {
					t.Errorf("%s has lost its time: %v", p, fi.ModTime())
				}
			}
			if got := must2(d.fs.Readlink(at + "/l")); got != "l1" {
				t.Errorf("kept a link to %q", got)
			}
			if n := len(snapshot(t, d.fs, at)); n != 6+3 {
				t.Errorf("%d names are kept", n)
			}
			if !strings.HasPrefix(at, "top") {
				wantTree(t, d.fs, "top", src)
			}
			// The next run keeps the next state, in place of the older one.
			src["a"] = file("a3").at(later.AddDate(1, 0, 0))
			mustSend(t, v, spec, src)
			wantContent(t, d, at+"/a", []byte("a2"))
			wantContent(t, d, "top/a", []byte("a3"))
			wantContent(t, d, at+"/d/b", []byte("b1"))
		})
	}
}

// What cannot be kept is not replaced; the other files are.
func TestBackupThatFails(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		v := d.View("alice", All)
		spec := TreeSpec{Path: mustPath(t, "top"), Backup: mustPath(t, "kept")}
		mustSend(t, v, spec, source{"a": file("1"), "b": file("1"), "l": symlink("1"), "z": file("1")})
		must(t, durable.MkdirAll(d.fs, "kept/a/x", 0o755))
		must(t, durable.MkdirAll(d.fs, "kept/l/x", 0o755))
		must(t, durable.MkdirAll(d.fs, "kept/z/x", 0o755))
		o := send(t, v, spec, source{"a": file("22"), "b": file("22"), "l": symlink("2"), "z": hardlink("b")})
		must(t, o.err)
		if !errors.Is(o.published["a"], ErrIsDir) || o.published["b"] != nil || !errors.Is(o.verdicts["l"].Err, ErrIsDir) || !errors.Is(o.published["z"], ErrIsDir) {
			t.Errorf("%v, %v", o.published, o.verdicts["l"])
		}
		wantContent(t, d, "top/a", []byte("1"))
		wantContent(t, d, "top/b", []byte("22"))
		wantContent(t, d, "kept/b", []byte("1"))
		wantContent(t, d, "top/z", []byte("1"))
		if got := must2(d.fs.Readlink("top/l")); got != "1" {
			t.Errorf("the link was replaced: %q", got)
		}
	})
}

func TestHardLinks(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		v := d.View("alice", All)
		spec := TreeSpec{Path: mustPath(t, "top")}
		mustSend(t, v, spec, source{"a": file("old"), "b": file("alone"), "c": symlink("x"), "d": dir(), "w": file("w")})
		src := source{"a": file("new!"), "b": hardlink("a"), "c": hardlink("a"), "e/f/g": hardlink("a"), "d": hardlink("a"), "w": file("w"), "z": hardlink("w")}
		o := send(t, v, spec, src)
		must(t, o.err)
		if v := o.verdicts["d"]; v.Code != VerdictFailed || !errors.Is(v.Err, ErrIsDir) {
			t.Error(v)
		}
		if o.result.Linked != 4 || o.result.Failed != 1 {
			t.Errorf("%+v", o.result)
		}
		src["d"] = dir()
		wantTree(t, d.fs, "top", src)
		before := snapshot(t, d.fs, "top")
		mustSend(t, v, spec, src)
		if after := snapshot(t, d.fs, "top"); !maps.Equal(before, after) {
			t.Errorf("changed %v", differ(before, after))
		}
		// A file that has changed takes its names along.
		src["a"] = file("newer").at(noon.AddDate(1, 0, 0))
		for _, p := range []string{"b", "c", "e/f/g"} {
			src[p] = hardlink("a").at(noon.AddDate(1, 0, 0))
		}
		mustSend(t, v, spec, src)
		wantTree(t, d.fs, "top", src)
	})
}

// Links to entries that do not come fail; those to entries that are no files, or are not said to have links, are files of their own.
func TestHardLinksToNoSuchFile(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	told := map[uint64]error{}
	tree := must2(d.View("alice", All).BeginTree(context.Background(), TreeSpec{Path: mustPath(t, "top"), Published: func(no uint64, err error) { told[no] = err }}))
	defer tree.Close()
	codes := []VerdictCode{VerdictMade, VerdictMade, VerdictNew, VerdictNew, VerdictMade, VerdictNew, VerdictLinked, VerdictNew, VerdictNew, VerdictFailed, VerdictFailed}
	for i, e := range []TreeEntry{
		{Kind: Directory},
		{Kind: Directory, Name: "d"},
		{Kind: File, Name: "f", Up: 1, Shared: true},
		{Kind: File, Name: "g"}, // it does not say that it is shared
		{Kind: Link, Name: "l", Target: "f"},
		{Kind: File, Name: "to a directory", Link: 1},
		{Kind: File, Name: "to one that does not come", Link: 2},
		{Kind: File, Name: "to one that is not remembered", Link: 3},
		{Kind: File, Name: "to z a link", Link: 4},
		{Kind: File, Name: "to zz itself", Link: 9},
		{Kind: File, Name: "to zzz later", Link: 99},
	} {
		e.No = uint64(i)
		if e.Name == "to one that does not come" || e.Name == "to one that is not remembered" {
			e.Name = "to " + e.Name
		}
		if i == 5 {
			e.Name = "to a directory"
		}
		if v := tree.Take(e); v.Code != codes[i] {
			t.Errorf("entry %d, %q: %v, want code %d", i, e.Name, v, codes[i])
		}
	}
	must(t, tree.Put(3, nil, digest(nil), nil))
	tree.Drop(2)
	if _, err := tree.Finish(context.Background()); err != nil {
		t.Fatal(err)
	}
	if told[6] == nil || told[5] != nil || told[7] != nil || told[8] != nil {
		t.Errorf("told %v", told)
	}
	if r := tree.Result(); r.Linked != 0 || r.Missing != 3 {
		t.Errorf("%+v", r)
	}
	if names := must2(d.fs.ReadDir("top")); len(names) != 3 {
		t.Error(names)
	}
}
