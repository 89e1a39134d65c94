package durable

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/windows"
)

// Flags for FS.OpenFile besides those of package os.
const (
	// NoFollow makes OpenFile fail (ELOOP) where the last component of the name is a symbolic link.
	NoFollow = 0x10000 // not a flag of package syscall; taken out before it is asked
	// NonBlock means nothing here: there are no FIFOs among the files.
	NonBlock = 0

	openDirectory = 0
)

// home is where an FS is beneath the outermost one.
type home struct {
	top    *osFS
	prefix string // of its names
}

func (h home) same(other home) bool { return h.top == other.top }

func newOS(root *os.Root, path string) (FS, error) {
	o := &osFS{root: &lazyRoot{root: root}, path: path}
	o.home.top = o
	return o, nil
}

func (o *osFS) openRoot(name string) (FS, error) {
	root, err := o.openRootChecked(name)
	if err != nil {
		return nil, err
	}
	h := home{o.home.top, o.home.prefix + name + "/"}
	return &osFS{root: &lazyRoot{root: root}, path: o.join(name), home: h}, nil
}

// renameExclusive is not to be had beneath a Root: link and unlink serve.
func (o *osFS) renameExclusive(_, _ string) error { return errors.ErrUnsupported }

// renameTo goes by the names that both files have from the outermost Root.
func (o *osFS) renameTo(oldname string, dst *osFS, newname string, replace bool) error {
	top := o.home.top
	oldname, newname = o.home.prefix+oldname, dst.home.prefix+newname
	if replace {
		return top.Rename(oldname, newname)
	}
	return top.RenameNoReplace(oldname, newname)
}

func (o *osFS) syncFS() error { return errors.ErrUnsupported }

// openNoFollow opens name if it is what a look before said, and not a link.
func (o *osFS) openNoFollow(name string, flag int, perm fs.FileMode) (*os.File, error) {
	flag &^= NoFollow
	before, err := o.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) && flag&os.O_CREATE != 0 {
		// O_EXCL follows no link. Who made the name meanwhile is looked at in the second round.
		f, err := o.open(name, flag|os.O_EXCL, perm)
		if err == nil || flag&os.O_EXCL != 0 || !errors.Is(err, fs.ErrExist) {
			return f, err
		}
		before, err = o.Lstat(name)
		if err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	if before.Mode()&fs.ModeSymlink != 0 {
		return nil, &fs.PathError{Op: "openat", Path: name, Err: syscall.ELOOP}
	}
	truncate := flag&os.O_TRUNC != 0
	f, err := o.open(name, flag&^os.O_TRUNC, perm)
	if err != nil {
		return nil, err
	}
	now, err := f.Stat()
	if err == nil && !SameFile(before, now) {
		err = &fs.PathError{Op: "openat", Path: name, Err: errChanged}
	}
	if err == nil && truncate {
		err = f.Truncate(0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (o *osFS) setTimes(name string, t time.Time) error { return o.root.Chtimes(name, t, t) }

// setFileTimes needs a file that was opened for writing.
func setFileTimes(f *os.File, t time.Time) error {
	ft := windows.NsecToFiletime(t.UnixNano())
	return control(f, func(h windows.Handle) error { return windows.SetFileTime(h, nil, &ft, &ft) })
}

// syncDir can only look whether the directory is there: Windows flushes files, not directories.
func (o *osFS) syncDir(name string) error {
	fi, err := o.Stat(name)
	if err == nil && !fi.IsDir() {
		err = &fs.PathError{Op: "sync", Path: name, Err: syscall.ENOTDIR}
	}
	return err
}

func syncData(f *os.File) error { return f.Sync() }

func dropCache(*os.File) error { return nil }

func allocate(*os.File, int64) error { return errors.ErrUnsupported }

// The lock covers one byte far behind the end, so that the file itself can be read while it is locked.
const lockOffsetHigh = 0x7fffffff

func lockFile(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := control(f, func(h windows.Handle) error {
		return windows.LockFileEx(h, flags, 0, 1, 0, &windows.Overlapped{OffsetHigh: lockOffsetHigh})
	})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return ErrLocked
	}
	return err
}

func unlockFile(f *os.File) error {
	return control(f, func(h windows.Handle) error {
		return windows.UnlockFileEx(h, 0, 1, 0, &windows.Overlapped{OffsetHigh: lockOffsetHigh})
	})
}

func (o *osFS) space() (free, total int64, err error) { return diskSpace(o.path) }

func fileSpace(f *os.File) (int64, error) {
	free, _, err := diskSpace(filepath.Dir(f.Name()))
	return free, err
}

func diskSpace(dir string) (free, total int64, err error) {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, 0, err
	}
	var f, t uint64
	if err := windows.GetDiskFreeSpaceEx(p, &f, &t, nil); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return int64(min(f, math.MaxInt64)), int64(min(t, math.MaxInt64)), nil
}

func control(file *os.File, f func(windows.Handle) error) error {
	c, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	err = c.Control(func(h uintptr) { ferr = f(windows.Handle(h)) })
	if err != nil { // closed: f was not called
		return err
	}
	return ferr
}

// systemID: what os gives for a file here holds no inode number.
func systemID(any) (ID, bool) { return ID{}, false }
