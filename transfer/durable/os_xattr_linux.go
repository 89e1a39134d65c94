package durable

import (
	"errors"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// ErrNoXAttr: an extended attribute is not there.
const ErrNoXAttr = unix.ENODATA

// xattrCalls are the system calls on one file, by descriptor or by name.
type xattrCalls struct {
	list   func(dest []byte) (int, error)
	get    func(attr string, dest []byte) (int, error)
	set    func(attr string, value []byte) error
	remove func(attr string) error
}

func fdCalls(fd int) xattrCalls {
	return xattrCalls{
		list:   func(dest []byte) (int, error) { return unix.Flistxattr(fd, dest) },
		get:    func(attr string, dest []byte) (int, error) { return unix.Fgetxattr(fd, attr, dest) },
		set:    func(attr string, value []byte) error { return unix.Fsetxattr(fd, attr, value, 0) },
		remove: func(attr string) error { return unix.Fremovexattr(fd, attr) },
	}
}

func pathCalls(path string) xattrCalls {
	return xattrCalls{
		list:   func(dest []byte) (int, error) { return unix.Llistxattr(path, dest) },
		get:    func(attr string, dest []byte) (int, error) { return unix.Lgetxattr(path, attr, dest) },
		set:    func(attr string, value []byte) error { return unix.Lsetxattr(path, attr, value, 0) },
		remove: func(attr string) error { return unix.Lremovexattr(path, attr) },
	}
}

// maxXAttrList is the most that a list of names, or a value, has (XATTR_LIST_MAX, XATTR_SIZE_MAX).
const maxXAttrList = 64 << 10

// fill calls f with a buffer that is large enough.
func fillXAttr(f func(dest []byte) (int, error)) ([]byte, error) {
	for _, size := range []int{256, maxXAttrList} {
		buf := make([]byte, size)
		var n int
		err := retry(func() (err error) {
			n, err = f(buf)
			return err
		})
		if err == nil {
			return buf[:n:n], nil
		}
		if err != unix.ERANGE {
			return nil, err
		}
	}
	return nil, ErrXAttrs // longer than there can be
}

// all returns all attributes.
func (c xattrCalls) all() ([]XAttr, error) {
	list, err := fillXAttr(c.list)
	if err != nil {
		return nil, err
	}
	return gather(list, func(name string) ([]byte, error) {
		value, err := fillXAttr(func(dest []byte) (int, error) { return c.get(name, dest) })
		if errors.Is(err, errors.ErrUnsupported) {
			return nil, ErrNoXAttr // listed by the file system, and known to nobody
		}
		return value, err
	})
}

func (f *osFile) XAttrs() (attrs []XAttr, err error) {
	err = f.wrap("listxattr", control(f.File, func(fd int) error {
		attrs, err = fdCalls(fd).all()
		return err
	}))
	return attrs, err
}

func (f *osFile) SetXAttr(name string, value []byte) error {
	return f.wrap("setxattr", control(f.File, func(fd int) error { return fdCalls(fd).set(name, value) }))
}

func (f *osFile) RemoveXAttr(name string) error {
	return f.wrap("removexattr", control(f.File, func(fd int) error { return fdCalls(fd).remove(name) }))
}

// lxattr calls f with the calls for name itself. The system has none that take a directory and a name in it (before
// Linux 6.13), so the name is reached through the descriptor of its directory in /proc: one component, behind which no
// link is followed. Without /proc files and directories are opened.
func (o *osFS) lxattr(op, name string, f func(xattrCalls) error) error {
	if name == "." {
		d, err := o.openDir(name)
		if err != nil {
			return err
		}
		defer d.Close()
		return wrapPath(op, name, control(d, func(fd int) error { return f(fdCalls(fd)) }))
	}
	err := o.withParent(op, name, func(dirfd int, base string) error {
		err := f(pathCalls("/proc/self/fd/" + strconv.Itoa(dirfd) + "/" + base))
		if err != unix.ENOENT && err != unix.ENOTDIR {
			return err
		}
		var st unix.Stat_t
		if err := unix.Fstatat(dirfd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return err
		}
		if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
			return unix.ENOTSUP // opening a device may do something
		}
		fd, err := unix.Openat(dirfd, base, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return f(fdCalls(fd))
	})
	return wrapPath(op, name, err)
}

func (o *osFS) LXAttrs(name string) (attrs []XAttr, err error) {
	err = o.lxattr("listxattr", name, func(c xattrCalls) error {
		attrs, err = c.all()
		return err
	})
	return attrs, err
}

func (o *osFS) LSetXAttr(name, attr string, value []byte) error {
	return o.lxattr("setxattr", name, func(c xattrCalls) error { return c.set(attr, value) })
}

func (o *osFS) LRemoveXAttr(name, attr string) error {
	return o.lxattr("removexattr", name, func(c xattrCalls) error { return c.remove(attr) })
}
