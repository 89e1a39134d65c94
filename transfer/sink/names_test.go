package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

func TestList(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	v := d.View("alice", All)
	var want []string
	for i := range 25 {
		n := fmt.Sprintf("n%02d\xff", (i*7)%25)
		if err := v.Mkdir(mustPath(t, "dir", n), true, false, nil); err != nil {
			t.Fatal(err)
		}
		want = append(want, n)
	}
	slices.Sort(want)
	var got []string
	after, pages := "", 0
	for more := true; more; pages++ {
		var es []Entry
		var err error
		es, more, err = v.List(context.Background(), mustPath(t, "dir"), after, 4)
		if err != nil || len(es) == 0 {
			t.Fatal(es, err)
		}
		for _, e := range es {
			got = append(got, e.Name)
		}
		after = got[len(got)-1]
	}
	if !slices.Equal(got, want) || pages != 7 {
		t.Errorf("got %q in %d pages", got, pages)
	}
	if _, _, err := v.List(context.Background(), mustPath(t, "none"), "", 4); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, n := range []int{0, -1, 1 << 20} {
		if _, _, err := v.List(context.Background(), Path{}, "", n); !errors.Is(err, ErrRange) {
			t.Error(n, err)
		}
	}
	s, _ := mustBegin(t, v, specOf(t, []byte("x"), "file"))
	defer s.Park()
	es, _, err := v.List(context.Background(), Path{}, "", 100)
	if err != nil || len(es) != 1 || es[0].Name != "dir" {
		t.Errorf("the root has %+v, %v", es, err)
	}
}

func TestMkdir(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{})
	v := d.View("alice", All)
	when := time.Unix(1_600_000_000, 5)
	m := &Meta{HasMode: true, Mode: 0o750, HasMTime: true, MTime: when}
	if err := v.Mkdir(mustPath(t, "a", "b"), false, false, m); !errors.Is(err, fs.ErrNotExist) {
		t.Error("without parents:", err)
	}
	if err := v.Mkdir(mustPath(t, "a", "b"), true, false, m); err != nil {
		t.Error(err)
	}
	if err := v.Mkdir(mustPath(t, "a", "b"), true, false, m); !errors.Is(err, fs.ErrExist) {
		t.Error("again:", err)
	}
	if err := v.Mkdir(mustPath(t, "a", "b"), true, true, m); err != nil {
		t.Error("again, and that is fine:", err)
	}
	for i := range uint64(10) {
		if _, err := f.Image(i).Lstat("a/b"); err != nil {
			t.Fatal("not durable:", err)
		}
	}
	if e, err := v.Stat(mustPath(t, "a", "b")); err != nil || e.Kind != Directory || e.Mode != 0o750 || !e.MTime.Equal(when) || e.Name != "b" {
		t.Errorf("%+v %v", e, err)
	}
	if err := v.Symlink(mustPath(t, "l"), "a/b", Replace, nil); err != nil {
		t.Fatal(err)
	}
	if err := v.Mkdir(mustPath(t, "l"), false, true, nil); err != nil {
		t.Error("a link to a directory is one:", err)
	}
	if err := v.Mkdir(mustPath(t, "l", "c"), false, true, nil); err != nil {
		t.Error(err)
	}
	for i := range uint64(10) {
		if _, err := f.Image(i).Lstat("a/b/c"); err != nil {
			t.Fatal("not durable:", err)
		}
	}
}

func TestSymlink(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{})
	v := d.View("alice", All)
	p := mustPath(t, "dir", "l")
	when := time.Unix(1_500_000_000, 7)
	m := &Meta{HasMTime: true, MTime: when}
	target := "../../etc/\xffpasswd\n"
	if err := v.Symlink(p, target, Fail, m); err != nil {
		t.Fatal(err)
	}
	if e, err := v.Stat(p); err != nil || e.Kind != Link || e.Target != target || !e.MTime.Equal(when) {
		t.Errorf("%+v %v", e, err)
	}
	if err := v.Symlink(p, target, Fail, m); err != nil {
		t.Error("the same again:", err)
	}
	if err := v.Symlink(p, "other", Fail, m); !errors.Is(err, fs.ErrExist) {
		t.Error("another one:", err)
	}
	if err := v.Symlink(p, "other", Replace, m); err != nil {
		t.Error(err)
	}
	if err := v.Symlink(p, "third", Version, m); err != nil {
		t.Error(err)
	}
	if es, err := d.fs.ReadDir(versionsDir + "/dir/l"); err != nil || len(es) != 1 {
		t.Error("no version is kept", es, err)
	}
	if err := v.Symlink(mustPath(t, "dir"), "x", Replace, nil); !errors.Is(err, ErrIsDir) {
		t.Error("over a directory:", err)
	}
	for _, bad := range []string{"", "a\x00b", strings.Repeat("x", 4096)} {
		if err := v.Symlink(p, bad, Replace, nil); !errors.Is(err, ErrBadPath) {
			t.Error(bad, err)
		}
	}
	for i := range uint64(10) {
		if l, err := f.Image(i).Readlink("dir/l"); err != nil || l != "third" {
			t.Fatal("not durable:", l, err)
		}
	}
}

func TestRemoveAndRename(t *testing.T) {
	f := crashfs.New(1)
	for _, n := range []string{"a/b/file", "keep/file"} {
		if err := errors.Join(durable.MkdirAll(f, durable.Dir(n), 0o777), durable.WriteFile(f, n, []byte(n), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	d := mustOpen(t, f, Options{})
	v := d.View("alice", All)
	if err := v.Symlink(mustPath(t, "a", "l"), "../keep", Replace, nil); err != nil {
		t.Fatal(err)
	}
	if err := v.Remove(mustPath(t, "a"), false, false); err == nil {
		t.Error("a full directory was removed")
	}
	if err := v.Remove(mustPath(t, "none"), false, false); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := v.Remove(mustPath(t, "none", "x"), false, true); err != nil {
		t.Error("missing is fine:", err)
	}
	if err := v.Remove(Path{}, true, true); !errors.Is(err, ErrBadPath) {
		t.Error("the root:", err)
	}
	if err := v.Rename(mustPath(t, "a", "b", "file"), mustPath(t, "keep", "file"), true); !errors.Is(err, fs.ErrExist) {
		t.Error("over a file:", err)
	}
	if err := v.Rename(mustPath(t, "a", "b", "file"), mustPath(t, "keep"), false); !errors.Is(err, ErrIsDir) {
		t.Error("over a directory:", err)
	}
	if err := v.Rename(mustPath(t, "a", "b", "file"), mustPath(t, "keep", "new"), false); err != nil {
		t.Error(err)
	}
	if err := v.Remove(mustPath(t, "a"), true, false); err != nil {
		t.Error(err)
	}
	for i := range uint64(10) {
		img := f.Image(i)
		if _, err := img.Lstat("a"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal("removed, not durably:", err)
		}
		for name, want := range map[string]string{"keep/file": "keep/file", "keep/new": "a/b/file"} {
			if b, err := readAll(img, name); err != nil || string(b) != want {
				t.Fatalf("%s: %q %v", name, b, err)
			}
		}
	}
}

// Guard: rights.go need, called at the head of each method.
func TestRights(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	ctx := context.Background()
	all := d.View("root", All)
	s, _ := mustBegin(t, all, specOf(t, []byte("x"), "file"))
	if _, err := sendRest(s, []byte("x")); err != nil {
		t.Fatal(err)
	}
	p, q := mustPath(t, "file"), mustPath(t, "none")
	ops := map[string]struct {
		need Rights
		do   func(v *View, p Path) error
	}{
		"open":    {Get, func(v *View, p Path) error { _, err := v.Open(p); return err }},
		"hash":    {Get, func(v *View, p Path) error { _, _, err := v.Hash(ctx, p, nil); return err }},
		"list":    {RList, func(v *View, p Path) error { _, _, err := v.List(ctx, p, "", 1); return err }},
		"stat":    {RStat, func(v *View, p Path) error { _, err := v.Stat(p); return err }},
		"mkdir":   {RMkdir, func(v *View, p Path) error { return v.Mkdir(p, false, false, nil) }},
		"remove":  {RDelete, func(v *View, p Path) error { return v.Remove(p, false, false) }},
		"rename":  {RRename, func(v *View, p Path) error { return v.Rename(p, p, false) }},
		"symlink": {Put, func(v *View, p Path) error { return v.Symlink(p, "x", Fail, nil) }},
		"meta":    {Put, func(v *View, p Path) error { return v.SetMeta(p, Meta{}) }},
		"begin":   {Put, func(v *View, p Path) error { _, _, err := v.Begin(ctx, specOf(t, nil, p.parts...)); return err }},
		"confirm": {Put, func(v *View, p Path) error {
			_, err := v.Confirm(ctx, specOf(t, nil, p.parts...), commitOf(nil))
			return err
		}},
		"existing": {Put, func(v *View, p Path) error { _, err := v.Existing(p); return err }},
	}
	for name, op := range ops {
		without := d.View("mallory", All&^op.need)
		a, b := op.do(without, p), op.do(without, q)
		if !errors.Is(a, ErrDenied) || !errors.Is(b, ErrDenied) {
			t.Errorf("%s without the right: %v, %v", name, a, b)
		} else if a.Error() != b.Error() {
			t.Errorf("%s tells whether the file exists: %v, %v", name, a, b)
		}
		if err := op.do(d.View("bob", op.need), mustPath(t, "b", name)); errors.Is(err, ErrDenied) && name != "meta" {
			t.Errorf("%s with the right alone: %v", name, err)
		}
	}
	// Who may only rename does not get rid of a file by that.
	must(t, all.Symlink(q, "elsewhere", Fail, nil))
	if err := d.View("bob", RRename).Rename(q, p, false); !errors.Is(err, fs.ErrExist) {
		t.Error("renamed over a file without the right to put or delete:", err)
	}
	must(t, all.Remove(q, false, false))
	// Who may only put does not learn from metadata what is there.
	blind := d.View("bob", Put|NoReplace)
	a, b := blind.SetMeta(p, Meta{}), blind.SetMeta(q, Meta{})
	if !errors.Is(a, ErrDenied) || !errors.Is(b, ErrDenied) {
		t.Error(a, b)
	}
}
