package tree

import "encoding/binary"

// The bits of a record's tag, and of the byte behind it: MANIFEST.md, "Record".
const (
	tagKind  = 0b11
	tagUp    = 1 << 2
	tagMode  = 1 << 3
	tagTime  = 0b11 << 4
	tagMore  = 1 << 6
	tagShare = 1 << 7

	timeSame = 0 << 4
	timeSec  = 1 << 4
	timeNano = 2 << 4

	moreNoMeta = 1 << 0
	moreOwner  = 1 << 1
	moreXAttrs = 1 << 2
	moreLink   = 1 << 3
	moreSparse = 1 << 4
	moreShared = 1 << 5
	moreKnown  = 1<<6 - 1

	second = 1_000_000_000 // ns
)

// tagKinds are the kinds by their number in the tag.
var tagKinds = [...]Kind{File, Directory, Symlink}

// Encoder writes the records of one manifest. Use it from one goroutine at a time.
type Encoder struct {
	state
	owner  Owner // of the record before, if any was told
	owned  bool
	owners map[Owner]int // from 1

	set     []byte // of the record before, encoded
	scratch []byte // that of this one
	sets    map[string]int
	weight  int // of sets
}

// NewEncoder returns an Encoder that expects entry 0.
func NewEncoder() *Encoder { return &Encoder{state: newState()} }

// Count returns how many records there are so far: the number that the next one gets.
func (e *Encoder) Count() uint64 { return e.no }

// Up returns Record.Up for an entry with a path of depth components, where depth is not 0 and its directory has been
// encoded and not been left. It is negative if the directory cannot be there.
func (e *Encoder) Up(depth int) int {
	if depth < 1 {
		return -1
	}
	return len(e.levels) - depth
}

// Append appends r, less than MaxRecord bytes. An error is a *FormatError: nothing is appended, and the manifest can go
// on with another record (but not with what is beneath a directory that was refused). r is not kept.
func (e *Encoder) Append(b []byte, r *Record) ([]byte, error) {
	shared, path, err := e.checkAll(r)
	if err != nil {
		return b, err
	}
	tag, more := e.flags(r, shared)
	b = append(b, tag)
	if tag&tagMore != 0 {
		b = append(b, more)
	}
	if tag&tagUp != 0 {
		b = binary.AppendUvarint(b, uint64(r.Up-1))
	}
	if e.no > 0 {
		if tag&tagShare != 0 {
			b = binary.AppendUvarint(b, uint64(shared))
		}
		b = appendString(b, r.Name[shared:])
	}
	if tag&tagMode != 0 {
		b = binary.AppendUvarint(b, uint64(r.Mode))
	}
	switch tag & tagTime {
	case timeSec:
		b = binary.AppendVarint(b, (r.MTime-e.mtime)/second)
	case timeNano:
		b = binary.AppendVarint(b, r.MTime-e.mtime)
	}
	switch r.Kind {
	case File:
		b = binary.AppendUvarint(b, uint64(r.Size))
	case Symlink:
		b = appendString(b, r.Target)
	}
	if more&moreOwner != 0 {
		b = e.appendOwner(b, r.Owner)
	}
	if more&moreXAttrs != 0 {
		b = e.appendSet(b, len(r.XAttrs))
	}
	if more&moreLink != 0 {
		b = binary.AppendUvarint(b, e.no-r.Link)
	}
	e.commit(r, path)
	return b, nil
}

// checkAll holds r against all rules, and puts its attributes, encoded, into scratch.
func (e *Encoder) checkAll(r *Record) (shared, path int, err error) {
	if e.no > 0 {
		shared, path, err = e.place(r.Up, r.Name)
	} else if r.Up != 0 || r.Name != "" {
		err = e.errf(BadName, "the top has a name")
	}
	if err == nil {
		err = e.check(r)
	}
	if err == nil && r.Owner != nil {
		err = e.checkOwner(r.Owner)
	}
	if err == nil {
		err = e.encodeSet(r.XAttrs)
	}
	return shared, path, err
}

func (e *Encoder) flags(r *Record, shared int) (tag, more byte) {
	tag = byte(r.Kind - File)
	if r.Up > 0 {
		tag |= tagUp
	}
	if shared > 0 {
		tag |= tagShare
	}
	if r.NoMeta {
		more |= moreNoMeta
	} else {
		if r.Mode != e.modes[r.Kind] {
			tag |= tagMode
		}
		switch d := r.MTime - e.mtime; { // it wraps around at both ends
		case d == 0:
		case d%second == 0:
			tag |= timeSec
		default:
			tag |= timeNano
		}
	}
	if (r.Owner != nil) != e.owned || r.Owner != nil && *r.Owner != e.owner {
		more |= moreOwner
	}
	if string(e.scratch) != string(e.set) {
		more |= moreXAttrs
	}
	if r.Link > 0 {
		more |= moreLink
	}
	if r.Sparse {
		more |= moreSparse
	}
	if r.Shared {
		more |= moreShared
	}
	if more != 0 {
		tag |= tagMore
	}
	return tag, more
}

func (e *Encoder) appendOwner(b []byte, o *Owner) []byte {
	if e.owned = o != nil; !e.owned {
		return append(b, 0)
	}
	e.owner = *o
	if ref := e.owners[*o]; ref > 0 {
		return binary.AppendUvarint(b, uint64(ref))
	}
	n := len(e.owners) + 1
	if n <= maxOwners {
		if e.owners == nil {
			e.owners = map[Owner]int{}
		}
		e.owners[*o] = n
	}
	b = binary.AppendUvarint(b, uint64(n))
	b = binary.AppendUvarint(b, uint64(o.UID))
	b = binary.AppendUvarint(b, uint64(o.GID))
	b = appendString(b, o.User)
	return appendString(b, o.Group)
}

// encodeSet checks the attributes and puts them, encoded, into scratch; none are no bytes.
func (e *Encoder) encodeSet(attrs []XAttr) error {
	e.scratch = e.scratch[:0]
	if len(attrs) == 0 {
		return nil
	}
	if len(attrs) > MaxXAttrs {
		return e.errf(Limit, "%d extended attributes, the limit is %d", len(attrs), MaxXAttrs)
	}
	e.scratch = binary.AppendUvarint(e.scratch, uint64(len(attrs)))
	size, last := 0, ""
	for i, a := range attrs {
		size += len(a.Name) + len(a.Value)
		if err := e.checkXAttr(i, last, a.Name, size); err != nil {
			return err
		}
		last = a.Name
		e.scratch = appendString(e.scratch, a.Name)
		e.scratch = appendString(e.scratch, a.Value)
	}
	return nil
}

// appendSet appends the reference to the set of n attributes in scratch, and the set itself if it is new.
func (e *Encoder) appendSet(b []byte, n int) []byte {
	e.set, e.scratch = e.scratch, e.set
	if n == 0 {
		return append(b, 0)
	}
	if ref := e.sets[string(e.set)]; ref > 0 {
		return binary.AppendUvarint(b, uint64(ref))
	}
	next := len(e.sets) + 1
	if weight := e.weight + len(e.set) + n*attrWeight; next <= maxSets && weight <= maxSetWeight {
		if e.sets == nil {
			e.sets = map[string]int{}
		}
		e.sets[string(e.set)], e.weight = next, weight
	}
	b = binary.AppendUvarint(b, uint64(next))
	return append(b, e.set...)
}

func appendString[T string | []byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}
