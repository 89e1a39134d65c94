package durable

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// TempPrefix begins the name of each file that WriteFile has not finished. One that a crash left behind may
// be removed whenever no WriteFile runs in its directory.
const TempPrefix = ".xfer-tmp-"

// IDOf returns the identity of a file from information that an FS gave. It is false where the system tells
// none (Windows).
func IDOf(fi fs.FileInfo) (ID, bool) {
	if id, ok := fi.Sys().(ID); ok {
		return id, true
	}
	return systemID(fi.Sys())
}

// SameFile tells whether a and b, which an FS gave, describe the same file. Like os.SameFile, but over any FS.
func SameFile(a, b fs.FileInfo) bool {
	if os.SameFile(a, b) {
		return true
	}
	x, okX := IDOf(a)
	y, okY := IDOf(b)
	return okX && okY && x.Dev == y.Dev && x.Inode == y.Inode
}

// Dir is the directory of name: what stands before its last "/", else ".".
func Dir(name string) string {
	switch i := strings.LastIndexByte(name, '/'); i {
	case -1:
		return "."
	case 0:
		return "/" // which each FS refuses
	default:
		return name[:i]
	}
}

// OpenRegular opens the regular file name for reading. It follows no symbolic link in the last component and
// never waits; anything but a regular file is ErrNotRegular.
func OpenRegular(fsys FS, name string) (File, error) {
	return OpenRegularFlag(fsys, name, os.O_RDONLY)
}

// OpenRegularFlag is OpenRegular with other flags of os.OpenFile, as os.O_RDWR. A file is never made.
// With os.O_TRUNC only a regular file is truncated.
func OpenRegularFlag(fsys FS, name string, flag int) (File, error) {
	truncate := flag&os.O_TRUNC != 0
	f, err := fsys.OpenFile(name, flag&^(os.O_CREATE|os.O_EXCL|os.O_TRUNC)|NoFollow|NonBlock, 0)
	switch {
	case errors.Is(err, syscall.ELOOP), // a link
		errors.Is(err, syscall.EISDIR), // a directory, for writing
		errors.Is(err, syscall.ENXIO):  // a socket, or a FIFO without a reader for writing
		return nil, &fs.PathError{Op: "open", Path: name, Err: fmt.Errorf("%w: %w", ErrNotRegular, err)}
	case err != nil:
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = &fs.PathError{Op: "open", Path: name, Err: ErrNotRegular}
	}
	if err == nil && truncate {
		err = f.Truncate(0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ReadFile returns what the regular file name holds, which is an error of syscall.EFBIG for more than limit bytes.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := OpenRegular(fsys, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: syscall.EFBIG}
	}
	return data, nil
}

// WriteFile makes name a file that holds data with permissions perm, whatever the umask. When it returns nil
// that is durable; when it fails, or the machine does before, name is what it was or the new file, whole.
// A symbolic link at name is replaced, not followed. Permissions are there before the first byte is.
func WriteFile(fsys FS, name string, data []byte, perm fs.FileMode) error {
	dir := Dir(name)
	temp := dir + "/" + TempPrefix + rand.Text()
	f, err := fsys.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, perm&0o600)
	if err != nil {
		return fmt.Errorf("write %q: %w", name, err)
	}
	if err := fill(f, data, perm); err != nil {
		_ = fsys.Remove(temp)
		return fmt.Errorf("write %q: %w", name, err)
	}
	if err := fsys.Rename(temp, name); err != nil {
		_ = fsys.Remove(temp)
		return fmt.Errorf("write %q: %w", name, err)
	}
	return fsys.SyncDir(dir)
}

// fill writes data into f, syncs and closes it.
func fill(f File, data []byte, perm fs.FileMode) error {
	err := func() error {
		fi, err := f.Stat()
		if err != nil {
			return err
		}
		if fi.Mode().Perm() != perm.Perm() {
			if err := f.Chmod(perm.Perm()); err != nil {
				return err
			}
		}
		if _, err := f.Write(data); err != nil {
			return err
		}
		return f.Sync()
	}()
	return errors.Join(err, f.Close())
}

// Replace renames oldname to newname, which it replaces, and syncs both directories. The caller has synced
// the file itself before. After an error of the syncs the new name may be there and not durable.
func Replace(fsys FS, oldname, newname string) error {
	if err := fsys.Rename(oldname, newname); err != nil {
		return err
	}
	if err := fsys.SyncDir(Dir(newname)); err != nil {
		return err
	}
	if Dir(oldname) == Dir(newname) {
		return nil
	}
	return fsys.SyncDir(Dir(oldname))
}

// MkdirAll makes directory name with those above it that are missing. When it returns nil all of them are durable,
// those too that were there: a process that made one may have been killed before it synced it.
func MkdirAll(fsys FS, name string, perm fs.FileMode) error {
	switch name {
	case ".":
		return nil
	case "/":
		return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.EINVAL}
	}
	parent := Dir(name)
	if err := MkdirAll(fsys, parent, perm); err != nil {
		return err
	}
	if err := fsys.Mkdir(name, perm); err != nil {
		fi, err2 := fsys.Stat(name) // which fails where a link leads outside
		if err2 != nil || !fi.IsDir() {
			return err
		}
	}
	return fsys.SyncDir(parent)
}
