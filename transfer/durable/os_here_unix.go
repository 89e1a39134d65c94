//go:build linux || darwin

package durable

import (
	"io/fs"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// dirFD is the descriptor of a directory. It closes when close was called and no operation uses it any more.
type dirFD struct {
	name string // for the names of files opened in it

	mu     sync.Mutex // guards what follows
	fd     int
	refs   int
	closed bool
}

var _ here = (*dirFD)(nil)

func newDirFD(fd int, name string) *dirFD {
	d := &dirFD{fd: fd, name: name}
	runtime.SetFinalizer(d, (*dirFD).close) // as os.Root has: a forgotten Close costs no descriptor for ever
	return d
}

// dirFDOf returns a descriptor of its own for the directory f.
func dirFDOf(f *os.File, name string) (*dirFD, error) {
	var fd int
	err := control(f, func(old int) (err error) {
		fd, err = unix.FcntlInt(uintptr(old), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return newDirFD(fd, name), nil
}

// use returns the descriptor, which stays open until done.
func (d *dirFD) use() (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return -1, fs.ErrClosed
	}
	d.refs++
	return d.fd, nil
}

func (d *dirFD) done() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.refs--; d.refs == 0 && d.closed {
		_ = unix.Close(d.fd)
	}
}

func (d *dirFD) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	runtime.SetFinalizer(d, nil)
	if d.refs == 0 {
		_ = unix.Close(d.fd) // a directory that was only read
	}
	return nil
}

// do calls f with the descriptor, again while it is interrupted.
func (d *dirFD) do(op, name string, f func(fd int) error) error {
	fd, err := d.use()
	if err == nil {
		err = f(fd)
		for err == unix.EINTR {
			err = f(fd)
		}
		d.done()
	}
	if err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return nil
}

func (d *dirFD) open(name string, flag int, perm fs.FileMode) (f *os.File, err error) {
	err = d.do("openat", name, func(fd int) error {
		n, err := unix.Openat(fd, name, flag|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(perm))
		if err == nil {
			f = os.NewFile(uintptr(n), d.name+"/"+name)
		}
		return err
	})
	return f, err
}

// openDir opens the directory name, or the directory itself where that is ".".
func (d *dirFD) openDir(name string) (sub *dirFD, err error) {
	const flag = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	err = d.do("openat", name, func(fd int) error {
		n, err := unix.Openat(fd, name, flag, 0)
		if err == nil {
			sub = newDirFD(n, d.name+"/"+name)
		}
		return err
	})
	return sub, err
}

func (d *dirFD) lstat(name string) (fs.FileInfo, error) {
	fi := &fileInfo{name: name}
	if err := d.do("lstat", name, func(fd int) error { return fstatat(fd, name, &fi.sys) }); err != nil {
		return nil, err
	}
	return fi, nil
}

func fstatat(fd int, name string, st *syscall.Stat_t) error {
	return unix.Fstatat(fd, name, (*unix.Stat_t)(unsafe.Pointer(st)), unix.AT_SYMLINK_NOFOLLOW)
}

// Package unix has the calls with a directory's descriptor, and everybody expects the information of package syscall. The
// two are one structure of the system's.
var _ = [1]struct{}{}[unsafe.Sizeof(syscall.Stat_t{})-unsafe.Sizeof(unix.Stat_t{})]

func (d *dirFD) readlink(name string) (target string, err error) {
	err = d.do("readlinkat", name, func(fd int) error {
		for size := 128; ; size *= 4 {
			b := make([]byte, size)
			n, err := unix.Readlinkat(fd, name, b)
			if err != nil {
				return err
			}
			if n < size {
				target = string(b[:n])
				return nil
			}
		}
	})
	return target, err
}

func (d *dirFD) mkdir(name string, perm fs.FileMode) error {
	return d.do("mkdirat", name, func(fd int) error { return unix.Mkdirat(fd, name, uint32(perm)) })
}

// remove does not know what name is: it tries both, and tells of the error that says more, as os.Remove.
func (d *dirFD) remove(name string) error {
	return d.do("unlinkat", name, func(fd int) error {
		err := unix.Unlinkat(fd, name, 0)
		if err == nil || err == unix.EINTR || err == unix.ENOENT {
			return err
		}
		if err2 := unix.Unlinkat(fd, name, unix.AT_REMOVEDIR); err2 != unix.ENOTDIR {
			return err2
		}
		return err
	})
}

func (d *dirFD) symlink(target, name string) error {
	err := d.do("symlinkat", name, func(fd int) error { return unix.Symlinkat(target, fd, name) })
	return asLinkError(err, target, name)
}

func (d *dirFD) link(oldname, newname string) error {
	err := d.do("linkat", oldname, func(fd int) error { return unix.Linkat(fd, oldname, fd, newname, 0) })
	return asLinkError(err, oldname, newname)
}

func asLinkError(err error, oldname, newname string) error {
	if e, ok := err.(*fs.PathError); ok {
		return &os.LinkError{Op: e.Op, Old: oldname, New: newname, Err: e.Err}
	}
	return err
}

func (d *dirFD) setTimes(name string, t time.Time) error {
	ts, err := timespecs(t)
	if err != nil {
		return &fs.PathError{Op: "utimensat", Path: name, Err: err}
	}
	return d.do("utimensat", name, func(fd int) error {
		return unix.UtimesNanoAt(fd, name, ts, unix.AT_SYMLINK_NOFOLLOW)
	})
}

func (d *dirFD) stat() (fs.FileInfo, error) {
	fi := &fileInfo{name: "."}
	err := d.do("fstat", ".", func(fd int) error { return syscall.Fstat(fd, &fi.sys) })
	if err != nil {
		return nil, err
	}
	return fi, nil
}

func (d *dirFD) chmod(mode fs.FileMode) error {
	return d.do("fchmod", ".", func(fd int) error { return unix.Fchmod(fd, bitsOf(mode)) })
}

// sync is fsync of the directory. EINVAL is what file systems answer that have nothing to sync for a
// directory (fsync(2): "fd is bound to a special file which does not support synchronization").
func (d *dirFD) sync() error {
	err := d.do("fsync", ".", syncFD)
	if e, ok := err.(*fs.PathError); ok && e.Err == unix.EINVAL {
		return nil
	}
	return err
}

// fileInfo is what fstatat(2) told, as package os gives it.
type fileInfo struct {
	name string
	sys  syscall.Stat_t
}

func (i *fileInfo) Name() string      { return i.name }
func (i *fileInfo) Size() int64       { return i.sys.Size }
func (i *fileInfo) Mode() fs.FileMode { return modeOf(uint32(i.sys.Mode)) }
func (i *fileInfo) IsDir() bool       { return i.sys.Mode&syscall.S_IFMT == syscall.S_IFDIR }
func (i *fileInfo) Sys() any          { return &i.sys }

func (i *fileInfo) ModTime() time.Time {
	sec, nsec := modTime(&i.sys)
	return time.Unix(sec, nsec)
}

// modeOf makes the system's mode one of package fs.
func modeOf(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & syscall.S_IFMT {
	case syscall.S_IFBLK:
		mode |= fs.ModeDevice
	case syscall.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	case syscall.S_IFDIR:
		mode |= fs.ModeDir
	case syscall.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case syscall.S_IFLNK:
		mode |= fs.ModeSymlink
	case syscall.S_IFSOCK:
		mode |= fs.ModeSocket
	}
	if m&syscall.S_ISGID != 0 {
		mode |= fs.ModeSetgid
	}
	if m&syscall.S_ISUID != 0 {
		mode |= fs.ModeSetuid
	}
	if m&syscall.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}

// bitsOf is the permission bits of mode as chmod(2) has them.
func bitsOf(mode fs.FileMode) uint32 {
	bits := uint32(mode.Perm())
	if mode&fs.ModeSetuid != 0 {
		bits |= syscall.S_ISUID
	}
	if mode&fs.ModeSetgid != 0 {
		bits |= syscall.S_ISGID
	}
	if mode&fs.ModeSticky != 0 {
		bits |= syscall.S_ISVTX
	}
	return bits
}
