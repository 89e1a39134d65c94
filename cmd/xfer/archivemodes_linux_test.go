package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"xfer/transfer/durable"
)

// capability is the value of security.capability that lets a program use CAP_NET_BIND_SERVICE (linux/capability.h, version 2).
var capability = []byte{0x01, 0, 0, 0x02, 0, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}

func unkeptOf(t *testing.T, o outcome) []string {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	var r struct{ Unkept []string }
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil {
		t.Fatal(err)
	}
	return r.Unkept
}

// Setuid, setgid and capabilities are kept where both sides say so, and nowhere else; special files are skipped with a word.
func TestSpecialModesNeedBothSides(t *testing.T) {
	needsArchive(t)
	src := t.TempDir()
	sfs, err := durable.OpenOS(src)
	must(t, err)
	defer sfs.Close()
	when := time.Unix(1_500_000_000, 1)
	special := map[string]fs.FileMode{"uid": fs.ModeSetuid | 0o755, "gid": fs.ModeSetgid | 0o755, "both, large": fs.ModeSetuid | fs.ModeSetgid | 0o711, "cap": 0o755}
	for name, mode := range special {
		size := 10
		if strings.Contains(name, "large") {
			size = 2 << 20
		}
		mustRandomFile(t, filepath.Join(src, name), 1, size)
		must(t, os.Chown(filepath.Join(src, name), 1234, 4321))
		must(t, os.Chmod(filepath.Join(src, name), mode))
	}
	if err := sfs.LSetXAttr("cap", "security.capability", capability); err != nil {
		t.Skipf("no capabilities here: %v", err)
	}
	must(t, syscall.Mkfifo(filepath.Join(src, "fifo"), 0o644))
	l, err := net.Listen("unix", filepath.Join(src, "socket"))
	must(t, err)
	defer l.Close()
	for name := range special {
		must(t, sfs.SetTimes(name, when))
	}
	mustHave := func(what, dir string, kept bool) {
		t.Helper()
		fsys, err := durable.OpenOS(dir)
		must(t, err)
		defer fsys.Close()
		for name, mode := range special {
			fi, err := fsys.Lstat(name)
			must(t, err)
			want := mode
			if !kept {
				want &= fs.ModePerm
			}
			uid, gid, _ := durable.OwnerOf(fi)
			if fi.Mode() != want || uid != 1234 || gid != 4321 {
				t.Errorf("%s: %s is %v of %d:%d, want %v", what, name, fi.Mode(), uid, gid, want)
			}
		}
		attrs, err := fsys.LXAttrs("cap")
		must(t, err)
		if has := slices.ContainsFunc(attrs, func(a durable.XAttr) bool { return a.Name == "security.capability" }); has != kept {
			t.Errorf("%s: the capability: %v, want %v", what, has, kept)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "[fs]*o*")); len(left) > 0 {
			t.Errorf("%s: %q", what, left)
		}
	}
	d := acceptDaemon(t)
	for _, right := range []bool{true, false} {
		rights := "all"
		if right {
			rights = "all,special-modes"
		}
		c := d.enrolled("--rights", rights)
		sources := fmt.Sprintf("sources %v", right)
		for _, flag := range []bool{false, true} {
			what := fmt.Sprintf("flag %v, right %v", flag, right)
			args := []string{"-a", "--json"}
			if flag {
				args = append(args, "--special-modes")
			}
			o := c.want(t, 0, append([]string{"send", src + "/", d.host(what)}, args...)...)
			mustHave("sent, "+what, d.inbox(what), flag && right)
			if u := unkeptOf(t, o); slices.Equal(u, []string{"special-modes"}) == (flag && right) || len(u) > 1 {
				t.Errorf("sent, %s: not kept: %q", what, u)
			}
			for _, word := range []string{"fifo", "socket"} {
				if !strings.Contains(o.stdout, word) {
					t.Errorf("%s: not a word of the %s", what, word)
				}
			}
			o = c.want(t, 0, append([]string{"send", src + "/", d.host(what)}, args...)...)
			if u := unkeptOf(t, o); slices.Equal(u, []string{"special-modes"}) == (flag && right) || o.result(t).BytesSent > 0 {
				t.Errorf("sent again, %s: not kept: %q, %d bytes crossed", what, u, o.result(t).BytesSent)
			}
			if right && !flag {
				// What is fetched has its special modes.
				must(t, os.Mkdir(d.inbox(sources), 0o755))
				for name, mode := range special {
					from := mustRead(t, filepath.Join(src, name))
					must(t, os.WriteFile(d.inbox(sources+"/"+name), from, 0o755))
					must(t, os.Chown(d.inbox(sources+"/"+name), 1234, 4321))
					must(t, os.Chmod(d.inbox(sources+"/"+name), mode))
				}
				ifs, err := durable.OpenOS(d.inbox(sources))
				must(t, err)
				must(t, ifs.LSetXAttr("cap", "security.capability", capability))
				must(t, ifs.Close())
				must(t, syscall.Mkfifo(d.inbox(sources+"/fifo"), 0o644))
			}
			into := filepath.Join(t.TempDir(), "got")
			o = c.want(t, 0, append([]string{"get", d.host("sources true"), into}, args...)...)
			mustHave("got, "+what, into, flag && right)
			if u := unkeptOf(t, o); slices.Equal(u, []string{"special-modes"}) == (flag && right) || len(u) > 1 {
				t.Errorf("got, %s: not kept: %q", what, u)
			}
			if !strings.Contains(o.stdout, "fifo") {
				t.Errorf("%s: not a word of the fifo", what)
			}
		}
	}
	c := d.enrolled()
	o := c.want(t, 0, "send", "-a", src+"/", d.host("in words"))
	if n := strings.Count(o.stderr, "not kept"); n != 1 || !strings.Contains(o.stderr, "--special-modes") {
		t.Errorf("%d lines say what is not kept:\n%s", n, o.stderr)
	}
	if o := c.want(t, 0, "send", src+"/", d.host("no archive")); strings.Contains(o.stderr, "not kept") {
		t.Errorf("what nobody asked for is missed:\n%s", o.stderr)
	}
}

// One file, and each file of a directory where receipts are wanted, has what it has in a tree.
func TestArchiveOfSingleFiles(t *testing.T) {
	needsArchive(t)
	src := t.TempDir()
	sfs, err := durable.OpenOS(src)
	must(t, err)
	defer sfs.Close()
	for name, size := range map[string]int{"small": 10, "large": 1 << 20, "empty": 0} {
		mustRandomFile(t, filepath.Join(src, name), 1, size)
		must(t, os.Chown(filepath.Join(src, name), 1234, 4321))
		must(t, sfs.LSetXAttr(name, "user.x", []byte(name)))
		must(t, os.Chmod(filepath.Join(src, name), 0o640|fs.ModeSticky))
		must(t, sfs.SetTimes(name, time.Unix(1_500_000_000, 1)))
	}
	must(t, os.Symlink("nowhere", filepath.Join(src, "link")))
	must(t, os.Lchown(filepath.Join(src, "link"), 77, 78))
	must(t, sfs.SetTimes("link", time.Unix(1_400_000_000, 1)))
	want := archivePicture(t, src)
	delete(want, ".")
	d := acceptDaemon(t)
	c := d.enrolled()
	base := t.TempDir()
	at := func(dir string) map[string]archiveEntry {
		p := archivePicture(t, dir)
		delete(p, ".")
		return p
	}
	for name := range want {
		c.want(t, 0, "send", "-a", filepath.Join(src, name), d.host("single/"))
	}
	sent := at(d.inbox("single"))
	mustBeLike(t, "sent", sent, want)
	into := filepath.Join(base, "into")
	for _, name := range []string{"small", "large", "empty"} {
		c.want(t, 0, "send", "-a", filepath.Join(src, name), d.host("single/"))
		c.want(t, 0, "get", "-a", d.host("single/"+name), into+"/")
		c.want(t, 0, "get", "-a", d.host("single/"+name), into+"/")
	}
	mustBeUntouched(t, "sent again", at(d.inbox("single")), sent)
	c.want(t, 0, "get", "-a", d.host("single/link"), into+"/")
	mustBeLike(t, "got", at(into), want)
	must(t, os.Link(filepath.Join(src, "large"), filepath.Join(src, "linked")))
	must(t, os.Remove(filepath.Join(src, "link")))
	want = at(src)
	c.want(t, 0, "send", "-a", "--receipt", filepath.Join(base, "r"), src+"/", d.host("receipts"))
	mustBeLike(t, "sent with receipts", at(d.inbox("receipts")), want)
	c.want(t, 0, "get", "-a", "--receipt", filepath.Join(base, "r"), d.host("receipts"), filepath.Join(base, "got"))
	mustBeLike(t, "got with receipts", at(filepath.Join(base, "got")), want)
}

// Names that are not those of one file any more, or not yet, are joined again, whatever of the group has changed.
func TestHardLinksAreJoinedAgain(t *testing.T) {
	needsArchive(t)
	src := t.TempDir()
	must(t, os.Mkdir(filepath.Join(src, "d"), 0o755))
	for _, size := range []int{100, 1 << 20} {
		first := filepath.Join(src, fmt.Sprintf("b%d", size))
		mustRandomFile(t, first, 1, size)
		must(t, os.Link(first, filepath.Join(src, fmt.Sprintf("c%d", size))))
		must(t, os.Link(first, filepath.Join(src, fmt.Sprintf("d/e%d", size))))
	}
	d := acceptDaemon(t)
	c := d.enrolled()
	back := filepath.Join(t.TempDir(), "back")
	both := func(what string, payload bool) {
		t.Helper()
		for _, way := range []struct{ args []string }{{[]string{"send", src + "/", d.host("tree")}}, {[]string{"get", d.host("tree/"), back}}} {
			o := c.want(t, 0, append(way.args, "-a", "--json")...)
			if r := o.result(t); (r.BytesSent > 0) != payload {
				t.Errorf("%s: %v: %d bytes crossed", what, way.args, r.BytesSent)
			}
		}
		want := archivePicture(t, src)
		mustBeLike(t, what+", sent", archivePicture(t, d.inbox("tree")), want)
		got := archivePicture(t, back)
		delete(want, ".")
		delete(got, ".")
		mustBeLike(t, what+", got", got, want)
	}
	both("new", true)
	separate := func(name string) { // the same file, as one of its own
		fi, err := os.Stat(name)
		must(t, err)
		b := mustRead(t, name)
		must(t, os.Remove(name))
		must(t, os.WriteFile(name, b, 0o644))
		must(t, os.Chtimes(name, fi.ModTime(), fi.ModTime()))
	}
	for _, dir := range []string{d.inbox("tree"), back} {
		separate(filepath.Join(dir, "c100"))
		separate(filepath.Join(dir, "d/e1048576"))
		must(t, os.Remove(filepath.Join(dir, "d/e100")))
	}
	both("separate there", false)
	for _, n := range []string{"100", "1048576"} { // a new first name, and a name less
		must(t, os.Link(filepath.Join(src, "b"+n), filepath.Join(src, "a"+n)))
	}
	both("another name", true)
	mustRandomFile(t, filepath.Join(src, "c1048576"), 2, 1<<20) // in place: all names of it
	must(t, os.WriteFile(filepath.Join(src, "b100"), []byte("shorter"), 0o644))
	both("changed", true)
}
