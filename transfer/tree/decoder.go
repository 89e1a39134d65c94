package tree

import (
	"encoding/binary"
	"math"
	"slices"
)

// Decoder reads the records of one manifest. Use it from one goroutine at a time.
type Decoder struct {
	state
	err    error         // the first
	name   []byte        // that is put together
	owner  ref           // of the record before
	owners []*Owner      // the table
	known  map[Owner]int // where in it, from 1
	loose  *Owner        // the owner of the record before, if it has no place in the table

	set      ref
	sets     [][]XAttr
	knownSet map[string]int // by their bytes
	weight   int            // of sets
	looseSet []XAttr
	looseRaw []byte // its bytes
}

// ref says what a record has: none, an entry of a table (from 1), or what stands outside of it.
type ref int

const loose ref = -1

// NewDecoder returns a Decoder that expects entry 0.
func NewDecoder() *Decoder { return &Decoder{state: newState()} }

// Count returns how many records there are so far: the number that the next one gets.
func (d *Decoder) Count() uint64 { return d.no }

// Next returns the record at the start of b, which holds whole records, and what is behind it. The record holds nothing of
// b. Its Owner and XAttrs may be shared with others. An error is a *FormatError, and then that of all calls to come.
func (d *Decoder) Next(b []byte) (r Record, rest []byte, err error) {
	if d.err != nil {
		return Record{}, nil, d.err
	}
	in := input{b: b}
	if err := d.record(&in, &r); err != nil {
		d.err = err
		return Record{}, nil, err
	}
	return r, in.b, nil
}

// input is what is left of the bytes. After a failure it is empty, and gives zeroes.
type input struct {
	b   []byte
	bad bool // cut, or a number in another form than the shortest
}

func (in *input) fail() { in.b, in.bad = nil, true }

func (in *input) byte() byte {
	if len(in.b) == 0 {
		in.fail()
		return 0
	}
	c := in.b[0]
	in.b = in.b[1:]
	return c
}

func (in *input) uvarint() uint64 {
	if len(in.b) > 0 && in.b[0] < 0x80 {
		v := in.b[0]
		in.b = in.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(in.b)
	if n <= 0 || in.b[n-1] == 0 {
		in.fail()
		return 0
	}
	in.b = in.b[n:]
	return v
}

func (in *input) varint() int64 {
	v := in.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// bytes returns the next n bytes, still those of the input.
func (in *input) bytes(n uint64) []byte {
	if n > uint64(len(in.b)) {
		in.fail()
		return nil
	}
	p := in.b[:n]
	in.b = in.b[n:]
	return p
}

func (d *Decoder) cut() error {
	return d.errf(Malformed, "a record that is cut, or a number that is not in its shortest form")
}

func (d *Decoder) record(in *input, r *Record) error {
	tag, more := in.byte(), byte(0)
	if tag&tagMore != 0 {
		more = in.byte()
	}
	switch {
	case in.bad:
		return d.cut()
	case int(tag&tagKind) >= len(tagKinds), tag&tagTime == tagTime:
		return d.errf(Malformed, "a tag of %#02x", tag)
	case more&^moreKnown != 0, tag&tagMore != 0 && more == 0:
		return d.errf(Malformed, "flags of %#02x", more)
	case tag&tagKind != 0 && more&(moreLink|moreSparse|moreShared) != 0:
		return d.errf(Malformed, "a %v that has what only a file has", tagKinds[tag&tagKind])
	}
	r.Kind = tagKinds[tag&tagKind]
	r.NoMeta, r.Sparse, r.Shared = more&moreNoMeta != 0, more&moreSparse != 0, more&moreShared != 0
	path, err := d.readPlace(in, tag, r)
	if err == nil {
		err = d.readMeta(in, tag, r)
	}
	if err != nil {
		return err
	}
	switch r.Kind {
	case File:
		r.Size = int64(min(in.uvarint(), MaxSize+1))
	case Symlink:
		n := in.uvarint()
		if n > MaxTarget {
			return d.errf(Limit, "a target of %d bytes, the limit is %d", n, MaxTarget)
		}
		r.Target = string(in.bytes(n))
	}
	if more&moreOwner != 0 {
		if err := d.readOwner(in); err != nil {
			return err
		}
	}
	if more&moreXAttrs != 0 {
		if err := d.readSet(in); err != nil {
			return err
		}
	}
	if more&moreLink != 0 {
		back := in.uvarint()
		if !in.bad && (back == 0 || back >= d.no) {
			return d.errf(Order, "a link to what is not before it")
		}
		r.Link = d.no - back
	}
	if in.bad {
		return d.cut()
	}
	r.Owner, r.XAttrs = d.told()
	if err := d.check(r); err != nil {
		return err
	}
	d.commit(r, path)
	return nil
}

// readPlace reads where r is, and returns how long its path is.
func (d *Decoder) readPlace(in *input, tag byte, r *Record) (path int, err error) {
	if d.no == 0 {
		if tag&(tagUp|tagShare) != 0 {
			return 0, d.errf(BadName, "the top has a name")
		}
		return 0, nil
	}
	up := uint64(0)
	if tag&tagUp != 0 {
		if up = in.uvarint(); up >= MaxDepth {
			return 0, d.errf(Order, "more directories are left than there can be")
		}
		up++
	}
	if r.Up = int(up); r.Up >= len(d.levels) {
		return 0, d.errf(Order, "%d directories are left, %d can be", up, len(d.levels)-1)
	}
	last := d.levels[len(d.levels)-1-r.Up].last
	share := uint64(0)
	if tag&tagShare != 0 {
		if share = in.uvarint(); share == 0 && !in.bad || share > uint64(len(last)) {
			return 0, d.errf(Malformed, "%d bytes in common with a name of %d", share, len(last))
		}
	}
	n := in.uvarint()
	if n > MaxName-share {
		return 0, d.errf(BadName, "a name of more than %d bytes", MaxName)
	}
	d.name = append(append(d.name[:0], last[:share]...), in.bytes(n)...)
	if in.bad {
		return 0, d.cut()
	}
	r.Name = string(d.name)
	shared, path, err := d.place(r.Up, r.Name)
	if err == nil && shared != int(share) {
		err = d.errf(Malformed, "%d bytes in common with the name before, which has %d", share, shared)
	}
	return path, err
}

// readMeta reads mode and time.
func (d *Decoder) readMeta(in *input, tag byte, r *Record) error {
	if r.NoMeta {
		if tag&(tagMode|tagTime) != 0 {
			return d.errf(Malformed, "metadata that is not told")
		}
		return nil
	}
	r.Mode, r.MTime = d.modes[r.Kind], d.mtime
	if tag&tagMode != 0 {
		r.Mode = uint32(min(in.uvarint(), MaxMode+1))
		if r.Mode == d.modes[r.Kind] && !in.bad {
			return d.errf(Malformed, "a mode that is the one before")
		}
	}
	if tag&tagTime == timeSame {
		return nil
	}
	by := in.varint()
	switch sec := tag&tagTime == timeSec; {
	case in.bad:
		return d.cut()
	case by == 0,
		sec && (by > math.MaxInt64/second || by < math.MinInt64/second),
		!sec && by%second == 0:
		return d.errf(Malformed, "a difference of times that is not in its shortest form")
	case sec:
		by *= second
	}
	r.MTime += by // it wraps around at both ends
	return nil
}

// told returns owner and attributes that the references lead to.
func (d *Decoder) told() (o *Owner, set []XAttr) {
	switch {
	case d.owner == loose:
		o = d.loose
	case d.owner > 0:
		o = d.owners[d.owner-1]
	}
	switch {
	case d.set == loose:
		set = d.looseSet
	case d.set > 0:
		set = d.sets[d.set-1]
	}
	return o, set
}

// reference reads the number of an entry of a table of n, 0 for none, n+1 for a new one.
func (d *Decoder) reference(in *input, now ref, n int) (to ref, isNew bool, err error) {
	v := in.uvarint()
	switch {
	case in.bad:
		return 0, false, d.cut()
	case v > uint64(n)+1:
		return 0, false, d.errf(Malformed, "a reference to entry %d of a table of %d", v, n)
	case ref(v) == now:
		return 0, false, d.errf(Malformed, "a reference to what the record before has")
	}
	return ref(v), v == uint64(n)+1, nil
}

func (d *Decoder) readOwner(in *input) error {
	to, isNew, err := d.reference(in, d.owner, len(d.owners))
	if err != nil {
		return err
	}
	if !isNew {
		d.owner, d.loose = to, nil
		return nil
	}
	uid, gid := in.uvarint(), in.uvarint()
	if uid > noID || gid > noID {
		return d.errf(Limit, "an owner with a number above 32 bits")
	}
	o := &Owner{UID: uint32(uid), GID: uint32(gid)}
	for _, name := range []*string{&o.User, &o.Group} {
		n := in.uvarint()
		if n > MaxOwnerName {
			return d.errf(Limit, "the name of an owner above %d bytes", MaxOwnerName)
		}
		*name = string(in.bytes(n))
	}
	if in.bad {
		return d.cut()
	}
	if err := d.checkOwner(o); err != nil {
		return err
	}
	if d.known[*o] > 0 || d.owner == loose && *d.loose == *o {
		return d.errf(Malformed, "an owner that is known already")
	}
	if len(d.owners) == maxOwners {
		d.owner, d.loose = loose, o
		return nil
	}
	if d.known == nil {
		d.known = map[Owner]int{}
	}
	d.owners = append(d.owners, o)
	d.owner, d.loose, d.known[*o] = to, nil, len(d.owners)
	return nil
}

func (d *Decoder) readSet(in *input) error {
	to, isNew, err := d.reference(in, d.set, len(d.sets))
	if err != nil {
		return err
	}
	if !isNew {
		d.set, d.looseSet, d.looseRaw = to, nil, nil
		return nil
	}
	raw := in.b
	set, err := d.parseSet(in)
	if err != nil {
		return err
	}
	raw = raw[:len(raw)-len(in.b)]
	if d.knownSet[string(raw)] > 0 || d.set == loose && string(d.looseRaw) == string(raw) {
		return d.errf(Malformed, "extended attributes that are known already")
	}
	weight := d.weight + len(raw) + len(set)*attrWeight
	if len(d.sets) == maxSets || weight > maxSetWeight {
		d.set, d.looseSet, d.looseRaw = loose, set, slices.Clone(raw)
		return nil
	}
	if d.knownSet == nil {
		d.knownSet = map[string]int{}
	}
	d.sets = append(d.sets, set)
	d.set, d.looseSet, d.looseRaw = to, nil, nil
	d.knownSet[string(raw)], d.weight = len(d.sets), weight
	return nil
}

func (d *Decoder) parseSet(in *input) ([]XAttr, error) {
	n := in.uvarint()
	switch {
	case n > MaxXAttrs:
		return nil, d.errf(Limit, "%d extended attributes, the limit is %d", n, MaxXAttrs)
	case n == 0 && !in.bad:
		return nil, d.errf(Malformed, "a set of no extended attributes")
	}
	var set []XAttr
	size, last := 0, ""
	for i := range int(n) {
		nameLen := in.uvarint()
		name := string(in.bytes(min(nameLen, MaxName+1)))
		valueLen := in.uvarint()
		size += len(name) + int(min(valueLen, MaxXAttrBytes+1))
		if err := d.checkXAttr(i, last, name, size); err != nil && !in.bad {
			return nil, err
		}
		value := in.bytes(valueLen)
		if in.bad {
			return nil, d.cut()
		}
		last = name
		set = append(set, XAttr{Name: name, Value: slices.Clone(value)})
	}
	if in.bad {
		return nil, d.cut()
	}
	return set, nil
}
