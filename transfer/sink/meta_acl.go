package sink

import (
	"encoding/binary"
	"io/fs"
	"slices"

	"xfer/transfer/durable"
)

// The value of an ACL attribute, as Linux has it (linux/posix_acl_xattr.h), little-endian: version u32 = 2, then entries of
// tag u16, permissions u16, number u32.
const (
	aclVersion   = 2
	aclHeaderLen = 4
	aclEntryLen  = 8

	aclUser     = 0x02 // a user by number
	aclGroupObj = 0x04 // the group of the file
	aclGroup    = 0x08 // a group by number
	aclMask     = 0x10 // the most that users by number and groups may do
)

// aclEntry is one line of an ACL.
type aclEntry struct {
	tag, perm uint16
	id        uint32
}

// parseACL is false for what is no ACL that we know.
func parseACL(b []byte) ([]aclEntry, bool) {
	if len(b) < aclHeaderLen || binary.LittleEndian.Uint32(b) != aclVersion || (len(b)-aclHeaderLen)%aclEntryLen != 0 {
		return nil, false
	}
	var list []aclEntry
	for b = b[aclHeaderLen:]; len(b) > 0; b = b[aclEntryLen:] {
		list = append(list, aclEntry{
			tag:  binary.LittleEndian.Uint16(b),
			perm: binary.LittleEndian.Uint16(b[2:]),
			id:   binary.LittleEndian.Uint32(b[4:]),
		})
	}
	return list, true
}

func appendACL(b []byte, list []aclEntry) []byte {
	b = binary.LittleEndian.AppendUint32(b, aclVersion)
	for _, e := range list {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// withoutACL is mode for a file that could not get its ACL: with one, the bits of the group are the mask, which may be more
// than the group itself may do.
func (e *effects) withoutACL(mode fs.FileMode) fs.FileMode {
	i := slices.IndexFunc(e.xattrs, func(a durable.XAttr) bool { return a.Name == aclAccess })
	if i < 0 {
		return mode
	}
	list, _ := parseACL(e.xattrs[i].Value)
	for _, x := range list {
		if x.tag == aclGroupObj {
			return mode &^ (0o070 &^ (fs.FileMode(x.perm&7) << 3))
		}
	}
	return mode
}

// aclNamesAttr is the pseudo attribute by which the names of the numbers in a file's ACLs travel. It is on no disk.
// Its value, big-endian: entries of kind u8 (1 user, 2 group), number u32, length u8, name; in the order of kind and number.
const aclNamesAttr = "xfer.acl-names"

// aclName is whom an entry is about.
type aclName struct {
	group bool
	id    uint32
}

// aclNames are the names of the sender.
type aclNames map[aclName]string

// findACLNames returns what is among attrs; what is damaged says nothing.
func findACLNames(attrs []durable.XAttr) aclNames {
	i := slices.IndexFunc(attrs, func(a durable.XAttr) bool { return a.Name == aclNamesAttr })
	if i < 0 {
		return nil
	}
	names := aclNames{}
	for b := attrs[i].Value; len(b) > 0; {
		const fixed = 6
		if len(b) < fixed || b[0] != 1 && b[0] != 2 || len(b) < fixed+int(b[5]) {
			return nil
		}
		names[aclName{b[0] == 2, binary.BigEndian.Uint32(b[1:])}] = string(b[fixed : fixed+int(b[5])])
		b = b[fixed+int(b[5]):]
	}
	return names
}

// aclNamesOf makes the pseudo attribute for the ACLs among attrs, if there is anything to name.
func aclNamesOf(attrs []durable.XAttr, owners *durable.Owners) (durable.XAttr, bool) {
	var who []aclName
	for _, a := range attrs {
		if !isACL(a.Name) {
			continue
		}
		list, _ := parseACL(a.Value)
		for _, e := range list {
			if e.id != 0 && (e.tag == aclUser || e.tag == aclGroup) {
				who = append(who, aclName{e.tag == aclGroup, e.id})
			}
		}
	}
	slices.SortFunc(who, func(a, b aclName) int {
		if a.group != b.group {
			if a.group {
				return 1
			}
			return -1
		}
		return int(int64(a.id) - int64(b.id))
	})
	var value []byte
	for _, w := range slices.Compact(who) {
		name, kind := "", byte(1)
		if w.group {
			name, kind = owners.GroupName(w.id), 2
		} else {
			name = owners.UserName(w.id)
		}
		if name == "" {
			continue
		}
		value = append(value, kind)
		value = binary.BigEndian.AppendUint32(value, w.id)
		value = append(append(value, byte(len(name))), name...)
	}
	return durable.XAttr{Name: aclNamesAttr, Value: value}, len(value) > 0
}

// mapACL replaces the numbers of an ACL by those that their names have here. What is no ACL is returned as it is: the system
// refuses it.
func (names aclNames) mapACL(value []byte, owners *durable.Owners) []byte {
	list, ok := parseACL(value)
	if !ok || len(names) == 0 {
		return value
	}
	changed := false
	for i := range list {
		e := &list[i]
		id := e.id
		switch e.tag {
		case aclUser:
			id = owners.UID(names[aclName{false, id}], id)
		case aclGroup:
			id = owners.GID(names[aclName{true, id}], id)
		}
		changed = changed || id != e.id
		e.id = id
	}
	if !changed {
		return value
	}
	slices.SortStableFunc(list, func(a, b aclEntry) int {
		if a.tag != b.tag {
			return int(a.tag) - int(b.tag)
		}
		return int(int64(a.id) - int64(b.id))
	})
	// Two that are the same here may do what both might.
	merged := list[:0]
	for _, e := range list {
		if n := len(merged); n > 0 && merged[n-1].tag == e.tag && merged[n-1].id == e.id {
			merged[n-1].perm &= e.perm
			continue
		}
		merged = append(merged, e)
	}
	return appendACL(nil, merged)
}
