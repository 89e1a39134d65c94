package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
)

// DialQUIC connects to addr ("host:port"; of a name's addresses the first) over a UDP socket of its own and does the
// handshake of cfg. A server that is at a limit refuses at once: DialQUIC comes again until the timeout.
func DialQUIC(ctx context.Context, addr string, cfg *tls.Config, o DialOptions) (Conn, error) {
	o = o.withDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, silence(fmt.Sprintf("no answer within %v", o.Timeout)))
	defer cancel()
	at := place{QUIC, addr}
	to, err := resolveUDP(ctx, o.family(), addr)
	if err != nil {
		return nil, at.wrap("dial", ofContext(ctx, err))
	}
	const first, most = 20 * time.Millisecond, 500 * time.Millisecond
	listenToICMP := true
	for wait := first; ; wait = min(2*wait, most) {
		c, err := dialQUICOnce(ctx, at, to, cfg, o, listenToICMP)
		if err == nil {
			return c, nil
		}
		if listenToICMP && isSocketTrouble(err) {
			listenToICMP = false // a router's opinion, perhaps on a packet's size: only the timeout is sure
			continue
		}
		var tr *quic.TransportError
		if !errors.As(err, &tr) || tr.ErrorCode != quic.ConnectionRefused {
			return nil, wrapQUIC(at, "dial", ofContext(ctx, err))
		}
		timer := time.NewTimer(wait/2 + rand.N(wait))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, wrapQUIC(at, "dial", ofContext(ctx, errors.New("the server is at its limit of handshakes")))
		}
	}
}

func dialQUICOnce(ctx context.Context, at place, to *net.UDPAddr, cfg *tls.Config, o DialOptions, icmp bool) (Conn, error) {
	pc, err := packetSocket(ctx, to, o)
	if err != nil {
		return nil, err
	}
	if icmp {
		setICMPErrors(pc, true)
	}
	quietBuffers()
	t := &quic.Transport{Conn: pc}
	end := func() {
		t.Close()
		pc.Close()
	}
	q, err := t.Dial(ctx, to, cfg, quicConfig(o.Timeout, o.Windows))
	if err != nil {
		end()
		return nil, err
	}
	setICMPErrors(pc, false)
	c, err := newQUICConn(q, cfg, o.Windows, end)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func packetSocket(ctx context.Context, to *net.UDPAddr, o DialOptions) (net.PacketConn, error) {
	network := "udp6"
	if to.IP.To4() != nil {
		network = "udp4"
	}
	if o.Packet != nil {
		return o.Packet(ctx, network)
	}
	return net.ListenUDP(network, nil)
}

// isSocketTrouble tells whether the socket failed for another reason than a closed port.
func isSocketTrouble(err error) bool {
	var no syscall.Errno
	return errors.As(err, &no) && !errors.Is(err, syscall.ECONNREFUSED)
}

func resolveUDP(ctx context.Context, family, addr string) (*net.UDPAddr, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "udp", port)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip"+family, host)
	if err != nil {
		return nil, err
	}
	for _, ip := range ips {
		ip = ip.Unmap()
		if family == "4" && !ip.Is4() || family == "6" && !ip.Is6() {
			continue
		}
		return &net.UDPAddr{IP: ip.AsSlice(), Port: number, Zone: ip.Zone()}, nil
	}
	return nil, &net.AddrError{Err: "no suitable address", Addr: host}
}
