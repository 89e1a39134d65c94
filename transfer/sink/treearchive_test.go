package sink

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"testing"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// anArchive has entries of every kind that differ in owner, mode and attributes.
func anArchive() []TreeEntry {
	meta := func(uid uint32, mode fs.FileMode, attrs ...durable.XAttr) Meta {
		return Meta{Mode: mode, HasMode: true, MTime: noon, HasMTime: true, HasOwner: true, UID: uid, GID: uid + 1, HasXAttrs: true, XAttrs: attrs}
	}
	cap := attr("security.capability", "cap")
	return []TreeEntry{
		{Kind: Directory, Meta: meta(1, 0o750, attr("user.top", "t"))},
		{No: 1, Kind: File, Name: "a", Size: 1, Shared: true, Meta: meta(2, 0o755|fs.ModeSetuid|fs.ModeSticky, cap, attr("user.a", "a"))},
		{No: 2, Kind: Link, Name: "b", Target: "nowhere", Meta: meta(3, 0o777, attr("trusted.l", "l"))},
		{No: 3, Kind: Directory, Name: "c", Meta: meta(4, 0o555|fs.ModeSetgid, attr("trusted.d", "d"), attr("user.d", ""))},
		{No: 4, Kind: File, Name: "d", Link: 1, Size: 1, Meta: meta(2, 0o755|fs.ModeSetuid|fs.ModeSticky, cap, attr("user.a", "a"))},
		{No: 5, Kind: Directory, Name: "e", Meta: meta(5, 0o500)},
		{No: 6, Kind: File, Name: "f", Size: 1, Meta: meta(6, 0)},
		{No: 7, Up: 2, Kind: File, Name: "g", Size: 1, Meta: meta(7, 0o4), Sparse: true},
	}
}

var anArchivesPaths = []string{"top", "top/a", "top/b", "top/c", "top/c/d", "top/c/e", "top/c/e/f", "top/g"}

// sendArchive sends the entries, and returns the verdicts.
func sendArchive(t *testing.T, v *View, spec TreeSpec, es []TreeEntry) (codes []VerdictCode, u Unkept) {
	t.Helper()
	spec.Path = mustPath(t, "top")
	spec.Published = func(no uint64, err error) {
		if err != nil {
			t.Errorf("entry %d: %v", no, err)
		}
	}
	tree, err := v.BeginTree(context.Background(), spec)
	must(t, err)
	defer tree.Close()
	for _, e := range es {
		got := tree.Take(e)
		codes = append(codes, got.Code)
		switch got.Code {
		case VerdictFailed:
			t.Errorf("entry %d: %v", e.No, got.Err)
		case VerdictNew, VerdictUpdate:
			if spec.DryRun {
				break
			}
			content := []byte{byte('0' + e.No)}
			// Mode and time may be told anew; owner and attributes are those of the manifest.
			must(t, tree.Put(e.No, content, digest(content), &Meta{HasMode: true, Mode: e.Meta.Mode, HasMTime: true, MTime: e.Meta.MTime}))
		}
	}
	if _, err := tree.Finish(context.Background()); err != nil {
		t.Fatal(err)
	}
	return codes, tree.Unkept()
}

func archiveState(t *testing.T, f *crashfs.FS) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, p := range anArchivesPaths {
		fi, err := f.Lstat(p)
		must(t, err)
		id, _ := durable.IDOf(fi)
		out[p] = fmt.Sprintf("%s %d", state(t, f, p), fi.ModTime().UnixNano())
		out[p+" as a file"] = fmt.Sprint(id.Inode, id.CTime)
	}
	return out
}

func TestTreeKeepsAnArchive(t *testing.T) {
	for name, rights := range map[string]Rights{"special modes": All | SpecialModes, "all": All} {
		for _, spool := range []int{16, 4 << 20} {
			t.Run(fmt.Sprint(name, ", lists of ", spool), func(t *testing.T) {
				f := crashfs.New(1)
				d := asRoot(mustOpen(t, f, Options{}))
				d.trees.spool = spool
				v := d.View("alice", rights)
				es := anArchive()
				_, u := sendArchive(t, v, TreeSpec{}, es)
				special := rights&SpecialModes != 0
				if words := strings.Join(u.Words(), " "); words != map[bool]string{true: "", false: "special-modes"}[special] {
					t.Errorf("not kept: %q", words)
				}
				want := map[string]string{
					"top": `drwxr-x--- 1:2 [user.top="t"]`, "top/a": `utrwxr-xr-x 2:3 [security.capability="cap" user.a="a"]`, "top/b": `Lrwxrwxrwx 3:4 [trusted.l="l"]`,
					"top/c": `dgr-xr-xr-x 4:5 [trusted.d="d" user.d=""]`, "top/c/e": `dr-x------ 5:6 []`, "top/c/e/f": `---------- 6:7 []`, "top/g": `-------r-- 7:8 []`,
				}
				if !special {
					want["top/a"] = `trwxr-xr-x 2:3 [user.a="a"]`
				}
				want["top/c/d"] = want["top/a"]
				mustBe := func(on *crashfs.FS) {
					t.Helper()
					for p, w := range want {
						if got := state(t, on, p); got != w {
							t.Errorf("%s: %s, want %s", p, got, w)
						}
						if fi := must2(on.Lstat(p)); !fi.ModTime().Equal(noon) {
							t.Errorf("%s: %v", p, fi.ModTime())
						}
					}
				}
				mustBe(f)
				if a, b := must2(f.Lstat("top/a")), must2(f.Lstat("top/c/d")); !durable.SameFile(a, b) {
					t.Error("the hard link is another file")
				}

				before := archiveState(t, f)
				codes, _ := sendArchive(t, v, TreeSpec{}, es)
				for i, c := range codes {
					if c != VerdictSame {
						t.Errorf("again: entry %d has verdict %d", i, c)
					}
				}
				if now := archiveState(t, f); !maps.Equal(now, before) {
					t.Errorf("again: changed %v", differ(before, now))
				}
				// One thing of one entry differs: nothing else is touched, and no content is wanted.
				for i := range es {
					for what, change := range map[string]func(m *Meta){
						"owner": func(m *Meta) { m.UID += 100 },
						"group": func(m *Meta) { m.GID += 100 },
						"attrs": func(m *Meta) { m.XAttrs = []durable.XAttr{attr("trusted.new", what(i))} },
						"mode":  func(m *Meta) { m.Mode ^= 0o010 | fs.ModeSticky },
					} {
						if i == 4 || i == 2 && what == "mode" { // the link is the file of entry 1; a symbolic link has no mode
							continue
						}
						other := anArchive()
						change(&other[i].Meta)
						if i == 1 {
							other[4].Meta = other[1].Meta
						}
						if codes, _ := sendArchive(t, v, TreeSpec{DryRun: true}, other); codes[i] != VerdictMeta {
							t.Errorf("%s of entry %d, a plan: verdict %d", what, i, codes[i])
						}
						codes, _ := sendArchive(t, v, TreeSpec{}, other)
						for k, c := range codes {
							if wantCode := map[bool]VerdictCode{true: VerdictMeta, false: VerdictSame}[k == i]; c != wantCode {
								t.Errorf("%s of entry %d: entry %d has verdict %d", what, i, k, c)
							}
						}
						if state(t, f, anArchivesPaths[i])+" " == strings.TrimRight(before[anArchivesPaths[i]], "0123456789") {
							t.Errorf("%s of entry %d is what it was", what, i)
						}
						sendArchive(t, v, TreeSpec{}, es)
						now := archiveState(t, f)
						for p := range before {
							if changed := p == anArchivesPaths[i]+" as a file" || i == 1 && p == "top/c/d as a file"; now[p] != before[p] && !changed {
								t.Errorf("%s of entry %d: %s is %s, was %s", what, i, p, now[p], before[p])
							}
						}
						before = now
					}
				}
				mustBe(f.Crash()) // all of it is durable
			})
		}
	}
}

func what(i int) string { return fmt.Sprint("value ", i) }

// Without the right to replace, what is there keeps its metadata; what is new has it all.
func TestAppendedArchive(t *testing.T) {
	f := crashfs.New(1)
	d := asRoot(mustOpen(t, f, Options{}))
	must(t, f.Mkdir("top", 0o755))
	must(t, durable.WriteFile(f, "top/a", []byte("1"), 0o600))
	must(t, f.SetTimes("top/a", noon))
	v := d.View("alice", Get|Put|RList|RStat|RMkdir|NoReplace|SpecialModes)
	sendArchive(t, v, TreeSpec{}, anArchive())
	for p, w := range map[string]string{
		"top": `drwxr-xr-x 0:0 []`, "top/a": `-rw------- 0:0 []`, "top/c": `dgr-xr-xr-x 4:5 [trusted.d="d" user.d=""]`, "top/g": `-------r-- 7:8 []`,
	} {
		if got := state(t, f, p); got != w {
			t.Errorf("%s: %s, want %s", p, got, w)
		}
	}
}

// What is awaited has attributes, and they are bounded as the entries are.
func TestRoomForAttributes(t *testing.T) {
	d := asRoot(mustOpen(t, crashfs.New(1), Options{}))
	d.trees.wanted = 300
	tree := must2(d.View("alice", All).BeginTree(context.Background(), TreeSpec{Path: mustPath(t, "top")}))
	defer tree.Close()
	big := Meta{HasXAttrs: true, XAttrs: []durable.XAttr{attr("user.big", strings.Repeat("x", 60<<10))}}
	tree.Take(TreeEntry{Kind: Directory})
	n := uint64(0)
	for tree.Room() > 0 {
		n++
		if v := tree.Take(TreeEntry{No: n, Kind: File, Name: fmt.Sprintf("f%06d", n), Size: 1, Meta: big}); v.Code != VerdictNew {
			t.Fatal(v)
		}
	}
	if n < 4 || n > 6 {
		t.Errorf("there was room for %d files with 60 KiB of attributes, with 300 KiB for all", n)
	}
	for no := uint64(1); no <= n; no++ {
		tree.Drop(no)
	}
	if tree.Room() != 299 || tree.attrs != 0 {
		t.Errorf("room %d, %d bytes are counted", tree.Room(), tree.attrs)
	}
}

// A name that is there already, and may not be replaced, is not one that others become links to: what has it is somebody else's.
func TestNoLinksToWhatMayNotBeReplaced(t *testing.T) {
	for name, rights := range map[string]Rights{"blind": Put | NoReplace, "append-only": All | NoReplace} {
		t.Run(name, func(t *testing.T) {
			f := crashfs.New(1)
			d := mustOpen(t, f, Options{})
			must(t, f.Mkdir("top", 0o755))
			must(t, durable.WriteFile(f, "top/victim", []byte("secret"), 0o600))
			var listed []string
			spec := TreeSpec{Path: mustPath(t, "top"), Compare: ByContent, There: func(path string, _ int64, root crypto.Digest) {
				listed = append(listed, path)
				if root == digest([]byte("secret")) {
					t.Errorf("the hash of %s was told", path)
				}
			}}
			tree, err := d.View("alice", rights).BeginTree(context.Background(), spec)
			must(t, err)
			defer tree.Close()
			tree.Take(TreeEntry{Kind: Directory, NoMeta: true})
			for _, e := range []TreeEntry{
				{No: 1, Kind: File, Name: "mine", Size: 1, Shared: true},
				{No: 2, Kind: File, Name: "victim", Size: 1, Link: 1, Shared: true},
				{No: 3, Kind: File, Name: "w", Size: 1, Link: 2},
				{No: 4, Kind: File, Name: "x", Size: 1, Link: 1, Shared: true},
				{No: 5, Kind: File, Name: "y", Size: 1, Link: 4},
			} {
				tree.Take(e)
			}
			must(t, tree.Put(1, []byte("1"), digest([]byte("1")), nil))
			r, err := tree.Finish(context.Background())
			must(t, err)
			if r.Failed != 2 || r.Linked != 2 || strings.Join(listed, " ") != "mine x y" {
				t.Errorf("%+v, %q listed", r, listed)
			}
			for name, want := range map[string]string{"mine": "1", "victim": "secret", "w": "", "x": "1", "y": "1"} {
				if got, _ := durable.ReadFile(f, "top/"+name, 10); string(got) != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
}

// A file that a rule leaves as it is gets no other name: nobody has looked whether it is the one that the sender has, or may be read.
func TestNoLinksToWhatIsLeft(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{})
	must(t, f.Mkdir("top", 0o755))
	must(t, durable.WriteFile(f, "top/victim", []byte("secret"), 0o600))
	for rights, want := range map[Rights]VerdictCode{Put | RStat: VerdictNew, All: VerdictNew} {
		tree, err := d.View("alice", rights).BeginTree(context.Background(), TreeSpec{Path: mustPath(t, "top"), IgnoreExisting: true})
		must(t, err)
		tree.Take(TreeEntry{Kind: Directory, NoMeta: true})
		if v := tree.Take(TreeEntry{No: 1, Kind: File, Name: "victim", Size: 6, Shared: true}); v.Code != VerdictSkip {
			t.Errorf("%+v", v)
		}
		if v := tree.Take(TreeEntry{No: 2, Kind: File, Name: "w", Size: 6, Link: 1}); v.Code != want {
			t.Errorf("rights %v: %+v, want %v", rights, v, want)
		}
		must(t, tree.Close())
	}
}

// A directory of an archive that anybody may write into at the end is not so before it has its owner and its sticky bit.
func TestDirectoriesOfAnArchiveAreClosedMeanwhile(t *testing.T) {
	f := crashfs.New(1)
	d := asRoot(mustOpen(t, f, Options{}))
	tree, err := d.View("alice", All).BeginTree(context.Background(), TreeSpec{Path: mustPath(t, "top")})
	must(t, err)
	defer tree.Close()
	m := Meta{Mode: 0o777 | fs.ModeSticky, HasMode: true, MTime: noon, HasMTime: true, HasOwner: true, UID: 5, GID: 6}
	tree.Take(TreeEntry{Kind: Directory, Meta: m})
	tree.Take(TreeEntry{No: 1, Kind: Directory, Name: "tmp", Meta: m})
	for _, name := range []string{"top", "top/tmp"} {
		if got := must2(f.Lstat(name)).Mode().Perm(); got != 0o755 {
			t.Errorf("%s has mode %v meanwhile", name, got)
		}
	}
	_, err = tree.Finish(context.Background())
	must(t, err)
	for _, name := range []string{"top", "top/tmp"} {
		if got, want := state(t, f, name), "dtrwxrwxrwx 5:6 []"; got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// What is lost is told each time, also where nothing is to be set any more.
func TestWhatIsLostIsToldAgain(t *testing.T) {
	f := crashfs.New(1)
	v := asUser(mustOpen(t, f, Options{}), 8).View("alice", All|SpecialModes)
	for mode, want := range map[fs.FileMode]string{fs.ModeSetuid | 0o755: "special-modes", fs.ModeSetgid | 0o755: "", 0o755: ""} {
		es := []TreeEntry{
			{Kind: Directory, Meta: Meta{Mode: 0o755, HasMode: true, MTime: noon, HasMTime: true, HasOwner: true, UID: 7, GID: 8}},
			{No: 1, Kind: File, Name: "a", Size: 1, Meta: Meta{Mode: mode, HasMode: true, MTime: noon, HasMTime: true, HasOwner: true, UID: 7, GID: 8}},
		}
		for range 2 {
			if _, u := sendArchive(t, v, TreeSpec{}, es); strings.Join(u.Words(), " ") != want {
				t.Errorf("%v: not kept: %q, want %q", mode, u.Words(), want)
			}
		}
	}
}
