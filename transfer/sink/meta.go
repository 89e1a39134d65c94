package sink

import (
	"errors"
	"io/fs"
	"syscall"
	"time"

	"xfer/transfer/durable"
)

// Unkept is a set of what a target could not keep of a Meta.
type Unkept uint8

// What there is to keep.
const (
	UnkeptMode    Unkept = 1 << iota // permission bits: a file system without them
	UnkeptTime                       // the time of the last change
	UnkeptOwner                      // user or group, though the process may set them
	UnkeptSpecial                    // setuid, setgid or capabilities: without the right, or without the owner
	UnkeptXAttrs                     // extended attributes
	UnkeptACL                        // access control lists
)

// Words returns the names of what is in u: mode, time, owner, special-modes, xattrs, acls.
func (u Unkept) Words() []string {
	var words []string
	for i, w := range [...]string{"mode", "time", "owner", "special-modes", "xattrs", "acls"} {
		if u&(1<<i) != 0 {
			words = append(words, w)
		}
	}
	return words
}

// target is a file whose metadata are set: a durable.File, or a name.
type target interface {
	Stat() (fs.FileInfo, error)
	Chown(uid, gid int) error
	Chmod(mode fs.FileMode) error
	SetTimes(t time.Time) error
	XAttrs() ([]durable.XAttr, error)
	SetXAttr(name string, value []byte) error
	RemoveXAttr(name string) error
}

// named is what name itself means in fs: of a symbolic link the link, whose mode is not set.
type named struct {
	fs   durable.FS
	name string
}

func (n named) Stat() (fs.FileInfo, error)        { return n.fs.Lstat(n.name) }
func (n named) Chown(uid, gid int) error          { return n.fs.Lchown(n.name, uid, gid) }
func (n named) Chmod(mode fs.FileMode) error      { return n.fs.Chmod(n.name, mode) }
func (n named) SetTimes(t time.Time) error        { return n.fs.SetTimes(n.name, t) }
func (n named) XAttrs() ([]durable.XAttr, error)  { return n.fs.LXAttrs(n.name) }
func (n named) SetXAttr(a string, v []byte) error { return n.fs.LSetXAttr(n.name, a, v) }
func (n named) RemoveXAttr(a string) error        { return n.fs.LRemoveXAttr(n.name, a) }

// apply sets m on an open regular file. A file system that keeps no permissions (FAT) is no reason to refuse the content.
// Owner and attributes are set where View.allow has looked at m before.
func (m Meta) apply(f durable.File) error {
	if m.eff != nil {
		return m.archive(f)
	}
	var u Unkept
	defer m.tell(&u)
	if m.HasMode {
		if err := u.ignore(UnkeptMode, f.Chmod(m.Mode&fs.ModePerm)); err != nil {
			return err
		}
	}
	if m.HasMTime {
		return u.ignore(UnkeptTime, f.SetTimes(m.MTime))
	}
	return nil
}

// applyTo sets m on name, which is no symbolic link, or of a link what a link has. Setgid and sticky of a directory stay
// what they are where no archive is made.
func (m Meta) applyTo(fsys durable.FS, name string, link bool) error {
	t := named{fsys, name}
	if m.eff != nil {
		return m.archiveTo(t)
	}
	var u Unkept
	defer m.tell(&u)
	if m.HasMode && !link {
		mode := m.Mode & fs.ModePerm
		fi, err := t.Stat()
		if err != nil {
			return err
		}
		if fi.IsDir() {
			mode |= fi.Mode() & (fs.ModeSetgid | fs.ModeSticky)
		}
		if err := u.ignore(UnkeptMode, t.Chmod(mode)); err != nil {
			return err
		}
	}
	if m.HasMTime {
		return u.ignore(UnkeptTime, t.SetTimes(m.MTime))
	}
	return nil
}

// tell adds u to what the caller wants to know.
func (m *Meta) tell(u *Unkept) {
	if m.Unkept != nil {
		*m.Unkept |= *u
	}
}

// ignore returns err unless it says that what cannot be kept here, which is noted.
func (u *Unkept) ignore(what Unkept, err error) error {
	if err != nil && unsupported(err) {
		*u |= what
		return nil
	}
	return err
}

func unsupported(err error) bool {
	for _, e := range []error{errors.ErrUnsupported, syscall.ENOSYS, syscall.ENOTSUP, syscall.EPERM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
