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

// sendFile is the sender's side of one attempt of one transfer: OPEN, the chunks, COMMIT, until the receipt.
type sendFile struct {
	s    *session
	id   uint32
	src  source
	log2 uint8
	one  bool // at most one chunk: it goes on the control stream with the COMMIT right behind it

	dense  bool // the receiver has no use for holes
	sparse bool // the OPEN says that holes are kept; they go as ZEROS

	onAcked   func(bytes int64)       // payload the receiver has taken
	onZeros   func(bytes int64)       // holes the receiver has made
	onResumed func(bytes int64)       // it had before
	onSent    func(bytes int64)       // payload written
	verify    bool                    // compare what the receiver had with the source
	onDurable func(bytes int64)       // called durable by the receiver; may be nil
	onOpened  func(st wire.OpenState) // may be nil
	onUnkept  func(u sink.Unkept)     // what the receiver could not set; may be nil

	opened  chan wire.Opened
	hashes  chan wire.HashList
	receipt chan wire.Receipt
	failed  chan struct{} // closed by the first fail
	ready   chan struct{} // closed when all chunks are ACKed (or, with one, sent)

	mu       sync.Mutex
	err      error
	total    int64 // chunks, -1 = not known yet
	todo     []int64span
	parts    map[int64]int64
	inflight map[int64]flight
	acked    chunkSet
	durable  chunkSet // of those, what was called durable; only with onDurable
	cvs      cvTable
	known    chunkSet // which of cvs are set
	holes    chunkSet // chunks that are told in ZEROS, with sparse only
	untold   int64    // the holes from here on were not told yet
	awaited  chunkSet // holes that were told and not ACKed
	zeros    chunkSet // chunks that are zeros and have no CV in cvs: holes, and what the receiver holds as zeros
	isReady  bool
	nacks    int
	delta    *delta // nil where there is no old version to compare with

	told time.Time // of the last sign of life; run alone uses it
}

type int64span struct{ start, count int64 }

type flight struct {
	st     *stream
	length int64
}

// outcome is how a transfer ended well.
type outcome struct {
	state   wire.OpenState
	receipt *wire.Receipt
	root    crypto.Digest
	size    int64
}

func (s *session) newSendFile(id uint32, src source, log2 uint8) *sendFile {
	f := &sendFile{
		s: s, id: id, src: src, log2: log2,
		opened: make(chan wire.Opened, 1), hashes: make(chan wire.HashList, hashesAhead), receipt: make(chan wire.Receipt, 1),
		failed: make(chan struct{}), ready: make(chan struct{}),
		total: -1, parts: map[int64]int64{}, inflight: map[int64]flight{}, cvs: cvTable{},
		onAcked: func(int64) {}, onZeros: func(int64) {}, onResumed: func(int64) {}, onSent: func(int64) {},
	}
	if n := src.Size(); n >= 0 {
		f.total = chunkCount(n, log2)
		f.one = f.total <= 1
		if _, pipe := src.(*pipeSource); pipe {
			f.one = false
		}
	}
	return f
}

// run does the whole transfer. It leaves nothing behind in the session.
func (f *sendFile) run(ctx context.Context, open wire.Open) (outcome, error) {
	s := f.s
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return outcome{}, s.lost()
	}
	if s.sends[f.id] != nil {
		s.mu.Unlock()
		return outcome{}, protocolError("handle %d is in use", f.id)
	}
	s.sends[f.id] = f
	s.mu.Unlock()
	s.working(1)
	defer s.working(-1)
	defer func() {
		s.mu.Lock()
		delete(s.sends, f.id)
		s.mu.Unlock()
		s.disp.remove(f)
		f.mu.Lock()
		left := int64(0)
		for _, fl := range f.inflight {
			left += fl.length
		}
		f.inflight = map[int64]flight{}
		f.todo = nil
		f.mu.Unlock()
		s.disp.release(left)
	}()
	out, err := f.steps(ctx, open)
	if err != nil {
		f.fail(err) // ends chunks that are being sent
		var lost *lostError
		var pe *PeerError
		switch {
		case errors.As(err, &lost):
		case errors.As(err, &pe):
		case s.server: // the ERROR that the client gets says more
		case errors.Is(err, errSourceChanged):
			s.send(f.id, wire.Abort{Keep: false, Code: wire.CodeSourceChanged})
		default:
			s.send(f.id, wire.Abort{Keep: true, Code: wire.CodeStreamLost})
		}
	}
	return out, err
}

func (f *sendFile) steps(ctx context.Context, open wire.Open) (outcome, error) {
	f.keepHoles(&open)
	f.s.send(f.id, open)
	opened, err := wait(ctx, f, f.opened)
	if err != nil {
		return outcome{}, err
	}
	if f.onOpened != nil {
		f.onOpened(opened.State)
	}
	if err := f.checkOpened(open, opened); err != nil {
		return outcome{}, err
	}
	switch opened.State {
	case wire.StateSame, wire.StateDone:
		if err := f.checkContent(ctx, open, opened); err != nil {
			return outcome{}, err
		}
		return outcome{state: opened.State, receipt: opened.Receipt, size: f.src.Size()}, nil
	case wire.StateExists:
		root, err := hashSource(f.src, func() error { f.atWork(); return ctx.Err() })
		if err != nil {
			return outcome{}, err
		}
		return f.commit(ctx, opened.State, root)
	case wire.StateNew, wire.StatePartial, wire.StateChanged:
	default:
		return outcome{}, protocolError("OPENED with state %d", opened.State)
	}
	if err := f.findHoles(ctx); err != nil {
		return outcome{}, err
	}
	if err := f.resume(ctx, opened); err != nil {
		return outcome{}, err
	}
	if f.s.agreed(wire.CapDelta) {
		f.mu.Lock()
		f.delta = f.newDelta(opened.Old)
		f.mu.Unlock()
	}
	if pipe, ok := f.src.(*pipeSource); ok {
		pipe.attach(f.grow)
		defer pipe.detach()
	}
	f.mu.Lock()
	f.tellZeros()
	f.mu.Unlock()
	f.s.disp.add(fileLane, f)
	f.check()
	if err := f.untilReady(ctx); err != nil {
		return outcome{}, err
	}
	if err := f.src.Changed(); err != nil {
		return outcome{}, err
	}
	root, err := f.root(ctx)
	if err != nil {
		return outcome{}, err
	}
	if open.RootHash != nil && *open.RootHash != wire.Hash(root) {
		// It was hashed before: either it changed unseen since, or the receiver held chunks of something else.
		return outcome{}, fmt.Errorf("what was sent is not what was hashed before: %w", errSourceChanged)
	}
	return f.commit(ctx, opened.State, root)
}

// checkOpened sees that an answer that ends the transfer at once fits what was asked.
func (f *sendFile) checkOpened(open wire.Open, o wire.Opened) error {
	compared := open.Compare != wire.CompareNone || f.s.server // a client compares as it likes
	switch o.State {
	case wire.StateSame:
		if !compared || open.Size == wire.UnknownSize {
			return protocolError("OPENED says that the file is there, which was not asked")
		}
		if r := o.Receipt; r != nil && (r.Size != open.Size || open.RootHash != nil && r.RootHash != *open.RootHash) {
			return &Error{Op: "open", Kind: KindVerify, Err: errors.New("the receipt is for other content")}
		}
	case wire.StateExists:
		if open.Size == wire.UnknownSize {
			return protocolError("OPENED wants to compare a file of unknown size")
		}
	case wire.StateDone:
		if o.Receipt.Transfer != open.Transfer || f.src.Size() < 0 {
			return &Error{Op: "open", Kind: KindVerify, Err: errors.New("the receipt is for another transfer")}
		}
		if o.Receipt.Size != uint64(f.src.Size()) || open.RootHash != nil && o.Receipt.RootHash != *open.RootHash {
			return fmt.Errorf("another version of it has arrived: %w", errSourceChanged)
		}
	}
	return nil
}

// checkContent sees that a receipt that came without anything being sent is for what the source has now. It reads the source
// again; that is rare: the link was lost between the publishing and the receipt.
func (f *sendFile) checkContent(ctx context.Context, open wire.Open, o wire.Opened) error {
	if o.Receipt == nil || open.RootHash != nil || f.s.server || f.isPipe() {
		return nil
	}
	root, err := hashSource(f.src, func() error { f.atWork(); return ctx.Err() })
	if err != nil {
		return err
	}
	if o.Receipt.RootHash != wire.Hash(root) {
		return fmt.Errorf("another version of it has arrived: %w", errSourceChanged)
	}
	return nil
}

// untilReady waits until all is sent.
func (f *sendFile) untilReady(ctx context.Context) error {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-f.ready:
			return nil
		case <-f.failed:
			return f.failure()
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-f.s.ctx.Done():
			return f.s.lost()
		case <-t.C:
			if f.starves() { // it is not the peer that we wait for
				f.s.alive()
			}
		}
	}
}

// starves tells whether all is sent that was read so far of a pipe.
func (f *sendFile) starves() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.total < 0 && len(f.todo) == 0 && len(f.inflight) == 0
}

func (f *sendFile) commit(ctx context.Context, st wire.OpenState, root crypto.Digest) (outcome, error) {
	size := f.src.Size()
	f.s.send(f.id, wire.Commit{RootHash: wire.Hash(root), Size: uint64(size), Fingerprint: f.src.Fingerprint()})
	r, err := wait(ctx, f, f.receipt)
	if err != nil {
		return outcome{}, err
	}
	if r.RootHash != wire.Hash(root) || r.Size != uint64(size) {
		return outcome{}, &Error{Op: "commit", Kind: KindVerify, Err: errors.New("the receipt is for other content")}
	}
	return outcome{state: st, receipt: &r, root: root, size: size}, nil
}

func wait[T any](ctx context.Context, f *sendFile, ch chan T) (T, error) {
	var zero T
	select {
	case m := <-ch:
		return m, nil
	case <-f.failed:
		return zero, f.failure()
	case <-ctx.Done():
		return zero, context.Cause(ctx)
	case <-f.s.ctx.Done():
		return zero, f.s.lost()
	}
}

func (f *sendFile) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
		close(f.failed)
	}
}

func (f *sendFile) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

func (f *sendFile) setCV(i int64, cv crypto.CV) {
	f.cvs.set(i, cv)
	f.known.add(i)
}

// root is the hash of the whole file, of the CVs.
func (f *sendFile) root(ctx context.Context) (crypto.Digest, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if pipe, ok := f.src.(*pipeSource); ok && f.total == 1 {
		return pipe.firstRoot(), nil
	}
	tick := func() error {
		f.atWork()
		if f.s.ctx.Err() != nil {
			return f.s.lost()
		}
		return context.Cause(ctx)
	}
	whole := f.total
	if f.src.Size()&(1<<f.log2-1) != 0 {
		whole-- // the last chunk is shorter
	}
	var join crypto.Joiner
	for i := int64(0); i < f.total; {
		switch n := min(f.zeros.end(i), whole) - i; {
		case n > 0:
			f.mu.Unlock() // beyond what the constants cover it takes a while
			err := join.AddZeros(uint64(n), f.log2, tick)
			f.mu.Lock()
			if err != nil {
				return crypto.Digest{}, err
			}
			i += n
			continue
		case f.zeros.has(i):
			join.Add(crypto.ZeroCV(uint64(i), f.log2, chunkLen(f.src.Size(), f.log2, i)))
		default:
			join.Add(f.cvs.get(i))
		}
		i++
	}
	return join.Root(), nil
}

// grow is told by a pipeSource of a chunk that was read, or of the end.
func (f *sendFile) grow(chunk int64, end bool) {
	f.mu.Lock()
	if end {
		if n := f.src.Size(); n >= 0 {
			f.total = chunkCount(n, f.log2)
		} else {
			f.mu.Unlock()
			f.fail(localError("read", "-", f.src.Changed()))
			return
		}
	} else if !f.acked.has(chunk) {
		f.todo = append(f.todo, int64span{chunk, 1})
	}
	acked := !end && f.acked.has(chunk)
	f.mu.Unlock()
	if acked {
		f.src.Acked(chunk)
	}
	f.check()
	f.s.disp.wakeAll()
}

// pop gives the next chunk to st if it is at most room bytes (or anyway, with force). Called with the dispatcher's lock.
func (f *sendFile) pop(st *stream, room int64, force bool) (work, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil && f.delta != nil {
		if w, ok, hold := f.popDelta(st, room, force); ok || hold {
			return w, ok
		}
	}
	if f.err != nil || len(f.todo) == 0 || (f.one && st.no != 0) {
		return work{}, false
	}
	i := f.todo[0].start
	n := f.lenOf(i)
	if n > room && !force {
		return work{}, false
	}
	f.takeTodo()
	f.inflight[i] = flight{st, n}
	off := f.parts[i]
	delete(f.parts, i)
	return work{from: &chunkWork{f: f, chunk: i, length: n, offset: off}, length: n}, true
}

// again puts a chunk back that did not arrive; it is sent whole then. f.mu is held.
func (f *sendFile) again(i int64) {
	if f.delta != nil {
		f.delta.plain[i] = true
	}
	f.todo = append(f.todo, int64span{i, 1})
}

// takeTodo takes the first chunk off the list. f.mu is held.
func (f *sendFile) takeTodo() {
	f.todo[0].start++
	if f.todo[0].count--; f.todo[0].count == 0 {
		f.todo = f.todo[1:]
	}
}

// lenOf returns the length of a chunk; 0 for one of a pipe that is not in memory.
func (f *sendFile) lenOf(i int64) int64 {
	if p, ok := f.src.(*pipeSource); ok {
		return p.lenOf(i)
	}
	return chunkLen(f.src.Size(), f.log2, i)
}

// requeue puts what st carried back; it returns the bytes. Called with the dispatcher's lock.
func (f *sendFile) requeue(st *stream) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	bytes := int64(0)
	for i, fl := range f.inflight {
		if fl.st == st {
			delete(f.inflight, i)
			bytes += fl.length
			f.again(i)
		}
	}
	return bytes
}

// take takes a message of the receiver for this transfer.
func (f *sendFile) take(m wire.Message) error {
	switch m := m.(type) {
	case wire.Opened:
		offer(f.opened, m)
	case wire.HashList:
		if !m.Old {
			offer(f.hashes, m)
			break
		}
		err := f.takeOld(m)
		f.s.disp.wakeAll()
		return err
	case wire.Receipt:
		offer(f.receipt, m)
	case wire.Ack:
		return f.takeAck(m)
	case wire.Nack:
		f.takeNack(m)
	}
	return nil
}

func offer[T any](ch chan T, m T) {
	select {
	case ch <- m:
	default: // one too many: not asked for
	}
}

func (f *sendFile) takeAck(m wire.Ack) error {
	if f.onDurable != nil && !f.isPipe() {
		f.onDurable(f.newlyDurable(m.Durable))
	}
	if f.onUnkept != nil && m.Unkept != 0 {
		f.onUnkept(unkeptOf(m.Unkept))
	}
	var bytes int64
	var list []int64
	f.mu.Lock()
	zeros, told := f.ackZeros(m.Received)
	for i, fl := range f.inflight { // not over the ranges: they may claim any number of chunks
		if !covers(m.Received, uint64(i)) {
			continue
		}
		if !f.known.has(i) { // its last piece, with the CV that the root is made of, has not been written
			f.mu.Unlock()
			return protocolError("ACK of chunk %d, which was not sent", i)
		}
		delete(f.inflight, i)
		bytes += fl.length
		f.acked.add(i)
		list = append(list, i)
	}
	f.mu.Unlock()
	for _, i := range list {
		f.src.Acked(i)
	}
	if zeros > 0 {
		f.onZeros(zeros)
	}
	if bytes > 0 {
		f.s.disp.release(bytes)
		f.onAcked(bytes)
	}
	if bytes > 0 || told {
		f.check()
	}
	return nil
}

// newlyDurable returns how many bytes are in ranges that no ACK has called durable before: each has all that are.
func (f *sendFile) newlyDurable(ranges wire.Ranges) (bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.total {
		if ranges.Contains(uint64(i)) && f.durable.add(i) {
			bytes += f.lenOf(i)
		}
	}
	return bytes
}

// takeNack sends a chunk again that did not verify, or that was lost on the receiver's disk.
func (f *sendFile) takeNack(m wire.Nack) {
	i := int64(m.Chunk)
	f.mu.Lock()
	fl, ok := f.inflight[i]
	if ok {
		delete(f.inflight, i)
		f.again(i)
		f.nacks++
	}
	many := f.nacks > maxNacks
	f.mu.Unlock()
	if !ok {
		return
	}
	f.s.disp.release(fl.length)
	if many {
		f.fail(&Error{Op: "send", Kind: KindVerify, Err: errors.New("chunks arrive damaged again and again")})
	}
}

// maxNacks is how many damaged chunks a transfer may have in one attempt.
const maxNacks = 64

// check closes ready when nothing is left to send.
func (f *sendFile) check() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.isReady || f.total < 0 {
		return
	}
	if f.acked.count >= f.total && f.awaited.count == 0 && f.holes.next(f.untold) < 0 {
		f.isReady = true
		close(f.ready)
	}
}
