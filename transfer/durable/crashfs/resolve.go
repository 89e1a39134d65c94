package crashfs

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
)

var errEscapes = errors.New("path escapes from parent")

const maxLinks = 40

// place is where a name leads: the inode, nil where there is none, and the directory and the last component
// that hold it. The root has no directory.
type place struct {
	dir  *inode
	name string
	ino  *inode
}

// resolve walks name from the handle's root; follow says whether a link in the last component is followed.
// A missing last component is no error.
func (f *FS) resolve(name string, follow bool) (place, error) {
	parts, asDir, err := split(name)
	if err != nil {
		return place{}, err
	}
	stack := []place{{ino: f.root}}
	links := 0
	for len(parts) > 0 {
		at := stack[len(stack)-1].ino
		part := parts[0]
		parts = parts[1:]
		switch part {
		case ".":
			continue
		case "..":
			if len(stack) == 1 {
				return place{}, errEscapes
			}
			stack = stack[:len(stack)-1]
			continue
		}
		if !at.isDir() {
			return place{}, syscall.ENOTDIR
		}
		last := len(parts) == 0
		next := at.entries[part]
		switch {
		case next == nil && last && at.nlink > 0: // nothing is made in a removed directory
			return place{at, part, nil}, nil
		case next == nil:
			return place{}, syscall.ENOENT
		case next.kind == fs.ModeSymlink && (!last || follow || asDir):
			if links++; links > maxLinks {
				return place{}, syscall.ELOOP
			}
			more, dir, err := split(next.target)
			if err != nil {
				return place{}, err
			}
			asDir = asDir || last && dir
			parts = append(more, parts...)
			continue
		}
		stack = append(stack, place{at, part, next})
	}
	p := stack[len(stack)-1]
	if asDir && !p.ino.isDir() {
		return place{}, syscall.ENOTDIR
	}
	return p, nil
}

// split cuts a name into components and tells whether it ends in a slash.
func split(name string) (parts []string, asDir bool, err error) {
	switch {
	case name == "":
		return nil, false, syscall.ENOENT
	case name[0] == '/':
		return nil, false, errEscapes
	case strings.IndexByte(name, 0) >= 0:
		return nil, false, syscall.EINVAL
	}
	for part := range strings.SplitSeq(name, "/") {
		if len(part) > 255 {
			return nil, false, syscall.ENAMETOOLONG
		}
		if part != "" {
			parts = append(parts, part)
		}
	}
	return parts, name[len(name)-1] == '/', nil
}

// existing is resolve for a name that must be there.
func (f *FS) existing(name string, follow bool) (place, error) {
	p, err := f.resolve(name, follow)
	if err == nil && p.ino == nil {
		err = syscall.ENOENT
	}
	return p, err
}

// vacant is resolve for a name that must not be there.
func (f *FS) vacant(name string) (place, error) {
	p, err := f.resolve(name, false)
	if err == nil && p.ino != nil {
		err = syscall.EEXIST
	}
	return p, err
}

// both resolves two names, the second one in dst. The first must be there.
func (f *FS) both(oldname string, dst *FS, newname string) (from, to place, err error) {
	if from, err = f.resolve(oldname, false); err != nil {
		return from, to, err
	}
	if to, err = dst.resolve(newname, false); err != nil {
		return from, to, err
	}
	if from.ino == nil {
		err = syscall.ENOENT
	}
	return from, to, err
}
