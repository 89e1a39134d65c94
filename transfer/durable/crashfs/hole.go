package crashfs

import (
	"fmt"

	"os"
	"syscall"

	"xfer/transfer/durable"
)

// NextData implements durable.File.
func (f *file) NextData(off int64) (int64, error) { return f.next("seek data", off, true) }

// NextHole implements durable.File.
func (f *file) NextHole(off int64) (int64, error) { return f.next("seek hole", off, false) }

// next finds a page that has data, or has none.
func (f *file) next(op string, off int64, data bool) (int64, error) {
	err := f.look(op)
	defer f.fs.d.mu.Unlock()
	switch {
	case err != nil:
		return 0, err
	case off < 0 || f.ino.kind != 0:
		return 0, f.err(op, syscall.EINVAL)
	}
	if data {
		return f.ino.nextData(off), nil
	}
	return f.ino.nextHole(off), nil
}

func (n *inode) nextHole(off int64) int64 {
	at := off
	for at < n.size && n.pages[at/pageSize] != nil {
		at = (at/pageSize + 1) * pageSize
	}
	return max(off, min(at, n.size))
}

// nextData looks at the pages that there are: a file may be much larger.
func (n *inode) nextData(off int64) int64 {
	end := max(off, n.size)
	at := end
	for i := range n.pages {
		if (i+1)*pageSize > off {
			at = min(at, max(off, i*pageSize))
		}
	}
	return at
}

// PunchHole implements durable.File. Space that Allocate reserved stays reserved.
func (f *file) PunchHole(off, n int64) error {
	_, err := f.begin("punch", func() string { return fmt.Sprintf(" %d+%d", off, n) })
	defer f.fs.d.mu.Unlock()
	if err == nil {
		err = f.regular("punch", f.writable())
	}
	switch {
	case err != nil:
		return err
	case off < 0 || n < 0 || f.ino.kind != 0:
		return f.err("punch", syscall.EINVAL)
	case n > 0:
		f.fs.d.punch(f.ino, off, n)
	}
	return nil
}

// punch makes count bytes from off on zeros, and whole pages of them holes.
func (d *disk) punch(n *inode, off, count int64) {
	before := n.used()
	end := off + count
	clearPage := func(i int64) {
		lo, hi := max(off, i*pageSize), min(end, (i+1)*pageSize)
		switch {
		case n.pages[i] == nil || lo >= hi:
		case hi-lo == pageSize:
			delete(n.pages, i)
			n.dirty[i] = true
		default:
			pg, _ := d.writable(n, i) // there is a page: no space needed
			clear(pg.b[lo-i*pageSize : hi-i*pageSize])
			n.markDirty(i)
		}
	}
	if count/pageSize < int64(len(n.pages)) {
		for i := off / pageSize; i*pageSize < end; i++ {
			clearPage(i)
		}
	} else {
		for i := range n.pages { // clearPage deletes only i itself
			clearPage(i)
		}
	}
	d.used -= before - n.used()
	d.touch(n)
}

// CloneRange implements durable.File, in pages.
func (f *file) CloneRange(dst durable.File, srcOff, dstOff, n int64) error {
	to, ok := dst.(*file)
	if !ok || to.fs.d != f.fs.d {
		return f.err("clone", syscall.EXDEV)
	}
	_, err := to.begin("clone", func() string { return fmt.Sprintf(" %d+%d", dstOff, n) })
	defer f.fs.d.mu.Unlock()
	if err == nil {
		err = to.regular("clone", to.writable())
	}
	if err == nil {
		err = f.regular("clone", !f.closed && f.flag&os.O_WRONLY == 0)
	}
	if err != nil {
		return err
	}
	whole := n%pageSize == 0 || srcOff+n == f.ino.size && dstOff+n >= to.ino.size
	if srcOff < 0 || dstOff < 0 || n < 0 || srcOff%pageSize != 0 || dstOff%pageSize != 0 || !whole ||
		srcOff+n > f.ino.size || f.ino == to.ino {
		return f.err("clone", syscall.EINVAL)
	}
	return f.err("clone", f.fs.d.clone(f.ino, to.ino, srcOff, dstOff, n))
}

// clone gives to the pages that from has.
func (d *disk) clone(from, to *inode, srcOff, dstOff, n int64) error {
	for k := int64(0); k < n; k += pageSize {
		pg := from.pages[(srcOff+k)/pageSize]
		if pg == nil {
			d.punch(to, dstOff+k, min(pageSize, n-k))
			continue
		}
		i := (dstOff + k) / pageSize
		if _, err := d.writable(to, i); err != nil { // counts the space, which a real clone does not need
			return err
		}
		pg.share()
		to.pages[i] = pg
		to.size = max(to.size, dstOff+min(k+pageSize, n))
		to.markDirty(i)
	}
	to.size = max(to.size, dstOff+n)
	d.touch(to)
	return nil
}

// CopyRange implements durable.File. It is as many operations as it takes writes.
func (f *file) CopyRange(dst durable.File, srcOff, dstOff, n int64) error {
	if srcOff < 0 || dstOff < 0 || n < 0 {
		return f.err("copy", syscall.EINVAL)
	}
	return durable.CopyBuffered(f, dst, srcOff, dstOff, n)
}
