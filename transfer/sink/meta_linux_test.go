package sink

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"xfer/transfer/durable"
)

// What is kept of a tree is compared with what rsync -aHAX keeps of it, by root and by an ordinary user: as that the tests
// run themselves again.

const inChild = "XFER_TEST_CHILD"

// asNobody runs the test of this name again as a user without rights, who is in group 100 besides. It is true in there.
func asNobody(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inChild) != "" {
		return true
	}
	if os.Geteuid() != 0 {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), inChild+"=1", "HOME=/")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{100}}}
	out, err := cmd.CombinedOutput()
	switch {
	case cmd.ProcessState == nil:
		t.Skip("needs the right to become another user:", err)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("%s", out)
	}
	return false
}

// made is one entry of a tree with metadata.
type made struct {
	name   string
	dir    bool
	link   string
	mode   fs.FileMode
	uid    int
	gid    int
	xattrs []durable.XAttr
}

var (
	userACL    = acl([3]uint32{1, 6, noOne}, [3]uint32{2, 7, 12}, [3]uint32{4, 4, noOne}, [3]uint32{8, 5, 34}, [3]uint32{16, 7, noOne}, [3]uint32{32, 0, noOne})
	narrowACL  = acl([3]uint32{1, 7, noOne}, [3]uint32{2, 7, 12}, [3]uint32{4, 7, noOne}, [3]uint32{16, 1, noOne}, [3]uint32{32, 5, noOne})
	capability = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
)

// entries are what users may have.
func entries() []made {
	return []made{
		{name: "plain", mode: 0o640, uid: 1, gid: 2},
		{name: "group", mode: 0o660, uid: 1, gid: 100},
		{name: "readonly", mode: 0o444, xattrs: []durable.XAttr{attr("user.a", "1"), attr("user.empty", "")}},
		{name: "acl", mode: 0o670, gid: 100, xattrs: []durable.XAttr{attr(aclAccess, userACL)}},
		{name: "narrow", mode: 0o715, xattrs: []durable.XAttr{attr(aclAccess, narrowACL), attr("user.x", "x")}},
		{name: "sticky", mode: 0o644 | fs.ModeSticky},
		{name: "dir", dir: true, mode: 0o755, uid: 3, gid: 4, xattrs: []durable.XAttr{attr("user.d", "d")}},
		{name: "team", dir: true, mode: 0o775 | fs.ModeSetgid | fs.ModeSticky, gid: 100},
		{name: "inherit", dir: true, mode: 0o750, xattrs: []durable.XAttr{attr(aclAccess, userACL), attr(aclDefault, narrowACL)}},
		{name: "link", link: "plain", uid: 5, gid: 100},
	}
}

// rootEntries are what only root can make or read.
func rootEntries() []made {
	return []made{
		{name: "secret", mode: 0, uid: 9},
		{name: "suid", mode: 0o755 | fs.ModeSetuid | fs.ModeSetgid, uid: 9, gid: 10},
		{name: "cap", mode: 0o755, uid: 9, xattrs: []durable.XAttr{attr("security.capability", capability)}},
		{name: "trusted", mode: 0o600, xattrs: []durable.XAttr{attr("trusted.t", "t"), attr("user.u", "u")}},
		{name: "tlink", link: "nowhere", xattrs: []durable.XAttr{attr("trusted.l", "l")}},
	}
}

// mustMake makes the entries in dir, by root as they say, else with what is allowed.
func mustMake(t *testing.T, dir string, list []made) {
	t.Helper()
	fsys, err := durable.OpenOS(dir)
	must(t, err)
	defer fsys.Close()
	for _, e := range list {
		switch {
		case e.link != "":
			must(t, fsys.Symlink(e.link, e.name))
		case e.dir:
			must(t, fsys.Mkdir(e.name, 0o700))
		default:
			must(t, os.WriteFile(dir+"/"+e.name, []byte(e.name), 0o600))
		}
		if os.Geteuid() == 0 {
			must(t, fsys.Lchown(e.name, e.uid, e.gid))
		} else if e.gid == 100 {
			must(t, fsys.Lchown(e.name, -1, e.gid))
		}
		for _, a := range e.xattrs {
			if err := fsys.LSetXAttr(e.name, a.Name, a.Value); errors.Is(err, errors.ErrUnsupported) {
				t.Skip("the file system of the tests keeps no attributes or lists:", err)
			} else if err != nil {
				t.Fatal(e.name, err)
			}
		}
		if e.link == "" {
			must(t, fsys.Chmod(e.name, e.mode))
		}
		must(t, fsys.SetTimes(e.name, someTime))
	}
}

// sendMeta sends the entries beneath src, as sender and receiver together do, and returns what could not be kept.
func sendMeta(t *testing.T, d *Dir, rights Rights, src string, list []made) (u Unkept) {
	t.Helper()
	from, err := durable.OpenOS(src)
	must(t, err)
	defer from.Close()
	v := d.View("alice", rights)
	k := Keep{Archive: true, Special: true, Owners: new(durable.Owners)}
	for _, e := range list {
		fi, err := from.Lstat(e.name)
		must(t, err)
		m, err := k.ReadMetaAt(from, e.name, fi)
		must(t, err)
		m.Unkept = &u
		p := mustPath(t, e.name)
		switch {
		case e.link != "":
			err = v.Symlink(p, e.link, Replace, &m)
		case e.dir:
			if err = v.Mkdir(p, false, true, nil); err == nil {
				err = v.SetMeta(p, m)
			}
		default:
			b := []byte(e.name)
			sp := specOf(t, b, e.name)
			sp.Transfer, sp.Meta = [16]byte([]byte((e.name + strings.Repeat(" ", 16))[:16])), m
			var s *Stage
			if s, _, err = v.Begin(context.Background(), sp); err == nil {
				_, err = sendRest(s, b)
			}
		}
		if err != nil {
			t.Fatal(e.name, err)
		}
		to, err := d.fs.Lstat(e.name)
		must(t, err)
		if !to.ModTime().Equal(fi.ModTime()) {
			t.Errorf("%s: time %v, want %v", e.name, to.ModTime(), fi.ModTime())
		}
		a := v.allow(m)
		if same, err := a.same(d.fs, e.name, to); err != nil || !same {
			t.Errorf("%s: not the same after all, %v", e.name, err)
		}
	}
	return u
}

// compareWithRsync sends a tree by us and by rsync, twice: into nothing, and into what is there with other metadata.
func compareWithRsync(t *testing.T, list []made) {
	if _, err := exec.LookPath("rsync"); err != nil {
		t.Skip(err)
	}
	src, ours, theirs := t.TempDir(), t.TempDir(), t.TempDir()
	mustMake(t, src, list)
	d := openDir(t, ours, Options{})
	other, err := durable.OpenOS(theirs)
	must(t, err)
	defer other.Close()
	for _, round := range []string{"new", "changed"} {
		if u := sendMeta(t, d, All|SpecialModes, src, list); u != 0 {
			t.Errorf("%s: could not keep %v", round, u.Words())
		}
		out, err := exec.Command("rsync", "-aHAX", "--exclude=.xfer", src+"/", theirs+"/").CombinedOutput()
		if err != nil {
			t.Fatalf("rsync: %v\n%s", err, out)
		}
		for _, e := range list {
			if got, want := state(t, d.fs, e.name), state(t, other, e.name); got != want {
				t.Errorf("%s, %s:\nwe have    %s\nrsync has  %s", round, e.name, got, want)
			}
		}
		// All of it is changed now.
		for _, fsys := range []durable.FS{d.fs, other} {
			for _, e := range list {
				if e.link != "" {
					continue
				}
				must(t, fsys.Chmod(e.name, 0o711))
				must(t, fsys.LSetXAttr(e.name, "user.extra", []byte("x")))
				must(t, fsys.LSetXAttr(e.name, aclAccess, []byte(narrowACL)))
				if e.dir {
					must(t, fsys.LSetXAttr(e.name, aclDefault, []byte(userACL)))
				}
				must(t, fsys.SetTimes(e.name, someTime))
			}
		}
	}
}

func TestRootKeepsWhatRsyncKeeps(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	compareWithRsync(t, append(entries(), rootEntries()...))
}

func TestUsersKeepWhatRsyncKeeps(t *testing.T) {
	if asNobody(t) {
		compareWithRsync(t, entries())
	}
}

// An ordinary user gets setuid files of others without that bit, and the attributes that it may not set are left out.
func TestUsersKeepNoPrivilegesOfOthers(t *testing.T) {
	if !asNobody(t) {
		return
	}
	d := openDir(t, t.TempDir(), Options{})
	v := d.View("alice", All|SpecialModes)
	b := []byte("content")
	sp := specOf(t, b, "suid")
	var u Unkept
	sp.Meta = Meta{
		Mode: 0o755 | setIDs, HasMode: true, HasOwner: true, UID: 9, GID: 100, HasXAttrs: true, Unkept: &u,
		XAttrs: []durable.XAttr{attr("security.capability", capability), attr("trusted.t", "t")},
	}
	s, _ := mustBegin(t, v, sp)
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	fi, err := d.fs.Lstat("suid")
	must(t, err)
	attrs, err := d.fs.LXAttrs("suid")
	uid, gid, _ := durable.OwnerOf(fi)
	if fi.Mode() != 0o755|fs.ModeSetgid && gid == 100 || fi.Mode()&fs.ModeSetuid != 0 || uid != uint32(os.Geteuid()) || err != nil || len(attrs) != 0 {
		t.Errorf("%v %d:%d %v %v", fi.Mode(), uid, gid, attrs, err)
	}
	if u&UnkeptSpecial == 0 {
		t.Error("nobody was told")
	}
}

// A read-only file of our own gets its attributes, and is read-only afterwards; also where no mode is told.
func TestAttributesOfReadOnlyFiles(t *testing.T) {
	if !asNobody(t) {
		return
	}
	d := openDir(t, t.TempDir(), Options{})
	v := d.View("alice", All)
	for i, mode := range []fs.FileMode{0o444, 0o400, 0} {
		m := Meta{HasOwner: true, HasXAttrs: true, XAttrs: []durable.XAttr{attr("user.x", "x")}}
		name := string(rune('a' + i))
		must(t, durable.WriteFile(d.fs, name, nil, mode))
		if err := d.fs.LSetXAttr(name, "user.x", nil); errors.Is(err, errors.ErrUnsupported) {
			t.Skip(err)
		}
		must(t, v.SetMeta(mustPath(t, name), m))
		must(t, d.fs.Chmod(name, mode|0o400))
		attrs, err := d.fs.LXAttrs(name)
		if err != nil || len(attrs) != 1 {
			t.Errorf("%v: %v, %v", mode, attrs, err)
		}
		must(t, d.fs.Chmod(name, mode))
		must(t, v.SetMeta(mustPath(t, name), m))
		if fi, err := d.fs.Lstat(name); err != nil || fi.Mode() != mode {
			t.Errorf("%v became %v, %v", mode, fi.Mode(), err)
		}
	}
}

// Where the file system keeps no attributes that is told, and no failure; a mode that rested on a list is narrowed.
func TestAFileSystemWithoutAttributes(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("xfer-test", dir, "ramfs", 0, ""); err != nil {
		t.Skip("needs the right to mount:", err)
	}
	defer syscall.Unmount(dir, 0)
	d, err := OpenDir(dir, Options{})
	must(t, err)
	defer d.Close()
	b := []byte("content")
	sp := specOf(t, b, "file")
	var u Unkept
	sp.Meta = Meta{
		Mode: 0o670, HasMode: true, HasOwner: true, UID: 9, GID: 100, HasXAttrs: true, Unkept: &u,
		XAttrs: []durable.XAttr{attr(aclAccess, userACL), attr("user.x", "x")},
	}
	s, _ := mustBegin(t, d.View("alice", All), sp)
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	fi, err := d.fs.Lstat("file")
	must(t, err)
	if fi.Mode() != 0o640 || u != UnkeptXAttrs|UnkeptACL {
		t.Errorf("mode %v, unkept %v", fi.Mode(), u.Words())
	}
}
