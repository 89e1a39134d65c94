package tree

import (
	"fmt"
	"strings"
)

// Limits of a manifest: MANIFEST.md, "Limits".
const (
	MaxName       = 255       // bytes of a component
	MaxDepth      = 256       // components of a path beneath the top directory
	MaxPath       = 4096      // bytes of such a path, with a '/' between the components
	MaxTarget     = 4095      // bytes of a symbolic link's target
	MaxSize       = 1 << 48   // bytes of a file
	MaxMode       = 0o7777    // permission bits, with setuid, setgid and sticky
	MaxXAttrs     = 128       // extended attributes of an entry
	MaxXAttrBytes = 64 << 10  // of their names and values together
	MaxOwnerName  = 255       // bytes of the name of a user or a group
	MaxRecord     = 72 << 10  // bytes that a record takes; no record reaches it
	noID          = 1<<32 - 1 // what chown(2) takes for "leave it"

	maxOwners    = 4096    // owners in the table
	maxSets      = 1024    // sets of extended attributes in the table
	maxSetWeight = 1 << 20 // of them together
	attrWeight   = 64      // of an attribute, besides its bytes
)

// Record is one entry of a manifest. What does not belong to its kind is zero.
type Record struct {
	// Up is how many directories are left before the entry: 0 when it is in the same directory as the record before,
	// or in that record itself if it is a directory.
	Up int
	// Name is one component, empty for entry 0 alone, which is the top directory. It is in order: see MANIFEST.md.
	Name string
	Kind Kind   // File, Directory or Symlink
	Size int64  // bytes of a file
	Mode uint32 // at most MaxMode
	// MTime is in ns since 1970.
	MTime int64
	// NoMeta tells that mode, time, owner and attributes of the top directory are not told; entry 0 only.
	NoMeta bool
	Target string // of a symbolic link: 1 to MaxTarget bytes without NUL
	// Link is the number of an earlier file that this one is a hard link to, 0 for none. The decoder looks only whether
	// it is smaller than the entry's own number; whether it is a file the receiver has to look.
	Link   uint64
	Shared bool    // the file has other names, so a later one may be a hard link to it
	Sparse bool    // the file has holes worth keeping
	Owner  *Owner  // nil: not told. It may be shared with other records: not to be changed
	XAttrs []XAttr // sorted by name; may be shared with other records: not to be changed
}

// Owner is whom an entry belongs to: numbers, and the names that they have at the sender ("" where they have none).
type Owner struct {
	UID, GID    uint32
	User, Group string
}

// XAttr is an extended attribute; ACLs are among them.
type XAttr struct {
	Name  string
	Value []byte
}

// FormatCode says what kind of mistake a FormatError is about.
type FormatCode uint8

// The kinds.
const (
	Malformed FormatCode = iota + 1 // bytes that are no record, or not its one form
	Limit                           // more than the limits of this package
	BadName                         // a name or a path that no receiver takes
	Order                           // an entry that is not behind the one before it
)

// String returns the name that the code has in MANIFEST.md.
func (c FormatCode) String() string {
	switch c {
	case Malformed:
		return "MALFORMED"
	case Limit:
		return "LIMIT"
	case BadName:
		return "BAD_NAME"
	case Order:
		return "ORDER"
	}
	return "UNKNOWN"
}

// FormatError is why a Record is not encoded or decoded.
type FormatError struct {
	Code  FormatCode
	Entry uint64 // the number that the entry has, or would have
	Msg   string
}

func (e *FormatError) Error() string { return fmt.Sprintf("manifest, entry %d: %s", e.Entry, e.Msg) }

// Reserved tells whether a name belongs to the receiver's own state and is in no manifest: ".xfer" where it is the
// first component beneath the top, and all that begins with ".xfer-", in any case of letters.
func Reserved(name string, first bool) bool {
	const state, dash = ".xfer", ".xfer-"
	return first && strings.EqualFold(name, state) ||
		len(name) >= len(dash) && strings.EqualFold(name[:len(dash)], dash)
}

// level is a directory that entries are read of.
type level struct {
	last string // the name of the newest entry in it
	path int    // bytes of the path of the directory
}

// state is what an Encoder and a Decoder know after the same records, but for the tables.
type state struct {
	no     uint64 // of the next entry
	levels []level
	modes  [Symlink + 1]uint32 // the newest of each kind
	mtime  int64               // the newest
}

func newState() state {
	return state{modes: [...]uint32{File: 0o644, Directory: 0o755, Symlink: 0o777}}
}

func (s *state) errf(code FormatCode, format string, args ...any) error {
	return &FormatError{Code: code, Entry: s.no, Msg: fmt.Sprintf(format, args...)}
}

// place checks that an entry named name may come now, after up directories were left, and returns how many bytes it
// has in common with the name before it in its directory, and how long its path is. Entry 0 is not asked about.
func (s *state) place(up int, name string) (shared, path int, err error) {
	if up < 0 || up >= len(s.levels) {
		return 0, 0, s.errf(Order, "%d directories are left, %d can be", up, len(s.levels)-1)
	}
	depth := len(s.levels) - up
	if err := s.checkName(name, depth); err != nil {
		return 0, 0, err
	}
	l := &s.levels[depth-1]
	path = l.path + len(name)
	if depth > 1 {
		path++
	}
	if path > MaxPath {
		return 0, 0, s.errf(BadName, "a path of %d bytes, the limit is %d", path, MaxPath)
	}
	shared = common(l.last, name)
	if shared == len(name) || shared < len(l.last) && name[shared] < l.last[shared] {
		return 0, 0, s.errf(Order, "%q is not behind %q", name, l.last)
	}
	return shared, path, nil
}

func (s *state) checkName(name string, depth int) error {
	switch {
	case depth > MaxDepth:
		return s.errf(BadName, "a path of %d components, the limit is %d", depth, MaxDepth)
	case name == "":
		return s.errf(BadName, "an empty name")
	case len(name) > MaxName:
		return s.errf(BadName, "a name of %d bytes, the limit is %d", len(name), MaxName)
	case name == "." || name == "..":
		return s.errf(BadName, "a name that is %q", name)
	case strings.IndexByte(name, '/') >= 0 || strings.IndexByte(name, 0) >= 0:
		return s.errf(BadName, "a name with '/' or NUL in it")
	case name[0] == '.' && Reserved(name, depth == 1):
		return s.errf(BadName, "%q belongs to xfer", name)
	}
	return nil
}

// common returns how many bytes a and b begin with in common.
func common(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// check holds the rules for what a record has besides its place, its owner and its attributes.
func (s *state) check(r *Record) error {
	switch {
	case r.Kind != File && r.Kind != Directory && r.Kind != Symlink:
		return s.errf(Malformed, "a kind that is %v", r.Kind)
	case s.no == 0 && r.Kind != Directory:
		return s.errf(Malformed, "the top is a %v, not a directory", r.Kind)
	case s.no > 0 && r.NoMeta:
		return s.errf(Malformed, "only the top directory may come without metadata")
	case r.Kind != File && (r.Size != 0 || r.Link != 0 || r.Sparse || r.Shared):
		return s.errf(Malformed, "a %v that has what only a file has", r.Kind)
	case r.Kind != Symlink && r.Target != "":
		return s.errf(Malformed, "a %v with a target", r.Kind)
	case r.NoMeta && (r.Mode != 0 || r.MTime != 0 || r.Owner != nil || len(r.XAttrs) > 0):
		return s.errf(Malformed, "metadata that is not told")
	case r.Size < 0:
		return s.errf(Malformed, "a size of %d", r.Size)
	case r.Size > MaxSize:
		return s.errf(Limit, "a size of %d, the limit is %d", r.Size, int64(MaxSize))
	case r.Mode > MaxMode:
		return s.errf(Limit, "a mode of %#o, the limit is %#o", r.Mode, MaxMode)
	case r.Kind == Symlink:
		return s.checkTarget(r.Target)
	case r.Link > 0 && r.Link >= s.no:
		return s.errf(Order, "a link to entry %d, which is not before it", r.Link)
	}
	return nil
}

func (s *state) checkTarget(target string) error {
	switch {
	case target == "":
		return s.errf(Malformed, "an empty target")
	case len(target) > MaxTarget:
		return s.errf(Limit, "a target of %d bytes, the limit is %d", len(target), MaxTarget)
	case strings.IndexByte(target, 0) >= 0:
		return s.errf(Malformed, "a target with NUL in it")
	}
	return nil
}

// checkOwner holds the rules for an owner.
func (s *state) checkOwner(o *Owner) error {
	switch {
	case o.UID == noID || o.GID == noID:
		return s.errf(Malformed, "an owner with the number %d, which is none", uint32(noID))
	case len(o.User) > MaxOwnerName || len(o.Group) > MaxOwnerName:
		return s.errf(Limit, "the name of an owner above %d bytes", MaxOwnerName)
	case strings.IndexByte(o.User, 0) >= 0 || strings.IndexByte(o.Group, 0) >= 0:
		return s.errf(Malformed, "the name of an owner with NUL in it")
	}
	return nil
}

// checkXAttr holds the rules for the next attribute of a set, that behind the one named last; size is that of all
// names and values with it.
func (s *state) checkXAttr(i int, last, name string, size int) error {
	switch {
	case name == "":
		return s.errf(Malformed, "an extended attribute without a name")
	case len(name) > MaxName:
		return s.errf(Limit, "the name of an extended attribute of %d bytes, the limit is %d", len(name), MaxName)
	case strings.IndexByte(name, 0) >= 0:
		return s.errf(Malformed, "the name of an extended attribute with NUL in it")
	case i > 0 && name <= last:
		return s.errf(Order, "extended attribute %q is not behind %q", name, last)
	case size > MaxXAttrBytes:
		return s.errf(Limit, "extended attributes above %d bytes", MaxXAttrBytes)
	}
	return nil
}

// commit makes r, which was checked, the record before.
func (s *state) commit(r *Record, path int) {
	if s.no > 0 {
		s.levels = s.levels[:len(s.levels)-r.Up]
		s.levels[len(s.levels)-1].last = r.Name
	}
	if r.Kind == Directory {
		s.levels = append(s.levels, level{path: path})
	}
	if !r.NoMeta {
		s.modes[r.Kind], s.mtime = r.Mode, r.MTime
	}
	s.no++
}
