package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"xfer/transfer/durable"
)

// Limits of a Path.
const (
	maxPathBytes  = 4096 // with the separators
	maxNameBytes  = 255
	maxComponents = 256
	maxLinks      = 40 // symbolic links followed in one path, as Linux has it (path_resolution(7))
)

// Path is a checked name beneath a root: components of 1 to 255 bytes, not "." or "..", without '/' and NUL; the
// first is not ".xfer" and none begins with ".xfer-" (in any case of letters); at most 4096 bytes and 256
// components in all. Bytes need not be UTF-8. The zero value is the root itself.
type Path struct{ parts []string }

// NewPath checks parts and returns them as a Path. Errors are ErrBadPath.
func NewPath(parts ...string) (Path, error) {
	if len(parts) > maxComponents {
		return Path{}, fmt.Errorf("%w: %d components", ErrBadPath, len(parts))
	}
	n := 0
	for i, c := range parts {
		if err := checkName(c, i == 0); err != nil {
			return Path{}, err
		}
		n += len(c) + 1
	}
	if n-1 > maxPathBytes {
		return Path{}, fmt.Errorf("%w: %d bytes", ErrBadPath, n-1)
	}
	return Path{parts: append([]string(nil), parts...)}, nil
}

// Parts returns the components.
func (p Path) Parts() []string { return append([]string(nil), p.parts...) }

// IsRoot tells whether p is the root itself.
func (p Path) IsRoot() bool { return len(p.parts) == 0 }

// String returns the components joined by "/", "." for the root. The bytes are raw: quote them before printing.
func (p Path) String() string {
	if len(p.parts) == 0 {
		return "."
	}
	return strings.Join(p.parts, "/")
}

func checkName(c string, first bool) error {
	switch {
	case c == "" || c == "." || c == "..":
		return fmt.Errorf("%w: component %q", ErrBadPath, c)
	case len(c) > maxNameBytes:
		return fmt.Errorf("%w: component of %d bytes", ErrBadPath, len(c))
	case strings.IndexByte(c, '/') >= 0 || strings.IndexByte(c, 0) >= 0:
		return fmt.Errorf("%w: component %q", ErrBadPath, c)
	case isPrivate(c, first):
		return fmt.Errorf("%w: %q belongs to xfer", ErrBadPath, c)
	case runtime.GOOS == "windows" && (strings.ContainsAny(c, `\:`) || !filepath.IsLocal(c)):
		return fmt.Errorf("%w: %q has a meaning of its own on Windows", ErrBadPath, c)
	}
	return nil
}

// isPrivate tells whether a component names our own state: ".xfer" at the top, and ".xfer-..." anywhere. The
// case of letters does not matter since some file systems ignore it.
func isPrivate(c string, top bool) bool {
	const dash = stateDir + "-"
	return top && strings.EqualFold(c, stateDir) ||
		len(c) >= len(dash) && strings.EqualFold(c[:len(dash)], dash)
}

// spot is what a Path leads to.
type spot struct {
	name   string      // without a symbolic link in it, but the last component may be one
	info   fs.FileInfo // nil: not there
	dirs   []ancestor  // the directories above name, from the top; the root is not among them
	made   []string    // those of dirs that were made just now
	parent string      // "." for the root
}

// ancestor is a directory above a name.
type ancestor struct {
	name  string
	id    durable.ID // zero where the system has none
	known bool       // id is
	above int64      // change time of the directory that it is in
}

// resolving says how resolve walks.
type resolving uint8

const (
	followLast  resolving = 1 << iota // a link in the last component is followed as well
	makeParents                       // missing directories above the last component are made
)

// resolve finds where p is, following symbolic links itself, one component at a time, so that none leads out
// of the root or into our own state (a link to "." would make "link/.xfer" reach it). The caller holds d.ns, so
// that no peer turns a directory of the result into a link before it is used; whoever else does that is stopped
// at the edge of the root by the FS.
func (d *Dir) resolve(p Path, how resolving) (spot, error) {
	todo := p.Parts()
	var done []string
	root, err := d.fs.Stat(".")
	if err != nil {
		return spot{}, err
	}
	rootID, _ := durable.IDOf(root)
	s := spot{name: ".", parent: "."}
	links := 0
	for len(todo) > 0 {
		c := todo[0]
		todo = todo[1:]
		switch c {
		case "", ".":
			continue
		case "..": // from a link only
			if len(done) == 0 {
				return spot{}, pathError("resolve", p.String(), fmt.Errorf("%w: a link leads out of the root", ErrBadPath))
			}
			done = done[:len(done)-1]
			s.dirs = s.dirs[:len(s.dirs)-1]
			continue
		}
		if isPrivate(c, len(done) == 0) { // guard: our state is out of reach through links
			return spot{}, pathError("resolve", p.String(), fmt.Errorf("%w: a link leads into the state of xfer", ErrBadPath))
		}
		last := len(todo) == 0
		name := strings.Join(append(done, c), "/")
		fi, err := d.fs.Lstat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist) && last:
			return s.at(name, done, nil), nil
		case errors.Is(err, fs.ErrNotExist) && how&makeParents != 0:
			switch err := d.fs.Mkdir(name, 0o777); {
			case err == nil:
				s.made = append(s.made, name)
			case !errors.Is(err, fs.ErrExist):
				return spot{}, err
			}
			todo = append([]string{c}, todo...) // look again
			continue
		case errors.Is(err, syscall.ENOTDIR):
			return spot{}, pathError("resolve", p.String(), ErrNotDir)
		case err != nil:
			return spot{}, err
		case fi.Mode()&fs.ModeSymlink != 0 && (!last || how&followLast != 0):
			if links++; links > maxLinks {
				return spot{}, pathError("resolve", p.String(), syscall.ELOOP)
			}
			target, err := d.fs.Readlink(name)
			if err != nil {
				return spot{}, err
			}
			if strings.HasPrefix(target, "/") || filepath.IsAbs(target) {
				return spot{}, pathError("resolve", p.String(), fmt.Errorf("%w: a link leads out of the root", ErrBadPath))
			}
			todo = append(strings.Split(target, "/"), todo...)
			if len(todo) > maxPathBytes {
				return spot{}, pathError("resolve", p.String(), syscall.ENAMETOOLONG)
			}
		case last:
			return s.at(name, done, fi), nil
		case !fi.IsDir():
			return spot{}, pathError("resolve", p.String(), ErrNotDir)
		default:
			done = append(done, c)
			above := rootID.CTime
			if n := len(s.dirs); n > 0 {
				above = s.dirs[n-1].id.CTime
			}
			id, ok := durable.IDOf(fi)
			s.dirs = append(s.dirs, ancestor{name: name, id: id, known: ok, above: above})
		}
	}
	// The root itself, or a link that ended in a directory by "." or "..".
	name := "."
	if n := len(done); n > 0 {
		name = strings.Join(done, "/")
		done, s.dirs = done[:n-1], s.dirs[:n-1]
	}
	fi, err := d.fs.Lstat(name)
	if err != nil {
		return spot{}, err
	}
	return s.at(name, done, fi), nil
}

func (s spot) at(name string, above []string, fi fs.FileInfo) spot {
	s.name, s.info = name, fi
	if len(above) > 0 {
		s.parent = strings.Join(above, "/")
	}
	return s
}

// locate resolves p under the lock on names, changing nothing.
func (d *Dir) locate(p Path, how resolving) (spot, error) {
	d.ns.RLock()
	defer d.ns.RUnlock()
	return d.resolve(p, how)
}
