package cli

import (
	"fmt"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"unicode"

	"xfer/transfer"
)

// Limits of a path on the wire (PROTOCOL.md).
const (
	maxPath      = 4096
	maxComponent = 255
	maxDepth     = 256
)

// address is a remote place as the user wrote it.
type address struct {
	text string // as written, for messages
	host string // a name of the configuration, a DNS name or an IP address without brackets
	port int    // of xfer://HOST:PORT, else 0
	user string // accepted and ignored
	path string // as written behind the host
	// top is HOST:/, the list of roots, which is no place in any of them.
	top bool
	at  transfer.Address
}

// isRemote tells whether scp would take s for a remote name: it has a colon, and no slash before it.
func isRemote(s string) bool {
	if strings.HasPrefix(s, "xfer://") {
		return true
	}
	if runtime.GOOS == "windows" && len(s) >= 2 && s[1] == ':' && (s[0]|0x20) >= 'a' && (s[0]|0x20) <= 'z' {
		return false // a drive
	}
	h := s
	if at := strings.IndexByte(h, '@'); at >= 0 && strings.HasPrefix(h[at+1:], "[") && !strings.ContainsAny(h[:at], ":/") {
		h = h[at+1:]
	}
	if strings.HasPrefix(h, "[") {
		if end := strings.IndexByte(h, ']'); end > 0 && !strings.Contains(h[:end], "/") && strings.HasPrefix(h[end+1:], ":") {
			return true
		}
	}
	colon := strings.IndexByte(s, ':')
	return colon >= 0 && !strings.Contains(s[:colon], "/")
}

// parseAddress reads HOST[:PATH], [v6]:PATH, USER@HOST:PATH and xfer://HOST[:PORT]/ROOT/PATH. The path is taken as raw bytes.
func parseAddress(s string) (address, error) {
	a := address{text: s}
	var err error
	if rest, ok := strings.CutPrefix(s, "xfer://"); ok {
		err = a.parseURL(rest)
	} else {
		err = a.parseSCP(s)
	}
	if err != nil {
		return address{}, usagef("%s: %v", quote(s), err)
	}
	return a, nil
}

func (a *address) parseSCP(s string) error {
	head := s // where a user name may be
	if i := strings.IndexAny(s, ":/["); i >= 0 {
		head = s[:i]
	}
	if at := strings.LastIndexByte(head, '@'); at >= 0 {
		a.user, s = s[:at], s[at+1:]
	}
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return fmt.Errorf("the bracket is not closed: write [ADDRESS]:PATH")
		}
		if err := a.setIPv6(s[1:end]); err != nil {
			return err
		}
		rest := s[end+1:]
		if rest == "" {
			return nil
		}
		if rest[0] != ':' {
			return fmt.Errorf("after the bracket comes a colon: write [ADDRESS]:PATH")
		}
		return a.setPath(rest[1:])
	}
	host, path, _ := strings.Cut(s, ":")
	if host == "" {
		return fmt.Errorf("no host before the colon: write HOST:PATH, and an IPv6 address in brackets")
	}
	if strings.Contains(host, "/") {
		return fmt.Errorf("this is a local path: a remote one is written HOST:PATH")
	}
	if err := a.setHost(host); err != nil {
		return err
	}
	return a.setPath(path)
}

func (a *address) parseURL(rest string) error {
	authority, path, hasPath := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		a.user, authority = authority[:at], authority[at+1:]
	}
	port := ""
	if strings.HasPrefix(authority, "[") {
		end := strings.IndexByte(authority, ']')
		if end < 0 {
			return fmt.Errorf("the bracket is not closed: write xfer://[ADDRESS]:PORT/ROOT/PATH")
		}
		if err := a.setIPv6(authority[1:end]); err != nil {
			return err
		}
		tail := authority[end+1:]
		if tail != "" && tail[0] != ':' {
			return fmt.Errorf("after the bracket comes a colon and the port")
		}
		port = strings.TrimPrefix(tail, ":")
	} else {
		var host string
		host, port, _ = strings.Cut(authority, ":")
		if err := a.setHost(host); err != nil {
			return err
		}
	}
	if port != "" {
		n, err := parsePort(port)
		if err != nil {
			return err
		}
		a.port = n
	}
	if !hasPath {
		return nil
	}
	return a.setPath("/" + path)
}

func (a *address) setIPv6(s string) error {
	ip, err := netip.ParseAddr(s)
	if err != nil || !ip.Is6() {
		return fmt.Errorf("%s is no IPv6 address", quote(s))
	}
	if strings.ContainsFunc(ip.Zone(), func(r rune) bool { // the name of a network interface, as eth0.7 or "wlan0-1"
		return r == unicode.ReplacementChar || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(".-_:+", r)
	}) {
		return fmt.Errorf("%s is no IPv6 address with the name of a network interface behind it", quote(s))
	}
	a.host = ip.String()
	return nil
}

func (a *address) setHost(s string) error {
	if s == "" {
		return fmt.Errorf("no host: write HOST:PATH")
	}
	if len(s) > 255 {
		return fmt.Errorf("the host's name is too long")
	}
	if s[0] == '-' || s == "." || s == ".." {
		return fmt.Errorf("%s is no host name", quote(s))
	}
	for _, r := range s {
		if r == unicode.ReplacementChar || !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '.' && r != '-' && r != '_' {
			return fmt.Errorf("%s is no host name", quote(s))
		}
	}
	a.host = s
	return nil
}

// setPath splits the path. A first "/" makes the first component the name of a root.
func (a *address) setPath(path string) error {
	a.path = path
	if len(path) > maxPath {
		return fmt.Errorf("the path is longer than %d bytes", maxPath)
	}
	if path == "" {
		return nil
	}
	absolute := path[0] == '/'
	var parts []string
	last := ""
	for c := range strings.SplitSeq(path, "/") {
		last = c
		switch {
		case c == "" || c == ".":
			continue
		case c == "..":
			return fmt.Errorf("a remote path with \"..\" is refused")
		case strings.IndexByte(c, 0) >= 0:
			return fmt.Errorf("a name cannot hold a NUL byte")
		case len(c) > maxComponent:
			return fmt.Errorf("a name is longer than %d bytes", maxComponent)
		}
		parts = append(parts, c)
	}
	if len(parts) > maxDepth {
		return fmt.Errorf("the path is deeper than %d", maxDepth)
	}
	a.at.TrailSlash = last == "" || last == "."
	if absolute {
		if len(parts) == 0 {
			a.top = true
			return nil
		}
		a.at.Root, parts = parts[0], parts[1:]
	}
	a.at.Path = parts
	return nil
}

// place refuses HOST:/, which is only a list of roots.
func (a *address) place() error {
	if a.top {
		return usagef("%s: this is the list of roots, no place: write HOST:/ROOT/PATH, or HOST:PATH for the default root", quote(a.text))
	}
	return nil
}

func parsePort(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%s is no port: 1 to 65535", quote(s))
	}
	return int(n), nil
}
