package durable

import (
	"os"
	"os/user"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// fakeOwners knows one user and one group, and counts what it is asked.
type fakeOwners struct{ asked int }

func (f *fakeOwners) name(k ownerKey) string {
	f.asked++
	switch k {
	case ownerKey{false, 1000}:
		return "alice"
	case ownerKey{true, 1000}:
		return "staff"
	case ownerKey{false, 1001}:
		return "bad:name"
	}
	return ""
}

func (f *fakeOwners) id(n ownerName) int64 {
	f.asked++
	switch n {
	case ownerName{false, "alice"}:
		return 2000
	case ownerName{true, "staff"}:
		return 50
	case ownerName{false, "admin"}:
		return 0
	}
	return -1
}

func TestOwners(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeOwners{}
		o := Owners{look: f}
		for range 3 {
			if u, g := o.Lookup(1000, 1000); u != "alice" || g != "staff" {
				t.Errorf("names %q, %q", u, g)
			}
			if u, g := o.Lookup(1, 1); u != "" || g != "" {
				t.Errorf("nobody is %q, %q", u, g)
			}
			if n := o.UserName(1001); n != "" {
				t.Errorf("a name that is none: %q", n)
			}
			for _, c := range []struct {
				got, want uint32
				what      string
			}{
				{o.UID("alice", 1), 2000, "a user by name"},
				{o.GID("staff", 1), 50, "a group by name"},
				{o.GID("alice", 7), 7, "a user is no group"},
				{o.UID("nobody-here", 7), 7, "an unknown name"},
				{o.UID("", 8), 8, "no name"},
				{o.UID("alice", 0), 0, "the super-user is not mapped"},
				{o.UID("admin", 5), 0, "a name of number 0"},
				{o.UID("alice:x", 9), 9, "a name with a colon"},
			} {
				if c.got != c.want {
					t.Errorf("%s: %d, want %d", c.what, c.got, c.want)
				}
			}
		}
		if f.asked != 10 {
			t.Errorf("asked %d times, want once for each", f.asked)
		}
		time.Sleep(ownersAge + time.Second)
		o.UserName(1000)
		if f.asked != 11 {
			t.Errorf("what is old was not asked again: %d", f.asked)
		}
		for i := range uint32(3 * maxOwners) {
			o.UserName(i + 5000)
			o.UID(strconv.Itoa(int(i)), 1)
			if len(o.names) > maxOwners || len(o.ids) > maxOwners {
				t.Fatal("too much is remembered")
			}
		}
	})
}

func TestOwnersOfThisMachine(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Skip(err)
	}
	uid, err := strconv.ParseUint(me.Uid, 10, 32)
	if err != nil {
		t.Skip("other ids here:", me.Uid)
	}
	var o Owners
	name := o.UserName(uint32(uid))
	if _, err := user.LookupId(me.Uid); err == nil && name != me.Username {
		t.Errorf("user %d is %q, want %q", uid, name, me.Username)
	}
	if name == "" {
		t.Skip("the user has no name")
	}
	if got := o.UID(name, 4_000_000_000); got != uint32(os.Geteuid()) {
		t.Errorf("%q is %d, want %d", name, got, uid)
	}
}
