package transfer

import (
	"slices"
	"sync"
	"sync/atomic"

	"xfer/transfer/wire"
)

// dispatcher hands work to the streams that ask for it: pull, don't push. There are two lanes, which take turns: the chunks of
// files that were opened by themselves, and the packs of small ones. So neither waits behind the other; within a lane files, or
// trees, take turns. Locks: d.mu before those of feeders.
type dispatcher struct {
	s       *session
	waiting atomic.Int64 // operations that wait for the peer

	mu      sync.Mutex
	cond    *sync.Cond
	lanes   [2]lane
	last    int   // the lane that had the last turn
	window  int64 // bytes sent and not ACKed, at most
	unacked int64
	closed  bool
	dropped map[*stream]bool
}

// lane has feeders that take turns.
type lane struct {
	feeders []feeder
	turn    int
}

const (
	fileLane = iota
	packLane
)

// feeder is a file, or the small files of a tree: what has work for the streams. Both methods are called with the
// dispatcher's lock.
type feeder interface {
	// pop gives the next work to st if it is at most room bytes (or anyway, with force).
	pop(st *stream, room int64, force bool) (work, bool)
	// requeue takes back what st carried, which is lost, and returns the bytes.
	requeue(st *stream) int64
}

// work is what one stream sends at a time: a chunk or a pack.
type work struct {
	from interface {
		send(st *stream, b *sendBuffer) error
	}
	length int64
}

// chunkWork is one chunk for one stream.
type chunkWork struct {
	f      *sendFile
	chunk  int64
	length int64
	offset int64 // bytes of it that the receiver kept of an earlier try
}

func (w *chunkWork) send(st *stream, b *sendBuffer) error { return w.f.sendChunk(st, *w, b) }

func newDispatcher(s *session) *dispatcher {
	d := &dispatcher{s: s, window: defaultWindow, dropped: map[*stream]bool{}}
	d.cond = sync.NewCond(&d.mu)
	return d
}

// defaultWindow is the most that may be on its way, in bytes (PROTOCOL.md, "Flow control").
const defaultWindow = 64 << 20

func (d *dispatcher) add(n int, f feeder) {
	d.mu.Lock()
	l := &d.lanes[n]
	l.feeders = append(l.feeders, f)
	d.mu.Unlock()
	d.cond.Broadcast()
}

func (d *dispatcher) remove(f feeder) {
	d.mu.Lock()
	for i := range d.lanes {
		l := &d.lanes[i]
		l.feeders = slices.DeleteFunc(l.feeders, func(g feeder) bool { return g == f })
	}
	d.mu.Unlock()
	d.cond.Broadcast()
}

// wakeAll lets the streams look again. The lock is taken so that nobody is between looking and waiting.
func (d *dispatcher) wakeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cond.Broadcast()
}

func (d *dispatcher) release(bytes int64) {
	d.mu.Lock()
	d.unacked -= bytes
	d.mu.Unlock()
	d.cond.Broadcast()
}

func (d *dispatcher) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.cond.Broadcast()
}

// next blocks until there is a chunk for st; ok is false when st or the session ends.
func (d *dispatcher) next(st *stream) (w work, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		if d.closed || d.dropped[st] {
			return work{}, false
		}
		for i := range d.lanes {
			n := (d.last + 1 + i) % len(d.lanes)
			if w, ok := d.lanes[n].next(st, d.window-d.unacked, d.unacked == 0); ok {
				d.last = n
				d.unacked += w.length
				return w, true
			}
		}
		d.cond.Wait()
	}
}

func (l *lane) next(st *stream, room int64, force bool) (work, bool) {
	for i := range l.feeders {
		f := l.feeders[(l.turn+i)%len(l.feeders)]
		if w, ok := f.pop(st, room, force); ok {
			l.turn = (l.turn + i + 1) % len(l.feeders)
			return w, true
		}
	}
	return work{}, false
}

// dropStream gives the chunks that st carried, and that were not ACKed, back to the queue.
func (d *dispatcher) dropStream(st *stream) {
	d.mu.Lock()
	d.dropped[st] = true
	for _, l := range d.lanes {
		for _, f := range l.feeders {
			d.unacked -= f.requeue(st)
		}
	}
	d.mu.Unlock()
	d.cond.Broadcast()
}

// forget is called when nobody asks for st any more.
func (d *dispatcher) forget(st *stream) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.dropped, st)
}

// sendLoop sends chunks on st until the stream or the session ends.
func (s *session) sendLoop(st *stream) {
	var b *sendBuffer
	for {
		w, ok := s.disp.next(st)
		if !ok {
			return
		}
		if b == nil {
			b = newSendBuffer()
		}
		err := w.from.send(st, b)
		if err == nil {
			continue
		}
		if st == s.ctl {
			s.cancel(netError("write", err))
		}
		return
	}
}

// pieceFor is how many bytes go into one DATA frame: what the stream carries in about 100 ms, so that a control frame
// never waits long behind it.
func (s *session) pieceFor() int {
	if s.pieceSize != nil {
		return min(max(s.pieceSize(), 4<<10), wire.MaxPayload)
	}
	return wire.MaxPayload
}
