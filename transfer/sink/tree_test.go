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
	"syscall"
	"testing"
	"time"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// node is what a test sends under a path.
type node struct {
	kind   Kind
	data   string
	mode   fs.FileMode
	mtime  time.Time
	target string // of a link
	link   string // the path that a file is a hard link to
	sparse bool
}

var noon = time.Date(2020, 2, 2, 12, 0, 0, 123456789, time.UTC)

func file(data string) node      { return node{kind: File, data: data, mode: 0o644, mtime: noon} }
func dir() node                  { return node{kind: Directory, mode: 0o755, mtime: noon} }
func symlink(target string) node { return node{kind: Link, target: target, mode: 0o777, mtime: noon} }
func hardlink(to string) node    { return node{kind: File, link: to, mode: 0o644, mtime: noon} }

func (n node) with(mode fs.FileMode) node { n.mode = mode; return n }
func (n node) at(t time.Time) node        { n.mtime = t; return n }

// source is a tree to be sent, by paths beneath the top. Directories above a path need not be named.
type source map[string]node

// entries makes a manifest of it.
func (s source) entries() []TreeEntry {
	all := maps.Clone(s)
	for p := range s {
		for i, c := range p {
			if c == '/' {
				if _, ok := all[p[:i]]; !ok {
					all[p[:i]] = dir()
				}
			}
		}
	}
	if _, ok := all[""]; !ok {
		all[""] = dir()
	}
	split := func(p string) []string {
		if p == "" {
			return nil
		}
		return strings.Split(p, "/")
	}
	paths := slices.SortedFunc(maps.Keys(all), func(a, b string) int { return slices.Compare(split(a), split(b)) })
	numbers := map[string]uint64{}
	shared := map[string]bool{}
	for i, p := range paths {
		numbers[p] = uint64(i)
		shared[all[p].link] = true
	}
	var es []TreeEntry
	open := 0
	for i, p := range paths {
		n := all[p]
		e := TreeEntry{No: uint64(i), Kind: n.kind, Target: n.target, Sparse: n.sparse, Shared: n.kind == File && shared[p]}
		if n.kind == File {
			e.Size = int64(len(n.data))
		}
		if n.link != "" {
			e.Link, e.Size = numbers[n.link], int64(len(all[n.link].data))
		}
		e.Meta = Meta{Mode: n.mode, HasMode: true, MTime: n.mtime, HasMTime: true}
		depth := 0
		if p != "" {
			parts := split(p)
			depth = len(parts)
			e.Name = parts[depth-1]
			e.Up = open - depth
		}
		open = depth
		if n.kind == Directory {
			open++
		}
		es = append(es, e)
	}
	return es
}

// path returns that of each entry.
func (s source) path(es []TreeEntry) map[uint64]string {
	paths := map[uint64]string{}
	var stack []string
	for _, e := range es {
		if e.No == 0 {
			continue
		}
		stack = stack[:len(stack)-e.Up]
		p := strings.Join(append(slices.Clone(stack), e.Name), "/")
		paths[e.No] = p
		if e.Kind == Directory {
			stack = append(stack, e.Name)
		}
	}
	return paths
}

// outcome is what a tree was answered.
type outcome struct {
	verdicts  map[string]Verdict
	published map[string]error
	result    TreeResult
	err       error // of Finish
}

// sending is a tree on its way, for a test that looks in between.
type sending struct {
	t     testing.TB
	tree  *Tree
	src   source
	es    []TreeEntry
	paths map[uint64]string

	mu sync.Mutex
	outcome
}

func begin(t testing.TB, v *View, spec TreeSpec, src source) *sending {
	t.Helper()
	s := &sending{t: t, src: src, es: src.entries()}
	s.paths = src.path(s.es)
	s.verdicts, s.published = map[string]Verdict{}, map[string]error{}
	inner := spec.Published
	spec.Published = func(no uint64, err error) {
		if inner != nil {
			inner(no, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		p := s.paths[no]
		if _, twice := s.published[p]; twice {
			t.Errorf("%q was told of twice", p)
		}
		s.published[p] = err
	}
	tree, err := v.BeginTree(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	s.tree = tree
	return s
}

// take gives all entries to Take.
func (s *sending) take() {
	for _, e := range s.es {
		v := s.tree.Take(e)
		if v.Code == VerdictHash {
			v = s.tree.Decide(e.No, digest([]byte(s.src[s.paths[e.No]].data)) != v.Root)
		}
		s.verdicts[s.paths[e.No]] = v
	}
}

// wanted are the entries whose content is to be sent.
func (s *sending) wanted() []uint64 {
	var nos []uint64
	for _, e := range s.es {
		if v := s.verdicts[s.paths[e.No]]; v.Code == VerdictNew || v.Code == VerdictUpdate {
			nos = append(nos, e.No)
		}
	}
	return nos
}

func (s *sending) put() {
	for _, no := range s.wanted() {
		data := []byte(s.src[s.paths[no]].data)
		if err := s.tree.Put(no, data, digest(data), nil); err != nil {
			s.mu.Lock()
			s.published[s.paths[no]] = err
			s.mu.Unlock()
			s.tree.Drop(no, false)
		}
	}
}

func (s *sending) finish() outcome {
	s.result, s.err = s.tree.Finish(context.Background())
	if err := s.tree.Close(); err != nil && s.err == nil {
		s.err = err
	}
	return s.outcome
}

// send sends a whole tree.
func send(t testing.TB, v *View, spec TreeSpec, src source) outcome {
	t.Helper()
	s := begin(t, v, spec, src)
	s.take()
	if !spec.DryRun {
		s.put()
	}
	return s.finish()
}

// mustSend is send of a tree in which nothing fails.
func mustSend(t testing.TB, v *View, spec TreeSpec, src source) outcome {
	t.Helper()
	o := send(t, v, spec, src)
	if o.err != nil {
		t.Fatal("finish:", o.err)
	}
	for p, v := range o.verdicts {
		if v.Code == VerdictFailed {
			t.Fatalf("%q failed: %v", p, v.Err)
		}
	}
	for p, err := range o.published {
		if err != nil {
			t.Fatalf("%q is not published: %v", p, err)
		}
	}
	return o
}

// wantTree checks that beneath name there is what src says, and nothing else.
func wantTree(t testing.TB, fsys durable.FS, name string, src source) {
	t.Helper()
	wantTreeBut(t, fsys, name, src, func(Kind) bool { return false })
}

// wantTreeBut is wantTree for a case in which the time of some kinds may be any.
func wantTreeBut(t testing.TB, fsys durable.FS, name string, src source, anyTime func(Kind) bool) {
	t.Helper()
	es := src.entries()
	paths := src.path(es)
	want := map[string]bool{}
	for _, e := range es {
		p := paths[e.No]
		want[p] = true
		at := name
		if p != "" {
			at += "/" + p
		}
		fi, err := fsys.Lstat(at)
		if err != nil {
			t.Errorf("%q: %v", at, err)
			continue
		}
		if !fi.ModTime().Equal(e.Meta.MTime) && !anyTime(e.Kind) {
			t.Errorf("%q: time %v, want %v", at, fi.ModTime(), e.Meta.MTime)
		}
		if e.Kind != Link && e.Meta.Mode != 0 && fi.Mode().Perm() != e.Meta.Mode {
			t.Errorf("%q: mode %v, want %v", at, fi.Mode(), e.Meta.Mode)
		}
		switch e.Kind {
		case File:
			data := src[p].data
			if l := src[p].link; l != "" {
				data = src[l].data
				if other, err := fsys.Lstat(name + "/" + l); err != nil || !durable.SameFile(fi, other) {
					t.Errorf("%q is not the file %q: %v", at, l, err)
				}
			}
			got, err := readAll(fsys, at)
			if err != nil || string(got) != data {
				t.Errorf("%q: %d bytes, %v; want %d", at, len(got), err, len(data))
			}
		case Directory:
			if !fi.IsDir() {
				t.Errorf("%q: %v", at, fi.Mode())
			}
		case Link:
			if got, err := fsys.Readlink(at); err != nil || got != e.Target {
				t.Errorf("%q -> %q, %v", at, got, err)
			}
		}
	}
	for p := range snapshot(t, fsys, name) {
		p = strings.TrimPrefix(strings.TrimPrefix(p, name), "/")
		if !want[p] && !strings.HasPrefix(p, ".xfer") {
			t.Errorf("%q is there", p)
		}
	}
}

// snapshot describes all that is beneath name, by paths: kind, mode, times, inode.
func snapshot(t testing.TB, fsys durable.FS, name string) map[string]string {
	t.Helper()
	all := map[string]string{}
	var walk func(p string)
	walk = func(p string) {
		fi, err := fsys.Lstat(p)
		if err != nil {
			t.Fatal(err)
		}
		id, _ := durable.IDOf(fi)
		all[p] = fmt.Sprintf("%v %d %v %v", fi.Mode(), fi.Size(), fi.ModTime(), id)
		if !fi.IsDir() {
			return
		}
		entries, err := fsys.ReadDir(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if p == "." {
				walk(e.Name())
				continue
			}
			walk(p + "/" + e.Name())
		}
	}
	walk(name)
	return all
}

// differ returns what is not the same in both.
func differ(a, b map[string]string) (names []string) {
	all := maps.Clone(a)
	maps.Copy(all, b)
	for n := range all {
		if a[n] != b[n] {
			names = append(names, fmt.Sprintf("%q: %q, now %q", n, a[n], b[n]))
		}
	}
	return names
}

// overBoth runs a test over the system's file system and over the one in memory, with syncfs and without.
func overBoth(t *testing.T, f func(t *testing.T, d *Dir)) {
	t.Run("os", func(t *testing.T) { f(t, openDir(t, t.TempDir(), Options{})) })
	t.Run("memory", func(t *testing.T) { f(t, mustOpen(t, crashfs.New(1), Options{})) })
	t.Run("memory, no syncfs", func(t *testing.T) {
		fsys := crashfs.New(1)
		fsys.SetSyncFS(false)
		f(t, mustOpen(t, fsys, Options{}))
	})
	// Whatever has a limit reaches it.
	for _, syncs := range []bool{true, false} {
		t.Run(fmt.Sprint("memory, tiny limits, syncfs ", syncs), func(t *testing.T) {
			fsys := crashfs.New(1)
			fsys.SetSyncFS(syncs)
			d := mustOpen(t, fsys, Options{})
			d.trees.spool, d.trees.dirs, d.trees.groupFiles, d.trees.openFiles, d.trees.groupBytes = 10, 1, 2, 1, 1000
			f(t, d)
		})
	}
}

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
			if len(o.published) != 2 || o.result.Same != uint64(len(o.verdicts)-2) || o.result.Linked != 2 || o.result.Published+o.result.Meta+o.result.Made != 0 {
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
			"": VerdictSame, "d": VerdictSame, "old": VerdictUpdate, "new": VerdictUpdate, "size": VerdictUpdate, "same": VerdictSame, "link": VerdictMade,
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
				spec.DryRun = false
				wantVerdicts(t, send(t, v, spec, src), c.want)
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
		s.tree.Drop(1, false) // too late
		s.tree.Drop(2, true)
		if _, _, ok := s.tree.Path(2); ok {
			t.Error("a dropped entry is wanted")
		}
		s.tree.Drop(2, true)
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
		s.tree.Drop(2, true)
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

// bystanders of the process's own state: no tree reaches it, by whatever name or link.
func TestTreeNamesThatAreRefused(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		must(t, d.fs.Mkdir("sub", 0o755))
		must(t, d.fs.Symlink(".", "self"))
		must(t, d.fs.Symlink("../..", "sub/out"))
		must(t, d.fs.Symlink("../.xfer", "sub/state"))
		must(t, d.fs.Symlink("/etc", "sub/abs"))
		must(t, d.fs.Symlink("nowhere", "sub/dangling"))
		must(t, d.fs.Symlink("loop", "sub/loop"))
		v := d.View("alice", All)
		for _, name := range []string{"", ".", "..", "a/b", "nul\x00", strings.Repeat("n", 256), ".xfer", ".XFER", ".xfer-x", ".Xfer-tmp-1"} {
			for _, kind := range []Kind{File, Directory, Link} {
				tree := must2(v.BeginTree(context.Background(), TreeSpec{}))
				tree.Take(TreeEntry{Kind: Directory, NoMeta: true})
				e := TreeEntry{No: 1, Name: name, Kind: kind, Target: "x"}
				if v := tree.Take(e); v.Code != VerdictFailed || !errors.Is(v.Err, ErrBadPath) {
					t.Errorf("%q, kind %d: %v", name, kind, v)
				}
				must(t, tree.Close())
			}
		}
		o := send(t, v, TreeSpec{}, source{
			"self/.xfer": file("x"), "self/.xfer-1/x": file("x"), "self/ok": file("x"), "self/self/.xfer/x": file("x"), "self/sub/.xfer/x": file("x"),
			"sub/out/x": file("x"), "sub/state/x": file("x"), "sub/abs/x": file("x"), "sub/dangling/x": file("x"), "sub/loop/x": file("x"),
		})
		must(t, o.err)
		for p, v := range o.verdicts {
			bad := map[string]error{
				"self/.xfer": ErrBadPath, "self/.xfer-1": ErrBadPath, "self/self/.xfer": ErrBadPath, "sub/out": ErrBadPath, "sub/state": ErrBadPath,
				"sub/abs": ErrBadPath, "sub/dangling": ErrNotDir, "sub/loop": syscall.ELOOP,
			}
			for prefix, want := range bad {
				if p == prefix || strings.HasPrefix(p, prefix+"/") {
					if v.Code != VerdictFailed || !errors.Is(v.Err, want) {
						t.Errorf("%q: %v, want %v", p, v, want)
					}
				}
			}
		}
		if o.result.Published != 2 {
			t.Errorf("%+v", o.result)
		}
		wantContent(t, d, "ok", []byte("x"))
		wantContent(t, d, "sub/.xfer/x", []byte("x")) // not the state of the root
		if got, err := d.fs.Readlink("sub/out"); err != nil || got != "../.." {
			t.Error("a link was changed:", got, err)
		}
	})
}

func TestTreeConflicts(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		v := d.View("alice", All)
		spec := TreeSpec{Path: mustPath(t, "top")}
		mustSend(t, v, spec, source{"file": file("f"), "dir/x": file("x"), "linkdir": symlink("real"), "real/y": file("y"), "good": file("g")})
		before := snapshot(t, d.fs, "top")
		o := send(t, v, spec, source{
			"file/a": file("1"), "file/b/c": file("2"), "dir": file("3"), "linkdir/new": file("4"), "real": symlink("x"), "good": file("gg"),
		})
		must(t, o.err)
		for p, want := range map[string]error{
			"file": ErrNotDir, "file/a": ErrNotDir, "file/b": ErrNotDir, "file/b/c": ErrNotDir, "dir": ErrIsDir, "real": ErrIsDir,
		} {
			if v := o.verdicts[p]; v.Code != VerdictFailed || !errors.Is(v.Err, want) {
				t.Errorf("%q: %v, want %v", p, v, want)
			}
		}
		wantContent(t, d, "top/real/new", []byte("4")) // through a link to a directory within the root
		wantContent(t, d, "top/good", []byte("gg"))
		after := snapshot(t, d.fs, "top")
		for _, p := range []string{"top/file", "top/dir/x", "top/dir", "top/linkdir"} {
			if before[p] != after[p] {
				t.Errorf("%q changed: %s, %s", p, before[p], after[p])
			}
		}
		// The top itself.
		for name, want := range map[string]error{"file": ErrNotDir, "file/x": ErrNotDir} {
			o := send(t, v, TreeSpec{Path: mustPath(t, strings.Split("top/"+name, "/")...)}, source{"a/b": file("1")})
			for p, v := range o.verdicts {
				if v.Code != VerdictFailed || !errors.Is(v.Err, want) {
					t.Errorf("top %q, %q: %v", name, p, v)
				}
			}
		}
	})
}

// A directory that came while the file was on its way is not replaced.
func TestNameThatBecomesADirectory(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		s := begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, source{"f": file("1"), "g": file("2")})
		s.take()
		must(t, d.fs.Mkdir("top/f", 0o755))
		s.put()
		o := s.finish()
		must(t, o.err)
		if !errors.Is(o.published["f"], ErrIsDir) || o.published["g"] != nil {
			t.Error(o.published)
		}
		if names := must2(d.fs.ReadDir("top")); len(names) != 2 {
			t.Error(names)
		}
	})
}

// Everything arrives though the directory, which holds nothing of anybody, is taken away and made anew: what was in it fails.
func TestDirectoryThatIsExchanged(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		d.trees.dirs = 1 // nothing stays open
		s := begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, source{"a/f": file("1"), "b/f": file("2"), "c/f": file("3")})
		s.take()
		must(t, d.fs.Rename("top/a", "gone"))
		must(t, d.fs.Mkdir("other", 0o755))
		must(t, d.fs.Symlink("../other", "top/a"))
		must(t, d.fs.Rename("top/b", "gone2"))
		must(t, d.fs.Mkdir("top/b", 0o755))
		s.put()
		o := s.finish()
		must(t, o.err)
		if o.published["a/f"] == nil || !errors.Is(o.published["b/f"], ErrNotDir) || o.published["c/f"] != nil {
			t.Error(o.published)
		}
		for _, name := range []string{"other", "gone", "gone2", "top/b"} {
			if names := must2(d.fs.ReadDir(name)); len(names) != 0 {
				t.Errorf("%s has %v", name, names)
			}
		}
	})
}

// Few directories are open at a time, in a deep and in a broad tree, and everything arrives.
func TestFewDirectoriesAreOpen(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		d.trees.dirs = 4
		src := source{}
		for i := range 20 {
			p := strings.Repeat("d/", i)
			src[p+"f"] = file(fmt.Sprint("f", i))
			src[fmt.Sprintf("z/%d/f", i)] = file(fmt.Sprint("b", i))
			src[fmt.Sprintf("z/%d/g", i)] = hardlink(p + "f")
		}
		s := begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, src)
		for _, e := range s.es {
			s.verdicts[s.paths[e.No]] = s.tree.Take(e)
			if open := s.tree.cache.open; open > 4 {
				t.Fatalf("%d directories are open", open)
			}
		}
		s.put()
		o := s.finish()
		must(t, o.err)
		if s.tree.cache.open != 0 {
			t.Errorf("%d directories are left open", s.tree.cache.open)
		}
		wantTree(t, d.fs, "top", src)
	})
}

// What is awaited is bounded; room comes when something has come.
func TestRoom(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	d.trees.wanted = 10
	src := source{}
	for i := range 30 {
		src[fmt.Sprintf("d%02d/f", i)] = file("x")
	}
	s := begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, src)
	waited := 0
	var open []uint64
	for _, e := range s.es {
		for s.tree.Room() <= 0 {
			waited++
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if err := s.tree.Wait(ctx); !errors.Is(err, context.Canceled) {
				t.Fatal("there is room:", err)
			}
			got := make(chan error)
			go func() { got <- s.tree.Wait(context.Background()) }()
			s.tree.Drop(open[0], false)
			open = open[1:]
			must(t, <-got)
		}
		v := s.tree.Take(e)
		if v.Code == VerdictFailed {
			t.Fatal(v.Err)
		}
		if v.Code == VerdictNew {
			open = append(open, e.No)
		}
		if n := s.tree.Pending(); n > 10 || n != len(open) {
			t.Fatalf("%d are pending, %d were wanted", n, len(open))
		}
	}
	if waited == 0 {
		t.Error("there was always room")
	}
	must(t, s.tree.Close())
	// Who does not wait is told, and all after it.
	s = begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top2")}, src)
	s.take()
	if v := s.verdicts["d29/f"]; v.Code != VerdictFailed || !errors.Is(v.Err, ErrBusy) {
		t.Error(v)
	}
	must(t, s.tree.Close())
}
