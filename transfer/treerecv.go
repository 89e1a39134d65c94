package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"xfer/crypto"
	"xfer/transfer/sink"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// Bounds of a tree that is received.
const (
	treeAhead   = 16       // parts without verdicts
	treeWaiting = 32 << 20 // bytes of messages that wait for the goroutine of the tree
)

// treeRecv is the receiver's side of one attempt at a tree. One goroutine takes the parts and what else comes in order; the
// streams store the packs.
type treeRecv struct {
	s  *session
	id uint32
	// begin decides about the TREE_OPEN.
	begin func(ctx context.Context, o wire.TreeOpen, spec sink.TreeSpec) (*sink.Tree, error)
	// sign makes the receipt whole.
	sign     func(o wire.TreeOpen, r *wire.TreeReceipt) error
	receipt  func(wire.TreeReceipt) error // keeps it; may be nil
	hook     treeWatcher                  // nil at a server
	finished func(files int64, err error) // called once, at the end; may be nil

	open  wire.TreeOpen
	root  GrantedRoot    // at a server
	wants bool           // an archive is taken, where the sender has one
	exact bool           // the manifest is that of an archive
	bare  bool           // mode and time of the top directory are not ours to change
	hash  *crypto.Hasher // of the manifest
	list  *listHash      // of the files that are there; nil: nobody asked for it
	dec   *tree.Decoder
	next  uint64        // number of the next entry
	whole bool          // the last part was taken; of the goroutine of the tree
	here  atomic.Uint64 // files that were there as they should be

	stopped chan struct{} // closed at the end

	mu         sync.Mutex
	wake       *sync.Cond // queue and ended
	queue      []wire.Message
	queued     int // bytes of queue
	parts      int // in queue
	last       bool
	err        error // why it ended; guards against a second end
	ended      bool
	served     bool       // serve has begun, or is about to
	begins     bool       // tree is what it will be
	tree       *sink.Tree // nil until it was begun, and for a plan of what is not there
	storing    sync.WaitGroup
	published  []uint64
	failed     []wire.TreeFailure
	linking    bool              // all that came has its name, and hard links are made
	lost       int               // entries that failed although their content came
	settled    bool              // what came is published; of the goroutine of the tree
	extra      []wire.ExtraEntry // of the goroutine of the tree
	extraBytes int
	unkept     sink.Unkept // that was told
	working    bool        // at a message
	told       time.Time   // of the last sign of life
}

// treeWatcher is told what becomes of the entries of a tree that we fetch.
type treeWatcher interface {
	took(e sink.TreeEntry, v sink.Verdict) sink.Verdict // one after the other; what it returns goes to the sender
	stored(no uint64, bytes, crossed int64)             // content that has arrived, and how much of it crossed the wire
	done(no uint64, err error)                          // of what was sent
	same(no uint64)
	gone(no uint64)
	left(m wire.TreeLeft) // at any time
	whole()               // all entries were taken
	before() error        // the end of the tree waits for it
}

func (s *session) newTreeRecv(id uint32) *treeRecv {
	t := &treeRecv{s: s, id: id, hash: crypto.NewHasher(), dec: tree.NewDecoder(), told: time.Now(), stopped: make(chan struct{})}
	t.wake = sync.NewCond(&t.mu)
	return t
}

// take takes a message of the sender for this tree.
func (t *treeRecv) take(m wire.Message) error {
	switch m := m.(type) {
	case wire.TreeLeft:
		return t.left(m)
	case wire.TreeSkip:
		t.skip(m)
		if t.hook == nil || len(m.Gone) == 0 {
			return nil
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return nil
	}
	switch m := m.(type) {
	case wire.TreePart:
		if t.parts++; t.parts > treeAhead || t.last {
			return protocolError("TREE_PART that is too many")
		}
		t.last = m.Last
	case wire.Abort:
		t.endLocked(errorOf(wire.Error{Code: m.Code, Text: "the sender gave up"}))
		return nil
	}
	if t.queued += queuedBytes(m); t.queued > treeWaiting {
		return protocolError("%v before those sent earlier were answered", m.Type())
	}
	t.queue = append(t.queue, m)
	t.wake.Signal()
	return nil
}

// left passes on what the sender leaves out. That is not queued: there may be any number of them, faster than they can be told.
func (t *treeRecv) left(m wire.TreeLeft) error {
	if t.hook == nil {
		return protocolError("TREE_LEFT of a client")
	}
	t.mu.Lock()
	ended := t.ended
	t.mu.Unlock()
	if !ended {
		t.hook.left(m)
	}
	return nil
}

// skip ends entries that do not come. It waits for no message before it: the next part may wait for the room that this makes.
func (t *treeRecv) skip(m wire.TreeSkip) {
	t.mu.Lock()
	tr := t.tree
	if t.ended || !t.begins {
		t.mu.Unlock()
		return
	}
	t.storing.Add(1)
	t.mu.Unlock()
	defer t.storing.Done()
	for _, no := range m.Same {
		if tr != nil {
			t.decideSame(tr, no)
		}
		if t.hook != nil {
			t.hook.same(no)
		}
	}
	for _, no := range m.Gone {
		if tr != nil {
			tr.Drop(no)
		}
	}
}

// queuedBytes is about how much memory a message takes.
func queuedBytes(m wire.Message) int {
	n := 96
	switch m := m.(type) {
	case wire.TreePart:
		n += len(m.Records)
	case wire.TreeSkip:
		n += 8 * (len(m.Same) + len(m.Gone))
	case wire.TreeDelete:
		for _, p := range m.Paths {
			n += 64
			for _, c := range p.Parts() {
				n += 16 + len(c)
			}
		}
	}
	return n
}

// stop ends the tree early; what arrived is published.
func (t *treeRecv) stop(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.endLocked(err)
}

func (t *treeRecv) endLocked(err error) {
	if !t.ended {
		t.ended, t.err = true, err
		t.queue, t.queued = nil, 0
		close(t.stopped)
		t.wake.Broadcast()
	}
}

// begun tells whether a TREE_OPEN has come; from then on serve ends it.
func (t *treeRecv) begun() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.served
}

// reason is why the tree ended.
func (t *treeRecv) reason() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// expect says whether this is the first TREE_OPEN, and the tree is still wanted.
func (t *treeRecv) expect() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	first := !t.served && !t.ended
	t.served = t.served || first
	return first
}

// serve is the goroutine of the tree.
func (t *treeRecv) serve(o wire.TreeOpen) {
	if t.hook != nil {
		o.Flags &^= wire.TreeMayDelete | wire.TreeTellExtra // a server has no say in what else we do; least of all may it remove something
	}
	t.open = o
	defer context.AfterFunc(t.s.ctx, func() { t.stop(t.s.lost()) })()
	files, err := t.work(o)
	t.mu.Lock()
	told := t.ended // the sender knows
	t.endLocked(err)
	tr := t.tree
	t.mu.Unlock()
	t.storing.Wait()
	if tr != nil {
		if cerr := tr.Close(); cerr != nil && err == nil {
			t.s.log.Debug("ending a tree", "err", cerr)
		}
	}
	t.s.mu.Lock()
	delete(t.s.treeRecvs, t.id)
	t.s.mu.Unlock()
	if err != nil && !told {
		t.s.sendError(t.id, err)
	}
	if t.finished != nil {
		t.finished(files, err)
	}
}

func (t *treeRecv) work(o wire.TreeOpen) (int64, error) {
	spec := sink.TreeSpec{
		ID: [16]byte(o.Tree), Durability: durabilityOf(o.Durability), Published: t.onPublished, Small: maxPacked, Busy: t.stillBusy,
		NoClobber: o.Flags&wire.TreeNoClobber != 0, IgnoreExisting: o.Flags&wire.TreeIgnoreExisting != 0,
		Existing: o.Flags&wire.TreeExisting != 0, Update: o.Flags&wire.TreeUpdate != 0, DryRun: o.Flags&wire.TreeDryRun != 0,
		// What a link leads to may itself be in the tree: then what is there by one name would be removed by the other.
		NoFollow: o.Flags&wire.TreeMayDelete != 0,
	}
	if o.Compare == wire.TreeByContent {
		spec.Compare = sink.ByContent
	}
	if o.Flags&wire.TreeTellExtra != 0 {
		spec.Extra = t.onExtra
	}
	if t.exact = o.Flags&wire.TreeExact != 0; t.exact && !t.s.agreed(wire.CapExact) {
		return 0, notAgreed("TREE_OPEN with flags %#x", o.Flags)
	}
	t.exact = t.exact && t.wants
	if o.Flags&wire.TreeList != 0 && t.hook == nil {
		if spec.Compare != sink.ByContent {
			return 0, protocolError("TREE_OPEN with a list, and without comparing by content")
		}
		t.list = &listHash{}
		spec.There = t.there
	}
	tr, err := t.begin(t.s.ctx, o, spec)
	if err != nil {
		return 0, err
	}
	t.mu.Lock()
	t.tree, t.begins = tr, true
	t.mu.Unlock()
	t.s.send(t.id, wire.TreeOpened{Ahead: treeAhead, Small: maxPacked})
	for {
		m, err := t.nextMessage()
		if err != nil {
			return 0, err
		}
		switch m := m.(type) {
		case wire.TreePart:
			err = t.part(m)
		case wire.TreeSkip:
			for _, no := range m.Gone {
				t.hook.gone(no)
			}
		case wire.TreeDelete:
			err = t.remove(m)
		case wire.TreeCommit:
			return t.commit(m)
		default:
			err = protocolError("%v for a tree", m.Type())
		}
		if err != nil {
			return 0, err
		}
	}
}

func durabilityOf(d wire.Durability) sink.Durability {
	switch d {
	case wire.DurabilityBatch:
		return sink.Batch
	case wire.DurabilityNone:
		return sink.None
	}
	return sink.Full
}

func (t *treeRecv) nextMessage() (wire.Message, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.working = false
	for len(t.queue) == 0 && !t.ended {
		t.wake.Wait()
	}
	if t.ended {
		return nil, t.err
	}
	m := t.queue[0]
	t.queue = t.queue[1:]
	t.queued -= queuedBytes(m)
	t.working = true
	return m, nil
}

// part answers one part of the manifest.
func (t *treeRecv) part(m wire.TreePart) error {
	if m.First != t.next {
		return protocolError("TREE_PART from entry %d, the next is %d", m.First, t.next)
	}
	_, _ = t.hash.Write(m.Records)
	answer := wire.TreeVerdicts{First: m.First, Runs: []wire.Verdicts{}}
	rest := m.Records
	for range m.Count {
		var r tree.Record
		var err error
		if r, rest, err = t.dec.Next(rest); err != nil {
			return manifestError(err)
		}
		e := treeEntryOf(t.next, r, t.exact)
		if e.No == 0 && t.bare {
			e.NoMeta, e.Meta = true, sink.Meta{}
		}
		v, err := t.takeEntry(e)
		if err != nil {
			return err
		}
		code := verdictOf(v.Code)
		if e.Kind == sink.File && (code == wire.VerdictSame || code == wire.VerdictMeta) {
			t.here.Add(1)
		}
		switch v.Code {
		case sink.VerdictFailed:
			c, text := codeOf(v.Err)
			answer.Failed = append(answer.Failed, wire.TreeFailure{No: t.next, Code: c, Text: clip(text)})
		case sink.VerdictHash:
			answer.Hashes = append(answer.Hashes, v.Root[:]...)
		}
		if n := len(answer.Runs); n > 0 && answer.Runs[n-1].Code == uint64(code) {
			answer.Runs[n-1].Count++
		} else {
			answer.Runs = append(answer.Runs, wire.Verdicts{Code: uint64(code), Count: 1})
		}
		t.next++
	}
	if len(rest) > 0 {
		return protocolError("TREE_PART with %d bytes behind its records", len(rest))
	}
	t.mu.Lock()
	t.parts--
	t.mu.Unlock()
	t.s.send(t.id, answer)
	t.whole = m.Last
	if m.Last && t.hook != nil {
		t.hook.whole()
	}
	if m.Last && t.open.Flags&wire.TreeTellExtra != 0 {
		total, err := t.tree.EndManifest()
		if err != nil {
			return err
		}
		t.flushExtra(true, total)
	}
	return nil
}

// takeEntry has the sink decide about an entry, and then whoever fetches the tree.
func (t *treeRecv) takeEntry(e sink.TreeEntry) (sink.Verdict, error) {
	v := sink.Verdict{Code: sink.VerdictNew}
	switch {
	case t.tree != nil:
		if err := t.tree.Wait(t.s.ctx); err != nil { // the answer waits until what is wanted has come
			return v, err
		}
		v = t.tree.Take(e)
		if v.Code == sink.VerdictFailed && t.s.ctx.Err() != nil {
			return v, t.s.lost() // that is no failure of the entry
		}
	case e.Kind != sink.File:
		v.Code = sink.VerdictMade
	}
	if t.hook == nil {
		return v, nil
	}
	now := t.hook.took(e, v)
	if now.Code != v.Code && t.tree != nil {
		t.tree.Drop(e.No)
	}
	return now, nil
}

func verdictOf(c sink.VerdictCode) wire.VerdictCode {
	switch c {
	case sink.VerdictNew:
		return wire.VerdictNew
	case sink.VerdictUpdate:
		return wire.VerdictUpdate
	case sink.VerdictMeta:
		return wire.VerdictMeta
	case sink.VerdictMade, sink.VerdictLinked:
		return wire.VerdictMade
	case sink.VerdictSkip:
		return wire.VerdictSkip
	case sink.VerdictFailed:
		return wire.VerdictFailed
	case sink.VerdictHash:
		return wire.VerdictHash
	}
	return wire.VerdictSame
}

// manifestError gives an error of the manifest its code.
func manifestError(err error) error {
	var fe *tree.FormatError
	if !errors.As(err, &fe) {
		return err
	}
	code := wire.CodeProtocol
	switch fe.Code {
	case tree.Limit:
		code = wire.CodeLimit
	case tree.BadName:
		code = wire.CodeBadPath
	}
	return &wire.ProtocolError{Code: code, Msg: fe.Error()}
}

func treeEntryOf(no uint64, r tree.Record, exact bool) sink.TreeEntry {
	e := sink.TreeEntry{No: no, Up: r.Up, Name: r.Name, Size: r.Size, NoMeta: r.NoMeta, Target: r.Target, Sparse: r.Sparse, Link: r.Link, Shared: r.Shared}
	switch r.Kind {
	case tree.Directory:
		e.Kind = sink.Directory
	case tree.Symlink:
		e.Kind = sink.Link
	default:
		e.Kind = sink.File
	}
	if !r.NoMeta {
		e.Meta = sinkMeta(wire.Meta{HasMode: true, Mode: r.Mode, HasMTime: true, MTimeNS: r.MTime})
		if exact {
			addArchive(&e.Meta, r.Owner, r.XAttrs)
		}
	}
	return e
}

// takePack stores the files of a pack. It runs on the stream that brought it.
func (s *session) takePack(id uint32, p wire.Pack, shrunk float64) error {
	s.alive()
	t := s.treeRecvOf(id)
	if t == nil {
		return nil // of a tree that has ended
	}
	t.mu.Lock()
	tr := t.tree
	if t.ended || tr == nil {
		t.mu.Unlock()
		return nil
	}
	t.storing.Add(1)
	t.mu.Unlock()
	defer t.storing.Done()
	var failed []wire.TreeFailure
	for {
		f, ok, err := p.Next()
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if err := t.put(tr, f, shrunk); err != nil {
			code, text := codeOf(err)
			failed = append(failed, wire.TreeFailure{No: f.No, Code: code, Text: clip(text)})
			if code != wire.CodeChunkBad { // that one comes again
				tr.Drop(f.No) // else too many of them would leave no room for further entries
				t.mu.Lock()
				t.lost++
				t.mu.Unlock()
			}
			if t.hook != nil && code != wire.CodeChunkBad && s.ctx.Err() == nil {
				t.hook.done(f.No, err)
			}
		}
	}
	ack := wire.TreeAck{Packs: []wire.Range{{Start: p.Number, Count: 1}}}
	for _, f := range sortedFailures(failed) {
		if size := f.EncodedLen(); len(ack.Failed) == wire.MaxPart || t.failedBytes(ack.Failed)+size > ackBytes {
			s.send(id, wire.TreeAck{Failed: ack.Failed})
			ack.Failed = nil
		}
		ack.Failed = append(ack.Failed, f)
	}
	s.send(id, ack)
	return nil
}

// put stores one file. Content that nobody waits for (any more) is passed over: a pack whose stream was lost comes again.
func (t *treeRecv) put(tr *sink.Tree, f wire.PackFile, shrunk float64) error {
	var m *sink.Meta
	if !f.Meta.IsZero() {
		meta := sinkMeta(f.Meta)
		m = &meta
	}
	err := tr.Put(f.No, f.Content, crypto.Digest(f.Root), m)
	if errors.Is(err, sink.ErrRange) {
		switch v := tr.Decide(f.No, true); { // the sender has compared it, and has another
		case v.Code == sink.VerdictUpdate:
			err = tr.Put(f.No, f.Content, crypto.Digest(f.Root), m)
		case errors.Is(v.Err, sink.ErrRange):
			return nil
		default:
			return v.Err
		}
	}
	switch {
	case errors.Is(err, sink.ErrRootMismatch):
		return fmt.Errorf("%w: the content is not what was hashed", sink.ErrChunkBad)
	case err == nil && t.hook != nil:
		t.hook.stored(f.No, int64(len(f.Content)), int64(float64(len(f.Content))*shrunk))
	}
	return err
}

// came is told that a file was fetched by itself.
func (t *treeRecv) came(no uint64) {
	t.mu.Lock()
	tr := t.tree
	t.mu.Unlock()
	if tr != nil {
		tr.Came(no)
	}
}

// there is told of a file that is there as the manifest says.
func (t *treeRecv) there(path string, size int64, root crypto.Digest) {
	t.list.add(ListedFile{Root: root, Size: size, Path: path})
}

// decideSame is told that what is here of an entry is what the sender has.
func (t *treeRecv) decideSame(tr *sink.Tree, no uint64) {
	if v := tr.Decide(no, false); v.Code == sink.VerdictFailed {
		t.onPublished(no, v.Err)
	} else if v.Code != sink.VerdictUpdate {
		t.here.Add(1)
	}
}

// sortedFailures sorts them, each entry once.
func sortedFailures(list []wire.TreeFailure) []wire.TreeFailure {
	slices.SortStableFunc(list, func(a, b wire.TreeFailure) int { return int(int64(a.No) - int64(b.No)) })
	return slices.CompactFunc(list, func(a, b wire.TreeFailure) bool { return a.No == b.No })
}

// onPublished is told by the sink of an entry that has its final name, or failed to get it.
func (t *treeRecv) onPublished(no uint64, err error) {
	if t.hook != nil && (err == nil || t.s.ctx.Err() == nil) { // else it is no failure of the entry
		t.hook.done(no, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		code, text := codeOf(err)
		t.failed = append(t.failed, wire.TreeFailure{No: no, Code: code, Text: clip(text), Path: t.pathIn(err)})
		t.lost++
		return
	}
	if !t.linking { // a hard link has had its verdict, and nobody waits for it
		t.published = append(t.published, no)
	}
}

// pathIn is the path beneath the top directory that an error of the sink is about; the top itself where there is none.
func (t *treeRecv) pathIn(err error) wire.Path {
	var pe *fs.PathError
	if !errors.As(err, &pe) {
		return wire.Path{}
	}
	parts := strings.Split(pe.Path, "/")
	above := t.open.Path.Len()
	if t.hook != nil || len(parts) <= above {
		return wire.Path{}
	}
	path, perr := wire.NewPath(parts[above:]...)
	if perr != nil {
		return wire.Path{}
	}
	return path
}

// ackBytes is how long the failures in a TREE_ACK, and the entries in a TREE_EXTRA, may be.
const ackBytes = 256 << 10

func (t *treeRecv) failedBytes(list []wire.TreeFailure) int {
	n := 0
	for _, f := range list {
		n += f.EncodedLen()
	}
	return n
}

// flush tells what was published or failed since the last time.
func (t *treeRecv) flush() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.published) > 0 {
		n := min(len(t.published), wire.MaxPart)
		t.s.send(t.id, wire.TreeAck{Published: numberRanges(t.published[:n])})
		t.published = t.published[n:]
	}
	failed := sortedFailures(t.failed)
	for len(failed) > 0 {
		n, size := 0, 0
		for n < len(failed) && n < wire.MaxPart && size < ackBytes {
			size += failed[n].EncodedLen()
			n++
		}
		t.s.send(t.id, wire.TreeAck{Failed: failed[:n]})
		failed = failed[n:]
	}
	t.published, t.failed = nil, nil
	if t.tree != nil && t.hook == nil {
		if u := t.tree.Unkept(); u != t.unkept {
			t.unkept = u
			t.s.send(t.id, wire.TreeAck{Unkept: unkept(u)})
		}
	}
}

// numberRanges makes the sorted, joined ranges of numbers; list is sorted in place.
func numberRanges(list []uint64) []wire.Range {
	slices.Sort(list)
	var out []wire.Range
	for _, no := range list {
		if n := len(out); n > 0 && out[n-1].Start+out[n-1].Count == no {
			out[n-1].Count++
		} else if n == 0 || out[n-1].Start+out[n-1].Count < no {
			out = append(out, wire.Range{Start: no, Count: 1})
		}
	}
	return out
}

func (t *treeRecv) onExtra(p sink.Path, kind sink.Kind, size int64) {
	path, err := wire.NewPath(p.Parts()[t.open.Path.Len():]...)
	if err != nil {
		return // nothing that may be named is lost: such a name can not be removed either
	}
	e := wire.ExtraEntry{Path: path, Kind: wire.Kind(kind), Size: uint64(max(size, 0))}
	t.extra = append(t.extra, e)
	if t.extraBytes += e.EncodedLen(); len(t.extra) >= 1024 || t.extraBytes > ackBytes {
		t.flushExtra(false, 0)
	}
}

func (t *treeRecv) flushExtra(last bool, total int64) {
	t.s.send(t.id, wire.TreeExtra{Entries: t.extra, Last: last, Total: uint64(max(total, 0))})
	t.extra, t.extraBytes = nil, 0
}

// tick tells what is due.
func (t *treeRecv) tick(now time.Time) {
	t.flush()
	t.mu.Lock()
	busy := t.working && now.Sub(t.told) >= busyEvery
	t.mu.Unlock()
	if busy {
		t.stillBusy()
	}
}

func (t *treeRecv) stillBusy() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.told) >= busyEvery/2 {
		t.told = now
		t.s.send(t.id, wire.TreeAck{})
		t.s.alive()
	}
}

// remove takes names away that the sender was told of.
func (t *treeRecv) remove(m wire.TreeDelete) error {
	const announced = wire.TreeMayDelete | wire.TreeTellExtra
	if t.open.Flags&announced != announced || t.open.Flags&wire.TreeDryRun != 0 || !t.whole {
		return protocolError("TREE_DELETE that was not announced")
	}
	refused, err := t.settle()
	if err != nil {
		return err
	}
	var answer wire.TreeDeleted
	for i, w := range m.Paths {
		p, err := sink.NewPath(append(t.open.Path.Parts(), w.Parts()...)...)
		if refused != nil {
			err = refused
		} else if err == nil {
			err = t.tree.Remove(t.s.ctx, p)
		}
		var se *sink.SyncError
		if errors.As(err, &se) {
			return err
		}
		if err != nil {
			code, text := codeOf(err)
			answer.Failed = append(answer.Failed, wire.TreeFailure{No: uint64(i), Code: code, Text: clip(text)})
			continue
		}
		answer.Count++
	}
	t.s.send(t.id, answer)
	return nil
}

// settle publishes what came, before the first name is removed: what came and cannot be there may have been moved here from a name that would
// go. refused says that there is such a thing. (That it is durable as well is the sink's part.)
func (t *treeRecv) settle() (refused, err error) {
	if !t.settled {
		t.storing.Wait()
		if err := t.tree.Flush(t.s.ctx); err != nil {
			return nil, err
		}
		t.flush()
		t.settled = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost > 0 {
		refused = &wire.ProtocolError{Code: wire.CodeIOError, Msg: "not all that was sent is there, so nothing is removed"}
	}
	return refused, nil
}

// commit ends the tree well.
func (t *treeRecv) commit(m wire.TreeCommit) (int64, error) {
	manifest := wire.Hash(t.hash.Sum())
	if !t.whole || m.Entries != t.next || m.Manifest != manifest {
		return 0, &wire.ProtocolError{Code: wire.CodeRootMismatch, Msg: "TREE_COMMIT of another manifest than the one that came"}
	}
	t.storing.Wait()
	if t.hook != nil {
		if err := t.hook.before(); err != nil {
			return 0, err
		}
	}
	// A commit that has begun is brought to its end, also where the session ends meanwhile.
	var res sink.TreeResult
	if t.tree != nil {
		err := t.tree.Flush(context.WithoutCancel(t.s.ctx))
		if err != nil {
			return 0, err
		}
		if n := t.tree.Pending(); n > 0 && t.open.Flags&wire.TreeDryRun == 0 {
			return 0, &wire.ProtocolError{Code: wire.CodeProtocol, Msg: fmt.Sprintf("TREE_COMMIT before %d entries came that are wanted", n)}
		}
		t.mu.Lock()
		t.linking = true
		t.mu.Unlock()
		if res, err = t.tree.Finish(context.WithoutCancel(t.s.ctx)); err != nil {
			return 0, err
		}
	}
	t.flush()
	r := wire.TreeReceipt{Tree: t.open.Tree, Manifest: manifest, Entries: t.next, TimeNS: time.Now().UnixNano(), Durability: t.open.Durability, Path: t.open.Path}
	if t.open.Flags&wire.TreeDryRun == 0 { // else there is nothing to be sworn to
		r.Files = t.here.Load() + res.Published + res.Linked
		if t.list != nil {
			list, n := t.list.sum()
			r.List, r.Files = &list, n
		}
		if t.list != nil && t.receipt != nil {
			if err := t.receipt(r); err != nil {
				return 0, err
			}
		}
		if t.hook != nil {
			r.List = nil // the sender has not asked for it
		}
		if err := t.sign(t.open, &r); err != nil {
			return 0, err
		}
	}
	t.s.send(t.id, r)
	return int64(res.Published), nil
}

// path is the top directory, for a log: raw bytes.
func (t *treeRecv) path() string { return strings.Join(t.open.Path.Parts(), "/") }
