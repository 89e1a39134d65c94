package durable

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// renameNew is renameat2(2) with RENAME_NOREPLACE; EINVAL where the file system does not know it.
func renameNew(oldfd int, oldbase string, newfd int, newbase string) error {
	return unix.Renameat2(oldfd, oldbase, newfd, newbase, unix.RENAME_NOREPLACE)
}

// asRoot makes a Root of the very directory.
func (d *dirFD) asRoot() (*os.Root, error) {
	fd, err := d.use()
	if err != nil {
		return nil, err
	}
	defer d.done()
	return os.OpenRoot("/proc/self/fd/" + strconv.Itoa(fd))
}

// hasRoot tells whether asRoot works: it does not where /proc is missing.
func (d *dirFD) hasRoot() bool {
	r, err := d.asRoot()
	if err != nil {
		return false
	}
	defer r.Close()
	return d.isRoot(r, ".") == nil
}

func syncFD(fd int) error { return unix.Fsync(fd) }

// syncFS is syncfs(2). Since Linux 5.8 it tells, once to each descriptor, that something written back since it was opened
// was lost. The descriptor is that of the FS, so it is older than all that was done through it.
func (o *osFS) syncFS() error {
	return o.fd().do("syncfs", o.path, func(fd int) error {
		var st unix.Statfs_t
		if err := unix.Fstatfs(fd, &st); err != nil {
			return err
		}
		if !syncsAll(uint32(st.Type)) || !kernelAtLeast(5, 8) {
			return errors.ErrUnsupported
		}
		err := unix.Syncfs(fd)
		switch {
		case err == unix.ENOSYS, err == unix.EPERM: // a sandbox forbids the call
			return errors.ErrUnsupported
		case err == nil && !kernelAtLeast(5, 17):
			// Until then it did not hand on what the file system itself had to say (a journal that cannot be written):
			// "sync_filesystem ignores the return code from ->sync_fs" (D. Wong, January 2022). fsync does.
			return unix.Fsync(fd)
		}
		return err
	})
}

// syncsAll tells whether syncfs of this type of file system leaves all of it on its device, as fsync of each file does. The
// others are FUSE, whose server is not asked, network file systems, whose server is not asked for all, and overlayfs, which
// does not hand on what its upper file system has lost.
func syncsAll(kind uint32) bool {
	switch kind {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC,
		unix.TMPFS_MAGIC, unix.RAMFS_MAGIC:
		return true
	}
	return false
}

func kernelAtLeast(major, minor int) bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	var a, b int
	if n, _ := fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &a, &b); n != 2 {
		return false
	}
	return a > major || a == major && b >= minor
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

// allocate is fallocate(2), but not on tmpfs: there it gets every page at once, which takes as long as writing them all,
// while the peer waits for the answer to its OPEN.
func allocate(f *os.File, size int64) error {
	return control(f, func(fd int) error {
		var st unix.Statfs_t
		if err := unix.Fstatfs(fd, &st); err == nil && st.Type == unix.TMPFS_MAGIC {
			return unix.EOPNOTSUPP
		}
		return unix.Fallocate(fd, 0, 0, size)
	})
}

// blockUnit is the unit of the block counts: the fragment size where the file system has one (statvfs(3)).
func blockUnit(st *unix.Statfs_t) uint64 {
	if st.Frsize > 0 {
		return uint64(st.Frsize)
	}
	return uint64(st.Bsize)
}

func changeTime(st *syscall.Stat_t) (sec, nsec int64) { return int64(st.Ctim.Sec), int64(st.Ctim.Nsec) }

func modTime(st *syscall.Stat_t) (sec, nsec int64) { return int64(st.Mtim.Sec), int64(st.Mtim.Nsec) }
