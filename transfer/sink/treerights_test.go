package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// Guards: tree.go "noReplace:", treemeta.go same, treetakedir.go found and isClosed, treesymlink.go linkThere, treelinks.go
// makeLink, treepublish.go placeFrom "replace".
func TestI11ATreeOfWhoMayOnlyAppendReplacesNothing(t *testing.T) {
	there := source{
		"same": file("same"), "mode": file("mode").with(0o600), "time": file("time"), "other": file("oooo"), "size": file("size"),
		"link": symlink("a"), "tolink": file("x"), "samelink": symlink("b"), "linktime": symlink("c"), "d": dir().with(0o700), "d/f": file("f"),
		"closed": dir().with(0o500), "hard": file("not the link"), "kept": file("same"), "emptyfile": file("").at(noon.Add(-time.Hour)),
	}
	later := noon.Add(time.Hour)
	src := source{
		"same": file("same"), "mode": file("mode").with(0o755), "time": file("time").at(later), "other": file("xxxx").at(later), "size": file("longer"),
		"link": symlink("z"), "tolink": symlink("z"), "samelink": symlink("b"), "linktime": symlink("c").at(later), "d": dir().with(0o777).at(later),
		"d/f": file("f"), "d/new": file("new"), "d/sub/g": file("g"), "newlink": symlink("n"), "closed": dir().with(0o755).at(later), "closed/new": file("c"),
		"emptyfile": file(""), "a/first": file("same"), "hard": hardlink("a/first"), "kept": hardlink("a/first"), "z": hardlink("a/first"),
	}
	for name, c := range map[string]struct {
		rights Rights
		spec   TreeSpec
		want   map[string]VerdictCode // where it differs
	}{
		"append":               {appendOnly, TreeSpec{}, nil},
		"append, may not read": {appendOnly &^ Get, TreeSpec{}, map[string]VerdictCode{"time": VerdictNew, "other": VerdictNew}},
		"append, by content":   {appendOnly, TreeSpec{Compare: ByContent}, nil},
		"write-only": {writeOnly, TreeSpec{}, map[string]VerdictCode{
			"": VerdictMade, "d": VerdictMade, "closed": VerdictMade, "samelink": VerdictMade, "linktime": VerdictMade,
			"same": VerdictNew, "mode": VerdictNew, "time": VerdictNew, "other": VerdictNew, "size": VerdictNew, "d/f": VerdictNew, "emptyfile": VerdictNew,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, d *Dir) {
				spec := c.spec
				spec.Path = mustPath(t, "top")
				mustSend(t, d.View("bob", All), TreeSpec{Path: spec.Path}, there)
				before := snapshot(t, d.fs, "top")
				s := begin(t, d.View("alice", c.rights), spec, src)
				s.take()
				if fi := must2(d.fs.Lstat("top/closed")); fi.Mode().Perm() != 0o500 {
					t.Errorf("a directory of somebody else was opened for writing: %v", fi.Mode())
				}
				s.put()
				o := s.finish()
				must(t, o.err)
				want := map[string]VerdictCode{
					"": VerdictSame, "same": VerdictSame, "mode": VerdictSame, "time": VerdictSame, "other": VerdictFailed, "size": VerdictFailed,
					"link": VerdictFailed, "tolink": VerdictFailed, "samelink": VerdictSame, "linktime": VerdictSame, "d": VerdictSame, "d/f": VerdictSame,
					"d/new": VerdictNew, "closed/new": VerdictNew, "d/sub": VerdictMade, "d/sub/g": VerdictNew, "newlink": VerdictMade, "closed": VerdictSame, "emptyfile": VerdictSame,
					"a": VerdictMade, "a/first": VerdictNew, "hard": VerdictLinked, "kept": VerdictLinked, "z": VerdictLinked,
				}
				maps.Copy(want, c.want)
				wantVerdicts(t, o, want)
				for _, p := range []string{"other", "size", "link", "tolink", "hard"} {
					err := o.published[p]
					if v := o.verdicts[p]; v.Code == VerdictFailed {
						err = v.Err
					}
					if !errors.Is(err, fs.ErrExist) {
						t.Errorf("%q: %v, want fs.ErrExist", p, err)
					}
				}
				for _, p := range []string{"same", "mode", "time", "d/f", "emptyfile", "kept"} { // the same content is success
					if err := o.published[p]; err != nil {
						t.Errorf("%q: %v", p, err)
					}
				}
				after := snapshot(t, d.fs, "top")
				for p := range before {
					now, old := after[p], before[p]
					if p == "top" || p == "top/d" || p == "top/closed" { // there are new names in them
						now, old = now[:10], old[:10]
					}
					if now != old {
						t.Errorf("%q: %s, was %s", p, now, old)
					}
				}
				wantContent(t, d, "top/d/sub/g", []byte("g"))
				wantContent(t, d, "top/d/new", []byte("new"))
			})
		})
	}
}

// What a write-only client is answered does not tell what is there.
func TestWriteOnlyTreesLearnNothing(t *testing.T) {
	src := source{"f": file("same"), "d/g": file("gg"), "d/e": dir(), "l": symlink("x"), "h": file(""), "z": hardlink("f")}
	other := source{"f": file("other"), "d": dir().with(0o700), "d/g": file("xx"), "h": file("longer").at(noon.Add(time.Hour)), "z": symlink("q"), "more": file("m")}
	for _, spec := range []TreeSpec{{}, {Compare: ByContent}, {Update: true}, {IgnoreExisting: true}, {NoClobber: true}} {
		var all []string
		for _, there := range []source{nil, src, other} {
			d := mustOpen(t, crashfs.New(1), Options{})
			spec.Path = mustPath(t, "top")
			if there != nil {
				mustSend(t, d.View("bob", All), TreeSpec{Path: spec.Path}, there)
			}
			s := begin(t, d.View("alice", writeOnly), spec, src)
			s.take()
			var b []byte
			for _, e := range s.es {
				v := s.verdicts[s.paths[e.No]]
				b = fmt.Appendf(b, "%q %d %v\n", s.paths[e.No], v.Code, v.Err)
			}
			all = append(all, string(b))
			must(t, s.tree.Close())
		}
		if all[0] != all[1] || all[0] != all[2] {
			t.Errorf("%+v: with nothing there\n%s\nwith the same\n%s\nwith something else\n%s", spec, all[0], all[1], all[2])
		}
	}
	// Of a conflict it learns that there is one, and not what.
	d := mustOpen(t, crashfs.New(1), Options{})
	p := mustPath(t, "top")
	mustSend(t, d.View("bob", All), TreeSpec{Path: p}, source{"f": dir(), "d": file("f"), "e": symlink("nowhere"), "l": dir(), "z": dir(), "o": symlink("/")})
	o := send(t, d.View("alice", writeOnly), TreeSpec{Path: p}, source{"f": file("1"), "d/x": file("2"), "e/x": file("3"), "l": symlink("y"), "z": hardlink("f"), "o/x": file("4")})
	must(t, o.err)
	var told []string
	for _, name := range []string{"f", "d", "e", "l", "o"} {
		err := o.published[name]
		if v := o.verdicts[name]; v.Code == VerdictFailed {
			err = v.Err
		}
		told = append(told, fmt.Sprint(err))
	}
	if len(slices.Compact(told)) != 1 || told[0] == "<nil>" {
		t.Errorf("it was told %q", told)
	}
}

// A file appears at the last moment.
func TestI11AFileThatAppearsBeforeTheRename(t *testing.T) {
	for name, c := range map[string]struct {
		rights Rights
		spec   TreeSpec
		late   string
		want   error
	}{
		"another":              {appendOnly, TreeSpec{}, "other", fs.ErrExist},
		"the same":             {appendOnly, TreeSpec{}, "mine!", nil},
		"write-only":           {writeOnly, TreeSpec{}, "other", fs.ErrExist},
		"no clobber":           {All, TreeSpec{NoClobber: true}, "other", fs.ErrExist},
		"ignore existing":      {All, TreeSpec{IgnoreExisting: true}, "other", fs.ErrExist},
		"with all rights":      {All, TreeSpec{}, "other", nil},
		"with a backup":        {All, TreeSpec{Backup: Path{parts: []string{"old"}}}, "other", nil},
		"the same, no clobber": {All, TreeSpec{NoClobber: true}, "mine!", nil},
	} {
		t.Run(name, func(t *testing.T) {
			f := crashfs.New(1)
			w := &seam{FS: f}
			d := mustOpen(t, w, Options{})
			spec := c.spec
			spec.Path = mustPath(t, "top")
			once := sync.OnceFunc(func() { must(t, durable.WriteFile(f, "top/f", []byte(c.late), 0o600)) })
			w.hook = func(op, name, to string) error {
				if op == "rename" && to == "top/f" {
					once()
				}
				return nil
			}
			o := send(t, d.View("alice", c.rights), spec, source{"f": file("mine!")})
			must(t, o.err)
			if !errors.Is(o.published["f"], c.want) {
				t.Fatalf("%v, want %v", o.published["f"], c.want)
			}
			want := c.late
			if c.rights == All && !spec.NoClobber && !spec.IgnoreExisting {
				want = "mine!"
			}
			wantContent(t, d, "top/f", []byte(want))
			if spec.Backup.parts != nil {
				wantContent(t, d, "old/f", []byte(c.late))
			}
		})
	}
}

// Another program makes files all the time; what it has made first stays.
func TestI11ARacingWriter(t *testing.T) {
	d := openDir(t, t.TempDir(), Options{})
	must(t, d.fs.Mkdir("top", 0o755))
	src := source{}
	for i := range 300 {
		src[fmt.Sprintf("f%03d", i)] = file("of the tree")
	}
	s := begin(t, d.View("alice", appendOnly), TreeSpec{Path: mustPath(t, "top")}, src)
	s.take()
	var wg sync.WaitGroup
	theirs := map[string]bool{}
	wg.Go(func() {
		for i := 299; i >= 0; i-- {
			name := fmt.Sprintf("f%03d", i)
			if err := durable.WriteFile(d.fs, "temp", []byte("of the other"), 0o644); err != nil {
				t.Error(err)
			}
			if d.fs.RenameNoReplace("temp", "top/"+name) == nil {
				theirs[name] = true
			}
		}
	})
	s.put()
	wg.Wait()
	o := s.finish()
	must(t, o.err)
	for name := range src {
		want := "of the tree"
		if theirs[name] {
			want = "of the other"
		}
		if theirs[name] != errors.Is(o.published[name], fs.ErrExist) {
			t.Errorf("%s: theirs %t, told %v", name, theirs[name], o.published[name])
		}
		wantContent(t, d, "top/"+name, []byte(want))
	}
}

// Directories that a principal has made it may still give their mode, in a later tree too; others not.
func TestOwnDirectoriesOfWhoMayOnlyAppend(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		spec := TreeSpec{Path: mustPath(t, "top")}
		src := source{"d": dir().with(0o500), "d/f": file("f"), "e/g": file("g")}
		v := d.View("alice", appendOnly)
		s := begin(t, v, spec, src)
		s.take()
		must(t, s.tree.Close()) // the connection is lost
		if fi := must2(d.fs.Lstat("top/d")); fi.Mode().Perm() != 0o700 {
			t.Fatal(fi.Mode())
		}
		o := mustSend(t, v, spec, src)
		wantTree(t, d.fs, "top", src)
		if o.result.Meta != 3 { // the top, d and e
			t.Errorf("%+v", o.result)
		}
		o = mustSend(t, d.View("eve", appendOnly), spec, source{"": dir().with(0o711), "d": dir().with(0o711), "e": dir().with(0o711)})
		if o.result.Same != 3 {
			t.Errorf("%+v", o.result)
		}
		wantTree(t, d.fs, "top", src)
	})
}

// Who may put but not make directories gets those that its files need, and no others.
func TestTreeWithoutTheRightToMakeDirectories(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		v := d.View("alice", All&^RMkdir)
		src := source{"a/b/c/f": file("f"), "empty/sub": dir(), "l/x": symlink("y"), "z/h": hardlink("a/b/c/f")}
		o := send(t, v, TreeSpec{Path: mustPath(t, "over", "top")}, src)
		must(t, o.err)
		for _, p := range []string{"empty", "empty/sub"} {
			if !errors.Is(o.published[p], ErrDenied) {
				t.Errorf("%q: %v", p, o.published[p])
			}
		}
		if len(o.published) != 4 || o.result.Failed != 2 || o.result.Made != 7 {
			t.Errorf("%v, %+v", o.published, o.result)
		}
		delete(src, "empty/sub")
		wantTree(t, d.fs, "over/top", src)
		o = send(t, v, TreeSpec{Path: mustPath(t, "nothing")}, source{"d/e": dir()})
		if _, err := d.fs.Lstat("nothing"); !errors.Is(err, fs.ErrNotExist) || o.result.Failed != 3 {
			t.Errorf("%v, %+v", err, o.result)
		}
	})
}
