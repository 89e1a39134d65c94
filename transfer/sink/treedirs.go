package sink

import (
	"container/list"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"syscall"

	"xfer/transfer/durable"
)

// fileInfo is fs.FileInfo, kept where nothing shorter tells one file from another.
type fileInfo = fs.FileInfo

func fileIDOf(fi fs.FileInfo) fileID {
	if id, ok := durable.IDOf(fi); ok {
		return fileID{id: id, known: true}
	}
	return fileID{info: fi}
}

// is tells whether fi is the same file.
func (f fileID) is(fi fs.FileInfo) bool {
	if !f.known {
		return f.info != nil && durable.SameFile(f.info, fi)
	}
	id, ok := durable.IDOf(fi)
	return ok && id.Dev == f.id.Dev && id.Inode == f.id.Inode
}

// unchanged tells whether fi is the same file, which nobody has changed.
func (f fileID) unchanged(fi fs.FileInfo) bool {
	if !f.known {
		return f.is(fi) && f.info.ModTime().Equal(fi.ModTime()) && f.info.Size() == fi.Size()
	}
	id, ok := durable.IDOf(fi)
	return ok && id == f.id
}

// dirState is what a directory of the manifest is at the target.
type dirState uint8

const (
	dirPresent dirState = iota // there
	dirAbsent                  // not there: it is made when something is put into it, or never in a dry run
	dirSkipped                 // left out, with all beneath
	dirFailed                  // cannot be, with all beneath
)

// treeDir is a directory of the manifest: those on the way to the newest entry, and those above what is wanted. It is freed
// when nobody refers to it.
type treeDir struct {
	parent *treeDir // nil for the top
	name   string   // in parent
	no     uint64
	depth  int    // components of its path beneath the root
	bytes  int    // of that path
	at     string // its place beneath the root where that is not its name in parent: of the top, and through a link

	state    dirState
	err      error // why it has failed
	id       fileID
	link     bool // it, or one above it, was reached through a symbolic link
	isRoot   bool // it is the root itself, which has our state in it
	made     bool // by us
	touched  bool // a name in it changes, or may
	loosened bool // its owner may write into it until the end
	asked    bool // so it will be, if a file that was asked about is to come
	extras   bool // names in it were told as extra: they may be removed
	hasMeta  bool // meta is to be set
	lacks    bool // and is not there yet
	young    bool // it, or something in it, may not be durable
	meta     Meta
	mode     fs.FileMode // that it had, without its type

	refs int // guarded by Tree.mu

	// Guarded by dirCache.mu.
	fs     durable.FS
	pins   int
	idle   *list.Element // in dirCache.idle
	away   bool          // a rename from tree/K-ID does not reach it
	tidied bool          // what a crash left in it is gone
}

// parts returns the path of d beneath the top.
func (d *treeDir) parts() []string {
	var up []string
	for ; d.parent != nil; d = d.parent {
		up = append(up, d.name)
	}
	for i, j := 0, len(up)-1; i < j; i, j = i+1, j-1 {
		up[i], up[j] = up[j], up[i]
	}
	return up
}

// place is where d is beneath the root, without links that were there when it was looked for.
func (d *treeDir) place() string {
	var below string
	for ; d.at == ""; d = d.parent {
		below = "/" + d.name + below
	}
	if d.at == "." && below != "" {
		return below[1:]
	}
	return d.at + below
}

// pathOf is the path beneath the root of name in d. Take has checked that it is one.
func (t *Tree) pathOf(d *treeDir, names ...string) Path {
	parts := append(t.spec.Path.Parts(), d.parts()...)
	return Path{parts: append(parts, names...)}
}

// newDir makes the treeDir of a directory that is looked for.
func (t *Tree) newDir(parent *treeDir, e *TreeEntry) *treeDir {
	d := &treeDir{parent: parent, name: e.Name, no: e.No, hasMeta: !e.NoMeta, meta: e.Meta, refs: 1}
	if parent == nil {
		d.depth, d.bytes = len(t.spec.Path.parts), len(t.spec.Path.String())
	} else {
		d.depth, d.bytes, d.link = parent.depth+1, parent.bytes+1+len(e.Name), parent.link
	}
	t.mu.Lock()
	t.live++
	t.attrs += d.meta.attrBytes()
	if parent != nil {
		parent.refs++
	}
	t.mu.Unlock()
	return d
}

// unref gives up one reference of d.
func (t *Tree) unref(d *treeDir) {
	for ; d != nil; d = d.parent {
		t.mu.Lock()
		d.refs--
		gone := d.refs == 0
		if gone {
			t.live--
			t.attrs -= d.meta.attrBytes()
			t.freed()
		}
		t.mu.Unlock()
		if !gone {
			return
		}
		t.cache.drop(d)
	}
}

// dirCache opens directories, and closes those that were not used for the longest time when there are many.
type dirCache struct {
	t *Tree

	mu     sync.Mutex // guards what follows, and some fields of each treeDir
	open   int
	idle   list.List // of *treeDir that are open and not in use
	closed bool
}

func (c *dirCache) init(t *Tree) { c.t = t }

// pin opens d, which stays open until unpin.
func (c *dirCache) pin(d *treeDir) (durable.FS, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pinLocked(d)
}

func (c *dirCache) unpin(d *treeDir) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unpinLocked(d)
}

func (c *dirCache) pinLocked(d *treeDir) (durable.FS, error) {
	if c.closed {
		return nil, ErrClosed
	}
	if d.fs == nil {
		fsys, err := c.openDir(d)
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
			c.shrink(0)
			fsys, err = c.openDir(d)
		}
		if err != nil {
			return nil, err
		}
		d.fs = fsys
		c.open++
		d.pins++
		c.shrink(c.t.max.dirs)
		return fsys, nil
	}
	if d.idle != nil {
		c.idle.Remove(d.idle)
		d.idle = nil
	}
	d.pins++
	return d.fs, nil
}

func (c *dirCache) unpinLocked(d *treeDir) {
	if d.pins--; d.pins > 0 || d.fs == nil {
		return
	}
	if c.closed {
		c.closeDir(d)
		return
	}
	d.idle = c.idle.PushBack(d)
	c.shrink(c.t.max.dirs)
}

// shrink closes directories that are not in use until at most n are open.
func (c *dirCache) shrink(n int) {
	for c.open > n && c.idle.Len() > 0 {
		d := c.idle.Remove(c.idle.Front()).(*treeDir)
		d.idle = nil
		c.closeDir(d)
	}
}

func (c *dirCache) closeDir(d *treeDir) {
	_ = d.fs.Close() // only names were changed through it
	d.fs = nil
	c.open--
}

// drop closes d, to which nobody refers any more.
func (c *dirCache) drop(d *treeDir) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.idle != nil {
		c.idle.Remove(d.idle)
		d.idle = nil
		c.closeDir(d)
	}
}

// close closes all that is not in use, and the rest when it is not used any more.
func (c *dirCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.shrink(0)
}

// openDir opens d in its parent, without following a link, and sees that it is what it was before.
func (c *dirCache) openDir(d *treeDir) (fsys durable.FS, err error) {
	if d.at != "" {
		fsys, err = c.t.d.openPlace(c.t.pathOf(d))
	} else {
		var in durable.FS
		if in, err = c.pinLocked(d.parent); err != nil {
			return nil, err
		}
		defer c.unpinLocked(d.parent)
		fsys, err = in.OpenRoot(d.name)
	}
	if err != nil {
		return nil, err
	}
	fi, err := fsys.Stat(".")
	if err == nil && !d.id.is(fi) {
		err = pathError("open", c.t.pathOf(d).String(), fmt.Errorf("%w: another directory has its name now", ErrNotDir))
	}
	if err != nil {
		_ = fsys.Close()
		return nil, err
	}
	return fsys, nil
}

// openPlace opens the directory p, following links within the root.
func (d *Dir) openPlace(p Path) (durable.FS, error) {
	d.ns.RLock()
	defer d.ns.RUnlock()
	at, err := d.resolve(p, followLast)
	switch {
	case err != nil:
		return nil, err
	case at.info == nil:
		return nil, pathError("open", p.String(), fs.ErrNotExist)
	}
	return d.fs.OpenRoot(at.name)
}

// isAway tells whether d does not take a rename from tree/K-ID.
func (c *dirCache) isAway(d *treeDir) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return d.away || d.id.known && d.id.id.Dev != c.t.d.root.Dev
}

func (c *dirCache) setAway(d *treeDir) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.away = true
}
