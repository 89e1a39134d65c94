// Package tree walks what a source directory holds, and puts it into a manifest: MANIFEST.md.
//
// It goes by directory handles of a durable.FS, never by joined paths and never through symbolic links, so that it
// takes names of any bytes and trees whose paths are longer than the system's limit, and ends in no directory
// that somebody swapped in. It reads no file.
package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"slices"
	"strings"

	"xfer/transfer/durable"
)

// Kind is what an entry is.
type Kind uint8

// The kinds. Unknown is that of an entry that could not be looked at.
const (
	Unknown Kind = iota
	File
	Directory
	Symlink
	Other // FIFO, socket, device: nothing that has content to send
)

// String returns the kind in words.
func (k Kind) String() string {
	switch k {
	case File:
		return "file"
	case Directory:
		return "directory"
	case Symlink:
		return "symbolic link"
	case Other:
		return "special file"
	}
	return "unknown"
}

// KindOf returns the kind that file information tells.
func KindOf(fi fs.FileInfo) Kind {
	switch mode := fi.Mode(); {
	case mode.IsRegular():
		return File
	case mode.IsDir():
		return Directory
	case mode.Type() == fs.ModeSymlink:
		return Symlink
	}
	return Other
}

// Entry is one name in a tree.
type Entry struct {
	// Path has the components from the start of the walk, of any bytes but '/' and NUL. It is empty for the
	// start itself. Nobody else keeps the slice.
	Path []string
	Kind Kind
	// Info is what Lstat said; nil where Kind is Unknown.
	Info fs.FileInfo
	// Target is that of a symbolic link.
	Target string
	// Err tells that the entry could not be looked at (fs.ErrNotExist: it vanished meanwhile), that the link could
	// not be read, or that the directory could not be listed, or not to its end. The walk goes on.
	Err error
}

// Name is the path with slashes, "." for the start. It is a name for a durable.FS, not for a terminal.
func (e Entry) Name() string {
	if len(e.Path) == 0 {
		return "."
	}
	return strings.Join(e.Path, "/")
}

// ErrTooDeep is the error of a directory beneath which the walk does not go.
var ErrTooDeep = errors.New("the tree is too deep")

// ErrChanged is the error of a directory that became something else between looking at it and opening it.
var ErrChanged = errors.New("the directory was replaced while it was opened")

// DefaultMaxDepth is the largest number of components of a path where Options do not say another.
const DefaultMaxDepth = 256

// Options of a walk. The zero value is good.
type Options struct {
	// MaxDepth is the largest number of components of a path; a directory at that depth that has entries gets
	// ErrTooDeep. 0 is DefaultMaxDepth. Each level holds one file descriptor.
	MaxDepth int
}

// batch is how many names are read from a directory at a time.
const batch = 1024

// Walk returns what start and everything beneath it is, each directory before its entries, which are sorted by the
// bytes of their names. It holds the names of the directories that lead to the entry, and no other.
//
// The error of the sequence ends the walk: start cannot be looked at, or the context is done. All other errors are
// in the entries. A walk of a tree that changes meanwhile shows each entry as it was at some moment.
func Walk(ctx context.Context, fsys durable.FS, start string, opt Options) iter.Seq2[Entry, error] {
	if opt.MaxDepth <= 0 {
		opt.MaxDepth = DefaultMaxDepth
	}
	return func(yield func(Entry, error) bool) {
		w := walker{ctx: ctx, maxDepth: opt.MaxDepth, yield: yield}
		fi, err := fsys.Lstat(start)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		w.visit(fsys, start, nil, fi)
	}
}

// walker is the state of one walk.
type walker struct {
	ctx      context.Context // of this walk only
	maxDepth int
	yield    func(Entry, error) bool
}

// visit yields the entry name of dir, and what is beneath it. It is false when the walk has ended.
func (w *walker) visit(dir durable.FS, name string, path []string, fi fs.FileInfo) bool {
	if err := w.ctx.Err(); err != nil {
		w.yield(Entry{}, context.Cause(w.ctx))
		return false
	}
	e := Entry{Path: path, Kind: KindOf(fi), Info: fi}
	switch e.Kind {
	case Symlink:
		e.Target, e.Err = dir.Readlink(name)
	case Directory:
		return w.directory(dir, name, e)
	}
	return w.yield(e, nil)
}

// directory yields the directory e, which is name in parent, and what is beneath it.
func (w *walker) directory(parent durable.FS, name string, e Entry) bool {
	dir, err := openSame(parent, name, e.Info)
	if err != nil {
		e.Err = err
		return w.yield(e, nil)
	}
	defer dir.Close()
	names, err := list(dir)
	e.Err = err
	if len(names) > 0 && len(e.Path) >= w.maxDepth {
		e.Err = fmt.Errorf("%w: more than %d components", ErrTooDeep, w.maxDepth)
		names = nil
	}
	path := e.Path // the consumer may change its own
	e.Path = slices.Clone(path)
	if !w.yield(e, nil) {
		return false
	}
	for _, name := range names {
		below := append(slices.Clone(path), name)
		fi, err := dir.Lstat(name)
		if err != nil {
			if !w.yield(Entry{Path: below, Err: err}, nil) {
				return false
			}
			continue
		}
		if !w.visit(dir, name, below, fi) {
			return false
		}
	}
	return true
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

// list returns the sorted names in dir: those before the error, if there is one.
func list(dir durable.FS) ([]string, error) {
	d, err := dir.OpenFile(".", os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var names []string
	for {
		entries, err := d.ReadDir(batch)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		if err != nil || len(entries) == 0 {
			slices.Sort(names)
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return names, err
		}
	}
}
