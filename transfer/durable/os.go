package durable

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Errors of this package besides those of the operating system.
var (
	// ErrLocked: another holder has the lock.
	ErrLocked = errors.New("locked by another process")
	// ErrNotRegular: the name is not a regular file (a link, FIFO, device, socket or directory).
	ErrNotRegular = errors.New("not a regular file")
	// errChanged: a name did not stay the same file while it was opened.
	errChanged = errors.New("changed while it was opened")
)

// osFS is an FS over an os.Root. All its names go through the Root, or consist of one component and go
// to the system with the descriptor of a parent that the Root opened.
type osFS struct {
	root *os.Root
	path string // for File.Name only, never to open anything
}

var _ FS = (*osFS)(nil)

// OpenOS returns the operating system's file system beneath the directory path, which is opened once: if
// it is renamed later, the FS goes with it. The caller closes it. Open files live on after that.
func OpenOS(path string) (FS, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() { // before opening: opening a FIFO would wait
		return nil, &fs.PathError{Op: "open", Path: path, Err: syscall.ENOTDIR}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &osFS{root: root, path: path}, nil
}

// retry calls f until it is not interrupted by a signal (network and FUSE file systems do that).
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func (o *osFS) join(name string) string { return o.path + "/" + name }

func (o *osFS) wrap(f *os.File, name string) File { return &osFile{File: f, name: o.join(name)} }

// openDir opens directory name for reading, never waiting and never anything but a directory.
func (o *osFS) openDir(name string) (*os.File, error) {
	return o.open(name, os.O_RDONLY|openDirectory|NonBlock, 0)
}

func (o *osFS) open(name string, flag int, perm fs.FileMode) (f *os.File, err error) {
	err = retry(func() error {
		f, err = o.root.OpenFile(name, flag, perm)
		return err
	})
	return f, err
}

func (o *osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	var f *os.File
	var err error
	if flag&NoFollow != 0 {
		f, err = o.openNoFollow(name, flag, perm)
	} else {
		f, err = o.open(name, flag, perm)
	}
	if err != nil {
		return nil, err
	}
	return o.wrap(f, name), nil
}

func (o *osFS) Mkdir(name string, perm fs.FileMode) error {
	return retry(func() error { return o.root.Mkdir(name, perm) })
}

func (o *osFS) Remove(name string) error {
	return retry(func() error { return o.root.Remove(name) })
}

func (o *osFS) RemoveAll(name string) error {
	return retry(func() error { return o.root.RemoveAll(name) })
}

func (o *osFS) Rename(oldname, newname string) error {
	return retry(func() error { return o.root.Rename(oldname, newname) })
}

func (o *osFS) RenameNoReplace(oldname, newname string) error {
	err := o.renameExclusive(oldname, newname)
	if !unsupported(err) {
		return err
	}
	if fi, errStat := o.Lstat(oldname); errStat == nil && fi.IsDir() {
		return err // directories have no links
	}
	return o.linkAndUnlink(oldname, newname)
}

// linkAndUnlink renames with two operations, the first of which fails where newname is there.
func (o *osFS) linkAndUnlink(oldname, newname string) error {
	if err := o.Link(oldname, newname); err != nil {
		return err
	}
	if err := o.Remove(oldname); err != nil {
		// The file has both names now. Take the new one back if it is still ours.
		a, errA := o.Lstat(oldname)
		b, errB := o.Lstat(newname)
		if errA == nil && errB == nil && SameFile(a, b) {
			_ = o.Remove(newname)
		}
		return err
	}
	return nil
}

// unsupported tells whether err means that the file system lacks an operation, rather than that it failed.
func unsupported(err error) bool {
	for _, e := range []error{syscall.ENOSYS, syscall.EINVAL, syscall.ENOTSUP, syscall.EOPNOTSUPP, errors.ErrUnsupported} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (o *osFS) Link(oldname, newname string) error {
	return retry(func() error { return o.root.Link(oldname, newname) })
}

func (o *osFS) Symlink(target, name string) error {
	return retry(func() error { return o.root.Symlink(target, name) })
}

func (o *osFS) Readlink(name string) (target string, err error) {
	err = retry(func() error {
		target, err = o.root.Readlink(name)
		return err
	})
	return target, err
}

func (o *osFS) Stat(name string) (fi fs.FileInfo, err error) {
	err = retry(func() error {
		fi, err = o.root.Stat(name)
		return err
	})
	return fi, err
}

func (o *osFS) Lstat(name string) (fi fs.FileInfo, err error) {
	err = retry(func() error {
		fi, err = o.root.Lstat(name)
		return err
	})
	return fi, err
}

func (o *osFS) Chmod(name string, mode fs.FileMode) error {
	return retry(func() error { return o.root.Chmod(name, mode) })
}

func (o *osFS) SetTimes(name string, t time.Time) error { return o.setTimes(name, t) }

func (o *osFS) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := o.openDir(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

func (o *osFS) SyncDir(name string) error { return o.syncDir(name) }

func (o *osFS) OpenRoot(name string) (FS, error) {
	root, err := o.openRoot(name)
	if err != nil {
		return nil, err
	}
	return &osFS{root: root, path: o.join(name)}, nil
}

// openRootChecked opens a directory by its name after a look whether it is one: opening a FIFO would wait.
func (o *osFS) openRootChecked(name string) (*os.Root, error) {
	fi, err := o.Stat(name)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.ENOTDIR}
	}
	return o.root.OpenRoot(name)
}

func (o *osFS) Lock(name string) (unlock func() error, err error) {
	const tries = 16 // a lock file that is removed and made again so often is being played with
	for range tries {
		f, err := o.openNoFollow(name, os.O_RDWR|os.O_CREATE|NonBlock, 0o600)
		if err != nil {
			return nil, err
		}
		fi, err := f.Stat()
		if err == nil && !fi.Mode().IsRegular() {
			err = ErrNotRegular
		}
		if err == nil {
			err = lockFile(f)
		}
		if err != nil {
			f.Close()
			return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
		}
		// Who unlinked the file between open and flock made our lock a lock on nothing.
		now, err := o.Lstat(name)
		if err == nil && os.SameFile(fi, now) {
			return func() error {
				err := unlockFile(f)
				return errors.Join(err, f.Close())
			}, nil
		}
		f.Close()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, &fs.PathError{Op: "lock", Path: name, Err: errChanged}
}

func (o *osFS) Space() (free, total int64, err error) { return o.space() }

func (o *osFS) Close() error { return o.root.Close() }

// osFile is a File of the operating system.
type osFile struct {
	*os.File
	name string
}

var _ File = (*osFile)(nil)

func (f *osFile) Name() string { return f.name }

func (f *osFile) SetTimes(t time.Time) error { return f.wrap("futimens", setFileTimes(f.File, t)) }

func (f *osFile) SyncData() error { return f.wrap("fdatasync", syncData(f.File)) }

func (f *osFile) DropCache() error { return f.wrap("fadvise", dropCache(f.File)) }

func (f *osFile) Allocate(size int64) error {
	if size < 0 {
		return f.wrap("fallocate", syscall.EINVAL)
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if size <= fi.Size() {
		return nil
	}
	err = allocate(f.File, size)
	switch {
	case err == nil:
		return nil
	case unsupported(err):
		free, err := fileSpace(f.File)
		if err != nil {
			return f.wrap("statfs", err)
		}
		if free < size-fi.Size() {
			return f.wrap("fallocate", syscall.ENOSPC)
		}
		return f.Truncate(size)
	}
	// What was reserved before the failure must not stay: it helps nobody.
	return errors.Join(f.wrap("fallocate", err), f.Truncate(fi.Size()))
}

func (f *osFile) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return err
	}
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}
