package durable

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
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
// to the system with the descriptor of the directory: the FS's own, or one that the Root opened.
type osFS struct {
	root *lazyRoot
	here here   // nil where the system has no calls with a descriptor of a directory
	path string // for File.Name only, never to open anything
	home home   // what FSs beneath the same outermost one have in common
}

var _ FS = (*osFS)(nil)

// here does what an FS does to names of one component, each with one system call on a descriptor of the directory.
// Such a name (see single) cannot lead out of it, and none of these follows a symbolic link.
type here interface {
	open(name string, flag int, perm fs.FileMode) (*os.File, error) // flag has NoFollow, or O_CREATE and O_EXCL
	lstat(name string) (fs.FileInfo, error)
	readlink(name string) (string, error)
	mkdir(name string, perm fs.FileMode) error
	remove(name string) error
	symlink(target, name string) error
	link(oldname, newname string) error
	setTimes(name string, t time.Time) error
	// The directory itself.
	stat() (fs.FileInfo, error)
	chmod(mode fs.FileMode) error
	sync() error
	close() error
}

// single tells whether name may go to o.here: one component that is not "." or "..". The system refuses a NUL.
func (o *osFS) single(name string) bool {
	return o.here != nil && name != "" && name != "." && name != ".." && strings.IndexByte(name, '/') < 0
}

// self tells whether name is the directory itself, for o.here.
func (o *osFS) self(name string) bool { return o.here != nil && name == "." }

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
	return newOS(root, path)
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

func (o *osFS) open(name string, flag int, perm fs.FileMode) (*os.File, error) {
	return o.root.OpenFile(name, flag, perm)
}

func (o *osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	const fresh = os.O_CREATE | os.O_EXCL // follows no link by itself
	var f *os.File
	var err error
	switch {
	case perm&^fs.ModePerm != 0:
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EINVAL}
	case flag&fresh == fresh && o.single(name):
		f, err = o.here.open(name, flag, perm)
	case flag&NoFollow != 0:
		f, err = o.openNoFollow(name, flag, perm)
	default:
		f, err = o.open(name, flag, perm)
	}
	if err != nil {
		return nil, err
	}
	return o.wrap(f, name), nil
}

func (o *osFS) Mkdir(name string, perm fs.FileMode) error {
	if perm&^fs.ModePerm == 0 && o.single(name) {
		return o.here.mkdir(name, perm)
	}
	return o.root.Mkdir(name, perm)
}

func (o *osFS) Remove(name string) error {
	if o.single(name) {
		return o.here.remove(name)
	}
	return o.root.Remove(name)
}

func (o *osFS) RemoveAll(name string) error { return o.root.RemoveAll(name) }

func (o *osFS) Rename(oldname, newname string) error {
	if o.single(oldname) && o.single(newname) {
		return o.RenameTo(oldname, o, newname, true)
	}
	return o.root.Rename(oldname, newname)
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
	if o.single(oldname) && o.single(newname) {
		return o.here.link(oldname, newname)
	}
	return o.root.Link(oldname, newname)
}

func (o *osFS) Symlink(target, name string) error {
	if o.single(name) {
		return o.here.symlink(target, name)
	}
	return o.root.Symlink(target, name)
}

func (o *osFS) Readlink(name string) (string, error) {
	if o.single(name) {
		return o.here.readlink(name)
	}
	return o.root.Readlink(name)
}

func (o *osFS) Stat(name string) (fs.FileInfo, error) {
	switch {
	case o.self(name):
		return o.here.stat()
	case o.single(name):
		fi, err := o.here.lstat(name)
		if err != nil || fi.Mode()&fs.ModeSymlink == 0 {
			return fi, err
		}
	}
	return o.root.Stat(name)
}

func (o *osFS) Lstat(name string) (fs.FileInfo, error) {
	switch {
	case o.self(name):
		return o.here.stat()
	case o.single(name):
		return o.here.lstat(name)
	}
	return o.root.Lstat(name)
}

func (o *osFS) Chmod(name string, mode fs.FileMode) error {
	if o.self(name) {
		return o.here.chmod(mode)
	}
	return o.root.Chmod(name, mode)
}

func (o *osFS) SetTimes(name string, t time.Time) error {
	if o.single(name) || o.self(name) {
		return o.here.setTimes(name, t)
	}
	return o.setTimes(name, t)
}

func (o *osFS) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := o.openDir(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

func (o *osFS) SyncDir(name string) error {
	if o.self(name) {
		return o.here.sync()
	}
	return o.syncDir(name)
}

func (o *osFS) SyncFS() error { return o.syncFS() }

func (o *osFS) RenameTo(oldname string, dst FS, newname string, replace bool) error {
	to, ok := dst.(*osFS)
	if !ok || !o.home.same(to.home) {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: syscall.EINVAL}
	}
	return o.renameTo(oldname, to, newname, replace)
}

func (o *osFS) OpenRoot(name string) (FS, error) { return o.openRoot(name) }

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
		if err == nil && SameFile(fi, now) {
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

func (o *osFS) Close() error {
	err := o.root.Close()
	if o.here != nil {
		err = errors.Join(err, o.here.close())
	}
	return err
}

// osFile is a File of the operating system.
type osFile struct {
	*os.File
	name  string
	holes atomic.Int32 // whether the file system is to be asked for holes; 0 = not known yet
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
