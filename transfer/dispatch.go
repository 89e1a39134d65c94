package transfer

import (
	"sync"
	"sync/atomic"

	"xfer/transfer/wire"
)

// dispatcher hands chunks of the open files to the streams that ask for them: pull, don't push. Files take turns, so
// that a small one does not wait behind a big one. Locks: d.mu before sendFile.mu.
type dispatcher struct {
	s       *session
	waiting atomic.Int64 // operations that wait for the peer

	mu      sync.Mutex
	cond    *sync.Cond
	files   []*sendFile
	turn    int
	window  int64 // bytes sent and not ACKed, at most
	unacked int64
	closed  bool
	dropped map[*stream]bool
}

// work is one chunk for one stream.
type work struct {
	f      *sendFile
	chunk  int64
	length int64
	offset int64 // bytes of it that the receiver kept of an earlier try
}

func newDispatcher(s *session) *dispatcher {
	d := &dispatcher{s: s, window: defaultWindow, dropped: map[*stream]bool{}}
	d.cond = sync.NewCond(&d.mu)
	return d
}

// defaultWindow is the most that may be on its way, in bytes (PROTOCOL.md, "Flow control").
const defaultWindow = 64 << 20

func (d *dispatcher) add(f *sendFile) {
	d.mu.Lock()
	d.files = append(d.files, f)
	d.mu.Unlock()
	d.cond.Broadcast()
}

func (d *dispatcher) remove(f *sendFile) {
	d.mu.Lock()
	for i, g := range d.files {
		if g == f {
			d.files = append(d.files[:i], d.files[i+1:]...)
			break
		}
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
		for i := range d.files {
			f := d.files[(d.turn+i)%len(d.files)]
			if w, ok := f.pop(st, d.window-d.unacked, d.unacked == 0); ok {
				d.turn = (d.turn + i + 1) % len(d.files)
				d.unacked += w.length
				return w, true
			}
		}
		d.cond.Wait()
	}
}

// dropStream gives the chunks that st carried, and that were not ACKed, back to the queue.
func (d *dispatcher) dropStream(st *stream) {
	d.mu.Lock()
	d.dropped[st] = true
	for _, f := range d.files {
		d.unacked -= f.requeue(st)
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
		err := w.f.sendChunk(st, w, b)
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
