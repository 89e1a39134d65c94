package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// File systems to store on.
const (
	tmpfs = "tmpfs"
	ext4  = "ext4"
)

// site is a place where one receiver stores: both directories are empty and on the same file system.
type site struct {
	root string // what it serves
	home string // for what it keeps of its own
	end  func() error
}

// newSite makes a site for a contender.
func (b *bench) newSite(ctx context.Context, fs, name string) (*site, error) {
	if fs == ext4 {
		return b.ext4Site(ctx, name)
	}
	dir := b.path(name)
	s := &site{end: func() error { return os.RemoveAll(dir) }}
	return s, s.fill(dir)
}

func (s *site) fill(dir string) error {
	s.root, s.home = filepath.Join(dir, "root"), filepath.Join(dir, "home")
	return errors.Join(os.MkdirAll(s.root, 0o755), os.MkdirAll(s.home, 0o700))
}

// fileSystems are those that a workload uses which can be measured on all: its own, or what --fs says.
func (b *bench) fileSystems(own ...string) []string {
	switch b.FS {
	case "":
		return own
	case "both":
		return []string{tmpfs, ext4}
	}
	return []string{b.FS}
}
