package sink

import (
	"bufio"
	"container/heap"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// Kind is what a name is.
type Kind uint8

// The kinds.
const (
	File Kind = 1 + iota
	Directory
	Link
	Other
)

// Entry is one name of a directory.
type Entry struct {
	Name   string // the last component; "" for the root
	Kind   Kind
	Size   int64       // of a file, bytes
	Mode   fs.FileMode // permission bits
	MTime  time.Time
	Target string // of a link
}

// entryOf describes name, which is fi, of fsys.
func entryOf(fsys durable.FS, name string, fi fs.FileInfo) (Entry, error) {
	e := Entry{Mode: fi.Mode().Perm(), MTime: fi.ModTime(), Kind: Other}
	if name != "." {
		e.Name = name[strings.LastIndexByte(name, '/')+1:]
	}
	switch {
	case fi.Mode().IsRegular():
		e.Kind, e.Size = File, fi.Size()
	case fi.IsDir():
		e.Kind = Directory
	case fi.Mode()&fs.ModeSymlink != 0:
		e.Kind = Link
		t, err := fsys.Readlink(name)
		if err != nil {
			return Entry{}, err
		}
		e.Target = t
	}
	return e, nil
}

// Stat says what p is. A symbolic link is described, not followed; those above it are, within the root.
func (v *View) Stat(p Path) (Entry, error) {
	if err := v.need("stat", RStat); err != nil {
		return Entry{}, err
	}
	return v.d.stat(p)
}

// LinkMeta returns what k tells of the symbolic link p, ErrDenied or fs.ErrNotExist as Stat does; the zero Meta of anything else.
func (v *View) LinkMeta(p Path, k Keep) (Meta, error) {
	if err := v.need("stat", RStat); err != nil {
		return Meta{}, err
	}
	d := v.d
	d.ns.RLock()
	defer d.ns.RUnlock()
	at, err := d.resolve(p, 0)
	switch {
	case err != nil:
		return Meta{}, err
	case at.info == nil:
		return Meta{}, pathError("stat", p.String(), fs.ErrNotExist)
	case at.info.Mode()&fs.ModeSymlink == 0:
		return Meta{}, nil
	}
	return k.ReadMetaAt(d.fs, at.name, at.info)
}

func (d *Dir) stat(p Path) (Entry, error) {
	d.ns.RLock()
	defer d.ns.RUnlock()
	at, err := d.resolve(p, 0)
	if err != nil {
		return Entry{}, err
	}
	if at.info == nil {
		return Entry{}, pathError("stat", p.String(), fs.ErrNotExist)
	}
	e, err := entryOf(d.fs, at.name, at.info)
	if n := len(p.parts); n > 0 {
		e.Name = p.parts[n-1]
	}
	return e, err
}

// nameHeap has the smallest names met so far, the largest of them on top.
type nameHeap []string

func (h nameHeap) Len() int           { return len(h) }
func (h nameHeap) Less(i, j int) bool { return h[i] > h[j] }
func (h nameHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *nameHeap) Push(x any)        { *h = append(*h, x.(string)) }
func (h *nameHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

const maxList = 1 << 16

// List returns at most max (1 to 65536) entries of the directory p, sorted by the bytes of their names, that come after
// the name after, and whether there are more. Memory is bounded by max, whatever the directory's size; the time
// grows with it at each call.
func (v *View) List(ctx context.Context, p Path, after string, max int) (entries []Entry, more bool, err error) {
	if err := v.need("list", RList); err != nil {
		return nil, false, err
	}
	if max < 1 || max > maxList {
		return nil, false, fmt.Errorf("list: %w: %d entries", ErrRange, max)
	}
	dir, top, err := v.d.openList(p)
	if err != nil {
		return nil, false, err
	}
	defer dir.Close()
	names, more, err := namesAfter(ctx, dir, top, after, max)
	if err != nil {
		return nil, false, err
	}
	for _, n := range names {
		fi, err := dir.Lstat(n)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, false, err
		}
		e, err := entryOf(dir, n, fi)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		entries = append(entries, e)
	}
	return entries, more, nil
}

// openList opens directory p, so that what is listed is what was checked, whatever becomes of its name.
func (d *Dir) openList(p Path) (dir durable.FS, top bool, err error) {
	d.ns.RLock()
	defer d.ns.RUnlock()
	at, err := d.resolve(p, followLast)
	switch {
	case err != nil:
		return nil, false, err
	case at.info == nil:
		return nil, false, pathError("list", p.String(), fs.ErrNotExist)
	case !at.info.IsDir():
		return nil, false, pathError("list", p.String(), ErrNotDir)
	}
	dir, err = d.fs.OpenRoot(at.name)
	return dir, at.name == ".", err
}

// namesAfter returns the max smallest names of directory dir that come after after, sorted. top tells that it is
// the root.
func namesAfter(ctx context.Context, dir durable.FS, top bool, after string, max int) ([]string, bool, error) {
	f, err := dir.OpenFile(".", durable.NonBlock, 0)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	var h nameHeap
	more := false
	for {
		if err := ctx.Err(); err != nil {
			return nil, false, context.Cause(ctx)
		}
		entries, err := f.ReadDir(1024)
		for _, e := range entries {
			n := e.Name()
			if n <= after && after != "" || isPrivate(n, top) { // guard: our state is not seen
				continue
			}
			switch {
			case len(h) < max:
				heap.Push(&h, n)
			case n < h[0]:
				h[0] = n
				heap.Fix(&h, 0)
				more = true
			default:
				more = true
			}
		}
		if err == io.EOF || err == nil && len(entries) == 0 {
			break
		}
		if err != nil {
			return nil, false, err
		}
	}
	slices.Sort(h)
	return h, more, nil
}

// openAt opens the regular file at p, following links within the root.
func (d *Dir) openAt(op string, p Path) (durable.File, error) {
	d.ns.RLock()
	defer d.ns.RUnlock()
	at, err := d.resolve(p, followLast)
	switch {
	case err != nil:
		return nil, err
	case at.info == nil:
		return nil, pathError(op, p.String(), fs.ErrNotExist)
	case at.info.IsDir():
		return nil, pathError(op, p.String(), ErrIsDir)
	}
	return durable.OpenRegular(d.fs, at.name)
}

// Open opens the regular file p for reading; anything else is ErrIsDir or durable.ErrNotRegular. The caller closes it.
// It is opened without waiting, so a FIFO or a device does no harm.
func (v *View) Open(p Path) (durable.File, error) {
	if err := v.need("get", Get); err != nil {
		return nil, err
	}
	return v.d.openAt("open", p)
}

// Hash returns the digest of the regular file p and the number of bytes hashed. busy, if not nil, is called about once
// a second.
func (v *View) Hash(ctx context.Context, p Path, busy func()) (crypto.Digest, int64, error) {
	if err := v.need("hash", Get); err != nil {
		return crypto.Digest{}, 0, err
	}
	f, err := v.d.openAt("hash", p)
	if err != nil {
		return crypto.Digest{}, 0, err
	}
	defer f.Close()
	return hashFile(ctx, f, busy)
}

// Mkdir makes directory p, durably; with parents also those above it. With existOK a directory that is there is
// success. m, if not nil, is set on p where p was made now.
func (v *View) Mkdir(p Path, parents, existOK bool, m *Meta) error {
	if err := v.need("mkdir", RMkdir); err != nil {
		return err
	}
	d := v.d
	at, made, err := d.mkdir(p, parents, existOK, v.allowed(m))
	if made {
		at.made = append(at.made, at.name)
	}
	d.own.add(d.fs, v.owner, at.made)
	if err != nil {
		return err
	}
	if len(at.made) == 0 {
		return nil
	}
	return d.syncSpot(at)
}

func (d *Dir) mkdir(p Path, parents, existOK bool, m *Meta) (at spot, made bool, err error) {
	d.ns.RLock()
	defer d.ns.RUnlock()
	var how resolving
	if parents {
		how = makeParents
	}
	if at, err = d.resolve(p, how); err != nil {
		return at, false, err
	}
	if at.info == nil {
		err := d.fs.Mkdir(at.name, 0o777)
		if err == nil && m != nil {
			err = m.applyTo(d.fs, at.name, false)
		}
		if err == nil || !errors.Is(err, fs.ErrExist) {
			return at, err == nil, err
		}
		if at.info, err = d.fs.Lstat(at.name); err != nil {
			return at, false, err
		}
	}
	isDir := at.info.IsDir()
	if !isDir && at.info.Mode()&fs.ModeSymlink != 0 && existOK {
		to, err := d.resolve(p, followLast) // a link to a directory serves as one
		isDir = err == nil && to.info != nil && to.info.IsDir()
	}
	switch {
	case isDir && existOK:
		return at, false, nil
	case isDir:
		return at, false, pathError("mkdir", p.String(), syscall.EEXIST)
	default:
		return at, false, pathError("mkdir", p.String(), ErrNotDir)
	}
}

// Remove removes the file, link or empty directory p, durably; with recursive a directory with all that is in it. No
// link is followed. With missingOK nothing to remove is success.
func (v *View) Remove(p Path, recursive, missingOK bool) error {
	if err := v.needChange("remove", RDelete); err != nil {
		return err
	}
	if p.IsRoot() {
		return pathError("remove", ".", ErrBadPath)
	}
	d := v.d
	at, err := d.remove(p, recursive)
	if missingOK && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.syncDir(at.parent)
}

func (d *Dir) remove(p Path, recursive bool) (spot, error) {
	d.ns.RLock()
	defer d.ns.RUnlock()
	at, err := d.resolve(p, 0)
	if err == nil && at.info == nil {
		err = pathError("remove", p.String(), fs.ErrNotExist)
	}
	if err != nil {
		return at, err
	}
	if recursive {
		return at, d.fs.RemoveAll(at.name)
	}
	return at, d.fs.Remove(at.name)
}

// Rename renames from to to, durably. With noReplace an existing to is fs.ErrExist; so it is for who may neither put nor delete.
func (v *View) Rename(from, to Path, noReplace bool) error {
	if err := v.needChange("rename", RRename); err != nil {
		return err
	}
	if from.IsRoot() || to.IsRoot() {
		return pathError("rename", ".", ErrBadPath)
	}
	if v.rights&(Put|RDelete) == 0 {
		noReplace = true
	}
	d := v.d
	a, b, err := d.rename(from, to, noReplace)
	if err != nil {
		return err
	}
	if err := d.syncSpot(b); err != nil || a.parent == b.parent {
		return err
	}
	return d.syncDir(a.parent)
}

func (d *Dir) rename(from, to Path, noReplace bool) (a, b spot, err error) {
	d.ns.Lock()
	defer d.ns.Unlock()
	if a, err = d.resolve(from, 0); err != nil {
		return a, b, err
	}
	if a.info == nil {
		return a, b, pathError("rename", from.String(), fs.ErrNotExist)
	}
	if b, err = d.resolve(to, 0); err != nil {
		return a, b, err
	}
	switch {
	case noReplace:
		err = d.fs.RenameNoReplace(a.name, b.name)
	case b.info != nil && b.info.IsDir() && !a.info.IsDir():
		err = pathError("rename", to.String(), ErrIsDir)
	default:
		err = d.fs.Rename(a.name, b.name)
	}
	return a, b, err
}

const maxTarget = 4095 // bytes of a link's target, as Linux has it

// Symlink makes p a symbolic link to target, durably. The target may be anything: links are never followed out of the
// root. The same link already there is success. Of m that is set what a link has: its
// time, and its owner.
func (v *View) Symlink(p Path, target string, ifExists IfExists, m *Meta) error {
	if err := v.need("symlink", Put); err != nil {
		return err
	}
	if p.IsRoot() || target == "" || len(target) > maxTarget || strings.IndexByte(target, 0) >= 0 {
		return pathError("symlink", p.String(), ErrBadPath)
	}
	if v.rights&NoReplace != 0 { // guard of I11
		ifExists = Fail
	}
	d := v.d
	if ifExists == Version {
		at, err := d.locate(p, 0)
		if err == nil && at.info != nil && !at.info.IsDir() && !d.sameLink(at, target) {
			if _, err := d.keepVersion(p, Full); err != nil {
				return err
			}
			d.pruneVersions(p)
		}
	}
	at, err := d.symlink(p, target, ifExists, v.allowed(m))
	d.own.add(d.fs, v.owner, at.made)
	if err != nil {
		return err
	}
	return d.syncSpot(at)
}

func (d *Dir) sameLink(at spot, target string) bool {
	if at.info == nil || at.info.Mode()&fs.ModeSymlink == 0 {
		return false
	}
	t, err := d.fs.Readlink(at.name)
	return err == nil && t == target
}

func (d *Dir) symlink(p Path, target string, ifExists IfExists, m *Meta) (at spot, err error) {
	d.ns.Lock()
	defer d.ns.Unlock()
	if at, err = d.resolve(p, makeParents); err != nil {
		return at, err
	}
	switch {
	case at.info != nil && at.info.IsDir():
		return at, pathError("symlink", p.String(), ErrIsDir)
	case d.sameLink(at, target):
		if m != nil && ifExists != Fail {
			err = m.applyTo(d.fs, at.name, true)
		}
		return at, err
	case at.info != nil && ifExists == Fail:
		return at, existError(p.String())
	}
	// Made under another name, so that it is there with its time or not at all.
	temp, err := d.tempName(at)
	if err != nil {
		return at, err
	}
	if err := d.fs.Symlink(target, temp); err != nil {
		return at, err
	}
	if m != nil {
		err = m.applyTo(d.fs, temp, true)
	}
	if err == nil && ifExists == Fail {
		err = d.fs.RenameNoReplace(temp, at.name)
	} else if err == nil {
		err = d.fs.Rename(temp, at.name)
	}
	if err != nil {
		_ = d.fs.Remove(temp)
	}
	return at, err
}

// tempName returns a name that is free, on the device of at.
func (d *Dir) tempName(at spot) (string, error) {
	if n := len(at.dirs); n > 0 && at.dirs[n-1].known && at.dirs[n-1].id.Dev != d.root.Dev {
		return at.parent + "/" + durable.TempPrefix + rand.Text(), nil
	}
	if err := d.ensureDirs(stateDir, tempDir); err != nil {
		return "", err
	}
	return tempDir + "/" + rand.Text(), nil
}

// SetMeta sets the metadata of a file or directory, of a link what it has. With NoReplace that is a directory which the same
// principal made: what was there before stays as it is.
func (v *View) SetMeta(p Path, m Meta) error {
	if err := v.need("set metadata", Put); err != nil {
		return err
	}
	d := v.d
	d.ns.RLock()
	defer d.ns.RUnlock()
	at, err := d.resolve(p, 0)
	if err == nil && at.info == nil {
		err = pathError("set metadata", p.String(), fs.ErrNotExist)
	}
	if err == nil && v.rights&NoReplace != 0 && !d.own.has(v.owner, at.name, at.info) { // guard of I11
		err = pathError("set metadata", p.String(), ErrDenied) // what is published stays as it is
	}
	if err != nil {
		if v.rights&RStat == 0 && errors.Is(err, fs.ErrNotExist) {
			return pathError("set metadata", p.String(), ErrDenied)
		}
		return err
	}
	m = v.allow(m)
	if m.eff != nil {
		if same, err := m.same(d.fs, at.name, at.info); err == nil && same { // an error comes again when it is set
			u := m.knownLoss(at.info.Mode().IsRegular())
			m.tell(&u)
			return nil
		}
	}
	return m.applyTo(d.fs, at.name, at.info.Mode()&fs.ModeSymlink != 0)
}

func newBuffered(r io.Reader) io.Reader { return bufio.NewReaderSize(r, 64<<10) }
