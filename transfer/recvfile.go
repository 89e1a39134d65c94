package transfer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"xfer/crypto"
	"xfer/transfer/sink"
	"xfer/transfer/wire"
)

// landing is where the bytes of one transfer go: a stage of a sink, or a pipe.
type landing interface {
	Claim(chunk, offset int64) (chunkWriter, error)
	Zero(ctx context.Context, first, count int64) (bytes int64, err error)
	Held() (chunks, bytes int64)
	CVs(first, count int64) ([]crypto.CV, error)
	Checkpoint(ctx context.Context) ([]sink.Range, error)
	Dirty() (bytes int64, since time.Time)
	Publish(ctx context.Context, c sink.Commit) ([]byte, error)
	Park() error
	Discard() error
}

// chunkWriter takes the pieces of one chunk in order.
type chunkWriter interface {
	Write(p []byte) error
	Take(old *sink.Old, n int64) error // the next n bytes are those of the old version
	Finish(cv crypto.CV) (dup bool, err error)
	Park()
}

// stageLanding is a sink's stage.
type stageLanding struct{ *sink.Stage }

func (l stageLanding) Claim(chunk, offset int64) (chunkWriter, error) {
	w, err := l.Stage.Claim(chunk, offset)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// accepted is the receiver's answer to an OPEN.
type accepted struct {
	state   wire.OpenState
	land    landing // for new, partial, changed
	found   sink.Found
	meta    sink.Meta // Unkept tells what could not be set; nil where nothing is
	receipt *wire.Receipt
	old     *sink.Old // of the file, nil where the sender may not refer to it
	// exists is asked at COMMIT in the state "exists": it makes the receipt where root is that of what is there.
	exists func(ctx context.Context, root crypto.Digest, size int64) (*wire.Receipt, error)
}

// Group commit (FORMAT.md): a checkpoint at the latest after so much or so long.
const (
	groupBytes = 64 << 20
	groupEvery = 2 * time.Second
	busyEvery  = 2 * time.Second
)

// recvFile is the receiver's side of one attempt of one transfer.
type recvFile struct {
	s  *session
	id uint32
	// accept decides about the OPEN; busy tells the sender that we are still at it.
	accept func(ctx context.Context, o wire.Open, busy func()) (accepted, error)
	// receiptOf makes the signed receipt.
	receiptOf func(o wire.Open, p sink.Published) (wire.Receipt, error)
	finished  func(outcome, error) // called once, at the end; may be nil
	onData    func(bytes int64)    // verified payload; may be nil
	onZeros   func(bytes int64)    // holes that were made; may be nil
	onResumed func(bytes int64)    // may be nil
	onWire    func(bytes int64)    // payload that has come; may be nil

	mu       sync.Mutex
	open     wire.Open
	acc      accepted
	land     landing // nil until accepted, and after the end
	total    int64   // -1 = not known
	pending  []int64 // received, not yet ACKed
	lastAck  time.Time
	busy     bool // in Begin or Publish
	lastBusy time.Time
	syncing  sync.WaitGroup
	inSync   bool
	commit   bool // COMMIT has come: no more DATA
	opened   bool // an OPEN has come
	ended    bool
}

// expect says whether this is the first OPEN.
func (f *recvFile) expect() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	first := !f.opened
	f.opened = true
	return first
}

// begin answers the OPEN. It runs in a handler.
func (f *recvFile) begin(o wire.Open) {
	f.mu.Lock()
	f.open, f.busy, f.lastBusy = o, true, time.Now()
	f.mu.Unlock()
	var acc accepted
	var err error
	if o.Flags&^wire.OpenFresh&^wire.OpenSparse != 0 || o.Flags&wire.OpenSparse != 0 && !f.s.agreed(wire.CapZero) {
		err = notAgreed("OPEN with flags %#x", o.Flags)
	} else {
		acc, err = f.accept(f.s.ctx, o, f.stillBusy)
	}
	f.mu.Lock()
	f.busy = false
	if err == nil && f.ended { // meanwhile the sender gave up, or the session ended
		f.mu.Unlock()
		if acc.land != nil {
			_ = acc.land.Park()
		}
		acc.closeOld()
		return
	}
	if err == nil {
		f.acc, f.land = acc, acc.land
		f.total = -1
		if o.Size != wire.UnknownSize {
			f.total = chunkCount(int64(o.Size), o.ChunkLog2)
		}
	}
	f.mu.Unlock()
	if err != nil {
		f.refuse(err)
		return
	}
	m := wire.Opened{State: acc.state, Epoch: acc.found.Epoch, Receipt: acc.receipt}
	if acc.old != nil {
		m.Old = uint64(acc.old.Size())
	}
	if acc.land != nil {
		m.Have = wireRanges(acc.found.Have)
		for _, p := range acc.found.Parts {
			if len(m.Parts) < 1024 {
				m.Parts = append(m.Parts, wire.Part{Chunk: uint64(p.Chunk), Bytes: uint64(p.Bytes)})
			}
		}
		if f.onResumed != nil {
			if _, held := acc.land.Held(); held > 0 {
				f.onResumed(held)
			}
		}
	}
	f.tellUnkept()
	f.s.send(f.id, m)
	switch acc.state {
	case wire.StateSame, wire.StateDone:
		out := outcome{state: acc.state, receipt: acc.receipt, size: int64(o.Size)}
		if acc.receipt != nil {
			out.root = crypto.Digest(acc.receipt.RootHash)
		}
		f.finish(out, nil)
	}
}

// tellUnkept tells the sender what of the metadata could not be set.
func (f *recvFile) tellUnkept() {
	if u := f.acc.meta.Unkept; u != nil && *u != 0 {
		f.s.send(f.id, wire.Ack{Received: wire.Ranges{}, Unkept: unkept(*u)})
	}
}

func (f *recvFile) stillBusy() {
	f.s.send(f.id, wire.Ack{})
	f.s.alive()
}

// take takes a message of the sender for this transfer.
func (f *recvFile) take(m wire.Message) error {
	switch m := m.(type) {
	case wire.Commit:
		return f.takeCommit(m)
	case wire.Abort:
		f.stop(m.Keep, errorOf(wire.Error{Code: m.Code, Text: "the sender gave up"}))
	case wire.Zeros:
		return f.takeZeros(m)
	case wire.Hashes:
		f.mu.Lock()
		land, total := f.land, f.total
		f.mu.Unlock()
		if m.Old && !f.s.agreed(wire.CapDelta) {
			return notAgreed("HASHES of an old version")
		}
		if m.Old {
			return f.takeHashesOfOld(m)
		}
		if land == nil || m.Count > 8192 || m.First > 1<<24 || (total >= 0 && m.First+m.Count > uint64(total)) {
			return protocolError("HASHES outside of the transfer")
		}
		return f.s.handler(func() {
			cvs, err := land.CVs(int64(m.First), int64(m.Count))
			if err != nil {
				f.refuse(err)
				return
			}
			list := wire.HashList{First: m.First, CVs: make([]wire.Hash, len(cvs))}
			for i, cv := range cvs {
				list.CVs[i] = wire.Hash(cv)
			}
			f.s.send(f.id, list)
		})
	}
	return nil
}

// notAgreed refuses what belongs to a capability that only one side has.
func notAgreed(format string, args ...any) error {
	return &wire.ProtocolError{Code: wire.CodeUnsupported, Msg: fmt.Sprintf(format, args...) + ", which was not agreed"}
}

// takeData takes one DATA frame of stream st.
func (s *session) takeData(st *stream, id uint32, d wire.Data) error {
	old, zero := d.Flags&wire.DataOld != 0, d.Flags&wire.DataZero != 0
	if zero && !s.agreed(wire.CapZero) || old && !s.agreed(wire.CapDelta) {
		return notAgreed("DATA with flags %#02x", d.Flags)
	}
	cur := st.cur
	if d.Flags&wire.DataFirst != 0 {
		if cur != nil && cur.w != nil {
			cur.w.Park()
		}
		st.in = incoming{id: id, chunk: d.Chunk, next: d.Offset, old: old}
		if cur = &st.in; old {
			cur.next = 0
		}
		st.cur = cur
		if f := s.recvOf(id); f != nil {
			w, err := f.claim(d)
			if err != nil {
				return err
			}
			cur.w, cur.file = w, f
		}
	} else if cur == nil || cur.id != id || cur.chunk != d.Chunk || cur.old != old || cur.next != d.Offset && !(old && cur.next < d.Offset) {
		return protocolError("DATA that does not follow the piece before it")
	}
	end := uint64(d.Offset) + uint64(len(d.Payload))
	if zero {
		end = uint64(d.RawLen)
	}
	last := d.Flags&wire.DataLast != 0
	if len(d.Payload) == 0 && !old && !zero || end > uint64(d.RawLen) || last != (end == uint64(d.RawLen)) {
		return protocolError("DATA beyond its chunk")
	}
	gap := int64(d.Offset) - int64(cur.next)
	cur.next = uint32(end)
	w, f := cur.w, cur.file
	if last {
		st.cur, st.in = nil, incoming{}
	}
	s.alive()
	if w == nil {
		return nil // of a transfer that has ended, or a chunk that another stream took over
	}
	put := putPiece
	if zero {
		gap, put = int64(d.RawLen), putZeros
	}
	if err := put(w, f, gap, d.Payload); err != nil {
		w.Park()
		st.in.w = nil
		f.dataError(d.Chunk, err)
		return nil
	}
	if !last {
		return nil
	}
	_, err := w.Finish(crypto.CV(d.CV))
	if err != nil {
		f.dataError(d.Chunk, err)
		return nil
	}
	f.gotChunk(int64(d.Chunk), int64(d.RawLen))
	return nil
}

// putPiece adds gap bytes of the old version of f and then p.
func putPiece(w chunkWriter, f *recvFile, gap int64, p []byte) error {
	if gap > 0 {
		if err := w.Take(f.oldVersion(), gap); err != nil {
			return err
		}
	}
	if len(p) == 0 {
		return nil
	}
	return w.Write(p)
}

// claim makes a stream the writer of a chunk. A nil writer without error: the pieces are to be dropped.
func (f *recvFile) claim(d wire.Data) (chunkWriter, error) {
	f.mu.Lock()
	land, o, total, commit := f.land, f.open, f.total, f.commit
	f.mu.Unlock()
	if land == nil || commit {
		return nil, nil
	}
	if total >= 0 {
		if d.Chunk >= uint64(total) || int64(d.RawLen) != chunkLen(int64(o.Size), o.ChunkLog2, int64(d.Chunk)) {
			return nil, protocolError("DATA of a chunk that the file does not have")
		}
	} else if d.Chunk >= 1<<24 || d.RawLen == 0 || d.RawLen > 1<<o.ChunkLog2 {
		return nil, protocolError("DATA of an impossible chunk")
	}
	from := int64(d.Offset)
	if d.Flags&wire.DataOld != 0 {
		if f.oldVersion() == nil {
			return nil, protocolError("DATA that refers to an old version, of which none was told")
		}
		from = 0
	}
	if from >= int64(d.RawLen) {
		return nil, protocolError("DATA beyond its chunk")
	}
	w, err := land.Claim(int64(d.Chunk), from)
	if err != nil {
		f.dataError(d.Chunk, err)
		return nil, nil
	}
	return w, nil
}

// dataError says what becomes of an error of the landing: the chunk comes again, or the transfer ends.
func (f *recvFile) dataError(chunk uint64, err error) {
	switch {
	case errors.Is(err, sink.ErrTaken):
	case errors.Is(err, sink.ErrChunkBad):
		f.s.send(f.id, wire.Nack{Chunk: chunk, Code: wire.CodeChunkBad})
	default:
		f.refuse(err)
	}
}

// refuse tells the sender why the transfer ends here, and parks what there is, but for a stage whose chunks do not make the
// file: nobody can say which of them is wrong.
//
// While a publication is under way it does nothing: that says itself how it went, and what a given-up stream still brings
// is of no interest.
func (f *recvFile) refuse(err error) {
	f.mu.Lock()
	over := f.ended || f.commit && f.busy
	f.mu.Unlock()
	if over {
		return
	}
	f.s.sendError(f.id, err)
	f.stop(!errors.Is(err, sink.ErrRootMismatch), err)
}

func (f *recvFile) gotChunk(chunk, bytes int64) {
	if f.onData != nil {
		f.onData(bytes)
	}
	f.mu.Lock()
	if len(f.pending) == 0 {
		f.lastAck = time.Now()
	}
	f.pending = append(f.pending, chunk)
	flush := len(f.pending) >= ackChunks
	if !flush && f.total >= 0 && f.land != nil {
		held, _ := f.land.Held()
		flush = held >= f.total
	}
	f.mu.Unlock()
	if flush {
		f.flushAck()
	}
}

func (f *recvFile) flushAck() {
	f.mu.Lock()
	list := f.pending
	f.pending = nil
	f.mu.Unlock()
	if len(list) > 0 {
		f.s.send(f.id, wire.Ack{Received: toRanges(list)})
	}
}

// tick flushes ACKs that are due and starts a checkpoint that is due.
func (f *recvFile) tick(now time.Time) {
	f.mu.Lock()
	ack := len(f.pending) > 0 && now.Sub(f.lastAck) >= ackEvery/2
	busy := (f.busy || f.inSync) && now.Sub(f.lastBusy) >= busyEvery
	if busy {
		f.lastBusy = now
	}
	due := false
	land := f.land
	if land != nil && !f.inSync && !f.commit {
		bytes, since := land.Dirty()
		due = bytes >= groupBytes || (bytes > 0 && now.Sub(since) >= groupEvery)
		if due && f.open.Durability != wire.DurabilityNone {
			f.inSync = true
			f.syncing.Add(1)
		} else {
			due = false
		}
	}
	f.mu.Unlock()
	if ack {
		f.flushAck()
	}
	if busy {
		f.stillBusy()
	}
	if due && !f.s.goRun(func() { f.checkpoint(land) }) {
		f.syncing.Done()
	}
}

func (f *recvFile) checkpoint(land landing) {
	defer f.syncing.Done()
	durable, err := land.Checkpoint(f.s.ctx)
	f.mu.Lock()
	f.inSync = false
	f.mu.Unlock()
	if err != nil {
		if f.s.ctx.Err() == nil {
			f.refuse(err)
		}
		return
	}
	if len(durable) > 0 {
		f.s.send(f.id, wire.Ack{Durable: wireRanges(durable)})
	}
}

// takeCommit publishes, in a handler, and sends the receipt.
func (f *recvFile) takeCommit(m wire.Commit) error {
	f.mu.Lock()
	if f.commit || f.ended || (f.land == nil && f.acc.exists == nil) {
		f.mu.Unlock()
		return nil
	}
	if m.Size > maxFileSize {
		f.mu.Unlock()
		return protocolError("COMMIT of an impossible size")
	}
	f.commit = true
	f.busy, f.lastBusy = true, time.Now()
	f.mu.Unlock()
	return f.s.handler(func() {
		f.flushAck()
		r, err := f.publish(m)
		f.mu.Lock()
		f.busy = false
		f.mu.Unlock()
		if err != nil {
			f.refuse(err)
			return
		}
		f.tellUnkept()
		f.s.send(f.id, r)
		f.finish(outcome{state: f.acc.state, receipt: &r, root: crypto.Digest(m.RootHash), size: int64(m.Size)}, nil)
	})
}

// maxFileSize is 256 TiB (PROTOCOL.md, "Limits").
const maxFileSize = 1 << 48

func (f *recvFile) publish(m wire.Commit) (wire.Receipt, error) {
	// A commit that has begun is brought to its end, also where the session ends meanwhile: the receipt is in the
	// log and is replayed.
	ctx := context.WithoutCancel(f.s.ctx)
	root, size := crypto.Digest(m.RootHash), int64(m.Size)
	if f.acc.exists != nil {
		r, err := f.acc.exists(f.s.ctx, root, size) // nothing is published
		if err != nil {
			return wire.Receipt{}, err
		}
		return *r, nil
	}
	f.syncing.Wait()
	// It has not begun while holes are hashed, which costs a peer nothing to ask for.
	c := sink.Commit{Root: root, Size: size, Stop: func() error { return context.Cause(f.s.ctx) }}
	if m.Meta != nil {
		meta, err := sinkMetaOf(*m.Meta)
		if err != nil {
			return wire.Receipt{}, err
		}
		takeArchive(&meta, f.acc.meta)
		meta.Unkept = f.acc.meta.Unkept
		c.Meta = &meta
	}
	c.Sign = func(p sink.Published) ([]byte, error) {
		r, err := f.receiptOf(f.open, p)
		if err != nil {
			return nil, err
		}
		return wire.EncodeReceipt(r), nil
	}
	b, err := f.land.Publish(ctx, c)
	if err != nil {
		return wire.Receipt{}, err
	}
	f.mu.Lock()
	f.land = nil // its stage is gone
	f.mu.Unlock()
	return wire.DecodeReceipt(b)
}

// finish ends the transfer well.
func (f *recvFile) finish(o outcome, err error) {
	f.mu.Lock()
	if f.ended {
		f.mu.Unlock()
		return
	}
	f.ended = true
	f.land = nil
	done := f.finished
	f.mu.Unlock()
	f.acc.closeOld()
	f.s.mu.Lock()
	delete(f.s.recvs, f.id)
	f.s.mu.Unlock()
	if done != nil {
		done(o, err)
	}
}

// stop ends the transfer without a publication; the stage is parked, or discarded where keep is false.
func (f *recvFile) stop(keep bool, err error) {
	f.mu.Lock()
	if f.ended || (f.commit && f.busy) { // a publication that has begun decides itself
		f.mu.Unlock()
		return
	}
	f.ended = true
	land := f.land
	f.land = nil
	done := f.finished
	acc := f.acc
	f.mu.Unlock()
	acc.closeOld()
	f.s.mu.Lock()
	delete(f.s.recvs, f.id)
	f.s.mu.Unlock()
	if land != nil {
		var perr error
		if keep {
			perr = land.Park()
		} else {
			perr = land.Discard()
		}
		if perr != nil && !errors.Is(perr, sink.ErrFenced) {
			f.s.log.Debug("parking a stage", "err", perr)
		}
	}
	if done != nil {
		done(outcome{}, err)
	}
}

func (f *recvFile) fail(err error) { f.stop(true, err) }
func (f *recvFile) end(err error)  { f.stop(true, err) }

func sinkMeta(m wire.Meta) sink.Meta {
	out := sink.Meta{HasMode: m.HasMode, HasMTime: m.HasMTime}
	if m.HasMode {
		out.Mode = unixMode(m.Mode)
	}
	if m.HasMTime {
		out.MTime = time.Unix(0, m.MTimeNS)
	}
	return out
}
