package sink

import (
	"fmt"
	"strings"
)

// Rights is what a principal may do beneath a root. They are enforced in this package, where names are linked,
// opened and removed.
type Rights uint16

// The rights.
const (
	Get          Rights = 1 << iota // read content and its hash
	Put                             // publish files and symbolic links, with missing parents; set metadata
	RList                           // list directories
	RStat                           // see what a name is
	RMkdir                          // make directories
	RDelete                         // remove
	RRename                         // rename
	NoReplace                       // append, write-only: nothing is replaced, removed or renamed
	SpecialModes                    // setuid and setgid of files, and attributes that give privileges, are set as told
	All          = Get | Put | RList | RStat | RMkdir | RDelete | RRename
)

// String returns the names of the rights as a configuration has them.
func (r Rights) String() string {
	names := [...]string{"get", "put", "list", "stat", "mkdir", "delete", "rename", "no-replace", "special-modes"}
	var s []string
	for i, n := range names {
		if r&(1<<i) != 0 {
			s = append(s, n)
		}
	}
	return strings.Join(s, ",")
}

// need is the guard at the head of each method of a View: all of want must be there, and the root at its place.
func (v *View) need(op string, want Rights) error {
	if v.rights&want != want {
		return fmt.Errorf("%s: %w", op, ErrDenied)
	}
	if err := v.d.Here(); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	return nil
}

// needChange is need for what takes something away that was published.
func (v *View) needChange(op string, want Rights) error {
	if v.rights&NoReplace != 0 { // guard of I11
		return fmt.Errorf("%s: %w", op, ErrDenied)
	}
	return v.need(op, want)
}
