package sink

import (
	"io/fs"
	"os"
	"syscall"
	"time"

	"xfer/transfer/durable"
)

// seam is an FS that tells a test what is done by handles as well as by names, and fails where the test says so.
type seam struct {
	durable.FS
	prefix string
	hook   func(op, name, to string) error // of the outermost; to of a rename and a link
	device func(name string) uint64        // what is added to the device of a name
	hidden bool                            // that shows only when something is renamed
	round  time.Duration                   // the unit of times
	top    *seam
}

func (s *seam) outer() *seam {
	if s.top == nil {
		return s
	}
	return s.top
}

func (s *seam) path(name string) string {
	if name == "." && s.prefix != "" {
		return s.prefix[:len(s.prefix)-1]
	}
	return s.prefix + name
}

func (s *seam) call(op, name, to string) error {
	if h := s.outer().hook; h != nil {
		return h(op, name, to)
	}
	return nil
}

func (s *seam) OpenRoot(name string) (durable.FS, error) {
	sub, err := s.FS.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &seam{FS: sub, prefix: s.path(name) + "/", top: s.outer()}, nil
}

func (s *seam) RenameTo(oldname string, dst durable.FS, newname string, replace bool) error {
	to := dst.(*seam)
	from, at := s.path(oldname), to.path(newname)
	if err := s.call("rename", from, at); err != nil {
		return err
	}
	if d := s.outer().device; d != nil && d(from) != d(at) {
		return &os.LinkError{Op: "rename", Old: from, New: at, Err: syscall.EXDEV}
	}
	return s.FS.RenameTo(oldname, to.FS, newname, replace)
}

func (s *seam) Link(a, b string) error {
	if d := s.outer().device; d != nil && d(s.path(a)) != d(s.path(b)) {
		return &os.LinkError{Op: "link", Old: a, New: b, Err: syscall.EXDEV}
	}
	if err := s.call("link", s.path(a), s.path(b)); err != nil {
		return err
	}
	return s.FS.Link(a, b)
}

func (s *seam) SyncFS() error {
	if err := s.call("syncfs", s.path("."), ""); err != nil {
		return err
	}
	return s.FS.SyncFS()
}

func (s *seam) info(name string, fi fs.FileInfo, err error) (fs.FileInfo, error) {
	if err == nil && s.outer().device != nil && !s.outer().hidden {
		id, _ := durable.IDOf(fi)
		id.Dev += s.outer().device(s.path(name))
		fi = otherDevice{fi, id}
	}
	return fi, err
}

func (s *seam) Lstat(name string) (fs.FileInfo, error) {
	fi, err := s.FS.Lstat(name)
	return s.info(name, fi, err)
}

func (s *seam) Stat(name string) (fs.FileInfo, error) {
	fi, err := s.FS.Stat(name)
	return s.info(name, fi, err)
}

func (s *seam) SetTimes(name string, t time.Time) error {
	if r := s.outer().round; r > 0 {
		t = t.Truncate(r)
	}
	return s.FS.SetTimes(name, t)
}

func (s *seam) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if err := s.call("open", s.path(name), ""); err != nil {
		return nil, err
	}
	f, err := s.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &seamFile{f, s, name}, nil
}

type seamFile struct {
	durable.File
	s    *seam
	name string
}

func (f *seamFile) Stat() (fs.FileInfo, error) {
	fi, err := f.File.Stat()
	return f.s.info(f.name, fi, err)
}

func (f *seamFile) SetTimes(t time.Time) error {
	if r := f.s.outer().round; r > 0 {
		t = t.Truncate(r)
	}
	return f.File.SetTimes(t)
}

func (f *seamFile) Sync() error {
	if err := f.s.call("sync", f.s.path(f.name), ""); err != nil {
		return err
	}
	return f.File.Sync()
}
