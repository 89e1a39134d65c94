package sink

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"xfer/crypto"
)

// ChunkWriter takes the bytes of one chunk, from its beginning or from the end of a kept Part. One goroutine at a
// time uses it. It ends with Finish, Park, its first error, or when another one claims the chunk.
type ChunkWriter struct {
	s     *Stage
	chunk int64
	start int64 // of the chunk in the file
	limit int64 // bytes the chunk may have
	dup   bool  // the chunk was held when it was claimed: nothing is written
	skip  bool  // the chunk's place reads as zeros: none are written

	stored atomic.Int64 // bytes from the chunk's beginning that are in the file

	mu   sync.Mutex // held during each call, so that who takes over waits for a write in progress
	gone error      // why it has ended
	n    int64      // bytes hashed
	some bool       // not all of them are zeros
	h    *crypto.ChunkHasher
}

// Claim makes the caller the writer of chunk, from offset on: 0, or at most the bytes of its kept Part. Another writer
// of the chunk ends: its write in progress is waited for, and its later calls return ErrTaken. A chunk that is held
// is not written again: its writer only hashes, and Finish compares.
// Errors: ErrRange, ErrFenced, ErrClosed, and of the disk.
func (s *Stage) Claim(chunk, offset int64) (*ChunkWriter, error) {
	w, err := s.claim(chunk, offset)
	if err != nil {
		return nil, err
	}
	defer w.mu.Unlock()
	err = w.readPrefix(offset)
	if err == nil && s.sparse && !w.dup {
		err = w.clear()
	}
	if err != nil {
		w.leave(err)
		return nil, err
	}
	return w, nil
}

// claim registers a new writer, and returns it locked.
func (s *Stage) claim(chunk, offset int64) (*ChunkWriter, error) {
	s.mu.Lock()
	for {
		if err := s.usable(); err != nil {
			s.mu.Unlock()
			return nil, err
		}
		old := s.writers[chunk]
		if old == nil {
			break
		}
		s.mu.Unlock()
		old.end(ErrTaken) // guard of I6: one writer
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	limit := s.chunkLimit(chunk)
	held := limit > 0 && s.held.has(chunk)
	most := s.parts[chunk]
	if held {
		most = limit
	}
	if limit == 0 || offset < 0 || offset > most { // guard: a number of a peer
		return nil, fmt.Errorf("claim chunk %d at %d: %w", chunk, offset, ErrRange)
	}
	w := &ChunkWriter{s: s, chunk: chunk, start: chunk * s.chunkSize, limit: limit, dup: held}
	w.h = s.d.pool.Get().(*crypto.ChunkHasher)
	w.h.Reset(uint64(chunk), s.spec.ChunkLog2)
	w.mu.Lock()
	delete(s.parts, chunk)
	s.writers[chunk] = w
	return w, nil
}

// readPrefix hashes the first n bytes of the chunk as the disk has them.
func (w *ChunkWriter) readPrefix(n int64) error {
	if n == 0 {
		return nil
	}
	buf := make([]byte, min(n, readSize))
	r := io.NewSectionReader(w.s.data, w.start, n)
	for w.n < n {
		k, err := io.ReadFull(r, buf[:min(n-w.n, int64(len(buf)))])
		if err != nil {
			return fmt.Errorf("read chunk %d again: %w", w.chunk, err)
		}
		if _, err := w.h.Write(buf[:k]); err != nil {
			return err
		}
		w.some = w.some || w.s.sparse && !allZero(buf[:k])
		w.n += int64(k)
	}
	w.stored.Store(n)
	return nil
}

// Write hashes p and puts it in its place. More bytes than the chunk has are ErrRange. After an error the writer has
// ended; what was written before is kept as a Part.
func (w *ChunkWriter) Write(p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone != nil {
		return w.gone
	}
	if int64(len(p)) > w.limit-w.n {
		return w.leave(fmt.Errorf("chunk %d: %w: more than %d bytes", w.chunk, ErrRange, w.limit))
	}
	if err := w.write(p); err != nil {
		return w.leave(err)
	}
	return nil
}

// write hashes p and puts it in its place. w.mu is held.
func (w *ChunkWriter) write(p []byte) error {
	if _, err := w.h.Write(p); err != nil {
		return err
	}
	if !w.dup { // guard of I6: a held chunk is not written
		if err := w.store(p); err != nil {
			return fmt.Errorf("write chunk %d: %w", w.chunk, err)
		}
	}
	w.n += int64(len(p))
	w.stored.Store(w.n)
	return nil
}

// store writes p at its place. w.mu is held.
func (w *ChunkWriter) store(p []byte) error {
	s := w.s
	if s.sparse && !w.some && !allZero(p) {
		w.some = true
		s.touch(w.chunk)
	}
	s.watch.begin(s.data)
	defer s.watch.end()
	if w.skip {
		return writeSparse(s.data, p, w.start+w.n)
	}
	return writeAt(s.data, p, w.start+w.n)
}

// Finish ends the chunk: with the right number of bytes and cv their chaining value (of a file of one chunk: the
// root) it is held from now on. dup tells that it was held before, with the same CV.
// Errors: ErrChunkBad (the chunk, with its part, is missing again), ErrSourceChanged (it is held with other content),
// ErrTaken, ErrFenced, ErrRange, and of the journal.
func (w *ChunkWriter) Finish(cv crypto.CV) (dup bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone != nil {
		return false, w.gone
	}
	s := w.s
	short := s.chunks < 0 && !w.dup && w.n > 0 // then any length may be the last
	if w.n != w.limit && !short {
		return false, w.leave(fmt.Errorf("chunk %d: %w: %d of %d bytes", w.chunk, ErrRange, w.n, w.limit))
	}
	got := w.h.CV()
	if s.single() {
		got = crypto.CV(w.h.Root())
	}
	if got != cv { // guard of I1
		return false, w.bad(fmt.Errorf("chunk %d: %w", w.chunk, ErrChunkBad))
	}
	s.mu.Lock()
	err = s.usable() // guard of I5
	if err == nil && w.dup {
		var was crypto.CV
		if was, err = s.cv(w.chunk); err == nil && was != cv { // guard of I6
			err = fmt.Errorf("chunk %d: %w", w.chunk, ErrSourceChanged)
		}
	} else if err == nil && s.sparse && !w.some {
		err = s.holdZeros(w.chunk, 1)
	} else if err == nil {
		err = s.hold(w.chunk, w.n, cv)
	}
	s.mu.Unlock()
	if err != nil {
		return false, w.leave(err)
	}
	_ = w.leave(ErrClosed)
	return w.dup, nil
}

// Park ends the writer, whose stream is lost, and keeps what it wrote as a Part. After the end it does nothing.
func (w *ChunkWriter) Park() { w.end(ErrClosed) }

// end ends the writer after its write in progress.
func (w *ChunkWriter) end(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone == nil {
		_ = w.leave(err)
	}
}

// leave makes err the answer to all later calls, keeps the prefix unless the chunk is held, and returns err.
// w.mu is held.
func (w *ChunkWriter) leave(err error) error {
	w.gone = err
	s := w.s
	s.mu.Lock()
	if s.writers[w.chunk] == w {
		delete(s.writers, w.chunk)
	}
	if !w.dup {
		s.keepPart(w.chunk, w.n)
	}
	s.mu.Unlock()
	s.d.pool.Put(w.h)
	w.h = nil
	return err
}

// bad is leave where nothing of the chunk is worth keeping.
func (w *ChunkWriter) bad(err error) error {
	w.n = 0
	w.s.unnote(w.chunk)
	return w.leave(err)
}

// unnote strikes the prefix of chunk out of the journal, so that it is not offered again.
func (s *Stage) unnote(chunk int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.noted[chunk] == 0 || s.usable() != nil {
		return
	}
	delete(s.noted, chunk)
	if err := s.journal.append(record{kind: recPart, index: uint64(chunk)}); err != nil {
		s.dead = err
	}
}

func sortParts(ps []Part) {
	slices.SortFunc(ps, func(a, b Part) int { return int(a.Chunk - b.Chunk) })
}
