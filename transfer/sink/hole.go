package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// Sparse files: FORMAT.md, "Holes".

// holeBlock is the least that becomes a hole: the block of the file systems that there are.
const holeBlock = 4096

var zeroBytes [64 << 10]byte

// allZero tells whether p has nothing but zeros.
func allZero(p []byte) bool {
	for len(p) > len(zeroBytes) {
		if !bytes.Equal(p[:len(zeroBytes)], zeroBytes[:]) {
			return false
		}
		p = p[len(zeroBytes):]
	}
	return bytes.Equal(p, zeroBytes[:len(p)])
}

// writeSparse writes p at off but for blocks of zeros: what is there reads as zeros, and is a hole where f has that size
// and was never written.
func writeSparse(f durable.File, p []byte, off int64) error {
	// block is the length of what p begins with in one block of the file.
	block := func(p []byte, off int64) int { return int(min(int64(len(p)), holeBlock-off%holeBlock)) }
	for len(p) > 0 {
		n := 0
		for n < len(p) {
			b := block(p[n:], off+int64(n))
			if !allZero(p[n : n+b]) {
				break
			}
			n += b
		}
		p, off = p[n:], off+int64(n)
		n = 0
		for n < len(p) {
			b := block(p[n:], off+int64(n))
			if allZero(p[n : n+b]) {
				break
			}
			n += b
		}
		if n == 0 {
			continue
		}
		if err := writeAt(f, p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// stretch makes the data of a sparse file as long as it is to be.
func (s *Stage) stretch() error {
	fi, err := s.data.Stat()
	if err != nil || fi.Size() >= s.spec.Size {
		return err
	}
	err = s.data.Truncate(s.spec.Size)
	s.watch.mine()
	return err
}

// touch notes that something is written into chunk.
func (s *Stage) touch(chunk int64) {
	if !s.sparse {
		return
	}
	s.mu.Lock()
	s.touched.add(chunk)
	s.mu.Unlock()
}

// cv returns the CV of the held chunk. s.mu is held, or nobody else knows s.
func (s *Stage) cv(chunk int64) (crypto.CV, error) {
	if !s.zeros.has(chunk) {
		return s.cvs.get(chunk, s.journal)
	}
	if s.single() {
		return crypto.CV(crypto.ZeroRoot(s.spec.Size)), nil
	}
	return crypto.ZeroCV(uint64(chunk), s.spec.ChunkLog2, s.chunkLimit(chunk)), nil
}

// sizeOf returns how many bytes count chunks from first on have. The size is known.
func (s *Stage) sizeOf(first, count int64) int64 {
	return min((first+count)*s.chunkSize, s.spec.Size) - first*s.chunkSize
}

// heldBytes returns how many of them are held. s.mu is held, or nobody else knows s.
func (s *Stage) heldBytes(first, count int64) (n int64) {
	for c := s.held.next(first); c >= 0 && c < first+count; {
		end := min(s.held.end(c), first+count)
		n += s.sizeOf(c, end-c)
		c = s.held.next(end)
	}
	return n
}

// Zeros returns the chunks that are held as zeros.
func (s *Stage) Zeros() []Range {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.zeros.ranges()
}

// Zero says that count chunks from first on are zeros, and makes them held. Writers of them end with ErrTaken. Where
// something was written into one before, it is made a hole again, or zeros are written. Those that are held as zeros
// already stay so. It returns how many bytes are held that were not before, also with an error. Only for a Spec that is
// Sparse. Errors: ErrSourceChanged (one is held with other content), ErrRange, ErrFenced, ErrClosed, and of the disk.
func (s *Stage) Zero(ctx context.Context, first, count int64) (bytes int64, err error) {
	if !s.sparse || first < 0 || count < 1 || first > s.chunks || count > s.chunks-first { // guard: numbers of a peer
		return 0, fmt.Errorf("%d chunks of zeros from %d on: %w", count, first, ErrRange)
	}
	bytes, written, err := s.zero(first, count)
	if err != nil {
		return bytes, err
	}
	for _, c := range written {
		if err := ctx.Err(); err != nil {
			return bytes, context.Cause(ctx)
		}
		n, err := s.zeroOne(c)
		if err != nil {
			return bytes, err
		}
		bytes += n
	}
	return bytes, nil
}

// zero makes the chunks held that are holes, and returns their bytes, and those that may have data.
func (s *Stage) zero(first, count int64) (bytes int64, written []int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for { // guard of I6: one writer
		if err := s.usable(); err != nil {
			return 0, nil, err
		}
		w := s.writerIn(first, count)
		if w == nil {
			break
		}
		s.mu.Unlock()
		w.end(ErrTaken)
		s.mu.Lock()
	}
	end := first + count
	var fresh []Range
	for c := first; c < end; {
		if s.held.has(c) {
			if !s.zeros.has(c) { // guard of I6
				return 0, nil, fmt.Errorf("chunk %d: %w", c, ErrSourceChanged)
			}
			c = s.zeros.end(c)
			continue
		}
		next := s.held.next(c)
		if next < 0 || next > end {
			next = end
		}
		holes, data, err := s.holesIn(c, next)
		if err != nil {
			return 0, nil, err
		}
		fresh, written = append(fresh, holes...), append(written, data...)
		c = next
	}
	for _, r := range fresh {
		if err := s.holdZeros(r.Start, r.Count); err != nil {
			return bytes, nil, err
		}
		bytes += s.sizeOf(r.Start, r.Count)
	}
	return bytes, written, nil
}

// writerIn returns a writer of one of count chunks from first on. s.mu is held.
func (s *Stage) writerIn(first, count int64) *ChunkWriter {
	for c, w := range s.writers {
		if c >= first && c < first+count {
			return w
		}
	}
	return nil
}

// holesIn divides the chunks from c to end, that are not held, into those that nothing was written into and others.
// s.mu is held.
func (s *Stage) holesIn(c, end int64) (holes []Range, data []int64, err error) {
	for c < end {
		// Where the next chunk with data is: known, or looked for.
		at := s.touched.next(c)
		if s.loaded {
			off, err := s.data.NextData(c * s.chunkSize)
			if err != nil {
				return nil, nil, err
			}
			at = off / s.chunkSize
			if off >= s.spec.Size {
				at = end
			}
		}
		if at < 0 || at > end {
			at = end
		}
		if at > c {
			holes = append(holes, Range{Start: c, Count: at - c})
		}
		if at < end {
			data = append(data, at)
		}
		c = at + 1
	}
	return holes, data, nil
}

// holdZeros records that count chunks from first on, none of which is held, are zeros, and are so on the disk. s.mu is held.
func (s *Stage) holdZeros(first, count int64) error {
	if err := s.journal.append(record{kind: recZero, index: uint64(first), body: bodyOf(uint64(count))}); err != nil {
		s.dead = err
		return err
	}
	s.zeros.addRange(first, count)
	s.took(first, count, s.sizeOf(first, count), recordLen)
	return nil
}

// zeroOne makes one chunk held as zeros that may have data, and returns its bytes, 0 where it was held.
func (s *Stage) zeroOne(chunk int64) (int64, error) {
	w, err := s.Claim(chunk, 0)
	if err != nil {
		return 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone != nil {
		return 0, w.gone
	}
	for n := int64(0); n < w.limit && !w.dup && !w.skip; {
		p := zeroBytes[:min(int64(len(zeroBytes)), w.limit-n)]
		s.watch.begin(s.data)
		err := writeAt(s.data, p, w.start+n)
		s.watch.end()
		if err != nil {
			return 0, w.leave(fmt.Errorf("write chunk %d: %w", chunk, err))
		}
		n += int64(len(p))
	}
	s.mu.Lock()
	err = s.usable() // guard of I5
	switch {
	case err != nil:
	case w.dup && !s.zeros.has(chunk): // guard of I6
		err = fmt.Errorf("chunk %d: %w", chunk, ErrSourceChanged)
	case !w.dup:
		err = s.holdZeros(chunk, 1)
	}
	s.mu.Unlock()
	if err != nil {
		return 0, w.leave(err)
	}
	_ = w.leave(ErrClosed)
	if w.dup {
		return 0, nil
	}
	return w.limit, nil
}

// clear makes the place of the rest of the chunk a hole, where something may have been written into it before. Where the
// file system cannot, all bytes of the chunk are written. w.mu is held.
func (w *ChunkWriter) clear() error {
	s := w.s
	s.mu.Lock()
	known := !s.loaded && !s.touched.has(w.chunk)
	s.mu.Unlock()
	if known {
		w.skip = true
		return nil
	}
	lo, hi := w.start+w.n, w.start+w.limit
	for at := lo; at < hi; {
		data, err := s.data.NextData(at)
		if err != nil {
			return err
		}
		if data >= hi {
			break
		}
		end, err := s.data.NextHole(data)
		if err != nil {
			return err
		}
		if end <= data { // somebody has cut the file
			break
		}
		end = min(end, hi)
		s.watch.begin(s.data)
		err = s.data.PunchHole(data, end-data)
		s.watch.end()
		if errors.Is(err, errors.ErrUnsupported) {
			return nil
		}
		if err != nil {
			return err
		}
		at = end
	}
	w.skip = true
	return nil
}

// lookForData adds to bad the chunks that are claimed to be zeros and are not, or cannot be read. Holes are not read.
func (s *Stage) lookForData(ctx context.Context, bad *bitset) error {
	tick := ticker(ctx, s.spec.Busy)
	buf := make([]byte, readSize)
	for c := s.zeros.next(0); c >= 0; {
		end := s.zeros.end(c)
		stop := min(end*s.chunkSize, s.spec.Size)
		for at := c * s.chunkSize; at < stop; {
			if err := tick(); err != nil {
				return err
			}
			data, err := s.data.NextData(at)
			if err != nil {
				return orUnusable(err)
			}
			if data >= stop {
				break
			}
			hole, err := s.data.NextHole(data)
			if err != nil {
				return orUnusable(err)
			}
			chunk := data / s.chunkSize
			if hole <= data { // somebody has cut the file
				bad.addRange(chunk, end-chunk)
				break
			}
			n := min(hole, stop, (chunk+1)*s.chunkSize, data+int64(len(buf))) - data
			if k, _ := s.data.ReadAt(buf[:n], data); int64(k) < n || !allZero(buf[:n]) {
				bad.add(chunk)
				n = (chunk+1)*s.chunkSize - data
			}
			at = data + n
		}
		c = s.zeros.next(end)
	}
	return nil
}
