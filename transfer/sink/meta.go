package sink

import (
	"errors"
	"io/fs"
	"syscall"

	"xfer/transfer/durable"
)

// apply sets m on an open file. A file system that keeps no permissions (FAT) is no reason to refuse the content.
func (m Meta) apply(f durable.File) error {
	if m.HasMode {
		if err := f.Chmod(m.Mode & fs.ModePerm); err != nil && !unsupported(err) {
			return err
		}
	}
	if m.HasMTime {
		if err := f.SetTimes(m.MTime); err != nil && !unsupported(err) {
			return err
		}
	}
	return nil
}

// applyTo sets m on name, which is no symbolic link, or of a link its times.
func (m Meta) applyTo(fsys durable.FS, name string, link bool) error {
	if m.HasMode && !link {
		if err := fsys.Chmod(name, m.Mode&fs.ModePerm); err != nil && !unsupported(err) {
			return err
		}
	}
	if m.HasMTime {
		if err := fsys.SetTimes(name, m.MTime); err != nil && !unsupported(err) {
			return err
		}
	}
	return nil
}

func unsupported(err error) bool {
	for _, e := range []error{errors.ErrUnsupported, syscall.ENOSYS, syscall.ENOTSUP, syscall.EPERM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
