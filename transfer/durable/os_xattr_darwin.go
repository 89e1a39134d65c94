package durable

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoXAttr: an extended attribute is not there.
const ErrNoXAttr = unix.ENOATTR

// macOS has no namespaces: its attributes are those of users elsewhere.
const userPrefix = "user."

// systemXAttr is the name that the attribute has here.
func systemXAttr(name string) (string, error) {
	if rest, ok := strings.CutPrefix(name, userPrefix); ok && rest != "" {
		return rest, nil
	}
	return "", unix.ENOTSUP
}

// maxXAttrList is more than the list of the names of a file with at most MaxXAttrs may have.
const maxXAttrList = MaxXAttrs * (127 + 1)

func fdXAttrs(fd int) ([]XAttr, error) {
	list := make([]byte, maxXAttrList)
	n, err := unix.Flistxattr(fd, list)
	if err == unix.ERANGE {
		return nil, ErrXAttrs
	}
	if err != nil {
		return nil, err
	}
	attrs, err := gather(list[:n], func(name string) ([]byte, error) {
		size, err := unix.Fgetxattr(fd, name, nil)
		if err != nil {
			return nil, err
		}
		if size > MaxXAttrBytes { // a resource fork may be large
			return nil, ErrXAttrs
		}
		value := make([]byte, size)
		n, err := unix.Fgetxattr(fd, name, value)
		if err != nil {
			return nil, err
		}
		return value[:n], nil
	})
	for i := range attrs {
		attrs[i].Name = userPrefix + attrs[i].Name
	}
	return attrs, err
}

func fdSetXAttr(fd int, name string, value []byte) error {
	name, err := systemXAttr(name)
	if err != nil {
		return err
	}
	return unix.Fsetxattr(fd, name, value, 0)
}

func fdRemoveXAttr(fd int, name string) error {
	name, err := systemXAttr(name)
	if err != nil {
		return err
	}
	return unix.Fremovexattr(fd, name)
}

func (f *osFile) XAttrs() (attrs []XAttr, err error) {
	err = f.wrap("listxattr", control(f.File, func(fd int) error {
		attrs, err = fdXAttrs(fd)
		return err
	}))
	return attrs, err
}

func (f *osFile) SetXAttr(name string, value []byte) error {
	return f.wrap("setxattr", control(f.File, func(fd int) error { return fdSetXAttr(fd, name, value) }))
}

func (f *osFile) RemoveXAttr(name string) error {
	return f.wrap("removexattr", control(f.File, func(fd int) error { return fdRemoveXAttr(fd, name) }))
}

// lxattr calls f with a descriptor of name itself, of a link that of the link.
func (o *osFS) lxattr(op, name string, f func(fd int) error) error {
	if name == "." {
		d, err := o.openDir(name)
		if err != nil {
			return err
		}
		defer d.Close()
		return wrapPath(op, name, control(d, f))
	}
	return wrapPath(op, name, o.withParent(op, name, func(dirfd int, base string) error {
		fd, err := unix.Openat(dirfd, base, os.O_RDONLY|unix.O_SYMLINK|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return f(fd)
	}))
}

func (o *osFS) LXAttrs(name string) (attrs []XAttr, err error) {
	err = o.lxattr("listxattr", name, func(fd int) error {
		attrs, err = fdXAttrs(fd)
		return err
	})
	return attrs, err
}

func (o *osFS) LSetXAttr(name, attr string, value []byte) error {
	return o.lxattr("setxattr", name, func(fd int) error { return fdSetXAttr(fd, attr, value) })
}

func (o *osFS) LRemoveXAttr(name, attr string) error {
	return o.lxattr("removexattr", name, func(fd int) error { return fdRemoveXAttr(fd, attr) })
}
