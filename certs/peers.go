package certs

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strings"
	"time"

	"xfer/crypto"
)

// Peer is a server that we dial and whose key we know.
type Peer struct {
	Addr  string // HOST:PORT, as HostPort spells it
	ID    crypto.PeerID
	Name  string // ours there; may be empty
	Added time.Time
}

// hostsTOML is known_hosts.toml.
type hostsTOML struct {
	Host []hostTOML `toml:"host"`
}

type hostTOML struct {
	Addr  string        `toml:"addr"`
	ID    crypto.PeerID `toml:"id"`
	Name  string        `toml:"name,omitempty"`
	Added time.Time     `toml:"added"`
}

const maxPeers = 4096

// parseHosts reads known_hosts.toml. path is for messages.
func parseHosts(path string, data []byte) ([]Peer, error) {
	var t hostsTOML
	if err := decode(path, data, &t, false); err != nil {
		return nil, err
	}
	if len(t.Host) > maxPeers {
		return nil, &FileError{Path: path, Msg: fmt.Sprintf("%d hosts, at most %d are allowed", len(t.Host), maxPeers)}
	}
	peers := make([]Peer, 0, len(t.Host))
	seen := make(map[string]bool, len(t.Host))
	for i, h := range t.Host {
		bad := func(format string, a ...any) error {
			return &FileError{Path: path, Msg: printable(fmt.Sprintf("host %d: ", i+1) + fmt.Sprintf(format, a...))}
		}
		addr, err := HostPort(h.Addr)
		switch {
		case err != nil:
			return nil, bad("%v", err)
		case seen[addr]:
			return nil, bad("%s is there twice; remove the wrong one", addr)
		case h.ID.IsZero():
			return nil, bad("%s has no id", addr)
		case h.Name != "" && CheckName(h.Name) != nil:
			return nil, bad("%v", CheckName(h.Name))
		}
		seen[addr] = true
		peers = append(peers, Peer{Addr: addr, ID: h.ID, Name: h.Name, Added: h.Added})
	}
	return peers, nil
}

// Peers returns all servers that we know, in the order of the file.
func (s *Store) Peers() ([]Peer, error) {
	data, _, err := s.read(hostsFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseHosts(s.path(hostsFile), data)
}

// KnownPeer returns the server known under HOST:PORT, and false where there is none. After an error nothing is known:
// do not dial.
func (s *Store) KnownPeer(hostport string) (Peer, bool, error) {
	addr, err := HostPort(hostport)
	if err != nil {
		return Peer{}, false, err
	}
	peers, err := s.Peers()
	if err != nil {
		return Peer{}, false, err
	}
	for _, p := range peers {
		if p.Addr == addr {
			return p, true, nil
		}
	}
	return Peer{}, false, nil
}

// Pin makes id the key of the server at HOST:PORT, where name is our name; both replace what was known of it.
// The caller has made sure that id is right: by an enrolment, or by asking somebody.
func (s *Store) Pin(hostport string, id crypto.PeerID, name string) error {
	addr, err := HostPort(hostport)
	if err != nil {
		return err
	}
	if id.IsZero() {
		return errors.New("pin: no key is given")
	}
	if name != "" {
		if err := CheckName(name); err != nil {
			return fmt.Errorf("pin: %w", err)
		}
	}
	return s.changePeers(func(peers []Peer) []Peer {
		p := Peer{Addr: addr, ID: id, Name: name, Added: s.opts.Now().UTC().Truncate(time.Second)}
		i := slices.IndexFunc(peers, func(q Peer) bool { return q.Addr == addr })
		if i < 0 {
			return append(peers, p)
		}
		if peers[i].ID == id {
			p.Added = peers[i].Added
		}
		peers[i] = p
		return peers
	})
}

// Unpin forgets the servers at HOST:PORT, at HOST whatever the port, or where our name is the one given. It tells
// whether there was any.
func (s *Store) Unpin(hostportOrName string) (bool, error) {
	addr, err := HostPort(hostportOrName)
	if err != nil {
		addr = ""
	}
	host := strings.ToLower(strings.Trim(hostportOrName, "[]"))
	found := false
	err = s.changePeers(func(peers []Peer) []Peer {
		return slices.DeleteFunc(peers, func(p Peer) bool {
			h, _, _ := net.SplitHostPort(p.Addr)
			match := p.Addr == addr || h == host || p.Name != "" && p.Name == hostportOrName
			found = found || match
			return match
		})
	})
	return found && err == nil, err
}

// changePeers replaces the known peers by what change makes of them.
func (s *Store) changePeers(change func([]Peer) []Peer) error {
	return s.locked(func() error {
		old, err := s.Peers()
		if err != nil {
			return err
		}
		peers := change(slices.Clone(old))
		if slices.Equal(old, peers) {
			return nil
		}
		if len(peers) > maxPeers {
			return fmt.Errorf("%s: more than %d hosts", s.path(hostsFile), maxPeers)
		}
		var t hostsTOML
		for _, p := range peers {
			t.Host = append(t.Host, hostTOML(p))
		}
		data, err := encode("Servers whose keys are known, by host and port. Written by xfer enroll.", t)
		if err != nil {
			return err
		}
		return s.write(hostsFile, data)
	})
}
