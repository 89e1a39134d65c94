package durable

import (
	"io/fs"
	"os"
	"sync"
	"time"
)

// lazyRoot is the os.Root of an FS. Where the system can make one of a descriptor it is made when it is needed first,
// which names of one component never do. Its methods are those of os.Root.
type lazyRoot struct {
	mu     sync.Mutex
	open   func() (*os.Root, error)
	root   *os.Root
	closed bool
}

func (l *lazyRoot) get() (*os.Root, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, fs.ErrClosed
	}
	if l.root == nil {
		root, err := l.open()
		if err != nil {
			return nil, err
		}
		l.root = root
	}
	return l.root, nil
}

// Close closes the Root if it was made. Operations in progress end first.
func (l *lazyRoot) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	if l.root == nil {
		return nil
	}
	return l.root.Close()
}

// do calls f with the Root, again while it is interrupted.
func (l *lazyRoot) do(op, name string, f func(*os.Root) error) error {
	r, err := l.get()
	if err != nil {
		return &fs.PathError{Op: op, Path: name, Err: err}
	}
	return retry(func() error { return f(r) })
}

func (l *lazyRoot) OpenFile(name string, flag int, perm fs.FileMode) (file *os.File, err error) {
	err = l.do("open", name, func(r *os.Root) error {
		file, err = r.OpenFile(name, flag, perm)
		return err
	})
	return file, err
}

func (l *lazyRoot) OpenRoot(name string) (root *os.Root, err error) {
	err = l.do("open", name, func(r *os.Root) error {
		root, err = r.OpenRoot(name)
		return err
	})
	return root, err
}

func (l *lazyRoot) Mkdir(name string, perm fs.FileMode) error {
	return l.do("mkdir", name, func(r *os.Root) error { return r.Mkdir(name, perm) })
}

func (l *lazyRoot) Remove(name string) error {
	return l.do("remove", name, func(r *os.Root) error { return r.Remove(name) })
}

func (l *lazyRoot) RemoveAll(name string) error {
	return l.do("RemoveAll", name, func(r *os.Root) error { return r.RemoveAll(name) })
}

func (l *lazyRoot) Rename(oldname, newname string) error {
	return l.do("rename", oldname, func(r *os.Root) error { return r.Rename(oldname, newname) })
}

func (l *lazyRoot) Link(oldname, newname string) error {
	return l.do("link", oldname, func(r *os.Root) error { return r.Link(oldname, newname) })
}

func (l *lazyRoot) Symlink(target, name string) error {
	return l.do("symlink", name, func(r *os.Root) error { return r.Symlink(target, name) })
}

func (l *lazyRoot) Readlink(name string) (target string, err error) {
	err = l.do("readlink", name, func(r *os.Root) error {
		target, err = r.Readlink(name)
		return err
	})
	return target, err
}

func (l *lazyRoot) Stat(name string) (fi fs.FileInfo, err error) {
	err = l.do("stat", name, func(r *os.Root) error {
		fi, err = r.Stat(name)
		return err
	})
	return fi, err
}

func (l *lazyRoot) Lstat(name string) (fi fs.FileInfo, err error) {
	err = l.do("lstat", name, func(r *os.Root) error {
		fi, err = r.Lstat(name)
		return err
	})
	return fi, err
}

func (l *lazyRoot) Chmod(name string, mode fs.FileMode) error {
	return l.do("chmod", name, func(r *os.Root) error { return r.Chmod(name, mode) })
}

func (l *lazyRoot) Chtimes(name string, atime, mtime time.Time) error {
	return l.do("chtimes", name, func(r *os.Root) error { return r.Chtimes(name, atime, mtime) })
}

func (l *lazyRoot) Lchown(name string, uid, gid int) error {
	return l.do("lchown", name, func(r *os.Root) error { return r.Lchown(name, uid, gid) })
}
