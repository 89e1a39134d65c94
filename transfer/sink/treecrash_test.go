package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// treeStory is a tree that is sent over a bad disk, onto an old state of it.
type treeStory struct {
	name   string
	old    source
	new    source
	spec   TreeSpec
	rights Rights
	syncFS bool
}

func treeStories() []treeStory {
	old := source{
		"changed": file(strings.Repeat("old", 3000)), "same": file("same"), "link": symlink("old"), "d/f": file("old too"), "d": dir().with(0o700),
		"closed": dir().with(0o500), "tolink": file("was a file"), "linked": file("was alone"),
	}
	later := noon.AddDate(1, 0, 0)
	changed := source{
		"": dir().at(later), "changed": file(strings.Repeat("new", 4000)).at(later), "same": file("same"), "link": symlink("new"), "d/f": file("new").at(later),
		"d": dir().with(0o755), "closed": dir().with(0o500), "closed/in": file("in"), "tolink": symlink("t"), "new": file("new"), "deep/er/f": file("deep"),
		"deep/er": dir().with(0o555), "a": file("linked"), "linked": hardlink("a"), "z": hardlink("a"), "empty": file(""),
	}
	var all []treeStory
	for _, syncs := range []bool{true, false} {
		for _, st := range []treeStory{
			{name: "new", new: changed, rights: All},
			{name: "changed", old: old, new: changed, rights: All},
			{name: "backup", old: old, new: changed, rights: All, spec: TreeSpec{Backup: Path{parts: []string{"kept", "here"}}}},
			{name: "backup of files", old: source{"x/f": file("old")}, new: source{"x/f": file("newer")}, rights: All, spec: TreeSpec{Backup: Path{parts: []string{"kept", "here"}}}},
			{name: "directories", new: source{"a/b/c": dir(), "a/d": dir()}, rights: All},
			{name: "append", old: old, new: source{"d/new": file("n"), "e/f": file("f"), "l": symlink("x"), "z": hardlink("e/f"), "same": file("same")}, rights: appendOnly},
		} {
			st.syncFS = syncs
			if !syncs {
				st.name += ", no syncfs"
			}
			st.spec.Path = Path{parts: []string{"over", "top"}}
			all = append(all, st)
		}
	}
	return all
}

func (st *treeStory) disk(t testing.TB, seed uint64) *crashfs.FS {
	t.Helper()
	f := crashfs.New(seed)
	f.SetSyncFS(st.syncFS)
	if st.old == nil {
		return f
	}
	d, err := Open(noClose{f}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	mustSend(t, d.View("bob", All), TreeSpec{Path: st.spec.Path}, st.old)
	if err := errors.Join(d.Close(), f.SyncDir("."), f.SyncDir("over")); err != nil {
		t.Fatal(err)
	}
	return f
}

func (st *treeStory) open(t testing.TB, f *crashfs.FS) *Dir {
	t.Helper()
	d, err := Open(noClose{f}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	d.trees.openFiles, d.trees.groupFiles, d.trees.spool = 3, 3, 40
	return d
}

// try sends the tree once. done says that everything was said to be there, durably.
func (st *treeStory) try(t testing.TB, d *Dir) (done bool, err error) {
	s := begin(quiet{t}, d.View("alice", st.rights), st.spec, st.new)
	s.take()
	s.put()
	o := s.finish()
	for _, v := range o.verdicts {
		if err == nil {
			err = v.Err
		}
	}
	for _, perr := range o.published {
		if err == nil {
			err = perr
		}
	}
	if err == nil {
		err = o.err
	}
	return err == nil && o.result.Failed+o.result.Missing == 0, err
}

// quiet is a testing.TB for a disk that is expected to fail.
type quiet struct{ testing.TB }

// whole is I1 for all names: each has what it had, or what it is to have, and nothing between.
func (st *treeStory) whole(t *testing.T, f *crashfs.FS) {
	t.Helper()
	top := st.spec.Path.String()
	paths := map[string]bool{}
	for _, src := range []source{st.old, st.new} {
		for p, n := range src {
			if n.kind != Directory {
				paths[p] = true
			}
		}
	}
	state := func(src source, p string) string {
		n, ok := src[p]
		switch {
		case !ok:
			return "nothing"
		case n.kind == Link:
			return "link " + n.target
		case n.link != "":
			return "file " + src[n.link].data
		}
		return "file " + n.data
	}
	for p := range paths {
		got := "nothing"
		fi, err := f.Lstat(top + "/" + p)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			t.Fatalf("%q: %v", p, err)
		case fi.Mode()&fs.ModeSymlink != 0:
			target, _ := f.Readlink(top + "/" + p)
			got = "link " + target
		default:
			b, err := readAll(f, top+"/"+p)
			if err != nil {
				t.Fatalf("%q: %v", p, err)
			}
			got = "file " + string(b)
		}
		if before, after := state(st.old, p), state(st.new, p); got != before && got != after {
			t.Fatalf("I1: %q has %.30q (%d bytes), neither %.30q nor %.30q", p, got, len(got), before, after)
		}
		if st.rights == appendOnly && st.old != nil && got != state(st.old, p) && state(st.old, p) != "nothing" {
			t.Fatalf("I11: %q was replaced", p)
		}
	}
	if st.spec.Backup.parts == nil {
		return
	}
	for p, n := range st.old {
		if n.kind != File {
			continue
		}
		here, err1 := readAll(f, top+"/"+p)
		kept, err2 := readAll(f, st.spec.Backup.String()+"/"+p)
		if (err1 != nil || string(here) != n.data) && (err2 != nil || string(kept) != n.data) {
			t.Fatalf("the old %q is lost: %v, %v", p, err1, err2)
		}
	}
}

// check looks at a disk as it was left, and sends the tree again. With done everything has to be there already.
func (st *treeStory) check(t *testing.T, f *crashfs.FS, done bool) {
	t.Helper()
	st.whole(t, f)
	full := st.expected()
	// The time of a link is durable where there is a syncfs, at the end. Who may only append cannot set it again, nor that of
	// a directory that another process has made.
	anyTime := func(k Kind) bool {
		return k == Link && (!st.syncFS || st.rights == appendOnly) || k == Directory && st.rights == appendOnly
	}
	if done {
		wantTreeBut(t, f, st.spec.Path.String(), full, anyTime)
	}
	d := st.open(t, f)
	if ok, err := st.try(t, d); !ok {
		t.Fatal("again:", err)
	}
	wantTreeBut(t, f, st.spec.Path.String(), full, anyTime)
	if names, err := d.readNames(treesDir); err != nil || len(names) > 0 {
		t.Errorf("left behind: %v %v", names, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Lstat(stateDir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the state directory is left:", err)
	}
}

// expected is what is there at the end.
func (st *treeStory) expected() source {
	all := source{}
	for p, n := range st.old {
		all[p] = n
	}
	for p, n := range st.new {
		if n.link != "" && st.rights == appendOnly {
			n = st.new[n.link] // where only one of two names survived they are two files, and stay it
		}
		all[p] = n
	}
	return all
}

func eachTree(t *testing.T, seeds uint64, reads bool, fault func(f *crashfs.FS, k int), after func(t *testing.T, st *treeStory, f *crashfs.FS, done bool, err error)) {
	for _, st := range treeStories() {
		t.Run(st.name, func(t *testing.T) {
			t.Parallel()
			for seed := range seeds {
				for k := 1; ; k++ {
					if k > 5000 {
						t.Fatal("no end")
					}
					f := st.disk(t, seed)
					d := st.open(t, f)
					f.CountReads(reads)
					before := f.Ops()
					fault(f, k)
					done, err := st.try(t, d)
					hit := f.Ops()-before >= k
					t.Run(fmt.Sprintf("seed %d k %d", seed, k), func(t *testing.T) {
						defer func() {
							if t.Failed() {
								tr := f.Trace()
								t.Logf("done %t, error %v\n%s", done, err, strings.Join(tr[max(0, len(tr)-90):], "\n"))
							}
						}()
						after(t, &st, f, done, err)
					})
					if !hit {
						break
					}
					if t.Failed() {
						return
					}
				}
			}
		})
	}
}

// Guards: treegroup.go commit, syncGroup before place; treefinish.go finishTop, finishDir; treebackup.go keepOld.
func TestTreePowerCutAtEachOperation(t *testing.T) {
	eachTree(t, 1, false, func(f *crashfs.FS, k int) { f.CrashAt(k) }, func(t *testing.T, st *treeStory, f *crashfs.FS, done bool, err error) {
		for range 3 {
			st.check(t, f.Crash(), done)
		}
	})
}

func TestTreeErrorAtEachOperation(t *testing.T) {
	for _, e := range []struct {
		name  string
		reads bool
		fault func(f *crashfs.FS, k int)
	}{
		{"EIO", true, func(f *crashfs.FS, k int) { f.FailAt(k, syscall.EIO) }},
		{"short write", false, func(f *crashfs.FS, k int) { f.ShortAt(k, syscall.ENOSPC) }},
	} {
		t.Run(e.name, func(t *testing.T) {
			eachTree(t, 1, e.reads, e.fault, func(t *testing.T, st *treeStory, f *crashfs.FS, done bool, err error) {
				f.ClearFaults()
				f.CountReads(false)
				st.check(t, f.Image(1), done)
				st.check(t, f.Kill(), done)
			})
		})
	}
}

func TestTreeKillAtEachOperation(t *testing.T) {
	eachTree(t, 1, false, func(f *crashfs.FS, k int) { f.FailFrom(k, errKilled) }, func(t *testing.T, st *treeStory, f *crashfs.FS, done bool, err error) {
		f = f.Kill()
		d := st.open(t, f)
		if ok, err := st.try(t, d); !ok {
			t.Fatal("second process:", err)
		}
		for i := range uint64(2) {
			st.check(t, f.Image(i), true)
		}
	})
}

// The test above can fail: without a sync before the rename a name holds what it should not.
func TestTreeWithoutSyncsIsADanger(t *testing.T) {
	st := treeStory{new: source{"f": file(strings.Repeat("x", 10_000))}, rights: All, spec: TreeSpec{Path: Path{parts: []string{"top"}}, Durability: None}}
	for seed := range uint64(300) {
		f := crashfs.New(seed)
		if done, err := st.try(t, st.open(t, f)); !done {
			t.Fatal(err)
		}
		if b, err := durable.ReadFile(f.Crash(), "top/f", 1<<20); err == nil && string(b) != st.new["f"].data {
			return
		}
	}
	t.Error("no power cut did any harm")
}
