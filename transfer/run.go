package transfer

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"xfer/transfer/sink"
	"xfer/transfer/transport"
	"xfer/transfer/wire"
)

// run is one call of Send, Get, Check: a queue of tasks worked on over as many sessions as it takes.
type run[T any] struct {
	c    *Client
	ctx  context.Context
	m    *meter
	q    *queue[T]
	pat  *patience
	do   func(ctx context.Context, cs *clientSession, t T) error
	path func(t T) string

	cs   *clientSession
	last *clientSession // cs, or the one before it was lost
	big  chan struct{}  // slots for large files
}

func newRun[T any](ctx context.Context, c *Client) *run[T] {
	m := newMeter(c.Observe, c.Options.Progress)
	return &run[T]{c: c, ctx: ctx, m: m, q: newQueue[T](), pat: newPatience(c.Options.RetryFor), big: make(chan struct{}, bigFiles)}
}

// Workers: so many small files may be under way, so that the round trips of one are hidden behind the others, but only a few
// large ones.
const (
	defaultTransfers = 64
	bigFiles         = 4
	bigFile          = 4 << 20
)

func (r *run[T]) workers() int {
	if n := r.c.Options.Transfers; n > 0 {
		return min(n, 512)
	}
	return defaultTransfers
}

// session returns a live session, dialling with patience where there is none. Every final error has its kind.
func (r *run[T]) session() (*clientSession, error) {
	for {
		if r.cs != nil && r.cs.ctx.Err() == nil && !r.cs.draining.Load() {
			return r.cs, nil
		}
		if r.cs != nil {
			r.cs.close()
			r.cs = nil
		}
		cs, err := r.connect()
		if err == nil {
			r.cs, r.last = cs, cs
			r.pat.connected = true
			r.m.mu.Lock()
			r.m.r.Transport, r.m.r.Peer = string(cs.conn.Kind()), cs.conn.Peer().String()
			r.m.tell(Event{Kind: EventStart, Transport: r.m.r.Transport, Peer: r.m.r.Peer})
			r.m.mu.Unlock()
			return cs, nil
		}
		if !r.again(err) {
			return nil, r.final(err)
		}
	}
}

// connect dials, and dials again no longer than our patience lasts.
func (r *run[T]) connect() (*clientSession, error) {
	if r.pat.attempt == 0 {
		return r.c.connect(r.ctx)
	}
	left := max(r.pat.left(), time.Second)
	ctx, cancel := context.WithTimeout(r.ctx, left)
	defer cancel()
	cs, err := r.c.connect(ctx)
	if err != nil && ctx.Err() != nil && r.ctx.Err() == nil {
		err = &Error{Op: "dial", Kind: KindUnreachable, Err: fmt.Errorf("no answer within %v", left.Round(100*time.Millisecond))}
	}
	return cs, err
}

// lasted sees that it costs no patience when the peer was at work for as long as we are patient: nothing may have come of it
// yet, but the network was good.
func (r *run[T]) lasted(cs *clientSession) {
	r.pat.progressed(r.m.progressAt())
	r.pat.worked(cs.began, cs.began.Add(time.Duration(cs.progress.Load())))
}

// again waits before the next try; false when there is none.
func (r *run[T]) again(err error) bool {
	r.pat.progressed(r.m.progressAt())
	if KindOf(err) == KindStalled {
		r.pat.connected = true // it was, or there would have been nothing to stall
	}
	return r.pat.wait(r.ctx, err, func(wait time.Duration, attempt int) {
		r.m.mu.Lock()
		defer r.m.mu.Unlock()
		r.m.r.Retries++
		r.m.tell(Event{Kind: EventRetry, Wait: wait, Attempt: attempt, Err: err})
	})
}

// final gives the error that ends the run its kind.
func (r *run[T]) final(err error) error {
	if r.ctx.Err() != nil {
		return &Error{Op: "transfer", Kind: KindInterrupted, Err: context.Cause(r.ctx)}
	}
	if retryable(err) && r.pat.connected && KindOf(err) != KindBusy {
		return &Error{Op: "transfer", Kind: KindStalled, Err: err}
	}
	return asProtocol(err)
}

// with runs f in a session, again where the session is lost under it.
func (r *run[T]) with(f func(cs *clientSession) error) error {
	for {
		cs, err := r.session()
		if err != nil {
			return err
		}
		err = f(cs)
		if err == nil {
			return nil
		}
		if r.ctx.Err() != nil || !retryable(err) {
			return r.final(err)
		}
		r.lasted(cs)
		if !r.again(err) {
			return r.final(err)
		}
	}
}

// work empties the queue.
func (r *run[T]) work() error {
	return r.with(func(cs *clientSession) error {
		r.q.start()
		ctx, cancel := context.WithCancelCause(r.ctx)
		defer cancel(nil)
		stop := context.AfterFunc(ctx, r.q.stop)
		defer stop()
		stopSession := context.AfterFunc(cs.ctx, r.q.stop)
		defer stopSession()
		var wg sync.WaitGroup
		for range r.workers() {
			wg.Go(func() { r.worker(ctx, cs, cancel) })
		}
		wg.Wait()
		if err := context.Cause(ctx); err != nil && ctx.Err() != nil {
			return err
		}
		if r.q.left() {
			return cs.lost()
		}
		return nil
	})
}

func (q *queue[T]) left() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items) > 0 || q.producers > 0 || q.active > 0
}

func (r *run[T]) worker(ctx context.Context, cs *clientSession, cancel context.CancelCauseFunc) {
	for {
		if cs.draining.Load() {
			cancel(&Error{Op: "send", Kind: KindBusy, Err: errors.New("the server is going down")})
			return
		}
		t, ok := r.q.get()
		if !ok {
			return
		}
		err := asProtocol(r.try(ctx, cs, t))
		again := false
		switch {
		case err == nil:
		case ctx.Err() != nil:
			again = true
		case retryable(err):
			again = true
			cancel(err)
		case endsRun(err):
			cancel(withPath(err, r.path(t)))
		default:
			r.fail(t, err)
		}
		r.q.done(t, again)
		if again {
			return
		}
	}
}

// try does one task, again where the source changed under it: five quick tries.
func (r *run[T]) try(ctx context.Context, cs *clientSession, t T) error {
	for i := 0; ; i++ {
		err := r.do(ctx, cs, t)
		if KindOf(err) != KindSourceChanged && !errors.Is(err, errSourceChanged) {
			return err
		}
		if i == sourceTries-1 && errors.Is(err, sink.ErrRootMismatch) {
			return &Error{Op: "get", Path: r.path(t), Kind: KindVerify, Err: errors.New("what the server sent is not what it committed to")}
		}
		if i == sourceTries-1 {
			return &Error{Op: "send", Path: r.path(t), Kind: KindSourceChanged, Err: fmt.Errorf("%w, %d times", errSourceChanged, sourceTries)}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-cs.ctx.Done():
			return cs.lost()
		case <-time.After(100 * time.Millisecond << i):
		}
	}
}

const sourceTries = 5

// endsRun tells which failures of one file are failures of all.
func endsRun(err error) bool {
	switch KindOf(err) {
	case KindNoSpace, KindTrust, KindProtocol, KindInterrupted:
		return true
	}
	return false
}

// fail notes a file that could not be done; the others go on.
func (r *run[T]) fail(t T, err error) {
	r.m.failed(fileError(err, r.path(t)))
}

// end makes the error of the whole run of those of its files. single: the user named one file.
func (r *run[T]) end(err error) (Result, error) {
	if r.cs != nil {
		r.cs.close()
	}
	res := r.m.finish()
	if err != nil {
		return res, err
	}
	if res.ErrorCount == 0 {
		return res, nil
	}
	same, vanished := true, true
	for _, e := range res.Errors {
		same = same && e.Kind == res.Errors[0].Kind
		vanished = vanished && e.Kind == KindVanished
	}
	switch {
	case res.ErrorCount == 1 && res.Files == 0:
		return res, res.Errors[0]
	case vanished && res.Files > 0:
		return res, &Error{Op: "transfer", Kind: KindVanished, Err: fmt.Errorf("%d files vanished before they were read; the rest arrived", res.ErrorCount)}
	case same && res.Files == 0 && res.ErrorCount <= maxListed:
		return res, &Error{Op: "transfer", Kind: res.Errors[0].Kind, Err: fmt.Errorf("%d files failed; the first: %w", res.ErrorCount, res.Errors[0])}
	}
	return res, &Error{Op: "transfer", Kind: KindPartial, Err: fmt.Errorf("%d files failed, %d arrived; the first failure: %w", res.ErrorCount, res.Files, res.Errors[0])}
}

// undone takes back what an attempt had counted that failed. At the end of the run it stays: it is kept for the next one.
func (r *run[T]) undone(n int64) {
	if r.ctx.Err() == nil {
		r.m.undone(n)
	}
}

// receiptFrom keeps a receipt for the user.
func (r *run[T]) receiptFrom(w *wire.Receipt, rootName string) {
	if w != nil && r.c.Options.Receipts {
		r.m.receipt(receiptOf(*w))
	}
}

// slot takes a place for a large file.
func (r *run[T]) slot(ctx context.Context, size int64) (release func(), err error) {
	if size < bigFile || r.c.Options.Transfers > 0 {
		return func() {}, nil
	}
	select {
	case r.big <- struct{}{}:
		return func() { <-r.big }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// streamsFor is how many data streams a file of size bytes is worth beyond the control stream; each one is a connection of its
// own. On TCP four are never slower than fewer, not even on one core. On QUIC each one takes memory for what it may have
// received, so nearby, where nothing is lost, there are as many as cores can work on them.
func (cs *clientSession) streamsFor(size int64) int {
	if n := cs.c.Options.Streams; n > 0 {
		return min(n-1, 63)
	}
	most := maxStreams
	if cs.conn.Kind() == transport.QUIC && cs.rtt < nearby {
		most = min(most, runtime.GOMAXPROCS(0))
	}
	switch {
	case size >= 0 && size < 2<<20:
		most = 1
	case size >= 0 && size < 16<<20:
		most = min(most, 2)
	}
	return most - 1
}

const (
	maxStreams = 4                    // of a session, if nobody says how many
	nearby     = 5 * time.Millisecond // the round trip time to a peer in the same house, who may be busy
)
