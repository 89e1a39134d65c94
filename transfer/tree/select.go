package tree

import (
	"iter"

	"xfer/transfer/durable"
)

// Selection says what of a directory belongs to a walk.
type Selection interface {
	// Keep tells whether the name does. isDir is false for a symbolic link that is not followed. It is asked for names that are
	// there, before anything of them is opened.
	Keep(name string, isDir bool) bool
	// Enter returns the selection of the directory name, which is kept; dir is that directory, open until Enter returns. With an
	// error the entry of the directory has that error, and what is beneath it does not belong to the walk.
	Enter(name string, dir durable.FS) (Selection, error)
	// Names returns the names in ascending order that alone may be kept, so that no others need to be looked for; they need
	// not be there. Otherwise only is false.
	Names() (names iter.Seq[string], only bool)
}

// Selection makes a Walker show what d keeps, where d is the filter of the start of the walk. It reads .gitignore files.
func (d *DirFilter) Selection() Selection { return filtered{d} }

type filtered struct{ *DirFilter }

func (f filtered) Enter(name string, dir durable.FS) (Selection, error) {
	d, err := f.DirFilter.Enter(name, OpenIn(dir))
	if err != nil {
		return nil, err
	}
	return filtered{d}, nil
}
