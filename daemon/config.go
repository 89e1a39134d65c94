package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"xfer/crypto"
	"xfer/transfer"
	"xfer/transfer/transport"
)

// DefaultListen is where a daemon listens when nothing is said: all addresses, the same number for TCP and UDP.
const DefaultListen = ":7419"

// RootConfig is one directory that is served under a name.
type RootConfig struct {
	Name         string        // 1 to 64 ASCII letters, digits, "-", "_" and ".", not beginning with "." or "-"
	Path         string        // the directory; made (0700) where it is missing
	KeepVersions int           // old versions kept of a replaced file, where a client asks for that; 0 = 10
	StageMaxAge  time.Duration // unfinished transfers without progress are removed after this; 0 = 14 days
}

// Config is what a daemon needs to know. New and Reload check it.
type Config struct {
	Listen     []string         // ADDR:PORT or :PORT; none = DefaultListen. Port 0 = one number that is free for TCP and UDP
	Transports []transport.Kind // none = TCP and QUIC
	Roots      []RootConfig     // the first is the default root; at least one
	Socket     string           // path of the control socket, of any length; "" = none
	Limits     Limits
	BWLimit    transfer.Limit // of all sessions together; up is what the daemon sends. nil = none
	// ClientBWLimit are limits of one client each, by its name, of all its sessions together.
	ClientBWLimit map[string]transfer.Limit
	Version       string       // of the program, for status and the engine's agent text
	Log           *slog.Logger // nil = none. Names in it are quoted
	// Ready is called once, when everything is served. May be nil.
	Ready func(ReadyInfo)
	// Reread returns the configuration as it is now, for a reload that was asked for over the control socket; nil: the
	// roots and clients alone are looked at again.
	Reread func() (Config, error)
	// DrainTimeout is how long sessions may take to end by themselves when the daemon stops; 0 = 5 s.
	DrainTimeout time.Duration

	// Sockets from outside (see Systemd). Where there is one of Listeners (TCP) or PacketConns (UDP), Listen is not
	// used; where there is Control, Socket is not. Run closes them.
	Listeners   []net.Listener
	PacketConns []net.PacketConn
	Control     net.Listener

	NotifySocket string        // where to tell a service manager of our state; "" = nowhere
	Watchdog     time.Duration // the service manager wants a sign of life at least so often; 0 = no
}

// ReadyInfo is what a daemon serves.
type ReadyInfo struct {
	Listen     []string         // host:port with the real port number, each once
	Transports []transport.Kind // in the order of the configuration
	Identity   crypto.PeerID
}

// Limits bound what peers can take. A zero field has its default.
type Limits struct {
	Sessions    int           // live sessions of one client, 8
	SessionWait time.Duration // how long one more waits for a place before it is told to come again, 3 s
	WaitQueue   int           // how many of a client may wait, 256

	Connections int // in all, 4096; further ones are accepted when one ends
	// Strangers are connections of keys that are not enrolled (they may only send ENROLL): in all, 64, and of one
	// address, 16.
	Strangers           int
	StrangersPerAddress int
	FailedEnrolments    int // of one address a minute, 60

	Handshakes       int           // TLS handshakes in progress, 256
	PerAddress       int           // of one address, 16
	HandshakeTimeout time.Duration // 10 s, absolute

	Engine transfer.Limits // of sessions and memory; zero fields have the engine's defaults
}

func (l Limits) withDefaults() Limits {
	set(&l.Sessions, 8)
	set(&l.SessionWait, 3*time.Second)
	set(&l.WaitQueue, 256)
	set(&l.Connections, 4096)
	set(&l.Strangers, 64)
	set(&l.StrangersPerAddress, 16)
	set(&l.FailedEnrolments, 60)
	set(&l.Handshakes, 256)
	set(&l.PerAddress, 16)
	set(&l.HandshakeTimeout, 10*time.Second)
	return l
}

func set[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

func (l Limits) check() error {
	for _, f := range []struct {
		name string
		v    int64
	}{
		{"sessions", int64(l.Sessions)}, {"session wait", int64(l.SessionWait)}, {"wait queue", int64(l.WaitQueue)},
		{"connections", int64(l.Connections)}, {"strangers", int64(l.Strangers)},
		{"strangers per address", int64(l.StrangersPerAddress)}, {"failed enrolments", int64(l.FailedEnrolments)},
		{"handshakes", int64(l.Handshakes)}, {"handshakes per address", int64(l.PerAddress)},
		{"handshake timeout", int64(l.HandshakeTimeout)},
	} {
		if f.v <= 0 {
			return fmt.Errorf("limits: %s must be above 0", f.name)
		}
	}
	return nil
}

// maxListen and maxRoots bound what one daemon serves.
const (
	maxListen = 64
	maxRoots  = 1024
)

// checked returns c with its defaults, or what is wrong with it.
func (c Config) checked() (Config, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	set(&c.DrainTimeout, 5*time.Second)
	if len(c.Listen) == 0 {
		c.Listen = []string{DefaultListen}
	}
	if len(c.Transports) == 0 {
		c.Transports = []transport.Kind{transport.TCP, transport.QUIC}
	}
	c.Limits = c.Limits.withDefaults()
	for _, check := range []func() error{c.Limits.check, c.checkListen, c.checkRoots} {
		if err := check(); err != nil {
			return Config{}, err
		}
	}
	return c, nil
}

func (c Config) checkListen() error {
	if len(c.Listen) > maxListen {
		return fmt.Errorf("%d listen addresses, at most %d", len(c.Listen), maxListen)
	}
	for i, a := range c.Listen {
		if _, port, err := splitListen(a); err != nil {
			return err
		} else if port != "0" && slices.Contains(c.Listen[:i], a) {
			return fmt.Errorf("listen address %q is given twice", a)
		}
	}
	for i, k := range c.Transports {
		if k != transport.TCP && k != transport.QUIC {
			return fmt.Errorf("transport %q: want tcp or quic", k)
		}
		if slices.Contains(c.Transports[:i], k) {
			return fmt.Errorf("transport %q is given twice", k)
		}
	}
	return nil
}

func (c Config) checkRoots() error {
	if len(c.Roots) == 0 {
		return errors.New("no root to serve")
	}
	if len(c.Roots) > maxRoots {
		return fmt.Errorf("%d roots, at most %d", len(c.Roots), maxRoots)
	}
	seen := make(map[string]bool)
	for _, r := range c.Roots {
		if err := checkRootName(r.Name); err != nil {
			return err
		}
		if seen[r.Name] {
			return fmt.Errorf("root %q is given twice", r.Name)
		}
		seen[r.Name] = true
		if r.Path == "" || strings.IndexByte(r.Path, 0) >= 0 {
			return fmt.Errorf("root %q: no directory", r.Name)
		}
		if r.KeepVersions < 0 || r.StageMaxAge < 0 {
			return fmt.Errorf("root %q: a negative limit", r.Name)
		}
	}
	return nil
}

// checkRootName keeps root names to what is the same on every system, in every shell and as a path component.
func checkRootName(name string) error {
	bad := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}
	if name == "" || len(name) > 64 || name[0] == '.' || name[0] == '-' || strings.ContainsFunc(name, bad) {
		return fmt.Errorf("root name %q: want 1 to 64 letters, digits, '-', '_' and '.', the first a letter, digit or '_'", name)
	}
	return nil
}

// within tells whether the cleaned absolute path p is dir or lies in it.
func within(p, dir string) bool {
	rel, err := filepath.Rel(dir, p)
	return err == nil && (rel == "." || filepath.IsLocal(rel))
}
