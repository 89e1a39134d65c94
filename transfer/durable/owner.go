package durable

import (
	"os/user"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Owners translates between the numbers of users and groups and their names on this machine. It remembers for a minute
// what the system said, also that it knows nothing. The zero value is ready; safe for concurrent use.
type Owners struct {
	mu    sync.Mutex
	since time.Time
	names map[ownerKey]string // "" where a number has none
	ids   map[ownerName]int64 // -1 where there is no such name
	look  ownerLookup         // the system, but in tests
}

type ownerKey struct {
	group bool
	id    uint32
}

type ownerName struct {
	group bool
	name  string
}

// ownerLookup asks the system.
type ownerLookup interface {
	name(ownerKey) string
	id(ownerName) int64
}

const (
	ownersAge   = time.Minute
	maxOwners   = 4096 // of each direction
	maxOwnerLen = 255  // bytes of a name
)

// Lookup returns the names of a user and a group, "" where a number has none.
func (o *Owners) Lookup(uid, gid uint32) (user, group string) {
	return o.UserName(uid), o.GroupName(gid)
}

// UserName returns the name of the user uid, "" for none.
func (o *Owners) UserName(uid uint32) string { return o.name(ownerKey{false, uid}) }

// GroupName returns the name of the group gid, "" for none.
func (o *Owners) GroupName(gid uint32) string { return o.name(ownerKey{true, gid}) }

// UID returns the number that the user name has on this machine; where it has none, or is "", uid, which is its number on
// another machine. The super-user, 0, is the same everywhere, whatever the name.
func (o *Owners) UID(name string, uid uint32) uint32 { return o.id(ownerName{false, name}, uid) }

// GID is UID for a group.
func (o *Owners) GID(name string, gid uint32) uint32 { return o.id(ownerName{true, name}, gid) }

// fresh returns who is asked, and forgets what is old or too much. o.mu is held.
func (o *Owners) fresh() ownerLookup {
	if o.look == nil {
		o.look = systemOwners{}
	}
	if o.names == nil || time.Since(o.since) > ownersAge || len(o.names) >= maxOwners || len(o.ids) >= maxOwners {
		o.since = time.Now()
		o.names, o.ids = make(map[ownerKey]string), make(map[ownerName]int64)
	}
	return o.look
}

func (o *Owners) name(k ownerKey) string {
	o.mu.Lock()
	look := o.fresh()
	name, ok := o.names[k]
	o.mu.Unlock()
	if ok {
		return name
	}
	if name = look.name(k); !isOwnerName(name) {
		name = ""
	}
	o.mu.Lock()
	o.names[k] = name
	o.mu.Unlock()
	return name
}

func (o *Owners) id(n ownerName, other uint32) uint32 {
	if other == 0 || !isOwnerName(n.name) {
		return other
	}
	o.mu.Lock()
	look := o.fresh()
	id, ok := o.ids[n]
	o.mu.Unlock()
	if !ok {
		id = look.id(n)
		o.mu.Lock()
		o.ids[n] = id
		o.mu.Unlock()
	}
	if id < 0 {
		return other
	}
	return uint32(id)
}

// isOwnerName tells whether a name may be one: /etc/passwd has a line for each, with fields divided by colons.
func isOwnerName(name string) bool {
	return name != "" && len(name) <= maxOwnerLen && !strings.ContainsAny(name, ":\n\x00")
}

// systemOwners asks package os/user.
type systemOwners struct{}

func (systemOwners) name(k ownerKey) string {
	id := strconv.FormatUint(uint64(k.id), 10)
	if k.group {
		if g, err := user.LookupGroupId(id); err == nil {
			return g.Name
		}
		return ""
	}
	if u, err := user.LookupId(id); err == nil {
		return u.Username
	}
	return ""
}

func (systemOwners) id(n ownerName) int64 {
	var text string
	if n.group {
		g, err := user.LookupGroup(n.name)
		if err != nil {
			return -1
		}
		text = g.Gid
	} else {
		u, err := user.Lookup(n.name)
		if err != nil {
			return -1
		}
		text = u.Uid
	}
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil { // Windows has other ids
		return -1
	}
	return int64(id)
}
