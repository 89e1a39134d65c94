package sink

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"xfer/transfer/durable"
)

// freshFile are the flags for a file that nobody else has.
const freshFile = os.O_WRONLY | os.O_CREATE | os.O_EXCL | durable.NoFollow

// treeTemp is the directory "tree/K-ID" of one Tree: small files before they have their names, and lists. It is made when
// it is needed first.
type treeTemp struct {
	mu     sync.Mutex
	fs     durable.FS
	dir    string
	unlock func() error
	mask   fs.FileMode   // permission bits that a new file can have
	grain  time.Duration // unit of the times that a file keeps
	closed bool
}

// need returns the directory, made if that has not been done.
func (p *treeTemp) need(t *Tree) (durable.FS, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return nil, ErrClosed
	case p.fs != nil:
		return p.fs, nil
	}
	dir, unlock, err := t.d.makeTreeDir(t.key, t.spec.ID)
	if err != nil {
		return nil, err
	}
	fsys, err := t.d.fs.OpenRoot(dir)
	if err == nil {
		if err = p.probe(fsys); err != nil {
			_ = fsys.Close()
		}
	}
	if err != nil {
		t.d.removeTreeDir(dir, unlock)
		return nil, err
	}
	p.fs, p.dir, p.unlock = fsys, dir, unlock
	return fsys, nil
}

// probe finds out what becomes of permission bits (a umask, or an ACL that is inherited) and of times.
func (p *treeTemp) probe(fsys durable.FS) error {
	f, err := fsys.OpenFile("probe", freshFile, fs.ModePerm)
	if err != nil {
		return err
	}
	when := time.Unix(1234567891, 123456789)
	err = f.SetTimes(when)
	if unsupported(err) {
		err = nil
	}
	var fi fs.FileInfo
	if err == nil {
		fi, err = f.Stat()
	}
	if err := errors.Join(err, f.Close(), fsys.Remove("probe")); err != nil {
		return err
	}
	p.mask, p.grain = fi.Mode().Perm(), grainOf(fi.ModTime(), when)
	return nil
}

// timeGrain returns the unit of the times that a file keeps, 1 ns where that cannot be found out.
func (p *treeTemp) timeGrain(t *Tree) time.Duration {
	if _, err := p.need(t); err != nil {
		return 1
	}
	return p.grain // never changes once there is an fs
}

// made returns the directory, nil if there was no need for it.
func (p *treeTemp) made() durable.FS {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.fs
}

// close removes the directory.
func (p *treeTemp) close(t *Tree) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	err := errors.Join(t.dirs.close(), t.links.close(), t.shared.close())
	if p.fs == nil {
		return err
	}
	_ = p.fs.Close() // only names were changed through it
	t.d.removeTreeDir(p.dir, p.unlock)
	p.fs = nil
	return err
}

// makeTreeDir makes and locks the directory of a tree. Where one of that id is in use it takes another.
func (d *Dir) makeTreeDir(key string, id [16]byte) (dir string, unlock func() error, err error) {
	for range 10 {
		dir = treesDir + "/" + key + "-" + hex.EncodeToString(id[:])
		if err = d.ensureDirs(stateDir, treesDir, dir); err == nil {
			unlock, err = d.lock(dir + "/lock")
		}
		switch {
		case err == nil:
			if err = d.emptyTreeDir(dir); err == nil {
				return dir, unlock, nil
			}
			_ = unlock()
			return "", nil, err
		case errors.Is(err, durable.ErrLocked):
			rand.Read(id[:])
		case !errors.Is(err, fs.ErrNotExist): // somebody takes it for left behind
			return "", nil, err
		}
	}
	return "", nil, fmt.Errorf("tree: %w", err)
}

// emptyTreeDir removes all from dir but the lock.
func (d *Dir) emptyTreeDir(dir string) error {
	entries, err := d.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "lock" {
			continue
		}
		if err := d.fs.RemoveAll(dir + "/" + e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// removeTreeDir removes dir and gives up its lock. What cannot be removed is found by the next one who looks. The lock's name
// goes first, as that of a stage.
func (d *Dir) removeTreeDir(dir string, unlock func() error) {
	if d.emptyTreeDir(dir) == nil && d.fs.Remove(dir+"/lock") == nil {
		_ = d.fs.Remove(dir)
	}
	_ = unlock()
}

// sweepTrees removes what crashes have left of trees of this key, of all where it is empty.
func (d *Dir) sweepTrees(key string) {
	names, err := d.readNames(treesDir)
	if err != nil {
		return // whoever needs the directory is told
	}
	for _, n := range names {
		k, id, ok := strings.Cut(n, "-")
		if !ok || !isKey(k) || !isKey(id) || key != "" && k != key {
			continue
		}
		dir := treesDir + "/" + n
		if fi, err := d.fs.Lstat(dir); err != nil || !fi.IsDir() {
			continue
		}
		if unlock, err := d.fs.Lock(dir + "/lock"); err == nil {
			d.removeTreeDir(dir, unlock)
		}
	}
}
