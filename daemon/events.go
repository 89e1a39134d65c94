package daemon

import (
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"xfer/transfer"
)

// counts are totals since the start.
type counts struct {
	sessions, published, enrolled, refused, panics atomic.Int64
}

// observer writes the engine's events to the log and counts them.
type observer struct {
	log    *slog.Logger
	counts *counts
	ending func() // called when a session is about to end, while it is still among the engine's; may be nil
	flood  flood  // of refusals, which anybody can cause
}

func (o *observer) observe(e transfer.ServerEvent) {
	attrs := []any{"client", e.Client, "remote", e.Remote, "transport", e.Transport}
	if e.Session != "" {
		attrs = append(attrs, "session", e.Session)
	}
	if e.Err != nil && !errors.Is(e.Err, io.EOF) { // the peer said BYE and closed
		attrs = append(attrs, "err", e.Err)
	}
	switch e.Kind {
	case "session-start":
		o.counts.sessions.Add(1)
		o.log.Info("session start", attrs...)
	case "session-end":
		if o.ending != nil {
			o.ending()
		}
		o.log.Info("session end", append(attrs, "bytes", e.Bytes)...)
	case "published":
		o.counts.published.Add(1)
		o.log.Debug("published", append(attrs, "path", e.Path, "bytes", e.Bytes)...)
	case "refused":
		o.counts.refused.Add(1)
		if ofEnrolment(e.Err) {
			return // logged where it was decided, with the reason that the peer is not told
		}
		if ok, dropped := o.flood.allow(time.Now()); ok {
			if dropped > 0 {
				attrs = append(attrs, "dropped", dropped)
			}
			o.log.Warn("refused", attrs...)
		}
	case "enrolled", "panic": // whoever noticed it logged and counted it
	default:
		o.log.Debug(e.Kind, attrs...)
	}
}

func ofEnrolment(err error) bool {
	var e *transfer.Error
	return errors.As(err, &e) && e.Op == "enroll"
}

// floodLines is how many refusals a second are logged.
const floodLines = 10

// flood keeps a peer from filling the disk with log lines.
type flood struct {
	mu      sync.Mutex
	second  time.Time
	n       int
	dropped int
}

// allow tells whether a line may be written now, and how many were not since the last one that was.
func (f *flood) allow(now time.Time) (ok bool, dropped int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.second) >= time.Second {
		f.second, f.n = now, 0
	}
	if f.n >= floodLines {
		f.dropped++
		return false, 0
	}
	f.n++
	dropped, f.dropped = f.dropped, 0
	return true, dropped
}
