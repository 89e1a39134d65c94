package durable

import (
	"errors"
	"syscall"
)

// ErrNoXAttr: an extended attribute is not there. Nothing here returns it.
const ErrNoXAttr = syscall.ENODATA

func (f *osFile) XAttrs() ([]XAttr, error) { return nil, f.wrap("listxattr", errors.ErrUnsupported) }

func (f *osFile) SetXAttr(string, []byte) error { return f.wrap("setxattr", errors.ErrUnsupported) }

func (f *osFile) RemoveXAttr(string) error { return f.wrap("removexattr", errors.ErrUnsupported) }

func (o *osFS) LXAttrs(name string) ([]XAttr, error) {
	return nil, wrapPath("listxattr", name, errors.ErrUnsupported)
}

func (o *osFS) LSetXAttr(name, _ string, _ []byte) error {
	return wrapPath("setxattr", name, errors.ErrUnsupported)
}

func (o *osFS) LRemoveXAttr(name, _ string) error {
	return wrapPath("removexattr", name, errors.ErrUnsupported)
}

func (f *osFile) cloneRange(*osFile, int64, int64, int64) error { return errors.ErrUnsupported }

func (f *osFile) copyRange(*osFile, int64, int64, int64) (int64, error) {
	return 0, errors.ErrUnsupported
}

func (f *osFile) seekKind(int64, bool) (int64, error) { return 0, errors.ErrUnsupported }

func (f *osFile) punch(int64, int64) error { return errors.ErrUnsupported }

func systemOwner(any) (uid, gid uint32, ok bool) { return 0, 0, false }

func systemBlocks(any) (int64, bool) { return 0, false }

func systemLinks(any) (uint64, bool) { return 0, false }
