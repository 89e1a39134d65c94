package sink

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// Stage is one file that is being received. Safe for concurrent use. Whoever got it ends it with Publish, Park or
// Discard; a Publish that failed has not ended it.
type Stage struct {
	d    *Dir
	v    *View
	spec Spec
	id   stageID

	keyDir string     // has the lock and dir
	above  []ancestor // of keyDir where that is not beneath ".xfer"
	dir    string     // has the two files
	unlock func() error

	dataName, journalName string
	data                  durable.File
	watch                 watch // of data
	epoch                 uint64
	chunkSize             int64
	chunks                int64 // -1: size unknown
	sparse                bool  // zeros are not written
	loaded                bool  // the data has been there before: what it has between the held chunks is not known
	forward               bool  // the data is under its final name already: only recording it is left

	// op is held by Checkpoint, Publish, Park, Discard and fencing, one at a time.
	op        sync.Mutex
	linked    bool   // guarded by op: the directories above are durable
	renamed   bool   // guarded by op: the data has left the stage
	published bool   // guarded by op
	receipt   []byte // guarded by op

	mu      sync.Mutex // guards what follows; held for no longer than an append to the journal
	journal *journal
	ended   error // why nothing more is taken: ErrFenced, ErrClosed
	dead    error // a failure after which nothing may be acknowledged
	sealing bool
	held    bitset // chunks with a right CV
	zeros   bitset // of held: those that are known to be all zeros. A sparse file has no others that are
	touched bitset // chunks of a sparse file into which something was written in this life
	bytes   int64  // of held
	cvs     cvTable
	durable bitset // of held, covered by a MARK of this life
	pending bitset // of held, not covered yet
	syncing bitset // of held, to be covered by the checkpoint in progress
	dirty   int64  // bytes of both that came in this life
	since   time.Time
	parts   map[int64]int64 // prefixes of chunks without a writer
	noted   map[int64]int64 // what the journal says of prefixes
	writers map[int64]*ChunkWriter
	last    int64 // unknown size: the last chunk, -1 not known yet
	lastLen int64
}

func newStage(d *Dir, v *View, sp Spec, id stageID, keyDir string) *Stage {
	s := &Stage{
		d: d, v: v, spec: sp, id: id, keyDir: keyDir,
		chunkSize: 1 << sp.ChunkLog2,
		chunks:    -1,
		sparse:    sp.Sparse && sp.Size >= 0,
		parts:     make(map[int64]int64),
		noted:     make(map[int64]int64),
		writers:   make(map[int64]*ChunkWriter),
		last:      -1,
	}
	if sp.Size >= 0 {
		s.chunks = chunksOf(sp.Size, s.chunkSize)
		s.cvs.onDisk = s.chunks > maxCVsInMemory
	}
	return s
}

func chunksOf(size, chunkSize int64) int64 {
	n := size / chunkSize
	if size%chunkSize != 0 {
		n++
	}
	return n
}

// chunkLimit returns the most bytes that chunk may have, 0 where the file does not have it. s.mu is held.
func (s *Stage) chunkLimit(chunk int64) int64 {
	switch {
	case chunk < 0:
		return 0
	case s.chunks < 0 && s.last >= 0 && chunk > s.last:
		return 0
	case s.chunks < 0 && chunk == s.last:
		return s.lastLen
	case s.chunks < 0 && chunk < maxUnknownChunks:
		return s.chunkSize
	case chunk >= s.chunks:
		return 0
	}
	return min(s.chunkSize, s.spec.Size-chunk*s.chunkSize)
}

// single tells whether the file is known to be one chunk, so that its CV field carries the root.
func (s *Stage) single() bool { return s.chunks == 1 }

// usable returns why the stage takes nothing more. s.mu is held.
func (s *Stage) usable() error {
	switch {
	case s.ended != nil:
		return s.ended // guard of I5
	case s.dead != nil:
		return s.dead
	case s.sealing:
		return fmt.Errorf("being published: %w", ErrClosed)
	}
	return nil
}

// Path returns the final name.
func (s *Stage) Path() Path { return s.spec.Path }

// Epoch returns the number of the attempt.
func (s *Stage) Epoch() uint64 { return s.epoch }

// Held returns how much is held: verified chunks and their bytes.
func (s *Stage) Held() (chunks, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held.n, s.bytes
}

// Have returns the held chunks and the prefixes of others that are kept.
func (s *Stage) Have() ([]Range, []Part) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var parts []Part
	for c, n := range s.parts {
		parts = append(parts, Part{Chunk: c, Bytes: n})
	}
	sortParts(parts)
	return s.held.ranges(), parts
}

// Dirty returns the bytes held that no Checkpoint has covered, and since when the oldest of them is there. Chunks that
// are zeros count as the record that says so.
func (s *Stage) Dirty() (bytes int64, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dirty, s.since
}

// CVs returns the CVs of count chunks from first on, at most 65536; the zero CV of chunks that are not held, and of those
// that are held as zeros, which Zeros tells.
func (s *Stage) CVs(first, count int64) ([]crypto.CV, error) {
	if first < 0 || count < 0 || count > 1<<16 || first > maxChunks {
		return nil, fmt.Errorf("cvs: %w: %d from %d", ErrRange, count, first)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended != nil {
		return nil, s.ended
	}
	cvs := make([]crypto.CV, count)
	for i := range cvs {
		if c := first + int64(i); s.held.has(c) && !s.zeros.has(c) {
			cv, err := s.cvs.get(c, s.journal)
			if err != nil {
				return nil, err
			}
			cvs[i] = cv
		}
	}
	return cvs, nil
}

// hold records that chunk, of n bytes, is complete with cv. s.mu is held. This is the only place where a chunk
// becomes held while the stage lives, and a held chunk has no writer any more (I6).
func (s *Stage) hold(chunk, n int64, cv crypto.CV) error {
	var both [2]record
	rs := both[:0]
	switch {
	case s.chunks < 0 && s.last >= 0 && n != s.chunkLimit(chunk):
		return fmt.Errorf("chunk %d of %d bytes: %w", chunk, n, ErrRange)
	case s.chunks < 0 && s.last < 0 && n < s.chunkSize:
		if s.held.max() > chunk {
			return fmt.Errorf("chunk %d of %d bytes is not the last: %w", chunk, n, ErrRange)
		}
		rs = append(rs, record{kind: recLast, index: uint64(chunk), body: bodyOf(uint64(n))})
	}
	rs = append(rs, record{kind: recChunk, index: uint64(chunk), body: cv})
	if err := s.journal.append(rs...); err != nil {
		s.dead = err
		return err
	}
	if len(rs) > 1 {
		s.last, s.lastLen = chunk, n
	}
	s.cvs.set(chunk, cv, s.journal.records-1)
	s.took(chunk, 1, n, n)
	return nil
}

// took makes count chunks from first on held, of n bytes together. dirty is what counts towards the next checkpoint.
// s.mu is held.
func (s *Stage) took(first, count, n, dirty int64) {
	s.held.addRange(first, count)
	s.bytes += n
	if s.dirty == 0 {
		s.since = s.d.o.Now()
	}
	s.pending.addRange(first, count)
	s.dirty += dirty
	s.forgetParts(first, count)
}

// forgetParts drops what is known of prefixes of count chunks from first on. s.mu is held.
func (s *Stage) forgetParts(first, count int64) {
	for _, parts := range []map[int64]int64{s.parts, s.noted} {
		if count < int64(len(parts)) {
			for c := first; c < first+count; c++ {
				delete(parts, c)
			}
			continue
		}
		for c := range parts {
			if c >= first && c < first+count {
				delete(parts, c)
			}
		}
	}
}

// keepPart remembers that n bytes of chunk are there. s.mu is held.
func (s *Stage) keepPart(chunk, n int64) {
	if n <= 0 || s.held.has(chunk) {
		return
	}
	if _, ok := s.parts[chunk]; !ok && len(s.parts) >= maxParts {
		return
	}
	s.parts[chunk] = n
}

// endWriters ends all writers with err, after their writes in progress. s.ended or s.sealing is set, so no new one
// comes.
func (s *Stage) endWriters(err error) {
	for {
		s.mu.Lock()
		var w *ChunkWriter
		for _, w = range s.writers {
			break
		}
		s.mu.Unlock()
		if w == nil {
			return
		}
		w.end(err)
	}
}

// end parks the stage for whoever comes next, which its users learn as why. The caller holds the key, or nobody else
// can have it.
func (s *Stage) end(why error) error {
	s.mu.Lock()
	if s.ended == nil {
		s.ended = why // guard of I5: from here on a Claim or Finish changes nothing
	}
	s.mu.Unlock()
	s.endWriters(why)
	s.op.Lock()
	defer s.op.Unlock()
	return s.park()
}

// Park makes all that is held durable, with the prefixes of chunks that were begun, and closes the stage, which stays
// on the disk for the next Begin. Where nothing is held it is removed. After Park every method returns
// ErrClosed; Park itself may be called again.
func (s *Stage) Park() error { return s.end(ErrClosed) }

// park does the work of Park. s.op is held, s.ended is set, no writer is left.
func (s *Stage) park() error {
	if s.data == nil {
		return nil
	}
	s.mu.Lock()
	empty := s.held.n == 0 && len(s.parts) == 0 && !s.forward
	dead := s.dead
	s.mu.Unlock()
	switch {
	case s.published:
		s.close()
		return nil
	case empty, dead != nil && s.renamed && s.d.isLost(s.dir):
		return errors.Join(dead, s.discard())
	case dead != nil:
		s.close()
		return dead
	}
	_, err := s.checkpoint(true)
	if err == nil && !s.watch.disturbed(s.data) {
		s.d.notePark(s)
	}
	s.close()
	return err
}

// Discard removes the stage with all that is held.
func (s *Stage) Discard() error {
	s.mu.Lock()
	if s.ended == nil {
		s.ended = ErrClosed
	}
	s.mu.Unlock()
	s.endWriters(ErrClosed)
	s.op.Lock()
	defer s.op.Unlock()
	if s.data == nil {
		return nil
	}
	return s.discard()
}

// discard removes the stage from the disk and closes it. s.op is held, or nobody knows s.
func (s *Stage) discard() error {
	var errs []error
	if s.dir != "" {
		errs = append(errs, s.remove(s.dir))
	}
	errs = append(errs, s.removeKey())
	s.close()
	return errors.Join(errs...)
}

// removeKey removes the directory of the key, if nothing but the lock is in it, and gives the lock up. The lock's
// name goes first: who opened it before and locks it later sees that it is gone (durable.FS.Lock).
func (s *Stage) removeKey() error {
	if s.unlock == nil {
		return nil
	}
	entries, err := s.d.fs.ReadDir(s.keyDir)
	if err == nil && len(entries) == 1 {
		err = s.d.fs.Remove(s.keyDir + "/lock")
		if err == nil {
			_ = s.d.fs.Remove(s.keyDir) // another process may have a new lock in it
			if s.away() {
				s.d.dropAway(s.id.key)
			}
		}
	}
	err2 := s.unlock()
	s.unlock = nil
	return errors.Join(err, err2)
}

// closeFiles closes the two files.
func (s *Stage) closeFiles() {
	if s.data != nil {
		_ = s.data.Close() // synced before, or worth nothing
		s.data = nil
	}
	if s.journal != nil && s.journal.f != nil {
		_ = s.journal.f.Close()
		s.journal.f = nil
	}
}

// close gives up the files and the lock.
func (s *Stage) close() {
	s.closeFiles()
	if s.unlock != nil {
		_ = s.unlock()
		s.unlock = nil
	}
	s.d.forget(s)
}
