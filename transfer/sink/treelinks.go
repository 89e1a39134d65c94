package sink

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"sync"
	"syscall"

	"xfer/crypto"
	"xfer/transfer/durable"
)

var errSpool = errors.New("list is damaged")

// sharedFiles are the files that later entries may be hard links to: where they are, and whether they are there. They are in
// the order of their numbers. Safe for concurrent use.
type sharedFiles struct {
	t     *Tree
	names *spool // state u8, length u16, path beneath the top
	index *spool // number u64, place in names u64: 16 bytes each

	mu   sync.Mutex // orders add
	full bool       // of a plan: not all are noted. It is of the goroutine that calls Take
}

// What a file of the list is.
const (
	sharedAwaited byte = iota // not there yet
	sharedThere
	sharedLeft // left as it is by a rule: it may be another file than the sender has, and the next of its names stands for it
)

func (s *sharedFiles) init(t *Tree) {
	s.t, s.names, s.index = t, t.newSpool("files"), t.newSpool("files.index")
}

func (s *sharedFiles) close() error { return errors.Join(s.names.close(), s.index.close()) }

// add notes where the file of entry no is to be, and whether it is there: mark says so later. A plan, which may write nothing, takes only so many: at is
// -1 for one that is not noted.
func (s *sharedFiles) add(no uint64, path string, state byte) (at int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.t.spec.DryRun && max(s.names.len(), s.index.len())+int64(len(path))+16 > int64(s.t.max.spool) {
		s.full = true
		return -1, nil
	}
	b := append(binary.BigEndian.AppendUint16([]byte{state}, uint16(len(path))), path...)
	at, err = s.names.append(b)
	i, known, err2 := s.search(no)
	switch err = errors.Join(err, err2); {
	case err != nil:
	case known: // it was left, and another name stands for it
		err = s.index.set(i*16+8, binary.BigEndian.AppendUint64(nil, uint64(at)))
	default:
		_, err = s.index.append(binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, no), uint64(at)))
	}
	if err != nil {
		s.t.fault(err)
	}
	return at, err
}

// mark says that the file noted at is there; -1 is none.
func (s *sharedFiles) mark(at int64) {
	if at < 0 {
		return
	}
	if err := s.names.set(at, []byte{sharedThere}); err != nil {
		s.t.fault(err)
	}
}

// look finds where entry no is noted.
func (s *sharedFiles) look(no uint64) (at int64, known bool, err error) {
	i, known, err := s.search(no)
	if err != nil || !known {
		return 0, false, err
	}
	var b [8]byte
	_, err = s.index.ReadAt(b[:], i*16+8)
	return int64(binary.BigEndian.Uint64(b[:])), err == nil, err
}

// search finds the record of entry no in the index.
func (s *sharedFiles) search(no uint64) (i int64, known bool, err error) {
	end := s.index.len() / 16
	lo, hi := int64(0), end
	var b [8]byte
	number := func(i int64) uint64 {
		if err == nil {
			_, err = s.index.ReadAt(b[:], i*16)
		}
		return binary.BigEndian.Uint64(b[:])
	}
	if end == 0 || number(end-1) < no { // the newest, in most cases
		return end, false, err
	}
	for lo < hi && err == nil {
		if mid := (lo + hi) / 2; number(mid) < no {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, err == nil && number(lo) == no, err
}

// read returns what is noted at a place.
func (s *sharedFiles) read(at int64) (path string, state byte, err error) {
	r := io.NewSectionReader(s.names, at, 3+maxPathBytes)
	var head [3]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", 0, err
	}
	path, err = readString(r, uint64(binary.BigEndian.Uint16(head[1:])))
	return path, head[0], err
}

// find returns the path of entry no, if it is there.
func (s *sharedFiles) find(no uint64) (string, error) {
	at, known, err := s.look(no)
	if err != nil {
		return "", err
	}
	if known {
		path, state, err := s.read(at)
		if err != nil || state == sharedThere {
			return path, err
		}
	}
	return "", fmt.Errorf("entry %d, which it is a hard link to: %w", no, fs.ErrNotExist)
}

// takeLink notes a hard link, which is made at the end: the file may still be on its way. One that is there already needs nothing.
func (t *Tree) takeLink(l *level, e *TreeEntry) Verdict {
	to, known, err := t.shared.look(e.Link)
	if err != nil {
		return t.failed(t.fault(err))
	}
	if !known && !t.shared.full { // it was left out, has failed, or is none
		return t.takeFile(l, e)
	}
	path, state := "", sharedAwaited
	if known {
		if path, state, err = t.shared.read(to); err != nil {
			return t.failed(t.fault(err))
		}
	}
	if state == sharedLeft {
		e.stands = e.Link
		return t.takeFile(l, e)
	}
	fi, err := t.lookup(l, e.Name)
	switch {
	case err != nil:
		return t.failed(err)
	case fi == nil && t.spec.Existing, fi != nil && t.spec.IgnoreExisting:
		return Verdict{Code: VerdictSkip}
	case fi != nil && fi.IsDir():
		return t.failed(pathError("link", e.Name, ErrIsDir))
	case fi != nil && state == sharedThere && t.isOne(path, fi):
		l.dir.young = l.dir.young || t.isYoung(fi)
		if err := t.leads(l, e, sharedThere); err != nil {
			return t.failed(err)
		}
		if err := t.listLink(t.relative(l.dir, e.Name)); err != nil {
			return t.failed(err)
		}
		return Verdict{Code: VerdictSame}
	case fi != nil && t.isNewer(e, fi):
		return Verdict{Code: VerdictSkip}
	case t.spec.DryRun:
		return Verdict{Code: VerdictLinked}
	}
	if err := t.ready(l); err != nil {
		return t.failed(err)
	}
	path = t.relative(l.dir, e.Name)
	b := binary.AppendUvarint(nil, e.No)
	b = binary.AppendUvarint(b, e.Link)
	b = binary.AppendUvarint(b, uint64(len(path)))
	if _, err := t.links.append(append(b, path...)); err != nil {
		t.fault(err)
		return t.failed(err)
	}
	if e.Shared { // a link to a link is one to the same file; makeLinks comes to it first, in the order of numbers
		if _, err := t.shared.add(e.No, path, sharedAwaited); err != nil {
			return t.failed(err)
		}
	}
	return Verdict{Code: VerdictLinked}
}

// isOne tells whether the file fi is the one that is at path beneath the top.
func (t *Tree) isOne(path string, fi fs.FileInfo) bool {
	if !fi.Mode().IsRegular() {
		return false
	}
	at, err := t.d.locate(t.beneathTop(path), 0)
	return err == nil && at.info != nil && durable.SameFile(at.info, fi)
}

// makeLinks makes the hard links.
func (t *Tree) makeLinks() error {
	r := t.links.reader()
	for {
		no, err := binary.ReadUvarint(r)
		if err == io.EOF {
			return nil
		}
		to, err2 := binary.ReadUvarint(r)
		n, err3 := binary.ReadUvarint(r)
		if err = errors.Join(err, err2, err3); err != nil {
			return err
		}
		name, err := readString(r, n)
		if err != nil {
			return err
		}
		if err := t.usable(); err != nil {
			return err
		}
		if err = t.makeLink(to, name); err == nil {
			err = t.listLink(name)
		}
		if err == nil {
			t.Came(no) // not before: what had the name may be anybody's
		}
		if err != nil {
			err = pathError("link", t.beneathTop(name).String(), err)
		}
		t.count(func(r *TreeResult) {
			if err != nil {
				r.Failed++
			} else {
				r.Linked++
			}
		})
		t.tell(no, t.hide(err))
		t.busy()
	}
}

// listLink tells of a hard link that is there. Its file is read: of where it was noted the hash was not.
func (t *Tree) listLink(name string) error {
	if t.spec.There == nil || t.spec.DryRun {
		return nil
	}
	at, err := t.d.locate(t.beneathTop(name), 0)
	if err != nil {
		return err
	}
	f, err := durable.OpenRegular(t.d.fs, at.name)
	if err != nil {
		return err
	}
	defer f.Close()
	root, size, err := hashFile(t.ctx, f, t.busy)
	if err == nil {
		t.spec.There(name, size, root)
	}
	return err
}

func (t *Tree) beneathTop(name string) Path {
	return Path{parts: append(t.spec.Path.Parts(), pathOf(name).parts...)}
}

// makeLink gives the file of entry to the name, a path beneath the top, as well.
func (t *Tree) makeLink(to uint64, name string) error {
	at, err := t.shared.find(to)
	if err != nil {
		return err
	}
	from, p := t.beneathTop(at), t.beneathTop(name)
	for range 3 {
		a, b, err := t.tryLink(from, p)
		if err != nil || b.info == nil {
			return err
		}
		if t.noReplace { // guard of I11
			return t.sameFiles(a, b)
		}
		if t.backup {
			if err := t.keepFor(p, name, b.info); err != nil {
				return fmt.Errorf("keep the old file: %w", err)
			}
		}
		if err := t.linkOverFile(from, p, b.info); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return fmt.Errorf("link %q: names are changed all the time: %w", p.String(), ErrBusy)
}

// keepFor is keepOne for the file old at p, which is name beneath the top.
func (t *Tree) keepFor(p Path, name string, old fs.FileInfo) error {
	keep, err := NewPath(append(t.spec.Backup.Parts(), pathOf(name).parts...)...)
	if err != nil {
		return err
	}
	at, err := t.d.keepAt(p, old, keep)
	if err == nil && t.spec.Durability != None {
		err = t.d.syncSpot(at)
	}
	return err
}

// tryLink makes the link where nothing is in the way: then the info of b, where the link is to be, is nil. Otherwise that is
// what is there.
func (t *Tree) tryLink(from, p Path) (a, b spot, err error) {
	d := t.d
	d.ns.RLock()
	defer d.ns.RUnlock()
	a, b, err = t.resolveBoth(from, p)
	switch {
	case err != nil:
	case b.info == nil:
		if err = d.fs.Link(a.name, b.name); err == nil {
			t.changed.Store(true)
		}
	case durable.SameFile(a.info, b.info):
		b.info = nil
	case b.info.IsDir():
		err = pathError("link", p.String(), ErrIsDir)
	}
	return a, b, err
}

// resolveBoth finds the file from, and p, where it is to have another name. The lock on names is held.
func (t *Tree) resolveBoth(from, p Path) (a, b spot, err error) {
	if a, err = t.d.resolve(from, 0); err == nil && (a.info == nil || !a.info.Mode().IsRegular()) {
		err = pathError("link", from.String(), fs.ErrNotExist)
	}
	if err == nil {
		b, err = t.d.resolve(p, 0)
	}
	return a, b, err
}

// linkOverFile replaces old by a link, which is made under another name first.
func (t *Tree) linkOverFile(from, p Path, old fs.FileInfo) error {
	d := t.d
	d.ns.RLock()
	defer d.ns.RUnlock()
	a, b, err := t.resolveBoth(from, p)
	if err != nil {
		return err
	}
	if b.info != nil && t.backup && !durable.SameFile(b.info, old) {
		return fmt.Errorf("%q was replaced meanwhile: %w", p.String(), ErrBusy)
	}
	if _, err := t.temp.need(t); err != nil {
		return err
	}
	t.linkSeq++
	temp := t.temp.dir + "/link" + strconv.FormatUint(t.linkSeq, 36)
	err = d.fs.Link(a.name, temp)
	if errors.Is(err, syscall.EXDEV) {
		temp = b.parent + "/" + durable.TempPrefix + rand.Text()
		err = d.fs.Link(a.name, temp)
	}
	if err != nil {
		return err
	}
	t.changed.Store(true)
	if err = d.fs.Rename(temp, b.name); err != nil {
		_ = d.fs.Remove(temp)
	}
	return err
}

// sameFiles is nil where b, which may not be replaced, has the content of a.
func (t *Tree) sameFiles(a, b spot) error {
	if !b.info.Mode().IsRegular() || a.info.Size() != b.info.Size() {
		return existError(b.name)
	}
	x, err := t.hashName(a.name)
	if err != nil {
		return err
	}
	y, err := t.hashName(b.name)
	if err == nil && x != y {
		err = existError(b.name)
	}
	return err
}

func (t *Tree) hashName(name string) (crypto.Digest, error) {
	f, err := durable.OpenRegular(t.d.fs, name)
	if err != nil {
		return crypto.Digest{}, err
	}
	defer f.Close()
	root, _, err := hashFile(t.ctx, f, t.busy)
	if err == nil && t.spec.Durability != None {
		err = f.Sync()
	}
	return root, err
}
