package durable

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
)

// XAttr is an extended attribute of a file: a name with its namespace as Linux has it ("user.x"), and a value.
type XAttr struct {
	Name  string
	Value []byte
}

// Limits of the extended attributes of one file.
const (
	MaxXAttrs     = 128      // names
	MaxXAttrBytes = 64 << 10 // of names and values together
)

// ErrXAttrs: a file has more extended attributes than MaxXAttrs or MaxXAttrBytes.
var ErrXAttrs = errors.New("too many extended attributes: at most 128, and 64 KiB in all")

// gather makes the attributes of the names that a list of the system has, each ended by a NUL. get returns ErrNoXAttr for
// one that vanished meanwhile.
func gather(list []byte, get func(name string) ([]byte, error)) ([]XAttr, error) {
	if len(list) == 0 {
		return nil, nil
	}
	names := strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00")
	if len(names) > MaxXAttrs {
		return nil, ErrXAttrs
	}
	attrs := make([]XAttr, 0, len(names))
	total := 0
	for _, name := range names {
		value, err := get(name)
		if errors.Is(err, ErrNoXAttr) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if total += len(name) + len(value); total > MaxXAttrBytes {
			return nil, ErrXAttrs
		}
		attrs = append(attrs, XAttr{Name: name, Value: value})
	}
	SortXAttrs(attrs)
	return attrs, nil
}

// SortXAttrs sorts attributes by the bytes of their names.
func SortXAttrs(attrs []XAttr) {
	slices.SortFunc(attrs, func(a, b XAttr) int { return strings.Compare(a.Name, b.Name) })
}

// OwnerOf returns whom a file belongs to, from information that an FS gave. It is false where the system tells none.
func OwnerOf(fi fs.FileInfo) (uid, gid uint32, ok bool) {
	if o, is := fi.(interface{ Owner() (uid, gid uint32) }); is {
		uid, gid = o.Owner()
		return uid, gid, true
	}
	return systemOwner(fi.Sys())
}

// Blocks returns how many blocks of 512 bytes a file has on the disk, from information that an FS gave. It is false
// where the system tells none.
func Blocks(fi fs.FileInfo) (int64, bool) {
	if b, is := fi.(interface{ Blocks() int64 }); is {
		return b.Blocks(), true
	}
	return systemBlocks(fi.Sys())
}

// Links returns how many names a file has, from information that an FS gave. It is false where the system tells none.
func Links(fi fs.FileInfo) (uint64, bool) {
	if l, is := fi.(interface{ Links() uint64 }); is {
		return l.Links(), true
	}
	return systemLinks(fi.Sys())
}

func (o *osFS) Lchown(name string, uid, gid int) error {
	return retry(func() error { return o.root.Lchown(name, uid, gid) })
}

func wrapPath(op, name string, err error) error {
	var pe *fs.PathError
	if err == nil || errors.As(err, &pe) {
		return err
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
