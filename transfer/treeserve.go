package transfer

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"strings"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/sink"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// takeTreeOpen begins to receive a tree that a client sends.
func (ss *serverSession) takeTreeOpen(id uint32, o wire.TreeOpen) error {
	if id == 0 || id%2 != 0 {
		return protocolError("TREE_OPEN with handle %d", id)
	}
	t := ss.newTreeRecv(id)
	t.wants = true
	var root GrantedRoot
	t.begin = func(ctx context.Context, o wire.TreeOpen, spec sink.TreeSpec) (*sink.Tree, error) {
		r, p, err := ss.place(o.Root, o.Path)
		if err != nil {
			return nil, err
		}
		root, spec.Path, t.root = r, p, r
		if rights := r.View.Rights(); o.Flags&wire.TreeMayDelete != 0 && (rights&sink.RDelete == 0 || rights&sink.NoReplace != 0) {
			return nil, sink.ErrDenied // known before anything is sent
		}
		if !o.Backup.IsZero() {
			if spec.Backup, err = sink.NewPath(o.Backup.Parts()...); err != nil {
				return nil, err
			}
		}
		return r.View.BeginTree(ctx, spec)
	}
	t.sign = func(o wire.TreeOpen, r *wire.TreeReceipt) (err error) {
		r.RootName, r.Path, r.Signer = root.Name, o.Path, ss.srv.Identity.SPKI()
		r.Signature, err = ss.srv.Identity.SignReceipt(wire.TreeReceiptBytes(*r))
		return err
	}
	t.finished = func(files int64, err error) {
		if err == nil {
			ss.srv.event(ServerEvent{Kind: "published", Client: ss.grant.Name, Path: "/" + root.Name + "/" + t.path(), Files: files})
		}
	}
	if err := ss.register(id, func() { ss.treeRecvs[id] = t }); err != nil {
		var pe *wire.ProtocolError
		if errors.As(err, &pe) && pe.Code == wire.CodeServerLimit {
			ss.sendError(id, err)
			return nil
		}
		return err
	}
	if !ss.goRun(func() { t.serve(o) }) {
		return ss.lost()
	}
	return nil
}

// place finds where a file of a tree goes that comes by itself, and what the manifest says of it.
func (t *treeRecv) place(ss *serverSession, entry uint64) (GrantedRoot, sink.Path, *sink.Meta, error) {
	if t == nil {
		return GrantedRoot{}, sink.Path{}, nil, &Error{Op: "open", Kind: KindNotFound, Err: fs.ErrNotExist}
	}
	t.mu.Lock()
	tr := t.tree
	t.mu.Unlock()
	if tr != nil {
		p, e, ok := tr.Path(entry)
		if !ok { // the sender has compared it, and has another
			if v := tr.Decide(entry, true); v.Code == sink.VerdictFailed && !errors.Is(v.Err, sink.ErrRange) {
				return GrantedRoot{}, sink.Path{}, nil, v.Err
			}
			p, e, ok = tr.Path(entry)
		}
		if ok && e.Kind == sink.File {
			return t.root, p, &e.Meta, nil
		}
	}
	return GrantedRoot{}, sink.Path{}, nil, protocolError("OPEN of entry %d, which was not asked for", entry)
}

// treeLanding is where a file of a tree goes that comes by itself: what it replaces may have to be kept.
type treeLanding struct {
	landing
	t     *treeRecv
	entry uint64
}

func (l treeLanding) Publish(ctx context.Context, c sink.Commit) ([]byte, error) {
	l.t.mu.Lock()
	tr := l.t.tree
	l.t.mu.Unlock()
	if tr != nil {
		if err := tr.Keep(l.entry); err != nil {
			return nil, err
		}
	}
	b, err := l.landing.Publish(ctx, c)
	if err == nil {
		l.t.arrived(l.entry, outcome{size: c.Size, root: c.Root})
	}
	return b, err
}

// lands sees that a file which comes by itself has arrived in the tree before its sender hears of that: then the end of the tree may come, with hard
// links to it.
func (t *treeRecv) lands(acc *accepted, o wire.Open) {
	entry := o.Entry
	switch {
	case acc.land != nil:
		acc.land = treeLanding{acc.land, t, entry}
	case acc.exists != nil:
		exists := acc.exists
		acc.exists = func(ctx context.Context, root crypto.Digest, size int64) (*wire.Receipt, error) {
			r, err := exists(ctx, root, size)
			if err == nil {
				t.arrived(entry, outcome{size: size, root: root})
			}
			return r, err
		}
	default:
		out := outcome{size: int64(o.Size)}
		if acc.receipt != nil {
			out.root = crypto.Digest(acc.receipt.RootHash)
		}
		t.arrived(entry, out)
	}
}

// arrived notes that a file which came by itself is published.
func (t *treeRecv) arrived(entry uint64, out outcome) {
	t.mu.Lock()
	tr := t.tree
	t.mu.Unlock()
	if tr != nil {
		tr.Arrived(entry, out.size, out.root)
	}
}

// takeTreeGet answers a TREE_GET with a TREE_OPEN and sends the directory, as a sender like any other.
func (ss *serverSession) takeTreeGet(id uint32, m wire.TreeGet) error {
	if id == 0 || id%2 != 1 {
		return protocolError("TREE_GET with handle %d", id)
	}
	if err := ss.register(id, nil); err != nil {
		var pe *wire.ProtocolError
		if errors.As(err, &pe) && pe.Code == wire.CodeServerLimit {
			ss.sendError(id, err)
			return nil
		}
		return err
	}
	ss.gets.Add(1)
	ss.goRun(func() {
		defer ss.gets.Add(-1)
		if err := ss.sendTreeTo(id, m); err != nil {
			var lost *lostError
			var pe *PeerError
			if !errors.As(err, &lost) && !errors.As(err, &pe) {
				ss.sendError(id, err)
			}
		}
	})
	return nil
}

func (ss *serverSession) sendTreeTo(id uint32, m wire.TreeGet) error {
	if m.Flags&wire.TreeExact != 0 && !ss.agreed(wire.CapExact) {
		return notAgreed("TREE_GET with flags %#x", m.Flags)
	}
	r, p, err := ss.place(m.Root, m.Path)
	if err != nil {
		return err
	}
	top, err := r.View.OpenTree(p)
	if err != nil {
		return err
	}
	defer top.Close()
	from, start := top, "."
	if m.Walk&wire.TreeFollowLinks != 0 {
		if from, start, err = r.View.OpenAll(p); err != nil {
			return err
		}
		defer from.Close()
	}
	open := wire.TreeOpen{Flags: m.Flags & (wire.TreeDryRun | wire.TreeExact), Compare: m.Compare}
	if open.Tree, err = newTransferID(); err != nil {
		return err
	}
	t := ss.newTreeSend(id, treeHooks{
		settled: func(e *treeEntry, code wire.VerdictCode, err error) {
			if fe := new(Error); errors.As(err, &fe) && fe.Op == "send" && !isPeer(err) { // a name that has no place in a manifest
				ss.leftOut(id, e, err)
			}
		},
		late:  func(string, error) {},
		sent:  func(int64) {},
		acked: func(int64) {},
		// The client fetches what is too large by itself.
		file: func(context.Context, *treeEntry) error { return errPackFull },
	})
	o := tree.WalkOptions{OneFileSystem: m.Walk&wire.TreeOneFileSystem != 0, CopyLinks: m.Walk&wire.TreeFollowLinks != 0}
	if o.Select, err = selectionFor(m, r.Name, top); err != nil {
		return err
	}
	// Special modes are told in any case: what becomes of them is for the client to decide, on whose machine they would count.
	keep := sink.Keep{Archive: m.Flags&wire.TreeExact != 0, Special: true, Owners: &ss.srv.owners}
	_, err = t.run(ss.ctx, open, ss.treeWalk(id, from, start, p.IsRoot(), o, keep))
	return err
}

// treeWalk gives the entries of a tree that a client asked for.
func (ss *serverSession) treeWalk(id uint32, top durable.FS, start string, isRoot bool, o tree.WalkOptions, k sink.Keep) iter.Seq2[*treeEntry, error] {
	return func(yield func(*treeEntry, error) bool) {
		below := 0
		for it, err := range treeItems(ss.ctx, top, start, o) {
			if err != nil {
				yield(nil, err)
				return
			}
			if below > 0 && it.Depth > below {
				continue // of a directory that is left out
			}
			below = 0
			e, err := entryOf(it, k)
			switch {
			case e.depth == 1 && isRoot && strings.EqualFold(e.name, stateName): // our own
			case e.depth == 1 && strings.EqualFold(e.name, stateName):
				ss.leftOut(id, e, &wire.ProtocolError{Code: wire.CodeUnsupported, Msg: ownState})
			case err != nil:
				ss.leftOut(id, e, err)
			case e.kind == tree.Other:
				ss.leftOut(id, e, &wire.ProtocolError{Code: wire.CodeUnsupported, Msg: specialName(e.info.Mode())})
			default:
				if !yield(e, nil) {
					return
				}
				continue
			}
			if e.release(); e.kind == tree.Directory {
				below = e.depth
			}
		}
	}
}

// leftOut tells the client of an entry that is not in the manifest.
func (ss *serverSession) leftOut(id uint32, e *treeEntry, err error) {
	var parts []string
	if e.at != "" {
		parts = strings.Split(e.at, "/")
	}
	path, perr := wire.NewPath(parts...)
	if perr != nil { // then the directory above has to do
		path, _ = wire.NewPath(parts[:max(len(parts)-1, 0)]...)
	}
	code, text := codeOf(err)
	var we *wire.ProtocolError
	if errors.As(err, &we) {
		text = we.Msg
	}
	ss.send(id, wire.TreeLeft{Path: path, Code: code, Text: clip(text)})
}
