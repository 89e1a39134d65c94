package transfer

import (
	"context"

	"xfer/crypto"
	"xfer/transfer/wire"
)

// Holes: chunks of a sparse file that lie in one are told in ZEROS, many at a time, and are neither read nor hashed. Both
// sides know what zeros hash to (PROTOCOL.md, "ZEROS").

// Of the largest file whose holes are kept: those beyond what crypto knows cost hashing, and a receiver refuses more.
const (
	maxSparse       = 1 << 42 // bytes
	maxSparseChunks = 1 << 19
)

// extent returns where the next data at or after off begins and ends; both are the size where only a hole follows.
func (s *fileSource) extent(off int64) (data, end int64, err error) {
	size := s.info.Size()
	if !s.holes {
		return off, size, nil
	}
	if data, err = s.f.NextData(off); err != nil {
		return 0, 0, err
	}
	if data >= size {
		return size, size, nil
	}
	if end, err = s.f.NextHole(data); err != nil {
		return 0, 0, err
	}
	if end <= data { // it was cut off
		return 0, 0, errSourceChanged
	}
	return data, min(end, size), nil
}

// extentOf is extent for any source: what cannot tell is data up to its end.
func extentOf(s source, off int64) (data, end int64, err error) {
	if f, ok := s.(*fileSource); ok {
		return f.extent(off)
	}
	return off, s.Size(), nil
}

// leastHole is what is worth a piece of its own; a shorter hole is read like data.
const leastHole = 16 << 10

// holeFinder tells the holes of a source to who reads it in order. For one goroutine.
type holeFinder struct {
	file            *fileSource // nil: it has none
	from, data, end int64       // what was looked for last, and the data that was found there or behind a hole
}

func newHoleFinder(s source) holeFinder {
	if f, ok := s.(*fileSource); ok && f.holes {
		return holeFinder{file: f}
	}
	return holeFinder{}
}

// next returns how many bytes from off on, at most n, are a hole or are none, and which.
func (r *holeFinder) next(off, n int64) (_ int64, hole bool, err error) {
	if r.file == nil {
		return n, false, nil
	}
	if off < r.from || off >= r.end {
		if r.data, r.end, err = r.file.extent(off); err != nil {
			return 0, false, err
		}
		r.from = off
	}
	if r.data-off >= min(leastHole, n) {
		return min(n, r.data-off), true, nil
	}
	for r.end-off < n {
		data, end, err := r.file.extent(r.end)
		if err != nil {
			return 0, false, err
		}
		if data-r.end >= leastHole || data == end {
			break
		}
		r.end = end
	}
	return min(n, r.end-off), false, nil
}

// keepHoles lets the OPEN say that the file has holes, if it has and the receiver can take them.
func (f *sendFile) keepHoles(open *wire.Open) {
	file, ok := f.src.(*fileSource)
	f.sparse = ok && file.holes && file.Size() <= maxSparse && f.total <= maxSparseChunks && !f.dense && f.s.agreed(wire.CapZero)
	if f.sparse {
		open.Flags |= wire.OpenSparse
	}
}

// findHoles finds the chunks that lie in holes.
func (f *sendFile) findHoles(ctx context.Context) error {
	if !f.sparse || f.one {
		return nil
	}
	var holes chunkSet
	size := f.src.Size()
	for off := int64(0); off < size; {
		f.atWork()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		data, end, err := extentOf(f.src, off)
		if err != nil {
			return err
		}
		first, last := chunkCount(off, f.log2), data>>f.log2
		if data == size {
			last = f.total
		}
		holes.addRange(first, last-first)
		off = end
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.holes = holes
	for i := holes.next(0); i >= 0; i = holes.next(i) {
		end := holes.end(i)
		f.zeros.addRange(i, end-i)
		i = end
	}
	return nil
}

// tellZeros sends the next ZEROS, if the one before was acknowledged. f.mu is held.
func (f *sendFile) tellZeros() {
	if f.awaited.count > 0 || f.err != nil {
		return
	}
	var m wire.Zeros
	for len(m.Chunks) < wire.MaxRanges {
		first := f.holes.next(f.untold)
		if first < 0 {
			break
		}
		f.untold = f.holes.end(first)
		f.awaited.addRange(first, f.untold-first)
		m.Chunks = append(m.Chunks, wire.Range{Start: uint64(first), Count: uint64(f.untold - first)})
	}
	if len(m.Chunks) > 0 {
		f.s.send(f.id, m)
	}
}

// ackZeros takes the holes among the ranges of an ACK, and returns their bytes, but for those that the receiver had before;
// some tells that there were any. f.mu is held.
func (f *sendFile) ackZeros(ranges wire.Ranges) (bytes int64, some bool) {
	was := f.awaited.count
	if was == 0 {
		return 0, false
	}
	had := f.acked.has(f.total - 1)
	for _, r := range ranges {
		if r.Start < uint64(f.total) {
			bytes += f.awaited.moveRange(&f.acked, int64(r.Start), int64(min(r.Count, uint64(f.total)-r.Start))) << f.log2
		}
	}
	if last := f.total - 1; !had && f.acked.has(last) {
		bytes -= 1<<f.log2 - chunkLen(f.src.Size(), f.log2, last)
	}
	f.tellZeros()
	return bytes, f.awaited.count != was
}

// hashesAhead is how many HASHES are without an answer at a time.
const hashesAhead = 16

// learn asks for the CVs of the chunks that the receiver has, but for the holes: of these both know that they are zeros.
func (f *sendFile) learn(ctx context.Context, have wire.Ranges) error {
	var asks []wire.Hashes
	for _, r := range have {
		for i, end := int64(r.Start), int64(r.Start+r.Count); i < end; {
			if f.holes.has(i) {
				i = f.holes.end(i)
				continue
			}
			stop := min(end, i+wire.MaxHashes)
			if n := f.holes.next(i); n >= 0 {
				stop = min(stop, n)
			}
			asks = append(asks, wire.Hashes{First: uint64(i), Count: uint64(stop - i)})
			i = stop
		}
	}
	open := map[uint64]uint64{} // what was asked and not answered: the count by the first
	for len(asks) > 0 || len(open) > 0 {
		for len(asks) > 0 && len(open) < hashesAhead {
			f.s.send(f.id, asks[0])
			open[asks[0].First] = asks[0].Count
			asks = asks[1:]
		}
		list, err := wait(ctx, f, f.hashes)
		if err != nil {
			return err
		}
		n, ok := open[list.First]
		if !ok {
			continue // that was not asked for
		}
		delete(open, list.First)
		if uint64(len(list.CVs)) != n {
			return protocolError("HASHLIST of %d CVs, asked for %d", len(list.CVs), n)
		}
		f.mu.Lock()
		for j, cv := range list.CVs {
			f.learned(int64(list.First)+int64(j), crypto.CV(cv))
		}
		f.mu.Unlock()
	}
	return nil
}

// learned takes the CV of a chunk that the receiver has. f.mu is held.
func (f *sendFile) learned(i int64, cv crypto.CV) {
	switch {
	case !f.sparse || !cv.IsZero():
		f.setCV(i, cv)
	case f.total == 1:
		f.setCV(i, crypto.CV(crypto.ZeroRoot(f.src.Size())))
	default:
		f.zeros.add(i)
	}
}
