package durable

import (
	"errors"

	"golang.org/x/sys/unix"
)

// unsureOfHoles are the types of file systems whose SEEK_DATA may call a hole what was written a moment ago, and is read well.
// What is taken for a hole is never read, so there all is data. ZFS: github.com/openzfs/zfs/issues/15526, in 2.2.1 and all
// before it; FUSE, virtiofs with it: the kernel asks the daemon and does not write back its own dirty pages first.
var unsureOfHoles = map[uint32]bool{0x2fc12fc1: true, unix.FUSE_SUPER_MAGIC: true}

// What osFile.holes says.
const (
	holesUnknown = iota
	holesSure
	holesUnsure
)

// seekKind is lseek(2) with SEEK_DATA or SEEK_HOLE.
func (f *osFile) seekKind(off int64, data bool) (at int64, err error) {
	whence := unix.SEEK_HOLE
	if data {
		whence = unix.SEEK_DATA
	}
	err = control(f.File, func(fd int) error {
		if f.holes.Load() == holesUnknown {
			var st unix.Statfs_t
			if err := retry(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
				return err
			}
			sure := int32(holesSure)
			if unsureOfHoles[uint32(st.Type)] {
				sure = holesUnsure
			}
			f.holes.Store(sure)
		}
		if f.holes.Load() == holesUnsure {
			return errors.ErrUnsupported
		}
		at, err = unix.Seek(fd, off, whence)
		return err
	})
	return at, err
}

func (f *osFile) punch(off, n int64) error {
	return control(f.File, func(fd int) error {
		return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	})
}
