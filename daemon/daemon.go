package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"xfer/certs"
	"xfer/crypto"
	"xfer/daemon/control"
	"xfer/transfer"
	"xfer/transfer/sink"
	"xfer/transfer/transport"
)

// Server is a daemon. New makes it, one Run uses it up.
type Server struct {
	cfg    Config // Roots and Limits are those of the last good load; guarded by mu once Run has begun
	log    *slog.Logger
	book   book
	id     *crypto.Identity
	renew  func() (bool, error)
	roots  *roots
	policy *policy
	engine engine
	conns  *conns
	counts *counts
	tell   notifier
	meter  meter
	look   chan struct{} // asks for a review now

	mu        sync.Mutex
	started   time.Time
	listeners []served
	running   bool
	draining  bool
}

// ErrRan is returned by Run when it was called before.
var ErrRan = errors.New("daemon: Run was called twice")

// New checks cfg, makes or loads the identity in store, and opens the roots. The caller closes store when Run has
// returned. A daemon that is not run has to be closed with Close.
func New(cfg Config, store *certs.Store) (*Server, error) { return build(cfg, store, openRoot) }

func build(cfg Config, store *certs.Store, open func(real string, cfg RootConfig) (rootDir, error)) (*Server, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	id, err := store.Identity()
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:    cfg,
		log:    slog.New(quoting{cfg.Log.Handler()}),
		book:   store,
		id:     id,
		renew:  func() (bool, error) { return store.RenewIfDue(id) },
		roots:  &roots{open: open},
		counts: &counts{},
		tell:   notifier{cfg.NotifySocket},
		look:   make(chan struct{}, 1),
	}
	s.cfg.Log = s.log
	s.policy = newPolicy(s.book, s.roots, cfg.Limits, s.log, s.counts)
	s.policy.setRates(cfg.BWLimit, cfg.ClientBWLimit)
	o := &observer{log: s.log, counts: s.counts, ending: func() { s.meter.sample(s.engine.Sessions, time.Now()) }}
	s.engine = &transfer.Server{
		Identity: id, Policy: s.policy, Agent: "xfer " + cfg.Version, Log: s.log, Limits: cfg.Limits.Engine, Observe: o.observe,
	}
	s.conns = newConns(s.engine, cfg.Limits, s.log, s.counts)
	if _, err := s.loadRoots(cfg.Roots); err != nil {
		return nil, err
	}
	return s, nil
}

func openRoot(real string, cfg RootConfig) (rootDir, error) {
	return sink.OpenDir(real, sink.Options{Path: real, KeepDoneLog: true, KeepVersions: cfg.KeepVersions, StageMaxAge: cfg.StageMaxAge})
}

// Close releases the roots of a daemon that was never run.
func (s *Server) Close() error { return s.roots.close() }

// Run serves until ctx ends. Then it drains: no new sessions, GOAWAY to those that live, what is in flight is parked
// on disk; it returns nil when all of that is done. It returns an error at once where something cannot be served
// (control.ErrRunning: by another daemon), and later when a listener breaks.
func (s *Server) Run(ctx context.Context) (err error) {
	s.mu.Lock()
	if s.running {
		s.mu.Unlock()
		return ErrRan
	}
	s.running, s.started = true, time.Now()
	s.mu.Unlock()
	defer func() { err = errors.Join(err, s.roots.close()) }()

	// Everything that is served is open before anything is served.
	door, err := s.door()
	if err != nil {
		closeSockets(s.cfg)
		return err
	}
	listeners, err := listenAll(s.cfg, s.id)
	if err != nil {
		if door != nil {
			door.Close()
		}
		return err
	}
	s.mu.Lock()
	s.listeners = listeners
	s.mu.Unlock()

	broken := make(chan error, 1) // the first failure of a part
	fail := func(err error) {
		if err != nil {
			select {
			case broken <- err:
			default:
			}
		}
	}
	// Three lives: accepting ends first, then the sessions, then what watches them and tells of them.
	accepting, stopAccepting := context.WithCancel(context.WithoutCancel(ctx))
	defer stopAccepting()
	sessions, stopSessions := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopSessions(nil)
	service, stopService := context.WithCancel(context.WithoutCancel(ctx))
	defer stopService()

	var keepers, acceptors sync.WaitGroup
	first := s.review(nil)
	if door != nil {
		keepers.Go(func() { fail(control.Serve(service, door, backend{s}, s.log)) })
	}
	keepers.Go(func() { s.watch(service, first) })
	keepers.Go(func() { s.upkeep(service) })
	room := make(chan struct{}, s.cfg.Limits.Connections-1+len(listeners)) // one that accepts holds a place already
	for _, l := range listeners {
		acceptors.Go(func() {
			fail(acceptFrom(accepting, l, room, func(c transport.Conn) {
				s.conns.serve(sessions, c, func() { <-room })
			}))
		})
	}
	s.ready()

	select {
	case <-ctx.Done():
		err = nil
	case err = <-broken:
		s.log.Error("the daemon stops: a part of it broke", "err", err)
	}
	s.notify(status(notifyStopping, "stopping"))
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	stopAccepting()
	err = errors.Join(err, closeAll(listeners))
	acceptors.Wait()
	err = errors.Join(err, s.drain(context.WithoutCancel(ctx), stopSessions))
	stopService()
	keepers.Wait()
	s.log.Info("stopped")
	return err
}

// drain ends the sessions: first kindly, then with a cause that tells the clients to come again, then for good.
func (s *Server) drain(ctx context.Context, stop context.CancelCauseFunc) error {
	s.log.Info("draining", "sessions", len(s.engine.Sessions()), "timeout", s.cfg.DrainTimeout.String())
	kindly, cancel := context.WithTimeout(ctx, s.cfg.DrainTimeout)
	defer cancel()
	if err := s.engine.Drain(kindly); err != nil {
		s.log.Debug("sessions were still at work when their time was over", "err", err)
	}
	stop(busyError("session", comeAgain()))
	last, cancel := context.WithTimeout(ctx, cutGrace+10*time.Second)
	defer cancel()
	return s.conns.wait(last)
}

// ready says that everything is served.
func (s *Server) ready() {
	listen := addresses(s.listeners)
	s.log.Info("ready", "listen", listen, "transports", s.kinds(), "identity", s.id.ID())
	if s.cfg.Ready != nil {
		s.cfg.Ready(ReadyInfo{Listen: listen, Transports: s.kinds(), Identity: s.id.ID()})
	}
	s.notify(status(notifyReady, "serving "+fmt.Sprint(listen)))
}

// kinds are the transports that are served, in the order of the configuration.
func (s *Server) kinds() (list []transport.Kind) {
	for _, k := range s.cfg.Transports {
		if slices.ContainsFunc(s.listeners, func(l served) bool { return l.kind == k }) {
			list = append(list, k)
		}
	}
	return list
}

func (s *Server) notify(state string) {
	if err := s.tell.send(state); err != nil {
		s.log.Warn("the service manager cannot be told", "err", err)
	}
}
