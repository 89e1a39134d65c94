package sink

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"xfer/transfer/durable"
)

// place gives a small file its final name, as the rules have it. kept says that what it replaces is in the backup directory.
func (t *Tree) place(f *treeFile, kept bool) error {
	dir, err := t.cache.pin(f.w.dir)
	if err != nil {
		t.discard(f)
		return err
	}
	defer t.cache.unpin(f.w.dir)
	from := dir
	if !f.beside {
		from = t.temp.made()
	}
	err = t.placeFrom(from, f, dir, kept)
	if errors.Is(err, syscall.EXDEV) && !f.beside {
		// A mount of the same device. The next file is made beside its name at once.
		t.cache.setAway(f.w.dir)
		var beside *treeFile
		if beside, err = t.copyBeside(from, f, dir); err == nil {
			t.discard(f)
			f = beside
			from = dir
			err = t.placeFrom(dir, f, dir, kept)
		}
	}
	if err != nil {
		_ = from.Remove(f.name)
	}
	return err
}

// placeFrom renames f from its directory to its name in dir. What is there with the same content is success where it may
// not be replaced.
func (t *Tree) placeFrom(from durable.FS, f *treeFile, dir durable.FS, kept bool) error {
	name := f.w.name
	replace := !t.noReplace && !t.spec.IgnoreExisting // guard of I11
	err := from.RenameTo(f.name, dir, name, replace && (kept || !t.backup))
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	if replace && t.backup && !kept { // it came just now
		if _, err := t.keepOne(f.w.dir, dir, name, true); err != nil {
			return err
		}
		err = from.RenameTo(f.name, dir, name, true)
	}
	if replace {
		if errors.Is(err, fs.ErrExist) { // a directory is never replaced
			err = pathError("publish", name, ErrIsDir)
		}
		return err
	}
	same, serr := t.sameThere(dir, name, f)
	switch {
	case serr != nil && !errors.Is(serr, fs.ErrNotExist):
		return serr
	case !same:
		return existError(name)
	}
	_ = from.Remove(f.name)
	return nil
}

// copyBeside copies f into its own directory, durably.
func (t *Tree) copyBeside(from durable.FS, f *treeFile, dir durable.FS) (*treeFile, error) {
	content, err := durable.ReadFile(from, f.name, f.size)
	if err != nil {
		return nil, err
	}
	if t.digest(content) != f.root { // guard of I1
		return nil, fmt.Errorf("publish: changed by somebody else: %w", ErrStageLost)
	}
	fi, err := from.Lstat(f.name)
	if err != nil {
		return nil, err
	}
	c := *f
	c.name, c.beside = durable.TempPrefix+rand.Text(), true
	m := Meta{Mode: fi.Mode(), HasMode: true, MTime: fi.ModTime(), HasMTime: true}
	if f.meta.eff != nil {
		m = f.meta
	}
	if err := t.write(dir, &c, content, m, 0, true); err != nil {
		return nil, err
	}
	if t.spec.Durability != None {
		err = c.f.Sync()
	}
	if err = errors.Join(err, c.f.Close()); err != nil {
		_ = dir.Remove(c.name)
		return nil, syncError("data", err)
	}
	c.f = nil
	return &c, nil
}

// discard removes a file that gets no name.
func (t *Tree) discard(f *treeFile) {
	from := t.temp.made()
	if f.beside {
		dir, err := t.cache.pin(f.w.dir)
		if err != nil {
			return
		}
		defer t.cache.unpin(f.w.dir)
		from = dir
	}
	_ = from.Remove(f.name)
}

// published notes what became of a file that was Put, and tells.
func (t *Tree) published(f *treeFile, err error) {
	err = t.hide(err)
	if err == nil {
		t.changed.Store(true)
		t.shared.mark(f.w.shared)
		t.there(f.w.dir, f.w.name, f.size, f.root)
	}
	t.forget(f.w.no, nil)
	t.count(func(r *TreeResult) {
		if err != nil {
			r.Failed++
			return
		}
		r.Published++
		r.PublishedBytes += uint64(f.size)
	})
	t.tell(f.w.no, err)
}

// hide turns what an error tells of the names that are there into one answer, for who may not see them.
func (t *Tree) hide(err error) error {
	if !t.blind || err == nil {
		return err
	}
	for _, e := range []error{fs.ErrExist, fs.ErrNotExist, ErrIsDir, ErrNotDir, ErrBadPath, durable.ErrNotRegular, syscall.ENOTDIR, syscall.EISDIR, syscall.ELOOP} {
		if errors.Is(err, e) {
			return existError("entry")
		}
	}
	return err
}
