package transfer

import (
	"context"
	"sync"
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

// limiters returns the hooks of a session for the client's limits; nil ones where there are none.
func (c *Client) limiters() (in, out func(context.Context, int) error, piece func() int) {
	f := c.Options.BWLimit
	if f == nil {
		return nil, nil, nil
	}
	down := &bandwidth{limit: func(t time.Time) int64 { _, d := f(t); return d }}
	up := &bandwidth{limit: func(t time.Time) int64 { u, _ := f(t); return u }}
	return down.wait, up.wait, func() int {
		u, _ := f(time.Now())
		if u <= 0 {
			return wire.MaxPayload
		}
		return int(min(u/20, wire.MaxPayload))
	}
}
