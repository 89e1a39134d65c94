package daemon

import (
	"context"
	"slices"
	"time"

	"xfer/crypto"
)

// Times of what the daemon does by itself. A session whose access ended is cut at the latest after two looks and
// cutGrace; with entries that cannot be read among the clients' one look later.
const (
	lookEvery  = 2 * time.Second
	renewEvery = time.Hour
	cleanEvery = 24 * time.Hour
)

// watch looks every lookEvery, and when it is asked to, at who may still be here, and tells the service manager that
// the daemon is alive. last is the look before.
func (s *Server) watch(ctx context.Context, last *review) {
	every := lookEvery
	if s.cfg.Watchdog > 0 {
		every = min(every, s.cfg.Watchdog/2)
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-s.look:
		}
		last = s.review(last)
		s.meter.sample(s.engine.Sessions, time.Now())
		if s.cfg.Watchdog > 0 {
			s.notify(notifyAlive)
		}
	}
}

// review ends the sessions that have more than they may have, and those of expired certificates.
func (s *Server) review(last *review) *review {
	r := s.policy.review(last)
	if last == nil || !slices.EqualFunc(r.errs, last.errs, func(a, b error) bool { return a.Error() == b.Error() }) {
		for _, err := range r.errs {
			s.log.Error("a client that cannot be used has no access", "err", err)
		}
	}
	known := make(map[crypto.PeerID]bool, len(r.clients))
	for id := range r.clients {
		known[id] = true
	}
	s.conns.setKnown(known)
	for id, why := range r.cut {
		s.log.Warn("sessions are cut", "client", r.names[id], "peer", id.String(), "err", why)
	}
	s.conns.cut(r.cut, time.Now())
	return r
}

// upkeep renews our certificate and removes abandoned stages.
func (s *Server) upkeep(ctx context.Context) {
	renew, clean := time.NewTicker(renewEvery), time.NewTicker(cleanEvery)
	defer renew.Stop()
	defer clean.Stop()
	s.clean(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-renew.C:
			switch done, err := s.renew(); {
			case err != nil:
				s.log.Error("the certificate cannot be renewed", "err", err, "end", s.id.NotAfter())
			case done:
				s.log.Info("certificate renewed", "end", s.id.NotAfter())
			}
		case <-clean.C:
			s.clean(ctx)
		}
	}
}

// clean removes what nobody came back for, root by root.
func (s *Server) clean(ctx context.Context) {
	list, put := s.roots.get()
	defer put()
	for _, r := range list {
		if ctx.Err() != nil {
			return
		}
		n, err := r.dir.CleanUp(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.Warn("clean up", "root", r.name, "removed", n, "err", err)
		case n > 0:
			s.log.Info("abandoned transfers removed", "root", r.name, "removed", n)
		}
	}
}
