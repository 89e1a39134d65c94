package tree

import (
	"io/fs"
	"time"
)

// Item is an entry that a Walker shows. It is valid until the next call of Next.
type Item struct {
	Depth int    // components of its path; 0 for the top
	Name  string // the last of them; "" for the top
	Kind  Kind
	Info  fs.FileInfo // what Lstat said; nil where Kind is Unknown. Of a followed link, what is said of where it leads
	// Target is that of a symbolic link, also of one that was followed.
	Target string
	// Linked tells that the entry is a symbolic link that was followed.
	Linked bool
	// Mount tells that the directory is on another device, so that what is beneath it is not shown.
	Mount bool
	// Again tells that the entry is there only because of those beneath it that come after StartAfter.
	Again bool
	// Err tells that the entry could not be looked at (fs.ErrNotExist: it vanished meanwhile), that the link could not be
	// read or followed, or that the directory could not be listed, or not to its end. The walk goes on.
	Err error
	// Dir and Base are where the entry is found: the directory, and the one component there. For the top Dir is nil. Of a followed
	// link they are those of what it points at. Who needs them after the next call of Next retains Dir.
	Dir  *Dir
	Base string
	// Self is the directory itself, if the entry is one that could be opened.
	Self *Dir

	in    *Dir     // it is shown in
	parts []string // in the FS of the Walker, of a followed link
}

// Path returns the components from the top, in a slice of the caller's own.
func (it *Item) Path() []string {
	if it.Depth == 0 {
		return nil
	}
	return append(it.in.Path(), it.Name)
}

// Record returns what a Record has of the item: all but Up, hard link, owner, attributes and holes.
func (it *Item) Record() Record {
	r := Record{Name: it.Name, Kind: it.Kind}
	if it.Info != nil {
		r.Mode, r.MTime = unixMode(it.Info.Mode()), unixNano(it.Info.ModTime())
	}
	switch it.Kind {
	case File:
		r.Size = it.Info.Size()
	case Symlink:
		r.Target = it.Target
	}
	return r
}

// unixMode returns the 12 bits of a mode.
func unixMode(m fs.FileMode) uint32 {
	mode := uint32(m.Perm())
	for i, bit := range [...]fs.FileMode{fs.ModeSticky, fs.ModeSetgid, fs.ModeSetuid} {
		if m&bit != 0 {
			mode |= 0o1000 << i
		}
	}
	return mode
}

// unixNano is t.UnixNano, at the ends of its range where t is not within it.
func unixNano(t time.Time) int64 {
	first, last := time.Unix(0, -1<<63), time.Unix(0, 1<<63-1)
	switch {
	case t.Before(first):
		t = first
	case t.After(last):
		t = last
	}
	return t.UnixNano()
}
