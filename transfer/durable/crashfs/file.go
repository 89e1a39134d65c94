package crashfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"xfer/transfer/durable"
)

// file is an open file or directory. Its fields are under the disk's mutex.
type file struct {
	fs     *FS
	ino    *inode
	name   string
	flag   int
	pos    int64
	closed bool
	list   []fs.DirEntry // of ReadDir, once begun
	listed bool
}

var _ durable.File = (*file)(nil)

func (f *file) Name() string { return "crashfs/" + f.fs.prefix + f.name }

// begin locks the disk for an operation that counts. The caller unlocks, whatever the error.
func (f *file) begin(op string, detail func() string) (short bool, err error) {
	d := f.fs.d
	d.mu.Lock()
	if f.closed {
		return false, f.err(op, fs.ErrClosed)
	}
	short, err = d.faults.next(op, f.fs.prefix+f.name, detail())
	return short, f.err(op, err)
}

func noDetail() string { return "" }

func (f *file) look(op string) error {
	d := f.fs.d
	d.mu.Lock()
	if f.closed {
		return f.err(op, fs.ErrClosed)
	}
	return f.err(op, d.faults.read(op, f.fs.prefix+f.name))
}

func (f *file) err(op string, err error) error { return pathError(op, f.name, err) }

func (f *file) writable() bool { return f.flag&(os.O_WRONLY|os.O_RDWR) != 0 }

// regular checks that the file is one, for an operation with its content.
func (f *file) regular(op string, access bool) error {
	switch {
	case f.ino.isDir():
		return f.err(op, syscall.EISDIR)
	case !access:
		return f.err(op, syscall.EBADF)
	}
	return nil
}

func (f *file) Read(p []byte) (int, error) {
	err := f.look("read")
	defer f.fs.d.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := f.read(p, f.pos)
	f.pos += int64(n)
	return n, err
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	err := f.look("read")
	defer f.fs.d.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, f.err("read", syscall.EINVAL)
	}
	n, err := f.read(p, off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (f *file) read(p []byte, off int64) (int, error) {
	if err := f.regular("read", f.flag&os.O_WRONLY == 0); err != nil {
		return 0, err
	}
	n := f.ino.readAt(p, off)
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (f *file) Write(p []byte) (int, error) {
	return f.write(p, func() *int64 {
		if f.flag&os.O_APPEND != 0 {
			f.pos = f.ino.size
		}
		return &f.pos
	})
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	if f.flag&os.O_APPEND != 0 {
		return 0, f.err("write", errors.New("WriteAt of a file opened with O_APPEND"))
	}
	return f.write(p, func() *int64 { return &off })
}

// write writes at the place that where returns under the mutex, and moves it.
func (f *file) write(p []byte, where func() *int64) (int, error) {
	short, err := f.begin("write", func() string { return fmt.Sprintf(" %d+%d", *where(), len(p)) })
	defer f.fs.d.mu.Unlock()
	if err != nil && !short {
		return 0, err
	}
	if err := f.regular("write", f.writable()); err != nil {
		return 0, err
	}
	off := where()
	if *off < 0 {
		return 0, f.err("write", syscall.EINVAL)
	}
	if short {
		p = p[:len(p)/2]
	}
	n, werr := f.fs.d.writeAt(f.ino, p, *off)
	*off += int64(n)
	switch {
	case werr != nil:
		return n, f.err("write", werr)
	case err != nil:
		return n, err
	}
	if f.flag&os.O_SYNC != 0 {
		f.ino.syncData()
		f.ino.disk = f.ino.now
	}
	return n, nil
}

func (f *file) Seek(offset int64, whence int) (int64, error) {
	d := f.fs.d
	d.mu.Lock()
	defer d.mu.Unlock()
	if f.closed {
		return 0, f.err("seek", fs.ErrClosed)
	}
	switch whence {
	case io.SeekCurrent:
		offset += f.pos
	case io.SeekEnd:
		offset += f.ino.size
	}
	if offset < 0 {
		return 0, f.err("seek", syscall.EINVAL)
	}
	if f.ino.isDir() {
		f.list, f.listed = nil, false
	}
	f.pos = offset
	return offset, nil
}

func (f *file) Close() error {
	f.fs.d.mu.Lock()
	defer f.fs.d.mu.Unlock()
	if f.closed {
		return f.err("close", fs.ErrClosed)
	}
	f.close()
	return nil
}

func (f *file) close() {
	f.closed = true
	if f.fs.d.faults.dead == nil { // after a crash the inode is the next machine's
		f.ino.opens--
		f.fs.d.release(f.ino)
	}
}

func (f *file) Stat() (fs.FileInfo, error) {
	err := f.look("fstat")
	defer f.fs.d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return f.ino.info(lastPart(f.name)), nil
}

func (f *file) ReadDir(n int) ([]fs.DirEntry, error) {
	err := f.look("readdir")
	defer f.fs.d.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if !f.ino.isDir() {
		return nil, f.err("readdir", syscall.ENOTDIR)
	}
	if !f.listed {
		f.list, f.listed = f.ino.list(), true
	}
	if n > 0 && len(f.list) == 0 {
		return nil, io.EOF
	}
	if n <= 0 || n > len(f.list) {
		n = len(f.list)
	}
	batch := f.list[:n]
	f.list = f.list[n:]
	return batch, nil
}

func (f *file) Truncate(size int64) error {
	return f.resize("truncate", size, func(d *disk) error {
		d.truncate(f.ino, size)
		return nil
	})
}

func (f *file) Allocate(size int64) error {
	return f.resize("allocate", size, func(d *disk) error {
		return d.allocate(f.ino, size)
	})
}

// resize does an operation on the size of the file.
func (f *file) resize(op string, size int64, do func(*disk) error) error {
	_, err := f.begin(op, func() string { return fmt.Sprintf(" %d", size) })
	defer f.fs.d.mu.Unlock()
	if err != nil {
		return err
	}
	if err := f.regular(op, f.writable()); err != nil {
		return err
	}
	if size < 0 || f.ino.kind != 0 {
		return f.err(op, syscall.EINVAL)
	}
	return f.err(op, do(f.fs.d))
}

func (f *file) Sync() error     { return f.sync("sync", true) }
func (f *file) SyncData() error { return f.sync("syncdata", false) }

func (f *file) sync(op string, all bool) error {
	_, err := f.begin(op, noDetail)
	defer f.fs.d.mu.Unlock()
	regular := f.ino.kind == 0
	switch {
	case err != nil:
		if regular && !f.closed && f.fs.d.faults.dead == nil {
			f.fs.d.failSync(f.ino)
		}
		return err
	case f.ino.isDir():
		f.fs.d.syncDir(f.ino)
	case regular:
		f.ino.syncData()
		if all {
			f.ino.disk = f.ino.now
		}
	default:
		return f.err(op, syscall.EINVAL)
	}
	return nil
}

func (f *file) Chmod(mode fs.FileMode) error {
	_, err := f.begin("chmod", noDetail)
	defer f.fs.d.mu.Unlock()
	if err == nil {
		f.ino.chmod(mode)
	}
	return err
}

func (f *file) SetTimes(t time.Time) error {
	_, err := f.begin("times", noDetail)
	defer f.fs.d.mu.Unlock()
	if err == nil {
		f.ino.setTimes(t)
	}
	return err
}

func (f *file) DropCache() error {
	err := f.look("dropcache")
	defer f.fs.d.mu.Unlock()
	if err == nil && f.ino.kind == 0 {
		f.fs.d.dropCache(f.ino)
	}
	return err
}

// info is an fs.FileInfo whose Sys is a durable.ID.
type info struct {
	name  string
	attrs attrs
	size  int64
	used  int64 // pages
	id    durable.ID
}

func (n *inode) info(name string) fs.FileInfo {
	i := info{name: name, attrs: n.now, size: n.size, id: durable.ID{Dev: 1, Inode: n.id, CTime: n.ctime.UnixNano()}}
	if n.kind == fs.ModeSymlink {
		i.size = int64(len(n.target))
	}
	if n.kind == 0 {
		i.used = n.used()
	}
	return i
}

func (i info) Name() string       { return i.name }
func (i info) Size() int64        { return i.size }
func (i info) Mode() fs.FileMode  { return i.attrs.mode }
func (i info) ModTime() time.Time { return i.attrs.mtime }
func (i info) IsDir() bool        { return i.attrs.mode.IsDir() }
func (i info) Sys() any           { return i.id }

// Owner and Blocks are what durable.OwnerOf and durable.Blocks ask for.
func (i info) Owner() (uid, gid uint32) { return i.attrs.uid, i.attrs.gid }
func (i info) Blocks() int64            { return i.used * (pageSize / 512) }

// list is the directory as it is now, sorted backwards: nobody may rely on an order.
func (n *inode) list() []fs.DirEntry {
	names := slices.Sorted(maps.Keys(n.entries))
	slices.Reverse(names)
	entries := make([]fs.DirEntry, len(names))
	for i, name := range names {
		entries[i] = fs.FileInfoToDirEntry(n.entries[name].info(name))
	}
	return entries
}

func lastPart(name string) string {
	name = strings.TrimRight(name, "/")
	return name[strings.LastIndexByte(name, '/')+1:]
}
