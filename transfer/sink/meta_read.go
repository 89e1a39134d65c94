package sink

import (
	"bytes"
	"errors"
	"io/fs"
	"slices"

	"xfer/transfer/durable"
)

// Keep says what a sender tells of its files.
type Keep struct {
	Archive bool            // owner and extended attributes too, and the mode exactly
	Special bool            // of an archive also setuid and setgid of files, and attributes that give privileges
	Owners  *durable.Owners // for the names of owners; nil: numbers only
	Left    func(Unkept)    // told what a file has that is not told, without Special; may be nil
}

// ReadMeta returns the metadata of an open file.
func (k Keep) ReadMeta(f durable.File) (Meta, error) {
	fi, err := f.Stat()
	if err != nil {
		return Meta{}, err
	}
	return k.read(fi, f.XAttrs)
}

// ReadMetaAt returns the metadata of name, of a symbolic link those of the link. fi is what Lstat says of it.
func (k Keep) ReadMetaAt(fsys durable.FS, name string, fi fs.FileInfo) (Meta, error) {
	return k.read(fi, func() ([]durable.XAttr, error) { return fsys.LXAttrs(name) })
}

// read makes a Meta. A file system without extended attributes says nothing of them.
func (k Keep) read(fi fs.FileInfo, xattrs func() ([]durable.XAttr, error)) (Meta, error) {
	m := Meta{Mode: fi.Mode() & permissions, MTime: fi.ModTime(), HasMode: fi.Mode().Type() != fs.ModeSymlink, HasMTime: true}
	if !k.Archive {
		m.Mode &= fs.ModePerm
		return m, nil
	}
	special := false
	if !k.Special && !fi.IsDir() {
		special = m.Mode&setIDs != 0
		m.Mode &^= setIDs
	}
	if m.UID, m.GID, m.HasOwner = durable.OwnerOf(fi); m.HasOwner && k.Owners != nil {
		m.User, m.Group = k.Owners.Lookup(m.UID, m.GID)
	}
	defer func() {
		if special && k.Left != nil {
			k.Left(UnkeptSpecial)
		}
	}()
	all, err := xattrs()
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return m, nil
	case err != nil:
		return Meta{}, err
	}
	m.HasXAttrs = true
	m.XAttrs = slices.DeleteFunc(all, func(a durable.XAttr) bool {
		told := k.tells(a.Name)
		special = special || !told && isSecurity(a.Name) && !isForeign(a.Name)
		return !told
	})
	if k.Owners != nil {
		m.addACLNames(k.Owners)
	}
	return m, nil
}

// tells tells whether an attribute is one that a receiver might keep.
func (k Keep) tells(name string) bool {
	e := effects{admin: true, special: k.Special}
	return e.keeps(name)
}

// addACLNames adds the names of the numbers in ACLs, unless that is more than a file may have.
func (m *Meta) addACLNames(owners *durable.Owners) {
	names, ok := aclNamesOf(m.XAttrs, owners)
	if !ok || len(m.XAttrs) >= durable.MaxXAttrs {
		return
	}
	total := len(names.Name) + len(names.Value)
	for _, a := range m.XAttrs {
		total += len(a.Name) + len(a.Value)
	}
	if total <= durable.MaxXAttrBytes {
		m.XAttrs = append(m.XAttrs, names)
		durable.SortXAttrs(m.XAttrs)
	}
}

// same tells whether name, which Lstat has described as fi, has all that m says already, as far as this process might set
// it. The attributes are read only where all else is the same. View.allow has looked at m.
func (m *Meta) same(fsys durable.FS, name string, fi fs.FileInfo) (bool, error) {
	if !m.sameInfo(fi) {
		return false, nil
	}
	if m.eff == nil || !m.HasXAttrs {
		return true, nil
	}
	have, err := fsys.LXAttrs(name)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		have = nil
	case errors.Is(err, durable.ErrXAttrs), errors.Is(err, fs.ErrPermission):
		return false, nil
	case err != nil:
		return false, err
	}
	return m.eff.sameXAttrs(fi.Mode().Type(), have), nil
}

// sameInfo compares all but the attributes.
func (m *Meta) sameInfo(fi fs.FileInfo) bool {
	if m.HasMTime && !m.MTime.Equal(fi.ModTime()) {
		return false
	}
	uidWrong, gidWrong := false, false
	if m.eff != nil && m.HasOwner {
		if uid, gid, ok := durable.OwnerOf(fi); ok {
			e := m.eff
			if e.uid >= 0 && uint32(e.uid) != uid || e.gid >= 0 && uint32(e.gid) != gid {
				return false
			}
			uidWrong, gidWrong = e.uid < 0, e.gid < 0
		}
	}
	kind := fi.Mode().Type()
	if !m.HasMode || kind == fs.ModeSymlink {
		return true
	}
	mask, want := fs.ModePerm, m.Mode
	if m.eff != nil && m.HasOwner {
		mask = permissions
		if kind == 0 && (!m.eff.special || uidWrong) {
			want &^= fs.ModeSetuid
		}
		if kind == 0 && (!m.eff.special || gidWrong) {
			want &^= fs.ModeSetgid
		}
	}
	return (want^fi.Mode())&mask == 0
}

// sameXAttrs tells whether a file of this kind with the attributes have needs no change of them.
func (e *effects) sameXAttrs(kind fs.FileMode, have []durable.XAttr) bool {
	want := slices.DeleteFunc(slices.Clone(e.xattrs), func(a durable.XAttr) bool { return !fits(kind, a.Name) })
	have = slices.DeleteFunc(have, func(a durable.XAttr) bool { return !e.keeps(a.Name) })
	return slices.EqualFunc(want, have, func(a, b durable.XAttr) bool {
		return a.Name == b.Name && bytes.Equal(a.Value, b.Value)
	})
}
