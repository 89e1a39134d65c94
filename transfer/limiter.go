package transfer

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"xfer/transfer/wire"
)

// bandwidth holds payload to a rate that may change with the time of day.
type bandwidth struct {
	limit func(now time.Time) int64

	mu  sync.Mutex
	lim *rate.Limiter
	now int64
}

// wait blocks until n bytes may pass.
func (b *bandwidth) wait(ctx context.Context, n int) error {
	lim := b.limiter()
	for lim != nil && n > 0 {
		take := min(n, lim.Burst())
		if err := lim.WaitN(ctx, take); err != nil {
			return err
		}
		n -= take
	}
	return nil
}

// limiter returns the limiter for the rate of this moment, nil for none. A burst is a tenth of a second's worth, so that
// the limit holds from the start.
func (b *bandwidth) limiter() *rate.Limiter {
	want := b.limit(time.Now())
	b.mu.Lock()
	defer b.mu.Unlock()
	if want == b.now {
		return b.lim
	}
	b.now = want
	switch {
	case want <= 0:
		b.lim = nil
	default: // a new one: those who wait at the old one rely on its burst
		b.lim = rate.NewLimiter(rate.Limit(want), burst(want))
	}
	return b.lim
}

func burst(perSecond int64) int {
	return int(min(max(perSecond/10, 1024), wire.MaxPayload))
}

// Bandwidth holds the payload of all the sessions that have it to one Limit together. Safe for concurrent use.
type Bandwidth struct {
	limit    atomic.Pointer[Limit]
	up, down bandwidth
}

// NewBandwidth returns a Bandwidth of limit; nil is none.
func NewBandwidth(limit Limit) *Bandwidth {
	b := &Bandwidth{}
	b.up.limit = func(now time.Time) int64 { u, _ := b.at(now); return u }
	b.down.limit = func(now time.Time) int64 { _, d := b.at(now); return d }
	b.Set(limit)
	return b
}

// Set replaces the limit, for the sessions that live too. What waits at the old one waits to its end.
func (b *Bandwidth) Set(limit Limit) { b.limit.Store(&limit) }

func (b *Bandwidth) at(now time.Time) (up, down int64) {
	if l := *b.limit.Load(); l != nil {
		return l(now)
	}
	return 0, 0
}

// hold makes a session keep to all of list.
func (s *session) hold(list []*Bandwidth) {
	if len(list) == 0 {
		return
	}
	through := func(of func(*Bandwidth) *bandwidth) func(context.Context, int) error {
		return func(ctx context.Context, n int) error {
			for _, b := range list {
				if err := of(b).wait(ctx, n); err != nil {
					return err
				}
			}
			return nil
		}
	}
	s.limitIn = through(func(b *Bandwidth) *bandwidth { return &b.down })
	s.limitOut = through(func(b *Bandwidth) *bandwidth { return &b.up })
	s.pieceSize = func() int {
		piece := int64(wire.MaxPayload)
		for _, b := range list {
			if up, _ := b.at(time.Now()); up > 0 {
				piece = min(piece, up/20)
			}
		}
		return int(piece)
	}
}
