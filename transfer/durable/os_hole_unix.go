//go:build linux || darwin

package durable

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// seekKind is lseek(2) with SEEK_DATA or SEEK_HOLE.
func (f *osFile) seekKind(off int64, data bool) (at int64, err error) {
	whence := unix.SEEK_HOLE
	if data {
		whence = unix.SEEK_DATA
	}
	err = control(f.File, func(fd int) error {
		at, err = unix.Seek(fd, off, whence)
		return err
	})
	return at, err
}

func systemOwner(sys any) (uid, gid uint32, ok bool) {
	st, ok := sys.(*syscall.Stat_t)
	if !ok {
		return 0, 0, false
	}
	return st.Uid, st.Gid, true
}

func systemBlocks(sys any) (int64, bool) {
	st, ok := sys.(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int64(st.Blocks), true
}

func systemLinks(sys any) (uint64, bool) {
	st, ok := sys.(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return uint64(st.Nlink), true
}
