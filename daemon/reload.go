package daemon

import (
	"fmt"
	"slices"
	"strings"
)

// Reload takes the roots and limits of cfg over and looks at the clients at once. Everything else of cfg (addresses,
// transports, the control socket, the engine's limits) counts from the next start on; the log says so where it
// differs. After an error the old configuration is in force, and the log says that too.
func (s *Server) Reload(cfg Config) error {
	s.notify(notifyReloading)
	defer s.notify(notifyReady)
	err := s.reload(cfg)
	if err != nil {
		s.log.Error("reload failed, the old configuration stays in force", "err", err)
		return fmt.Errorf("the old configuration stays in force: %w", err)
	}
	select {
	case s.look <- struct{}{}:
	default: // a look is due anyway
	}
	return nil
}

func (s *Server) reload(cfg Config) error {
	cfg, err := cfg.checked()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	did, err := s.loadRoots(cfg.Roots)
	if err != nil {
		return err
	}
	later := laterOnly(s.cfg, cfg)
	for _, name := range did.kept {
		later = append(later, "options of root "+name)
	}
	s.cfg.Roots = cfg.Roots
	s.policy.setLimits(cfg.Limits)
	s.policy.setRates(cfg.BWLimit, cfg.ClientBWLimit)
	s.log.Info("reloaded", "roots", len(cfg.Roots))
	if len(later) > 0 {
		s.log.Warn("changes that count from the next start on", "of", strings.Join(later, ", "))
	}
	return nil
}

// loadRoots is roots.load that says which directories it made: where that is a surprise, a disk is not mounted.
func (s *Server) loadRoots(cfgs []RootConfig) (loaded, error) {
	did, err := s.roots.load(cfgs)
	for _, name := range did.made {
		s.log.Warn("the directory of a root was missing and is made; is its disk there?", "root", name)
	}
	return did, err
}

// laterOnly names what differs between the configurations and cannot be changed while the daemon runs.
func laterOnly(old, now Config) (what []string) {
	add := func(differs bool, name string) {
		if differs {
			what = append(what, name)
		}
	}
	add(!slices.Equal(old.Listen, now.Listen), "listen addresses")
	add(!slices.Equal(old.Transports, now.Transports), "transports")
	add(old.Socket != now.Socket, "control socket")
	add(old.DrainTimeout != now.DrainTimeout, "drain timeout")
	a, b := old.Limits, now.Limits
	a.Sessions, a.SessionWait = b.Sessions, b.SessionWait
	add(a != b, "limits other than those of sessions")
	return what
}
