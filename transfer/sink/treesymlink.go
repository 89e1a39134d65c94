package sink

import (
	"crypto/rand"
	"errors"
	"io/fs"
	"strconv"
	"syscall"

	"xfer/transfer/durable"
)

// takeSymlink makes a symbolic link, or finds it.
func (t *Tree) takeSymlink(l *level, e *TreeEntry) Verdict {
	fi, err := t.lookup(l, e.Name)
	switch {
	case err != nil:
		return t.failed(err)
	case fi == nil && t.spec.Existing:
		return Verdict{Code: VerdictSkip}
	case fi == nil && t.spec.DryRun:
		return Verdict{Code: VerdictMade}
	}
	if fi == nil {
		if err := t.ready(l); err != nil {
			return t.failed(err)
		}
		err := t.placeLink(l, e, false)
		switch {
		case err == nil:
			return Verdict{Code: VerdictMade}
		case !errors.Is(err, fs.ErrExist):
			return t.failed(err)
		}
		// The client may not know, or somebody was faster.
		if fi, err = l.fs.Lstat(e.Name); err != nil {
			return t.failed(err)
		}
	}
	v := t.linkThere(l, e, fi)
	if t.blind && v.Code != VerdictFailed {
		v.Code = VerdictMade
	}
	return v
}

// linkThere takes up what has the name of a symbolic link.
func (t *Tree) linkThere(l *level, e *TreeEntry, fi fs.FileInfo) Verdict {
	switch {
	case fi.IsDir():
		return t.failed(pathError("symlink", e.Name, ErrIsDir))
	case fi.Mode()&fs.ModeSymlink != 0:
		target, err := l.fs.Readlink(e.Name)
		if err != nil {
			return t.failed(err)
		}
		if target == e.Target {
			l.dir.young = l.dir.young || t.isYoung(fi)
			return t.same(l.fs, e.Name, fi, e.Meta)
		}
	}
	switch {
	case t.spec.IgnoreExisting:
		return Verdict{Code: VerdictSkip}
	case t.noReplace: // guard of I11
		return t.failed(existError(e.Name))
	case t.spec.DryRun:
		return Verdict{Code: VerdictUpdate}
	}
	if err := t.ready(l); err != nil {
		return t.failed(err)
	}
	if t.backup {
		if _, err := t.keepOne(l.dir, l.fs, e.Name, true); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return t.failed(err)
		}
	}
	if err := t.placeLink(l, e, true); err != nil {
		return t.failed(err)
	}
	return Verdict{Code: VerdictMade}
}

// placeLink makes a link under another name, and renames it: it is there with its time or not at all, and the name is never
// without either. While names become links nobody else follows them (see Dir.ns).
func (t *Tree) placeLink(l *level, e *TreeEntry, replace bool) error {
	from, name := l.fs, durable.TempPrefix+rand.Text()
	if !t.cache.isAway(l.dir) {
		dir, err := t.temp.need(t)
		if err != nil {
			return err
		}
		t.linkSeq++
		from, name = dir, "link"+strconv.FormatUint(t.linkSeq, 36)
	}
	if err := from.Symlink(e.Target, name); err != nil {
		return err
	}
	err := t.set(e.Meta, from, name, true)
	if err == nil {
		t.d.ns.Lock()
		err = from.RenameTo(name, l.fs, e.Name, replace)
		t.d.ns.Unlock()
	}
	if err == nil {
		return nil
	}
	_ = from.Remove(name)
	if errors.Is(err, syscall.EXDEV) && from != l.fs { // a mount of the same device
		t.cache.setAway(l.dir)
		return t.placeLink(l, e, replace)
	}
	return err
}
