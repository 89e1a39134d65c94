package sink

import (
	"context"
	"fmt"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// wantState is how far a wanted file is.
type wantState uint8

const (
	wantAsked wantState = iota // its hash was told: Decide comes
	wantOpen                   // its content is to come
	wantPut                    // its content is being written, or waits for its name
)

// wanted is a file of which the content is to come. It holds its directory.
type wanted struct {
	no     uint64
	dir    *treeDir
	name   string
	size   int64
	small  bool // it will be Put
	meta   Meta
	state  wantState // guarded by Tree.mu
	sparse bool
	shared int64         // its place in the list of files that have links, -1 for none
	hashed fileID        // what the hash is of
	root   crypto.Digest // the hash
}

// Room returns how many entries may be given to Take before something that is wanted has come: what is wanted is kept in
// memory, with its directories. Beyond it Take fails with ErrBusy.
func (t *Tree) Room() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.room()
}

// room is called with mu.
func (t *Tree) room() int { return t.max.wanted - len(t.wanted) - t.live - int(t.attrs/attrUnit) }

// attrUnit is how many bytes of attributes count as an entry that is wanted.
const attrUnit = 1 << 10

// Wait returns when there is room; what has arrived is published for that before its time. The errors are that of ctx, and what has ended the tree.
func (t *Tree) Wait(ctx context.Context) error {
	for {
		t.mu.Lock()
		free, ended := t.free, t.ended
		if ended != nil || t.room() > 0 {
			t.mu.Unlock()
			return ended
		}
		t.waits = true
		t.mu.Unlock()
		t.group.hurry()
		select {
		case <-free:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-t.ctx.Done():
			return context.Cause(t.ctx)
		}
	}
}

// Pending returns how many entries are wanted and not yet published, dropped or decided.
func (t *Tree) Pending() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.wanted)
}

// freed tells those who wait that there may be room. mu is held.
func (t *Tree) freed() {
	if t.waits && t.ended == nil {
		close(t.free)
		t.free, t.waits = make(chan struct{}), false
	}
}

// want notes a file that is to come.
func (t *Tree) want(w *wanted) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w.dir.refs++
	t.wanted[w.no] = w
	w.small = w.size <= t.spec.Small
	t.awaits(w, 1)
	t.attrs += w.meta.attrBytes()
}

// awaits counts the small files that are to come, of which w is one more or less. mu is held.
func (t *Tree) awaits(w *wanted, n int) {
	if w.small {
		t.small += n
	}
}

// allPut tells whether every small file that is wanted was Put.
func (t *Tree) allPut() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.small == 0 && t.spec.Small > 0
}

// forget takes entry no from what is wanted, if it is and ok (nil: always) says so. The caller gives up w.dir by unref.
func (t *Tree) forget(no uint64, ok func(*wanted) bool) *wanted {
	t.mu.Lock()
	w := t.wanted[no]
	if w == nil || ok != nil && !ok(w) {
		t.mu.Unlock()
		return nil
	}
	delete(t.wanted, no)
	if w.state != wantPut {
		t.awaits(w, -1)
	}
	t.attrs -= w.meta.attrBytes()
	t.freed()
	t.mu.Unlock()
	t.unref(w.dir)
	return w
}

// Path says where a wanted entry goes, for a file that comes through a Stage. It is false for one that is not wanted.
func (t *Tree) Path(no uint64) (Path, TreeEntry, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.wanted[no]
	if w == nil || w.state != wantOpen {
		return Path{}, TreeEntry{}, false
	}
	return t.pathOf(w.dir, w.name), TreeEntry{No: no, Name: w.name, Kind: File, Size: w.size, Meta: w.meta, Sparse: w.sparse, Shared: w.shared >= 0}, true
}

// Drop says that a wanted file does not come.
func (t *Tree) Drop(no uint64) {
	if w := t.forget(no, func(w *wanted) bool { return w.state != wantPut }); w != nil {
		t.count(func(r *TreeResult) { r.Failed++ })
	}
}

// Arrived says that a wanted file will not be Put: it came through a Stage, and is published.
func (t *Tree) Arrived(no uint64, size int64, root crypto.Digest) {
	w := t.forget(no, func(w *wanted) bool { return w.state != wantPut })
	if w == nil {
		return
	}
	t.changed.Store(true)
	t.shared.mark(w.shared)
	t.there(w.dir, w.name, size, root)
	t.count(func(r *TreeResult) {
		r.Published++
		r.PublishedBytes += uint64(size)
	})
}

// there tells of a file that is there.
func (t *Tree) there(d *treeDir, name string, size int64, root crypto.Digest) {
	if t.spec.There != nil {
		t.spec.There(t.relative(d, name), size, root)
	}
}

// Came says that a file which was dropped as one that does not come has its final name all the same: hard links to it can be made.
func (t *Tree) Came(no uint64) {
	at, known, err := t.shared.look(no)
	if err != nil {
		t.fault(err)
	} else if known {
		t.shared.mark(at)
	}
}

// Decide answers VerdictHash: whether the file that is here is to be replaced by the one that the sender has (send), or is
// the same. The verdict is what becomes of the entry.
func (t *Tree) Decide(no uint64, send bool) Verdict {
	if err := t.usable(); err != nil {
		return t.failed(err)
	}
	t.mu.Lock()
	w := t.wanted[no]
	if w == nil || w.state != wantAsked {
		t.mu.Unlock()
		return t.failed(fmt.Errorf("entry %d was not asked about: %w", no, ErrRange))
	}
	t.mu.Unlock()
	if send && !t.noReplace && !t.spec.DryRun {
		return t.decideSend(w)
	}
	var v Verdict
	switch {
	case send && t.noReplace:
		v = t.failed(existError(w.name))
	case send:
		v = Verdict{Code: VerdictUpdate}
	default:
		v = t.decideSame(w)
		if v.Code == VerdictUpdate && !t.spec.DryRun {
			return t.decideSend(w)
		}
	}
	t.forget(no, nil)
	t.counted(&TreeEntry{Kind: File, Size: w.size}, v)
	return v
}

// decideSend has a file come that was asked about.
func (t *Tree) decideSend(w *wanted) Verdict {
	if t.isClosed(w.dir) {
		if dir, err := t.cache.pin(w.dir); err == nil {
			_ = dir.Chmod(".", w.dir.mode|0o700) // else it is told when the file has come
			t.cache.unpin(w.dir)
		}
	}
	t.changed.Store(true)
	t.mu.Lock()
	defer t.mu.Unlock()
	w.state = wantOpen
	return Verdict{Code: VerdictUpdate}
}

// decideSame sets the metadata of a file whose content the sender has found the same. One that is not any more what was
// hashed is wanted after all.
func (t *Tree) decideSame(w *wanted) Verdict {
	fsys, err := t.cache.pin(w.dir)
	if err != nil {
		return t.failed(err)
	}
	defer t.cache.unpin(w.dir)
	fi, err := fsys.Lstat(w.name)
	if err != nil || !w.hashed.unchanged(fi) {
		if t.noReplace {
			return t.failed(existError(w.name))
		}
		return Verdict{Code: VerdictUpdate}
	}
	v := t.same(fsys, w.name, fi, w.meta)
	if v.Code != VerdictFailed {
		t.shared.mark(w.shared)
		t.there(w.dir, w.name, w.size, w.root)
	}
	return v
}

// fileID tells whether a name still is what it was. Where the system has no inode numbers it holds all that it told.
type fileID struct {
	id    durable.ID
	known bool
	info  fileInfo
}
