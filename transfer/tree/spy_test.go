package tree

import (
	"io/fs"
	"sync"

	"xfer/transfer/durable"
)

// spy is a file system that tells what is asked of it and of directories opened from it, and may answer in another way.
type spy struct {
	durable.FS
	*spying
}

// spying is what the spies of one file system share.
type spying struct {
	asked func(op, name string) error // before it is done; nil for none
	info  func(fi fs.FileInfo) fs.FileInfo

	mu        sync.Mutex
	open, max int // directories
}

func newSpy(fsys durable.FS) (spy, *spying) {
	s := &spying{}
	return spy{fsys, s}, s
}

func (s *spying) ask(op, name string) error {
	if s.asked == nil {
		return nil
	}
	return s.asked(op, name)
}

func (s *spying) count(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += by
	s.max = max(s.max, s.open)
}

func (s *spying) now() (open, max int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open, s.max
}

func (s spy) OpenRoot(name string) (durable.FS, error) {
	if err := s.ask("OpenRoot", name); err != nil {
		return nil, err
	}
	sub, err := s.FS.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	s.count(1)
	return spy{sub, s.spying}, nil
}

func (s spy) Close() error {
	s.count(-1)
	return s.FS.Close()
}

func (s spy) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if err := s.ask("OpenFile", name); err != nil {
		return nil, err
	}
	return s.FS.OpenFile(name, flag, perm)
}

func (s spy) Readlink(name string) (string, error) {
	if err := s.ask("Readlink", name); err != nil {
		return "", err
	}
	return s.FS.Readlink(name)
}

func (s spy) Lstat(name string) (fs.FileInfo, error) {
	if err := s.ask("Lstat", name); err != nil {
		return nil, err
	}
	fi, err := s.FS.Lstat(name)
	if err == nil && s.info != nil {
		fi = s.info(fi)
	}
	return fi, err
}

func (s spy) Stat(name string) (fs.FileInfo, error) {
	fi, err := s.FS.Stat(name)
	if err == nil && s.info != nil {
		fi = s.info(fi)
	}
	return fi, err
}
