package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"syscall"

	"xfer/transfer/durable"
)

// DefaultOpenDirs is how many directories stay open without a need where WalkOptions do not say another number.
const DefaultOpenDirs = 256

// WalkOptions are those of a Walker. The zero value is good.
type WalkOptions struct {
	// MaxDepth is the largest number of components of a path; a directory at that depth that has entries gets
	// ErrTooDeep. 0 is DefaultMaxDepth. Each level holds one file descriptor.
	MaxDepth int
	// OneFileSystem shows directories on other devices than the top's, but nothing beneath them.
	OneFileSystem bool
	// CopyLinks shows what symbolic links point at in place of them, wherever in the FS it is: what a directory
	// holds comes more than once then, if more than one way leads to it. The start of the walk must be a name without a symbolic link in
	// it then.
	CopyLinks bool
	// AbsoluteLinks tells that the FS is that of the system's root, so that links with an absolute target can be followed. Else they
	// lead out of it, and so does a link into the state of a receiver (Reserved) at its top.
	AbsoluteLinks bool
	// Select is the selection of the start; nil for everything.
	Select Selection
	// StartAfter is the path of an entry: it, and those before it in the order of a manifest, are not shown, but for the directories
	// that lead to it, and itself if it is a directory, with Again. nil for all.
	StartAfter []string
	// OpenDirs is how many directories stay open although the walk has left them, because somebody retains them. 0 is
	// DefaultOpenDirs.
	OpenDirs int
}

// Walker shows what a directory and everything beneath it is, in the order of a manifest. It holds the names of the
// directories that lead to the entry, and no other. A tree that changes meanwhile is shown so that each entry is
// as it was at some moment. Use it from one goroutine at a time.
type Walker struct {
	fsys  durable.FS
	opt   WalkOptions
	pool  *dirPool
	item  Item
	begun bool
	stack []frame
	free  []names // for directories to come
	loose *Dir    // of the item alone
	start string
	info  fs.FileInfo // of the start
	dev   uint64
}

// frame is a directory that the walk is in.
type frame struct {
	dir    *Dir
	fs     durable.FS
	names  names
	next   int // number of a name
	sel    Selection
	only   bool     // names are those of sel
	resume []string // rest of StartAfter, beneath the first name
}

// NewWalker returns a Walker over the directory start of fsys, which stays open until all is closed and released. The
// error is that of looking at start, or syscall.ENOTDIR. The caller closes the Walker.
func NewWalker(fsys durable.FS, start string, opt WalkOptions) (*Walker, error) {
	if opt.MaxDepth <= 0 {
		opt.MaxDepth = DefaultMaxDepth
	}
	if opt.OpenDirs <= 0 {
		opt.OpenDirs = DefaultOpenDirs
	}
	fi, err := fsys.Lstat(start)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		return nil, &fs.PathError{Op: "walk", Path: start, Err: syscall.ENOTDIR}
	}
	id, ok := durable.IDOf(fi)
	if opt.OneFileSystem && !ok {
		return nil, fmt.Errorf("to stay on one file system: %w", syscall.ENOTSUP)
	}
	return &Walker{fsys: fsys, opt: opt, pool: newDirPool(fsys, opt.OpenDirs), start: start, info: fi, dev: id.Dev}, nil
}

// Close ends the walk. Directories that are retained stay good.
func (w *Walker) Close() error {
	w.drop()
	for len(w.stack) > 0 {
		w.leave()
	}
	w.begun = true
	return nil
}

// Next returns the next entry, io.EOF after the last one, or the cause of ctx when it is done.
func (w *Walker) Next(ctx context.Context) (*Item, error) {
	w.drop()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if !w.begun {
		w.begun = true
		w.item = Item{Kind: Directory, Info: w.info, Base: ".", Again: len(w.opt.StartAfter) > 0}
		w.enter(w.opt.StartAfter)
		return &w.item, nil
	}
	for len(w.stack) > 0 {
		f := &w.stack[len(w.stack)-1]
		if f.next == f.names.len() {
			w.leave()
			continue
		}
		name := string(f.names.get(f.next))
		f.next++
		if w.visit(f, name) {
			return &w.item, nil
		}
	}
	return nil, io.EOF
}

// Skip leaves out what is beneath the directory that Next returned last; of another entry it does nothing.
func (w *Walker) Skip() {
	if n := len(w.stack); n > 0 && w.stack[n-1].dir == w.item.Self {
		w.stack[n-1].next = w.stack[n-1].names.len()
	}
}

// drop lets go of what only the item had.
func (w *Walker) drop() {
	if w.loose != nil {
		w.loose.Release()
		w.loose = nil
	}
}

// leave goes up a directory.
func (w *Walker) leave() {
	n := len(w.stack) - 1
	f := &w.stack[n]
	f.dir.letGo(1)
	f.names.reset()
	w.free = append(w.free, f.names)
	*f = frame{}
	w.stack = w.stack[:n]
}

// visit makes the item of a name in the directory f. It is false if it is not shown.
func (w *Walker) visit(f *frame, name string) bool {
	var resume []string
	again := len(f.resume) > 0 && f.resume[0] == name
	if again {
		resume = f.resume[1:]
	}
	f.resume = nil
	w.item = Item{Depth: len(w.stack), Name: name, Base: name, Again: again, Dir: f.dir, in: f.dir}
	it := &w.item
	it.Info, it.Err = f.fs.Lstat(name)
	switch {
	case it.Err == nil:
		it.Kind = KindOf(it.Info)
	case (f.only || again) && isMissing(it.Err):
		return false
	}
	if it.Kind == Symlink {
		it.Target, it.Err = f.fs.Readlink(name)
		if w.opt.CopyLinks && it.Err == nil {
			w.followItem(it)
		}
	}
	if f.sel != nil && !f.sel.Keep(name, it.Kind == Directory) || again && it.Kind != Directory && it.Kind != Unknown {
		w.drop()
		return false
	}
	if it.Kind == Directory && it.Err == nil {
		w.enter(resume)
	}
	return true
}

// enter opens the directory that the item is, and goes into it.
func (w *Walker) enter(resume []string) {
	it := &w.item
	if id, ok := durable.IDOf(it.Info); w.opt.OneFileSystem && ok && id.Dev != w.dev {
		it.Mount = true
		return
	}
	dir := &Dir{pool: w.pool, parent: it.in, name: it.Name, info: it.Info, refs: 1, pins: 1}
	from, by := w.fsys, ""
	switch {
	case it.Depth == 0:
		by = w.start
	case it.Linked:
		if by = join(it.parts); w.inLoop() {
			it.Err = &fs.PathError{Op: "follow", Path: it.Name, Err: ErrLoop}
			return
		}
	default:
		from = w.stack[len(w.stack)-1].fs
	}
	if dir.at = by; by == "" {
		by = it.Base
	}
	if dir.fs, it.Err = openSame(from, by, it.Info); it.Err != nil {
		return
	}
	it.Self = dir
	f := frame{dir: dir, fs: dir.fs}
	if n := len(w.free); n > 0 {
		f.names, w.free = w.free[n-1], w.free[:n-1]
	}
	if it.Err = w.fill(&f); f.names.len() > 0 && it.Depth >= w.opt.MaxDepth {
		it.Err = fmt.Errorf("%w: more than %d components", ErrTooDeep, w.opt.MaxDepth)
		f.names.reset()
	}
	if len(resume) > 0 {
		f.next, f.resume = f.names.from(resume[0]), resume
	}
	w.stack = append(w.stack, f)
}

// fill finds out what is in the directory f.
func (w *Walker) fill(f *frame) (err error) {
	if n := len(w.stack); n == 0 {
		f.sel = w.opt.Select
	} else if above := w.stack[n-1].sel; above != nil {
		if f.sel, err = above.Enter(w.item.Name, f.fs); err != nil {
			return err
		}
	}
	if f.sel != nil {
		var listed iter.Seq[string]
		if listed, f.only = f.sel.Names(); f.only {
			for name := range listed {
				if !f.names.add(name) {
					return errManyNames
				}
			}
			return nil
		}
	}
	return f.names.list(f.fs)
}

// inLoop tells whether the directory that the item leads to is one that it is in.
func (w *Walker) inLoop() bool {
	for d := w.item.in; d != nil; d = d.parent {
		if durable.SameFile(d.info, w.item.Info) {
			return true
		}
	}
	return false
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
