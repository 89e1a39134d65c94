package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/sink"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// checkTask is one local entry to be compared.
type checkTask struct{ local sendTask }

type checker struct {
	*run[*checkTask]
	root  string
	diffs atomic.Int64
}

// Check compares src, a file or a directory, with dst by content hash and changes nothing. What differs is told as an
// EventFile with Action "differs", "missing" (at the server) or "extra" (only there), and the error then has KindVerify. dst
// is compared with src itself, whatever the slashes.
func (c *Client) Check(ctx context.Context, src string, dst Address) (Result, error) {
	clean := filepath.Clean(src)
	info, err := os.Lstat(clean)
	if err == nil && strings.HasSuffix(src, "/") {
		info, err = os.Stat(clean)
	}
	if err != nil {
		return Result{}, localError("read", src, err)
	}
	if info.IsDir() {
		return c.checkTree(ctx, src, dst)
	}
	k := &checker{run: newRun[*checkTask](ctx, c), root: dst.Root}
	k.do = k.task
	k.path = func(t *checkTask) string { return t.local.shown }
	err = k.one(src, clean, info, dst)
	res, err := k.end(err)
	return res, differing(k.diffs.Load(), err)
}

// differing is the error of a check that found n entries to differ.
func differing(n int64, err error) error {
	if err == nil && n > 0 {
		err = &Error{Op: "check", Kind: KindVerify, Err: fmt.Errorf("%d entries differ", n)}
	}
	return err
}

// treeCheck compares a directory: a tree of which nothing is sent.
type treeCheck struct{ diffs atomic.Int64 }

func (c *Client) checkTree(ctx context.Context, src string, dst Address) (Result, error) {
	plan := *c
	plan.Options.DryRun, plan.Options.Checksum = true, true
	s := plan.newSender(ctx, []Source{{Path: strings.TrimSuffix(src, "/") + "/"}}, dst)
	defer s.closeRoots()
	s.exact, s.check = true, &treeCheck{}
	res, err := s.end(s.all())
	return res, differing(s.check.diffs.Load(), err)
}

func (k *treeCheck) differs(s *sender, action, path string, size int64) {
	k.diffs.Add(1)
	s.m.event(Event{Kind: EventFile, Action: action, Path: path, Size: size})
}

func (k *treeCheck) settled(s *sender, shown string, e *treeEntry, code wire.VerdictCode) {
	switch {
	case code == wire.VerdictNew || code == wire.VerdictMade:
		k.differs(s, "missing", shown, 0)
	case code == wire.VerdictUpdate:
		k.differs(s, "differs", shown, e.size())
	case e.kind == tree.File:
		s.m.file(shown, "same", e.size(), 0, true)
	}
}

func kindOf(m fs.FileMode) sink.Kind {
	switch {
	case m.IsDir():
		return sink.Directory
	case m&fs.ModeSymlink != 0:
		return sink.Link
	case m.IsRegular():
		return sink.File
	}
	return sink.Other
}

// one compares what is no directory.
func (k *checker) one(src, clean string, info fs.FileInfo, dst Address) error {
	name := filepath.Base(clean)
	fsys, err := durable.OpenOS(filepath.Dir(clean))
	if err != nil {
		return localError("read", src, err)
	}
	defer fsys.Close()
	err = k.with(func(cs *clientSession) error {
		st, err := cs.stat(k.ctx, dst, false)
		if KindOf(err) == KindNotFound && isPeer(err) {
			return cs.rootThere(dst, err) // it is missing, which the task will say
		}
		if err != nil {
			return err
		}
		dir, err := cs.isDir(k.ctx, dst, st.entry)
		if dir {
			dst.Path = append(slices.Clone(dst.Path), name) // a file against a directory: the one in it
		}
		return err
	})
	if err != nil {
		return err
	}
	t := &checkTask{local: sendTask{src: &sendRoot{fs: fsys}, name: []string{name}, dst: dst.Path, shown: src, info: info, kind: kindOf(info.Mode())}}
	if t.local.kind == sink.Link {
		if t.local.link, err = os.Readlink(clean); err != nil {
			return localError("read", src, err)
		}
	}
	if t.local.kind == sink.File {
		k.m.found(info.Size())
	}
	k.m.allFound()
	k.q.put(t, false, func() bool { return false })
	return k.work()
}

func (k *checker) differs(action string, path string, size int64) {
	k.diffs.Add(1)
	k.m.event(Event{Kind: EventFile, Action: action, Path: path, Size: size})
}

func (k *checker) task(ctx context.Context, cs *clientSession, t *checkTask) error {
	l := &t.local
	there, err := cs.stat(ctx, Address{Root: k.root, Path: l.dst}, false)
	switch {
	case KindOf(err) == KindNotFound && isPeer(err):
		if l.kind != sink.Other {
			k.differs("missing", l.shown, 0)
		}
		return nil
	case err != nil:
		return err
	}
	e := there.entry
	switch l.kind {
	case sink.Other:
		return nil
	case sink.Link:
		if e.Kind != wire.Kind(sink.Link) || e.Target != l.link {
			k.differs("differs", l.shown, 0)
		}
		return nil
	}
	if e.Kind != wire.Kind(sink.File) || int64(e.Size) != l.info.Size() {
		k.differs("differs", l.shown, l.info.Size())
		return nil
	}
	there, err = cs.stat(ctx, Address{Root: k.root, Path: l.dst}, true)
	if err != nil {
		return err
	}
	src, err := l.openSource()
	if err != nil {
		return localError("read", l.shown, err)
	}
	defer src.Close()
	root, err := hashSource(src, ctx.Err)
	if err != nil {
		return localOr(err, l.shown)
	}
	if there.root == nil || crypto.Digest(*there.root) != root {
		k.differs("differs", l.shown, l.info.Size())
		return nil
	}
	k.m.file(l.shown, "same", src.Size(), 0, true)
	return nil
}

func isPeer(err error) bool {
	var pe *PeerError
	return errors.As(err, &pe)
}

// extra tells of names that are only at the server.
func (k *treeCheck) extra(s *sender, m wire.TreeExtra) {
	for _, e := range m.Entries {
		k.differs(s, "extra", s.src[0].Path+strings.Join(e.Path.Parts(), "/"), int64(min(e.Size, 1<<62)))
	}
}
