package crashfs

import (
	"io/fs"
	"syscall"
	"time"
)

const (
	pageSize   = 4096
	sectorSize = 512
)

// page is content of a file. It is never changed once it is shared between images.
type page struct {
	b      [pageSize]byte
	shared bool
}

// attrs is the part of an inode that Sync makes durable and SyncData does not.
type attrs struct {
	mode     fs.FileMode
	mtime    time.Time
	uid, gid uint32
	xattrs   map[string]string // never changed, but replaced
}

// inode is a file, directory, link or FIFO: both images of it.
type inode struct {
	id     uint64
	kind   fs.FileMode // its type bits
	target string      // of a symbolic link
	ctime  time.Time
	nlink  int // names in the volatile image
	opens  int
	adds   []*change // pending ones that gave it a name, and done ones

	now, disk attrs

	// Of a regular file. A page that is not there is zeros.
	size, diskSize   int64
	pages, diskPages map[int64]*page
	// dirty pages differ from those on disk, or may; true if one was truncated away since the last sync,
	// so that the disk may hold zeros in its place.
	dirty map[int64]bool
	// reserved is the number of pages from the start of the file that have space whether written or not.
	reserved int64

	// Of a directory.
	entries map[string]*inode
	// diskEntries is what is durable; a nil inode is a name durably removed.
	diskEntries map[string]dirent
	pending     []*change
}

// dirent is a durable entry and the change that it came with.
type dirent struct {
	ino *inode
	seq uint64
}

// change is an operation on names that is not durable yet. It becomes durable as a whole, after those that it
// depends on.
type change struct {
	seq     uint64
	effects []effect
	deps    []*change
	done    bool
}

// effect is that name in dir means ino, or nothing where ino is nil.
type effect struct {
	dir  *inode
	name string
	ino  *inode
}

func newInode(id uint64, mode fs.FileMode) *inode {
	t := time.Now()
	n := &inode{id: id, kind: mode.Type(), ctime: t}
	n.now = attrs{mode: mode, mtime: t}
	n.disk = n.now
	switch n.kind {
	case fs.ModeDir:
		n.entries = map[string]*inode{}
		n.diskEntries = map[string]dirent{}
	case 0:
		n.pages = map[int64]*page{}
		n.diskPages = map[int64]*page{}
		n.dirty = map[int64]bool{}
	}
	return n
}

func (n *inode) isDir() bool { return n.kind == fs.ModeDir }

// used is the number of pages that the volatile file takes from the disk.
func (n *inode) used() int64 {
	used := n.reserved
	for i := range n.pages {
		if i >= n.reserved {
			used++
		}
	}
	return used
}

// readAt copies from the volatile image; n is short only at the end of the file.
func (n *inode) readAt(p []byte, off int64) int {
	if off >= n.size {
		return 0
	}
	p = p[:min(int64(len(p)), n.size-off)]
	done := 0
	for done < len(p) {
		i, at := (off+int64(done))/pageSize, (off+int64(done))%pageSize
		part := p[done:min(len(p), done+int(pageSize-at))]
		if pg := n.pages[i]; pg != nil {
			copy(part, pg.b[at:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	return done
}

// writeAt writes as much of p as there is space for, and touches the times.
func (d *disk) writeAt(n *inode, p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		i, at := (off+int64(done))/pageSize, (off+int64(done))%pageSize
		pg, err := d.writable(n, i)
		if err != nil {
			return done, err
		}
		c := copy(pg.b[at:], p[done:])
		done += c
		n.size = max(n.size, off+int64(done))
		n.markDirty(i)
	}
	if done > 0 {
		d.touch(n)
		d.writeBack(n)
	}
	return done, nil
}

func (n *inode) markDirty(i int64) {
	if _, is := n.dirty[i]; !is {
		n.dirty[i] = false
	}
}

// writable returns page i of the volatile image for changing it.
func (d *disk) writable(n *inode, i int64) (*page, error) {
	pg := n.pages[i]
	switch {
	case pg == nil:
		if i >= n.reserved {
			if d.used >= d.total/pageSize {
				return nil, syscall.ENOSPC
			}
			d.used++
		}
		pg = &page{}
		n.pages[i] = pg
	case pg.shared:
		pg = &page{b: pg.b}
		n.pages[i] = pg
	}
	return pg, nil
}

// truncate sets the size of the volatile image.
func (d *disk) truncate(n *inode, size int64) {
	if size < n.size {
		before := n.used()
		first := (size + pageSize - 1) / pageSize // first page that goes as a whole
		for i := range n.pages {
			if i >= first {
				delete(n.pages, i)
				n.dirty[i] = true
			}
		}
		for i := range n.diskPages {
			if i >= first {
				n.dirty[i] = true
			}
		}
		n.reserved = min(n.reserved, first)
		if at := size % pageSize; at != 0 && n.pages[size/pageSize] != nil {
			pg, _ := d.writable(n, size/pageSize) // there is a page: no space needed
			clear(pg.b[at:])
			n.markDirty(size / pageSize)
		}
		d.used -= before - n.used()
	}
	n.size = size
	d.touch(n)
}

// allocate reserves space for size bytes and extends the file, or fails and changes nothing.
func (d *disk) allocate(n *inode, size int64) error {
	before, old := n.used(), n.reserved
	n.reserved = max(old, (size+pageSize-1)/pageSize)
	if need := n.used() - before; need > 0 {
		if d.used+need > d.total/pageSize {
			n.reserved = old
			return syscall.ENOSPC
		}
		d.used += need
	}
	n.size = max(n.size, size)
	d.touch(n)
	return nil
}

func (d *disk) touch(n *inode) {
	t := time.Now()
	n.now.mtime, n.ctime = t, t
}

// toDisk makes page i of the disk the one of the volatile image.
func (n *inode) toDisk(i int64) {
	if pg := n.pages[i]; pg == nil {
		delete(n.diskPages, i)
	} else {
		pg.share()
		n.diskPages[i] = pg
	}
	delete(n.dirty, i)
}

func (p *page) share() {
	if !p.shared { // a shared page is read by others: not even the same value is written to it
		p.shared = true
	}
}

// syncData makes content and size durable.
func (n *inode) syncData() {
	for i := range n.dirty {
		n.toDisk(i)
	}
	n.diskSize = n.size
}

// failSync is what a failed fsync leaves: nothing is dirty any more, and of what was, nothing or only a part
// reached the disk.
func (d *disk) failSync(n *inode) {
	lo, hi := d.someRange(n)
	if d.rng.IntN(4) > 0 {
		lo, hi = 0, 0
	}
	for i := range n.dirty {
		if lo <= i && i < hi {
			n.toDisk(i)
		}
	}
	clear(n.dirty)
}

// writeBack is what the kernel does now and then unasked: some dirty pages go to the disk, without the size.
func (d *disk) writeBack(n *inode) {
	if d.rng.IntN(64) > 0 {
		return
	}
	lo, hi := d.someRange(n)
	for i := range n.dirty {
		if lo <= i && i < hi {
			n.toDisk(i)
		}
	}
}

// someRange is a random range of the file's pages.
func (d *disk) someRange(n *inode) (lo, hi int64) {
	pages := (n.size + pageSize - 1) / pageSize
	lo = d.rng.Int64N(pages + 1)
	return lo, lo + d.rng.Int64N(pages+1)
}

// dropCache forgets clean pages: the disk's are read again.
func (d *disk) dropCache(n *inode) {
	before := n.used()
	for i := range n.pages {
		if _, dirty := n.dirty[i]; !dirty {
			delete(n.pages, i)
		}
	}
	for i, pg := range n.diskPages {
		if _, dirty := n.dirty[i]; !dirty && i*pageSize < n.size {
			n.pages[i] = pg
		}
	}
	d.used += n.used() - before
}
