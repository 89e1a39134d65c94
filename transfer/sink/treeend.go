package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// EndManifest says that no entry follows: Extra has been told of all when it returns. It returns how many names were beneath
// the top directory before; only with Extra that is known. Take is not called after it; Finish needs no call of it. The error
// is why not all could be seen: then nothing may be removed on the ground of what Extra told.
func (t *Tree) EndManifest() (before int64, err error) {
	for len(t.levels) > 0 {
		t.leave()
	}
	if err := t.usable(); err != nil {
		return 0, err
	}
	return t.before, t.notSeen()
}

// Remove removes p, which is beneath the top directory: a directory only where it is empty. With Backup what is no directory is
// moved there. Only what Extra told is removed, and what is in the way of an entry that failed with ErrIsDir or ErrNotDir, with all beneath:
// the first 4,194,304 such names of a tree. It is called between EndManifest and Finish, by their goroutine. What was Put is published and durable
// before the first name goes, so that a file which moved within the source is at no time gone under both of its names.
//
// RDelete is needed. Errors: ErrDenied, ErrBadPath, fs.ErrExist for what is not told, ErrNotDir for what a link leads to, fs.ErrNotExist,
// *SyncError, and of the disk.
func (t *Tree) Remove(ctx context.Context, p Path) error {
	if err := t.v.needChange("remove", RDelete); err != nil {
		return err
	}
	if err := t.usable(); err != nil {
		return err
	}
	if n := len(t.spec.Path.parts); t.spec.DryRun || len(p.parts) <= n || !startsWith(p, t.spec.Path) {
		return pathError("remove", p.String(), ErrBadPath)
	}
	if err := t.removable(p); err != nil { // guard: S says what goes only of what R has told
		return err
	}
	if !t.settled {
		if err := t.settle(ctx); err != nil {
			return err
		}
		t.settled = true
	}
	t.changed.Store(true)
	if t.spec.Backup.IsRoot() || t.noReplace {
		_, err := t.d.remove(p, false)
		return err
	}
	at, err := t.d.locate(p, 0)
	switch {
	case err != nil:
		return err
	case at.info == nil:
		return pathError("remove", p.String(), fs.ErrNotExist)
	case !at.info.IsDir():
		to, err := NewPath(append(t.spec.Backup.Parts(), p.parts[len(t.spec.Path.parts):]...)...)
		if err != nil {
			return fmt.Errorf("keep the old file: %w", err)
		}
		kept, err := t.d.keepAt(p, at.info, to)
		if err == nil && t.spec.Durability != None {
			err = t.d.syncSpot(kept)
		}
		if err != nil {
			return fmt.Errorf("keep the old file: %w", err)
		}
	}
	if _, err = t.d.remove(p, false); errors.Is(err, fs.ErrNotExist) && !at.info.IsDir() {
		return nil // there are no hard links here: keeping it was moving it
	}
	return err
}

func startsWith(p, above Path) bool {
	for i, c := range above.parts {
		if p.parts[i] != c {
			return false
		}
	}
	return true
}

// settle publishes what was Put and makes it durable.
func (t *Tree) settle(ctx context.Context) error {
	if err := t.group.flush(ctx); err != nil {
		return err
	}
	if t.spec.Durability == None || t.top == nil || t.top.state != dirPresent {
		return nil
	}
	err := t.syncTree()
	if !errors.Is(err, errors.ErrUnsupported) {
		return syncError("file system", err)
	}
	w := &dirWalk{t: t}
	defer w.close()
	r, path := t.dirs.reader(), ""
	for {
		rec, err := readRecord(r, path)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		path = rec.path
		dir, _, err := w.open(&rec)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = syncError("directory", dir.SyncDir("."))
		}
		if err != nil {
			return err
		}
	}
}
