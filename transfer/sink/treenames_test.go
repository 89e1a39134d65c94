package sink

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
)

// Our own state is out of reach of a tree, by whatever name or link.
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
		if fi := must2(d.fs.Lstat("top/b")); o.published["b"] == nil || fi.ModTime().Equal(noon) {
			t.Errorf("somebody else's directory has got the time of ours: %v", o.published["b"])
		}
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
