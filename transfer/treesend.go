package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
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

// Bounds of a tree that is being sent.
const (
	treeOnWay    = 16384    // entries whose end is not known
	treePart     = 1024     // entries of a part, growing to this so that the first verdicts are there soon
	treePartSize = 48 << 10 // bytes of a part
	treeHashers  = 2        // files that are hashed at a time, to be compared
	treeTries    = 3        // of a file that arrived damaged
)

// treeEntry is one entry of a tree on its way. A file holds its directory as long as it may have to be read.
type treeEntry struct {
	no    uint64
	at    string // its path beneath the top, with slashes; "" for the top
	name  string // the last component of it
	depth int    // components of its path
	kind  tree.Kind
	info  fs.FileInfo // nil for a top whose mode and time are not told
	link  string
	dir   *tree.Dir // of a file: where it is found, by the name base
	base  string
	asked bool // the receiver waits for its content, or to be told that it does not come
	taken bool // a pack has it, or had it
	tries int

	bits   uint32 // of the mode that are told
	sparse bool   // of a file: it has holes
	// Of an archive, until the record is made; links is how many names a file has.
	owner  *tree.Owner
	xattrs []tree.XAttr
	links  uint64
	exact  bool // it is one of an archive
	caps   bool // of a file: it has attributes that give privileges

	released atomic.Bool

	// Of a file that is there: what the receiver has. linked is the entry that it is a hard link to, 0 for none.
	root   crypto.Digest
	length int64
	shared bool // later entries may be hard links to it
	linked uint64
	packed bool // it was sent in a pack

	run any // what the caller keeps with it
}

// entryOf keeps what is needed of an item of a walk. The error is why that is not known, which it.Err may have said before.
func entryOf(it *tree.Item, k sink.Keep) (*treeEntry, error) {
	e := &treeEntry{at: strings.Join(it.Path(), "/"), name: it.Name, depth: it.Depth, kind: it.Kind, info: it.Info, bits: tree.MaxMode}
	switch it.Kind {
	case tree.Symlink:
		e.link = it.Target
	case tree.File:
		e.dir, e.base = it.Dir, it.Base
		e.dir.Retain()
	}
	err := it.Err
	if err == nil {
		err = e.read(k, it)
	}
	return e, err
}

// release lets the directory go. Who reads the file after it gets fs.ErrClosed.
func (e *treeEntry) release() {
	if e.dir != nil && e.released.CompareAndSwap(false, true) {
		e.dir.Release()
	}
}

func (e *treeEntry) size() int64 {
	if e.kind == tree.File {
		return e.info.Size()
	}
	return 0
}

// treeHooks are what a treeSend tells whoever runs it. All are called from several goroutines, settled once for each entry.
type treeHooks struct {
	// settled: the end of an entry. code is the receiver's verdict; where that was to send it, it has been published. err is
	// why it failed.
	settled func(e *treeEntry, code wire.VerdictCode, err error)
	late    func(path string, err error) // an entry that was settled failed after all
	sent    func(bytes int64)            // content written
	acked   func(bytes int64)            // content the receiver has taken
	// file sends a file that is too large for a pack. It returns when that is published.
	file func(ctx context.Context, e *treeEntry) error
	// same tells in a dry run what would become of a file that was compared and has the same content. It may be nil.
	same     func(ctx context.Context, e *treeEntry) wire.VerdictCode
	extra    func(m wire.TreeExtra) // nil where TREE_OPEN did not ask
	unkept   func(u sink.Unkept)    // what the receiver could not set; it may be nil
	unlinked func(names int64)      // that have no hard link because there are too many; it may be nil
	// before is called when all has been sent; the tree is committed when it returns. It may be nil.
	before func(ctx context.Context) error
}

// treeSend is the sender's side of one attempt at a tree: TREE_OPEN, the parts of the manifest, the packs, TREE_COMMIT, until the
// receipt.
type treeSend struct {
	s     *session
	id    uint32
	hook  treeHooks
	ctx   context.Context
	dry   bool // verdicts are all there is
	list  bool // the hash of every file that the receiver has is to be known
	files int  // that go through it at a time
	keep  bool // nothing is replaced

	opened  chan wire.TreeOpened
	receipt chan wire.TreeReceipt
	deleted chan wire.TreeDeleted
	failed  chan struct{} // closed by the first fail

	mu       sync.Mutex
	changed  *sync.Cond // any of what follows
	err      error
	ahead    int
	small    int64
	parts    [][]*treeEntry // without verdicts, in order
	first    uint64         // number of the first entry in parts
	wanted   map[uint64]*treeEntry
	ready    []*treeEntry // of wanted, for packs
	large    []*treeEntry // of wanted, for hook.file
	compare  []comparing  // of wanted, to be hashed
	sending  int          // goroutines at large
	hashing  int          // goroutines at compare
	packing  int          // packs that are being read
	flights  map[uint64]*packFlight
	packs    uint64 // numbers given
	allExtra bool

	commit wire.TreeCommit // its Entries are 0 until it is sent
}

// comparing is a file that the receiver may have.
type comparing struct {
	e    *treeEntry
	root wire.Hash
}

// packFlight is a pack that was sent and not acknowledged.
type packFlight struct {
	st      *stream
	entries []*treeEntry
	room    int64 // of the window
	bytes   int64 // of content
}

func (s *session) newTreeSend(id uint32, hook treeHooks) *treeSend {
	t := &treeSend{
		s: s, id: id, hook: hook,
		opened: make(chan wire.TreeOpened, 1), receipt: make(chan wire.TreeReceipt, 1), deleted: make(chan wire.TreeDeleted, 1),
		failed: make(chan struct{}), wanted: map[uint64]*treeEntry{}, flights: map[uint64]*packFlight{}, files: largeFiles,
	}
	t.changed = sync.NewCond(&t.mu)
	return t
}

// run does the whole tree: entries are walked, in the order of a manifest, the top first. It leaves nothing behind in the session.
func (t *treeSend) run(ctx context.Context, open wire.TreeOpen, entries iter.Seq2[*treeEntry, error]) (wire.TreeReceipt, error) {
	s := t.s
	ctx, cancel := context.WithCancelCause(ctx)
	t.list = open.Flags&wire.TreeList != 0
	t.ctx, t.dry, t.keep = ctx, open.Flags&wire.TreeDryRun != 0, open.Flags&wire.TreeNoClobber != 0
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		cancel(nil)
		return wire.TreeReceipt{}, s.lost()
	}
	s.treeSends[t.id] = t
	s.mu.Unlock()
	s.working(1)
	stop := context.AfterFunc(ctx, t.wake)
	stopSession := context.AfterFunc(s.ctx, t.wake)
	defer func() {
		cancel(nil)
		stop()
		stopSession()
		s.working(-1)
		s.mu.Lock()
		delete(s.treeSends, t.id)
		s.mu.Unlock()
		s.disp.remove(t)
		t.end()
	}()
	r, err := t.steps(ctx, open, entries)
	if err != nil {
		t.fail(err)
		var lost *lostError
		var pe *PeerError
		if !errors.As(err, &lost) && !errors.As(err, &pe) && !s.server {
			s.send(t.id, wire.Abort{Keep: true, Code: wire.CodeStreamLost})
		}
	}
	return r, err
}

// end lets go of everything, once nobody works on it any more.
func (t *treeSend) end() {
	t.mu.Lock()
	t.ready, t.large, t.compare = nil, nil, nil
	for t.sending+t.hashing+t.packing > 0 {
		t.changed.Wait()
	}
	left := int64(0)
	for _, f := range t.flights {
		left += f.room
	}
	for _, p := range t.parts {
		for _, e := range p {
			e.release()
		}
	}
	for _, e := range t.wanted {
		e.release()
	}
	t.parts, t.wanted, t.flights = nil, nil, nil
	t.mu.Unlock()
	t.s.disp.release(left) // not under t.mu: the dispatcher's lock comes before
}

func (t *treeSend) wake() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed.Broadcast()
}

func (t *treeSend) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.failLocked(err)
}

func (t *treeSend) failLocked(err error) {
	if t.err == nil {
		t.err = err
		close(t.failed)
		t.changed.Broadcast()
	}
}

// over returns why the attempt cannot go on. t.mu is held.
func (t *treeSend) over() error {
	switch {
	case t.err != nil:
		return t.err
	case t.ctx.Err() != nil:
		return context.Cause(t.ctx)
	case t.s.ctx.Err() != nil:
		return t.s.lost()
	}
	return nil
}

// until waits for ok, which looks at what t.mu guards.
func (t *treeSend) until(ok func() bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for {
		if err := t.over(); err != nil {
			return err
		}
		if ok() {
			return nil
		}
		t.changed.Wait()
	}
}

func (t *treeSend) steps(ctx context.Context, open wire.TreeOpen, entries iter.Seq2[*treeEntry, error]) (r wire.TreeReceipt, err error) {
	t.s.send(t.id, open)
	opened, err := waitTree(ctx, t, t.opened)
	if err != nil {
		return r, err
	}
	t.mu.Lock()
	t.ahead, t.small = int(opened.Ahead), int64(opened.Small)
	t.mu.Unlock()
	t.s.disp.add(packLane, t)
	commit, err := t.manifest(entries)
	if err != nil {
		return r, err
	}
	if err := t.until(t.idle); err != nil {
		return r, err
	}
	if open.Flags&wire.TreeTellExtra != 0 {
		if err := t.until(func() bool { return t.allExtra }); err != nil {
			return r, err
		}
	}
	if t.hook.before != nil {
		if err := t.hook.before(ctx); err != nil {
			return r, err
		}
	}
	t.mu.Lock()
	t.commit = commit
	t.mu.Unlock()
	t.s.send(t.id, commit)
	if r, err = waitTree(ctx, t, t.receipt); err != nil {
		return r, err
	}
	if r.Tree != open.Tree || r.Manifest != commit.Manifest || r.Entries != commit.Entries {
		return r, &Error{Op: "check the receipt", Kind: KindVerify, Err: errors.New("it is for another directory")}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.wanted); n > 0 && !t.dry {
		return r, protocolError("TREE_RECEIPT, and of %d entries was not told what became of them", n)
	}
	return r, nil
}

// idle tells whether all that the receiver asked for has been taken by it. t.mu is held.
func (t *treeSend) idle() bool {
	return len(t.parts) == 0 && len(t.ready)+len(t.large)+len(t.compare)+len(t.flights) == 0 && t.sending+t.hashing == 0
}

func waitTree[T any](ctx context.Context, t *treeSend, ch chan T) (T, error) {
	var zero T
	select {
	case m := <-ch:
		return m, nil
	case <-t.failed:
		t.mu.Lock()
		defer t.mu.Unlock()
		return zero, t.err
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	case <-t.s.ctx.Done():
		return zero, t.s.lost()
	}
}

// manifest sends the manifest of entries, part by part, as far ahead of the verdicts as the receiver allows.
func (t *treeSend) manifest(entries iter.Seq2[*treeEntry, error]) (wire.TreeCommit, error) {
	w := partWriter{t: t, enc: tree.NewEncoder(), hash: crypto.NewHasher(), max: 32}
	for e, err := range entries {
		if err != nil {
			return wire.TreeCommit{}, err
		}
		if err := w.add(e); err != nil {
			return wire.TreeCommit{}, err
		}
	}
	if err := w.flush(true); err != nil {
		return wire.TreeCommit{}, err
	}
	if w.links.over > 0 && t.hook.unlinked != nil {
		t.hook.unlinked(w.links.over)
	}
	return wire.TreeCommit{Entries: w.no, Manifest: wire.Hash(w.hash.Sum())}, nil
}

// partWriter makes parts of entries.
type partWriter struct {
	t    *treeSend
	enc  *tree.Encoder
	hash *crypto.Hasher
	max  int // entries of the next part

	no    uint64 // of the next entry
	open  int    // components of the directory that the next entry is in, if no directory is left before
	below int    // what is deeper than this is beneath a directory that was left out; 0 = nothing
	buf   []byte
	list  []*treeEntry
	links linkTable
}

// add takes an entry, which is released where it does not go on.
func (w *partWriter) add(e *treeEntry) error {
	t := w.t
	if w.below > 0 && e.depth > w.below {
		e.release()
		return nil
	}
	w.below = 0
	rec := e.record()
	if w.no > 0 {
		rec.Up = w.open - (e.depth - 1)
	}
	w.links.find(e, &rec, w.no)
	e.shared, e.linked = rec.Shared, rec.Link
	e.owner, e.xattrs = nil, nil
	b, err := w.enc.Append(w.buf, &rec)
	var fe *tree.FormatError
	if errors.As(err, &fe) {
		// A name that the protocol has no room for: the entry is left out, with what is beneath it.
		t.hook.settled(e, wire.VerdictFailed, &Error{Op: "send", Kind: KindDenied, Err: errors.New(fe.Msg)})
		e.release()
		if e.kind == tree.Directory {
			w.below = e.depth
		}
		return nil
	}
	if err != nil {
		e.release()
		return err
	}
	w.links.note(e, &rec, w.no)
	w.buf = b
	e.no = w.no
	w.no++
	w.open = e.depth - 1
	if e.kind == tree.Directory {
		w.open = e.depth
	}
	w.list = append(w.list, e)
	if len(w.list) >= w.max || len(w.buf) >= treePartSize {
		return w.flush(false)
	}
	return nil
}

// flush sends what was added.
func (w *partWriter) flush(last bool) error {
	t := w.t
	if len(w.list) == 0 && !last {
		return nil
	}
	list := w.list
	w.list = nil
	err := t.until(func() bool { return len(t.parts) < t.ahead && len(t.wanted) <= treeOnWay })
	if err != nil {
		for _, e := range list {
			e.release()
		}
		return err
	}
	t.s.alive()
	_, _ = w.hash.Write(w.buf)
	t.mu.Lock()
	if len(list) > 0 || last {
		t.parts = append(t.parts, list)
	}
	t.mu.Unlock()
	t.s.send(t.id, wire.TreePart{First: w.no - uint64(len(list)), Count: uint64(len(list)), Records: w.buf, Last: last})
	w.buf = w.buf[:0]
	w.max = min(w.max*2, treePart)
	return nil
}

// record is what the manifest says of e.
func (e *treeEntry) record() tree.Record {
	r := tree.Record{Name: e.name, Kind: e.kind, Target: e.link}
	if e.info == nil {
		r.NoMeta = true
		return r
	}
	r.Mode, r.MTime = modeBits(e.info.Mode())&e.bits, unixNano(e.info.ModTime())
	r.Owner, r.XAttrs = e.owner, e.xattrs
	if e.kind == tree.File {
		r.Size, r.Sparse = e.info.Size(), e.sparse
	}
	return r
}

// take takes a message of the receiver for this tree.
func (t *treeSend) take(m wire.Message) error {
	switch m := m.(type) {
	case wire.TreeOpened:
		offer(t.opened, m)
	case wire.TreeReceipt:
		t.mu.Lock()
		early := t.commit.Entries == 0
		t.mu.Unlock()
		if early {
			return protocolError("TREE_RECEIPT before TREE_COMMIT")
		}
		offer(t.receipt, m)
	case wire.TreeDeleted:
		offer(t.deleted, m)
	case wire.TreeVerdicts:
		return t.takeVerdicts(m)
	case wire.TreeAck:
		return t.takeAck(m)
	case wire.TreeExtra:
		if t.hook.extra == nil {
			return protocolError("TREE_EXTRA that was not asked for")
		}
		t.hook.extra(m)
		if m.Last {
			t.mu.Lock()
			t.allExtra = true
			t.changed.Broadcast()
			t.mu.Unlock()
		}
	}
	return nil
}

// takeVerdicts sorts the entries of a part by what the receiver says of them.
func (t *treeSend) takeVerdicts(m wire.TreeVerdicts) error {
	t.mu.Lock()
	if t.err != nil {
		t.mu.Unlock()
		return nil
	}
	if len(t.parts) == 0 || m.First != t.first || m.Entries() != uint64(len(t.parts[0])) {
		t.mu.Unlock()
		return protocolError("TREE_VERDICTS on entries %d+%d, which are not the next", m.First, m.Entries())
	}
	list := t.parts[0]
	t.parts = t.parts[1:]
	t.first += uint64(len(list))
	failed, hashes := m.Failed, m.Hashes
	type end struct {
		e    *treeEntry
		code wire.VerdictCode
		err  error
	}
	var ends []end
	var bad error
	i := 0
	for _, run := range m.Runs {
		for range run.Count {
			e, code := list[i], wire.VerdictCode(run.Code)
			i++
			var err error
			switch code {
			case wire.VerdictNew, wire.VerdictUpdate, wire.VerdictHash:
				if t.dry && code != wire.VerdictHash {
					break
				}
				if e.kind != tree.File {
					bad = protocolError("TREE_VERDICTS asks for the content of entry %d, which has none", e.no)
					break
				}
				e.asked = true
				t.wanted[e.no] = e
				switch {
				case code == wire.VerdictHash:
					t.compare = append(t.compare, comparing{e, wire.Hash(hashes[:32])})
					hashes = hashes[32:]
				case e.info.Size() <= t.packLimit():
					t.ready = append(t.ready, e)
				default:
					t.large = append(t.large, e)
				}
				continue
			case wire.VerdictSame, wire.VerdictMeta:
				if e.kind == tree.File && e.linked == 0 && t.list && !t.dry {
					if e.info.Size() > 0 {
						bad = protocolError("TREE_VERDICTS says that entry %d is the same, of which no hash was told", e.no)
					}
					e.root, e.length = crypto.Sum(nil), 0
				}
			case wire.VerdictMade:
				if e.kind == tree.File && e.linked == 0 {
					bad = protocolError("TREE_VERDICTS says that entry %d was made, which is a file", e.no)
				}
			case wire.VerdictFailed:
				if failed[0].No != e.no {
					bad = protocolError("TREE_VERDICTS has a failure of entry %d instead of %d", failed[0].No, e.no)
				}
				err = failureOf(failed[0])
				failed = failed[1:]
			}
			ends = append(ends, end{e, code, err})
		}
	}
	t.start()
	t.changed.Broadcast()
	ready := len(t.ready) > 0
	t.mu.Unlock()
	for _, e := range ends {
		if bad == nil {
			t.settle(e.e, e.code, e.err)
		} else {
			e.e.release()
		}
	}
	if ready {
		t.s.disp.wakeAll()
	}
	return bad
}

// packLimit is the size of the largest file that goes into a pack. t.mu is held.
func (t *treeSend) packLimit() int64 { return min(t.small, maxPacked) }

// failureOf makes an error of what the receiver says of an entry.
func failureOf(f wire.TreeFailure) error {
	return errorOf(wire.Error{Code: f.Code, Class: f.Code.Class(), Text: f.Text})
}

// settle ends an entry that is in no list any more.
func (t *treeSend) settle(e *treeEntry, code wire.VerdictCode, err error) {
	t.hook.settled(e, code, err)
	e.release()
}

// start starts goroutines for what waits for them; who finds nothing ends. t.mu is held.
func (t *treeSend) start() {
	for n := len(t.large); n > 0 && t.sending < t.files; n-- {
		t.sending++
		if !t.s.goRun(t.sendLarge) {
			t.sending--
			return
		}
	}
	for n := len(t.compare); n > 0 && t.hashing < treeHashers; n-- {
		t.hashing++
		if !t.s.goRun(t.hashSome) {
			t.hashing--
			return
		}
	}
}

// largeFiles is how many files beyond the size of a pack are under way at a time.
const largeFiles = 16

// sendLarge sends large files until there are none.
func (t *treeSend) sendLarge() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.over() == nil && len(t.large) > 0 {
		e := t.large[0]
		t.large = t.large[1:]
		t.mu.Unlock()
		err := t.hook.file(t.ctx, e)
		t.mu.Lock()
		if t.over() != nil {
			break
		}
		var lost *lostError
		if errors.As(err, &lost) || retryable(err) || endsRun(err) {
			t.failLocked(err)
			break
		}
		t.dropped(e, wire.VerdictUpdate, err)
	}
	t.sending--
	t.changed.Broadcast()
}

// dropped ends a wanted entry. t.mu is held, and given up for a moment.
func (t *treeSend) dropped(e *treeEntry, code wire.VerdictCode, err error) {
	if t.wanted[e.no] != e {
		return
	}
	delete(t.wanted, e.no)
	t.mu.Unlock()
	if e.asked && err != nil {
		t.s.send(t.id, wire.TreeSkip{Gone: []uint64{e.no}})
	}
	t.settle(e, code, err)
	t.mu.Lock()
	t.changed.Broadcast()
}

// unreadAll ends those of a pack that could not be read, for errs, in one message.
func (t *treeSend) unreadAll(list []*treeEntry, errs []error) {
	var gone []uint64
	t.mu.Lock()
	for i, e := range list {
		if t.wanted[e.no] != e {
			errs[i] = nil
			continue
		}
		delete(t.wanted, e.no)
		gone = append(gone, e.no)
	}
	t.mu.Unlock()
	if slices.Sort(gone); len(gone) > 0 {
		t.s.send(t.id, wire.TreeSkip{Gone: gone})
	}
	for i, e := range list {
		if errs[i] != nil {
			t.settle(e, wire.VerdictFailed, errs[i])
		}
	}
	t.wake()
}

// hashSome compares files with what the receiver has until there are none.
func (t *treeSend) hashSome() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.over() == nil && len(t.compare) > 0 {
		c := t.compare[0]
		t.compare = t.compare[1:]
		t.mu.Unlock()
		root, err := t.hashEntry(c.e)
		t.mu.Lock()
		switch {
		case t.over() != nil:
		case err != nil:
			t.dropped(c.e, wire.VerdictFailed, err)
		case wire.Hash(root) == c.root:
			if t.wanted[c.e.no] != c.e {
				break
			}
			delete(t.wanted, c.e.no)
			c.e.root, c.e.length = root, c.e.info.Size()
			t.mu.Unlock()
			t.s.send(t.id, wire.TreeSkip{Same: []uint64{c.e.no}})
			code := wire.VerdictSame
			if t.dry && t.hook.same != nil {
				code = t.hook.same(t.ctx, c.e)
			}
			t.settle(c.e, code, nil)
			t.mu.Lock()
			t.changed.Broadcast()
		case t.dry:
			delete(t.wanted, c.e.no)
			t.mu.Unlock()
			if t.keep {
				t.settle(c.e, wire.VerdictFailed, errorOf(wire.Error{Code: wire.CodeExists, Class: wire.CodeExists.Class(), Text: "it exists and may not be replaced"}))
			} else {
				t.settle(c.e, wire.VerdictUpdate, nil)
			}
			t.mu.Lock()
			t.changed.Broadcast()
		case c.e.info.Size() <= t.packLimit():
			t.ready = append(t.ready, c.e)
			t.mu.Unlock()
			t.s.disp.wakeAll()
			t.mu.Lock()
		default:
			t.large = append(t.large, c.e)
			t.start()
		}
	}
	t.hashing--
	t.changed.Broadcast()
}

func (t *treeSend) hashEntry(e *treeEntry) (crypto.Digest, error) {
	src, err := e.open()
	if err != nil {
		return crypto.Digest{}, err
	}
	defer src.Close()
	root, err := hashSource(src, func() error {
		t.s.alive()
		return t.ctx.Err()
	})
	if err == nil {
		err = src.Changed()
	}
	return root, err
}

// unreadable says why the file cannot be read. One that everybody may read is not tried.
func (e *treeEntry) unreadable() error {
	const everybody = 0o444
	if e.kind != tree.File || e.info.Mode()&everybody == everybody {
		return nil
	}
	f, err := e.dir.Open(e.base)
	if err != nil {
		return err
	}
	return f.Close()
}

// open opens what e reads.
func (e *treeEntry) open() (*fileSource, error) {
	f, err := e.dir.Open(e.base)
	if err != nil {
		return nil, vanished(err)
	}
	src, err := newFileSource(f)
	if err == nil {
		err = e.stands(src.info)
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return src, nil
}

// stands is errSourceChanged where the file that was opened, which is info, is another than the manifest tells of, and what that says would give
// its content to somebody else, privileges to its content, or its content to other names.
func (e *treeEntry) stands(info fs.FileInfo) error {
	if !e.exact {
		return nil
	}
	uid, gid, ok := durable.OwnerOf(info)
	wasUID, wasGID, was := durable.OwnerOf(e.info)
	id, _ := durable.IDOf(info)
	wasID, _ := durable.IDOf(e.info)
	switch {
	case ok != was || uid != wasUID || gid != wasGID:
	case (e.shared || e.linked != 0) && (id.Dev != wasID.Dev || id.Inode != wasID.Inode):
	case e.caps && !sameVersion(info, e.info):
	default:
		return nil
	}
	return fmt.Errorf("another file has its name since the directory was read: %w", errSourceChanged)
}

// takeAck takes what became of packs and entries.
func (t *treeSend) takeAck(m wire.TreeAck) error {
	t.mu.Lock()
	if t.err != nil || t.wanted == nil {
		t.mu.Unlock()
		return nil
	}
	room, bytes := int64(0), int64(0)
	for _, r := range m.Packs {
		if r.Start+r.Count > t.packs {
			t.mu.Unlock()
			return protocolError("TREE_ACK of packs %d+%d, of which not all were sent", r.Start, r.Count)
		}
	}
	for n, f := range t.flights { // not over the ranges: they may claim any number; and a pack whose stream was lost is there no more
		if wire.Ranges(m.Packs).Contains(n) {
			room += f.room
			bytes += f.bytes
			delete(t.flights, n)
		}
	}
	if t.hook.unkept != nil && m.Unkept != 0 {
		defer t.hook.unkept(unkeptOf(m.Unkept))
	}
	var done, again []*treeEntry
	var failed []wire.TreeFailure
	var failures []*treeEntry
	var late []wire.TreeFailure
	for _, r := range m.Published {
		if r.Count > uint64(len(t.wanted)) {
			t.mu.Unlock()
			return protocolError("TREE_ACK of entries %d+%d, which were not sent", r.Start, r.Count)
		}
		for no := r.Start; no < r.Start+r.Count; no++ {
			e := t.wanted[no]
			if e == nil || !e.taken {
				t.mu.Unlock()
				return protocolError("TREE_ACK of entry %d, which was not sent", no)
			}
			delete(t.wanted, no)
			done = append(done, e)
		}
	}
	for _, f := range m.Failed {
		e := t.wanted[f.No]
		if e == nil {
			if !f.Path.IsZero() { // a directory or a link, of which another verdict was told before
				late = append(late, f)
			}
			continue // it was given up meanwhile
		}
		if f.Code == wire.CodeChunkBad && e.tries < treeTries {
			e.tries++
			again = append(again, e)
			continue
		}
		delete(t.wanted, f.No)
		failed, failures = append(failed, f), append(failures, e)
	}
	t.ready = append(t.ready, again...)
	t.changed.Broadcast()
	t.mu.Unlock()
	if room > 0 {
		t.s.disp.release(room)
		t.hook.acked(bytes)
	}
	for _, e := range done {
		t.settle(e, wire.VerdictUpdate, nil)
	}
	for i, e := range failures {
		err := failureOf(failed[i])
		if endsRun(err) {
			t.fail(err)
		}
		t.settle(e, wire.VerdictFailed, err)
	}
	for _, f := range late {
		t.hook.late(strings.Join(f.Path.Parts(), "/"), failureOf(f))
	}
	if len(again) > 0 {
		t.s.disp.wakeAll()
	}
	return nil
}

// remove removes names that the receiver told as extra, and returns how many are gone and what failed.
func (t *treeSend) remove(ctx context.Context, paths []wire.Path) (wire.TreeDeleted, error) {
	t.s.send(t.id, wire.TreeDelete{Paths: paths})
	m, err := waitTree(ctx, t, t.deleted)
	if err == nil && m.Count+uint64(len(m.Failed)) > uint64(len(paths)) {
		err = protocolError("TREE_DELETED of %d, asked for %d", m.Count, len(paths))
	}
	return m, err
}

// String names the tree for a log.
func (t *treeSend) String() string { return fmt.Sprintf("tree %d", t.id) }
