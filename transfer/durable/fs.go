package durable

import (
	"io"
	"io/fs"
	"time"
)

// FS is the file system seam: everything that the sink, the certificate store and the daemon write goes
// through it, so that a test can put the crash file system (package crashfs) or a failing one beneath them.
// Names are relative to the FS's root, "/"-separated, of any bytes but NUL; "." is the root itself. No
// operation leaves the root: a symbolic link that points outside is an error for every method but Lstat,
// Readlink, Remove, Rename and Symlink, which act on the link. Methods may be called concurrently.
// Errors are *fs.PathError or *os.LinkError around a syscall.Errno where there is one.
type FS interface {
	// OpenFile is os.Root.OpenFile, with NoFollow and NonBlock as further flags. perm has permission bits only.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	Mkdir(name string, perm fs.FileMode) error
	Remove(name string) error
	RemoveAll(name string) error
	// Rename replaces a file or link at newname, and never a directory.
	Rename(oldname, newname string) error
	// RenameNoReplace is Rename that fails with fs.ErrExist when newname is there (link and unlink, or
	// renameat2 with RENAME_NOREPLACE where links are not to be had). Atomic with respect to newname.
	RenameNoReplace(oldname, newname string) error
	// RenameTo renames oldname of this FS to newname of dst, another FS opened beneath the same outermost one (syscall.EINVAL
	// for any other). With replace it is Rename, without RenameNoReplace.
	RenameTo(oldname string, dst FS, newname string, replace bool) error
	// Link gives the file, or the symbolic link, oldname another name.
	Link(oldname, newname string) error
	Symlink(target, name string) error
	Readlink(name string) (string, error)
	Stat(name string) (fs.FileInfo, error)
	Lstat(name string) (fs.FileInfo, error)
	Chmod(name string, mode fs.FileMode) error
	// SetTimes sets access and modification time of name to t without following a final symbolic link.
	SetTimes(name string, t time.Time) error
	// ReadDir returns the entries of a directory in the order the system gives them, at most n > 0 of
	// them and io.EOF semantics as os.File.ReadDir when used through OpenFile; here all at once.
	ReadDir(name string) ([]fs.DirEntry, error)
	// SyncDir makes the entries of directory name durable.
	SyncDir(name string) error
	// SyncFS makes everything durable that was done to the file system of the root since this FS was opened, as syncfs(2).
	// It fails with errors.ErrUnsupported, doing nothing, where that call does not write all of it or does not tell
	// of what it could not write. Any other error is as one of Sync, for all that was not durable before.
	SyncFS() error
	// OpenRoot returns an FS whose root is the directory name. The caller closes it.
	OpenRoot(name string) (FS, error)
	// Lock takes an exclusive advisory lock (flock) on the file name, made if missing, and fails with
	// ErrLocked at once where another process or another Lock of this one holds it.
	Lock(name string) (unlock func() error, err error)
	// Space returns what an unprivileged user may still write, and the size of the file system, in bytes; both
	// are math.MaxInt64 where the file system does not tell.
	Space() (free, total int64, err error)
	Close() error
	// Lchown sets the owner of name, of a symbolic link that of the link; -1 leaves a number as it is.
	Lchown(name string, uid, gid int) error
	// LXAttrs is File.XAttrs of name, LSetXAttr and LRemoveXAttr are SetXAttr and RemoveXAttr: of a symbolic link
	// in the last component they mean the link, which has no attributes of users.
	LXAttrs(name string) ([]XAttr, error)
	LSetXAttr(name, attr string, value []byte) error
	LRemoveXAttr(name, attr string) error
}

// File is an open file or directory of an FS.
type File interface {
	io.Reader
	io.Writer
	io.ReaderAt
	io.WriterAt
	io.Seeker
	io.Closer
	Name() string
	Stat() (fs.FileInfo, error)
	ReadDir(n int) ([]fs.DirEntry, error)
	Truncate(size int64) error
	// Allocate reserves size bytes (fallocate) and extends the file to size; it never shrinks it. Where the file
	// system has no fallocate, or takes long for it (tmpfs), it truncates to size after checking the free space. When it fails (ENOSPC) the
	// file is as before and nothing stays reserved behind its end.
	Allocate(size int64) error
	// Sync is fsync(2): data, metadata and size.
	Sync() error
	// SyncData is fdatasync(2).
	SyncData() error
	Chmod(mode fs.FileMode) error
	// SetTimes sets access and modification time, in nanoseconds where the file system has them.
	SetTimes(t time.Time) error
	// DropCache asks the system to forget cached pages so that the next read comes from the device.
	// It must be synced before; a no-op where the system has no such call.
	DropCache() error
	// Chown sets the owner; -1 leaves a number as it is. The system takes setuid and setgid of a file away with it.
	Chown(uid, gid int) error
	// XAttrs returns all extended attributes that the process may see, sorted by name. More than MaxXAttrs of them, or
	// than MaxXAttrBytes, are ErrXAttrs. The error is errors.ErrUnsupported where there are none to be had.
	XAttrs() ([]XAttr, error)
	// SetXAttr sets the attribute name, with its namespace ("user.x"); errors.ErrUnsupported where it cannot be kept.
	SetXAttr(name string, value []byte) error
	// RemoveXAttr removes the attribute name; one that is not there is ErrNoXAttr.
	RemoveXAttr(name string) error
	// CloneRange makes n bytes of dst from dstOff on the same as those of the file from srcOff on, without copying them
	// (FICLONERANGE). It fails, with nothing changed, where the file system cannot, dst is on another one, or the
	// numbers are not multiples of its blocks (but at the end of the file): then CopyRange serves.
	CloneRange(dst File, srcOff, dstOff, n int64) error
	// CopyRange copies n bytes of the file from srcOff on to dst at dstOff, within the kernel where it can. Ranges of
	// one file must not overlap. io.ErrUnexpectedEOF where the file ends before. Holes become zeros.
	CopyRange(dst File, srcOff, dstOff, n int64) error
	// NextData returns where the next data begins at or after off, NextHole where the next hole does; the end of the
	// file, or off behind it, where none does. Without support of the file system, or where it may take data for a
	// hole, all is data. Both move the position of Read and Write.
	NextData(off int64) (int64, error)
	NextHole(off int64) (int64, error)
	// PunchHole makes n bytes from off on zeros and gives their space back; the size stays. errors.ErrUnsupported where
	// the file system has no holes.
	PunchHole(off, n int64) error
}

// ID is what tells one file from another while both exist, and a changed file from an unchanged one.
type ID struct {
	Dev, Inode uint64
	CTime      int64 // ns
}
