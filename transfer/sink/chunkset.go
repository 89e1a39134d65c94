package sink

import (
	"math/bits"

	"xfer/crypto"
)

// bitset is a set of chunks. It grows with the highest one in it.
type bitset struct {
	words []uint64
	n     int64
}

func (s *bitset) has(i int64) bool {
	w := i >> 6
	return w < int64(len(s.words)) && s.words[w]&(1<<(i&63)) != 0
}

func (s *bitset) add(i int64) {
	w := int(i >> 6)
	if w >= len(s.words) {
		s.words = append(s.words, make([]uint64, w+1-len(s.words))...)
	}
	if s.words[w]&(1<<(i&63)) == 0 {
		s.words[w] |= 1 << (i & 63)
		s.n++
	}
}

func (s *bitset) remove(i int64) {
	if s.has(i) {
		s.words[i>>6] &^= 1 << (i & 63)
		s.n--
	}
}

// mask is the part of word w that lies in the count numbers from first on.
func mask(w, first, count int64) uint64 {
	m := ^uint64(0)
	if lo := first - w<<6; lo > 0 {
		m &= ^uint64(0) << lo
	}
	if hi := first + count - w<<6; hi < 64 {
		m &= 1<<hi - 1
	}
	return m
}

// addRange adds count numbers from first on, and returns how many of them are new.
func (s *bitset) addRange(first, count int64) (added int64) {
	if count <= 0 {
		return 0
	}
	last := (first + count - 1) >> 6
	if n := int(last) + 1 - len(s.words); n > 0 {
		s.words = append(s.words, make([]uint64, n)...)
	}
	for w := first >> 6; w <= last; w++ {
		m := mask(w, first, count)
		added += int64(bits.OnesCount64(m &^ s.words[w]))
		s.words[w] |= m
	}
	s.n += added
	return added
}

// moveRange takes the members among the count numbers from first on out, and adds them to dst; nil: to none.
func (s *bitset) moveRange(dst *bitset, first, count int64) {
	if count <= 0 {
		return
	}
	last := min((first+count-1)>>6, int64(len(s.words))-1)
	if n := int(last) + 1; dst != nil && n > len(dst.words) {
		dst.words = append(dst.words, make([]uint64, n-len(dst.words))...)
	}
	for w := first >> 6; w <= last; w++ {
		m := mask(w, first, count) & s.words[w]
		s.words[w] &^= m
		s.n -= int64(bits.OnesCount64(m))
		if dst != nil {
			dst.n += int64(bits.OnesCount64(m &^ dst.words[w]))
			dst.words[w] |= m
		}
	}
}

// next returns the first member at or after i, -1 where there is none.
func (s *bitset) next(i int64) int64 {
	for w := i >> 6; w < int64(len(s.words)); w++ {
		x := s.words[w]
		if w == i>>6 {
			x &= ^uint64(0) << (i & 63)
		}
		if x != 0 {
			return w<<6 + int64(bits.TrailingZeros64(x))
		}
	}
	return -1
}

// end returns the first non-member at or after i.
func (s *bitset) end(i int64) int64 {
	for w := i >> 6; w < int64(len(s.words)); w++ {
		x := ^s.words[w]
		if w == i>>6 {
			x &= ^uint64(0) << (i & 63)
		}
		if x != 0 {
			return w<<6 + int64(bits.TrailingZeros64(x))
		}
	}
	return max(i, int64(len(s.words))<<6)
}

// ranges returns the members as runs.
func (s *bitset) ranges() []Range {
	var rs []Range
	for i := s.next(0); i >= 0; {
		e := s.end(i)
		rs = append(rs, Range{Start: i, Count: e - i})
		i = s.next(e)
	}
	return rs
}

// max returns the highest member, -1 for none.
func (s *bitset) max() int64 {
	for w := len(s.words) - 1; w >= 0; w-- {
		if x := s.words[w]; x != 0 {
			return int64(w)<<6 + int64(bits.Len64(x)) - 1
		}
	}
	return -1
}

const cvPage = 256

// cvTable has the CVs of held chunks: in memory, or for very many chunks as the number of their journal record,
// which is read again. Memory comes in pages, as chunks are held.
type cvTable struct {
	onDisk bool
	cvs    map[int64]*[cvPage]crypto.CV
	recs   map[int64]*[cvPage]uint32
}

func (t *cvTable) set(i int64, cv crypto.CV, rec int64) {
	if t.onDisk {
		if t.recs == nil {
			t.recs = make(map[int64]*[cvPage]uint32)
		}
		p := t.recs[i/cvPage]
		if p == nil {
			p = new([cvPage]uint32)
			t.recs[i/cvPage] = p
		}
		p[i%cvPage] = uint32(rec)
		return
	}
	if t.cvs == nil {
		t.cvs = make(map[int64]*[cvPage]crypto.CV)
	}
	p := t.cvs[i/cvPage]
	if p == nil {
		p = new([cvPage]crypto.CV)
		t.cvs[i/cvPage] = p
	}
	p[i%cvPage] = cv
}

// get returns the CV of chunk i, which was set.
func (t *cvTable) get(i int64, j *journal) (crypto.CV, error) {
	if !t.onDisk {
		return t.cvs[i/cvPage][i%cvPage], nil
	}
	r, err := j.read(int64(t.recs[i/cvPage][i%cvPage]))
	if err == nil && (r.kind != recChunk || r.index != uint64(i)) {
		err = errJournal
	}
	return r.body, err
}
