package crashfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"xfer/transfer/durable"
)

// FS is a file system in memory that can crash. It implements durable.FS. It and what OpenRoot returns share
// one disk; each handle's Crash, FailAt and so on act on the disk. Methods may be called concurrently, but then
// which operation is the k-th, and what a seed does, is not the same in each run.
type FS struct {
	d      *disk
	root   *inode
	prefix string // of the names in Trace
	closed bool   // under d.mu
}

var _ durable.FS = (*FS)(nil)

// New returns an empty file system of 1 TiB. The same seed and the same operations give the same crashes.
func New(seed uint64) *FS {
	d := newDisk(seed)
	d.root = newInode(d.newID(), fs.ModeDir|0o755)
	d.root.nlink = 1
	return &FS{d: d, root: d.root}
}

// begin locks the disk for an operation that counts. The caller unlocks, whatever the error.
func (f *FS) begin(op, name, detail string) error {
	f.d.mu.Lock()
	if f.closed {
		return fs.ErrClosed
	}
	_, err := f.d.faults.next(op, f.prefix+name, detail)
	return err
}

// look is begin for an operation that only reads.
func (f *FS) look(op, name string) error {
	f.d.mu.Lock()
	if f.closed {
		return fs.ErrClosed
	}
	return f.d.faults.read(op, f.prefix+name)
}

func (f *faults) read(op, name string) error {
	if f.countReads {
		_, err := f.next(op, name, "")
		return err
	}
	return f.dead
}

// OpenFile implements durable.FS. A FIFO needs durable.NonBlock, else it fails with ErrWouldHang.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	err := f.begin("open", name, fmt.Sprintf(" flag %#x", flag))
	defer f.d.mu.Unlock()
	if err != nil {
		return nil, pathError("open", name, err)
	}
	n, err := f.open(name, flag, perm)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	n.opens++
	return &file{fs: f, ino: n, name: name, flag: flag}, nil
}

func (f *FS) open(name string, flag int, perm fs.FileMode) (*inode, error) {
	const exclusive = os.O_CREATE | os.O_EXCL
	if perm&0o777 != perm {
		return nil, syscall.EINVAL
	}
	noFollow := flag&durable.NoFollow != 0 || flag&exclusive == exclusive
	p, err := f.resolve(name, !noFollow)
	if err != nil {
		return nil, err
	}
	writes := flag&(os.O_WRONLY|os.O_RDWR) != 0
	if p.ino == nil {
		if flag&os.O_CREATE == 0 {
			return nil, syscall.ENOENT
		}
		if strings.HasSuffix(name, "/") {
			return nil, syscall.EISDIR
		}
		n := newInode(f.d.newID(), perm)
		f.d.change(nil, effect{p.dir, p.name, n})
		return n, nil
	}
	n := p.ino
	switch {
	case flag&exclusive == exclusive:
		return nil, syscall.EEXIST
	case n.kind == fs.ModeSymlink:
		return nil, syscall.ELOOP
	case n.isDir() && (writes || flag&os.O_CREATE != 0):
		return nil, syscall.EISDIR
	case n.kind == fs.ModeNamedPipe && flag&durable.NonBlock == 0:
		return nil, ErrWouldHang
	case n.kind == fs.ModeNamedPipe && flag&os.O_WRONLY != 0:
		return nil, syscall.ENXIO
	case n.kind == 0 && writes && flag&os.O_TRUNC != 0:
		f.d.truncate(n, 0)
	}
	return n, nil
}

// Mkdir implements durable.FS.
func (f *FS) Mkdir(name string, perm fs.FileMode) error {
	return f.make("mkdir", name, fs.ModeDir|perm, "")
}

// Symlink implements durable.FS.
func (f *FS) Symlink(target, name string) error {
	if target == "" || len(target) >= pageSize {
		return &os.LinkError{Op: "symlink", Old: target, New: name, Err: syscall.EINVAL}
	}
	return f.make("symlink", name, fs.ModeSymlink|0o777, target)
}

// Mkfifo makes a FIFO.
func (f *FS) Mkfifo(name string, perm fs.FileMode) error {
	return f.make("mkfifo", name, fs.ModeNamedPipe|perm, "")
}

func (f *FS) make(op, name string, mode fs.FileMode, target string) error {
	err := f.begin(op, name, "")
	defer f.d.mu.Unlock()
	if err != nil {
		return pathError(op, name, err)
	}
	p, err := f.vacant(name)
	if err == nil && p.dir == nil {
		err = syscall.EEXIST // the root
	}
	if err != nil {
		return pathError(op, name, err)
	}
	n := newInode(f.d.newID(), mode)
	n.target = target
	f.d.change(nil, effect{p.dir, p.name, n})
	return nil
}

// Remove implements durable.FS.
func (f *FS) Remove(name string) error {
	err := f.begin("remove", name, "")
	defer f.d.mu.Unlock()
	if err == nil {
		err = f.remove(name)
	}
	return pathError("remove", name, err)
}

func (f *FS) remove(name string) error {
	p, err := f.existing(name, false)
	if err != nil {
		return err
	}
	if p.dir == nil {
		return syscall.EINVAL
	}
	deps := adds(p.ino)
	if p.ino.isDir() {
		if len(p.ino.entries) > 0 {
			return syscall.ENOTEMPTY
		}
		deps = append(deps, p.ino.pending...) // nothing that was moved out is lost with it
	}
	f.d.change(deps, effect{p.dir, p.name, nil})
	return nil
}

// RemoveAll implements durable.FS. Each name that it removes is an operation of its own.
func (f *FS) RemoveAll(name string) error {
	trimmed := strings.TrimRight(name, "/")
	if trimmed == "" || trimmed == "." || trimmed == ".." || strings.HasSuffix(trimmed, "/.") || strings.HasSuffix(trimmed, "/..") {
		return pathError("RemoveAll", name, syscall.EINVAL)
	}
	fi, err := f.Lstat(trimmed)
	if err != nil {
		return ignoreMissing(err)
	}
	if fi.IsDir() {
		entries, err := f.ReadDir(trimmed)
		if err != nil {
			return ignoreMissing(err)
		}
		for _, e := range entries {
			if err := f.RemoveAll(trimmed + "/" + e.Name()); err != nil {
				return err
			}
		}
	}
	return ignoreMissing(f.Remove(trimmed))
}

// Link implements durable.FS.
func (f *FS) Link(oldname, newname string) error {
	err := f.begin("link", oldname, fmt.Sprintf(" to %q", newname))
	defer f.d.mu.Unlock()
	if err == nil {
		err = f.link(oldname, newname)
	}
	return linkError("link", oldname, newname, err)
}

func (f *FS) link(oldname, newname string) error {
	from, to, err := f.both(oldname, f, newname)
	switch {
	case err != nil:
		return err
	case to.ino != nil:
		return syscall.EEXIST
	case from.ino.isDir():
		return syscall.EPERM
	}
	from.ino.ctime = time.Now()
	f.d.change(nil, effect{to.dir, to.name, from.ino})
	return nil
}

// Rename implements durable.FS. Like os.Root.Rename it replaces no directory.
func (f *FS) Rename(oldname, newname string) error {
	err := f.begin("rename", oldname, fmt.Sprintf(" to %q", newname))
	defer f.d.mu.Unlock()
	if err == nil {
		err = f.rename(oldname, f, newname, false)
	}
	return linkError("rename", oldname, newname, err)
}

// RenameNoReplace implements durable.FS.
func (f *FS) RenameNoReplace(oldname, newname string) error {
	err := f.begin("rename-no-replace", oldname, fmt.Sprintf(" to %q", newname))
	defer f.d.mu.Unlock()
	if err == nil {
		err = f.rename(oldname, f, newname, true)
	}
	return linkError("rename-no-replace", oldname, newname, err)
}

// RenameTo implements durable.FS. To the hooks and traces it is a rename, or a rename-no-replace.
func (f *FS) RenameTo(oldname string, dst durable.FS, newname string, replace bool) error {
	op := "rename"
	if !replace {
		op = "rename-no-replace"
	}
	to, ok := dst.(*FS)
	if !ok || to.d != f.d {
		return linkError(op, oldname, newname, syscall.EINVAL)
	}
	err := f.begin(op, oldname, fmt.Sprintf(" to %q", to.prefix+newname))
	defer f.d.mu.Unlock()
	if err == nil && to.closed {
		err = fs.ErrClosed
	}
	if err == nil {
		err = f.rename(oldname, to, newname, !replace)
	}
	return linkError(op, oldname, newname, err)
}

func (f *FS) rename(oldname string, dst *FS, newname string, exclusive bool) error {
	from, to, err := f.both(oldname, dst, newname)
	switch {
	case err != nil:
		return err
	case from.dir == nil || to.dir == nil:
		return syscall.EBUSY
	case exclusive && to.ino != nil:
		return syscall.EEXIST
	case to.ino != nil && to.ino.isDir():
		return syscall.EEXIST
	case from.ino == to.ino:
		return nil // two names of one file both stay: rename(2)
	case from.ino.isDir() && contains(from.ino, to.dir):
		return syscall.EINVAL
	case from.ino.isDir() && to.ino != nil:
		return syscall.ENOTDIR
	}
	n := from.ino
	n.ctime = time.Now()
	add, remove := effect{to.dir, to.name, n}, effect{from.dir, from.name, nil}
	deps := adds(to.ino)
	switch {
	case n.isDir():
		f.d.change(append(deps, f.d.dirMoves...), add, remove)
	case from.dir == to.dir:
		f.d.change(deps, add, remove)
	default:
		f.d.change(deps, add)
		f.d.change(adds(n), remove)
	}
	return nil
}

// contains tells whether dir is n or lies beneath it.
func contains(n, dir *inode) bool {
	if n == dir {
		return true
	}
	for _, e := range n.entries {
		if e.isDir() && contains(e, dir) {
			return true
		}
	}
	return false
}

// Readlink implements durable.FS.
func (f *FS) Readlink(name string) (string, error) {
	err := f.look("readlink", name)
	defer f.d.mu.Unlock()
	var p place
	if err == nil {
		p, err = f.existing(name, false)
	}
	if err == nil && p.ino.kind != fs.ModeSymlink {
		err = syscall.EINVAL
	}
	if err != nil {
		return "", pathError("readlink", name, err)
	}
	return p.ino.target, nil
}

// Stat implements durable.FS.
func (f *FS) Stat(name string) (fs.FileInfo, error) { return f.stat("stat", name, true) }

// Lstat implements durable.FS.
func (f *FS) Lstat(name string) (fs.FileInfo, error) { return f.stat("lstat", name, false) }

func (f *FS) stat(op, name string, follow bool) (fs.FileInfo, error) {
	err := f.look(op, name)
	defer f.d.mu.Unlock()
	var p place
	if err == nil {
		p, err = f.existing(name, follow)
	}
	if err != nil {
		return nil, pathError(op, name, err)
	}
	return p.ino.info(lastPart(name)), nil
}

// Chmod implements durable.FS.
func (f *FS) Chmod(name string, mode fs.FileMode) error {
	return f.setAttr("chmod", name, true, func(n *inode) { n.chmod(mode) })
}

// SetTimes implements durable.FS.
func (f *FS) SetTimes(name string, t time.Time) error {
	return f.setAttr("times", name, false, func(n *inode) { n.setTimes(t) })
}

func (f *FS) setAttr(op, name string, follow bool, set func(*inode)) error {
	err := f.begin(op, name, "")
	defer f.d.mu.Unlock()
	var p place
	if err == nil {
		p, err = f.existing(name, follow)
	}
	if err != nil {
		return pathError(op, name, err)
	}
	set(p.ino)
	return nil
}

func (n *inode) chmod(mode fs.FileMode) {
	const bits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
	n.now.mode = n.kind | mode&bits
	n.ctime = time.Now()
}

func (n *inode) setTimes(t time.Time) { n.now.mtime, n.ctime = t, time.Now() }

// ReadDir implements durable.FS. The order is not the one that most would expect.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	err := f.look("readdir", name)
	defer f.d.mu.Unlock()
	var p place
	if err == nil {
		p, err = f.existing(name, true)
	}
	if err == nil && !p.ino.isDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	return p.ino.list(), nil
}

// SyncDir implements durable.FS.
func (f *FS) SyncDir(name string) error {
	err := f.begin("syncdir", name, "")
	defer f.d.mu.Unlock()
	var p place
	if err == nil {
		p, err = f.existing(name, true)
	}
	if err == nil && !p.ino.isDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return pathError("syncdir", name, err)
	}
	f.d.syncDir(p.ino)
	return nil
}

// SyncFS implements durable.FS. One that fails loses of each file what was dirty, or writes it, or leaves it dirty.
func (f *FS) SyncFS() error {
	err := f.begin("syncfs", ".", "")
	defer f.d.mu.Unlock()
	switch {
	case err != nil:
		if f.d.faults.dead == nil && !f.closed {
			f.d.failSyncAll()
		}
	case f.d.noSyncFS:
		err = errors.ErrUnsupported
	default:
		f.d.syncAll()
	}
	return pathError("syncfs", ".", err)
}

// SetSyncFS says whether SyncFS works, or is errors.ErrUnsupported. It works in a new file system.
func (f *FS) SetSyncFS(works bool) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.noSyncFS = !works
}

// OpenRoot implements durable.FS.
func (f *FS) OpenRoot(name string) (durable.FS, error) {
	err := f.begin("openroot", name, "")
	defer f.d.mu.Unlock()
	var p place
	if err == nil {
		p, err = f.existing(name, true)
	}
	if err == nil && !p.ino.isDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, pathError("openroot", name, err)
	}
	return &FS{d: f.d, root: p.ino, prefix: f.prefix + name + "/"}, nil
}

// Lock implements durable.FS.
func (f *FS) Lock(name string) (unlock func() error, err error) {
	for {
		if unlock, again, err := f.lock(name); !again {
			return unlock, err
		}
	}
}

// lock tries once; again tells that somebody unlinked the file between open and lock, which would be a lock on nothing.
func (f *FS) lock(name string) (unlock func() error, again bool, err error) {
	h, err := f.OpenFile(name, os.O_RDWR|os.O_CREATE|durable.NoFollow|durable.NonBlock, 0o600)
	if err != nil {
		return nil, false, err
	}
	n := h.(*file).ino
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	switch {
	case n.kind != 0:
		err = durable.ErrNotRegular
	case f.d.locks[n]:
		err = durable.ErrLocked
	}
	if err != nil {
		h.(*file).close()
		return nil, false, pathError("lock", name, err)
	}
	if n.nlink == 0 {
		h.(*file).close()
		return nil, true, nil
	}
	d := f.d
	d.locks[n] = true
	return func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		switch {
		case d.faults.dead != nil:
			return pathError("unlock", name, d.faults.dead)
		case h.(*file).closed:
			return pathError("unlock", name, fs.ErrClosed)
		}
		delete(d.locks, n)
		h.(*file).close()
		return nil
	}, false, nil
}

// Space implements durable.FS.
func (f *FS) Space() (free, total int64, err error) {
	err = f.look("statfs", ".")
	defer f.d.mu.Unlock()
	if err != nil {
		return 0, 0, pathError("statfs", ".", err)
	}
	return max(0, f.d.total-f.d.used*pageSize), f.d.total, nil
}

// Close implements durable.FS. Open files live on.
func (f *FS) Close() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.closed = true
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func linkError(op, oldname, newname string, err error) error {
	if err == nil {
		return nil
	}
	return &os.LinkError{Op: op, Old: oldname, New: newname, Err: err}
}
