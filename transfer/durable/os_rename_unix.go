//go:build linux || darwin

package durable

import (
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// renameExclusive is a rename that fails with fs.ErrExist where newname is there; unsupported where the file system does not
// know it.
func (o *osFS) renameExclusive(oldname, newname string) error {
	return o.renameAt(oldname, o, newname, renameNew)
}

// renameTo renames between two directories. A new name that is free, the usual case, costs one system call.
func (o *osFS) renameTo(oldname string, dst *osFS, newname string, replace bool) error {
	return o.renameAt(oldname, dst, newname, func(oldfd int, oldbase string, newfd int, newbase string) error {
		err := renameNew(oldfd, oldbase, newfd, newbase)
		switch {
		case err == nil:
			return nil
		case replace && (err == unix.EEXIST || unsupported(err)):
			return renameOver(oldfd, oldbase, newfd, newbase)
		case !replace && unsupported(err):
			return renameByLink(oldfd, oldbase, newfd, newbase, err)
		}
		return err
	})
}

// renameOver replaces whatever has the new name but a directory, as os.Root.Rename.
func renameOver(oldfd int, oldbase string, newfd int, newbase string) error {
	var before, now syscall.Stat_t
	if fstatat(newfd, newbase, &now) == nil && now.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		if err := fstatat(oldfd, oldbase, &before); err != nil {
			return err
		}
		// Two spellings of one directory, where letters have no case, are a new spelling.
		if before.Dev != now.Dev || before.Ino != now.Ino || oldfd == newfd && oldbase == newbase {
			return unix.EEXIST
		}
	}
	return unix.Renameat(oldfd, oldbase, newfd, newbase)
}

// renameByLink is linkAndUnlink between two directories. err is returned for a directory, which has no links.
func renameByLink(oldfd int, oldbase string, newfd int, newbase string, err error) error {
	var before, now syscall.Stat_t
	if err := fstatat(oldfd, oldbase, &before); err != nil {
		return err
	}
	if before.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		return err
	}
	if err := unix.Linkat(oldfd, oldbase, newfd, newbase, 0); err != nil {
		return err
	}
	err = unix.Unlinkat(oldfd, oldbase, 0)
	if err != nil && fstatat(newfd, newbase, &now) == nil && before.Dev == now.Dev && before.Ino == now.Ino {
		_ = unix.Unlinkat(newfd, newbase, 0)
	}
	return err
}

// renameAt calls f with the descriptors of the directories of both names, and their last components.
func (o *osFS) renameAt(oldname string, dst *osFS, newname string, f func(oldfd int, oldbase string, newfd int, newbase string) error) error {
	const op = "renameat"
	err := o.withParent(op, oldname, func(oldfd int, oldbase string) error {
		return dst.withParent(op, newname, func(newfd int, newbase string) error {
			return f(oldfd, oldbase, newfd, newbase)
		})
	})
	if e, ok := err.(*fs.PathError); ok {
		return &os.LinkError{Op: e.Op, Old: oldname, New: newname, Err: e.Err}
	}
	return err
}
