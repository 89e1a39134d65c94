package sink

import (
	"errors"
	"fmt"
	"io/fs"

	"xfer/transfer/durable"
)

// keepOld links what the files of a group are going to replace into the backup directory, and makes that durable where a
// syncfs will not. Of each file that replaces something it returns whether that is kept (nil) or why not.
func (t *Tree) keepOld(files []*treeFile) (map[*treeFile]error, error) {
	kept := make(map[*treeFile]error)
	dirs := make(map[string]spot)
	for _, f := range files {
		dir, err := t.cache.pin(f.w.dir)
		if err != nil {
			continue // place will tell
		}
		at, err := t.keepOne(f.w.dir, dir, f.w.name, false)
		t.cache.unpin(f.w.dir)
		switch {
		case errors.Is(err, fs.ErrNotExist): // place looks again
		case err == nil:
			kept[f] = nil
			dirs[at.parent] = at
		default:
			kept[f] = err
		}
	}
	if t.spec.Durability == None || len(dirs) == 0 || t.group.syncWay() == syncAll {
		return kept, nil
	}
	for _, at := range dirs {
		if err := t.d.syncSpot(at); err != nil {
			return nil, err
		}
	}
	return kept, nil
}

// Keep gives what a Stage is about to replace as the entry no its name in the backup directory, durably. Without Backup, or where
// nothing is there, it does nothing. It is called for an entry that Path returned, before the Stage is published.
func (t *Tree) Keep(no uint64) error {
	if err := t.usable(); err != nil || !t.backup {
		return err
	}
	t.mu.Lock()
	w := t.wanted[no]
	t.mu.Unlock()
	if w == nil || w.state != wantOpen {
		return nil
	}
	dir, err := t.cache.pin(w.dir)
	if err != nil {
		return err
	}
	defer t.cache.unpin(w.dir)
	if _, err = t.keepOne(w.dir, dir, w.name, true); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// keepOne gives the file or link name in dir a second name in the backup directory, durably if now. Nothing to be kept is
// fs.ErrNotExist.
func (t *Tree) keepOne(in *treeDir, dir durable.FS, name string, now bool) (at spot, err error) {
	old, err := dir.Lstat(name)
	if err != nil {
		return spot{}, err
	}
	if old.IsDir() {
		return spot{}, fs.ErrNotExist // it is not replaced
	}
	parts := append(t.spec.Backup.Parts(), in.parts()...)
	to, err := NewPath(append(parts, name)...)
	if err != nil {
		return spot{}, fmt.Errorf("keep the old file: %w", err)
	}
	at, err = t.d.keepAt(t.pathOf(in, name), old, to)
	if err != nil {
		return spot{}, fmt.Errorf("keep the old file: %w", err)
	}
	if now && t.spec.Durability != None {
		err = t.d.syncSpot(at)
	}
	return at, err
}

// keepAt links the file old, which is at from, to the name to, in place of what is there. Where there are no hard links it is
// moved.
func (d *Dir) keepAt(from Path, old fs.FileInfo, to Path) (spot, error) {
	d.ns.RLock()
	defer d.ns.RUnlock()
	src, err := d.resolve(from, 0)
	if err != nil {
		return spot{}, err
	}
	if src.info == nil || !durable.SameFile(src.info, old) {
		return spot{}, fmt.Errorf("%q was replaced meanwhile: %w", from.String(), ErrBusy)
	}
	at, err := d.resolve(to, makeParents)
	if err != nil {
		return spot{}, err
	}
	if at.info != nil {
		switch {
		case at.info.IsDir():
			return spot{}, pathError("backup", to.String(), ErrIsDir)
		case durable.SameFile(at.info, old): // an earlier try got as far as this
			return at, nil
		}
		if err := d.fs.Remove(at.name); err != nil {
			return spot{}, err
		}
	}
	err = d.fs.Link(src.name, at.name)
	if unsupported(err) {
		err = d.fs.Rename(src.name, at.name)
	}
	return at, err
}
