package durable

import "golang.org/x/sys/unix"

func (f *osFile) punch(off, n int64) error {
	return control(f.File, func(fd int) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	})
}
