package transfer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/sink"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// treeTask is a directory that is sent as a tree, over as many sessions as it takes.
type treeTask struct {
	top   *sendRoot
	dst   []string // of the top directory, beneath the root at the server
	shown string   // the top, for people
	named string   // that rules see the top by; "" where they begin in it
	ask   *treeAsk // of a tree that we fetch

	bare bool // the top is the root itself, or a directory that was there: its mode and time are not ours

	before *treeTask     // comes to its end first; nil for any order
	done   chan struct{} // closed when it has come to its end
	over   sync.Once

	mu sync.Mutex
	// What is behind the mark has come to its end and was counted, but for what is in late.
	mark      string
	marked    bool
	beyond    map[string]bool // what came to its end behind the mark, in earlier sessions
	seen      map[string]bool // what was found in earlier sessions, and has not come to its end
	redo      map[string]bool // what came to its end and is sent once more, with all beneath
	redone    map[string]bool // what of that came to its end again
	order     []*treeSlot     // of this session, from the mark on
	told      map[string]bool // what was told to be left out
	toldBytes int             // of told
	late      map[string]any  // the *sendTask or *getTask of each file that is sent by itself
	known     bool            // all entries have been found, in this session or an earlier one
	loose     int64           // bytes that were counted as arrived of files that have not come to their end

	most highWater // of loose
}

// maxTold is how much of that is remembered, in bytes.
const maxTold = 64 << 20

// treeSlot is an entry in the order of the walk.
type treeSlot struct {
	path    string
	ended   bool
	old     bool // it was counted in an earlier session
	large   bool // it is sent by itself
	counted bool // it is among those that were found
}

// treeAfter tells whether path a comes behind b in a manifest: names are compared one by one.
func treeAfter(a, b string) bool {
	for i := 0; i < len(a) && i < len(b); i++ {
		if x, y := a[i], b[i]; x != y {
			return y == '/' || x != '/' && x > y
		}
	}
	return len(a) > len(b)
}

// found makes the slot of an entry, and tells whether it has not been counted yet.
func (t *treeTask) found(path string) (*treeSlot, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slot := &treeSlot{path: path, counted: t.seen[path]}
	delete(t.seen, path)
	late := t.late[path]
	slot.old = late == nil && (t.marked && !treeAfter(path, t.mark) || t.beyond[path])
	if f, ok := late.(interface{ wasCounted() bool }); ok && f.wasCounted() { // its session was lost right after that
		slot.old = true
	}
	if slot.old && isBeneath(path, t.redo) && !t.redone[path] {
		slot.old, slot.counted = false, true
	}
	t.order = append(t.order, slot)
	return slot, !slot.old && late == nil
}

// count tells whether a new entry has to be counted among those that were found.
func (slot *treeSlot) count() bool {
	was := slot.counted
	slot.counted = true
	return !was
}

// isBeneath tells whether path, or a directory above it, is in set.
func isBeneath(path string, set map[string]bool) bool {
	for len(set) > 0 {
		if set[path] {
			return true
		}
		i := strings.LastIndexByte(path, '/')
		if i < 0 {
			break
		}
		path = path[:i]
	}
	return false
}

// ended notes that an entry has come to its end, and moves the mark.
func (t *treeTask) ended(slot *treeSlot) {
	t.mu.Lock()
	defer t.mu.Unlock()
	slot.ended = true
	delete(t.late, slot.path)
	if isBeneath(slot.path, t.redo) {
		t.redone[slot.path] = true
	}
	for len(t.order) > 0 && t.order[0].ended {
		if p := t.order[0].path; !t.marked || treeAfter(p, t.mark) {
			t.mark, t.marked = p, true
		}
		delete(t.beyond, t.order[0].path)
		t.order = t.order[1:]
	}
}

// lately notes that a file takes longer than those around it, and returns its task, which may be one of an earlier session.
func lately[T any](t *treeTask, slot *treeSlot, task T) T {
	t.mu.Lock()
	defer t.mu.Unlock()
	slot.large = true
	if t.late == nil {
		t.late = map[string]any{}
	}
	if old, ok := t.late[slot.path].(T); ok {
		task = old
	}
	t.late[slot.path] = task
	return task
}

// once tells whether path has not been told of yet.
func (t *treeTask) once(path string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.told == nil {
		t.told = map[string]bool{}
	}
	if t.told[path] {
		return false
	}
	if t.toldBytes += len(path) + 64; t.toldBytes <= maxTold { // what there is no room for may be told again
		t.told[path] = true
	}
	return true
}

// whole notes that all entries have been found, and tells whether that is new.
func (t *treeTask) whole() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.known
	t.known = true
	return !was
}

// addLoose counts bytes of files that have arrived and not come to their end, and returns how many there are.
func (t *treeTask) addLoose(n int64) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.loose += n
	return t.loose
}

// again prepares the next session after one that was lost.
func (t *treeTask) again() (loose int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.beyond == nil {
		t.beyond = map[string]bool{}
	}
	if t.seen == nil {
		t.seen = map[string]bool{}
	}
	for _, slot := range t.order {
		if slot.ended {
			t.beyond[slot.path] = true
		} else if slot.counted {
			t.seen[slot.path] = true
		}
	}
	t.order = nil
	loose, t.loose = t.loose, 0
	return loose
}

// shownPath is the name of an entry for people.
func (t *treeTask) shownPath(path string) string {
	if path == "" {
		return t.shown
	}
	return t.shown + "/" + path
}

// sendTree sends one tree, as far as the session lasts.
func (s *sender) sendTree(ctx context.Context, cs *clientSession, task *treeTask) (err error) {
	if task.before != nil {
		select {
		case <-task.before.done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	defer func() {
		if ctx.Err() == nil && !retryable(err) {
			task.over.Do(func() { close(task.done) })
		}
	}()
	select {
	case s.trees <- struct{}{}:
		defer func() { <-s.trees }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if !cs.agreed(wire.CapTree) {
		return &Error{Op: "send", Path: task.shown, Kind: KindProtocol, Err: errors.New("the peer is too old to take directories")}
	}
	if err := cs.wantsArchive("send", task.shown); err != nil {
		return err
	}
	for {
		if err = s.treeOnce(ctx, cs, task); err != nil || s.extras == nil || s.c.Options.DryRun || !s.extras.onceMore(task) {
			return err
		}
	}
}

// treeOnce sends a tree.
func (s *sender) treeOnce(ctx context.Context, cs *clientSession, task *treeTask) error {
	dst, err := wire.NewPath(task.dst...)
	if err != nil {
		return &Error{Op: "send", Path: task.shown, Kind: KindUsage, Err: err}
	}
	open := wire.TreeOpen{Root: s.root, Path: dst, Durability: s.treeDurability(), Flags: s.treeFlags()}
	if s.extras != nil && len(s.extras.o.Backup) > 0 {
		if open.Backup, err = wire.NewPath(slices.Concat(task.dst, s.extras.o.Backup)...); err != nil {
			return &Error{Op: "sync", Path: task.shown, Kind: KindUsage, Err: err}
		}
	}
	if s.c.Options.Checksum {
		open.Compare = wire.TreeByContent
	}
	var list *treeList
	if s.lists() {
		list = &treeList{roots: map[uint64]ListedFile{}}
	}
	if s.c.Options.Receipts && !s.c.Options.DryRun {
		open.Compare = wire.TreeByContent // what there is a receipt for is what we have
		open.Flags |= wire.TreeList
	}
	if open.Tree, err = newTransferID(); err != nil {
		return err
	}
	if !s.c.Options.DryRun {
		cs.wantStreams(s.c.streamsForTree())
	}
	t := cs.newTreeSend(cs.handle(false), treeHooks{})
	if n := s.c.Options.Transfers; n > 0 {
		t.files = min(n, largeFiles)
	}
	t.hook = treeHooks{
		settled: func(e *treeEntry, code wire.VerdictCode, err error) {
			if err == nil {
				list.settled(e, code)
			}
			s.treeSettled(task, e, code, err)
		},
		late: func(path string, err error) {
			list.failed(path)
			if task.once(path) {
				s.m.failed(fileError(err, task.shownPath(path)))
			}
		},
		sent: s.m.sent,
		acked: func(n int64) {
			s.m.reached(&task.most, task.addLoose(n))
			s.m.acked(n)
		},
		file: func(ctx context.Context, e *treeEntry) error { return s.treeFile(ctx, cs, t, task, e) },
	}
	t.hook.unkept = s.m.unkept
	t.hook.unlinked = func(names int64) {
		s.m.event(Event{Kind: EventNote, Reason: fmt.Sprintf("%s: %d hard links are sent as files of their own: too many wait for their other names", task.shown, names)})
	}
	t.hook.same = func(ctx context.Context, e *treeEntry) wire.VerdictCode { return s.sameContent(ctx, cs, task, e) }
	if s.check != nil {
		t.hook.same = nil
		t.hook.extra = func(m wire.TreeExtra) { s.check.extra(s, m) }
	}
	if s.extras != nil {
		s.extras.begin()
		if s.extras.o.Delete {
			t.hook.extra = s.extras.told
			t.hook.before = func(ctx context.Context) error { return s.deleteExtras(ctx, cs, task, t) }
		}
	}
	r, err := t.run(ctx, open, s.treeWalk(ctx, task))
	if loose := task.again(); err != nil {
		s.undone(loose)
		return err
	}
	return s.treeArrived(ctx, cs, task, r, list)
}

// lists tells whether the hashes of the files of a tree are wanted.
func (s *sender) lists() bool {
	return (s.c.Options.Receipts || s.c.Options.Verify) && !s.c.Options.DryRun && s.check == nil
}

func (s *sender) treeDurability() wire.Durability {
	switch s.c.Options.Durability {
	case "full":
		return wire.DurabilityFull
	case "none":
		return wire.DurabilityNone
	}
	return wire.DurabilityBatch
}

func (s *sender) treeFlags() uint64 {
	flags := uint64(0)
	if s.c.Options.NoClobber {
		flags |= wire.TreeNoClobber
	}
	if s.c.Options.DryRun {
		flags |= wire.TreeDryRun
	}
	if s.c.Options.Update {
		flags |= wire.TreeUpdate
	}
	if s.c.Options.Existing {
		flags |= wire.TreeExisting
	}
	if s.c.Options.IgnoreExisting {
		flags |= wire.TreeIgnoreExisting
	}
	if s.c.Options.Archive {
		flags |= wire.TreeExact
	}
	if s.check != nil {
		flags |= wire.TreeTellExtra
	}
	if s.extras != nil && s.extras.o.Delete {
		flags |= wire.TreeTellExtra | wire.TreeMayDelete
	}
	return flags
}

// streamsForTree is how many data streams a tree is worth beyond the control stream.
func (c *Client) streamsForTree() int {
	if n := c.Options.Streams; n > 0 {
		return min(n-1, 63)
	}
	return 1
}

// treeWalk gives the entries of a tree that can be sent; what can not is told.
func (s *sender) treeWalk(ctx context.Context, task *treeTask) iter.Seq2[*treeEntry, error] {
	return func(yield func(*treeEntry, error) bool) {
		o := s.rules.walk()
		var err error
		if o.Select, err = s.selection(task); err != nil {
			yield(nil, localError("read", task.shown, err))
			return
		}
		below := 0
		for it, err := range treeItems(ctx, task.top.fs, task.top.start, o) {
			if err != nil {
				if ctx.Err() == nil {
					err = localError("read", task.shown, err)
				}
				yield(nil, err)
				return
			}
			if below > 0 && it.Depth > below {
				continue // of a directory that is left out
			}
			below = 0
			e, err := entryOf(it, s.keep)
			if !s.sendable(task, e, err) {
				e.release()
				if e.kind == tree.Directory {
					below = e.depth
				}
				continue
			}
			if !yield(e, nil) {
				return
			}
		}
		s.missingFiles(task)
		if task.whole() {
			s.m.walked()
		}
	}
}

// selection is what of a tree goes; nil for all.
func (s *sender) selection(task *treeTask) (tree.Selection, error) {
	if s.filter == nil {
		return nil, nil
	}
	top, err := task.top.open()
	if err != nil {
		return nil, err
	}
	defer top.Close()
	d, err := rootFilter(s.filter, task.named, top)
	if err != nil {
		return nil, err
	}
	return d.Selection(), nil
}

// treeItems walks the directory start of fsys, whose end is not before what was retained of the items is released.
func treeItems(ctx context.Context, fsys durable.FS, start string, o tree.WalkOptions) iter.Seq2[*tree.Item, error] {
	return func(yield func(*tree.Item, error) bool) {
		w, err := tree.NewWalker(fsys, start, o)
		if err != nil {
			yield(nil, err)
			return
		}
		defer w.Close()
		for {
			it, err := w.Next(ctx)
			if err == io.EOF {
				return
			}
			if !yield(it, err) || err != nil {
				return
			}
		}
	}
}

// sendable tells whether an entry of the walk goes into the manifest. What does not is told here.
func (s *sender) sendable(task *treeTask, e *treeEntry, err error) bool {
	path := e.at
	shown := task.shownPath(path)
	slot, isNew := task.found(path)
	e.run = slot
	switch {
	case e.depth == 1 && strings.EqualFold(e.name, stateName):
		s.stays(path)
		if isNew {
			s.m.skipped(shown, ownState)
		}
	case err != nil:
		if isNew {
			s.m.failed(fileError(localError("read", shown, vanished(err)), shown))
		}
	case s.extras != nil && s.extras.o.Delete && e.unreadable() != nil: // also where nothing of it would be read, since it is unchanged
		if isNew {
			s.m.failed(fileError(localError("read", shown, vanished(e.unreadable())), shown))
		}
	case e.kind == tree.Other:
		s.stays(path)
		if isNew {
			s.m.skipped(shown, specialName(e.info.Mode()))
		}
	case s.extras != nil && s.extras.inBackup(path):
		if isNew {
			s.m.failed(&Error{Op: "sync", Path: shown, Kind: KindExists, Err: errors.New("has the name of the directory for backups")})
		}
	case e.kind != tree.Directory && !s.arrives(task, append(slices.Clone(task.dst), path)):
		if isNew {
			s.m.failed(&Error{Op: "send", Path: shown, Kind: KindExists, Err: errors.New("another source has a file of this name")})
		}
	default:
		if s.extras != nil {
			s.extras.walked(e)
		}
		if e.depth == 0 && task.bare {
			e.info = nil
		}
		if e.kind == tree.File && isNew && slot.count() {
			s.m.found(e.info.Size())
		}
		return true
	}
	task.ended(slot)
	return false
}

// arrives tells whether no other source than owner has the name dst at the destination.
func (s *sender) arrives(owner any, dst []string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.arriving == nil {
		return true
	}
	at := strings.Join(dst, "/")
	first, taken := s.arriving[at]
	if !taken {
		s.arriving[at] = owner
	}
	return !taken || first == owner
}

// treeSettled counts and tells the end of an entry.
func (s *sender) treeSettled(task *treeTask, e *treeEntry, code wire.VerdictCode, err error) {
	slot := e.run.(*treeSlot)
	shown := task.shownPath(slot.path)
	size := e.size()
	task.mu.Lock()
	large, old := slot.large, slot.old
	if code == wire.VerdictUpdate && !large && err == nil && !s.c.Options.DryRun {
		task.loose -= size
	}
	task.mu.Unlock()
	switch {
	case old:
	case s.c.Options.IgnoreExisting && isInTheWay(err): // whatever has the name stays
		if s.c.Options.DryRun {
			s.m.event(Event{Kind: EventPlan, Action: "skip", Path: shown, Size: size})
		} else if e.kind == tree.File {
			s.m.file(shown, "skipped", size, 0, true)
		}
	case s.extras.blocked(&s.c.Options, slot.path, err): // what has the name is to go
		if s.c.Options.DryRun {
			s.extras.plans(Event{Kind: EventPlan, Action: "new", Path: shown, Size: size})
		}
	case err != nil && s.check != nil && isPeer(err): // something else has the name
		s.check.differs(s, "differs", shown, size)
	case err != nil:
		s.m.failed(fileError(localOr(err, shown), shown))
	case s.check != nil:
		s.check.settled(s, shown, e, code)
	case s.c.Options.DryRun:
		s.m.event(Event{Kind: EventPlan, Action: planAction(code), Path: shown, Size: size})
	case large: // counted where it was sent
	case e.kind != tree.File:
		if code == wire.VerdictMade {
			s.m.made(shown)
		}
	case code == wire.VerdictSkip:
		s.m.file(shown, "skipped", size, 0, true)
	case code == wire.VerdictSame, code == wire.VerdictMeta:
		s.m.file(shown, "skipped", size, 0, true)
	default:
		s.m.file(shown, "sent", size, size, false)
	}
	task.ended(slot)
}

// sameContent tells whether a file that has the same content there would get another mode or time.
func (s *sender) sameContent(ctx context.Context, cs *clientSession, task *treeTask, e *treeEntry) wire.VerdictCode {
	if s.c.Options.NoClobber {
		return wire.VerdictSame
	}
	st, err := cs.stat(ctx, Address{Root: s.root, Path: append(slices.Clone(task.dst), strings.Split(e.at, "/")...)}, false)
	const perm = 0o777
	if err == nil && (st.entry.Mode&perm != modeBits(e.info.Mode())&perm || st.entry.MTimeNS != unixNano(e.info.ModTime())) {
		return wire.VerdictMeta
	}
	return wire.VerdictSame // also where it cannot be told
}

// planAction is the word for a verdict in a plan.
func planAction(code wire.VerdictCode) string {
	switch code {
	case wire.VerdictNew, wire.VerdictMade:
		return "new"
	case wire.VerdictUpdate:
		return "update"
	case wire.VerdictMeta:
		return "meta"
	}
	return "skip"
}

// treeFile sends a file of a tree by itself.
func (s *sender) treeFile(ctx context.Context, cs *clientSession, t *treeSend, task *treeTask, e *treeEntry) error {
	slot := e.run.(*treeSlot)
	id, err := newTransferID()
	if err != nil {
		return err
	}
	f := &sendTask{kind: sink.File, dst: append(slices.Clone(task.dst), strings.Split(slot.path, "/")...), shown: task.shownPath(slot.path), info: e.info, id: id}
	f = lately(task, slot, f)
	f.entry, f.tree = e, t.id
	return asProtocol(s.try(ctx, cs, f))
}

// treeArrived checks the receipt of a tree, and keeps it.
func (s *sender) treeArrived(ctx context.Context, cs *clientSession, task *treeTask, r wire.TreeReceipt, list *treeList) error {
	if s.c.Options.DryRun {
		return nil // nothing was done that there could be a receipt for
	}
	err := checkTreeReceipt(r, cs.peerKey())
	if err == nil && (!slices.Equal(r.Path.Parts(), task.dst) || !s.isRoot(cs, r.RootName)) {
		err = &Error{Op: "check the receipt", Path: task.shown, Kind: KindVerify, Err: errors.New("it is for another place")}
	}
	if err != nil || list == nil {
		return err
	}
	if s.c.Options.Verify {
		if err := s.verifyTree(ctx, cs, task, list.sent()); err != nil {
			return err
		}
	}
	if !s.c.Options.Receipts {
		return nil
	}
	files, err := list.all()
	if err != nil {
		return err
	}
	kept := treeReceiptOf(r, files)
	if _, err := kept.Verify(); err != nil {
		return &Error{Op: "check the receipt", Path: task.shown, Kind: KindVerify, Err: err}
	}
	s.m.treeReceipt(kept)
	return nil
}

// verifyTree has the server read again what of a tree was sent.
func (s *sender) verifyTree(ctx context.Context, cs *clientSession, task *treeTask, files []ListedFile) error {
	return eachFile(ctx, files, func(ctx context.Context, f ListedFile) error {
		st, err := cs.stat(ctx, Address{Root: s.root, Path: append(slices.Clone(task.dst), strings.Split(f.Path, "/")...)}, true)
		if err == nil && (st.root == nil || crypto.Digest(*st.root) != f.Root) {
			err = &Error{Op: "verify", Path: task.shownPath(f.Path), Kind: KindVerify, Err: errors.New("read again at the target, it is not what was sent")}
		}
		return err
	})
}

func newTransferID() (id wire.TransferID, err error) {
	_, err = rand.Read(id[:])
	return id, err
}
