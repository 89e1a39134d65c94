package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

var someTime = time.Unix(1_500_000_000, 123456789)

// asRoot makes d one of a process that may do anything.
func asRoot(d *Dir) *Dir {
	d.self = actor{chown: true, admin: true}
	return d
}

// asUser makes d one of a process that may only give files to one group.
func asUser(d *Dir, group uint32) *Dir {
	d.self = actor{groups: map[uint32]bool{group: true}}
	return d
}

func attr(name, value string) durable.XAttr { return durable.XAttr{Name: name, Value: []byte(value)} }

// state describes the metadata of name.
func state(t testing.TB, fsys durable.FS, name string) string {
	t.Helper()
	fi, err := fsys.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, gid, _ := durable.OwnerOf(fi)
	attrs, err := fsys.LXAttrs(name)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, a := range attrs {
		list = append(list, fmt.Sprintf("%s=%q", a.Name, a.Value))
	}
	return fmt.Sprintf("%v %d:%d %v", fi.Mode(), uid, gid, list)
}

// archive is what a sender tells of a file with everything.
func archive() Meta {
	return Meta{
		Mode: 0o755 | fs.ModeSetuid | fs.ModeSetgid, HasMode: true, MTime: someTime, HasMTime: true,
		HasOwner: true, UID: 1234, GID: 2345,
		HasXAttrs: true, XAttrs: []durable.XAttr{
			attr("security.capability", "cap"), attr("security.selinux", "label"), attr("trusted.t", "t"), attr("user.a", "a"), attr("user.b", ""),
		},
	}
}

func TestWhatOfAnArchiveIsKept(t *testing.T) {
	user := func(d *Dir) *Dir { return asUser(d, 2345) }
	stranger := func(d *Dir) *Dir { return asUser(d, 1) }
	for _, c := range []struct {
		name   string
		who    func(*Dir) *Dir
		rights Rights
		file   string
		unkept string
		dir    string
		link   string
	}{
		{
			"root, special modes", asRoot, All | SpecialModes,
			`ugrwxr-xr-x 1234:2345 [security.capability="cap" trusted.t="t" user.a="a" user.b=""]`, "",
			`dugrwxr-xr-x 1234:2345 [security.capability="cap" trusted.t="t" user.a="a" user.b=""]`,
			`Lrwxrwxrwx 1234:2345 [security.capability="cap" trusted.t="t"]`,
		},
		{
			"root", asRoot, All,
			`-rwxr-xr-x 1234:2345 [trusted.t="t" user.a="a" user.b=""]`, "special-modes",
			`dugrwxr-xr-x 1234:2345 [trusted.t="t" user.a="a" user.b=""]`,
			`Lrwxrwxrwx 1234:2345 [trusted.t="t"]`,
		},
		{
			// A file that could not be given to its owner runs as nobody else.
			"a user, special modes", user, All | SpecialModes,
			`grwxr-xr-x 0:2345 [user.a="a" user.b=""]`, "special-modes",
			`dugrwxr-xr-x 0:2345 [user.a="a" user.b=""]`,
			`Lrwxrwxrwx 0:2345 []`,
		},
		{
			"a user of other groups", stranger, All | SpecialModes,
			`-rwxr-xr-x 0:0 [user.a="a" user.b=""]`, "special-modes",
			`dugrwxr-xr-x 0:0 [user.a="a" user.b=""]`,
			`Lrwxrwxrwx 0:0 []`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := crashfs.New(1)
			d := c.who(mustOpen(t, f, Options{}))
			v := d.View("alice", c.rights)
			var unkept Unkept
			m := archive()
			m.Unkept = &unkept
			b := content(1, 1000)
			sp := specOf(t, b, "file")
			sp.Meta = m
			s, _ := mustBegin(t, v, sp)
			if _, err := sendRest(s, b); err != nil {
				t.Fatal(err)
			}
			if got := state(t, f, "file"); got != c.file || strings.Join(unkept.Words(), " ") != c.unkept {
				t.Errorf("file: %s, unkept %v\nwant  %s, %s", got, unkept.Words(), c.file, c.unkept)
			}
			must(t, v.Mkdir(mustPath(t, "dir"), false, false, &m))
			if got := state(t, f, "dir"); got != c.dir {
				t.Errorf("directory: %s\nwant       %s", got, c.dir)
			}
			must(t, v.Symlink(mustPath(t, "link"), "file", Fail, &m))
			if got := state(t, f, "link"); got != c.link {
				t.Errorf("link: %s\nwant  %s", got, c.link)
			}
			for _, name := range []string{"file", "dir", "link"} {
				fi, err := f.Lstat(name)
				must(t, err)
				if !fi.ModTime().Equal(someTime) {
					t.Errorf("%s: %v", name, fi.ModTime())
				}
				// What was set once needs not be set again, though not all of it was kept.
				a := v.allow(m)
				if same, err := a.same(f, name, fi); err != nil || !same {
					t.Errorf("%s: another look finds a difference, %v", name, err)
				}
				must(t, v.SetMeta(mustPath(t, name), m))
				if again := state(t, f, name); again != map[string]string{"file": c.file, "dir": c.dir, "link": c.link}[name] {
					t.Errorf("%s: set again: %s", name, again)
				}
			}
		})
	}
}

// Without an archive nothing but nine bits and the time is set, and a directory keeps what it has besides.
func TestWithoutAnArchive(t *testing.T) {
	f := crashfs.New(1)
	v := asRoot(mustOpen(t, f, Options{})).View("alice", All|SpecialModes)
	must(t, f.Mkdir("team", 0o755))
	must(t, f.Chmod("team", 0o775|fs.ModeSetgid|fs.ModeSticky))
	must(t, f.Lchown("team", 7, 8))
	must(t, f.LSetXAttr("team", "user.x", []byte("x")))
	m := Meta{Mode: 0o4750, HasMode: true, MTime: someTime, HasMTime: true, UID: 1, GID: 1, XAttrs: []durable.XAttr{attr("user.y", "")}}
	m.Mode = 0o750 | fs.ModeSetuid
	must(t, v.SetMeta(mustPath(t, "team"), m))
	if got, want := state(t, f, "team"), `dgtrwxr-x--- 7:8 [user.x="x"]`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	b := content(1, 10)
	sp := specOf(t, b, "file")
	sp.Meta = m
	s, _ := mustBegin(t, v, sp)
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	if got, want := state(t, f, "file"), `-rwxr-x--- 0:0 []`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What the source does not have is removed, in the namespaces that are kept, and nothing else.
func TestXAttrsThatTheSourceLacksAreRemoved(t *testing.T) {
	for _, c := range []struct {
		name   string
		who    func(*Dir) *Dir
		rights Rights
		want   string
	}{
		{"root, special modes", asRoot, All | SpecialModes, `[security.ima="i" security.selinux="s" user.keep="new"]`},
		{"root", asRoot, All, `[security.SMACK64="m" security.capability="c" security.ima="i" security.selinux="s" user.keep="new"]`},
		{"a user", func(d *Dir) *Dir { return asUser(d, 0) }, All | SpecialModes,
			`[security.SMACK64="m" security.capability="c" security.ima="i" security.selinux="s" trusted.x="t" user.keep="new"]`},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := crashfs.New(1)
			v := c.who(mustOpen(t, f, Options{})).View("alice", c.rights)
			must(t, durable.WriteFile(f, "file", []byte("x"), 0o644))
			for _, a := range []durable.XAttr{
				attr("user.gone", "x"), attr("user.keep", "old"), attr("trusted.x", "t"), attr("security.capability", "c"),
				attr("security.selinux", "s"), attr("security.ima", "i"), attr("security.SMACK64", "m"), attr(aclAccess, "acl"),
			} {
				must(t, f.LSetXAttr("file", a.Name, a.Value))
			}
			m := Meta{HasXAttrs: true, XAttrs: []durable.XAttr{attr("user.keep", "new")}}
			must(t, v.SetMeta(mustPath(t, "file"), m))
			if got := state(t, f, "file"); !strings.HasSuffix(got, c.want) {
				t.Errorf("%s\nwant %s", got, c.want)
			}
		})
	}
}

// Attributes of a peer that are too many, too long or out of order, or have no place in any file, do no harm.
func TestHostileXAttrs(t *testing.T) {
	many := make([]durable.XAttr, 129)
	for i := range many {
		many[i] = attr(fmt.Sprintf("user.%03d", i), "")
	}
	for _, c := range []struct {
		name  string
		attrs []durable.XAttr
		want  string
		words string
	}{
		{"too many", many, `[user.old="old"]`, "xattrs"},
		{"too long", []durable.XAttr{attr("user.a", strings.Repeat("x", 64<<10))}, `[user.old="old"]`, "xattrs"},
		{"out of order", []durable.XAttr{attr("user.b", ""), attr("user.a", "")}, `[user.old="old"]`, "xattrs"},
		{"twice", []durable.XAttr{attr("user.a", ""), attr("user.a", "")}, `[user.old="old"]`, "xattrs"},
		{"no name", []durable.XAttr{attr("", "x"), attr(".", "x"), attr("user", "x"), attr("user.", "x")}, `[]`, ""},
		{"a name with a NUL", []durable.XAttr{attr("user.\x00a", "x")}, `[]`, "xattrs"},
		{"other namespaces", []durable.XAttr{attr("btrfs.compression", ""), attr("system.nfs4_acl", ""), attr("xfer.acl-names", "junk")}, `[]`, ""},
		{"a foreign label", []durable.XAttr{attr("security.evm", ""), attr("security.ima", ""), attr("security.selinux", "")}, `[]`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := crashfs.New(1)
			v := asRoot(mustOpen(t, f, Options{})).View("alice", All|SpecialModes)
			must(t, durable.WriteFile(f, "file", []byte("x"), 0o644))
			must(t, f.LSetXAttr("file", "user.old", []byte("old")))
			var u Unkept
			must(t, v.SetMeta(mustPath(t, "file"), Meta{HasOwner: true, HasXAttrs: true, XAttrs: c.attrs, Unkept: &u}))
			if got := state(t, f, "file"); !strings.HasSuffix(got, c.want) || strings.Join(u.Words(), " ") != c.words {
				t.Errorf("%s, unkept %v; want %s, %s", got, u.Words(), c.want, c.words)
			}
		})
	}
}

// An archive that was published is there with all of its metadata after a power cut.
func TestMetadataAreDurableWithTheReceipt(t *testing.T) {
	for seed := range uint64(30) {
		f := crashfs.New(seed)
		d := asRoot(mustOpen(t, f, Options{}))
		b := content(1, 1000)
		sp := specOf(t, b, "file")
		m := archive()
		s, _ := mustBegin(t, d.View("alice", All|SpecialModes), sp)
		mustPut(t, s, b, 0)
		c := commitOf(b)
		c.Meta = &m
		if _, err := s.Publish(context.Background(), c); err != nil {
			t.Fatal(err)
		}
		after := f.Crash()
		if got, want := state(t, after, "file"), `ugrwxr-xr-x 1234:2345 [security.capability="cap" trusted.t="t" user.a="a" user.b=""]`; got != want {
			t.Fatalf("seed %d: %s, want %s", seed, got, want)
		}
		if fi, err := after.Stat("file"); err != nil || !fi.ModTime().Equal(someTime) {
			t.Fatalf("seed %d: %v %v", seed, fi.ModTime(), err)
		}
	}
}

// Guard: meta_allow.go, owner: names before numbers.
func TestOwnersGoByNameThenByNumber(t *testing.T) {
	f := crashfs.New(1)
	d := asRoot(mustOpen(t, f, Options{}))
	me := d.owners.UserName(uint32(max(os.Geteuid(), 0)))
	if me == "" {
		t.Skip("the user of this test has no name")
	}
	must(t, durable.WriteFile(f, "file", nil, 0o644))
	set := func(m Meta) string {
		t.Helper()
		m.HasOwner = true
		must(t, d.View("alice", All).SetMeta(mustPath(t, "file"), m))
		fi, err := f.Stat("file")
		must(t, err)
		uid, gid, _ := durable.OwnerOf(fi)
		return fmt.Sprint(uid, ":", gid)
	}
	if got, want := set(Meta{UID: 777, User: me, GID: 888, Group: "no-such-group-here"}), fmt.Sprint(os.Geteuid(), ":", 888); got != want {
		t.Errorf("by name: %s, want %s", got, want)
	}
	if got := set(Meta{UID: 0, User: "whatever", GID: 0}); got != "0:0" {
		t.Errorf("the super-user: %s", got)
	}
	if got := set(Meta{UID: 1<<32 - 1, GID: 5}); got != "0:5" {
		t.Errorf("the number that means none: %s", got)
	}
}

func TestReadMeta(t *testing.T) {
	f := crashfs.New(1)
	must(t, durable.WriteFile(f, "file", []byte("x"), 0o644))
	must(t, f.Symlink("file", "link"))
	must(t, f.Mkdir("dir", 0o755))
	m := archive()
	d := asRoot(mustOpen(t, f, Options{}))
	for _, name := range []string{"file", "dir", "link"} {
		must(t, d.View("alice", All|SpecialModes).SetMeta(mustPath(t, name), m))
	}
	read := func(k Keep, name string) string {
		t.Helper()
		fi, err := f.Lstat(name)
		must(t, err)
		got, err := k.ReadMetaAt(f, name, fi)
		must(t, err)
		if name != "link" {
			h, err := f.OpenFile(name, os.O_RDONLY, 0)
			must(t, err)
			defer h.Close()
			open, err := k.ReadMeta(h)
			must(t, err)
			if !reflect.DeepEqual(open, got) {
				t.Errorf("%s: open %+v, by name %+v", name, open, got)
			}
		}
		var names []string
		for _, a := range got.XAttrs {
			names = append(names, a.Name)
		}
		if !got.MTime.Equal(someTime) || !got.HasMTime || got.HasMode != (name != "link") {
			t.Errorf("%s: %+v", name, got)
		}
		return fmt.Sprintf("%v %v %d:%d %v %v", got.Mode, got.HasOwner, got.UID, got.GID, got.HasXAttrs, names)
	}
	for _, c := range []struct {
		k          Keep
		name, want string
	}{
		{Keep{}, "file", "-rwxr-xr-x false 0:0 false []"},
		{Keep{}, "dir", "-rwxr-xr-x false 0:0 false []"},
		{Keep{Archive: true}, "file", "-rwxr-xr-x true 1234:2345 true [trusted.t user.a user.b]"},
		{Keep{Archive: true}, "dir", "ugrwxr-xr-x true 1234:2345 true [trusted.t user.a user.b]"},
		{Keep{Archive: true, Special: true}, "file", "ugrwxr-xr-x true 1234:2345 true [security.capability trusted.t user.a user.b]"},
		{Keep{Archive: true, Special: true}, "link", "Lrwxrwxrwx true 1234:2345 true [security.capability trusted.t]"},
	} {
		got := read(c.k, c.name)
		if c.name == "link" {
			got = "L" + got[1:]
		}
		if got != c.want {
			t.Errorf("%+v %s: %s, want %s", c.k, c.name, got, c.want)
		}
	}
	// More than there may be is an error that names the file.
	must(t, f.LSetXAttr("file", "user.big", make([]byte, 64<<10)))
	fi, err := f.Lstat("file")
	must(t, err)
	if _, err := (Keep{Archive: true}).ReadMetaAt(f, "file", fi); err == nil || !strings.Contains(err.Error(), "file") {
		t.Errorf("too many: %v", err)
	}
}

// acl makes the value of an ACL: tag, permissions, number.
func acl(entries ...[3]uint32) string {
	var list []aclEntry
	for _, e := range entries {
		list = append(list, aclEntry{uint16(e[0]), uint16(e[1]), e[2]})
	}
	return string(appendACL(nil, list))
}

const noOne = 1<<32 - 1

func TestACLsAreMappedByName(t *testing.T) {
	var owners durable.Owners
	me := uint32(max(os.Geteuid(), 0))
	name := owners.UserName(me)
	if name == "" {
		t.Skip("the user of this test has no name")
	}
	names := aclNames{{false, 5001}: name, {false, 5002}: "no-such-user-here", {true, 5001}: "no-such-group-here"}
	from := acl([3]uint32{1, 6, noOne}, [3]uint32{2, 7, 5001}, [3]uint32{2, 5, 5002}, [3]uint32{4, 4, noOne}, [3]uint32{8, 4, 5001}, [3]uint32{16, 7, noOne}, [3]uint32{32, 0, noOne})
	want := []aclEntry{{1, 6, noOne}, {2, 7, me}, {2, 5, 5002}, {4, 4, noOne}, {8, 4, 5001}, {16, 7, noOne}, {32, 0, noOne}}
	if me > 5002 {
		want[1], want[2] = want[2], want[1]
	}
	got, ok := parseACL(names.mapACL([]byte(from), &owners))
	if !ok || !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := (aclNames{}).mapACL([]byte(from), &owners); string(got) != from {
		t.Error("without names it was changed")
	}
	// Two users of the sender who are one here may do what both might.
	names[aclName{false, 5002}] = name
	got, _ = parseACL(names.mapACL([]byte(from), &owners))
	if len(got) != 6 || got[1] != (aclEntry{2, 5, me}) {
		t.Errorf("merged: %v", got)
	}
	for _, junk := range []string{"", "x", "\x02\x00\x00\x00x", "\x03\x00\x00\x00"} {
		if got := names.mapACL([]byte(junk), &owners); string(got) != junk {
			t.Errorf("%q became %q", junk, got)
		}
	}
}

func TestACLNamesTravel(t *testing.T) {
	var owners durable.Owners
	me := uint32(max(os.Geteuid(), 0))
	if me == 0 {
		me = 1 // "daemon" on most systems; the super-user has no need of a name
	}
	name, group := owners.Lookup(me, me)
	if name == "" || group == "" {
		t.Skip("no user and group of number", me)
	}
	m := Meta{XAttrs: []durable.XAttr{
		attr(aclAccess, acl([3]uint32{2, 7, me}, [3]uint32{2, 7, 0}, [3]uint32{2, 7, 4_000_000})),
		attr(aclDefault, acl([3]uint32{2, 7, me}, [3]uint32{8, 7, me})),
		attr("user.x", ""),
	}}
	m.addACLNames(&owners)
	got := findACLNames(m.XAttrs)
	if want := (aclNames{{false, me}: name, {true, me}: group}); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if !soundXAttrs(m.XAttrs) || len(m.XAttrs) != 4 {
		t.Errorf("%d attributes, or out of order", len(m.XAttrs))
	}
	full := Meta{XAttrs: append(slices.Clone(m.XAttrs[:2]), attr("user.x", strings.Repeat("x", 64<<10-130)))}
	full.addACLNames(&owners)
	if len(full.XAttrs) != 3 {
		t.Error("names were added beyond the limit")
	}
}

// FuzzACL: whatever a peer says is an ACL, or the names for one, is mapped to something of the same form, or left alone.
func FuzzACL(f *testing.F) {
	f.Add([]byte(acl([3]uint32{1, 6, noOne}, [3]uint32{2, 7, 5001})), []byte("\x01\x00\x00\x13\x89\x04root"))
	f.Add([]byte("\x02\x00\x00\x00"), []byte("\x02\x00\x00\x00\x01\x00"))
	f.Add([]byte(nil), []byte("\x01"))
	var owners durable.Owners
	f.Fuzz(func(t *testing.T, value, names []byte) {
		n := findACLNames([]durable.XAttr{{Name: aclNamesAttr, Value: names}})
		got := n.mapACL(value, &owners)
		list, ok := parseACL(value)
		again, okAgain := parseACL(got)
		if ok != okAgain || len(again) > len(list) {
			t.Fatalf("%x became %x", value, got)
		}
		_ = (&effects{xattrs: []durable.XAttr{{Name: aclAccess, Value: value}}}).withoutACL(0o777)
	})
}

// Without its ACL a file must not give the group what only the mask allowed.
func TestAModeWithoutItsACL(t *testing.T) {
	e := &effects{xattrs: []durable.XAttr{attr(aclAccess, acl([3]uint32{1, 7, noOne}, [3]uint32{2, 7, 5001}, [3]uint32{4, 4, noOne}, [3]uint32{16, 7, noOne}, [3]uint32{32, 1, noOne}))}}
	if got := e.withoutACL(0o771 | fs.ModeSticky); got != 0o741|fs.ModeSticky {
		t.Errorf("%v", got)
	}
	if got := (&effects{}).withoutACL(0o771); got != 0o771 {
		t.Errorf("%v", got)
	}
}

// stubborn is a file whose attributes only its owner may read, and nobody set.
type stubborn struct{ named }

func (s stubborn) XAttrs() ([]durable.XAttr, error) {
	if fi, err := s.Stat(); err != nil || fi.Mode()&0o400 == 0 {
		return nil, syscall.EACCES
	}
	return nil, nil
}

func (s stubborn) SetXAttr(string, []byte) error { return syscall.EIO }

// What runs as its owner does not run as the next one, whatever fails on the way.
func TestAFailureGivesNoSetuidToTheNextOwner(t *testing.T) {
	f := crashfs.New(1)
	v := asRoot(mustOpen(t, f, Options{})).View("alice", All)
	must(t, durable.WriteFile(f, "file", []byte("x"), 0o644))
	must(t, f.Chmod("file", 0o011|setIDs))
	m := v.allow(Meta{HasOwner: true, UID: 7, GID: 8, HasXAttrs: true, XAttrs: []durable.XAttr{attr("user.a", "")}})
	if err := m.archive(stubborn{named{f, "file"}}); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if got, want := state(t, f, "file"), "------x--x 7:8 []"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
