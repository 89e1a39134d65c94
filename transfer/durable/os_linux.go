package durable

import (
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// renameExclusive is renameat2(2) with RENAME_NOREPLACE; EINVAL where the file system does not know it.
func (o *osFS) renameExclusive(oldname, newname string) error {
	return o.renameAt("renameat2", oldname, newname, func(oldfd int, oldbase string, newfd int, newbase string) error {
		return unix.Renameat2(oldfd, oldbase, newfd, newbase, unix.RENAME_NOREPLACE)
	})
}

// openRoot opens name as a directory or not at all, and makes a Root of that very handle: os.Root.OpenRoot
// would wait if name were swapped with a FIFO. Without /proc the name is looked at first instead.
func (o *osFS) openRoot(name string) (*os.Root, error) {
	d, err := o.openDir(name)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var root *os.Root
	err = control(d, func(fd int) error {
		root, err = os.OpenRoot("/proc/self/fd/" + strconv.Itoa(fd))
		return err
	})
	if err != nil {
		return o.openRootChecked(name)
	}
	return root, nil
}

// setFileTimes is futimens(3): utimensat(2) with a descriptor and no name.
func setFileTimes(f *os.File, t time.Time) error {
	ts, err := timespecs(t)
	if err != nil {
		return err
	}
	return control(f, func(fd int) error {
		_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0)
		if e != 0 {
			return e
		}
		return nil
	})
}

func syncData(f *os.File) error { return control(f, unix.Fdatasync) }

func dropCache(f *os.File) error {
	return control(f, func(fd int) error { return unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) })
}

func allocate(f *os.File, size int64) error {
	return control(f, func(fd int) error { return unix.Fallocate(fd, 0, 0, size) })
}

// blockUnit is the unit of the block counts: the fragment size where the file system has one (statvfs(3)).
func blockUnit(st *unix.Statfs_t) uint64 {
	if st.Frsize > 0 {
		return uint64(st.Frsize)
	}
	return uint64(st.Bsize)
}

func changeTime(st *syscall.Stat_t) (sec, nsec int64) { return int64(st.Ctim.Sec), int64(st.Ctim.Nsec) }
