//go:build linux || darwin

package durable

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"strings"
	"sync"
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

// home is what FSs beneath the same outermost one have in common.
type home struct{ *shared }

type shared struct {
	// proc tells whether the system makes a Root of a descriptor.
	proc func() bool
}

func (h home) same(other home) bool { return h.shared == other.shared }

// newOS makes the outermost FS of root, and closes root where that fails.
func newOS(root *os.Root, path string) (FS, error) {
	o := &osFS{root: &lazyRoot{root: root}, path: path}
	f, err := o.openDir(".")
	if err == nil {
		var d *dirFD
		if d, err = dirFDOf(f, path); err == nil {
			o.here = d
			o.home = home{&shared{proc: sync.OnceValue(d.hasRoot)}}
		}
		f.Close()
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	return o, nil
}

func (o *osFS) fd() *dirFD { return o.here.(*dirFD) }

// openRoot opens name as a directory or not at all: os.Root.OpenRoot would wait if it were swapped with a FIFO. Its Root is
// one of that very descriptor, made when it is needed, or is made now by the name.
func (o *osFS) openRoot(name string) (FS, error) {
	d, err := o.openHere(name)
	if err != nil {
		return nil, err
	}
	root := &lazyRoot{open: d.asRoot}
	if !o.home.proc() {
		if root.root, err = o.openRootChecked(name); err == nil {
			err = d.isRoot(root.root, name)
		}
		if err != nil {
			_ = root.Close()
			_ = d.close()
			return nil, err
		}
	}
	return &osFS{root: root, here: d, path: o.join(name), home: o.home}, nil
}

// openHere opens directory name, following links within the root.
func (o *osFS) openHere(name string) (*dirFD, error) {
	if o.single(name) || o.self(name) {
		d, err := o.fd().openDir(name)
		if err == nil || !errors.Is(err, syscall.ELOOP) && !errors.Is(err, syscall.ENOTDIR) {
			return d, err
		}
	}
	f, err := o.openDir(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return dirFDOf(f, o.join(name))
}

// isRoot checks that r is the directory of d.
func (d *dirFD) isRoot(r *os.Root, name string) error {
	a, err := r.Stat(".")
	if err != nil {
		return err
	}
	b, err := d.stat()
	if err == nil && !SameFile(a, b) {
		err = &fs.PathError{Op: "open", Path: name, Err: errChanged}
	}
	return err
}

// withParent calls f with the descriptor of name's directory, opened inside the root, and the last component.
func (o *osFS) withParent(op, name string, f func(dirfd int, base string) error) error {
	dir, base, err := splitLast(op, name)
	if err != nil {
		return err
	}
	if dir == "." && o.here != nil {
		fd, err := o.fd().use()
		if err == nil {
			defer o.fd().done()
			err = retry(func() error { return f(fd, base) })
		}
		return asPathError(op, name, err)
	}
	d, err := o.openDir(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return asPathError(op, name, control(d, func(fd int) error { return f(fd, base) }))
}

// asPathError wraps what the system itself has answered.
func asPathError(op, name string, err error) error {
	_, ok := err.(syscall.Errno)
	if ok || err == fs.ErrClosed {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return err
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
	if name == "." {
		return o.open(name, flag, perm)
	}
	var f *os.File
	var err error
	if o.single(name) {
		f, err = o.here.open(name, flag, perm)
	} else {
		err = o.withParent("openat", name, func(dirfd int, base string) error {
			fd, err := unix.Openat(dirfd, base, flag|unix.O_NOFOLLOW|unix.O_CLOEXEC, uint32(perm))
			if err == nil {
				f = os.NewFile(uintptr(fd), o.join(name))
			}
			return err
		})
	}
	if err != nil || flag&(os.O_WRONLY|os.O_RDWR) != 0 { // no directory is opened for writing
		return f, err
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
	if now, err := d.Stat(); err != nil || !SameFile(fi, now) {
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

func (o *osFS) syncDir(name string) error {
	d, err := o.openHere(name)
	if err != nil {
		return err
	}
	defer d.close()
	return d.sync()
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
	err = o.fd().do("statfs", o.path, func(fd int) error {
		free, total, err = statfs(fd)
		return err
	})
	return free, total, err
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
