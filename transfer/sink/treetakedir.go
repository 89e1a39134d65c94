package sink

import (
	"errors"
	"fmt"
	"io/fs"
)

// specialBits are the bits of a directory's mode that no Meta changes.
const specialBits = fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

// takeTop is Take for entry 0.
func (t *Tree) takeTop(e *TreeEntry) Verdict {
	if e.No != 0 || e.Up != 0 || e.Name != "" || e.Kind != Directory {
		return t.failed(t.fault(fmt.Errorf("entry %d is not the top directory: %w", e.No, ErrRange)))
	}
	d := t.newDir(nil, e)
	d.refs++
	t.top = d
	v := t.push(d, t.findTop(d))
	if d.state == dirPresent {
		// A syncfs at the end goes by a descriptor that is older than all that was done.
		_, err := t.cache.pin(d)
		t.pinned = err == nil
	}
	return v
}

// findTop finds or makes the top directory, following links within the root.
func (t *Tree) findTop(d *treeDir) Verdict {
	at, err := t.d.locate(t.spec.Path, followLast)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && at.info == nil:
		return t.missing(d)
	case err == nil && !at.info.IsDir():
		err = pathError("tree", t.spec.Path.String(), ErrNotDir)
	}
	if err != nil {
		return t.fail(d, err)
	}
	d.at = at.name
	t.topSpot = at
	return t.found(d, at.info)
}

// fail notes that a directory cannot be.
func (t *Tree) fail(d *treeDir, err error) Verdict {
	d.state, d.err = dirFailed, err
	return t.failed(err)
}

// takeDir finds or makes a directory. Where its verdict is decided already it is only noted, since entries beneath it follow.
func (t *Tree) takeDir(l *level, e *TreeEntry, v Verdict, decided bool) Verdict {
	d := t.newDir(l.dir, e)
	switch {
	case decided && v.Code == VerdictSkip:
		d.state = dirSkipped
	case decided:
		d.state, d.err = dirFailed, v.Err
	default:
		v = t.findDir(l, d)
	}
	return t.push(d, v)
}

func (t *Tree) findDir(l *level, d *treeDir) Verdict {
	fi, err := t.lookup(l, d.name)
	switch {
	case err != nil:
		return t.fail(d, err)
	case fi == nil:
		return t.missing(d)
	}
	return t.existing(d, fi)
}

// existing takes up what has the name of a directory.
func (t *Tree) existing(d *treeDir, fi fs.FileInfo) Verdict {
	switch {
	case fi.IsDir():
		return t.found(d, fi)
	case fi.Mode()&fs.ModeSymlink == 0 || t.spec.NoFollow:
		return t.fail(d, pathError("mkdir", d.name, ErrNotDir))
	}
	// As above the name of a single file: a link to a directory within the root serves as one.
	at, err := t.d.locate(t.pathOf(d), followLast)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (at.info == nil || !at.info.IsDir()) {
		err = pathError("mkdir", d.name, ErrNotDir)
	}
	if err != nil {
		return t.fail(d, err)
	}
	d.at, d.link, d.hasMeta = at.name, true, false
	return t.found(d, at.info)
}

// found takes up a directory that is there.
func (t *Tree) found(d *treeDir, fi fs.FileInfo) Verdict {
	t.present(d, fi)
	if t.appendOnly && d.hasMeta { // guard of I11
		d.hasMeta = t.d.own.has(t.v.owner, d.place(), fi)
	}
	d.lacks = d.hasMeta && t.dirLacks(d, fi)
	switch {
	case t.blind:
		return Verdict{Code: VerdictMade}
	case d.lacks:
		return Verdict{Code: VerdictMeta}
	}
	return Verdict{Code: VerdictSame}
}

// dirLacks tells whether directory d, which is fi, has not all of its metadata.
func (t *Tree) dirLacks(d *treeDir, fi fs.FileInfo) bool {
	if d.meta.eff == nil {
		return !t.lacking(nil, "", fi, d.meta).isEmpty()
	}
	dir, err := t.cache.pin(d)
	if err != nil {
		return true
	}
	defer t.cache.unpin(d)
	return !t.lacking(dir, ".", fi, d.meta).isEmpty()
}

// present notes what directory d is.
func (t *Tree) present(d *treeDir, fi fs.FileInfo) {
	d.state, d.id = dirPresent, fileIDOf(fi)
	d.mode = fi.Mode() & (fs.ModePerm | specialBits)
	root := t.d.root
	d.young = t.isYoung(fi) // so it is when a name in it is
	d.isRoot = d.at == "." || d.id.known && d.id.id.Dev == root.Dev && d.id.id.Inode == root.Inode
}

// missing decides about a directory that is not there. Who has no right to make directories may put files into missing ones:
// those are made when that happens.
func (t *Tree) missing(d *treeDir) Verdict {
	switch {
	case t.spec.Existing:
		d.state = dirSkipped
		return Verdict{Code: VerdictSkip}
	case t.spec.DryRun, t.v.rights&RMkdir == 0:
		d.state = dirAbsent
		return Verdict{Code: VerdictMade}
	}
	return t.make(d)
}

// make makes directory d. One that is there already, because the client may not know or somebody was faster, is taken up.
func (t *Tree) make(d *treeDir) Verdict {
	if d.parent == nil {
		return t.makeTop(d)
	}
	in, err := t.cache.pin(d.parent)
	if err != nil {
		return t.fail(d, err)
	}
	defer t.cache.unpin(d.parent)
	t.touch(d.parent, in)
	err = in.Mkdir(d.name, d.newMode())
	made := err == nil
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return t.fail(d, err)
	}
	fi, err := in.Lstat(d.name)
	if err != nil {
		return t.fail(d, err)
	}
	if !made || !fi.IsDir() {
		return t.existing(d, fi)
	}
	return t.ours(d, fi)
}

// ours takes up a directory that was just made.
func (t *Tree) ours(d *treeDir, fi fs.FileInfo) Verdict {
	t.present(d, fi)
	d.made = true
	t.changed.Store(true)
	if t.appendOnly {
		t.d.own.note(t.v.owner, d.place(), fi)
	}
	return Verdict{Code: VerdictMade}
}

// newMode is the mode that a directory is made with: we have to write into it, whatever it gets at the end. In that of an archive nobody else may
// before it has its owner, its group and its sticky bit.
func (d *treeDir) newMode() fs.FileMode {
	if d.hasMeta && d.meta.HasMode && d.meta.eff != nil {
		return d.meta.Mode&0o755 | 0o700
	}
	if d.hasMeta && d.meta.HasMode {
		return d.meta.Mode&fs.ModePerm | 0o700
	}
	return 0o777
}

func (t *Tree) makeTop(d *treeDir) Verdict {
	v, at, there := t.makeTopLocked(d)
	t.topSpot = at
	t.d.own.add(t.d.fs, t.v.owner, at.made)
	if there {
		v = t.found(d, at.info)
	}
	return v
}

// makeTopLocked tells with there that somebody else has made the directory, or it was there.
func (t *Tree) makeTopLocked(d *treeDir) (v Verdict, at spot, there bool) {
	t.d.ns.RLock()
	defer t.d.ns.RUnlock()
	var err error
	at, err = t.d.resolve(t.spec.Path, followLast|makeParents)
	if err != nil {
		return t.fail(d, err), at, false
	}
	d.at = at.name
	t.changed.Store(true)
	if at.info == nil {
		err = t.d.fs.Mkdir(at.name, d.newMode())
		made := err == nil
		if err == nil || errors.Is(err, fs.ErrExist) {
			at.info, err = t.d.fs.Lstat(at.name)
		}
		if err != nil {
			return t.fail(d, err), at, false
		}
		if made && at.info.IsDir() {
			return t.ours(d, at.info), at, false
		}
	}
	if !at.info.IsDir() {
		return t.fail(d, pathError("tree", t.spec.Path.String(), ErrNotDir)), at, false
	}
	return Verdict{}, at, true
}

// push makes d the directory that entries are taken of. v is its verdict, unless that fails.
func (t *Tree) push(d *treeDir, v Verdict) Verdict {
	if n := len(t.levels); n > 0 && t.levels[n-1].fs != nil {
		t.cache.unpin(t.levels[n-1].dir)
		t.levels[n-1].fs = nil
	}
	l := &level{dir: d}
	t.levels = append(t.levels, l)
	if d.state != dirPresent {
		return v
	}
	var err error
	if l.fs, err = t.cache.pin(d); err != nil {
		return t.fail(d, err)
	}
	if t.spec.Extra != nil && !d.made && !d.link { // what is beyond a link is somebody else's as well
		if l.names, err = t.listNames(l.fs, d.isRoot); err != nil {
			return t.fail(d, err)
		}
	}
	return v
}

// leave ends the newest directory.
func (t *Tree) leave() {
	l := t.levels[len(t.levels)-1]
	d := l.dir
	early := t.usable() != nil
	if !early {
		t.tellBefore(l, "")
	}
	if l.fs != nil {
		t.cache.unpin(d)
	}
	t.levels = t.levels[:len(t.levels)-1]
	switch {
	case t.spec.DryRun || early && !d.loosened && !d.asked:
	case d.state == dirAbsent: // nothing was put into it, and to make it as it is was not allowed
		t.count(func(r *TreeResult) { r.Made--; r.Failed++ })
		t.tell(d.no, pathError("mkdir", t.pathOf(d).String(), ErrDenied))
	case d.state == dirPresent && (d.made || d.touched || d.young || d.loosened || d.extras || d.lacks):
		t.record(d)
	}
	t.unref(d)
}

// ready makes the directory of l one into which something can be put.
func (t *Tree) ready(l *level) error {
	for _, a := range t.levels {
		if a.dir.state == dirAbsent {
			if v := t.make(a.dir); v.Code == VerdictFailed {
				return v.Err
			}
		}
	}
	if l.fs == nil {
		var err error
		if l.fs, err = t.cache.pin(l.dir); err != nil {
			return err
		}
	}
	t.touch(l.dir, l.fs)
	return nil
}

// touch notes that names in d will change, and sees that its owner may do that until the end.
func (t *Tree) touch(d *treeDir, fsys interface {
	Chmod(name string, mode fs.FileMode) error
}) {
	d.touched = true
	t.changed.Store(true)
	if !d.loosened && t.isClosed(d) {
		// If that fails, whoever writes into it is told why that does not work.
		d.loosened = fsys.Chmod(".", d.mode|0o700) == nil
	}
}

// isClosed tells whether d does not let its owner write into it, and we may change that.
func (t *Tree) isClosed(d *treeDir) bool {
	const need = 0o300
	return !d.made && d.mode&need != need && (!t.appendOnly || d.hasMeta) // guard of I11: what is not ours stays as it is
}

// mayTouch is touch for a name of which it is not decided yet whether it changes.
func (t *Tree) mayTouch(d *treeDir) {
	d.touched = true
	d.asked = d.asked || t.isClosed(d)
}
