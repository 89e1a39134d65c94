package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"xfer/crypto"
	"xfer/transfer"
	"xfer/transfer/transport"
)

// engine is what the daemon needs of a transfer.Server.
type engine interface {
	Serve(ctx context.Context, c transport.Conn) error
	Drain(ctx context.Context) error
	Sessions() []transfer.SessionInfo
	Panics() int64
}

var _ engine = (*transfer.Server)(nil)

// cutGrace is what a session that is cut has to say why and to park, before its connection is closed under it.
const cutGrace = 2 * time.Second

// strangerWait is how long a key that is not enrolled waits for a place.
const strangerWait = 3 * time.Second

// conns are the live connections, each with a goroutine that serves it.
type conns struct {
	engine    engine
	log       *slog.Logger
	counts    *counts
	strangers *places[string] // "" for all of them, else by address
	limits    Limits
	all       sync.WaitGroup

	mu    sync.Mutex
	known map[crypto.PeerID]bool // keys that were enrolled at the last review
	live  map[*liveConn]struct{}
}

// liveConn is one of them.
type liveConn struct {
	peer     crypto.PeerID
	notAfter time.Time // end of the peer's certificate; zero: none
	cancel   context.CancelCauseFunc
}

func newConns(e engine, l Limits, log *slog.Logger, n *counts) *conns {
	return &conns{
		engine: e, log: log, counts: n, limits: l,
		strangers: newPlaces[string](1 << 20), // bounded by the number of connections
		live:      make(map[*liveConn]struct{}),
	}
}

// serve serves c in a goroutine of its own until it ends or ctx does; done is called after that.
func (s *conns) serve(ctx context.Context, c transport.Conn, done func()) {
	s.all.Go(func() {
		defer done()
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		lc := &liveConn{peer: c.Peer(), cancel: cancel}
		if certs := c.PeerCertificates(); len(certs) > 0 {
			lc.notAfter = certs[0].NotAfter
		}
		s.mu.Lock()
		s.live[lc] = struct{}{}
		known := s.known[lc.peer]
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			delete(s.live, lc)
			s.mu.Unlock()
		}()
		defer c.Close(0, "")
		defer closeLater(ctx, c)()
		if !known {
			leave, err := s.asStranger(ctx, hostOf(c.RemoteAddr().String()))
			if err != nil {
				s.log.Debug("too many connections of unknown keys, closed", "remote", c.RemoteAddr())
				return
			}
			defer leave()
		}
		err := s.guarded(ctx, c)
		s.log.Debug("connection ended", "remote", c.RemoteAddr(), "transport", c.Kind(), "err", err)
	})
}

// asStranger waits for a place for a key that is not enrolled: one of its address, then one of all.
func (s *conns) asStranger(ctx context.Context, host string) (leave func(), err error) {
	ofHost, err := s.strangers.take(ctx, "@"+host, s.limits.StrangersPerAddress, strangerWait)
	if err != nil {
		return nil, err
	}
	ofAll, err := s.strangers.take(ctx, "", s.limits.Strangers, strangerWait)
	if err != nil {
		ofHost()
		return nil, err
	}
	return func() { ofAll(); ofHost() }, nil
}

// closeLater closes c when ctx has ended for a while and nobody called stop.
func closeLater(ctx context.Context, c transport.Conn) (stop func()) {
	over := make(chan struct{})
	undo := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(cutGrace)
		defer timer.Stop()
		select {
		case <-timer.C:
			c.Close(0, "")
		case <-over:
		}
	})
	return func() { undo(); close(over) }
}

// guarded keeps a panic of one connection from ending the others, and counts it.
func (s *conns) guarded(ctx context.Context, c transport.Conn) (err error) {
	defer func() {
		if v := recover(); v != nil {
			s.counts.panics.Add(1)
			err = fmt.Errorf("panic: %v", v)
			s.log.Error("panic in a connection", "panic", v, "stack", string(debug.Stack()))
		}
	}()
	return s.engine.Serve(ctx, c)
}

// setKnown says which keys are enrolled now.
func (s *conns) setKnown(known map[crypto.PeerID]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = known
}

// cut ends the connections of the peers in why, each with its cause, and those whose certificate has expired. It
// returns how many.
func (s *conns) cut(why map[crypto.PeerID]error, now time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for lc := range s.live {
		cause := why[lc.peer]
		if cause == nil && !lc.notAfter.IsZero() && now.After(lc.notAfter) {
			cause = trustError("session", "the certificate of this key expired at %s", lc.notAfter.UTC().Format(time.RFC3339))
		}
		if cause != nil {
			lc.cancel(cause) // the first cause counts
			n++
		}
	}
	return n
}

func (s *conns) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.live)
}

// wait waits until the last connection has ended.
func (s *conns) wait(ctx context.Context) error {
	over := make(chan struct{})
	go func() { s.all.Wait(); close(over) }()
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return errors.New("some sessions did not end in time")
	}
}
