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
	"sync"
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
	root   string
	linked bool // dst itself is a link to a directory
	diffs  atomic.Int64

	mu    sync.Mutex
	names map[string]bool // what is local, by its path at the server
}

// Check compares src, a file or a directory, with dst by content hash and changes nothing. What differs is told as an
// EventFile with Action "differs", "missing" (at the server) or "extra" (only there), and the error then has KindVerify. dst
// is compared with src itself, whatever the slashes.
func (c *Client) Check(ctx context.Context, src string, dst Address) (Result, error) {
	k := &checker{run: newRun[*checkTask](ctx, c), root: dst.Root, names: map[string]bool{}}
	k.do = k.task
	k.path = func(t *checkTask) string { return t.local.shown }
	err := k.all(src, dst)
	res, err := k.end(err)
	if n := k.diffs.Load(); err == nil && n > 0 {
		err = &Error{Op: "check", Kind: KindVerify, Err: fmt.Errorf("%d entries differ", n)}
	}
	return res, err
}

func (k *checker) all(src string, dst Address) error {
	clean := filepath.Clean(src)
	info, err := os.Lstat(clean)
	if err == nil && strings.HasSuffix(src, "/") {
		info, err = os.Stat(clean)
	}
	if err != nil {
		return localError("read", src, err)
	}
	dir, name := clean, []string{}
	if !info.IsDir() {
		dir, name = filepath.Dir(clean), []string{filepath.Base(clean)}
	}
	fsys, err := durable.OpenOS(dir)
	if err != nil {
		return localError("read", src, err)
	}
	defer fsys.Close()
	root := &sendRoot{fs: fsys}
	err = k.with(func(cs *clientSession) error {
		st, err := cs.stat(k.ctx, dst, false)
		if KindOf(err) == KindNotFound && isPeer(err) {
			return cs.rootThere(dst, err) // all of it is missing, which the tasks will say
		}
		if err != nil {
			return err
		}
		dir, err := cs.isDir(k.ctx, dst, st.entry)
		k.linked = dir && st.entry.Kind == wire.Kind(sink.Link)
		if !info.IsDir() && dir {
			dst.Path = append(slices.Clone(dst.Path), name[0]) // a file against a directory: the one in it
		}
		return err
	})
	if err != nil {
		return err
	}
	if !info.IsDir() {
		k.put(&checkTask{local: sendTask{src: root, name: name, dst: dst.Path, shown: src, info: info, kind: kindOf(info.Mode())}})
		k.m.allFound()
		return k.work()
	}
	shown := strings.TrimSuffix(src, "/")
	var walkErr error
	for e, err := range tree.Walk(k.ctx, fsys, ".", tree.Options{}) {
		if err != nil {
			walkErr = localError("read", src, err)
			break
		}
		at := shown
		if len(e.Path) > 0 {
			at += "/" + strings.Join(e.Path, "/")
		}
		if e.Err != nil {
			k.m.failed(withPath(localError("read", at, e.Err), at).(*Error))
			continue
		}
		t := &checkTask{local: sendTask{src: root, name: e.Path, dst: append(slices.Clone(dst.Path), e.Path...), shown: at, info: e.Info, link: e.Target, kind: kindOf(e.Info.Mode())}}
		k.put(t)
	}
	if walkErr != nil {
		return walkErr
	}
	k.m.allFound()
	return k.work()
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

func (k *checker) put(t *checkTask) {
	if t.local.kind == sink.File {
		k.m.found(t.local.info.Size())
	}
	k.mu.Lock()
	k.names[strings.Join(t.local.dst, "/")] = true
	k.mu.Unlock()
	k.q.put(t, false, func() bool { return false })
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
	case sink.Directory:
		if e.Kind != wire.Kind(sink.Directory) && !(k.linked && len(l.name) == 0) {
			k.differs("differs", l.shown, 0)
			return nil
		}
		return k.extras(ctx, cs, l)
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

// extras looks for names that are only at the server.
func (k *checker) extras(ctx context.Context, cs *clientSession, l *sendTask) error {
	var after []byte
	for {
		page, err := cs.list(ctx, Address{Root: k.root, Path: l.dst}, after)
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			k.mu.Lock()
			known := k.names[strings.Join(append(slices.Clone(l.dst), e.Name), "/")]
			k.mu.Unlock()
			if !known {
				k.differs("extra", l.shown+"/"+e.Name, int64(min(e.Size, 1<<62)))
			}
		}
		if len(page.Next) == 0 {
			return nil
		}
		after = page.Next
	}
}
