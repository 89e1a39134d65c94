package crashfs

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"xfer/transfer/durable"
)

// Limits of Linux: xattr(7).
const (
	maxXAttrName  = 255
	maxXAttrValue = 64 << 10
)

// Chown implements durable.File.
func (f *file) Chown(uid, gid int) error {
	_, err := f.begin("chown", noDetail)
	defer f.fs.d.mu.Unlock()
	if err == nil {
		f.ino.chown(uid, gid)
	}
	return err
}

// XAttrs implements durable.File.
func (f *file) XAttrs() ([]durable.XAttr, error) {
	err := f.look("listxattr")
	defer f.fs.d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	attrs, err := f.ino.listXAttrs()
	return attrs, f.err("listxattr", err)
}

// SetXAttr implements durable.File.
func (f *file) SetXAttr(name string, value []byte) error {
	_, err := f.begin("setxattr", func() string { return " " + name })
	defer f.fs.d.mu.Unlock()
	if err != nil {
		return err
	}
	return f.err("setxattr", f.ino.setXAttr(name, value))
}

// RemoveXAttr implements durable.File.
func (f *file) RemoveXAttr(name string) error {
	_, err := f.begin("removexattr", func() string { return " " + name })
	defer f.fs.d.mu.Unlock()
	if err != nil {
		return err
	}
	return f.err("removexattr", f.ino.removeXAttr(name))
}

// Lchown implements durable.FS.
func (f *FS) Lchown(name string, uid, gid int) error {
	return f.setAttr("chown", name, false, func(n *inode) { n.chown(uid, gid) })
}

// LXAttrs implements durable.FS.
func (f *FS) LXAttrs(name string) (attrs []durable.XAttr, err error) {
	err = f.look("listxattr", name)
	defer f.d.mu.Unlock()
	var p place
	if err == nil {
		p, err = f.existing(name, false)
	}
	if err == nil {
		attrs, err = p.ino.listXAttrs()
	}
	return attrs, pathError("listxattr", name, err)
}

// LSetXAttr implements durable.FS.
func (f *FS) LSetXAttr(name, attr string, value []byte) error {
	return f.changeXAttr("setxattr", name, attr, func(n *inode) error { return n.setXAttr(attr, value) })
}

// LRemoveXAttr implements durable.FS.
func (f *FS) LRemoveXAttr(name, attr string) error {
	return f.changeXAttr("removexattr", name, attr, func(n *inode) error { return n.removeXAttr(attr) })
}

func (f *FS) changeXAttr(op, name, attr string, change func(*inode) error) error {
	err := f.begin(op, name, " "+attr)
	defer f.d.mu.Unlock()
	var p place
	if err == nil {
		p, err = f.existing(name, false)
	}
	if err == nil {
		err = change(p.ino)
	}
	return pathError(op, name, err)
}

// chown takes setuid away, and setgid where the group may execute the file: chown(2).
func (n *inode) chown(uid, gid int) {
	if uid >= 0 {
		n.now.uid = uint32(uid)
	}
	if gid >= 0 {
		n.now.gid = uint32(gid)
	}
	if n.kind == 0 {
		n.now.mode &^= fs.ModeSetuid
		if n.now.mode&0o010 != 0 {
			n.now.mode &^= fs.ModeSetgid
		}
		n.dropXAttr("security.capability")
	}
	n.ctime = time.Now()
}

// checkXAttr says what Linux says of a name.
func (n *inode) checkXAttr(name string) error {
	if name == "" || len(name) > maxXAttrName || strings.IndexByte(name, 0) >= 0 {
		return syscall.ERANGE
	}
	space, rest, _ := strings.Cut(name, ".")
	switch space {
	case "user":
		if n.kind != 0 && !n.isDir() {
			return syscall.EPERM
		}
	case "trusted", "security":
	case "system":
		if name != "system.posix_acl_access" && name != "system.posix_acl_default" || n.kind == fs.ModeSymlink {
			return syscall.EOPNOTSUPP
		}
	default:
		return syscall.EOPNOTSUPP
	}
	if rest == "" {
		return syscall.EINVAL
	}
	return nil
}

func (n *inode) listXAttrs() ([]durable.XAttr, error) {
	if len(n.now.xattrs) > durable.MaxXAttrs {
		return nil, durable.ErrXAttrs
	}
	var attrs []durable.XAttr
	total := 0
	for _, name := range slices.Sorted(maps.Keys(n.now.xattrs)) {
		value := n.now.xattrs[name]
		if total += len(name) + len(value); total > durable.MaxXAttrBytes {
			return nil, durable.ErrXAttrs
		}
		attrs = append(attrs, durable.XAttr{Name: name, Value: []byte(value)})
	}
	return attrs, nil
}

func (n *inode) setXAttr(name string, value []byte) error {
	if err := n.checkXAttr(name); err != nil {
		return err
	}
	if len(value) > maxXAttrValue {
		return syscall.E2BIG
	}
	set := maps.Clone(n.now.xattrs) // the durable image may have the same one
	if set == nil {
		set = map[string]string{}
	}
	set[name] = string(value)
	n.now.xattrs, n.ctime = set, time.Now()
	return nil
}

func (n *inode) removeXAttr(name string) error {
	if err := n.checkXAttr(name); err != nil {
		return err
	}
	if !n.dropXAttr(name) {
		return durable.ErrNoXAttr
	}
	n.ctime = time.Now()
	return nil
}

func (n *inode) dropXAttr(name string) bool {
	if _, ok := n.now.xattrs[name]; !ok {
		return false
	}
	set := maps.Clone(n.now.xattrs)
	delete(set, name)
	n.now.xattrs = set
	return true
}

// mixXAttrs is what a crash leaves of attributes that were not synced: each is the old one or the new one.
func mixXAttrs(old, now map[string]string, isNew func() bool) map[string]string {
	set := map[string]string{}
	names := maps.Clone(old)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, now)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		from := old
		if isNew() {
			from = now
		}
		if v, ok := from[name]; ok {
			set[name] = v
		}
	}
	return set
}
