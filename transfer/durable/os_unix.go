//go:build linux || darwin

package durable

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Flags for FS.OpenFile besides those of package os.
const (
	// NoFollow makes OpenFile fail (ELOOP) where the last component of the name is a symbolic link.
	NoFollow = unix.O_NOFOLLOW
	// NonBlock makes OpenFile return at once where the name is a FIFO or a device.
	NonBlock = unix.O_NONBLOCK

	openDirectory = unix.O_DIRECTORY
)

// splitLast cuts name into the directory and a last component that is neither "." nor "..", so that
// the component can be given to the system together with a handle of the directory.
func splitLast(op, name string) (dir, base string, err error) {
	dir, base = Dir(name), name[strings.LastIndexByte(name, '/')+1:]
	if base == "" || base == "." || base == ".." || strings.IndexByte(base, 0) >= 0 {
		return "", "", &fs.PathError{Op: op, Path: name, Err: syscall.EINVAL}
	}
	return dir, base, nil
}

// withParent calls f with the descriptor of name's directory, opened inside the root, and the last component.
func (o *osFS) withParent(op, name string, f func(dirfd int, base string) error) error {
	dir, base, err := splitLast(op, name)
	if err != nil {
		return err
	}
	d, err := o.openDir(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	err = control(d, func(fd int) error { return f(fd, base) })
	if e, ok := err.(syscall.Errno); ok {
		return &fs.PathError{Op: op, Path: name, Err: e}
	}
	return err
}

// renameAt calls f with the descriptors of the directories of both names, and their last components.
func (o *osFS) renameAt(op, oldname, newname string, f func(oldfd int, oldbase string, newfd int, newbase string) error) error {
	return o.withParent(op, oldname, func(oldfd int, oldbase string) error {
		return o.withParent(op, newname, func(newfd int, newbase string) error {
			if err := f(oldfd, oldbase, newfd, newbase); err != nil {
				return &os.LinkError{Op: op, Old: oldname, New: newname, Err: err}
			}
			return nil
		})
	})
}

// control calls f with the descriptor of file, which stays open meanwhile, again while it is interrupted.
func control(file *os.File, f func(fd int) error) error {
	c, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var ferr error
	err = c.Control(func(fd uintptr) {
		ferr = retry(func() error { return f(int(fd)) })
	})
	if err != nil { // closed: f was not called
		return err
	}
	return ferr
}

func (o *osFS) openNoFollow(name string, flag int, perm fs.FileMode) (*os.File, error) {
	if perm&0o777 != perm {
		return nil, &fs.PathError{Op: "openat", Path: name, Err: syscall.EINVAL}
	}
	if name == "." {
		return o.open(name, flag, perm)
	}
	var f *os.File
	err := o.withParent("openat", name, func(dirfd int, base string) error {
		fd, err := unix.Openat(dirfd, base, flag|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(perm))
		if err == nil {
			f = os.NewFile(uintptr(fd), o.join(name))
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	if !fi.IsDir() {
		return f, nil
	}
	// ReadDir of a file that os.NewFile made looks entries up by path. Take the Root's own handle.
	f.Close()
	d, err := o.openDir(name)
	if err != nil {
		return nil, err
	}
	if now, err := d.Stat(); err != nil || !os.SameFile(fi, now) {
		d.Close()
		return nil, errors.Join(err, &fs.PathError{Op: "openat", Path: name, Err: errChanged})
	}
	return d, nil
}

func (o *osFS) setTimes(name string, t time.Time) error {
	ts, err := timespecs(t)
	if err != nil {
		return &fs.PathError{Op: "utimensat", Path: name, Err: err}
	}
	if name == "." {
		d, err := o.openDir(name)
		if err != nil {
			return err
		}
		defer d.Close()
		return setFileTimes(d, t)
	}
	return o.withParent("utimensat", name, func(dirfd int, base string) error {
		return unix.UtimesNanoAt(dirfd, base, ts, unix.AT_SYMLINK_NOFOLLOW)
	})
}

func timespecs(t time.Time) ([]unix.Timespec, error) {
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		return nil, err
	}
	return []unix.Timespec{ts, ts}, nil
}

// syncDir is fsync of the directory. EINVAL is what file systems answer that have nothing to sync for a
// directory (fsync(2): "fd is bound to a special file which does not support synchronization").
func (o *osFS) syncDir(name string) error {
	d, err := o.openDir(name)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

func lockFile(f *os.File) error {
	err := control(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

func unlockFile(f *os.File) error {
	return control(f, func(fd int) error { return unix.Flock(fd, unix.LOCK_UN) })
}

func (o *osFS) space() (free, total int64, err error) {
	d, err := o.openDir(".")
	if err != nil {
		return 0, 0, err
	}
	defer d.Close()
	err = control(d, func(fd int) error {
		free, total, err = statfs(fd)
		return err
	})
	if err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: o.path, Err: err}
	}
	return free, total, nil
}

func fileSpace(f *os.File) (free int64, err error) {
	err = control(f, func(fd int) error {
		free, _, err = statfs(fd)
		return err
	})
	return free, err
}

func statfs(fd int) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return 0, 0, err
	}
	if st.Blocks == 0 { // ramfs and some FUSE file systems do not tell
		return math.MaxInt64, math.MaxInt64, nil
	}
	unit := blockUnit(&st)
	return mulClamp(st.Bavail, unit), mulClamp(st.Blocks, unit), nil
}

// mulClamp is blocks*unit, at most the largest int64.
func mulClamp(blocks, unit uint64) int64 {
	if unit != 0 && blocks > math.MaxInt64/unit {
		return math.MaxInt64
	}
	return int64(blocks * unit)
}

// idOfStat is IDOf for the system's own file information.
func idOfStat(st *syscall.Stat_t) ID {
	sec, nsec := changeTime(st)
	return ID{Dev: uint64(st.Dev), Inode: st.Ino, CTime: sec*int64(time.Second) + nsec}
}

// systemID is the ID in what fs.FileInfo.Sys returned.
func systemID(sys any) (ID, bool) {
	st, ok := sys.(*syscall.Stat_t)
	if !ok {
		return ID{}, false
	}
	return idOfStat(st), true
}
