package durable

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// renameNew is renameatx_np(2) with RENAME_EXCL; ENOTSUP where the file system does not know it.
func renameNew(oldfd int, oldbase string, newfd int, newbase string) error {
	return unix.RenameatxNp(oldfd, oldbase, newfd, newbase, unix.RENAME_EXCL)
}

// There are no Roots of descriptors here.
func (d *dirFD) asRoot() (*os.Root, error) { return nil, errors.ErrUnsupported }
func (d *dirFD) hasRoot() bool             { return false }

// syncFD is F_FULLFSYNC, the only call that reaches the medium, or fsync where the file system does not know it.
func syncFD(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_FULLFSYNC, 0)
	if unsupported(err) {
		err = unix.Fsync(fd)
	}
	return err
}

func (o *osFS) syncFS() error { return errors.ErrUnsupported }

// setFileTimes has microseconds only: futimes(2).
func setFileTimes(f *os.File, t time.Time) error {
	tv := unix.NsecToTimeval(t.UnixNano())
	return control(f, func(fd int) error { return unix.Futimes(fd, []unix.Timeval{tv, tv}) })
}

// syncData is Sync: F_FULLFSYNC, the only call that reaches the medium.
func syncData(f *os.File) error { return f.Sync() }

func dropCache(*os.File) error { return nil }

// allocate reserves with F_PREALLOCATE and extends the file.
func allocate(f *os.File, size int64) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	err = control(f, func(fd int) error {
		return unix.FcntlFstore(uintptr(fd), unix.F_PREALLOCATE, &unix.Fstore_t{
			Flags:   unix.F_ALLOCATEALL,
			Posmode: unix.F_PEOFPOSMODE,
			Length:  size - fi.Size(),
		})
	})
	if err != nil {
		return err
	}
	return f.Truncate(size)
}

func blockUnit(st *unix.Statfs_t) uint64 { return uint64(st.Bsize) }

func changeTime(st *syscall.Stat_t) (sec, nsec int64) {
	return st.Ctimespec.Sec, st.Ctimespec.Nsec
}

func modTime(st *syscall.Stat_t) (sec, nsec int64) {
	return st.Mtimespec.Sec, st.Mtimespec.Nsec
}
