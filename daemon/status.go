package daemon

import (
	"context"
	"math"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"xfer/daemon/control"
	"xfer/transfer"
)

// backend is the daemon behind the control socket.
type backend struct{ s *Server }

var _ control.Backend = backend{}

// Reload implements control.Backend.
func (b backend) Reload(context.Context) error {
	b.s.mu.Lock()
	cfg, reread := b.s.cfg, b.s.cfg.Reread
	b.s.mu.Unlock()
	if reread != nil {
		var err error
		if cfg, err = reread(); err != nil {
			b.s.log.Error("reload failed, the old configuration stays in force", "err", err)
			return err
		}
	}
	return b.s.Reload(cfg)
}

// Status implements control.Backend.
func (b backend) Status(context.Context) (control.Status, error) { return b.s.Status(), nil }

// Status says what the daemon is doing. Safe for concurrent use.
func (s *Server) Status() control.Status {
	now := time.Now()
	s.mu.Lock()
	listeners, kinds, started, draining := s.listeners, s.kinds(), s.started, s.draining
	version := s.cfg.Version
	s.mu.Unlock()
	st := control.Status{
		Version: version, Identity: s.id.ID().String(), PID: os.Getpid(), Started: started.UTC(),
		UptimeS:   int64(now.Sub(started).Seconds()),
		Listeners: []control.Listener{}, Transports: []string{}, Sessions: []control.Session{}, Roots: []control.Root{},
		Connections: s.conns.count(), Waiting: s.policy.sessions.waiting(),
		CertificateEnd:  s.id.NotAfter().UTC(),
		CertificateDays: int(math.Floor(s.id.NotAfter().Sub(now).Hours() / 24)),
		Panics:          s.engine.Panics() + s.counts.panics.Load(),
		Draining:        draining,
	}
	for _, l := range listeners {
		st.Listeners = append(st.Listeners, control.Listener{Transport: string(l.kind), Address: l.Addr().String()})
	}
	for _, k := range kinds {
		st.Transports = append(st.Transports, string(k))
	}
	for _, i := range s.meter.sample(s.engine.Sessions, now) {
		st.Sessions = append(st.Sessions, control.Session{
			ID: i.ID, Client: i.Client, Peer: i.Peer.String(), Remote: i.Remote, Transport: i.Transport, Since: i.Since.UTC(),
			Streams: i.Streams, Transfers: i.Transfers, BytesIn: i.BytesIn, BytesOut: i.BytesOut,
		})
	}
	slices.SortFunc(st.Sessions, func(a, b control.Session) int {
		if c := a.Since.Compare(b.Since); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	clients, _ := s.book.Clients()
	for _, c := range clients {
		if !c.Expired(now) {
			st.Clients++
		}
	}
	st.Roots = s.rootStatus()
	st.Rates, st.Totals.BytesIn, st.Totals.BytesOut = s.meter.read()
	st.Totals.Sessions, st.Totals.Published = s.counts.sessions.Load(), s.counts.published.Load()
	st.Totals.Enrolled, st.Totals.Refused = s.counts.enrolled.Load(), s.counts.refused.Load()
	return st
}

func (s *Server) rootStatus() []control.Root {
	list, put := s.roots.get()
	defer put()
	out := make([]control.Root, 0, len(list))
	for _, r := range list {
		e := control.Root{Name: r.name, Path: r.real}
		free, total, err := r.dir.Space()
		if err != nil {
			e.Error = err.Error()
		} else {
			e.Free, e.Total = free, total
		}
		out = append(out, e)
	}
	return out
}

// meterWindow is the least time over which a rate is taken.
const meterWindow = time.Second

// meter makes rates and totals of what live sessions count. A session is sampled for the last time when it ends.
// Safe for concurrent use; the zero value is ready.
type meter struct {
	mu      sync.Mutex
	at      time.Time
	last    map[string][2]int64 // by session
	in, out int64               // since the start
	since   [2]int64            // in and out at the time of at
	rates   control.Rates
}

// sample takes the sessions' counters, and returns the sessions. It asks for them under its lock: an older answer that
// is counted after a newer one would count twice.
func (m *meter) sample(ask func() []transfer.SessionInfo, now time.Time) []transfer.SessionInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	sessions := ask()
	next := make(map[string][2]int64, len(sessions))
	for _, s := range sessions {
		was := m.last[s.ID]
		m.in += max(s.BytesIn-was[0], 0)
		m.out += max(s.BytesOut-was[1], 0)
		next[s.ID] = [2]int64{s.BytesIn, s.BytesOut}
	}
	m.last = next
	d := now.Sub(m.at)
	switch {
	case m.at.IsZero():
		m.at, m.since = now, [2]int64{m.in, m.out}
	case d >= meterWindow:
		m.rates = control.Rates{In: float64(m.in-m.since[0]) / d.Seconds(), Out: float64(m.out-m.since[1]) / d.Seconds()}
		m.at, m.since = now, [2]int64{m.in, m.out}
	}
	return sessions
}

func (m *meter) read() (r control.Rates, in, out int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rates, m.in, m.out
}

// door opens the control socket, or takes the one that was passed; nil: there is none.
func (s *Server) door() (net.Listener, error) {
	switch {
	case s.cfg.Control != nil:
		return s.cfg.Control, nil
	case s.cfg.Socket == "":
		return nil, nil
	}
	return control.Listen(s.cfg.Socket)
}

// closeSockets closes those that came from outside.
func closeSockets(c Config) {
	for _, l := range c.Listeners {
		l.Close()
	}
	for _, p := range c.PacketConns {
		p.Close()
	}
}
