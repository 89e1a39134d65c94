package tree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"testing"
)

// allocated returns how many bytes f allocates.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// FuzzManifest: no bytes make the decoder panic or allocate much more than they are, and what it accepts has no other form.
func FuzzManifest(f *testing.F) {
	for _, v := range readVectors(f) {
		f.Add(v.hex)
	}
	b, _ := encode(f, sample(100))
	f.Add(b)
	f.Fuzz(func(t *testing.T, in []byte) {
		var all []Record
		var err error
		if got, limit := allocated(func() { all, err = decode(in) }), uint64(1024*len(in)+1<<20); got > limit {
			t.Fatalf("%d bytes allocated for %d, want at most %d", got, len(in), limit)
		}
		var fe *FormatError
		if err != nil && (!errors.As(err, &fe) || fe.Entry != uint64(len(all)) || fe.Code.String() == "UNKNOWN") {
			t.Fatalf("an error of another kind after %d records: %v", len(all), err)
		}
		b, _ := encode(t, all)
		if !bytes.HasPrefix(in, b) || err == nil && len(b) != len(in) {
			t.Fatalf("%x was decoded, it encodes to %x", in, b)
		}
	})
}

// source makes records of a seed: mostly good ones, so that tables fill and levels come and go.
type source struct {
	rng    *rand.Rand
	depth  int // directories that are open, with the top
	files  []uint64
	owners []*Owner
	sets   [][]XAttr
}

func (s *source) one(n int) bool { return s.rng.IntN(n) == 0 }

func (s *source) next(no uint64) Record {
	if no == 0 {
		s.depth = 1
		if s.one(4) {
			return Record{Kind: Directory, NoMeta: true}
		}
		return Record{Kind: Directory, Mode: 0o755, MTime: s.rng.Int64()}
	}
	r := Record{Name: fmt.Sprintf("%08x", no), Kind: File, Mode: 0o644, MTime: 1_700_000_000_000_000_000}
	if s.one(20) { // before the others: not always in order, and not always good
		r.Name = string([]byte{byte(s.rng.Uint32N('0')), byte(s.rng.Uint32())})
	}
	if s.one(5) {
		r.Up = s.rng.IntN(s.depth + 1)
	}
	if s.one(3) {
		r.MTime += s.rng.Int64N(1000) * []int64{1, 1000, second}[s.rng.IntN(3)]
	}
	if s.one(20) {
		r.MTime = int64(s.rng.Uint64())
	}
	if s.one(3) {
		r.Mode = s.rng.Uint32N(0o20000)
	}
	switch s.rng.IntN(8) {
	case 0, 1:
		r.Kind = Directory
	case 2:
		r.Kind, r.Target = Symlink, fmt.Sprintf("../%x", s.rng.Uint32N(99))
	default:
		r.Size, r.Sparse, r.Shared = s.rng.Int64N(1<<49)>>s.rng.IntN(50), s.one(5), s.one(5)
		if s.one(4) && len(s.files) > 0 {
			r.Link = s.files[s.rng.IntN(len(s.files))]
		}
	}
	if len(s.owners) > 0 && !s.one(3) {
		r.Owner = s.owners[s.rng.IntN(len(s.owners))]
	}
	if len(s.sets) > 0 && !s.one(3) {
		r.XAttrs = s.sets[s.rng.IntN(len(s.sets))]
	}
	return r
}

// accept tells s that r went into the manifest.
func (s *source) accept(no uint64, r Record) {
	s.depth -= r.Up
	switch r.Kind {
	case Directory:
		s.depth++
	case File:
		s.files = append(s.files, no)
	}
}

// roundTrip encodes n records of s, those that are refused left out, and decodes them in parts.
func roundTrip(t *testing.T, s *source, n int) {
	t.Helper()
	e, d := NewEncoder(), NewDecoder()
	var records []Record
	var part []byte
	flush := func() {
		t.Helper()
		for _, r := range records {
			got, rest, err := d.Next(part)
			if err != nil {
				t.Fatalf("%s was encoded, but: %v", text(r), err)
			}
			clear(part[:len(part)-len(rest)]) // the record holds nothing of it
			if !reflect.DeepEqual(got, r) {
				t.Fatalf("%s became %s", text(r), text(got))
			}
			part = rest
		}
		if len(part) != 0 {
			t.Fatalf("%x is left", part)
		}
		records, part = nil, nil
	}
	for range n {
		r := s.next(e.Count())
		b, err := e.Append(part, &r)
		if err != nil {
			continue
		}
		if len(b)-len(part) >= MaxRecord {
			t.Fatalf("a record of %d bytes", len(b)-len(part))
		}
		s.accept(e.Count()-1, r)
		records, part = append(records, r), b
		if s.one(10) {
			flush()
		}
	}
	flush()
	if d.Count() != e.Count() || e.Count() < uint64(n/3) {
		t.Errorf("%d records decoded, %d encoded, %d tried", d.Count(), e.Count(), n)
	}
}

func TestRoundTrip(t *testing.T) {
	for seed := range uint64(50) {
		s := &source{rng: rand.New(rand.NewPCG(seed, 1))}
		for i := range s.rng.Uint32N(20) {
			s.owners = append(s.owners, &Owner{UID: i, GID: 5, User: fmt.Sprint("user", i)})
			s.sets = append(s.sets, []XAttr{{Name: "user.a", Value: []byte{byte(i)}}, {Name: "user.b", Value: []byte{}}})
		}
		roundTrip(t, s, 1000)
	}
}

// More owners and sets than the tables have room for.
func TestRoundTripBeyondTheTables(t *testing.T) {
	s := &source{rng: rand.New(rand.NewPCG(7, 7))}
	for i := range uint32(maxOwners + 50) {
		s.owners = append(s.owners, &Owner{UID: i, GID: i % 3, Group: "g"})
	}
	for i := range maxSets + 50 {
		s.sets = append(s.sets, []XAttr{{Name: "user.a", Value: fmt.Append(nil, i)}})
	}
	roundTrip(t, s, 60_000)
}

func TestRoundTripOfHeavySets(t *testing.T) {
	s := &source{rng: rand.New(rand.NewPCG(8, 8))}
	for i := range 40 { // of 60,000 bytes each: 17 have room
		value := bytes.Repeat([]byte{byte(i)}, 60_000)
		s.sets = append(s.sets, []XAttr{{Name: "user.a", Value: value}}, []XAttr{{Name: "user.b", Value: value[:9]}})
	}
	roundTrip(t, s, 1000)
}

// The tables are as large as MANIFEST.md says: what has no place in them is written out each time.
func TestTablesAreBounded(t *testing.T) {
	e := NewEncoder()
	size := func(r Record) int {
		t.Helper()
		if r.Name = fmt.Sprintf("%08x", e.Count()); e.Count() == 0 {
			r.Name = ""
		}
		b, err := e.Append(nil, &r)
		must(t, err)
		return len(b)
	}
	long := string(bytes.Repeat([]byte{'u'}, 200))
	owner := func(i int) Record { return Record{Kind: Directory, Owner: &Owner{UID: uint32(i), User: long}} }
	set := func(i, n int) Record {
		return Record{Kind: File, XAttrs: []XAttr{{Name: "user.a", Value: append(fmt.Appendf(nil, "%08d", i), make([]byte, n)...)}}}
	}
	size(Record{Kind: Directory})
	for _, c := range []struct {
		what string
		of   func(i int) Record
		room int
	}{
		{"owners", func(i int) Record { r := owner(i); r.Kind = File; return r }, maxOwners},
		{"sets", func(i int) Record { return set(i, 300) }, maxSets},
	} {
		for i := range c.room + 2 {
			size(c.of(i))
		}
		for _, i := range []int{0, c.room - 1, c.room, c.room + 1} {
			if n := size(c.of(i)); (n < 100) != (i < c.room) {
				t.Errorf("%s: the one at %d takes %d bytes the second time; there is room for %d", c.what, i, n, c.room)
			}
		}
	}
	// By weight: a set of n bytes weighs n + 64, so 16 of 64 KiB - 100 are in.
	e = NewEncoder()
	size(Record{Kind: Directory})
	const n = 1<<16 - 100
	for i := range 20 {
		size(set(i, n))
	}
	for i := range 20 {
		if got := size(set(i, n)); (got < 100) != (i < 16) {
			t.Errorf("heavy set %d takes %d bytes the second time", i, got)
		}
	}
	size(set(99, 10)) // there is room for a small one still
	size(set(0, n))
	if got := size(set(99, 10)); got > 20 {
		t.Errorf("a small set takes %d bytes behind heavy ones", got)
	}
}

// Sets that weigh 2^20 together have room, and not a byte more.
func TestWeightOfTheTable(t *testing.T) {
	const each = 1<<20/16 - attrWeight - len("\x01\x06user.a") - 3 // bytes of a value, with a length of 3 bytes
	for extra := range 2 {
		all := []Record{{Kind: Directory}}
		add := func(i, size int) {
			value := bytes.Repeat([]byte{byte(i)}, size)
			all = append(all, Record{Name: fmt.Sprintf("%04d", len(all)), Kind: File, XAttrs: []XAttr{{Name: "user.a", Value: value}}})
		}
		for range 2 {
			for i := range 16 {
				add(i, each+extra*(i/15))
			}
		}
		b, ends := encode(t, all)
		if last := ends[32] - ends[31]; (last < 100) != (extra == 0) {
			t.Errorf("%d bytes too many: the last set takes %d bytes the second time", extra, last)
		}
		got, err := decode(b)
		must(t, err)
		if !reflect.DeepEqual(got, all) {
			t.Errorf("%d bytes too many: it became something else", extra)
		}
	}
}

// What has no place in a table is not said twice in a row either.
func TestWhatIsOutsideOfTheTablesHasOneForm(t *testing.T) {
	e, d := NewEncoder(), NewDecoder()
	next := func(r Record) []byte {
		t.Helper()
		if r.Name = fmt.Sprintf("%08x", e.Count()); e.Count() == 0 {
			r.Name = ""
		}
		b, err := e.Append(nil, &r)
		must(t, err)
		if _, _, err := d.Next(b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	set := func(i int) []XAttr { return []XAttr{{Name: "user.a", Value: fmt.Append(nil, i)}} }
	next(Record{Kind: Directory})
	for i := range maxOwners {
		next(Record{Kind: File, Owner: &Owner{UID: uint32(i)}, XAttrs: set(min(i, maxSets-1))})
	}
	next(Record{Kind: File, Owner: &Owner{UID: 5}, XAttrs: set(maxSets - 1)})
	next(Record{Kind: File, Owner: &Owner{UID: 1 << 20}, XAttrs: set(1 << 20)})
	head := []byte{tagMore, 0, 2, 'z', 'z', 0} // a file named zz, which is behind the others
	owner := func(uid uint64) []byte {
		b := bytes.Clone(head)
		b[1] = moreOwner
		b = binary.AppendUvarint(b, maxOwners+1)
		b = binary.AppendUvarint(b, uid)
		return append(b, 0, 0, 0)
	}
	attrs := func(i int) []byte {
		b := bytes.Clone(head)
		b[1] = moreXAttrs
		b = binary.AppendUvarint(b, maxSets+1)
		return appendString(appendString(append(b, 1), "user.a"), fmt.Append(nil, i))
	}
	for what, c := range map[string]struct {
		b    []byte
		good bool
	}{
		"the same owner": {owner(1 << 20), false}, "the same attributes": {attrs(1 << 20), false},
		"another owner": {owner(1<<20 + 1), true}, "other attributes": {attrs(1<<20 + 1), true},
	} {
		d := *d
		d.levels = slices.Clone(d.levels)
		r, _, err := d.Next(c.b)
		var f *FormatError
		if c.good && err != nil || !c.good && (!errors.As(err, &f) || f.Code != Malformed) {
			t.Errorf("%s: %s, %v", what, text(r), err)
		}
	}
	if b := next(Record{Kind: File, Owner: &Owner{UID: 1 << 20}, XAttrs: set(1 << 20)}); len(b) > 12 {
		t.Errorf("what the record before has takes %x", b)
	}
}

// The largest record is below MaxRecord.
func TestMaxRecord(t *testing.T) {
	e := NewEncoder()
	b, err := e.Append(nil, &Record{Kind: Directory})
	must(t, err)
	for range MaxDepth - 1 {
		b, err = e.Append(b, &Record{Name: "a", Kind: Directory})
		must(t, err)
	}
	name := bytes.Repeat([]byte{'z'}, MaxName)
	r := Record{
		Up: e.Up(1), Name: string(name), Kind: Symlink, Target: string(bytes.Repeat(name, 17)[:MaxTarget]), Mode: MaxMode, MTime: -1 << 63,
		Owner: &Owner{UID: noID - 1, GID: noID - 1, User: string(name), Group: string(name)},
	}
	left := MaxXAttrBytes
	for i := range MaxXAttrs {
		a := XAttr{Name: fmt.Sprintf("%03d%s", i, name[:MaxName-3])}
		if left -= len(a.Name); i == MaxXAttrs-1 {
			a.Value = make([]byte, left)
		} else {
			a.Value = make([]byte, 128) // a length of two bytes
			left -= 128
		}
		r.XAttrs = append(r.XAttrs, a)
	}
	n := len(b)
	b, err = e.Append(b, &r)
	must(t, err)
	if got := len(b) - n; got >= MaxRecord || got < MaxRecord-4096 {
		t.Errorf("the largest record has %d bytes, want a little less than %d", got, MaxRecord)
	}
	all, err := decode(b)
	must(t, err)
	if !reflect.DeepEqual(all[len(all)-1], r) {
		t.Error("it became another one")
	}
	if !slices.IsSortedFunc(r.XAttrs, func(a, b XAttr) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) }) {
		t.Error("its attributes are not in order")
	}
}
