package durable_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// hasXAttrs skips a test where files of this file system have no attributes of users.
func hasXAttrs(t *testing.T, fsys durable.FS) {
	t.Helper()
	mustWrite(t, fsys, "probe", "")
	if err := fsys.LSetXAttr("probe", "user.probe", nil); errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("no extended attributes here: %v", err)
	}
	must(t, fsys.Remove("probe"))
}

func isRoot() bool { return os.Geteuid() == 0 }

func names(attrs []durable.XAttr) (list []string) {
	for _, a := range attrs {
		list = append(list, a.Name+"="+string(a.Value))
	}
	return list
}

func TestXAttrs(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		hasXAttrs(t, fsys)
		must(t, fsys.Mkdir("d", 0o755))
		for _, name := range []string{"d/f", "d", "."} {
			if name == "d/f" {
				mustWrite(t, fsys, name, "content")
			}
			f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
			must(t, err)
			defer f.Close()
			if attrs, err := f.XAttrs(); err != nil || len(attrs) != 0 {
				t.Fatalf("%s: %v, %v, want none", name, attrs, err)
			}
			long := strings.Repeat("v", 3000)
			must(t, f.SetXAttr("user.b", []byte("old")))
			must(t, f.SetXAttr("user.b", []byte("two")))
			must(t, fsys.LSetXAttr(name, "user.a", []byte{}))
			must(t, fsys.LSetXAttr(name, "user.c", []byte(long)))
			want := []string{"user.a=", "user.b=two", "user.c=" + long}
			a, errA := f.XAttrs()
			b, errB := fsys.LXAttrs(name)
			if errA != nil || errB != nil || !reflect.DeepEqual(names(a), want) || !reflect.DeepEqual(names(b), want) {
				t.Fatalf("%s: %v, %v; %v, %v; want %v", name, names(a), errA, names(b), errB, want)
			}
			must(t, f.RemoveXAttr("user.a"))
			must(t, fsys.LRemoveXAttr(name, "user.c"))
			for _, err := range []error{f.RemoveXAttr("user.a"), fsys.LRemoveXAttr(name, "user.c")} {
				if !errors.Is(err, durable.ErrNoXAttr) {
					t.Errorf("%s: removed twice: %v", name, err)
				}
			}
			if a, err = f.XAttrs(); err != nil || !reflect.DeepEqual(names(a), want[1:2]) {
				t.Errorf("%s: %v, %v", name, names(a), err)
			}
		}
	})
}

// What is not to be set is refused in the same way by the system and in memory.
func TestXAttrsThatAreRefused(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		hasXAttrs(t, fsys)
		mustWrite(t, fsys, "f", "")
		must(t, fsys.Symlink("f", "link"))
		for _, c := range []struct {
			file, name string
			want       error
		}{
			{"f", "nospace", syscall.EOPNOTSUPP},
			{"f", "xfer.x", syscall.EOPNOTSUPP},
			{"f", "system.x", syscall.EOPNOTSUPP},
			{"f", "user.", syscall.EINVAL},
			{"f", "", syscall.ERANGE},
			{"f", "user." + strings.Repeat("n", 251), syscall.ERANGE},
			{"link", "user.x", syscall.EPERM},
			{"missing", "user.x", fs.ErrNotExist},
		} {
			if err := fsys.LSetXAttr(c.file, c.name, []byte("x")); !errors.Is(err, c.want) {
				t.Errorf("%s %.20q: %v, want %v", c.file, c.name, err, c.want)
			}
		}
		if err := fsys.LSetXAttr("f", "user.big", make([]byte, 64<<10+1)); !errors.Is(err, syscall.E2BIG) {
			t.Errorf("a value of more than 64 KiB: %v", err)
		}
		if attrs, err := fsys.LXAttrs("link"); err != nil || len(attrs) != 0 {
			t.Errorf("the link has %v, %v", attrs, err)
		}
		var pe *fs.PathError
		if err := fsys.LSetXAttr("f", "nospace", nil); !errors.As(err, &pe) || pe.Path != "f" {
			t.Errorf("the error does not name the file: %v", err)
		}
	})
}

func TestXAttrsHaveLimits(t *testing.T) {
	t.Run("names", func(t *testing.T) {
		run(t, func(t *testing.T, fsys durable.FS) {
			hasXAttrs(t, fsys)
			mustWrite(t, fsys, "f", "")
			for i := range durable.MaxXAttrs {
				if err := fsys.LSetXAttr("f", fmt.Sprintf("user.%d", i), nil); errors.Is(err, syscall.ENOSPC) {
					t.Skip("a file has no room for so many")
				} else {
					must(t, err)
				}
			}
			attrs, err := fsys.LXAttrs("f")
			if err != nil || len(attrs) != durable.MaxXAttrs {
				t.Fatalf("%d, %v", len(attrs), err)
			}
			must(t, fsys.LSetXAttr("f", "user.more", nil))
			if _, err := fsys.LXAttrs("f"); !errors.Is(err, durable.ErrXAttrs) || !strings.Contains(err.Error(), "f:") {
				t.Errorf("one more: %v", err)
			}
		})
	})
	t.Run("bytes", func(t *testing.T) {
		fsys := crashfs.New(1) // the system's take less
		mustWrite(t, fsys, "f", "")
		must(t, fsys.LSetXAttr("f", "user.a", make([]byte, 32<<10-6)))
		must(t, fsys.LSetXAttr("f", "user.b", make([]byte, 32<<10-6)))
		if attrs, err := fsys.LXAttrs("f"); err != nil || len(attrs) != 2 {
			t.Errorf("64 KiB: %v", err)
		}
		must(t, fsys.LSetXAttr("f", "user.c", nil))
		if _, err := fsys.LXAttrs("f"); !errors.Is(err, durable.ErrXAttrs) {
			t.Errorf("more than 64 KiB: %v", err)
		}
	})
}

func TestChown(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		mustWrite(t, fsys, "f", "")
		must(t, fsys.Symlink("f", "link"))
		must(t, fsys.Symlink("missing", "dangling"))
		uid, gid := os.Geteuid(), os.Getegid()
		if isRoot() || uid < 0 { // Windows has no numbers
			uid, gid = 12345, 54321
		}
		owner := func(name string) [2]uint32 {
			t.Helper()
			fi, err := fsys.Lstat(name)
			must(t, err)
			u, g, ok := durable.OwnerOf(fi)
			if !ok {
				t.Skip("no owners here")
			}
			return [2]uint32{u, g}
		}
		was := owner("f")
		want := [2]uint32{uint32(uid), uint32(gid)}
		must(t, fsys.Lchown("link", uid, gid))
		must(t, fsys.Lchown("dangling", uid, -1))
		if owner("f") != was || owner("link") != want || owner("dangling")[0] != want[0] {
			t.Errorf("file %v, link %v, dangling %v", owner("f"), owner("link"), owner("dangling"))
		}
		f, err := fsys.OpenFile("f", os.O_RDWR, 0)
		must(t, err)
		defer f.Close()
		must(t, f.Chmod(0o755|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky))
		if fi, err := f.Stat(); err != nil || fi.Mode() != 0o755|fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky {
			t.Fatalf("%v, %v", fi.Mode(), err)
		}
		must(t, f.Chown(-1, -1))
		must(t, f.Chown(uid, -1))
		must(t, f.Chown(-1, gid))
		fi, err := f.Stat()
		must(t, err)
		if owner("f") != want || fi.Mode()&(fs.ModeSetuid|fs.ModeSetgid) != 0 {
			t.Errorf("owner %v, want %v; mode %v", owner("f"), want, fi.Mode())
		}
		must(t, fsys.Mkdir("d", 0o755))
		must(t, fsys.Chmod("d", 0o755|fs.ModeSetgid|fs.ModeSticky))
		must(t, fsys.Lchown("d", uid, gid))
		if fi, err := fsys.Stat("d"); err != nil || fi.Mode() != fs.ModeDir|fs.ModeSetgid|fs.ModeSticky|0o755 || owner("d") != want {
			t.Errorf("directory: %v, %v, %v", fi.Mode(), owner("d"), err)
		}
		must(t, fsys.Lchown(".", uid, gid))
		if owner(".") != want {
			t.Errorf("the root belongs to %v", owner("."))
		}
	})
}

// Owner and attributes are durable with Sync, as the mode is, each for itself before.
func TestOwnerAndXAttrsNeedSync(t *testing.T) {
	f := crashfs.New(1)
	must(t, durable.WriteFile(f, "f", nil, 0o644))
	h, err := f.OpenFile("f", os.O_RDWR, 0)
	must(t, err)
	see := func() map[string]int {
		seen := map[string]int{}
		for seed := range uint64(200) {
			im := f.Image(seed)
			fi, err := im.Stat("f")
			must(t, err)
			uid, gid, _ := durable.OwnerOf(fi)
			attrs, err := im.LXAttrs("f")
			must(t, err)
			seen[fmt.Sprint(uid, gid, names(attrs))]++
		}
		return seen
	}
	must(t, h.SetXAttr("user.a", []byte("1")))
	must(t, h.Sync())
	must(t, h.Chown(5, 6))
	must(t, h.SetXAttr("user.a", []byte("2")))
	must(t, h.SetXAttr("user.b", []byte("2")))
	must(t, h.SyncData())
	if seen := see(); len(seen) != 8 {
		t.Errorf("seen %v, want each of owner, a and b old or new", seen)
	}
	must(t, h.Sync())
	if seen := see(); len(seen) != 1 || seen["5 6 [user.a=2 user.b=2]"] == 0 {
		t.Errorf("after Sync: %v", seen)
	}
	must(t, h.RemoveXAttr("user.a"))
	if seen := see(); len(seen) != 2 {
		t.Errorf("removed and not synced: %v", seen)
	}
	must(t, f.SyncDir("."))
	must(t, f.LSetXAttr(".", "user.dir", nil))
	must(t, f.SyncDir("."))
	if attrs, err := f.Crash().LXAttrs("."); err != nil || len(attrs) != 1 {
		t.Errorf("a directory: %v, %v", attrs, err)
	}
}
