package tree

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
)

// ErrDangling is the error of a symbolic link that was to be followed and points at nothing.
var ErrDangling = errors.New("the symbolic link points at nothing")

// ErrOutside is the error of a symbolic link that was to be followed and leads out of the FS of the walk.
var ErrOutside = errors.New("the symbolic link leads out of what may be read")

// ErrLoop is the error of a symbolic link that was to be followed and points at a directory that it is in.
var ErrLoop = errors.New("the symbolic link points at a directory that it is in")

// maxLinks is how many symbolic links are followed in a row, as Linux has it (path_resolution(7)).
const maxLinks = 40

// place is what a symbolic link leads to: the components in the FS of the Walker, no symbolic link among them.
type place struct {
	parts []string
	info  fs.FileInfo
}

func join(parts []string) string {
	if len(parts) == 0 {
		return "."
	}
	return strings.Join(parts, "/")
}

// real returns the components by which d is found in the FS of the Walker.
func (d *Dir) real() []string {
	var parts []string
	for ; d.at == ""; d = d.parent {
		parts = append(parts, d.name)
	}
	for _, part := range slices.Backward(strings.Split(d.at, "/")) {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	slices.Reverse(parts)
	return parts
}

// follow finds what the symbolic link with this target in the directory real leads to. It goes by components, as the system does,
// since the system's own way would refuse absolute targets beneath a root.
func (w *Walker) follow(real []string, target string) (place, error) {
	if target == "" {
		return place{}, fs.ErrNotExist
	}
	todo := strings.Split(target, "/")
	at := place{parts: real}
	if target[0] == '/' {
		if !w.opt.AbsoluteLinks {
			return place{}, ErrOutside
		}
		at.parts = nil
	}
	for links := 1; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		// at is a directory: where it ends in a file there is nothing to do.
		switch part {
		case "", ".":
			at.info = nil
			continue
		case "..":
			switch n := len(at.parts); {
			case n > 0:
				at = place{parts: at.parts[:n-1]}
			case !w.opt.AbsoluteLinks:
				return place{}, ErrOutside
			}
			continue
		}
		if !w.opt.AbsoluteLinks && Reserved(part, len(at.parts) == 0) {
			return place{}, ErrOutside // the state of a receiver is nobody's business
		}
		next := append(slices.Clip(at.parts), part)
		fi, err := w.fsys.Lstat(join(next))
		switch {
		case err != nil:
			return place{}, err
		case fi.Mode()&fs.ModeSymlink != 0:
			if links++; links > maxLinks {
				return place{}, &fs.PathError{Op: "follow", Path: part, Err: syscall.ELOOP}
			}
			target, err := w.fsys.Readlink(join(next))
			switch {
			case err != nil:
				return place{}, err
			case target == "":
				return place{}, fs.ErrNotExist
			case target[0] == '/' && !w.opt.AbsoluteLinks:
				return place{}, ErrOutside
			case target[0] == '/':
				at.parts = nil
			}
			todo = append(strings.Split(target, "/"), todo...)
			if len(todo) > MaxPath {
				return place{}, &fs.PathError{Op: "follow", Path: part, Err: syscall.ENAMETOOLONG}
			}
		case !fi.IsDir() && len(todo) > 0:
			return place{}, &fs.PathError{Op: "follow", Path: part, Err: syscall.ENOTDIR}
		default:
			at = place{next, fi}
		}
	}
	if at.info == nil {
		var err error
		at.info, err = w.fsys.Lstat(join(at.parts))
		return at, err
	}
	return at, nil
}

// followItem makes the item, which is the symbolic link, what it points at.
func (w *Walker) followItem(it *Item) {
	at, err := w.follow(it.Dir.real(), it.Target)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		it.Err = &fs.PathError{Op: "follow", Path: it.Name, Err: ErrDangling}
		return
	case err != nil:
		it.Err = err
		return
	}
	above := &Dir{pool: w.pool, parent: it.Dir, refs: 1}
	it.Kind, it.Info, it.Linked, it.parts = KindOf(at.info), at.info, true, at.parts
	if n := len(at.parts); n > 0 {
		above.at, it.Base = join(at.parts[:n-1]), at.parts[n-1]
	} else {
		above.at, it.Base = ".", "."
	}
	if above.info, err = w.fsys.Lstat(above.at); err != nil {
		it.Err = err
		return
	}
	w.loose, it.Dir = above, above
}
