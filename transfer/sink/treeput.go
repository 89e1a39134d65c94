package sink

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// treeFile is a small file that waits in a group for its name.
type treeFile struct {
	w      *wanted
	root   crypto.Digest
	size   int64
	name   string       // where it is until then
	beside bool         // that is in its own directory, not in tree/K-ID
	f      durable.File // nil: closed
	meta   Meta
}

// Put is the whole content of a small file that is wanted, with its hash. Mode and time of m, if it is not nil, take the place of those that
// the entry had, and the size may be another: the source has changed since. It returns before the file has its
// name: Published tells. It waits while two groups of files are on their way.
//
// Errors: ErrRange (not wanted), ErrSourceChanged (another size), ErrRootMismatch, ErrClosed, and of the disk. After an
// error the file is still wanted.
func (t *Tree) Put(no uint64, content []byte, root crypto.Digest, m *Meta) error {
	if err := t.usable(); err != nil {
		return err
	}
	t.mu.Lock()
	w := t.wanted[no]
	ok := w != nil && w.state == wantOpen
	if ok {
		w.state = wantPut
		t.awaits(w, -1)
	}
	t.mu.Unlock()
	if !ok {
		return fmt.Errorf("put: entry %d is not wanted: %w", no, ErrRange)
	}
	f, g, err := t.receive(w, content, root, m)
	t.group.arrived(g, f)
	if err != nil {
		t.mu.Lock()
		w.state = wantOpen
		t.awaits(w, 1)
		t.mu.Unlock()
		return fmt.Errorf("put: %w", err)
	}
	return nil
}

// receive verifies the content and writes it. The group is nil where none was joined.
func (t *Tree) receive(w *wanted, content []byte, root crypto.Digest, m *Meta) (*treeFile, *treeGroup, error) {
	size := int64(len(content))
	if m == nil {
		if size != w.size {
			return nil, nil, fmt.Errorf("%d bytes were announced, %d came: %w", w.size, size, ErrSourceChanged)
		}
		m = &w.meta
	} else { // owner and attributes are told in the manifest alone
		now := w.meta
		now.Mode, now.HasMode, now.MTime, now.HasMTime = m.Mode, m.HasMode, m.MTime, m.HasMTime
		m = &now
	}
	if t.digest(content) != root { // guard of I1
		return nil, nil, ErrRootMismatch
	}
	g, keepOpen, err := t.group.join(size)
	if err != nil {
		return nil, nil, err
	}
	f := &treeFile{w: w, root: root, size: size, meta: *m}
	if t.cache.isAway(w.dir) {
		err = t.writeBeside(f, content, *m)
	} else {
		err = t.writeTemp(f, content, *m, keepOpen)
	}
	if err != nil {
		return nil, g, err
	}
	return f, g, nil
}

func (t *Tree) digest(content []byte) crypto.Digest {
	if len(content) > 1<<maxChunkLog2 {
		h := crypto.NewHasher()
		h.Write(content)
		return h.Sum()
	}
	h := t.d.pool.Get().(*crypto.ChunkHasher)
	defer t.d.pool.Put(h)
	h.Reset(0, maxChunkLog2)
	h.Write(content)
	return h.Root()
}

// writeTemp writes the file into tree/K-ID.
func (t *Tree) writeTemp(f *treeFile, content []byte, m Meta, keepOpen bool) error {
	dir, err := t.temp.need(t)
	if err != nil {
		return err
	}
	f.name = strconv.FormatUint(f.w.no, 36)
	return t.write(dir, f, content, m, t.temp.mask, keepOpen)
}

// writeBeside writes the file into its own directory: from tree/K-ID no rename leads there. It stays open until it is
// synced, on its own.
func (t *Tree) writeBeside(f *treeFile, content []byte, m Meta) error {
	dir, err := t.cache.pin(f.w.dir)
	if err != nil {
		return err
	}
	defer t.cache.unpin(f.w.dir)
	t.tidy(f.w.dir, dir)
	f.name, f.beside = durable.TempPrefix+rand.Text(), true
	return t.write(dir, f, content, m, 0, t.spec.Durability != None)
}

// write makes and fills f in dir. mask are the permission bits that a new file gets for sure if it asks for them.
func (t *Tree) write(dir durable.FS, f *treeFile, content []byte, m Meta, mask fs.FileMode, keepOpen bool) error {
	perm := fs.FileMode(0o666)
	if m.HasMode {
		perm = m.Mode & fs.ModePerm
	}
	if m.eff != nil && m.HasMode {
		perm = 0o600 // until it has its owner and its access list
	}
	file, err := dir.OpenFile(f.name, freshFile, perm)
	if err != nil {
		return err
	}
	m.HasMode = m.HasMode && (perm&^mask != 0 || m.eff != nil)
	switch {
	case f.w.sparse:
		if err = file.Truncate(int64(len(content))); err == nil {
			err = writeSparse(file, content, 0)
		}
	case len(content) > 0:
		_, err = file.Write(content)
	}
	if err == nil {
		var u Unkept
		m.Unkept = &u
		err = m.apply(file)
		t.noteUnkept(u)
	}
	if err == nil && keepOpen {
		f.f = file
		return nil
	}
	if err = errors.Join(err, file.Close()); err != nil {
		_ = dir.Remove(f.name)
	}
	return err
}

// tidy removes from dir, once in the life of a tree, what a crash left of an earlier one.
func (t *Tree) tidy(d *treeDir, dir durable.FS) {
	t.cache.mu.Lock()
	done := d.tidied
	d.tidied = true
	t.cache.mu.Unlock()
	if done {
		return
	}
	entries, err := dir.ReadDir(".")
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), durable.TempPrefix) {
			continue
		}
		fi, err := dir.Lstat(e.Name())
		if err != nil || fi.IsDir() {
			continue
		}
		// Its time is the one of the source, its change time is ours.
		if id, ok := durable.IDOf(fi); ok && t.d.o.Now().Sub(time.Unix(0, id.CTime)) > t.max.leftBehind {
			_ = dir.Remove(e.Name())
		}
	}
}

// sameThere tells whether the file name in dir has the content of f, and makes it durable.
func (t *Tree) sameThere(dir durable.FS, name string, f *treeFile) (bool, error) {
	fi, err := dir.Lstat(name)
	if err != nil || !fi.Mode().IsRegular() || fi.Size() != f.size {
		return false, err
	}
	file, err := durable.OpenRegular(dir, name)
	if err != nil {
		return false, err
	}
	defer file.Close()
	root, size, err := hashFile(context.WithoutCancel(t.ctx), file, t.busy)
	if err != nil || root != f.root || size != f.size {
		return false, err
	}
	if t.spec.Durability != None {
		if err := file.Sync(); err != nil && !unsupported(err) {
			return false, syncError("data", err)
		}
	}
	own, err := file.Stat()
	if err != nil {
		return false, err
	}
	now, err := dir.Lstat(name)
	return err == nil && durable.SameFile(own, now), err
}
