package transporttest

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errCut is what the reads and writes of a cut socket say.
var errCut = errors.New("transporttest: the connection was cut")

// Faults are what is wrong with the network of a Pair. They act on the bytes below TLS, of all its connections in
// both directions together, and may be changed at any time. Offsets count from the call.
type Faults struct {
	mu        sync.Mutex // guards the following
	hole      bool
	lifted    chan struct{} // closed when hole ends
	delay     time.Duration
	cutAt     int64 // bytes until the cut, < 0: none
	corruptAt int64 // bytes until the one that is flipped, < 0: none
	lose      int   // each lose-th datagram is lost, 0: none
	datagrams int
	passed    int64
	cuts      map[int]func()
	nextCut   int
}

func newFaults() *Faults {
	return &Faults{lifted: make(chan struct{}), cutAt: -1, corruptAt: -1, cuts: make(map[int]func())}
}

// CutNow breaks all live connections, once: later ones are well. On TCP both ends see a reset; on QUIC the client's
// socket fails and the server hears nothing more; in memory the pipe is closed.
func (f *Faults) CutNow() {
	f.mu.Lock()
	f.cutAt = -1
	cuts := f.cuts
	f.cuts = make(map[int]func())
	f.mu.Unlock()
	for _, cut := range cuts {
		cut()
	}
}

// CutAfter does as CutNow when n bytes more have passed.
func (f *Faults) CutAfter(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cutAt = max(n, 0)
}

// CorruptAt flips a bit of the byte n bytes further on. TLS notices: on TCP and in memory the connection breaks, on
// QUIC the datagram counts as lost.
func (f *Faults) CorruptAt(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.corruptAt = max(n, 0)
}

// Delay makes everything take d longer, in each direction.
func (f *Faults) Delay(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay = d
}

// Lose drops each n-th datagram on QUIC; 0 ends it.
func (f *Faults) Lose(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose = n
}

// Blackhole, while on, lets nothing through and tells nobody: datagrams are lost, streams stand still and go on
// afterwards, dials wait.
func (f *Faults) Blackhole(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case on && !f.hole:
		f.lifted = make(chan struct{})
	case !on && f.hole:
		close(f.lifted)
	}
	f.hole = on
}

// Passed is how many bytes went through so far, below TLS and in both directions.
func (f *Faults) Passed() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.passed
}

// heal ends all faults.
func (f *Faults) heal() {
	f.Blackhole(false)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.delay, f.lose, f.cutAt, f.corruptAt = 0, 0, -1, -1
}

// pass waits until there is no hole.
func (f *Faults) pass(ctx context.Context) error {
	for {
		f.mu.Lock()
		hole, lifted := f.hole, f.lifted
		f.mu.Unlock()
		if !hole {
			return nil
		}
		select {
		case <-lifted:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// onCut registers what a cut has to do for one connection; the result takes it back.
func (f *Faults) onCut(cut func()) (forget func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := f.nextCut
	f.nextCut++
	f.cuts[id] = cut
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.cuts, id)
	}
}

// touch applies the faults to b, which it may change. keep is how much of b goes on, and cut tells that the cut comes
// behind it. at is when it arrives.
func (f *Faults) touch(b []byte) (keep int, cut bool, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	keep = len(b)
	if f.cutAt >= 0 {
		if f.cutAt <= int64(keep) {
			keep, cut = int(f.cutAt), true
			f.cutAt = -1
		} else {
			f.cutAt -= int64(keep)
		}
	}
	if f.corruptAt >= 0 {
		if f.corruptAt < int64(keep) {
			b[f.corruptAt] ^= 0x20
			f.corruptAt = -1
		} else {
			f.corruptAt -= int64(keep)
		}
	}
	f.passed += int64(keep)
	return keep, cut, time.Now().Add(f.delay)
}

// lost tells whether the next datagram is lost.
func (f *Faults) lost() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hole {
		return true
	}
	f.datagrams++
	return f.lose > 0 && f.datagrams%f.lose == 0
}
