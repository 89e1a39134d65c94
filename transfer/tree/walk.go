package tree

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
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

// Walk returns what start and everything beneath it is, each directory before its entries, which are sorted by the
// bytes of their names. It holds the names of the directories that lead to the entry, and no other.
//
// The error of the sequence ends the walk: start cannot be looked at, or the context is done. All other errors are
// in the entries. A walk of a tree that changes meanwhile shows each entry as it was at some moment.
func Walk(ctx context.Context, fsys durable.FS, start string, opt Options) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		fi, err := fsys.Lstat(start)
		switch {
		case ctx.Err() != nil:
			yield(Entry{}, context.Cause(ctx))
		case err != nil:
			yield(Entry{}, err)
		case fi.IsDir():
			walk(ctx, fsys, start, opt, yield)
		default:
			e := Entry{Kind: KindOf(fi), Info: fi}
			if e.Kind == Symlink {
				e.Target, e.Err = fsys.Readlink(start)
			}
			yield(e, nil)
		}
	}
}

func walk(ctx context.Context, fsys durable.FS, start string, opt Options, yield func(Entry, error) bool) {
	w, err := NewWalker(fsys, start, WalkOptions{MaxDepth: opt.MaxDepth})
	if err != nil {
		yield(Entry{}, err)
		return
	}
	defer w.Close()
	for {
		it, err := w.Next(ctx)
		switch {
		case errors.Is(err, io.EOF) && ctx.Err() == nil:
			return
		case err != nil:
			yield(Entry{}, err)
			return
		}
		if !yield(Entry{Path: it.Path(), Kind: it.Kind, Info: it.Info, Target: it.Target, Err: it.Err}, nil) {
			return
		}
	}
}
