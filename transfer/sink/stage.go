package sink

import (
	"context"
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
	epoch                 uint64
	chunkSize             int64
	chunks                int64 // -1: size unknown
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

// Dirty returns the bytes held that no Checkpoint has covered, and since when the oldest of them is there.
func (s *Stage) Dirty() (bytes int64, since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dirty, s.since
}

// CVs returns the CVs of count chunks from first on, at most 65536; of chunks that are not held the zero CV.
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
		if c := first + int64(i); s.held.has(c) {
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
	var rs []record
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
	s.held.add(chunk)
	s.cvs.set(chunk, cv, s.journal.records-1)
	s.bytes += n
	s.pending.add(chunk)
	if s.dirty == 0 {
		s.since = s.d.o.Now()
	}
	s.dirty += n
	delete(s.parts, chunk)
	delete(s.noted, chunk)
	return nil
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
	if err == nil {
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

// failed ends all acknowledging after a failed sync: what no MARK covers is struck out of the journal, so that
// the next Begin asks for it again. s.mu is not held.
func (s *Stage) failed(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead != nil {
		return s.dead
	}
	s.dead = err
	var rs []record
	for _, set := range []*bitset{&s.syncing, &s.pending} {
		for c := set.next(0); c >= 0; c = set.next(c + 1) {
			rs = append(rs, record{kind: recDrop, index: uint64(c)})
		}
	}
	for c := range s.noted {
		rs = append(rs, record{kind: recPart, index: uint64(c)})
	}
	if len(rs) > 0 && s.journal.append(rs...) != nil {
		// Not even that. Then the whole stage is not to be believed.
		s.d.setLost(s.dir)
	}
	return err
}

// Checkpoint makes all that is held durable and returns it: what is in the result is held after power loss (I2).
// With Durability None nothing is synced and nothing returned. An error that is a *SyncError, like any other of the
// journal, ends the stage: nothing is acknowledged any more, Park closes it, and Begin finds what was durable before.
func (s *Stage) Checkpoint(ctx context.Context) ([]Range, error) {
	s.op.Lock()
	defer s.op.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	err := s.ended
	if err == nil {
		err = s.dead
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return s.checkpoint(false)
}

// partEach is after how many new bytes a Checkpoint notes the prefix of a chunk whose writer is at work.
const partEach = 1 << 20

// checkpoint is the group commit. The order is I3: what a MARK covers was written before the data sync began, and the
// MARK is written after it ended. s.op is held.
func (s *Stage) checkpoint(parking bool) ([]Range, error) {
	if s.spec.Durability == None {
		return nil, s.checkpointUnsynced()
	}
	s.mu.Lock()
	parts := s.partRecords(parking)
	if s.pending.n == 0 && len(parts) == 0 {
		defer s.mu.Unlock()
		return s.durable.ranges(), nil
	}
	covered := s.journal.records
	s.syncing, s.pending = s.pending, bitset{}
	dirty, began := s.dirty, s.d.o.Now()
	s.mu.Unlock()

	if err := s.data.SyncData(); err != nil {
		return nil, s.failed(syncError("data", err))
	}
	if err := s.syncNames(); err != nil {
		return nil, s.failed(err)
	}
	s.mu.Lock()
	err := s.journal.append(append(parts, record{kind: recMark, index: uint64(covered)})...)
	if err != nil {
		s.dead = err
	}
	f := s.journal.f
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := f.SyncData(); err != nil {
		return nil, s.failed(syncError("journal", err))
	}

	s.mu.Lock()
	s.notePartRecords(parts)
	for c := s.syncing.next(0); c >= 0; c = s.syncing.next(c + 1) {
		s.durable.add(c)
	}
	s.syncing = bitset{}
	s.dirty -= dirty
	s.since = began
	all := s.durable.ranges()
	s.mu.Unlock()
	return all, s.compactIfLong()
}

// checkpointUnsynced notes prefixes, no more.
func (s *Stage) checkpointUnsynced() error {
	if err := s.noteParts(); err != nil {
		return err
	}
	return s.compactIfLong()
}

func (s *Stage) noteParts() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dirty = 0
	rs := s.partRecords(true)
	if len(rs) == 0 {
		return nil
	}
	if err := s.journal.append(rs...); err != nil {
		s.dead = err
		return err
	}
	s.notePartRecords(rs)
	return nil
}

// partRecords returns records of the prefixes that the journal does not know. s.mu is held.
func (s *Stage) partRecords(parking bool) []record {
	var rs []record
	for c, n := range s.parts {
		if s.noted[c] != n {
			rs = append(rs, record{kind: recPart, index: uint64(c), body: bodyOf(uint64(n))})
		}
	}
	if parking {
		return rs
	}
	for c, w := range s.writers {
		if n := w.stored.Load(); !w.dup && n >= s.noted[c]+partEach {
			rs = append(rs, record{kind: recPart, index: uint64(c), body: bodyOf(uint64(n))})
		}
	}
	return rs
}

// notePartRecords remembers what the journal says now. s.mu is held.
func (s *Stage) notePartRecords(rs []record) {
	for _, r := range rs {
		if n, _ := r.number(); n > 0 && !s.held.has(int64(r.index)) {
			s.noted[int64(r.index)] = int64(n)
		}
	}
}

// syncNames makes the names of the two files durable, and of the directories above them, once in the stage's life.
func (s *Stage) syncNames() error {
	if s.linked {
		return nil
	}
	above := s.above
	if above == nil {
		as, err := s.d.stateAncestors(stateDir, stagesDir)
		if err != nil {
			return err
		}
		above = as
	}
	if err := s.d.syncAbove(above); err != nil {
		return err
	}
	for _, dir := range []string{durable.Dir(s.keyDir), s.keyDir, s.dir} {
		if err := s.d.syncDir(dir); err != nil {
			return err
		}
	}
	s.linked = true
	return nil
}
