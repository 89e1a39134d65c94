package sink

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"xfer/transfer/durable"
)

// archiveTo is archive by name. What may be opened is, so that all of it is done to one file, whoever renames it.
func (m *Meta) archiveTo(t named) error {
	fi, err := t.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() && !fi.IsDir() {
		return m.archive(t)
	}
	f, err := t.fs.OpenFile(t.name, os.O_RDONLY|durable.NoFollow|durable.NonBlock, 0)
	switch {
	case errors.Is(err, fs.ErrPermission): // our own file without permission to read
		return m.archive(t)
	case err != nil:
		return err
	}
	defer f.Close()
	return m.archive(f)
}

// archive sets all of m, which View.allow has looked at. The order is that of what takes away what: the change of owner
// takes setuid, setgid and capabilities; attributes of users need a file that may be written; ACLs change the mode, and
// the mode them; and all but the time itself change no time that is kept.
func (m *Meta) archive(t target) error {
	var u Unkept
	defer m.tell(&u)
	fi, err := t.Stat()
	if err != nil {
		return err
	}
	u |= m.eff.unkept
	w := worker{m: m, t: t, fi: fi, kind: fi.Mode().Type(), u: &u}
	if err := w.setOwner(); err != nil {
		return err
	}
	if m.HasXAttrs {
		if err := w.setXAttrs(); err != nil {
			if w.opened {
				_ = t.Chmod(w.before())
			}
			return err
		}
	}
	if w.kind != fs.ModeSymlink {
		if err := w.setMode(); err != nil {
			return err
		}
	}
	if m.HasMTime {
		return u.ignore(UnkeptTime, t.SetTimes(m.MTime))
	}
	return nil
}

// worker sets the metadata of one file.
type worker struct {
	m  *Meta
	t  target
	fi fs.FileInfo // before
	u  *Unkept

	kind               fs.FileMode
	uidWrong, gidWrong bool // the file does not belong to whom it should
	noACL              bool // the access list that was told is not there
	given              bool // its owner was changed
	opened             bool // permission to write was given
}

func (w *worker) setOwner() error {
	if !w.m.HasOwner {
		return nil
	}
	e := w.m.eff
	uid, gid, ok := durable.OwnerOf(w.fi)
	if !ok {
		*w.u |= UnkeptOwner
		w.uidWrong, w.gidWrong = true, true
		return nil
	}
	// -1 is what this process may not set: silently, as rsync does.
	w.uidWrong, w.gidWrong = e.uid < 0, e.gid < 0
	newUID, newGID := e.uid, e.gid
	if newUID >= 0 && uint32(newUID) == uid {
		newUID = -1
	}
	if newGID >= 0 && uint32(newGID) == gid {
		newGID = -1
	}
	if newUID < 0 && newGID < 0 {
		return nil
	}
	err := w.t.Chown(newUID, newGID)
	if err == nil {
		w.given = true
		return nil
	}
	// EINVAL: a number that the user namespace does not have.
	if !unsupported(err) && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	*w.u |= UnkeptOwner
	w.uidWrong, w.gidWrong = w.uidWrong || newUID >= 0, w.gidWrong || newGID >= 0
	return nil
}

// setXAttrs makes the attributes those that were told, the ACLs last.
func (w *worker) setXAttrs() error {
	e := w.m.eff
	var now []durable.XAttr
	err := w.permitted(func() (err error) {
		now, err = w.t.XAttrs()
		return err
	})
	if err != nil && !unsupported(err) && !errors.Is(err, durable.ErrXAttrs) && !errors.Is(err, syscall.EACCES) {
		return err
	}
	if err != nil { // none to be had here, more than are looked at, or not ours to see
		for _, a := range e.xattrs {
			if fits(w.kind, a.Name) {
				w.lost(a.Name)
			}
		}
		return nil
	}
	have := make(map[string][]byte, len(now))
	for _, a := range now {
		have[a.Name] = a.Value
	}
	want := make(map[string]bool, len(e.xattrs))
	for _, a := range e.xattrs {
		want[a.Name] = true
	}
	for _, acls := range []bool{false, true} {
		for _, a := range now {
			if isACL(a.Name) == acls && !want[a.Name] && e.keeps(a.Name) {
				err := w.change(a.Name, func() error { return w.t.RemoveXAttr(a.Name) })
				if err != nil {
					return err
				}
			}
		}
		for _, a := range e.xattrs {
			if isACL(a.Name) != acls || !fits(w.kind, a.Name) {
				continue
			}
			if v, ok := have[a.Name]; ok && bytes.Equal(v, a.Value) {
				continue
			}
			err := w.change(a.Name, func() error { return w.t.SetXAttr(a.Name, a.Value) })
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// fits tells whether a file of the kind may have the attribute name.
func fits(kind fs.FileMode, name string) bool {
	switch kind {
	case fs.ModeSymlink:
		return !isACL(name) && !strings.HasPrefix(name, "user.")
	case fs.ModeDir:
		return true
	}
	return name != aclDefault
}

// permitted does something with attributes, which need the permissions that content does. Our own file that not even we
// may read or write gets them meanwhile; setMode comes later.
func (w *worker) permitted(do func() error) error {
	err := do()
	if errors.Is(err, syscall.EACCES) && !w.opened && w.kind != fs.ModeSymlink {
		w.opened = true
		if w.t.Chmod(w.before()|0o600) == nil {
			err = do()
		}
	}
	return err
}

// before is the mode that the file had, but for what a change of its owner takes away.
func (w *worker) before() fs.FileMode {
	if w.fi.IsDir() || !w.given {
		return w.fi.Mode()
	}
	return w.fi.Mode() &^ setIDs
}

// change sets or removes the attribute name. What cannot be kept is noted.
func (w *worker) change(name string, do func() error) error {
	switch err := w.permitted(do); {
	case err == nil, errors.Is(err, durable.ErrNoXAttr):
		return nil
	case unkeepable(err):
		w.lost(name)
		return nil
	default:
		return err
	}
}

// lost notes that the attribute name is not what it should be.
func (w *worker) lost(name string) {
	switch {
	case name == aclAccess:
		*w.u |= UnkeptACL
		w.noACL = true
	case name == aclDefault:
		*w.u |= UnkeptACL
	case isSecurity(name):
		*w.u |= UnkeptSpecial
	default:
		*w.u |= UnkeptXAttrs
	}
}

// unkeepable tells whether err is about one attribute and what this file system, or this process, can do with it. ENOSPC
// is what ext4 says when a file's attributes are more than a block; where the disk itself is full something else fails.
func unkeepable(err error) bool {
	for _, e := range []syscall.Errno{
		syscall.EACCES, syscall.EINVAL, syscall.ENOSPC, syscall.EDQUOT, syscall.E2BIG, syscall.ERANGE, syscall.ENAMETOOLONG,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return unsupported(err)
}

// setMode sets the mode that the policy allows.
func (w *worker) setMode() error {
	if !w.m.HasMode {
		if !w.opened {
			return nil
		}
		return w.u.ignore(UnkeptMode, w.t.Chmod(w.before()))
	}
	mode := w.m.Mode & permissions
	switch dir := w.fi.IsDir(); {
	case !w.m.HasOwner:
		mode &= fs.ModePerm
		if dir {
			mode |= w.fi.Mode() & (fs.ModeSetgid | fs.ModeSticky)
		}
	case !dir && mode&setIDs != 0 && !w.m.eff.special: // guard: setuid only with the right
		mode &^= setIDs
		*w.u |= UnkeptSpecial
	case !dir:
		was := mode
		if w.uidWrong {
			mode &^= fs.ModeSetuid // nobody runs it as somebody else than its sender meant
		}
		if w.gidWrong {
			mode &^= fs.ModeSetgid
		}
		if mode != was {
			*w.u |= UnkeptSpecial
		}
	}
	if w.noACL {
		mode = w.m.eff.withoutACL(mode)
	}
	return w.u.ignore(UnkeptMode, w.t.Chmod(mode))
}

const (
	setIDs      = fs.ModeSetuid | fs.ModeSetgid
	permissions = fs.ModePerm | setIDs | fs.ModeSticky
)
