package sink

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// TestStageBesideTheFile: where a mount lies between, the stage is made on the other side. The other device is played.
func TestStageBesideTheFile(t *testing.T) {
	f := crashfs.New(1)
	if err := durable.MkdirAll(f, "mnt/dir", 0o777); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	d := mustOpen(t, &mounted{FS: f}, Options{Now: func() time.Time { return now }})
	v := d.View("alice", All)
	b := content(1, 2*chunk18)
	sp := specOf(t, b, "mnt", "dir", "new", "file")
	s, _ := mustBegin(t, v, sp)
	if !strings.HasPrefix(s.dir, "mnt/dir/.xfer-") {
		t.Fatal("stage in", s.dir)
	}
	mustPut(t, s, b, 0)
	if _, err := s.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
	if es, _, err := v.List(context.Background(), mustPath(t, "mnt", "dir"), "", 10); err != nil || len(es) != 0 {
		t.Error("seen:", es, err)
	}
	s, found := mustBegin(t, v, sp)
	if len(found.Have) != 1 {
		t.Errorf("found %+v", found)
	}
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "mnt/dir/new/file", b)
	if es, err := f.ReadDir("mnt/dir"); err != nil || len(es) != 1 {
		t.Error("left:", es, err)
	}
	if es, err := f.ReadDir(awayDir); err != nil || len(es) != 0 {
		t.Error("left:", es, err)
	}
	// CleanUp finds it as well.
	s, _ = mustBegin(t, v, specOf(t, b, "mnt", "dir", "second"))
	mustPut(t, s, b, 0)
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(20 * 24 * time.Hour)
	if n, err := d.CleanUp(context.Background()); n != 1 || err != nil {
		t.Error(n, err)
	}
	if es, err := f.ReadDir("mnt/dir"); err != nil || len(es) != 1 {
		t.Error("left:", es, err)
	}
	if err := v.Symlink(mustPath(t, "mnt", "link"), "x", Replace, nil); err != nil {
		t.Error("link on the other device:", err)
	}
}

// mounted is an FS in which "mnt" and all beneath it is another device.
type mounted struct{ durable.FS }

func (m *mounted) other(name string) bool { return name == "mnt" || strings.HasPrefix(name, "mnt/") }

func (m *mounted) Lstat(name string) (fs.FileInfo, error) {
	fi, err := m.FS.Lstat(name)
	if err == nil && m.other(name) {
		id, _ := durable.IDOf(fi)
		id.Dev += 100
		fi = otherDevice{fi, id}
	}
	return fi, err
}

type otherDevice struct {
	fs.FileInfo
	id durable.ID
}

func (o otherDevice) Sys() any { return o.id }

func (m *mounted) check(a, b string) error {
	if m.other(a) != m.other(b) {
		return &os.LinkError{Op: "rename", Old: a, New: b, Err: syscall.EXDEV}
	}
	return nil
}

func (m *mounted) Rename(a, b string) error {
	if err := m.check(a, b); err != nil {
		return err
	}
	return m.FS.Rename(a, b)
}

func (m *mounted) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := m.FS.OpenFile(name, flag, perm)
	if err == nil && m.other(name) {
		f = &mountedFile{f}
	}
	return f, err
}

type mountedFile struct{ durable.File }

func (f *mountedFile) Stat() (fs.FileInfo, error) {
	fi, err := f.File.Stat()
	if err == nil {
		id, _ := durable.IDOf(fi)
		id.Dev += 100
		fi = otherDevice{fi, id}
	}
	return fi, err
}

// TestHiddenMount: the device number is the same on both sides (a bind mount), and the rename tells. The second try works.
func TestHiddenMount(t *testing.T) {
	f := crashfs.New(1)
	if err := durable.MkdirAll(f, "mnt", 0o777); err != nil {
		t.Fatal(err)
	}
	d := mustOpen(t, &bound{mounted{f}}, Options{})
	v := d.View("alice", All)
	b := content(1, 2*chunk18)
	sp := specOf(t, b, "mnt", "file")
	s, _ := mustBegin(t, v, sp)
	if _, err := sendRest(s, b); !errors.Is(err, syscall.EXDEV) {
		t.Fatal(err)
	}
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
	s, _ = mustBegin(t, v, sp)
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "mnt/file", b)
}

type bound struct{ mounted }

func (m *bound) Lstat(name string) (fs.FileInfo, error) { return m.FS.Lstat(name) }
func (m *bound) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	return m.FS.OpenFile(name, flag, perm)
}
