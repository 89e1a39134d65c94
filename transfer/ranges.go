package transfer

import (
	"cmp"
	"math/bits"
	"slices"

	"xfer/crypto"
	"xfer/transfer/sink"
	"xfer/transfer/wire"
)

// chunkSet is a set of chunk numbers below 2^24, one bit each.
type chunkSet struct {
	bits  []uint64
	count int64
}

func (c *chunkSet) has(i int64) bool {
	w := i >> 6
	return w < int64(len(c.bits)) && c.bits[w]&(1<<(i&63)) != 0
}

func (c *chunkSet) add(i int64) bool {
	if c.has(i) {
		return false
	}
	for int64(len(c.bits)) <= i>>6 {
		c.bits = append(c.bits, 0)
	}
	c.bits[i>>6] |= 1 << (i & 63)
	c.count++
	return true
}

// chunkMask is the part of word w that lies in the count numbers from first on.
func chunkMask(w, first, count int64) uint64 {
	m := ^uint64(0)
	if lo := first - w<<6; lo > 0 {
		m <<= lo
	}
	if hi := first + count - w<<6; hi < 64 {
		m &= 1<<hi - 1
	}
	return m
}

// grow makes room for the chunks below n.
func (c *chunkSet) grow(n int64) {
	if more := (n+63)>>6 - int64(len(c.bits)); more > 0 {
		c.bits = append(c.bits, make([]uint64, more)...)
	}
}

// addRange adds count chunks from first on.
func (c *chunkSet) addRange(first, count int64) {
	if count <= 0 {
		return
	}
	c.grow(first + count)
	for w := first >> 6; w <= (first+count-1)>>6; w++ {
		m := chunkMask(w, first, count) &^ c.bits[w]
		c.bits[w] |= m
		c.count += int64(bits.OnesCount64(m))
	}
}

// moveRange moves the members among count chunks from first on to dst, and returns how many of them dst had not.
func (c *chunkSet) moveRange(dst *chunkSet, first, count int64) (added int64) {
	end := min(first+count, int64(len(c.bits))<<6)
	if first >= end {
		return 0
	}
	dst.grow(end)
	for w := first >> 6; w <= (end-1)>>6; w++ {
		m := chunkMask(w, first, end-first) & c.bits[w]
		c.bits[w] &^= m
		c.count -= int64(bits.OnesCount64(m))
		added += int64(bits.OnesCount64(m &^ dst.bits[w]))
		dst.bits[w] |= m
	}
	dst.count += added
	return added
}

// next returns the first member at or after i, -1 where there is none.
func (c *chunkSet) next(i int64) int64 {
	for w := i >> 6; w < int64(len(c.bits)); w++ {
		x := c.bits[w]
		if w == i>>6 {
			x &= ^uint64(0) << (i & 63)
		}
		if x != 0 {
			return w<<6 + int64(bits.TrailingZeros64(x))
		}
	}
	return -1
}

// end returns the first chunk at or after i that is no member.
func (c *chunkSet) end(i int64) int64 {
	for w := i >> 6; w < int64(len(c.bits)); w++ {
		x := ^c.bits[w]
		if w == i>>6 {
			x &= ^uint64(0) << (i & 63)
		}
		if x != 0 {
			return w<<6 + int64(bits.TrailingZeros64(x))
		}
	}
	return max(i, int64(len(c.bits))<<6)
}

// cvTable has the CVs of chunks in pages, so that those that are zeros, and have none here, take no memory.
type cvTable map[int64]*[cvPage]crypto.CV

const cvPage = 256

func (t cvTable) set(i int64, cv crypto.CV) {
	p := t[i/cvPage]
	if p == nil {
		p = new([cvPage]crypto.CV)
		t[i/cvPage] = p
	}
	p[i%cvPage] = cv
}

// get returns the CV of chunk i, the zero CV where it was not set.
func (t cvTable) get(i int64) (cv crypto.CV) {
	if p := t[i/cvPage]; p != nil {
		cv = p[i%cvPage]
	}
	return cv
}

// toRanges makes the sorted, joined ranges of chunk numbers; list is sorted in place.
func toRanges(list []int64) wire.Ranges {
	slices.Sort(list)
	var out wire.Ranges
	for _, c := range list {
		if n := len(out); n > 0 {
			end := out[n-1].Start + out[n-1].Count
			if uint64(c) < end {
				continue // twice
			}
			if uint64(c) == end {
				out[n-1].Count++
				continue
			}
		}
		out = append(out, wire.Range{Start: uint64(c), Count: 1})
	}
	return out
}

// wireRanges makes a message's ranges of the sink's; past the limit the shortest are left out: a receiver may claim
// less than it has, never more.
func wireRanges(in []sink.Range) wire.Ranges {
	out := make(wire.Ranges, 0, len(in))
	for _, r := range in {
		if r.Count > 0 {
			out = append(out, wire.Range{Start: uint64(r.Start), Count: uint64(r.Count)})
		}
	}
	const limit = 8192
	if len(out) <= limit {
		return out
	}
	slices.SortFunc(out, func(a, b wire.Range) int { return cmp.Compare(b.Count, a.Count) })
	out = out[:limit]
	slices.SortFunc(out, func(a, b wire.Range) int { return cmp.Compare(a.Start, b.Start) })
	return out
}

// chunking returns the log2 of the chunk size for a file of size bytes: the smallest with at most 8192 chunks, from
// 256 KiB to 8 MiB (16 MiB above 64 TiB). An unknown size has 4 MiB.
func chunking(size int64) uint8 {
	if size < 0 {
		return 22
	}
	k := uint8(18)
	for k < 23 && size > 8192<<k {
		k++
	}
	if size > 64<<40 {
		k = 24
	}
	return k
}

// chunkCount returns how many chunks of 1<<log2 bytes size bytes have.
func chunkCount(size int64, log2 uint8) int64 {
	return (size + (1<<log2 - 1)) >> log2
}

// chunkLen returns the length of chunk i of a file of size bytes.
func chunkLen(size int64, log2 uint8, i int64) int64 {
	return min(1<<log2, size-i<<log2)
}

// covers tells whether chunk i is in the sorted ranges.
func covers(ranges wire.Ranges, i uint64) bool {
	n, found := slices.BinarySearchFunc(ranges, i, func(r wire.Range, i uint64) int { return cmp.Compare(r.Start, i) })
	if found {
		return ranges[n].Count > 0
	}
	return n > 0 && i-ranges[n-1].Start < ranges[n-1].Count
}
