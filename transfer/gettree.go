package transfer

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"

	"xfer/crypto"
	"xfer/transfer/sink"
	"xfer/transfer/wire"
)

// getTree is one session's part in fetching a directory.
type getTree struct {
	g    *getter
	cs   *clientSession
	task *getTask
	ctx  context.Context
	recv *treeRecv
	pool *pool // files that are fetched by themselves

	list *treeList // nil: no receipt is wanted, and nothing is read again

	mu     sync.Mutex
	dirs   []string                // components of the directory that the next entry is in
	wanted map[uint64]*gottenEntry // files that come in packs
}

// gottenEntry is a file of a tree on its way to us.
type gottenEntry struct {
	slot  *treeSlot
	entry sink.TreeEntry
	loose int64 // counted as arrived
}

// tree fetches a directory, as far as the session lasts.
func (g *getter) tree(ctx context.Context, cs *clientSession, t *getTask) error {
	if !cs.agreed(wire.CapTree) {
		return &Error{Op: "get", Path: t.shown, Kind: KindProtocol, Err: errors.New("the peer is too old to send directories")}
	}
	path, err := wire.NewPath(t.remote.Path...)
	if err != nil {
		return &Error{Op: "get", Path: t.shown, Kind: KindUsage, Err: err}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &getTree{g: g, cs: cs, task: t, ctx: ctx, wanted: map[uint64]*gottenEntry{}}
	n := largeFiles
	if k := g.c.Options.Transfers; k > 0 {
		n = min(k, n)
	}
	w.pool = newPool(n)
	defer w.pool.close()
	ended := make(chan error, 1)
	r := cs.newTreeRecv(cs.handle(true))
	w.recv = r
	r.begin = func(ctx context.Context, o wire.TreeOpen, spec sink.TreeSpec) (*sink.Tree, error) {
		return w.begin(ctx, spec)
	}
	r.sign = func(o wire.TreeOpen, m *wire.TreeReceipt) (err error) {
		m.Signer = g.c.Identity.SPKI()
		m.Signature, err = g.c.Identity.SignReceipt(wire.TreeReceiptBytes(*m))
		return err
	}
	if (g.c.Options.Receipts || g.c.Options.Verify) && !g.c.Options.DryRun {
		w.list = &treeList{}
	}
	if g.c.Options.Receipts && !g.c.Options.DryRun {
		r.list = &listHash{}
	}
	r.receipt = func(m wire.TreeReceipt) error { return w.receipt(m) }
	r.hook, r.bare = w, t.whole.bare
	r.finished = func(_ int64, err error) { ended <- err }
	get := wire.TreeGet{Root: t.remote.Root, Path: path, Rules: t.whole.ask.rules, Names: t.whole.ask.names, Walk: t.whole.ask.walk}
	if t.whole.named != "" {
		get.Walk |= wire.TreeNamed
	}
	if err := cs.wantsArchive("get", t.shown); err != nil {
		return err
	}
	if g.c.Options.Archive {
		r.wants = true
		get.Flags |= wire.TreeExact
	}
	if r.list != nil {
		get.Compare = wire.TreeByContent
	}
	if g.c.Options.DryRun {
		get.Flags |= wire.TreeDryRun
	} else {
		cs.wantStreams(g.c.streamsForTree())
	}
	err = cs.getTree(ctx, r, get, ended)
	r.mu.Lock()
	if r.tree != nil {
		g.m.unkept(r.tree.Unkept())
	}
	r.mu.Unlock()
	w.pool.close()
	if loose := t.whole.again(); err != nil {
		g.undone(loose)
	} else {
		g.unmet(t.whole)
	}
	if err == nil && g.c.Options.Verify && w.list != nil {
		err = w.verify(ctx)
	}
	return w.local(err)
}

// receipt keeps the receipt of the tree. The one that the server gets tells nothing of where it is here.
func (w *getTree) receipt(m wire.TreeReceipt) (err error) {
	g := w.g
	if m.Path, err = wire.NewPath(w.task.path...); err != nil {
		return err
	}
	m.Signer = g.c.Identity.SPKI()
	if m.Signature, err = g.c.Identity.SignReceipt(wire.TreeReceiptBytes(m)); err != nil {
		return err
	}
	files, err := w.list.all()
	if err == nil {
		g.m.treeReceipt(treeReceiptOf(m, files))
	}
	return err
}

// verify reads again what of the tree was received.
func (w *getTree) verify(ctx context.Context) error {
	return eachFile(ctx, w.list.sent(), func(ctx context.Context, f ListedFile) error {
		shown := w.task.whole.shownPath(f.Path)
		p, err := sink.NewPath(append(slices.Clone(w.task.path), strings.Split(f.Path, "/")...)...)
		if err != nil {
			return err
		}
		got, _, err := w.task.top.view.Hash(ctx, p, func() {})
		switch {
		case err != nil:
			return localError("verify", shown, err)
		case got != f.Root:
			return &Error{Op: "verify", Path: shown, Kind: KindVerify, Err: errors.New("read again, it is not what was received")}
		}
		return nil
	})
}

// local gives a failure of what we store its kind.
func (w *getTree) local(err error) error {
	if err == nil || isPeer(err) {
		return err
	}
	return withPath(notStored(err, w.task.shown), w.task.shown)
}

// getTree asks for a tree and waits until it is there.
func (cs *clientSession) getTree(ctx context.Context, r *treeRecv, get wire.TreeGet, ended chan error) error {
	cs.mu.Lock()
	if cs.closed {
		cs.mu.Unlock()
		return cs.lost()
	}
	cs.treeRecvs[r.id] = r
	cs.mu.Unlock()
	cs.working(1)
	defer cs.working(-1)
	cs.send(r.id, get)
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		cs.send(r.id, wire.Abort{Keep: true, Code: wire.CodeStreamLost})
		r.stop(context.Cause(ctx))
	case <-cs.ctx.Done():
		r.stop(cs.lost())
	case <-r.stopped: // the server has refused
	}
	if !r.begun() {
		cs.mu.Lock()
		delete(cs.treeRecvs, r.id)
		cs.mu.Unlock()
		return r.reason()
	}
	return <-ended
}

func (w *getTree) begin(ctx context.Context, spec sink.TreeSpec) (*sink.Tree, error) {
	o := &w.g.c.Options
	p, err := sink.NewPath(w.task.path...)
	if err != nil {
		return nil, err
	}
	spec.Path = p
	spec.NoClobber, spec.IgnoreExisting, spec.Existing, spec.Update, spec.DryRun = o.NoClobber, o.IgnoreExisting, o.Existing, o.Update, o.DryRun
	spec.Compare, spec.Extra = sink.ByTime, nil
	if o.Checksum || w.recv.list != nil {
		spec.Compare = sink.ByContent
	}
	if w.list != nil {
		spec.There = w.there
	}
	spec.Durability = durabilityOf(w.g.treeDurability())
	if w.task.top.view == nil { // a plan for a directory that is not there
		return nil, nil
	}
	return w.task.top.view.BeginTree(ctx, spec)
}

// took is told what becomes of an entry, and may have it otherwise.
func (w *getTree) took(e sink.TreeEntry, v sink.Verdict) sink.Verdict {
	path := w.path(e)
	if v.Code == sink.VerdictFailed && w.cs.ctx.Err() != nil {
		return v // it comes in the next session
	}
	delete(w.task.whole.ask.unmet, path)
	shown := w.task.whole.shownPath(path)
	slot, isNew := w.task.whole.found(path)
	if e.Kind == sink.File && isNew && slot.count() {
		w.g.m.found(e.Size)
	}
	switch v.Code {
	case sink.VerdictNew, sink.VerdictUpdate, sink.VerdictHash:
		if w.g.c.Options.DryRun && v.Code != sink.VerdictHash {
			break
		}
		if e.Kind != sink.File {
			break
		}
		if v.Code != sink.VerdictHash && e.Size > maxPacked {
			w.alone(slot, e)
			return sink.Verdict{Code: sink.VerdictSkip}
		}
		w.mu.Lock()
		w.wanted[e.No] = &gottenEntry{slot: slot, entry: e}
		w.mu.Unlock()
		return v
	}
	w.settled(slot, shown, e, v)
	return v
}

// there is told of a file that is here as the manifest says.
func (w *getTree) there(path string, size int64, root crypto.Digest) {
	f := ListedFile{Root: root, Size: size, Path: path}
	if w.recv.list != nil {
		w.recv.list.add(f)
	}
	w.list.there(f, true)
}

// path is where e is beneath the top, with slashes.
func (w *getTree) path(e sink.TreeEntry) string {
	if e.No == 0 {
		return ""
	}
	w.dirs = w.dirs[:max(len(w.dirs)-e.Up, 0)]
	path := strings.Join(append(w.dirs, e.Name), "/")
	if e.Kind == sink.Directory {
		w.dirs = append(w.dirs, e.Name)
	}
	return path
}

// settled counts an entry for which nothing is sent.
func (w *getTree) settled(slot *treeSlot, shown string, e sink.TreeEntry, v sink.Verdict) {
	g := w.g
	switch {
	case slot.old:
	case v.Code == sink.VerdictFailed && g.c.Options.IgnoreExisting && (errors.Is(v.Err, sink.ErrIsDir) || errors.Is(v.Err, sink.ErrNotDir)):
		if g.c.Options.DryRun { // whatever has the name stays
			g.m.event(Event{Kind: EventPlan, Action: "skip", Path: shown, Size: e.Size})
		} else if e.Kind == sink.File {
			g.m.file(shown, "skipped", e.Size, 0, true)
		}
	case v.Code == sink.VerdictFailed:
		g.m.failed(fileError(notStored(v.Err, shown), shown))
	case g.c.Options.DryRun:
		g.m.event(Event{Kind: EventPlan, Action: planAction(verdictOf(v.Code)), Path: shown, Size: e.Size})
	case e.Kind != sink.File:
		if v.Code == sink.VerdictMade {
			g.m.made(shown)
		}
	case v.Code == sink.VerdictLinked:
		g.m.file(shown, "received", e.Size, 0, false)
	default:
		g.m.file(shown, "skipped", e.Size, 0, true)
	}
	w.task.whole.ended(slot)
}

// alone fetches a file by itself.
func (w *getTree) alone(slot *treeSlot, e sink.TreeEntry) {
	parts := strings.Split(slot.path, "/")
	t := &getTask{
		kind: sink.File, top: w.task.top, path: append(slices.Clone(w.task.path), parts...), shown: w.task.whole.shownPath(slot.path),
		member: true,
		remote: Address{Root: w.task.remote.Root, Path: append(slices.Clone(w.task.remote.Path), parts...)}, size: e.Size,
	}
	if e.Meta.HasMode {
		t.mode, t.mtime = modeBits(e.Meta.Mode), unixNano(e.Meta.MTime)
	}
	if g := w.g; g.c.Options.Archive {
		t.archive = &e.Meta
	}
	t = lately(w.task.whole, slot, t)
	w.pool.add(func() {
		if w.ctx.Err() != nil || w.cs.ctx.Err() != nil {
			return
		}
		err := asProtocol(w.g.try(w.ctx, w.cs, t))
		switch {
		case err == nil:
			if w.list != nil {
				w.there(slot.path, t.length, t.root)
			}
			if !t.other {
				w.recv.came(e.No)
				w.recv.came(e.Link) // in whose place it may stand
			}
		case w.ctx.Err() != nil:
			return
		case retryable(err) || endsRun(err) || w.cs.ctx.Err() != nil:
			w.recv.stop(err)
			return
		default:
			w.g.fail(t, err)
		}
		w.task.whole.ended(slot)
	})
}

// stored counts content that has arrived.
func (w *getTree) stored(no uint64, n, crossed int64) {
	w.mu.Lock()
	e := w.wanted[no]
	if e != nil {
		e.loose += n
	}
	w.mu.Unlock()
	if e == nil {
		return
	}
	w.g.m.reached(&w.task.whole.most, w.task.whole.addLoose(n))
	w.g.m.sent(crossed)
	w.g.m.acked(n)
}

// done is told of a file that has its final name, or never gets it.
func (w *getTree) done(no uint64, err error) {
	if err != nil && w.cs.ctx.Err() != nil {
		return // it comes in the next session
	}
	w.mu.Lock()
	e := w.wanted[no]
	delete(w.wanted, no)
	w.mu.Unlock()
	if e == nil {
		if err != nil { // a directory, or a link, which was settled
			err = notStored(err, w.task.shown)
			w.g.m.failed(fileError(err, w.task.shown))
		}
		return
	}
	w.task.whole.addLoose(-e.loose)
	shown := w.task.whole.shownPath(e.slot.path)
	switch {
	case err != nil:
		w.g.m.undone(e.loose)
		err = withPath(notStored(err, shown), shown)
		if endsRun(err) {
			w.recv.stop(err)
		}
		if !e.slot.old {
			w.g.m.failed(fileError(err, shown))
		}
	case !e.slot.old:
		w.g.m.file(shown, "received", e.entry.Size, e.loose, false)
	}
	w.task.whole.ended(e.slot)
}

// same is told of a file whose content is here already.
func (w *getTree) same(no uint64) {
	w.mu.Lock()
	e := w.wanted[no]
	delete(w.wanted, no)
	w.mu.Unlock()
	if e != nil {
		v := sink.Verdict{Code: sink.VerdictSame}
		if w.g.c.Options.DryRun && !w.g.c.Options.NoClobber && w.metaDiffers(e) {
			v.Code = sink.VerdictMeta
		}
		w.settled(e.slot, w.task.whole.shownPath(e.slot.path), e.entry, v)
	}
}

// metaDiffers tells whether a file that has the same content here would get another mode or time.
func (w *getTree) metaDiffers(e *gottenEntry) bool {
	p, err := sink.NewPath(append(slices.Clone(w.task.path), strings.Split(e.slot.path, "/")...)...)
	if err != nil {
		return false
	}
	here, err := w.task.top.view.Existing(p)
	m := e.entry.Meta
	return err == nil && (m.HasMode && m.Mode.Perm() != here.Mode.Perm() || m.HasMTime && !m.MTime.Equal(here.MTime))
}

// gone is told of a file that does not come with the others: it vanished at the server, or grew too large.
func (w *getTree) gone(no uint64) {
	w.mu.Lock()
	e := w.wanted[no]
	delete(w.wanted, no)
	w.mu.Unlock()
	if e != nil {
		w.alone(e.slot, e.entry)
	}
}

// left is told of what the server has and does not send.
func (w *getTree) left(m wire.TreeLeft) {
	path := strings.Join(m.Path.Parts(), "/")
	shown := w.task.whole.shownPath(path)
	switch {
	case !w.task.whole.once(path):
	case m.Code == wire.CodeUnsupported:
		w.g.m.skipped(shown, m.Text)
	default:
		err := errorOf(wire.Error{Code: m.Code, Class: m.Code.Class(), Text: m.Text})
		w.g.m.failed(fileError(err, shown))
	}
}

// whole is told that all entries have been taken.
func (w *getTree) whole() {
	if w.task.whole.whole() {
		w.g.m.walked()
	}
}

// before waits for the files that come by themselves. In a dry run what was compared and is not the same has no other answer.
func (w *getTree) before() error {
	// Where the session is lost the files end after it has let go of everything, and so not before this returns.
	waited := make(chan struct{})
	go func() {
		w.pool.wait()
		close(waited)
	}()
	select {
	case <-waited:
	case <-w.cs.ctx.Done():
		return w.cs.lost()
	}
	if w.g.c.Options.DryRun {
		w.mu.Lock()
		left := w.wanted
		w.wanted = map[uint64]*gottenEntry{}
		w.mu.Unlock()
		for _, no := range slices.Sorted(maps.Keys(left)) {
			e, v := left[no], sink.Verdict{Code: sink.VerdictUpdate}
			if w.g.c.Options.NoClobber {
				v = sink.Verdict{Code: sink.VerdictFailed, Err: &fs.PathError{Op: "replace", Path: e.entry.Name, Err: fs.ErrExist}}
			}
			w.settled(e.slot, w.task.whole.shownPath(e.slot.path), e.entry, v)
		}
	}
	return w.ctx.Err()
}

func (g *getter) treeDurability() wire.Durability {
	switch g.c.Options.Durability {
	case "full":
		return wire.DurabilityFull
	case "none":
		return wire.DurabilityNone
	}
	return wire.DurabilityBatch
}
