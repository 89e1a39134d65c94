package sink

import (
	"context"

	"xfer/transfer/durable"
)

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
			if s.zeros.has(c) { // a hole is looked at again in any case, and there may be millions
				continue
			}
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
	s.syncing.moveRange(&s.durable, 0, s.syncing.max()+1)
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
