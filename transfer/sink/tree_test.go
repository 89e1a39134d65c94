package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

func sampleTree() source {
	long := strings.Repeat("n", 255)
	return source{
		"":                   dir().with(0o750),
		"a":                  file("hello"),
		"dir/b":              file(strings.Repeat("x", 100_000)).with(0o600),
		"dir/deep/er/c":      file(""),
		"dir/deep.":          file("sorts behind deep/..."),
		"empty":              dir().with(0o700),
		"read-only":          dir().with(0o555),
		"read-only/x":        file("x").with(0o444),
		"l":                  symlink("dir/b"),
		"dangling":           symlink("/nowhere"),
		"m":                  hardlink("a"),
		"n/o":                hardlink("a"),
		"n/\xff\xfe":         file("odd name"),
		"n/new\nline":        file("odd name"),
		long + "/" + long:    file("long").at(noon.AddDate(-60, 0, 0)),
		"dir/deep/er/script": file("#!").with(0o755).at(noon.Add(time.Hour)),
	}
}

func TestTreeArrives(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		for _, top := range []string{"top", "over/there", "."} {
			p := Path{}
			if top != "." {
				p = mustPath(t, strings.Split(top, "/")...)
			}
			src := sampleTree()
			o := mustSend(t, d.View("alice", All), TreeSpec{Path: p}, src)
			if top == "." {
				continue // the others are in it
			}
			wantTree(t, d.fs, top, src)
			r := o.result
			if r.Published != 9 || r.Linked != 2 || r.Made != 10 || r.Failed+r.Missing+r.Same+r.Meta != 0 {
				t.Errorf("counts %+v", r)
			}
			if len(o.published) != 11 {
				t.Errorf("told of %d files", len(o.published))
			}
		}
	})
}

// Nothing has changed: nothing is written, not even a directory of ours.
func TestTreeAgainChangesNothing(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		src := sampleTree()
		v := d.View("alice", All)
		for _, how := range []TreeCompare{ByTime, ByContent} {
			spec := TreeSpec{Path: mustPath(t, "top"), Compare: how}
			mustSend(t, v, spec, src)
			where := "."
			if d.trees.spool < 100 { // a list goes to the disk
				where = "top"
			}
			before := snapshot(t, d.fs, where)
			o := mustSend(t, v, spec, src)
			if after := snapshot(t, d.fs, where); !maps.Equal(before, after) {
				t.Errorf("changed: %v", differ(before, after))
			}
			if len(o.published) != 0 || o.result.Same != uint64(len(o.verdicts)) || o.result.Linked != 0 || o.result.Published+o.result.Meta+o.result.Made != 0 {
				t.Errorf("counts %+v", o.result)
			}
		}
	})
}

func TestTreeOfChanges(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		v := d.View("alice", All)
		spec := TreeSpec{Path: mustPath(t, "top")}
		later := noon.Add(time.Minute)
		mustSend(t, v, spec, source{
			"size": file("1"), "time": file("2"), "mode": file("3"), "same": file("4"), "link": symlink("x"), "linktime": symlink("y"),
			"tofile": symlink("z"), "tolink": file("5"), "empty": file(""), "d/mode": dir(), "d/time": dir(), "d/f": file("6"),
		})
		src := source{
			"size": file("longer"), "time": file("b").at(later), "mode": file("3").with(0o600), "same": file("4"), "link": symlink("other"),
			"linktime": symlink("y").at(later), "tofile": file("f"), "tolink": symlink("l"), "empty": file("").at(later),
			"d/mode": dir().with(0o711), "d/time": dir().at(later), "d/f": file("6"), "d/new": file("7"), "d/dir": dir(),
		}
		o := mustSend(t, v, spec, src)
		wantTree(t, d.fs, "top", src)
		want := map[string]VerdictCode{
			"": VerdictSame, "size": VerdictUpdate, "time": VerdictUpdate, "mode": VerdictMeta, "same": VerdictSame, "link": VerdictMade,
			"linktime": VerdictMeta, "tofile": VerdictUpdate, "tolink": VerdictMade, "empty": VerdictMeta, "d": VerdictSame,
			"d/mode": VerdictMeta, "d/time": VerdictMeta, "d/f": VerdictSame, "d/new": VerdictNew, "d/dir": VerdictMade,
		}
		wantVerdicts(t, o, want)
		if got := len(must2(d.fs.ReadDir("top"))); got != 10 {
			t.Errorf("%d names in the top", got)
		}
	})
}

func must2[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func wantVerdicts(t testing.TB, o outcome, want map[string]VerdictCode) {
	t.Helper()
	got := map[string]VerdictCode{}
	for p, v := range o.verdicts {
		got[p] = v.Code
	}
	if !maps.Equal(got, want) {
		for _, p := range slices.Sorted(maps.Keys(got)) {
			if got[p] != want[p] {
				t.Errorf("%q: verdict %d (%v), want %d", p, got[p], o.verdicts[p].Err, want[p])
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d verdicts, want %d", len(got), len(want))
		}
	}
}

func TestTreeRules(t *testing.T) {
	later, earlier := noon.Add(time.Hour), noon.Add(-time.Hour)
	there := source{
		"old": file("xx").at(earlier), "new": file("xx").at(later), "size": file("longer"), "same": file("zz"), "link": symlink("a"),
		"samelink": symlink("b"), "d/f": file("f"), "type": symlink("c"),
	}
	src := source{
		"old": file("yy"), "new": file("yy"), "size": file("s"), "same": file("zz"), "link": symlink("other"), "samelink": symlink("b"),
		"d/f": file("f"), "type": file("f"), "missing": file("m"), "missinglink": symlink("m"), "e/f": file("f"), "d/g/h": file("h"),
		"zhard": hardlink("missing"),
	}
	all := func(over map[string]VerdictCode) map[string]VerdictCode {
		w := map[string]VerdictCode{
			"": VerdictSame, "d": VerdictSame, "old": VerdictUpdate, "new": VerdictUpdate, "size": VerdictUpdate, "same": VerdictSame, "link": VerdictUpdate,
			"samelink": VerdictSame, "d/f": VerdictSame, "type": VerdictUpdate, "missing": VerdictNew, "missinglink": VerdictMade, "e": VerdictMade,
			"e/f": VerdictNew, "d/g": VerdictMade, "d/g/h": VerdictNew, "zhard": VerdictLinked,
		}
		maps.Copy(w, over)
		return w
	}
	for name, c := range map[string]struct {
		spec TreeSpec
		want map[string]VerdictCode
	}{
		"none":   {TreeSpec{}, all(nil)},
		"update": {TreeSpec{Update: true}, all(map[string]VerdictCode{"new": VerdictSkip})},
		"ignore existing": {TreeSpec{IgnoreExisting: true}, all(map[string]VerdictCode{
			"old": VerdictSkip, "new": VerdictSkip, "size": VerdictSkip, "same": VerdictSkip, "link": VerdictSkip, "d/f": VerdictSkip, "type": VerdictSkip,
		})},
		"existing": {TreeSpec{Existing: true}, all(map[string]VerdictCode{
			"missing": VerdictSkip, "missinglink": VerdictSkip, "e": VerdictSkip, "e/f": VerdictSkip, "d/g": VerdictSkip, "d/g/h": VerdictSkip, "zhard": VerdictSkip,
		})},
		"no clobber": {TreeSpec{NoClobber: true}, all(map[string]VerdictCode{
			"old": VerdictFailed, "new": VerdictFailed, "size": VerdictFailed, "link": VerdictFailed, "type": VerdictFailed,
		})},
		"by content": {TreeSpec{Compare: ByContent}, all(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, d *Dir) {
				v := d.View("alice", All)
				spec := c.spec
				spec.Path = mustPath(t, "top")
				mustSend(t, v, TreeSpec{Path: spec.Path}, there)
				before := snapshot(t, d.fs, ".")
				spec.DryRun = true
				o := send(t, v, spec, src)
				wantVerdicts(t, o, c.want)
				if after := snapshot(t, d.fs, "."); !maps.Equal(before, after) {
					t.Errorf("a dry run changed %v", differ(before, after))
				}
				if len(o.published) != 0 || o.err != nil {
					t.Errorf("a dry run told of %v, %v", o.published, o.err)
				}
				want := maps.Clone(c.want)
				if want["link"] == VerdictUpdate { // of which a dry run says more
					want["link"] = VerdictMade
				}
				spec.DryRun = false
				wantVerdicts(t, send(t, v, spec, src), want)
			})
		})
	}
}

func TestPutRefusals(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		v := d.View("alice", All)
		src := source{"f": file("hello"), "g": file("other"), "l": symlink("x")}
		s := begin(t, v, TreeSpec{Path: mustPath(t, "top")}, src)
		s.take()
		hello, other := []byte("hello"), []byte("other")
		for name, c := range map[string]struct {
			no   uint64
			data []byte
			root []byte
			want error
		}{
			"unknown entry":   {9, hello, hello, ErrRange},
			"a link":          {3, hello, hello, ErrRange},
			"the top":         {0, hello, hello, ErrRange},
			"another hash":    {1, hello, other, ErrRootMismatch},
			"another size":    {1, []byte("hell"), []byte("hell"), ErrSourceChanged},
			"not the content": {1, other, hello, ErrRootMismatch},
		} {
			if err := s.tree.Put(c.no, c.data, digest(c.root), nil); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
		if v := s.tree.Decide(1, true); v.Code != VerdictFailed || !errors.Is(v.Err, ErrRange) {
			t.Error("decided what was not asked:", v)
		}
		if p, e, ok := s.tree.Path(1); !ok || p.String() != "top/f" || e.Size != 5 || e.Name != "f" {
			t.Error(p, e, ok)
		}
		// The source has changed since: other metadata, another size.
		changed := Meta{Mode: 0o600, HasMode: true, MTime: noon.Add(time.Hour), HasMTime: true}
		must(t, s.tree.Put(1, []byte("hello, world"), digest([]byte("hello, world")), &changed))
		if err := s.tree.Put(1, hello, digest(hello), nil); !errors.Is(err, ErrRange) {
			t.Error("put twice:", err)
		}
		s.tree.Drop(1) // too late
		s.tree.Arrived(2, 5, crypto.Digest{})
		if _, _, ok := s.tree.Path(2); ok {
			t.Error("a dropped entry is wanted")
		}
		s.tree.Arrived(2, 0, crypto.Digest{})
		o := s.finish()
		must(t, o.err)
		if r := o.result; r.Published != 2 || r.PublishedBytes != 12+5 || r.Failed != 0 || r.Missing != 0 {
			t.Errorf("counts %+v", r)
		}
		wantContent(t, d, "top/f", []byte("hello, world"))
		fi := must2(d.fs.Lstat("top/f"))
		if fi.Mode() != 0o600 || !fi.ModTime().Equal(changed.MTime) {
			t.Error(fi.Mode(), fi.ModTime())
		}
		for _, err := range []error{s.tree.Put(1, hello, digest(hello), nil), must1(s.tree.Finish(context.Background())), s.tree.Take(TreeEntry{No: 5, Up: 0, Name: "z", Kind: File}).Err, s.tree.Wait(context.Background())} {
			if !errors.Is(err, ErrClosed) {
				t.Error("after the end:", err)
			}
		}
	})
}

func must1[T any](_ T, err error) error { return err }

// What did not come is missing, and everything else is there.
func TestTreeThatIsNotComplete(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		s := begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, source{"d/f": file("1"), "d/g": file("2"), "h": hardlink("d/f")})
		s.take()
		must(t, s.tree.Put(3, []byte("2"), digest([]byte("2")), nil))
		o := s.finish()
		must(t, o.err)
		if r := o.result; r.Missing != 1 || r.Published != 1 || r.Failed != 1 || r.Linked != 0 {
			t.Errorf("counts %+v", r)
		}
		if !errors.Is(o.published["h"], fs.ErrNotExist) {
			t.Errorf("a link to what did not come: %v", o.published["h"])
		}
		wantTree(t, d.fs, "top", source{"d/g": file("2")})
	})
}

// Close publishes what was Put, and finishes nothing.
func TestCloseOfATreeThatIsNotFinished(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		must(t, durable.MkdirAll(d.fs, "top/closed", 0o755))
		must(t, d.fs.Chmod("top/closed", 0o500))
		s := begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, source{"closed/f": file("1"), "new/g": file("2"), "z": file("3")})
		s.take()
		if fi := must2(d.fs.Lstat("top/closed")); fi.Mode().Perm() != 0o700 {
			t.Error("its owner cannot write into it:", fi.Mode())
		}
		must(t, s.tree.Put(2, []byte("1"), digest([]byte("1")), nil))
		must(t, s.tree.Close())
		must(t, s.tree.Close())
		wantContent(t, d, "top/closed/f", []byte("1"))
		if fi := must2(d.fs.Lstat("top/closed")); fi.Mode().Perm() != 0o500 {
			t.Error("its mode is not what it was:", fi.Mode())
		}
		if fi := must2(d.fs.Lstat("top/new")); fi.ModTime().Equal(noon) {
			t.Error("a directory got its time")
		}
		if err, ok := s.published["closed/f"]; len(s.published) != 1 || !ok || err != nil {
			t.Error("told of", s.published)
		}
		if names, err := d.readNames(treesDir); err != nil || len(names) != 0 {
			t.Error("left:", names, err)
		}
	})
}

// A link to a file that is in the same tree and comes through a stage.
func TestLargeFilesOfATree(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		v := d.View("alice", All)
		big := content(5, 3*chunk18)
		src := source{"d/big": file(string(big)), "d/small": file("s"), "z": hardlink("d/big")}
		s := begin(t, v, TreeSpec{Path: mustPath(t, "top")}, src)
		s.take()
		p, e, ok := s.tree.Path(2)
		if !ok {
			t.Fatal("not wanted")
		}
		sp := specOf(t, big, p.Parts()...)
		sp.Meta = e.Meta
		st, _ := mustBegin(t, v, sp)
		c := commitOf(big)
		c.Meta = &e.Meta
		if _, err := sendAll(st, big, c); err != nil {
			t.Fatal(err)
		}
		s.tree.Arrived(2, int64(len(big)), digest(big))
		must(t, s.tree.Put(3, []byte("s"), digest([]byte("s")), nil))
		o := s.finish()
		must(t, o.err)
		wantTree(t, d.fs, "top", src)
		if r := o.result; r.Published != 2 || r.PublishedBytes != uint64(len(big)+1) || r.Linked != 1 {
			t.Errorf("counts %+v", r)
		}
	})
}

func TestTreesThatAreRefused(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	p := mustPath(t, "top")
	for name, c := range map[string]struct {
		v    *View
		spec TreeSpec
		want error
	}{
		"no right to put":         {d.View("a", All&^Put), TreeSpec{Path: p}, ErrDenied},
		"extra names, no list":    {d.View("a", All&^RList), TreeSpec{Path: p, Extra: func(Path, Kind, int64) {}}, ErrDenied},
		"blind, only what exists": {d.View("a", writeOnly), TreeSpec{Path: p, Existing: true}, ErrDenied},
		"owner":                   {d.View(strings.Repeat("a", 1025), All), TreeSpec{Path: p}, ErrTooBig},
	} {
		if _, err := c.v.BeginTree(context.Background(), c.spec); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, e := range map[string]TreeEntry{
		"a file":   {Kind: File},
		"a name":   {Kind: Directory, Name: "x"},
		"number 1": {No: 1, Kind: Directory},
		"up":       {Up: 1, Kind: Directory},
	} {
		tree := must2(d.View("a", All).BeginTree(context.Background(), TreeSpec{Path: p}))
		if v := tree.Take(e); v.Code != VerdictFailed || !errors.Is(v.Err, ErrRange) {
			t.Errorf("%s as the top: %v", name, v)
		}
		if v := tree.Take(TreeEntry{Kind: Directory}); v.Code != VerdictFailed {
			t.Errorf("%s as the top, then a good one: %v", name, v)
		}
		must(t, tree.Close())
	}
	if names := must2(d.fs.ReadDir(".")); len(names) != 0 {
		t.Error("made:", names)
	}
}

// A cancelled tree takes nothing more and can be closed.
func TestCancelledTree(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(context.Background())
	tree := must2(d.View("a", All).BeginTree(ctx, TreeSpec{Path: mustPath(t, "top")}))
	es := source{"f": file("1"), "g": file("2")}.entries()
	for _, e := range es[:2] {
		tree.Take(e)
	}
	must(t, tree.Put(1, []byte("1"), digest([]byte("1")), nil))
	cancel(why)
	if v := tree.Take(es[2]); !errors.Is(v.Err, why) {
		t.Error(v)
	}
	if _, err := tree.Finish(context.Background()); !errors.Is(err, why) {
		t.Error(err)
	}
	must(t, tree.Close())
	wantContent(t, d, "top/f", []byte("1"))
}

// Every file that is there as the manifest says is told with its hash: put, compared, empty, arrived by itself, and hard links.
func TestFilesThatAreThereAreTold(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		src := source{
			"a": file("one"), "d/b": file("two"), "d/link": hardlink("a"), "empty": file(""), "gone": file("three"), "z": file("large"),
		}
		told := map[string]string{}
		var mu sync.Mutex
		spec := TreeSpec{Path: mustPath(t, "top"), Compare: ByContent, There: func(path string, size int64, root crypto.Digest) {
			mu.Lock()
			defer mu.Unlock()
			if told[path] != "" {
				t.Errorf("%s is told twice", path)
			}
			told[path] = fmt.Sprint(size, " ", root)
		}}
		for range 2 { // the second time all is there already, but one
			clear(told)
			s := begin(t, d.View("alice", All), spec, src)
			s.take()
			for _, e := range s.es {
				no, path := e.No, s.paths[e.No]
				data := []byte(src[path].data)
				if c := s.verdicts[path].Code; c != VerdictNew && c != VerdictUpdate && c != VerdictHash {
					continue
				}
				switch {
				case path == "gone":
					s.tree.Drop(no)
				case path == "z":
					_, _, asked := s.tree.Path(no)
					if asked {
						p, e, _ := s.tree.Path(no)
						sp := specOf(t, data, p.Parts()...)
						sp.Meta = e.Meta
						st, _ := mustBegin(t, d.View("alice", All), sp)
						c := commitOf(data)
						c.Meta = &e.Meta
						if _, err := sendAll(st, data, c); err != nil {
							t.Fatal(err)
						}
						s.tree.Arrived(no, int64(len(data)), digest(data))
						break
					}
					fallthrough
				default:
					if _, _, open := s.tree.Path(no); open {
						must(t, s.tree.Put(no, data, digest(data), nil))
					} else if v := s.tree.Decide(no, false); v.Code != VerdictSame {
						t.Errorf("%s: %+v", path, v)
					}
				}
			}
			must(t, s.finish().err)
			for path, n := range src {
				want := fmt.Sprint(len(n.data), " ", digest([]byte(n.data)))
				switch {
				case n.link != "":
					want = fmt.Sprint(3, " ", digest([]byte("one")))
				case n.kind != File || path == "gone":
					want = ""
				}
				if told[path] != want {
					t.Errorf("%q is told as %q, want %q", path, told[path], want)
				}
			}
		}
	})
}
