package crashfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// Crash cuts the power and returns the file system as it is found afterwards, everything on it durable. This one
// and all its handles and files fail with ErrCrashed from now on. Called again it returns another of the
// possible outcomes of the same crash. No fault, space limit or hook goes over to the new one but the space limit.
func (f *FS) Crash() *FS {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.faults.dead = ErrCrashed
	f.d.images++
	return f.d.image(f.d.seed*1_000_003 + f.d.images)
}

// Image is what Crash might return, by another seed, and leaves the file system as it is.
func (f *FS) Image(seed uint64) *FS {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.d.image(seed)
}

// Kill ends the process, and returns what another finds that is started after it: the volatile image, which is
// as little durable as before, without locks and open files. This FS, its handles and its files fail with
// ErrCrashed from now on. Faults, counts and the hook do not go over. Not after Crash or CrashAt.
func (f *FS) Kill() *FS {
	old := f.d
	old.mu.Lock()
	defer old.mu.Unlock()
	if old.faults.dead != nil {
		panic("crashfs: Kill after the machine has crashed")
	}
	old.faults.dead = ErrCrashed
	d := newDisk(old.seed + 1)
	d.root, d.total, d.noSyncFS = old.root, old.total, old.noSyncFS
	d.lastID, d.freeIDs = old.lastID, old.freeIDs
	d.seq, d.changes, d.dirMoves = old.seq, old.changes, old.dirMoves
	seen := map[*inode]bool{}
	d.root.walk(func(n *inode) {
		n.opens = 0
		if n.kind == 0 && !seen[n] {
			seen[n] = true
			d.used += n.used()
		}
	})
	return &FS{d: d, root: d.root}
}

// walk calls f for each inode beneath n in the volatile image, once for each name, and for n.
func (n *inode) walk(f func(*inode)) {
	f(n)
	for _, e := range n.entries {
		e.walk(f)
	}
}

// image builds one possible outcome of a crash now.
func (d *disk) image(seed uint64) *FS {
	rng := rand.New(rand.NewPCG(seed, 2))
	im := &imager{
		rng:     rng,
		to:      newDisk(seed),
		kept:    map[*change]bool{},
		overlay: map[*inode]map[string]dirent{},
		made:    map[*inode]*inode{},
		ids:     map[uint64]bool{},
	}
	im.to.total, im.to.lastID, im.to.noSyncFS = d.total, d.lastID, d.noSyncFS
	im.choose(d.changes)
	im.to.root = im.copy(d.root)
	im.to.root.nlink = 1
	return &FS{d: im.to, root: im.to.root}
}

// imager copies a disk, with what happened to survive.
type imager struct {
	rng     *rand.Rand
	to      *disk
	kept    map[*change]bool
	overlay map[*inode]map[string]dirent // entries from the changes that survived
	made    map[*inode]*inode
	ids     map[uint64]bool
}

// choose decides which changes of names that nobody synced have reached the disk nonetheless: none, all, those up
// to some moment (a journal), or any of them.
func (im *imager) choose(changes []*change) {
	switch im.rng.IntN(6) {
	case 0: // none
	case 1:
		im.keepEach(changes, 1)
	case 2, 3:
		im.keepEach(changes[:im.rng.IntN(len(changes)+1)], 1)
	default:
		im.keepEach(changes, []float64{0.1, 0.5, 0.9}[im.rng.IntN(3)])
	}
}

func (im *imager) keepEach(changes []*change, p float64) {
	for _, c := range changes {
		if im.rng.Float64() < p {
			im.keep(c)
		}
	}
}

func (im *imager) keep(c *change) {
	if c.done || im.kept[c] {
		return
	}
	im.kept[c] = true
	for _, dep := range c.deps {
		im.keep(dep)
	}
	for _, e := range c.effects {
		entries := im.overlay[e.dir]
		if entries == nil {
			entries = map[string]dirent{}
			im.overlay[e.dir] = entries
		}
		if entries[e.name].seq < c.seq {
			entries[e.name] = dirent{e.ino, c.seq}
		}
	}
}

// copy makes the inode as it is after the crash, with all beneath it.
func (im *imager) copy(n *inode) *inode {
	if c := im.made[n]; c != nil {
		return c
	}
	c := newInode(im.id(n.id), n.kind)
	im.made[n] = c
	c.target = n.target
	// The change time is a time of the past, as the others.
	c.now, c.ctime = im.attrs(n), n.ctime
	c.disk = c.now
	if n.kind == 0 {
		im.content(n, c)
	}
	if n.isDir() {
		im.entries(n, c)
	}
	return c
}

// id keeps the number of an inode, unless it was given out twice: a removal was undone.
func (im *imager) id(id uint64) uint64 {
	if im.ids[id] {
		im.to.lastID++
		id = im.to.lastID
	}
	im.ids[id] = true
	return id
}

func (im *imager) attrs(n *inode) attrs {
	a := n.disk
	if im.rng.IntN(2) == 0 {
		a.mode = n.now.mode
	}
	if im.rng.IntN(2) == 0 {
		a.mtime = n.now.mtime
	}
	if a.uid == n.now.uid && a.gid == n.now.gid && len(a.xattrs)+len(n.now.xattrs) == 0 {
		return a // the rest of the crash stays what it was for this seed
	}
	if im.rng.IntN(2) == 0 {
		a.uid, a.gid = n.now.uid, n.now.gid
	}
	a.xattrs = mixXAttrs(a.xattrs, n.now.xattrs, func() bool { return im.rng.IntN(2) == 0 })
	return a
}

func (im *imager) entries(n, c *inode) {
	names := maps.Clone(n.diskEntries)
	for name, e := range im.overlay[n] {
		if names[name].seq < e.seq {
			names[name] = e
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if names[name].ino == nil {
			continue
		}
		child := im.copy(names[name].ino)
		child.nlink++
		c.entries[name] = child
		c.diskEntries[name] = dirent{ino: child}
	}
}

// content decides what is left of the data that was not synced.
func (im *imager) content(n, c *inode) {
	for i, pg := range n.diskPages {
		pg.share()
		c.diskPages[i] = pg
	}
	mode := im.rng.IntN(5) // for the whole file: old, new, or a mixture
	for _, i := range slices.Sorted(maps.Keys(n.dirty)) {
		switch pg := im.survivor(n, i, mode); pg {
		case nil:
			delete(c.diskPages, i)
		default:
			pg.share()
			c.diskPages[i] = pg
		}
	}
	c.diskSize = im.size(n)
	cutTail(c)
	c.size = c.diskSize
	c.pages = maps.Clone(c.diskPages)
	im.to.used += c.used()
}

// survivor is what page i of n is after the crash.
func (im *imager) survivor(n *inode, i int64, mode int) *page {
	before, after := n.diskPages[i], n.pages[i]
	zeroed := n.dirty[i]
	switch mode {
	case 0:
		if zeroed && im.rng.IntN(2) == 0 {
			return nil
		}
		return before
	case 1:
		return after
	}
	switch im.rng.IntN(4) {
	case 0:
		if zeroed {
			return nil
		}
		return before
	case 1:
		return before
	case 2:
		return after
	}
	torn := &page{}
	for at := 0; at < pageSize; at += sectorSize {
		from := before
		if im.rng.IntN(2) == 0 {
			from = after
		}
		if from != nil {
			copy(torn.b[at:at+sectorSize], from.b[at:])
		}
	}
	return torn
}

func (im *imager) size(n *inode) int64 {
	lo, hi := min(n.diskSize, n.size), max(n.diskSize, n.size)
	switch im.rng.IntN(5) {
	case 0, 1:
		return n.diskSize
	case 2, 3:
		return n.size
	}
	return lo + im.rng.Int64N(hi-lo+1)
}

// cutTail drops what lies behind the size of the durable image.
func cutTail(c *inode) {
	end := (c.diskSize + pageSize - 1) / pageSize
	for i := range c.diskPages {
		if i >= end {
			delete(c.diskPages, i)
		}
	}
	at := c.diskSize % pageSize
	if pg := c.diskPages[c.diskSize/pageSize]; at != 0 && pg != nil {
		cut := &page{b: pg.b, shared: true}
		clear(cut.b[at:])
		c.diskPages[c.diskSize/pageSize] = cut
	}
}
