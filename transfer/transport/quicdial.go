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
	icmp := true
	for wait := first; ; wait = min(2*wait, most) {
		c, err := dialQUICOnce(ctx, to, cfg, o, icmp)
		switch {
		case err == nil:
			return c, nil
		case icmp && isSocketTrouble(err) && ctx.Err() == nil:
			// A router's opinion, perhaps on a packet's size: only the timeout is sure.
			icmp = false
			continue
		case !isLimit(err):
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

// isLimit tells whether a server turned us away at a limit: at once, or after we waited for our turn in vain, which
// our own listener can only call an internal error.
func isLimit(err error) bool {
	const internalError = 0x100 + 80 // RFC 8446 6.2
	var tr *quic.TransportError
	return errors.As(err, &tr) && tr.Remote && (tr.ErrorCode == quic.ConnectionRefused || tr.ErrorCode == internalError)
}

// dialQUICOnce makes one attempt. With icmp it is ended by what ICMP says of a closed port.
func dialQUICOnce(ctx context.Context, to *net.UDPAddr, cfg *tls.Config, o DialOptions, icmp bool) (*quicConn, error) {
	pc, err := packetSocket(ctx, to, o)
	if err != nil {
		return nil, err
	}
	if icmp {
		setICMPErrors(pc, true)
	}
	quietBuffers()
	t := &quic.Transport{Conn: merging(pc)}
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
	return newQUICConn(q, cfg, o.Windows, end)
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
