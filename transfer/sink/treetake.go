package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// level is a directory that entries are taken of.
type level struct {
	dir   *treeDir
	fs    durable.FS // pinned while it is the newest level; nil unless it is present
	last  string     // the newest entry
	names *nameList  // what was in it before, with Extra; nil otherwise
}

// Take compares the next entry of the manifest with what is there, makes directories and symbolic links, and answers. Errors of
// one entry are in its verdict; those beneath a directory that failed or is skipped share its lot.
//
// An entry whose name is none, or not behind the one before it, fails with ErrBadPath. Where it is not known in which directory
// an entry is (Up, No), or there is no Room (ErrBusy), it fails, and with it all that comes after it.
func (t *Tree) Take(e TreeEntry) Verdict {
	v := t.take(&e)
	if v.Code != VerdictHash {
		t.counted(&e, v)
	}
	t.busy()
	return v
}

// counted adds a verdict that is final, or on which a file is to come, to the counts.
func (t *Tree) counted(e *TreeEntry, v Verdict) {
	t.count(func(r *TreeResult) {
		switch v.Code {
		case VerdictSame, VerdictMeta:
			if v.Code == VerdictMeta {
				r.Meta++
			} else {
				r.Same++
			}
			if e.Kind == File {
				r.SameBytes += uint64(e.Size)
			}
		case VerdictMade:
			r.Made++
		case VerdictSkip:
			r.Skipped++
		case VerdictFailed:
			r.Failed++
		}
	})
}

func (t *Tree) failed(err error) Verdict { return Verdict{Code: VerdictFailed, Err: t.hide(err)} }

func (t *Tree) take(e *TreeEntry) Verdict {
	if err := t.usable(); err != nil {
		return t.failed(err)
	}
	if t.Room() <= 0 {
		return t.failed(t.fault(fmt.Errorf("too much is awaited: %w", ErrBusy)))
	}
	e.Meta = t.v.allow(e.Meta) // guard: what the rights do not allow is not set
	t.noteUnkept(e.Meta.knownLoss(e.Kind == File))
	if t.top == nil {
		return t.takeTop(e)
	}
	l, err := t.enter(e)
	if err != nil {
		return t.failed(t.fault(err))
	}
	nameErr := t.checkEntry(l, e)
	v, decided := Verdict{}, true
	switch {
	case l.dir.state == dirFailed:
		v = t.failed(fmt.Errorf("its directory failed: %w", l.dir.err))
	case l.dir.state == dirSkipped:
		v = Verdict{Code: VerdictSkip}
	case nameErr != nil:
		v = t.failed(nameErr)
	default:
		decided = false
	}
	switch {
	case e.Kind == Directory:
		v = t.takeDir(l, e, v, decided)
	case decided:
	case e.Kind == Link:
		v = t.takeSymlink(l, e)
	case e.Link != 0:
		v = t.takeLink(l, e)
	default:
		v = t.takeFile(l, e)
	}
	if !decided {
		t.blocked(l, e, v)
	}
	return v
}

// enter leaves the directories that the entry says are left, and returns the one that it is in.
func (t *Tree) enter(e *TreeEntry) (*level, error) {
	if e.Up < 0 || e.Up >= len(t.levels) {
		return nil, fmt.Errorf("entry %d leaves %d directories of %d: %w", e.No, e.Up, len(t.levels), ErrRange)
	}
	for range e.Up {
		t.leave()
	}
	if err := t.usable(); err != nil {
		return nil, err
	}
	l := t.levels[len(t.levels)-1]
	if e.No <= t.last {
		return nil, fmt.Errorf("entry %d after %d: %w", e.No, t.last, ErrRange)
	}
	t.last = e.No
	if l.dir.state == dirPresent && l.fs == nil {
		var err error
		if l.fs, err = t.cache.pin(l.dir); err != nil {
			l.dir.state, l.dir.err = dirFailed, err
		}
	}
	return l, nil
}

// checkEntry checks that the entry can be in l, behind the one before it, and tells of what lies between them here.
func (t *Tree) checkEntry(l *level, e *TreeEntry) error {
	top := l.dir.isRoot || l.dir.parent == nil && t.spec.Path.IsRoot()
	if err := checkName(e.Name, top); err != nil { // guard: our state is out of reach
		return err
	}
	if e.Name <= l.last {
		return fmt.Errorf("%w: %q does not come after %q", ErrBadPath, e.Name, l.last)
	}
	l.last = e.Name
	t.tellBefore(l, e.Name)
	switch {
	case l.dir.depth+1 > maxComponents:
		return fmt.Errorf("%w: %d components", ErrBadPath, l.dir.depth+1)
	case l.dir.bytes+1+len(e.Name) > maxPathBytes:
		return fmt.Errorf("%w: %d bytes", ErrBadPath, l.dir.bytes+1+len(e.Name))
	case e.Kind != File && e.Kind != Directory && e.Kind != Link:
		return fmt.Errorf("%w: kind %d", ErrRange, e.Kind)
	case e.Kind == File && e.Size < 0:
		return fmt.Errorf("%w: size %d", ErrRange, e.Size)
	case e.Kind == File && e.Link >= e.No:
		return fmt.Errorf("%w: a hard link to a later entry", ErrRange)
	case e.Kind == Link && (e.Target == "" || len(e.Target) > maxTarget || strings.IndexByte(e.Target, 0) >= 0):
		return fmt.Errorf("%w: target of %d bytes", ErrBadPath, len(e.Target))
	}
	return nil
}

// lookup says what has the name, nil for nothing. It does not look where nothing can be, or where the client may not know.
func (t *Tree) lookup(l *level, name string) (fs.FileInfo, error) {
	if t.blind || l.dir.made || l.dir.state == dirAbsent || l.names != nil && !l.names.has(name) {
		return nil, nil
	}
	fi, err := l.fs.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return fi, err
}

// takeFile decides whether a file is wanted.
func (t *Tree) takeFile(l *level, e *TreeEntry) Verdict {
	fi, err := t.lookup(l, e.Name)
	switch {
	case err != nil:
		return t.failed(err)
	case fi == nil && t.spec.Existing:
		return Verdict{Code: VerdictSkip}
	case fi == nil:
		return t.wantFile(l, e, VerdictNew)
	case fi.IsDir():
		return t.failed(pathError("publish", e.Name, ErrIsDir))
	case t.spec.IgnoreExisting:
		return t.skipFile(l, e)
	case !fi.Mode().IsRegular() && t.noReplace:
		return t.failed(existError(e.Name))
	case !fi.Mode().IsRegular():
		return t.wantFile(l, e, VerdictUpdate)
	case t.isNewer(e, fi):
		return t.skipFile(l, e)
	case fi.Size() != e.Size && t.noReplace:
		return t.failed(existError(e.Name))
	case fi.Size() != e.Size:
		return t.wantFile(l, e, VerdictUpdate)
	case e.Size == 0, t.spec.Compare == ByTime && e.Meta.HasMTime && t.sameTime(fi.ModTime(), e.Meta.MTime):
		return t.sameFile(l, e, fi)
	case t.v.rights&Get != 0 && (t.spec.Compare == ByContent || t.noReplace):
		return t.hashThere(l, e, fi)
	case t.noReplace: // compared when the content has come
		return t.wantFile(l, e, VerdictNew)
	}
	return t.wantFile(l, e, VerdictUpdate)
}

// isNewer tells whether the file fi that is there stays since it is newer.
func (t *Tree) isNewer(e *TreeEntry, fi fs.FileInfo) bool {
	return t.spec.Update && fi.Mode().IsRegular() && e.Meta.HasMTime && fi.ModTime().After(e.Meta.MTime)
}

// sameFile answers for a file that is there.
func (t *Tree) sameFile(l *level, e *TreeEntry, fi fs.FileInfo) Verdict {
	v := t.same(l.fs, e.Name, fi, e.Meta)
	l.dir.young = l.dir.young || t.isYoung(fi)
	if v.Code != VerdictFailed {
		if err := t.leads(l, e, sharedThere); err != nil {
			return t.failed(err)
		}
		if e.Size == 0 && !t.spec.DryRun { // of others the hash is not known, and nobody has asked
			t.there(l.dir, e.Name, 0, crypto.Sum(nil))
		}
	}
	return v
}

// leads notes that the file of the entry is there, for hard links to it.
func (t *Tree) leads(l *level, e *TreeEntry, state byte) error {
	no, ok := e.shares()
	if !ok {
		return nil
	}
	_, err := t.shared.add(no, t.relative(l.dir, e.Name), state)
	return err
}

// shares returns the number under which hard links refer to the file, if there may be any.
func (e *TreeEntry) shares() (no uint64, ok bool) {
	if e.stands != 0 {
		return e.stands, true
	}
	return e.No, e.Shared
}

// skipFile leaves a file as it is: no link to it would have the content that the sender has.
func (t *Tree) skipFile(l *level, e *TreeEntry) Verdict {
	if err := t.leads(l, e, sharedLeft); err != nil {
		return t.failed(err)
	}
	return Verdict{Code: VerdictSkip}
}

// wantFile notes that a file is to come. Its directory is made ready for it.
func (t *Tree) wantFile(l *level, e *TreeEntry, code VerdictCode) Verdict {
	if t.spec.DryRun {
		if _, err := t.expects(l, e); err != nil {
			return t.failed(err)
		}
		return Verdict{Code: code}
	}
	w := &wanted{no: e.No, dir: l.dir, name: e.Name, size: e.Size, meta: e.Meta, sparse: e.Sparse, state: wantOpen, shared: -1}
	if err := t.wantIn(l, e, w); err != nil {
		return t.failed(err)
	}
	return Verdict{Code: code}
}

// expects notes where the file of the entry is to be, for hard links to it; -1 where there are none.
func (t *Tree) expects(l *level, e *TreeEntry) (int64, error) {
	no, ok := e.shares()
	if !ok {
		return -1, nil
	}
	return t.shared.add(no, t.relative(l.dir, e.Name), sharedAwaited)
}

func (t *Tree) wantIn(l *level, e *TreeEntry, w *wanted) (err error) {
	if !t.spec.DryRun {
		if w.state == wantAsked {
			t.mayTouch(l.dir)
		} else {
			err = t.ready(l)
		}
		if err != nil {
			return err
		}
	}
	if w.shared, err = t.expects(l, e); err != nil {
		return err
	}
	t.want(w)
	return nil
}

// hashThere asks the sender whether the file that is there is the one that it has.
func (t *Tree) hashThere(l *level, e *TreeEntry, fi fs.FileInfo) Verdict {
	f, err := durable.OpenRegular(l.fs, e.Name)
	if err != nil {
		return t.failed(err)
	}
	defer f.Close()
	root, size, err := hashFile(t.ctx, f, t.spec.Busy)
	if err != nil {
		return t.failed(err)
	}
	if now, err := f.Stat(); err != nil || size != e.Size || !fileIDOf(fi).unchanged(now) {
		if t.noReplace {
			return t.failed(existError(e.Name))
		}
		return t.wantFile(l, e, VerdictUpdate)
	}
	w := &wanted{no: e.No, dir: l.dir, name: e.Name, size: e.Size, meta: e.Meta, sparse: e.Sparse, state: wantAsked, shared: -1, hashed: fileIDOf(fi), root: root}
	if err := t.wantIn(l, e, w); err != nil {
		return t.failed(err)
	}
	return Verdict{Code: VerdictHash, Root: root}
}

// relative is the path of name in d beneath the top.
func (t *Tree) relative(d *treeDir, name string) string {
	return strings.Join(append(d.parts(), name), "/")
}
