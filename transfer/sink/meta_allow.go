package sink

import (
	"io/fs"
	"os"
	"strings"

	"xfer/transfer/durable"
)

// actor is what this process may do to a file, whoever asks it.
type actor struct {
	chown  bool // give files to anybody
	admin  bool // set attributes of the system's administration
	groups map[uint32]bool
}

func thisProcess() actor {
	a := actor{groups: make(map[uint32]bool)}
	a.chown, a.admin = privileges()
	if list, err := os.Getgroups(); err == nil {
		for _, g := range append(list, os.Getegid()) {
			a.groups[uint32(g)] = true
		}
	}
	return a
}

// effects is what is done with the owner and the attributes of a Meta on this machine, for this principal.
type effects struct {
	uid, gid int  // -1: stays as it is
	special  bool // setuid and setgid of files may be set
	admin    bool
	xattrs   []durable.XAttr // sorted by name, those that are kept here
	unkept   Unkept          // what is known to be lost before anything is tried
}

// allow looks what of m may be kept here by v, and how. Without owner and attributes m stays as it is.
func (v *View) allow(m Meta) Meta {
	if !m.HasOwner && !m.HasXAttrs {
		return m
	}
	d := v.d
	e := &effects{uid: -1, gid: -1, special: v.rights&SpecialModes != 0, admin: d.self.admin}
	if m.HasOwner {
		e.uid, e.gid = d.owner(m.UID, m.User, m.GID, m.Group)
	}
	if m.HasXAttrs && !soundXAttrs(m.XAttrs) {
		m.HasXAttrs = false
		e.unkept |= UnkeptXAttrs
	}
	if m.HasXAttrs {
		names := findACLNames(m.XAttrs)
		for _, a := range m.XAttrs {
			switch {
			case e.keeps(a.Name):
				if isACL(a.Name) {
					a.Value = names.mapACL(a.Value, &d.owners)
				}
				e.xattrs = append(e.xattrs, a)
			case !e.special && isSecurity(a.Name) && !isForeign(a.Name):
				e.unkept |= UnkeptSpecial
			}
		}
	}
	m.eff = e
	return m
}

// knownLoss is what of m, which View.allow has looked at, will not be kept whatever is tried. file: of a regular file.
func (m *Meta) knownLoss(file bool) Unkept {
	if m.eff == nil {
		return 0
	}
	u := m.eff.unkept
	lost := m.Mode & setIDs
	if m.eff.special && m.eff.uid >= 0 {
		lost &^= fs.ModeSetuid
	}
	if m.eff.special && m.eff.gid >= 0 {
		lost &^= fs.ModeSetgid
	}
	if file && m.HasMode && m.HasOwner && lost != 0 {
		u |= UnkeptSpecial
	}
	return u
}

// allowed is allow for what may be nil.
func (v *View) allowed(m *Meta) *Meta {
	if m == nil {
		return nil
	}
	a := v.allow(*m)
	return &a
}

// soundXAttrs tells whether attributes of a peer are within the limits and in order.
func soundXAttrs(attrs []durable.XAttr) bool {
	total := 0
	for i, a := range attrs {
		if total += len(a.Name) + len(a.Value); total > durable.MaxXAttrBytes || i > 0 && attrs[i-1].Name >= a.Name {
			return false
		}
	}
	return len(attrs) <= durable.MaxXAttrs
}

// owner returns the numbers that a file gets here, by name and else by number; -1 for one that stays as it is, since
// this process may not set it.
func (d *Dir) owner(uid uint32, user string, gid uint32, group string) (u, g int) {
	u, g = -1, -1
	gid = d.owners.GID(group, gid)
	if d.self.chown {
		return idOf(d.owners.UID(user, uid)), idOf(gid)
	}
	if d.self.groups[gid] {
		g = idOf(gid)
	}
	return u, g
}

// idOf is a number as chown takes it. The largest means "leave it".
func idOf(id uint32) int {
	if id == 1<<32-1 {
		return -1
	}
	return int(id)
}

// The attributes that have a meaning to us.
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

func isACL(name string) bool { return name == aclAccess || name == aclDefault }

func isSecurity(name string) bool { return strings.HasPrefix(name, "security.") }

// isForeign tells whether an attribute belongs to the machine that it is on, and is never taken to another: labels and
// signatures that its kernel makes.
func isForeign(name string) bool {
	switch name {
	case "security.selinux", "security.ima", "security.evm":
		return true
	}
	return false
}

// keeps tells whether the attribute name is one that is set, and removed where the sender does not have it.
func (e *effects) keeps(name string) bool {
	switch space, rest, _ := strings.Cut(name, "."); space {
	case "user":
		return rest != ""
	case "system":
		return isACL(name)
	case "trusted":
		return e.admin
	case "security":
		return e.admin && e.special && !isForeign(name)
	}
	return false
}
