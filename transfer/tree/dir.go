package tree

import (
	"io/fs"
	"slices"
	"sync"

	"xfer/transfer/durable"
)

// Dir is a directory that a Walker came by. It is good for its methods as long as somebody retains it, also after the
// walk has left it or has ended, and as long as the FS of the Walker is open. Its methods may be called concurrently.
//
// Only so many are open at a time; others are opened again when they are needed: by their names from one that is open, each
// only if it still is the directory that the walk saw.
type Dir struct {
	pool   *dirPool
	parent *Dir        // the directory that it is shown in; nil for the top
	name   string      // that it is shown by there; "" for the top, and for one that is not shown
	at     string      // if not empty, it is opened by this name in the FS of the Walker, not through parent
	info   fs.FileInfo // what is there must be the same file

	opening sync.Mutex // held while it is opened
	// The rest is guarded by pool.mu.
	fs         durable.FS // nil while it is closed; it is not closed while pins is not 0
	pins       int
	refs       int
	prev, next *Dir // those that are open without a need, the newest first
}

// dirPool is what the directories of a walk have in common.
type dirPool struct {
	fsys  durable.FS
	limit int // of directories that are open without a need

	mu   sync.Mutex
	idle Dir // the list's head
	n    int // how long it is
}

func newDirPool(fsys durable.FS, limit int) *dirPool {
	p := &dirPool{fsys: fsys, limit: limit}
	p.idle.prev, p.idle.next = &p.idle, &p.idle
	return p
}

// Path returns the components that lead to the directory from the top, in a slice of the caller's own.
func (d *Dir) Path() []string {
	var parts []string
	for ; d != nil; d = d.parent {
		if d.name != "" {
			parts = append(parts, d.name)
		}
	}
	slices.Reverse(parts)
	return parts
}

// Retain makes the Dir good until another call of Release. The caller has it already: from a Walker, until the next call of
// Next, or by Retain.
func (d *Dir) Retain() {
	d.pool.mu.Lock()
	d.refs++
	d.pool.mu.Unlock()
}

// Release takes back one Retain. When nobody retains the Dir it is closed.
func (d *Dir) Release() {
	d.pool.mu.Lock()
	if d.refs--; d.refs < 0 {
		panic("tree: a directory was released too often")
	}
	closing := d.pool.settle(d)
	d.pool.mu.Unlock()
	if closing != nil {
		_ = closing.Close()
	}
}

// Do calls f with the directory, which is open as long as f runs.
func (d *Dir) Do(f func(dir durable.FS) error) error {
	dir, err := d.pin()
	if err != nil {
		return err
	}
	defer d.unpin()
	return f(dir)
}

// Open opens the regular file name, which is one component, for reading. It follows no symbolic link and never waits;
// anything but a regular file is durable.ErrNotRegular. The caller closes the file; it does not need the Dir.
func (d *Dir) Open(name string) (f durable.File, err error) {
	err = d.Do(func(dir durable.FS) error {
		f, err = durable.OpenRegular(dir, name)
		return err
	})
	return f, err
}

// pin returns the directory, open until unpin.
func (d *Dir) pin() (durable.FS, error) {
	p := d.pool
	p.mu.Lock()
	if d.refs == 0 {
		p.mu.Unlock()
		return nil, &fs.PathError{Op: "open", Path: d.name, Err: fs.ErrClosed}
	}
	d.pins++
	p.remove(d)
	dir := d.fs
	p.mu.Unlock()
	if dir != nil {
		return dir, nil
	}
	d.opening.Lock()
	defer d.opening.Unlock()
	p.mu.Lock()
	dir = d.fs // somebody else may have opened it meanwhile
	p.mu.Unlock()
	if dir != nil {
		return dir, nil
	}
	dir, err := d.reopen()
	if err != nil {
		d.unpin()
		return nil, err
	}
	p.mu.Lock()
	d.fs = dir
	p.mu.Unlock()
	return dir, nil
}

// unpin takes back one pin.
func (d *Dir) unpin() { d.letGo(0) }

// letGo takes back one pin, and so many Retains.
func (d *Dir) letGo(refs int) {
	p := d.pool
	p.mu.Lock()
	d.pins--
	d.refs -= refs
	closing := p.settle(d)
	p.mu.Unlock()
	if closing != nil {
		_ = closing.Close()
	}
}

// reopen opens the directory from the nearest one above it that is open, or that has a name in the FS.
func (d *Dir) reopen() (durable.FS, error) {
	var below []*Dir
	at, open := d, durable.FS(nil)
	for at.at == "" {
		below = append(below, at)
		at = at.parent
		if open = d.pool.pinIfOpen(at); open != nil {
			defer at.unpin()
			break
		}
	}
	var dir durable.FS
	if open == nil {
		var err error
		if open, err = openSame(d.pool.fsys, at.at, at.info); err != nil {
			return nil, err
		}
		dir = open
	}
	for _, next := range slices.Backward(below) {
		sub, err := openSame(open, next.name, next.info)
		if dir != nil {
			_ = dir.Close()
		}
		if err != nil {
			return nil, err
		}
		dir, open = sub, sub
	}
	return dir, nil
}

// pinIfOpen returns d, open until unpin, or nil if it is closed.
func (p *dirPool) pinIfOpen(d *Dir) durable.FS {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d.fs == nil {
		return nil
	}
	d.pins++
	p.remove(d)
	return d.fs
}

// settle finds out what to do with d after one need less of it: it returns what is to be closed, if anything. p.mu is held.
func (p *dirPool) settle(d *Dir) durable.FS {
	switch {
	case d.pins > 0 || d.fs == nil:
		return nil
	case d.refs == 0:
		p.remove(d)
	case d.next == nil:
		d.prev, d.next = &p.idle, p.idle.next
		d.prev.next, d.next.prev = d, d
		if p.n++; p.n <= p.limit {
			return nil
		}
		d = p.idle.prev // the one that was not used for the longest time
		p.remove(d)
	default:
		return nil
	}
	closing := d.fs
	d.fs = nil
	return closing
}

// remove takes d off the list of those without a need, if it is there. p.mu is held.
func (p *dirPool) remove(d *Dir) {
	if d.next == nil {
		return
	}
	d.prev.next, d.next.prev = d.next, d.prev
	d.prev, d.next = nil, nil
	p.n--
}

// openSame opens the directory name if it still is what fi told.
func openSame(parent durable.FS, name string, fi fs.FileInfo) (durable.FS, error) {
	dir, err := parent.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	now, err := dir.Stat(".")
	if err == nil && !durable.SameFile(fi, now) {
		err = &fs.PathError{Op: "open", Path: name, Err: ErrChanged}
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}
