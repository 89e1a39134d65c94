package transfer

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"xfer/transfer/durable"
	"xfer/transfer/sink"
	"xfer/transfer/tree"
)

// walk makes tasks of one source.
func (s *sender) walk(ctx context.Context, src Source, into bool) {
	if src.Stdin != nil {
		s.walkStdin(ctx, src, into)
		return
	}
	path := src.Path
	clean := filepath.Clean(path)
	base, whole := arrivesAs(path)
	if s.rules.Files != nil {
		base, whole = "", false // its names are those of what is in it
	}
	contents := !whole
	info, err := os.Lstat(clean)
	if err == nil && (contents || s.rules.FollowLinks) {
		info, err = os.Stat(clean)
	}
	if err != nil {
		s.m.failed(localError("read", path, vanished(err)).(*Error))
		return
	}
	if leavesOut(s.filter, base, info.IsDir()) {
		return
	}
	if contents && !info.IsDir() {
		s.m.failed(&Error{Op: "read", Path: path, Kind: KindNotFound, Err: errors.New("is no directory")})
		return
	}
	dst := slices.Clone(s.dst.Path)
	if into && !contents {
		dst = append(dst, base)
	}
	if !info.IsDir() {
		at := clean
		if s.rules.FollowLinks {
			at, err = filepath.EvalSymlinks(clean)
		}
		var parent *sendRoot
		if err == nil {
			parent, err = s.open(filepath.Dir(at))
		}
		if err != nil {
			s.m.failed(localError("read", path, err).(*Error))
			return
		}
		e := tree.Entry{Path: []string{filepath.Base(at)}, Info: info}
		switch {
		case info.Mode().IsRegular():
			e.Kind = tree.File
		case info.Mode()&fs.ModeSymlink != 0:
			e.Kind = tree.Symlink
			e.Target, err = os.Readlink(clean)
			e.Err = err
		default:
			e.Kind = tree.Other
		}
		s.entry(ctx, parent, e, dst, path)
		return
	}
	top, err := s.openTop(clean)
	if err != nil {
		s.m.failed(localError("read", path, err).(*Error))
		return
	}
	s.m.tree()
	task := &treeTask{top: top, dst: dst, shown: strings.TrimSuffix(path, "/"), named: base, bare: len(dst) == 0, done: make(chan struct{})}
	if s.arriving != nil { // of two files with one name the first stays
		task.before, s.lastTree = s.lastTree, task
	}
	s.add(ctx, &sendTask{kind: sink.Directory, dst: dst, shown: path, whole: task})
}

func (s *sender) walkStdin(ctx context.Context, src Source, into bool) {
	dst := slices.Clone(s.dst.Path)
	if into {
		s.m.failed(&Error{Op: "send", Path: "-", Kind: KindUsage, Err: errors.New("standard input needs the full name at the destination, not a directory")})
		return
	}
	id := make([]byte, 17)
	id[0] = 2
	if _, err := rand.Read(id[1:]); err != nil {
		s.m.failed(&Error{Op: "send", Path: "-", Kind: KindOther, Err: err})
		return
	}
	p := newPipeSource(src.Stdin, id)
	s.mu.Lock()
	s.pipes = append(s.pipes, p)
	s.mu.Unlock()
	go p.read() // ends with the stream, or stays in its last read until the process ends
	s.m.found(0)
	s.add(ctx, &sendTask{kind: sink.File, dst: dst, shown: "-", pipe: p})
}

func (s *sender) open(dir string) (*sendRoot, error) {
	fsys, err := durable.OpenOS(dir)
	if err != nil {
		return nil, err
	}
	return s.opened(fsys, "."), nil
}

// openTop opens a directory to be walked.
func (s *sender) openTop(dir string) (*sendRoot, error) {
	if !s.rules.FollowLinks {
		return s.open(dir)
	}
	fsys, start, err := linkRoot(dir)
	if err != nil {
		return nil, err
	}
	return s.opened(fsys, start), nil
}

func (s *sender) opened(fsys durable.FS, start string) *sendRoot {
	r := &sendRoot{fs: fsys, start: start}
	s.mu.Lock()
	s.roots = append(s.roots, r)
	s.mu.Unlock()
	return r
}

func (s *sender) closeRoots() {
	for _, r := range s.roots {
		_ = r.fs.Close()
	}
	for _, p := range s.pipes {
		_ = p.Close()
	}
}

// vanished turns "is not there" into "was there a moment ago".
func vanished(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &Error{Op: "read", Kind: KindVanished, Err: errors.New("vanished before it was read")}
	}
	return err
}

// entry makes the task of one entry of the walk; false ends the walk.
func (s *sender) entry(ctx context.Context, root *sendRoot, e tree.Entry, dst []string, shown string) bool {
	if len(dst) > 0 && dst[0] == stateName {
		if len(dst) == 1 {
			s.m.skipped(shown, ownState)
		}
		return true
	}
	if e.Err != nil {
		s.m.failed(fileError(localError("read", shown, vanished(e.Err)), shown))
		return true
	}
	if !s.arrives(root, dst) {
		s.m.failed(&Error{Op: "send", Path: shown, Kind: KindExists, Err: errors.New("another source has a file of this name")})
		return true
	}
	t := &sendTask{src: root, name: e.Path, dst: dst, shown: shown, info: e.Info}
	switch e.Kind {
	case tree.Symlink:
		t.kind, t.link = sink.Link, e.Target
	case tree.File:
		t.kind = sink.File
		s.m.found(e.Info.Size())
	default:
		s.m.skipped(shown, specialName(e.Info.Mode()))
		return true
	}
	return s.add(ctx, t)
}

func specialName(m fs.FileMode) string {
	switch {
	case m&fs.ModeNamedPipe != 0:
		return "a FIFO"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "not a regular file"
}

func (s *sender) add(ctx context.Context, t *sendTask) bool {
	if _, err := rand.Read(t.id[:]); err != nil {
		return false
	}
	return s.q.put(t, true, func() bool { return ctx.Err() != nil })
}
