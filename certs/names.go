package certs

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

const (
	maxName    = 64
	maxGrants  = 256
	maxWords   = 32
	maxWord    = 32
	maxBWLimit = 256
)

// CheckName tells whether name may be the name of a client or a root: 1 to 64 of the characters A-Z a-z 0-9 . _ -
// and not beginning with '.' or '-'. Such a name is a file name everywhere, needs no quoting and is no option.
func CheckName(name string) error {
	if name == "" {
		return fmt.Errorf("an empty name")
	}
	if len(name) > maxName {
		return fmt.Errorf("a name of %d characters, at most %d are allowed", len(name), maxName)
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_':
		case (c == '.' || c == '-') && i > 0:
		default:
			return fmt.Errorf("the name %q: only A-Z a-z 0-9 . _ - are allowed, and neither . nor - at the beginning", name)
		}
	}
	return nil
}

// checkGrants checks roots and rights of a client or an invitation. That they exist the daemon finds out.
func (s *Store) checkGrants(grants []Grant) error {
	if len(grants) > maxGrants {
		return fmt.Errorf("%d roots, at most %d are allowed", len(grants), maxGrants)
	}
	seen := make(map[string]bool, len(grants))
	for _, g := range grants {
		if err := CheckName(g.Root); err != nil && g.Root != DefaultRoot {
			return fmt.Errorf("root: %w", err)
		}
		if seen[g.Root] {
			return fmt.Errorf("root %q is there twice", g.Root)
		}
		seen[g.Root] = true
		if len(g.Rights) > maxWords {
			return fmt.Errorf("root %q: %d rights, at most %d are allowed", g.Root, len(g.Rights), maxWords)
		}
		for _, w := range g.Rights {
			if !isWord(w) {
				return fmt.Errorf("root %q: %q is not a right", g.Root, w)
			}
		}
		if err := s.opts.CheckRights(g.Rights); err != nil {
			return fmt.Errorf("root %q: %w", g.Root, err)
		}
	}
	return nil
}

func isWord(w string) bool {
	if w == "" || len(w) > maxWord {
		return false
	}
	for i := 0; i < len(w); i++ {
		if c := w[i]; (c < 'a' || c > 'z') && c != '-' {
			return false
		}
	}
	return true
}

// HostPort returns the one spelling of an address under which a server is known: host in lower case, an IP address
// as RFC 5952 writes it, port as a plain number.
func HostPort(s string) (string, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", fmt.Errorf("address %q: want HOST:PORT", s)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", fmt.Errorf("address %q: the port is not a number from 1 to 65535", s)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return net.JoinHostPort(ip.String(), strconv.FormatUint(n, 10)), nil
	}
	if host == "" || len(strings.ToLower(host)) > 255 {
		return "", fmt.Errorf("address %q: the host's name is empty or too long", s)
	}
	for i := 0; i < len(host); i++ {
		if c := host[i]; c <= ' ' || c == 0x7f || strings.IndexByte(`/\:[]"'`, c) >= 0 {
			return "", fmt.Errorf("address %q: the host's name has a character that none has", s)
		}
	}
	return net.JoinHostPort(strings.ToLower(host), strconv.FormatUint(n, 10)), nil
}
