package sink

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"xfer/transfer/durable"
)

// fileNote is what tells whether a file is still what it was.
type fileNote struct {
	id    durable.ID
	size  int64
	mtime int64
}

func noteOf(fi fs.FileInfo) fileNote {
	id, _ := durable.IDOf(fi)
	return fileNote{id: id, size: fi.Size(), mtime: fi.ModTime().UnixNano()}
}

// parkNote is what the two files of a stage were when this process parked it.
type parkNote struct{ data, journal fileNote }

const maxNotes = 1 << 14

// notePark remembers s as it is, before its files are closed.
func (d *Dir) notePark(s *Stage) {
	a, errA := s.data.Stat()
	b, errB := s.journal.f.Stat()
	if errA != nil || errB != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.notes) >= maxNotes {
		for name := range d.notes { // any: its stage is re-hashed, no more
			delete(d.notes, name)
			break
		}
	}
	d.notes[s.dir] = parkNote{data: noteOf(a), journal: noteOf(b)}
}

// takeNote returns and forgets what is known of the parked stage in dir.
func (d *Dir) takeNote(dir string) (parkNote, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, ok := d.notes[dir]
	delete(d.notes, dir)
	return n, ok
}

func (d *Dir) isLost(dir string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lost[dir]
}

func (d *Dir) setLost(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lost[dir] = true
}

// forgetStage is called when the stage in dir is removed.
func (d *Dir) forgetStage(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.notes, dir)
	delete(d.lost, dir)
}

// orUnusable turns errors that will not go away by themselves into errUnusable. What may pass, as too many open files,
// stays what it is: a stage is not given up for that.
func orUnusable(err error) error {
	for _, e := range []error{fs.ErrNotExist, fs.ErrPermission, durable.ErrNotRegular, errJournal, errLater,
		syscall.EIO, syscall.ENOTDIR, syscall.ELOOP} {
		if errors.Is(err, e) {
			return errUnusable
		}
	}
	return err
}

// errUnusable: what is on the disk is no stage that may be taken up. It is removed, and all is sent again.
var errUnusable = errors.New("stage is not usable")

// load takes up the stage in s.dir. It is false where there is none that is usable; then create removes what is there.
func (s *Stage) load(ctx context.Context) (bool, error) {
	fi, err := s.d.fs.Lstat(s.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && !fi.IsDir():
		return false, nil
	case err != nil:
		return false, err
	}
	l := loader{s: s}
	err = l.run(ctx)
	if err == nil {
		return true, nil
	}
	s.closeFiles()
	s.held, s.cvs.cvs, s.cvs.recs, s.durable, s.pending = bitset{}, nil, nil, bitset{}, bitset{}
	s.zeros, s.loaded = bitset{}, false
	s.bytes, s.last, s.lastLen, s.epoch, s.forward = 0, -1, 0, 0, false
	clear(s.parts)
	clear(s.noted)
	if errors.Is(err, errUnusable) {
		return false, nil
	}
	return false, err
}

// loader reads a journal into a Stage that nobody else knows yet.
type loader struct {
	s       *Stage
	epoch   uint64
	process [16]byte
	recent  []claim // CHUNK records that no MARK covers, oldest first
}

type claim struct{ chunk, count, rec int64 }

// maxRecent bounds what is remembered between two MARKs. Of what is beyond it is not known that it is durable.
const maxRecent = 1 << 16

// maxZeros is of how many chunks all ZERO records of such a journal together may speak.
func maxZeros(chunks int64) int64 { return 4 * chunks }

// maxRecords is how many records a journal of so many chunks may have. It is rewritten before (compact).
func maxRecords(chunks int64) int64 { return 4*chunks + 4096 }

func (l *loader) run(ctx context.Context) error {
	s := l.s
	if err := l.openJournal(); err != nil {
		return err
	}
	if err := l.scan(); err != nil {
		return err
	}
	err := l.openData()
	if err != nil {
		return err
	}
	note, noted := s.d.takeNote(s.dir)
	trusted := noted && l.process == s.d.process && !s.forward && l.matches(note)
	var drops []record
	if !trusted {
		if s.sparse && !s.forward {
			// A power cut may have cut off a hole at the end.
			if err := s.stretch(); err != nil {
				return err
			}
		}
		if drops, err = l.verify(ctx); err != nil {
			return err
		}
	}
	if s.forward && (len(drops) > 0 || !s.whole()) {
		return errUnusable
	}
	s.epoch = l.epoch + 1
	if err := s.journal.append(append(drops, s.epochRecord())...); err != nil {
		return err
	}
	if s.forward {
		return nil
	}
	s.loaded = true
	if s.journal.records > maxRecords(s.span())/2 || s.journal.zeros > maxZeros(s.span())/2 {
		if err := s.compact(); err != nil {
			return err
		}
	}
	return s.allocate()
}

// openJournal opens the journal and checks whose it is.
func (l *loader) openJournal() error {
	s := l.s
	f, err := openOwn(s.d.fs, s.journalName)
	if err != nil {
		return orUnusable(err)
	}
	s.journal = &journal{f: f}
	h, n, err := readHeader(f)
	if err != nil {
		return orUnusable(err)
	}
	if !h.equal(s.header()) {
		return errUnusable
	}
	s.journal.start = int64(n)
	return nil
}

// openOwn opens one of our own files for reading and writing. Its mode may be what the published file is to have.
func openOwn(fsys durable.FS, name string) (durable.File, error) {
	f, err := durable.OpenRegularFlag(fsys, name, os.O_RDWR)
	if errors.Is(err, fs.ErrPermission) {
		if fi, e := fsys.Lstat(name); e != nil || !fi.Mode().IsRegular() {
			return nil, err
		}
		if err := fsys.Chmod(name, 0o600); err != nil {
			return nil, err
		}
		f, err = durable.OpenRegularFlag(fsys, name, os.O_RDWR)
	}
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil && links(fi) > 1 { // guard of I8: it is somebody else's file as well
		err = errUnusable
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// scan reads the records. What cannot be read is cut off.
func (l *loader) scan() error {
	s := l.s
	fi, err := s.journal.f.Stat()
	if err != nil {
		return err
	}
	chunks := s.chunks
	if chunks < 0 {
		chunks = maxUnknownChunks
	}
	limit := maxRecords(chunks)
	if fi.Size() > s.journal.start+limit*recordLen+recordLen-1 {
		return errUnusable
	}
	n, err := scanRecords(s.journal.f, s.journal.start, limit, l.take)
	if err != nil {
		return orUnusable(err)
	}
	if s.last >= 0 && !s.held.has(s.last) {
		s.last, s.lastLen = -1, 0
	}
	s.journal.records = n
	if end := s.journal.start + n*recordLen; fi.Size() != end {
		if err := s.journal.f.Truncate(end); err != nil {
			return err
		}
	}
	return nil
}

// take applies record number i. A record that makes no sense ends the journal like a torn one.
func (l *loader) take(i int64, r record) bool {
	s := l.s
	chunk := int64(r.index)
	switch r.kind {
	case recChunk, recPart, recDrop, recLast:
		if r.index > maxChunks || s.chunkLimit(chunk) == 0 {
			return false
		}
	}
	n, exact := r.number()
	switch r.kind {
	case recChunk:
		if !s.held.has(chunk) {
			s.bytes += s.chunkLimit(chunk)
		}
		s.held.add(chunk)
		s.zeros.remove(chunk)
		s.cvs.set(chunk, r.body, i)
		s.pending.add(chunk)
		s.durable.remove(chunk)
		delete(s.parts, chunk)
		delete(s.noted, chunk)
		l.claimed(claim{chunk, 1, i})
	case recZero:
		if !s.sparse || !exact || n == 0 || n > maxChunks || r.index > maxChunks || chunk+int64(n) > s.chunks ||
			s.journal.zeros+int64(n) > maxZeros(s.chunks) {
			return false
		}
		s.journal.zeros += int64(n)
		l.takeZeros(claim{chunk, int64(n), i})
	case recMark:
		if r.index > uint64(i) {
			return false
		}
		l.mark(int64(r.index))
	case recPart:
		if !exact || n > uint64(s.chunkLimit(chunk)) {
			return false
		}
		delete(s.parts, chunk)
		delete(s.noted, chunk)
		if n > 0 && !s.held.has(chunk) && len(s.parts) < maxParts {
			s.parts[chunk], s.noted[chunk] = int64(n), int64(n)
		}
	case recEpoch:
		if r.index > 1<<62 {
			return false
		}
		l.epoch = max(l.epoch, r.index)
		copy(l.process[:], r.body[8:])
	case recSeal: // says when, to who reads the journal: what a SEAL allows is allowed by the claims alone
	case recDrop:
		s.drop(chunk)
	case recLast:
		if s.chunks >= 0 || !exact || n == 0 || n > uint64(s.chunkSize) ||
			s.held.max() >= chunk || s.last >= 0 && s.held.has(s.last) {
			return false
		}
		s.last, s.lastLen = chunk, int64(n)
	default:
		return false
	}
	return true
}

// claimed remembers a claim until the next MARK.
func (l *loader) claimed(c claim) {
	if len(l.recent) < maxRecent {
		l.recent = append(l.recent, c)
	}
}

// takeZeros applies a ZERO record.
func (l *loader) takeZeros(c claim) {
	s := l.s
	s.bytes += s.sizeOf(c.chunk, c.count) - s.heldBytes(c.chunk, c.count)
	s.held.addRange(c.chunk, c.count)
	s.zeros.addRange(c.chunk, c.count)
	s.pending.addRange(c.chunk, c.count)
	s.durable.moveRange(nil, c.chunk, c.count)
	s.forgetParts(c.chunk, c.count)
	l.claimed(c)
}

// mark makes durable what the first n records say and no later one has taken back.
func (l *loader) mark(n int64) {
	k := 0
	for ; k < len(l.recent) && l.recent[k].rec < n; k++ {
		l.s.pending.moveRange(&l.s.durable, l.recent[k].chunk, l.recent[k].count) // pending is of held
	}
	l.recent = append(l.recent[:0], l.recent[k:]...)
}

// drop makes chunk missing again.
func (s *Stage) drop(chunk int64) {
	if s.held.has(chunk) {
		s.bytes -= s.chunkLimit(chunk)
	}
	s.held.remove(chunk)
	s.zeros.remove(chunk)
	s.pending.remove(chunk)
	s.durable.remove(chunk)
	if chunk == s.last {
		s.last, s.lastLen = -1, 0
	}
}

// openData opens the bytes: in the stage, or, where a whole stage has lost them, under the final name.
func (l *loader) openData() error {
	s := l.s
	f, err := openOwn(s.d.fs, s.dataName)
	if errors.Is(err, fs.ErrNotExist) && s.held.n > 0 && s.whole() {
		return l.openPublished()
	}
	if err != nil {
		return orUnusable(err)
	}
	s.data = f
	s.watch.mine()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if s.spec.Size >= 0 && fi.Size() > s.spec.Size {
		return errUnusable
	}
	// A crash may have left the published file under both names.
	if at, err := s.d.locate(s.spec.Path, 0); err == nil && at.info != nil && durable.SameFile(fi, at.info) { // guard of I8
		return errUnusable
	}
	return nil
}

// openPublished opens what is under the final name, in case the crash came after the rename.
func (l *loader) openPublished() error {
	s := l.s
	at, err := s.d.locate(s.spec.Path, 0)
	if err != nil || at.info == nil || !at.info.Mode().IsRegular() {
		return errUnusable
	}
	if s.data, err = durable.OpenRegular(s.d.fs, at.name); err != nil {
		return errUnusable
	}
	fi, err := s.data.Stat()
	if err != nil || fi.Size() != s.bytes || s.spec.Size >= 0 && fi.Size() != s.spec.Size {
		return errUnusable
	}
	s.forward, s.renamed = true, true
	return nil
}

// whole tells whether no chunk is missing. For an unknown size it means: none before the last that is held.
func (s *Stage) whole() bool {
	if s.chunks >= 0 {
		return s.held.n == s.chunks
	}
	return s.held.n == s.held.max()+1
}

// matches tells whether the files are what they were when they were parked.
func (l *loader) matches(n parkNote) bool {
	a, errA := l.s.data.Stat()
	b, errB := l.s.journal.f.Stat()
	return errA == nil && errB == nil && noteOf(a) == n.data && noteOf(b) == n.journal
}
