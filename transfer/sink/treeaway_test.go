package sink

import (
	"context"
	"strings"
	"testing"
	"time"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// A mount within the tree, or a tree within a mount: files are made beside their names. The other device is played.
func TestTreeAcrossDevices(t *testing.T) {
	for _, hidden := range []bool{false, true} { // a bind mount has the same number on both sides: only the rename tells
		for _, where := range []string{"top", "top/mnt", "top/mnt/deep"} {
			for _, syncs := range []bool{true, false} {
				f := crashfs.New(1)
				f.SetSyncFS(syncs)
				must(t, durable.MkdirAll(f, "top/mnt", 0o755))
				other := func(name string) uint64 {
					if name == "top/mnt" || strings.HasPrefix(name, "top/mnt/") || strings.HasPrefix(name, "top/mnt.") {
						return 7
					}
					return 0
				}
				w := &seam{FS: f, device: other, hidden: hidden}
				d := mustOpen(t, w, Options{})
				src := source{"a": file("1"), "mnt/b": file("2"), "mnt/d/c": file("3"), "mnt/d/l": symlink("x"), "mnt/d/h": hardlink("mnt/b"), "z": file("4")}
				spec := TreeSpec{Path: mustPath(t, strings.Split(where, "/")...)}
				mustSend(t, d.View("alice", All), spec, src)
				wantTree(t, w, where, src)
				later := noon.AddDate(1, 0, 0)
				src["mnt/b"], src["mnt/d/h"] = file("new").at(later), hardlink("mnt/b").at(later)
				src["mnt/d/l"], src["mnt/d/c"] = symlink("y"), file("3").with(0o600)
				src["mnt/d/more"] = file("more")
				mustSend(t, d.View("alice", All), spec, src)
				wantTree(t, w, where, src)
				for i := range uint64(5) {
					im := f.Image(i)
					relaxed := func(k Kind) bool { return k == Link || k == File } // chmod without a content, and links
					wantTreeBut(t, im, where, withoutMode(src, "mnt/d/c"), relaxed)
				}
				for p := range snapshot(t, f, "top") {
					if strings.Contains(p, ".xfer") {
						t.Errorf("left: %s", p)
					}
				}
			}
		}
	}
}

// withoutMode is src with a file whose mode was changed and may be what it was.
func withoutMode(src source, path string) source {
	c := source{}
	for p, n := range src {
		c[p] = n
	}
	c[path] = c[path].with(0)
	return c
}

// A link from one device to another cannot be, and is told.
func TestHardLinkAcrossDevices(t *testing.T) {
	f := crashfs.New(1)
	must(t, durable.MkdirAll(f, "top/mnt", 0o755))
	w := &seam{FS: f, device: func(name string) uint64 {
		if strings.HasPrefix(name, "top/mnt") {
			return 7
		}
		return 0
	}}
	d := mustOpen(t, w, Options{})
	o := send(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, source{"a": file("1"), "mnt/h": hardlink("a"), "n": hardlink("a")})
	must(t, o.err)
	if o.published["mnt/h"] == nil || o.published["n"] != nil || o.result.Failed != 1 {
		t.Errorf("%v, %+v", o.published, o.result)
	}
}

// What a crash left beside names is removed by the next tree that writes there, when it is old.
func TestLeftBesideNames(t *testing.T) {
	f := crashfs.New(1)
	must(t, durable.MkdirAll(f, "top/mnt", 0o755))
	for _, n := range []string{".xfer-tmp-A", ".xfer-tmp-B", "other"} {
		must(t, durable.WriteFile(f, "top/mnt/"+n, []byte(n), 0o600))
	}
	must(t, f.Mkdir("top/mnt/.xfer-tmp-dir", 0o700))
	now := time.Now()
	w := &seam{FS: f, device: func(name string) uint64 {
		if strings.HasPrefix(name, "top/mnt") {
			return 7
		}
		return 0
	}}
	d := mustOpen(t, w, Options{Now: func() time.Time { return now }})
	spec := TreeSpec{Path: mustPath(t, "top")}
	mustSend(t, d.View("alice", All), spec, source{"mnt/a": file("1")})
	if n := len(must2(f.ReadDir("top/mnt"))); n != 5 {
		t.Errorf("%d names", n)
	}
	now = now.Add(2 * time.Hour)
	mustSend(t, d.View("alice", All), spec, source{"mnt/b": file("1")})
	var names []string
	for _, e := range must2(f.ReadDir("top/mnt")) {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != "other b a .xfer-tmp-dir" {
		t.Errorf("left: %s", got)
	}
}

// Times are compared as the file system keeps them.
func TestCoarseTimes(t *testing.T) {
	for _, unit := range []time.Duration{1, 100, time.Microsecond, time.Millisecond, time.Second, 2 * time.Second} {
		w := &seam{FS: crashfs.New(1), round: unit}
		d := mustOpen(t, w, Options{})
		odd := time.Unix(1234567, 987654321)
		src := source{"": dir().at(odd), "f": file("1").at(odd), "d": dir().at(odd), "l": symlink("x").at(odd), "before": file("2").at(time.Unix(-1234567, 987654321))}
		spec := TreeSpec{Path: mustPath(t, "top")}
		mustSend(t, d.View("alice", All), spec, src)
		o := mustSend(t, d.View("alice", All), spec, src)
		if o.result.Same != 5 {
			t.Errorf("unit %v: %+v", unit, o.result)
		}
		// Another time within the unit of a coarser file system is another time.
		if unit == 1 {
			src["f"] = file("1").at(odd.Truncate(time.Second))
			mustSend(t, d.View("alice", All), spec, src)
			src["f"] = file("1").at(odd)
			if o := mustSend(t, d.View("alice", All), spec, src); o.verdicts["f"].Code != VerdictUpdate {
				t.Errorf("cut off to a second: %v", o.verdicts["f"])
			}
		}
	}
}

// A tree that a crash has left is removed by the next one of the same owner and path, and by the clean-up. One that lives is not.
func TestTreesThatWereLeft(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, noClose{f}, Options{})
	src := source{"a": file("1"), "b": file("2")}
	leave := func(d *Dir, owner, top string, id byte) *sending {
		s := begin(t, d.View(owner, All), TreeSpec{Path: mustPath(t, top), ID: [16]byte{id}}, src)
		s.take()
		must(t, s.tree.Put(1, []byte("1"), digest([]byte("1")), nil))
		return s
	}
	left := func() int { return len(must2(d.readNames(treesDir))) }
	leave(d, "alice", "top", 1)
	leave(d, "alice", "other", 1)
	leave(d, "bob", "top", 1)
	f = f.Kill()
	d = mustOpen(t, f, Options{})
	must(t, f.Mkdir(treesDir+"/not ours", 0o700))
	must(t, f.Symlink("/", treesDir+"/"+strings.Repeat("a", 32)+"-"+strings.Repeat("0", 32)))
	if n := left(); n != 5 {
		t.Fatal(n)
	}
	live := leave(d, "alice", "top", 1) // takes the place of its own
	if n := left(); n != 5 {
		t.Error(n)
	}
	again := leave(d, "alice", "top", 1) // the same id while the first one lives
	if n := left(); n != 6 {
		t.Error(n)
	}
	if _, err := d.CleanUp(context.Background()); err != nil {
		t.Error(err)
	}
	if n := left(); n != 4 {
		t.Error(n)
	}
	for _, s := range []*sending{live, again} {
		must(t, s.tree.Put(2, []byte("2"), digest([]byte("2")), nil))
		if o := s.finish(); o.err != nil || o.result.Published != 2 {
			t.Error(o.err, o.result)
		}
	}
	if n := left(); n != 2 {
		t.Error(n)
	}
}

// A tree in which nothing is to be written makes nothing, and its own directory is gone before the root gets its time.
func TestTreeOfTheRootLeavesItsTime(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		src := source{"": dir().with(0o755), "f": file("1"), "d/g": file("2"), "l": symlink("x")}
		mustSend(t, d.View("alice", All), TreeSpec{}, src)
		if fi := must2(d.fs.Stat(".")); !fi.ModTime().Equal(noon) {
			t.Errorf("the root has the time %v", fi.ModTime())
		}
		if _, err := d.fs.Lstat(stateDir); err == nil {
			t.Error("the state directory is left")
		}
	})
}
