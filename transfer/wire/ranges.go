package wire

import (
	"cmp"
	"slices"
)

// Range is Count chunks from Start. On the wire it is an array of the two.
type Range struct {
	_     struct{} `cbor:",toarray"`
	Start uint64
	Count uint64
}

// Ranges is a set of chunks. In a message its ranges ascend, none is empty, no two touch or overlap, and all lie below
// MaxChunks: each set has one form.
type Ranges []Range

// Part is a kept beginning of a chunk that is not held whole: its first Bytes bytes, not verified. On the wire it is an
// array of the two.
type Part struct {
	_     struct{} `cbor:",toarray"`
	Chunk uint64
	Bytes uint64
}

// Contains tells whether chunk is in r, which is sorted as in a message.
func (r Ranges) Contains(chunk uint64) bool {
	i, found := slices.BinarySearchFunc(r, chunk, func(e Range, c uint64) int { return cmp.Compare(e.Start, c) })
	return found || i > 0 && chunk-r[i-1].Start < r[i-1].Count
}

// Chunks returns how many chunks are in r.
func (r Ranges) Chunks() uint64 {
	var n uint64
	for _, e := range r {
		n += e.Count
	}
	return n
}

// Coarsen returns r with at most n ranges: the longest ones, in order. Chunks are lost but none is added, so a have-map
// that is coarsened costs some sending and nothing else. r itself is not changed.
func (r Ranges) Coarsen(n int) Ranges {
	if len(r) <= n {
		return r
	}
	out := slices.Clone(r)
	slices.SortStableFunc(out, func(a, b Range) int { return cmp.Compare(b.Count, a.Count) })
	out = out[:max(n, 0)]
	slices.SortFunc(out, func(a, b Range) int { return cmp.Compare(a.Start, b.Start) })
	return out
}

func (r Ranges) check() error {
	end := uint64(0) // where the last range ended
	for i, e := range r {
		switch {
		case e.Count == 0:
			return errf(CodeProtocol, "an empty range")
		case e.Start >= MaxChunks || e.Count > MaxChunks-e.Start:
			return errf(CodeLimit, "a range beyond chunk %d", MaxChunks)
		case i > 0 && e.Start <= end:
			return errf(CodeProtocol, "ranges that touch, overlap or are not sorted")
		}
		end = e.Start + e.Count
	}
	return nil
}

// checkParts checks that parts ascend, are not empty, are shorter than the largest chunk, and are not of a held chunk.
func checkParts(parts []Part, have Ranges) error {
	for i, p := range parts {
		switch {
		case p.Chunk >= MaxChunks || p.Bytes > 1<<MaxChunkLog2:
			return errf(CodeLimit, "a part beyond the limits of a chunk")
		case p.Bytes == 0:
			return errf(CodeProtocol, "an empty part")
		case i > 0 && p.Chunk <= parts[i-1].Chunk:
			return errf(CodeProtocol, "parts that are not sorted")
		case have.Contains(p.Chunk):
			return errf(CodeProtocol, "a part of a chunk that is held")
		}
	}
	return nil
}
