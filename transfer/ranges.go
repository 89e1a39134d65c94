package transfer

import (
	"cmp"
	"slices"

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
