package sink

import (
	"context"
	"strings"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// FuzzTree gives a tree any entries, contents and answers. Whatever comes: no panic, our own state and what lies beside the top
// stay as they are, every file that is published has what was put, and nothing of ours is left at the end.
func FuzzTree(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1, 1, 0, 0, 2, 0, 1, 3, 3, 9, 200, 7, 7, 7})
	f.Add([]byte("\x01\x00\x02\x05\x00\x01\x03\x00\x04\x02\x00\x06\x09\x00\x01\x0a\x01\x02"))
	f.Add([]byte{255, 254, 12, 0, 13, 1, 14, 2, 15, 3, 1, 1, 1, 1, 2, 2, 2, 2, 8, 8, 8, 8})
	names := []string{"", "a", "b", "c", "link", "file", "dir", "zz", ".", "..", "a/b", ".xfer", ".XFER-1", strings.Repeat("n", 256), "nul\x00", "up", "self", "dangling"}
	f.Fuzz(func(t *testing.T, in []byte) {
		next := func() int {
			if len(in) == 0 {
				return 0
			}
			b := in[0]
			in = in[1:]
			return int(b)
		}
		fsys := crashfs.New(1)
		must(t, durable.MkdirAll(fsys, "top/dir/a", 0o755))
		must(t, durable.MkdirAll(fsys, "beside/dir", 0o755))
		must(t, durable.MkdirAll(fsys, ".xfer/versions", 0o700))
		for _, name := range []string{"beside/file", ".xfer/versions/kept", "top/file"} {
			must(t, durable.WriteFile(fsys, name, []byte("before"), 0o644))
		}
		for name, target := range map[string]string{"link": "dir", "up": "..", "self": ".", "dangling": "nowhere", "state": "../.xfer"} {
			must(t, fsys.Symlink(target, "top/"+name))
		}
		flags := next()
		spec := TreeSpec{
			Path: mustPath(t, "top"), NoClobber: flags&1 != 0, Update: flags&2 != 0, IgnoreExisting: flags&4 != 0, DryRun: flags&8 != 0,
			Compare: TreeCompare(flags >> 4 & 1), Durability: Durability(flags >> 5 % 3),
		}
		if flags&128 != 0 {
			spec.Backup = mustPath(t, "top", "zz")
		}
		if next()%2 == 0 {
			spec.Extra = func(Path, Kind, int64) {}
		}
		rights := []Rights{All, appendOnly, All &^ RMkdir, All &^ Get}[next()%4]
		d := mustOpen(t, noClose{fsys}, Options{})
		d.trees.dirs, d.trees.spool, d.trees.wanted, d.trees.groupFiles, d.trees.openFiles = 2, 20, 12, 3, 2
		up := map[string]bool{} // entries that went through a link upwards reach what lies beside
		tree := must2(d.View("alice", rights).BeginTree(context.Background(), spec))
		put := map[uint64]bool{}
		for no := uint64(0); len(in) > 0 && no < 200; no++ {
			e := TreeEntry{No: no, Kind: Kind(next() % 5), Up: next()%4 - 1, Name: names[next()%len(names)], Size: int64(next()%3 - 1)}
			if no == 0 || e.Up < 0 && next()%8 > 0 {
				e.Up = 0
			}
			if no == 0 {
				e.Kind, e.Name = Directory, ""
			}
			if e.Name == "up" || e.Name == "self" {
				up[e.Name] = true
			}
			bits := next()
			e.Meta = Meta{Mode: 0o755, HasMode: bits&1 != 0, MTime: time.Unix(int64(bits), 0), HasMTime: bits&2 != 0}
			e.Shared, e.NoMeta = bits&4 != 0, bits&8 != 0
			if bits&16 != 0 {
				e.Link = uint64(next())
			}
			if e.Kind == Link {
				e.Target = names[next()%len(names)]
			}
			switch v := tree.Take(e); v.Code {
			case VerdictNew, VerdictUpdate, VerdictHash:
				if v.Code == VerdictHash && tree.Decide(no, bits&32 != 0).Code != VerdictUpdate {
					break
				}
				data := []byte("x")[:max(0, min(1, e.Size))]
				if bits&64 != 0 {
					if bits&128 != 0 {
						tree.Arrived(no, 1, crypto.Digest{})
					} else {
						tree.Drop(no)
					}
				} else if tree.Put(no, data, digest(data), nil) == nil {
					put[no] = true
				}
			case VerdictFailed:
				if v.Err == nil {
					t.Fatal("failed without an error")
				}
			case 0:
				t.Fatal("no verdict")
			}
		}
		if flags%3 > 0 {
			_, _ = tree.Finish(context.Background())
		}
		must(t, tree.Close())
		check := []string{".xfer/versions/kept"}
		if len(up) == 0 {
			check = append(check, "beside/file")
		}
		for _, name := range check {
			if b, err := readAll(fsys, name); err != nil || string(b) != "before" {
				t.Fatalf("%s: %q, %v", name, b, err)
			}
		}
		if rights == appendOnly {
			if b, err := readAll(fsys, "top/file"); err != nil || string(b) != "before" {
				t.Fatalf("I11: %q, %v", b, err)
			}
		}
		if n := must2(d.readNames(treesDir)); len(n) > 0 || tree.cache.open > 0 {
			t.Fatal("left:", n, tree.cache.open)
		}
		for p := range snapshot(t, fsys, "top") {
			if b, err := readAll(fsys, p); err == nil && string(b) != "before" && string(b) != "x" && string(b) != "" {
				t.Fatalf("%s has %q", p, b)
			}
		}
	})
}
