package durable

import (
	"errors"
	"syscall"
)

func (f *osFile) NextData(off int64) (int64, error) { return f.next("seek data", off, true) }

func (f *osFile) NextHole(off int64) (int64, error) { return f.next("seek hole", off, false) }

// next finds data or a hole at or after off.
func (f *osFile) next(op string, off int64, data bool) (int64, error) {
	if off < 0 {
		return 0, f.wrap(op, syscall.EINVAL)
	}
	at, err := f.seekKind(off, data)
	if err == nil {
		return at, nil
	}
	none := errors.Is(err, syscall.ENXIO) // nothing of the kind up to the end, or the end is before off
	if !none && !unsupported(err) {
		return 0, f.wrap(op, err)
	}
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if !none && data && off < fi.Size() {
		return off, nil // all is data
	}
	return max(off, fi.Size()), nil
}

func (f *osFile) PunchHole(off, n int64) error {
	if off < 0 || n < 0 {
		return f.wrap("punch hole", syscall.EINVAL)
	}
	if n == 0 {
		return nil
	}
	return f.wrap("punch hole", f.punch(off, n))
}
