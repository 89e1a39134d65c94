package durable

import "errors"

// macOS clones whole files only.
func (f *osFile) cloneRange(*osFile, int64, int64, int64) error { return errors.ErrUnsupported }

func (f *osFile) copyRange(*osFile, int64, int64, int64) (int64, error) {
	return 0, errors.ErrUnsupported
}
