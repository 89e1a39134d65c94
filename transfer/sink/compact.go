package sink

import (
	"fmt"
	"os"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// span is how many chunks a journal of s speaks of.
func (s *Stage) span() int64 {
	if s.chunks < 0 {
		return s.held.max() + 1
	}
	return s.chunks
}

// compactIfLong rewrites the journal when it has become much longer than what it says. s.op is held.
func (s *Stage) compactIfLong() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.journal.records <= maxRecords(s.span())/2 {
		return nil
	}
	if err := s.compact(); err != nil {
		s.dead = fmt.Errorf("rewrite journal: %w", err)
		return s.dead
	}
	return nil
}

// compact writes the journal anew and puts it in place of the old one. s.mu is held, though the disk is waited for: it
// happens once in thousands of records.
func (s *Stage) compact() (err error) {
	const name = "journal.new"
	fsys := s.d.fs
	if err := fsys.RemoveAll(s.dir + "/" + name); err != nil {
		return err
	}
	f, err := fsys.OpenFile(s.dir+"/"+name, os.O_RDWR|os.O_CREATE|os.O_EXCL|durable.NoFollow, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	b := appendHeader(nil, s.header())
	if err := writeAt(f, b, 0); err != nil {
		return err
	}
	j := &journal{f: f, start: int64(len(b))}
	recs := make(map[int64]int64)
	write := func(set *bitset) error {
		for c := set.next(0); c >= 0; c = set.next(c + 1) {
			if s.zeros.has(c) {
				n := min(set.end(c), s.zeros.end(c)) - c
				if err := j.append(record{kind: recZero, index: uint64(c), body: bodyOf(uint64(n))}); err != nil {
					return err
				}
				c += n - 1
				continue
			}
			cv, err := s.cvs.get(c, s.journal)
			if err != nil {
				return err
			}
			if s.cvs.onDisk {
				recs[c] = j.records
			}
			if err := j.append(record{kind: recChunk, index: uint64(c), body: cv}); err != nil {
				return err
			}
		}
		return nil
	}
	if err := j.append(s.epochRecord()); err != nil {
		return err
	}
	if s.last >= 0 {
		if err := j.append(record{kind: recLast, index: uint64(s.last), body: bodyOf(uint64(s.lastLen))}); err != nil {
			return err
		}
	}
	if err := write(&s.durable); err != nil {
		return err
	}
	if err := j.append(record{kind: recMark, index: uint64(j.records)}); err != nil {
		return err
	}
	if err := write(&s.pending); err != nil {
		return err
	}
	for c, n := range s.noted {
		if err := j.append(record{kind: recPart, index: uint64(c), body: bodyOf(uint64(n))}); err != nil {
			return err
		}
	}
	if err := f.SyncData(); err != nil {
		return syncError("journal", err)
	}
	if err := fsys.Rename(s.dir+"/"+name, s.journalName); err != nil {
		return err
	}
	if err := s.d.syncDir(s.dir); err != nil {
		return err
	}
	_ = s.journal.f.Close()
	s.journal = j
	for c, r := range recs {
		s.cvs.set(c, crypto.CV{}, r)
	}
	return nil
}
