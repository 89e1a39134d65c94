package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"xfer/transfer/transport"
	"xfer/transfer/wire"
)

// Times of a session (PROTOCOL.md, "Keep-alive").
const (
	pingEvery   = 10 * time.Second
	deadAfter   = 45 * time.Second
	ackEvery    = 200 * time.Millisecond
	ackChunks   = 32
	maxOutQueue = 16 << 20 // bytes of control frames waiting for a peer that does not read
)

// session is one control stream and the data streams that joined it, on either side. It is soft state: all that a
// transfer needs to go on is in the receiver's stage. Both roles live in it: as a sender it has files in sends, as a
// receiver in recvs.
type session struct {
	conn   transport.Conn
	server bool
	id     wire.SessionID
	key    []byte // proves JOINs
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelCauseFunc
	ctl    *stream
	wg     sync.WaitGroup // every goroutine of the session

	caps []string // that both sides have
	link link     // what is sent over it

	onMessage func(h wire.Header, m wire.Message) error // what the two roles do not take
	panicked  func(v any)                               // a handler's panic; must not be nil

	disp  *dispatcher
	slots chan struct{} // handlers at work

	mu      sync.Mutex
	streams map[*stream]struct{}
	sends   map[uint32]*sendFile
	recvs   map[uint32]*recvFile

	treeSends map[uint32]*treeSend
	treeRecvs map[uint32]*treeRecv

	replies map[uint32]chan wire.Message
	works   map[uint32]workNote // requests of the peer that are worked on
	nextID  uint32
	nextNo  uint64
	closed  bool

	began     time.Time    // with a monotonic clock: the wall clock may jump
	progress  atomic.Int64 // ns since began, of the last sign of work from the peer
	heard     atomic.Int64 // ns since began, of the last frame
	bytesIn   atomic.Int64
	bytesOut  atomic.Int64
	blocked   atomic.Int64 // readers that wait for somebody here, not for the peer
	draining  atomic.Bool
	limitIn   func(ctx context.Context, n int) error // bandwidth, payload received; nil = none
	limitOut  func(ctx context.Context, n int) error
	pieceSize func() int // nil = by itself
}

// incoming is the chunk that a stream's DATA frames belong to until its LAST one.
type incoming struct {
	id    uint32
	chunk uint64
	next  uint32      // offset of the next piece
	old   bool        // what does not come is as in the old version
	w     chunkWriter // nil: pieces are dropped
	file  *recvFile
}

func newSession(ctx context.Context, conn transport.Conn, ctl transport.Stream, server bool, log *slog.Logger) *session {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &session{
		conn: conn, server: server, log: log, ctx: ctx, cancel: cancel,
		slots:   make(chan struct{}, maxHandlers),
		streams: map[*stream]struct{}{},
		sends:   map[uint32]*sendFile{},
		recvs:   map[uint32]*recvFile{},

		treeSends: map[uint32]*treeSend{},
		treeRecvs: map[uint32]*treeRecv{},

		replies: map[uint32]chan wire.Message{},
		works:   map[uint32]workNote{},
		nextNo:  1,
		nextID:  2,
		began:   time.Now(),
	}
	s.disp = newDispatcher(s)
	s.link.streams = s.streamCount
	s.ctl = newStream(ctl, nil, 0)
	s.streams[s.ctl] = struct{}{}
	return s
}

// agreed tells whether both sides have a capability.
func (s *session) agreed(c string) bool { return slices.Contains(s.caps, c) }

// agree takes the capabilities of the peer; mode is whether we compress.
func (s *session) agree(theirs []string, mode string) {
	s.caps = bothHave(theirs)
	if s.server && slices.Contains(theirs, wire.CapZstdOn) {
		mode = "on"
	}
	s.link.mode, s.link.agreed = mode, s.agreed(wire.CapZstd)
}

// bothHave returns the capabilities of the peer that we have as well.
func bothHave(theirs []string) []string {
	return slices.DeleteFunc(slices.Clone(theirs), func(c string) bool { return !slices.Contains(ourCaps, c) })
}

// now is the time since the session began, in ns.
func (s *session) now() int64 { return int64(time.Since(s.began)) }

// alive notes a sign of work.
func (s *session) alive() { s.progress.Store(s.now()) }

// ours runs f, which may have to wait for our disk, our bandwidth limit or our workers: that is no silence of the peer,
// whose next frame may lie unread meanwhile.
func (s *session) ours(f func() error) error {
	s.blocked.Add(1)
	began := s.now()
	defer func() {
		if now := s.now(); now-began > int64(ackEvery) {
			s.heard.Store(now)
			s.progress.Store(now)
		}
		s.blocked.Add(-1)
	}()
	return f()
}

// maxHandlers bounds the requests and commits that a session works on at once.
const maxHandlers = 64

// run serves the session until it ends, for whatever reason, and returns the reason. Everything is parked and all
// goroutines are gone when it returns. r is the reader of the control stream, with what it may hold.
func (s *session) run(r *wire.Reader) error {
	stop := context.AfterFunc(s.ctx, s.closeStreams)
	defer stop()
	s.goRun(func() { s.writeControl(s.ctl) })
	s.goRun(func() { s.sendLoop(s.ctl) })
	s.goRun(s.tick)
	err := s.guard(func() error { return s.readLoop(s.ctl, r) })
	var pe *wire.ProtocolError
	switch {
	case errors.As(err, &pe):
		s.fatal(err)
	case err != nil:
		s.cancel(err)
	default:
		s.cancel(io.EOF)
	}
	s.closeStreams()
	s.wg.Wait()
	s.endTransfers()
	return context.Cause(s.ctx)
}

// goRun starts f as a goroutine of the session, unless the session has ended. A panic in it ends this session alone.
func (s *session) goRun(f func()) bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.wg.Add(1)
	s.mu.Unlock()
	go func() {
		defer s.wg.Done()
		defer s.catch()
		f()
	}()
	return true
}

// guard turns a panic of f into an error.
func (s *session) guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.panicked(v)
			err = &Error{Op: "session", Kind: KindOther, Err: errors.New("internal error")}
		}
	}()
	return f()
}

func (s *session) catch() {
	if v := recover(); v != nil {
		s.panicked(v)
		s.cancel(&Error{Op: "session", Kind: KindOther, Err: errors.New("internal error")})
	}
}

// dispatch takes one control message. It must not block on the network.
func (s *session) dispatch(h wire.Header, m wire.Message) error {
	switch m := m.(type) {
	case wire.Ping:
		s.send(h.ID, wire.Pong(m))
		return nil
	case wire.Pong:
		s.reply(h.ID, m)
		return nil
	case wire.Bye:
		return io.EOF
	}
	s.alive()
	switch m := m.(type) {
	case wire.GoAway:
		s.draining.Store(true)
		s.disp.wakeAll()
		return nil
	case wire.Error:
		return s.takeError(h.ID, m)
	case wire.Opened, wire.Nack, wire.Receipt, wire.HashList:
		if f := s.sendOf(h.ID); f != nil {
			return f.take(m)
		}
		return nil // late, of a transfer that has ended
	case wire.Ack:
		if f := s.sendOf(h.ID); f != nil {
			return f.take(m)
		}
		return nil
	case wire.TreeOpened, wire.TreeVerdicts, wire.TreeAck, wire.TreeExtra, wire.TreeDeleted, wire.TreeReceipt:
		if t := s.treeSendOf(h.ID); t != nil {
			return t.take(m)
		}
		return nil
	case wire.TreePart, wire.TreeSkip, wire.TreeDelete, wire.TreeCommit, wire.TreeLeft:
		if t := s.treeRecvOf(h.ID); t != nil {
			return t.take(m)
		}
		return nil
	case wire.Commit, wire.Abort, wire.Hashes, wire.Zeros:
		if t := s.treeRecvOf(h.ID); t != nil {
			return t.take(m)
		}
		if f := s.recvOf(h.ID); f != nil {
			return f.take(m)
		}
		return nil
	case wire.Done, wire.Entries, wire.Stated, wire.Spaced:
		s.reply(h.ID, m)
		return nil
	}
	return s.onMessage(h, m)
}

func (s *session) takeError(id uint32, e wire.Error) error {
	err := errorOf(e)
	if id == 0 {
		return err
	}
	if f := s.sendOf(id); f != nil {
		f.fail(err)
		return nil
	}
	if f := s.recvOf(id); f != nil {
		f.fail(err)
		return nil
	}
	if t := s.treeSendOf(id); t != nil {
		t.fail(err)
		return nil
	}
	if t := s.treeRecvOf(id); t != nil {
		t.stop(err)
		return nil
	}
	s.reply(id, e)
	return nil
}

// request sends m and waits for the answer to it.
func (s *session) request(ctx context.Context, id uint32, m wire.Message) (wire.Message, error) {
	ch := make(chan wire.Message, 1)
	s.mu.Lock()
	if id == 0 {
		id = s.nextID
		s.nextID += 2
	}
	s.replies[id] = ch
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.replies, id)
		s.mu.Unlock()
	}()
	s.working(1)
	defer s.working(-1)
	s.send(id, m)
	select {
	case a := <-ch:
		if e, ok := a.(wire.Error); ok {
			return nil, errorOf(e)
		}
		return a, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-s.ctx.Done():
		return nil, s.lost()
	}
}

// sendError tells the peer what went wrong with id. What has no code of its own is logged here, since the peer learns
// nothing of it.
func (s *session) sendError(id uint32, err error) {
	m := wireError(err)
	if s.ctx.Err() != nil {
		return
	}
	if m.Code == wire.CodeInternal || m.Code == wire.CodeIOError {
		s.log.Warn("a request failed", "err", err)
	}
	s.send(id, m)
}

func (s *session) reply(id uint32, m wire.Message) {
	s.mu.Lock()
	ch := s.replies[id]
	s.mu.Unlock()
	if ch == nil {
		return
	}
	select {
	case ch <- m:
	default: // a second answer to one request
	}
}

// lost wraps why the session ended for those who wait in it.
func (s *session) lost() error { return &lostError{context.Cause(s.ctx)} }

// lostError says that the session ended under an operation; the operation may be tried again in another one.
type lostError struct{ cause error }

func (e *lostError) Error() string { return fmt.Sprintf("connection lost: %v", e.cause) }

func (e *lostError) Unwrap() error { return e.cause }

func (s *session) handle(get bool) uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.nextID
	s.nextID += 2
	if get {
		id++
	}
	return id
}

// awaits tells whether something that a client asked waits for a message with this id.
func (s *session) awaits(id uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.server && (s.replies[id] != nil || s.sends[id] != nil || s.recvs[id] != nil || s.treeSends[id] != nil || s.treeRecvs[id] != nil)
}

func (s *session) sendOf(id uint32) *sendFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sends[id]
}

func (s *session) recvOf(id uint32) *recvFile {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recvs[id]
}

func (s *session) treeSendOf(id uint32) *treeSend {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.treeSends[id]
}

func (s *session) treeRecvOf(id uint32) *treeRecv {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.treeRecvs[id]
}

// handler runs f in a goroutine once there is a slot; the reader of the stream waits for the slot.
func (s *session) handler(f func()) error {
	select {
	case s.slots <- struct{}{}:
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
	if !s.goRun(func() {
		defer func() { <-s.slots }()
		f()
	}) {
		<-s.slots
		return s.lost()
	}
	return nil
}

// working counts operations that wait for the peer; the stall timer runs only while there are any.
func (s *session) working(n int64) {
	if s.disp.waiting.Add(n) == n && n > 0 {
		s.alive()
	}
}

// tick keeps the session alive, flushes ACKs and starts checkpoints.
func (s *session) tick() {
	t := time.NewTicker(ackEvery / 2)
	defer t.Stop()
	lastPing := time.Now()
	for {
		select {
		case <-s.ctx.Done():
			return
		case now := <-t.C:
			if s.now()-s.heard.Load() > int64(deadAfter) && s.blocked.Load() == 0 {
				s.cancel(&Error{Op: "receive", Kind: KindUnreachable, Err: fmt.Errorf("nothing heard for %v", deadAfter)})
				return
			}
			if now.Sub(lastPing) >= pingEvery {
				lastPing = now
				s.send(0, wire.Ping{})
			}
			s.mu.Lock()
			list := make([]*recvFile, 0, len(s.recvs))
			for _, f := range s.recvs {
				list = append(list, f)
			}
			trees := slices.Collect(maps.Values(s.treeRecvs))
			s.mu.Unlock()
			s.atWork(now)
			for _, f := range list {
				f.tick(now)
			}
			for _, t := range trees {
				t.tick(now)
			}
		}
	}
}

// workNote says how many goroutines work on a request, and when the peer was last told so.
type workNote struct {
	n    int
	told time.Time
}

// worksOn notes that request id of the peer is worked on, until done is called.
func (s *session) worksOn(id uint32) (done func()) {
	s.beginWork(id)
	return func() { s.endWork(id) }
}

// beginWork and endWork are worksOn for the path of each piece.
func (s *session) beginWork(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.works[id]
	if w.n == 0 {
		w.told = time.Now()
	}
	w.n++
	s.works[id] = w
}

func (s *session) endWork(id uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.works[id]; w.n > 1 {
		w.n--
		s.works[id] = w
	} else {
		delete(s.works, id)
	}
}

// atWork tells the peer of requests that take long.
func (s *session) atWork(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, w := range s.works {
		if now.Sub(w.told) >= busyEvery {
			w.told = now
			s.works[id] = w
			s.send(id, wire.Ack{})
		}
	}
}

// endTransfers lets everything go that the session held: stages are parked, sources closed.
func (s *session) endTransfers() {
	s.mu.Lock()
	recvs, sends := s.recvs, s.sends
	s.recvs, s.sends = map[uint32]*recvFile{}, map[uint32]*sendFile{}
	s.mu.Unlock()
	for _, f := range recvs {
		f.end(s.lost())
	}
	for _, f := range sends {
		f.fail(s.lost())
	}
}

// fatal tells the peer why the session ends, and ends it.
func (s *session) fatal(err error) {
	s.send(0, wireError(err))
	s.cancel(err)
}

func protocolError(format string, a ...any) error {
	return &wire.ProtocolError{Code: wire.CodeProtocol, Msg: fmt.Sprintf(format, a...)}
}
