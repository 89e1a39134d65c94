package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"xfer/transfer/durable"
)

// archiveTree is a tree with every kind of entry that an archive keeps but setuid and special files.
type archiveTree struct {
	t   *testing.T
	dir string
	fs  durable.FS
	rng *rand.Rand
}

func makeArchiveTree(t *testing.T, dir string) {
	t.Helper()
	must(t, os.Mkdir(dir, 0o755))
	fsys, err := durable.OpenOS(dir)
	must(t, err)
	defer fsys.Close()
	a := &archiveTree{t: t, dir: dir, fs: fsys, rng: rand.New(rand.NewPCG(1, 7))}
	base := time.Unix(1_600_000_000, 123_456_789)
	for i, size := range []int{0, 1, 4 << 10, 100 << 10, 3 << 20, 40 << 20} {
		a.file(fmt.Sprintf("size %d", size), size, 0o644, base.Add(time.Duration(i)*time.Hour+1))
	}
	for _, d := range []string{"a", "a/b", "modes", "ro", "ro/deep", "ro/empty", "acl", "acl/inside", "team", "shared", "odd", "owners"} {
		must(t, os.Mkdir(a.at(d), 0o755))
	}
	a.sparse("sparse small", 300<<10, 64<<10)
	a.sparse("sparse all", 200<<10, -1)
	a.sparse("a/sparse end", 500<<10, 0)
	a.sparse("sparse large", 60<<20, 33<<20)
	a.sparse("sparse larger", 300<<20, -1)

	a.file("one", 4, 0o640, base)
	must(t, os.Link(a.at("one"), a.at("one again")))
	must(t, os.Link(a.at("size 3145728"), a.at("a/large, linked")))
	a.file("a/z", 10<<10, 0o600, base)
	for _, n := range []string{"a/b/z1", "z2", "a/z3"} {
		must(t, os.Link(a.at("a/z"), a.at(n)))
	}
	must(t, os.Link(a.at("sparse small"), a.at("a/b/sparse, linked")))

	for name, to := range map[string]string{"dangling": "no/where", "long": strings.Repeat("x/", 1500), "to dir": "a", "odd/l\xff": "\xfe\n"} {
		must(t, os.Symlink(to, a.at(name)))
		must(t, os.Lchown(a.at(name), 1234, 4321))
		must(t, fsys.SetTimes(name, base.Add(-time.Hour+7)))
	}
	must(t, fsys.LSetXAttr("dangling", "trusted.of a link", []byte("value")))
	for _, n := range []string{"new\nline", "bad\xff\xc3utf8", "-rf", " ", "\x1b[31m", "é", "é"} {
		a.file("odd/"+n, 100, 0o644, base)
	}
	for _, m := range []fs.FileMode{0o400, 0, 0o555, 0o777, 0o644 | fs.ModeSticky} {
		a.file(fmt.Sprintf("modes/%o", uint32(m.Perm())|uint32(m>>20)), 50, m, base)
	}
	a.file("ro/f", 3000, 0o444, base)
	a.file("ro/deep/f", 3000, 0o400, base)
	a.file("team/f", 30, 0o664, base)
	must(t, os.Lchown(a.at("team/f"), 5000, 6000))
	for i, id := range []int{0, 1, 2, 54321, 1<<31 + 5} {
		n := fmt.Sprintf("owners/%d", i)
		a.file(n, 20, 0o644, base)
		must(t, os.Lchown(a.at(n), id, 54322))
	}
	for n, when := range map[string]time.Time{
		"before 1970": time.Unix(-86_400*365*20, 999_999_999), "a ns before": time.Unix(-1, 999_999_999), "far": time.Date(2200, 1, 1, 0, 0, 0, 1, time.UTC),
	} {
		a.file(n, 5, 0o644, when)
	}

	a.file("attrs", 5, 0o644, base)
	a.xattr("attrs", "user.empty", nil)
	a.xattr("attrs", "user.binary", []byte{0, 1, 0xff})
	a.xattr("attrs", "user.long", bytes.Repeat([]byte("v"), 2000))
	a.xattr("attrs", "trusted.t", []byte("t"))
	a.xattr("acl/inside", "user.of a directory", []byte("d"))
	a.xattr("modes/0", "user.of mode 0", []byte("0"))
	a.xattr(".", "user.of the top", []byte("top"))
	a.file("acl/f", 5, 0o640, base)
	a.xattr("acl/f", "system.posix_acl_access", aclValue(aclLine{1, 6, none}, aclLine{2, 7, 54321}, aclLine{4, 4, none}, aclLine{8, 5, 54322}, aclLine{16, 7, none}, aclLine{32, 0, none}))
	a.xattr("acl", "system.posix_acl_default", aclValue(aclLine{1, 7, none}, aclLine{2, 5, 54321}, aclLine{4, 5, none}, aclLine{16, 5, none}, aclLine{32, 1, none}))
	a.xattr("acl/inside", "system.posix_acl_access", aclValue(aclLine{1, 7, none}, aclLine{4, 5, none}, aclLine{8, 1, 1}, aclLine{16, 5, none}, aclLine{32, 5, none}))

	must(t, os.Chown(a.at("team"), 5000, 6000))
	for d, mode := range map[string]fs.FileMode{
		"ro/deep": 0o555, "ro/empty": 0, "ro": 0o500, "team": 0o2775&0o777 | fs.ModeSetgid, "shared": 0o777 | fs.ModeSticky, "owners": 0o711,
	} {
		must(t, os.Chmod(a.at(d), mode))
	}
	dirs := []string{"a/b", "a", "modes", "ro/deep", "ro/empty", "ro", "acl/inside", "acl", "team", "shared", "odd", "owners", "."}
	for i, d := range dirs {
		must(t, fsys.SetTimes(d, base.Add(time.Duration(i)*time.Minute+time.Duration(i))))
	}
	writableAtEnd(t, dir)
}

func (a *archiveTree) at(name string) string { return filepath.Join(a.dir, name) }

func (a *archiveTree) file(name string, size int, mode fs.FileMode, when time.Time) {
	a.t.Helper()
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(a.rng.Uint32())
	}
	must(a.t, os.WriteFile(a.at(name), b, 0o600))
	must(a.t, os.Chmod(a.at(name), mode))
	must(a.t, a.fs.SetTimes(name, when))
}

// sparse makes a file of a size of which a block is data.
func (a *archiveTree) sparse(name string, size, data int64) {
	a.t.Helper()
	f, err := os.Create(a.at(name))
	must(a.t, err)
	must(a.t, f.Truncate(size))
	if data >= 0 {
		_, err = f.WriteAt(bytes.Repeat([]byte("data"), 1024), data)
		must(a.t, err)
	}
	must(a.t, f.Close())
	must(a.t, a.fs.SetTimes(name, time.Unix(1_500_000_000, 5)))
}

func (a *archiveTree) xattr(name, attr string, value []byte) {
	a.t.Helper()
	if err := a.fs.LSetXAttr(name, attr, value); err != nil {
		a.t.Fatalf("%s: %v", name, err)
	}
}

// aclLine is an entry of an access control list: acl(5), in the form of the kernel.
type aclLine struct {
	tag, perm uint16
	id        uint32
}

const none = 1<<32 - 1

func aclValue(lines ...aclLine) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, l := range lines {
		b = binary.LittleEndian.AppendUint16(b, l.tag)
		b = binary.LittleEndian.AppendUint16(b, l.perm)
		b = binary.LittleEndian.AppendUint32(b, l.id)
	}
	return b
}

// archiveEntry is all that is compared of an entry.
type archiveEntry struct {
	text   string
	group  string // the names of the same file
	blocks int64
	inode  string // with its change time: nobody has touched it
}

func archivePicture(t *testing.T, dir string) map[string]archiveEntry {
	t.Helper()
	fsys, err := durable.OpenOS(dir)
	must(t, err)
	defer fsys.Close()
	out := map[string]archiveEntry{}
	groups := map[uint64][]string{}
	inodes := map[string]uint64{}
	must(t, filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		fi, err := os.Lstat(name)
		if err != nil {
			return err
		}
		st := fi.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%o %d:%d %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		switch {
		case fi.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(name)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" -> %.20q, %d", to, len(to))
		case fi.Mode().IsRegular():
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d bytes %x", len(b), sha256.Sum256(b))
			groups[st.Ino] = append(groups[st.Ino], rel)
		}
		attrs, err := fsys.LXAttrs(rel)
		if err != nil {
			return err
		}
		for _, a := range attrs {
			text += fmt.Sprintf(" %s=%x", a.Name, a.Value)
		}
		inodes[rel] = st.Ino
		out[rel] = archiveEntry{text: text, blocks: st.Blocks, inode: fmt.Sprint(st.Ino, st.Ctim.Sec, st.Ctim.Nsec)}
		return nil
	}))
	for rel, e := range out {
		if g := groups[inodes[rel]]; len(g) > 0 {
			e.group = fmt.Sprintf("%q", g)
			out[rel] = e
		}
	}
	return out
}

// mustBeLike compares two trees entry by entry.
func mustBeLike(t *testing.T, what string, got, want map[string]archiveEntry) {
	t.Helper()
	var sum, wantSum int64
	for _, rel := range slices.Sorted(maps.Keys(want)) {
		g, w := got[rel], want[rel]
		if g.text != w.text {
			t.Errorf("%s: %q is\n  %s, want\n  %s", what, rel, g.text, w.text)
		}
		if g.group != w.group {
			t.Errorf("%s: %q has the names %s, want %s", what, rel, g.group, w.group)
		}
		if d := max(g.blocks-w.blocks, w.blocks-g.blocks); d*100 > w.blocks && d > 8 {
			t.Errorf("%s: %q has %d blocks, want %d", what, rel, g.blocks, w.blocks)
		}
		sum, wantSum = sum+g.blocks, wantSum+w.blocks
	}
	for rel := range got {
		if _, ok := want[rel]; !ok {
			t.Errorf("%s: %q should not be there", what, rel)
		}
	}
	if d := max(sum-wantSum, wantSum-sum); d*100 > wantSum {
		t.Errorf("%s: %d blocks, want %d", what, sum, wantSum)
	}
}

func mustBeUntouched(t *testing.T, what string, got, want map[string]archiveEntry) {
	t.Helper()
	for _, rel := range slices.Sorted(maps.Keys(want)) {
		if got[rel].inode != want[rel].inode {
			t.Errorf("%s: %q was touched: %s, before %s", what, rel, got[rel].inode, want[rel].inode)
		}
	}
}

// needsArchive skips a test that cannot make owners, or has nothing to compare with.
func needsArchive(t *testing.T) (rsync string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to others")
	}
	rsync, err := exec.LookPath("rsync")
	if err != nil {
		t.Skip("rsync is not installed")
	}
	probe := t.TempDir()
	fsys, err := durable.OpenOS(probe)
	must(t, err)
	defer fsys.Close()
	for _, a := range []string{"user.x", "trusted.x"} {
		if err := fsys.LSetXAttr(".", a, []byte("x")); err != nil {
			t.Skipf("the file system of the test has no attributes: %v", err)
		}
	}
	if err := fsys.LSetXAttr(".", "system.posix_acl_default", aclValue(aclLine{1, 7, none}, aclLine{4, 5, none}, aclLine{32, 5, none})); err != nil {
		t.Skipf("the file system of the test has no access control lists: %v", err)
	}
	return rsync
}

// TestArchiveIsWhatRsyncMakes sends a tree with -a, fetches it, and compares both with what rsync makes of the same tree.
func TestArchiveIsWhatRsyncMakes(t *testing.T) {
	rsync := needsArchive(t)
	base := t.TempDir()
	src := filepath.Join(base, "src")
	makeArchiveTree(t, src)
	picture := archivePicture(t, src)
	ref := filepath.Join(base, "ref")
	if out, err := exec.Command(rsync, "-aHAXS", "--numeric-ids", src+"/", ref+"/").CombinedOutput(); err != nil {
		t.Fatalf("rsync: %v\n%s", err, out)
	}
	want := archivePicture(t, ref)
	mustBeLike(t, "rsync", want, picture)
	over(t, func(t *testing.T, transport string) {
		d := acceptDaemon(t)
		c := d.enrolled()
		writableAtEnd(t, d.inbox(""))
		c.want(t, 0, "send", "-a", "--json", "--transport", transport, src+"/", d.host("tree"))
		sent := archivePicture(t, d.inbox("tree"))
		mustBeLike(t, "sent", sent, want)
		o := c.want(t, 0, "send", "-a", "--json", "--transport", transport, src+"/", d.host("tree"))
		if r := o.result(t); r.BytesSent != 0 {
			t.Errorf("sent again: %d bytes crossed", r.BytesSent)
		}
		mustBeUntouched(t, "sent again", archivePicture(t, d.inbox("tree")), sent)

		into := t.TempDir()
		writableAtEnd(t, into)
		back := filepath.Join(into, "tree")
		c.want(t, 0, "get", "-a", "--json", "--transport", transport, d.host("tree"), into)
		got := archivePicture(t, back)
		mustBeLike(t, "got", got, want)
		alone := filepath.Join(into, "new name")
		c.want(t, 0, "get", "-a", "--json", "--transport", transport, d.host("tree"), alone)
		mustBeLike(t, "got by a new name", archivePicture(t, alone), want)
		o = c.want(t, 0, "get", "-a", "--json", "--transport", transport, d.host("tree"), into)
		if r := o.result(t); r.BytesSent != 0 {
			t.Errorf("got again: %d bytes crossed", r.BytesSent)
		}
		mustBeUntouched(t, "got again", archivePicture(t, back), got)
		c.want(t, 0, "sync", "-a", "--delete", "--json", "--transport", transport, src, d.host("tree"))
		mustBeUntouched(t, "synced", archivePicture(t, d.inbox("tree")), sent)
	})
}
