package transfer

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v4"

	"xfer/transfer/wire"
)

// patience decides how long a run goes on over a bad network: exponential backoff from 200 ms to 10 s, started anew by any
// progress, and given up after retryFor without progress. Progress is that more is done than ever before in the run.
type patience struct {
	retryFor  time.Duration
	b         *backoff.ExponentialBackOff
	since     time.Time // of the last progress, or of the first try, without long work of the peer after it
	attempt   int       // since then
	connected bool      // since then
}

func newPatience(retryFor time.Duration) *patience {
	b := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(200*time.Millisecond), backoff.WithMultiplier(1.6), backoff.WithRandomizationFactor(0.3),
		backoff.WithMaxInterval(10*time.Second), backoff.WithMaxElapsedTime(0))
	return &patience{retryFor: retryFor, b: b, since: time.Now()}
}

// progressed is called with the time of the last progress.
func (p *patience) progressed(at time.Time) {
	if at.After(p.since) {
		p.since, p.attempt, p.connected = at, 0, false
		p.b.Reset()
	}
}

// worked is told from when to when the peer was at work in a session that was lost. Work that took retryFor or longer does not
// count as time without progress. It is no progress either: what surrounds it counts, and so there is an end to it.
func (p *patience) worked(from, to time.Time) {
	if p.since.After(from) {
		from = p.since
	}
	if d := to.Sub(from); p.retryFor > 0 && d >= p.retryFor {
		p.since = p.since.Add(d)
	}
}

func (p *patience) left() time.Duration { return p.retryFor - time.Since(p.since) }

// wait waits before the next try after err. It returns false when err is final, the patience is at its end, or ctx ended.
// tell is called with the time to wait.
func (p *patience) wait(ctx context.Context, err error, tell func(wait time.Duration, attempt int)) bool {
	if !retryable(err) || ctx.Err() != nil {
		return false
	}
	left := p.left()
	if left <= 0 {
		return false
	}
	p.attempt++
	d := p.b.NextBackOff()
	var pe *PeerError
	if errors.As(err, &pe) && pe.RetryAfter > 0 {
		d = min(pe.RetryAfter, time.Minute)
	}
	d = min(d, left)
	tell(d, p.attempt)
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// retryable tells whether another try may mend err: bad networks, busy servers, lost sessions.
func retryable(err error) bool {
	var pe *wire.ProtocolError
	if errors.As(err, &pe) {
		return false
	}
	switch KindOf(err) {
	case KindUnreachable, KindBusy, KindStalled:
		return true
	case KindOther:
		var lost *lostError
		return errors.As(err, &lost)
	}
	return false
}
