package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"

	"xfer/transfer/durable"
)

// nameBlock is the logarithm of the bytes that names lie in together.
const nameBlock = 18

// nameList is the names of a directory in ascending order, in little memory. Growing copies no names.
type nameList struct {
	blocks [][]byte // of 1<<nameBlock bytes, the first may be smaller
	refs   []uint64 // each name as block<<(nameBlock+8) | start<<8 | length, of at most 255 bytes
	next   int      // the first that was not told of
}

func (n *nameList) at(i int) []byte { return n.get(n.refs[i]) }

func (n *nameList) get(ref uint64) []byte {
	start := ref >> 8 & (1<<nameBlock - 1)
	return n.blocks[ref>>(nameBlock+8)][start : start+ref&0xff]
}

func (n *nameList) add(name string) {
	last := len(n.blocks) - 1
	if last < 0 || len(n.blocks[last])+len(name) > 1<<nameBlock {
		var block []byte
		if last++; last > 0 { // most directories are small
			block = make([]byte, 0, 1<<nameBlock)
		}
		n.blocks = append(n.blocks, block)
	}
	n.refs = append(n.refs, uint64(last)<<(nameBlock+8)|uint64(len(n.blocks[last]))<<8|uint64(len(name)))
	n.blocks[last] = append(n.blocks[last], name...)
}

func (n *nameList) sort() {
	slices.SortFunc(n.refs, func(a, b uint64) int { return bytes.Compare(n.get(a), n.get(b)) })
}

// has tells whether name is there, which was the last to be given to tellBefore.
func (n *nameList) has(name string) bool {
	return n.next > 0 && string(n.at(n.next-1)) == name
}

// listNames counts the names in dir, and returns them.
func (t *Tree) listNames(dir durable.FS, top bool) (*nameList, error) {
	n, err := listNames(t.ctx, dir, top)
	if err == nil {
		t.before += int64(len(n.refs))
	}
	return n, err
}

// listNames returns the names in dir without those of our own state. top tells that it is the root.
func listNames(ctx context.Context, dir durable.FS, top bool) (*nameList, error) {
	f, err := dir.OpenFile(".", durable.NonBlock, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n := new(nameList)
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		entries, err := f.ReadDir(1024)
		for _, e := range entries {
			name := e.Name()
			if len(name) > math.MaxUint8 || isPrivate(name, top) { // guard: our state is not seen
				continue
			}
			n.add(name)
		}
		if errors.Is(err, io.EOF) || err == nil && len(entries) == 0 {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	n.sort()
	return n, nil
}

// tellBefore tells Extra of the names in l that come before name ("": of all) and were not in the manifest.
func (t *Tree) tellBefore(l *level, name string) {
	n := l.names
	if n == nil {
		return
	}
	for ; n.next < len(n.refs); n.next++ {
		have := n.at(n.next)
		if name != "" && string(have) >= name {
			if string(have) == name {
				n.next++
			}
			return
		}
		if t.usable() != nil {
			return
		}
		if l.fs == nil {
			var err error
			if l.fs, err = t.cache.pin(l.dir); err != nil {
				t.noteUnseen(err)
				return
			}
		}
		if t.tellExtra(l.fs, t.pathOf(l.dir, string(have))) {
			l.dir.extras = true
		}
	}
}

// tellExtra tells of p, which is in dir, and of what is beneath it. It is false where there is nothing to be told.
func (t *Tree) tellExtra(dir durable.FS, p Path) bool {
	t.busy()
	if t.usable() != nil || len(p.parts) > maxComponents || t.isBackup(p) {
		return false
	}
	name := p.parts[len(p.parts)-1]
	fi, err := dir.Lstat(name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) { // else it was removed meanwhile
			t.noteUnseen(err)
		}
		return false
	}
	kind, size := Other, int64(0)
	switch {
	case fi.Mode().IsRegular():
		kind, size = File, fi.Size()
	case fi.IsDir():
		kind = Directory
	case fi.Mode()&fs.ModeSymlink != 0:
		kind = Link
	}
	t.mayGo.add(&t.mayGo.extra, p)
	t.spec.Extra(p, kind, size)
	if kind == Directory {
		if err := t.tellBeneath(dir, p, fi); err != nil {
			t.noteUnseen(err)
		}
	}
	return true
}

// tellBeneath tells of all that is in the directory p, which is fi in dir.
func (t *Tree) tellBeneath(dir durable.FS, p Path, fi fs.FileInfo) error {
	sub, err := openChild(dir, p.parts[len(p.parts)-1], fi)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer sub.Close()
	names, err := t.listNames(sub, false)
	if err != nil {
		return err
	}
	for i := range names.refs {
		t.tellExtra(sub, Path{parts: append(p.Parts(), string(names.at(i)))})
	}
	return nil
}

// openChild opens the directory name of dir if it still is what fi told.
func openChild(dir durable.FS, name string, fi fs.FileInfo) (durable.FS, error) {
	sub, err := dir.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	now, err := sub.Stat(".")
	if err == nil && !fileIDOf(fi).is(now) {
		err = pathError("open", name, fmt.Errorf("%w: another directory has its name now", ErrNotDir))
	}
	if err != nil {
		_ = sub.Close()
		return nil, err
	}
	return sub, nil
}

// isBackup tells whether p is the backup directory, or has it somewhere in it. No manifest has that.
func (t *Tree) isBackup(p Path) bool {
	b := t.spec.Backup.parts
	return len(b) >= len(p.parts) && slices.Equal(p.parts, b[:len(p.parts)])
}

// noteUnseen notes that not all extra names were told: Finish fails with it, at its end.
func (t *Tree) noteUnseen(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.unseen == nil {
		t.unseen = fmt.Errorf("what is not in the manifest: %w", err)
	}
}
