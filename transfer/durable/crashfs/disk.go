package crashfs

import (
	"cmp"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// disk is what the handles share. Everything is under mu.
type disk struct {
	mu     sync.Mutex
	seed   uint64
	rng    *rand.Rand
	faults faults
	images uint64 // how many crashes were imagined

	root     *inode
	total    int64 // bytes
	used     int64 // pages
	locks    map[*inode]bool
	noSyncFS bool

	lastID  uint64
	freeIDs []uint64 // given out again, as file systems do

	seq     uint64
	changes []*change // in order, some of them done
	// dirMoves are the pending changes that move or make directories: they become durable in their order, so
	// that no directory ends up within itself.
	dirMoves []*change
}

func newDisk(seed uint64) *disk {
	return &disk{seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), total: 1 << 40, locks: map[*inode]bool{}}
}

func (d *disk) newID() uint64 {
	if n := len(d.freeIDs); n > 0 {
		id := d.freeIDs[n-1]
		d.freeIDs = d.freeIDs[:n-1]
		return id
	}
	d.lastID++
	return d.lastID
}

// change makes effects visible, and durable later.
func (d *disk) change(deps []*change, effects ...effect) *change {
	d.seq++
	c := &change{seq: d.seq, effects: effects}
	c.deps = undone(deps)
	for _, e := range effects {
		old := e.dir.entries[e.name]
		if e.ino != nil {
			e.dir.entries[e.name] = e.ino
			e.ino.nlink++
			e.ino.adds = append(e.ino.adds, c)
			if e.ino.isDir() {
				d.dirMoves = append(undone(d.dirMoves), c)
			}
		} else {
			delete(e.dir.entries, e.name)
		}
		if old != nil {
			old.nlink--
			old.ctime = time.Now()
			d.release(old)
		}
		e.dir.pending = append(e.dir.pending, c)
		d.touch(e.dir)
	}
	d.changes = append(d.changes, c)
	return c
}

// undone returns the changes of list that are not durable.
func undone(list []*change) []*change {
	return slices.DeleteFunc(slices.Clone(list), func(c *change) bool { return c.done })
}

// adds returns the pending changes that gave n a name: what takes a name away from n waits for them.
func adds(n *inode) []*change {
	if n == nil {
		return nil
	}
	n.adds = undone(n.adds)
	return slices.Clone(n.adds)
}

// release gives the space of a file back that nothing refers to. What a crash may bring back is kept.
func (d *disk) release(n *inode) {
	if n.nlink > 0 || n.opens > 0 {
		return
	}
	d.freeIDs = append(d.freeIDs, n.id)
	if n.kind == 0 {
		d.used -= n.used()
	}
}

// commit makes c durable, after what it depends on.
func (c *change) commit() {
	if c.done {
		return
	}
	c.done = true
	for _, dep := range c.deps {
		dep.commit()
	}
	c.deps = nil
	for _, e := range c.effects {
		if e.dir.diskEntries[e.name].seq < c.seq {
			e.dir.diskEntries[e.name] = dirent{e.ino, c.seq}
		}
	}
}

// syncDir makes the names in n durable, with its mode and times.
func (d *disk) syncDir(n *inode) {
	for _, c := range n.pending {
		c.commit()
	}
	n.pending = nil
	n.disk = n.now
	d.compact()
}

// compact forgets changes that are done, when they are many.
func (d *disk) compact() {
	pending := 0
	for _, c := range d.changes {
		if !c.done {
			pending++
		}
	}
	if len(d.changes) < 2*pending+16 {
		return
	}
	kept := d.changes[:0]
	for _, c := range d.changes {
		if !c.done {
			kept = append(kept, c)
		}
	}
	clear(d.changes[len(kept):])
	d.changes = kept
}

// inodes returns all that have a name, in the order of their numbers.
func (d *disk) inodes() []*inode {
	seen := map[*inode]bool{}
	d.root.walk(func(n *inode) { seen[n] = true })
	return slices.SortedFunc(maps.Keys(seen), func(a, b *inode) int { return cmp.Compare(a.id, b.id) })
}

// syncAll makes the volatile image the durable one.
func (d *disk) syncAll() {
	for _, c := range d.changes {
		c.commit()
	}
	for _, n := range d.inodes() {
		if n.kind == 0 {
			n.syncData()
		}
		n.pending = nil
		n.disk = n.now
	}
	d.compact()
}

// failSyncAll is what a failed syncfs leaves: what it had written before, what it could not write, and the rest.
func (d *disk) failSyncAll() {
	for _, n := range d.inodes() {
		if n.kind != 0 {
			continue
		}
		switch d.rng.IntN(3) {
		case 0:
			n.syncData()
		case 1:
			d.failSync(n)
		}
	}
}
