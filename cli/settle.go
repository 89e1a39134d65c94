package cli

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// defaultPort is the same number for TCP and UDP.
const defaultPort = 7419

// configs reads the configuration: of --config, else of the usual places.
func (f *connFlags) configs(p places) ([]*config, error) {
	if f.config != "" {
		return readConfig([]string{f.config}, true)
	}
	return readConfig(p.configs, false)
}

// target is a host to dial after the configuration was read.
type target struct {
	name string // as the user wrote it
	host string // name or address to dial
	port int
}

// hostPort is the key of a pin: the name that is dialled, with the port.
func (t target) hostPort() string {
	return net.JoinHostPort(strings.ToLower(t.host), strconv.Itoa(t.port))
}

// settle puts the configuration beneath what flags and environment say, and finds out where the host is. addr may be nil.
func (f *connFlags) settle(configs []*config, addr *address) (target, error) {
	var t target
	if addr != nil {
		t.name, t.host, t.port = addr.host, addr.host, addr.port
	}
	if t.port != 0 {
		if f.given("port") && f.port.n != t.port {
			return t, usagef("%s: the address has port %d and --port says %d", quote(addr.text), t.port, f.port.n)
		}
	}
	for _, c := range configs {
		block, ok := c.Host[t.name]
		if !ok || addr == nil {
			continue
		}
		origin := quote(c.file) + " [host." + quote(t.name) + "]"
		settings, err := block.settings()
		if err != nil {
			return t, usagef("%s: %v", origin, err)
		}
		if block.Addr != "" && t.host == t.name {
			host, port, err := splitAddr(block.Addr)
			if err != nil {
				return t, usagef("%s: addr: %v", origin, err)
			}
			t.host = host
			if port != 0 {
				settings = append([]setting{{flag: "port", key: "addr", value: strconv.Itoa(port)}}, settings...)
			}
		}
		if err := f.apply(settings, origin); err != nil {
			return t, err
		}
	}
	for _, c := range configs {
		settings, err := c.settings()
		if err != nil {
			return t, usagef("%s: %v", quote(c.file), err)
		}
		if err := f.apply(settings, quote(c.file)); err != nil {
			return t, err
		}
	}
	if f.ipv4 && f.ipv6 {
		return t, usagef("-4 and -6 exclude each other")
	}
	if ip, err := netip.ParseAddr(t.host); err == nil && (f.ipv4 && !ip.Unmap().Is4() || f.ipv6 && ip.Unmap().Is4()) {
		return t, usagef("%s is not an address of the family that -4 or -6 asks for", ip)
	}
	if t.port == 0 {
		t.port = f.port.n
	}
	if t.port == 0 {
		t.port = defaultPort
	}
	return t, nil
}

// splitAddr reads HOST, HOST:PORT or [v6]:PORT of a host block.
func splitAddr(s string) (string, int, error) {
	var a address
	if strings.ContainsAny(s, "/@") {
		return "", 0, fmt.Errorf("%s: want HOST or HOST:PORT", quote(s))
	}
	if err := a.parseURL(s); err != nil {
		return "", 0, err
	}
	return a.host, a.port, nil
}
