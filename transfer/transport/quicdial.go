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

const (
	quicHedge    = time.Second // without an answer, a further attempt is made beside the one in progress
	quicAttempts = 4           // in progress at once, at most
)

// DialQUIC connects to addr ("host:port"; of a name's addresses the first) over a UDP socket of its own and does the
// handshake of cfg. A server that is at a limit refuses at once: DialQUIC comes again until the timeout. A server that
// is flooded drops Initials without a word, and the timer of a QUIC client doubles with each: so each second DialQUIC
// makes a fresh attempt besides, and takes what is through first.
func DialQUIC(ctx context.Context, addr string, cfg *tls.Config, o DialOptions) (Conn, error) {
	o = o.withDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, silence(fmt.Sprintf("no answer within %v", o.Timeout)))
	defer cancel()
	at := place{QUIC, addr}
	to, err := resolveUDP(ctx, o.family(), addr)
	if err != nil {
		return nil, at.wrap("dial", ofContext(ctx, err))
	}
	d := &quicDial{ctx: ctx, to: to, cfg: cfg, o: o, results: make(chan quicResult)}
	c, err := d.run()
	cancel()
	for ; d.running > 0; d.running-- {
		if r := <-d.results; r.conn != nil {
			r.conn.abort()
		}
	}
	if err != nil {
		return nil, wrapQUIC(at, "dial", err)
	}
	return c, nil
}

// quicDial is a DialQUIC in progress.
type quicDial struct {
	ctx     context.Context
	to      *net.UDPAddr
	cfg     *tls.Config
	o       DialOptions
	results chan quicResult
	running int
}

type quicResult struct {
	conn *quicConn
	err  error
}

// run makes attempts until one is through or one fails for good.
func (d *quicDial) run() (*quicConn, error) {
	const first, most = 20 * time.Millisecond, 500 * time.Millisecond
	wait := first
	var refusal error
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-next.C:
			if d.running < quicAttempts {
				d.running++
				go func() {
					c, err := d.attempt()
					d.results <- quicResult{c, err}
				}()
			}
			next.Reset(quicHedge/2 + rand.N(quicHedge))
		case r := <-d.results:
			d.running--
			if r.err == nil {
				return r.conn, nil
			}
			var tr *quic.TransportError
			if !errors.As(r.err, &tr) || tr.ErrorCode != quic.ConnectionRefused {
				return nil, ofContext(d.ctx, r.err)
			}
			refusal = errors.New("the server is at its limit of handshakes")
			next.Reset(wait/2 + rand.N(wait))
			wait = min(2*wait, most)
		case <-d.ctx.Done():
			return nil, ofContext(d.ctx, refusal)
		}
	}
}

// attempt is one attempt. It hears what ICMP says of a closed port; but what a router says else, perhaps on a packet's
// size, is an opinion, and only the timeout is sure.
func (d *quicDial) attempt() (*quicConn, error) {
	c, err := d.connect(true)
	if err != nil && isSocketTrouble(err) && d.ctx.Err() == nil {
		return d.connect(false)
	}
	return c, err
}

func (d *quicDial) connect(icmp bool) (*quicConn, error) {
	pc, err := packetSocket(d.ctx, d.to, d.o)
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
	q, err := t.Dial(d.ctx, d.to, d.cfg, quicConfig(d.o.Timeout, d.o.Windows))
	if err != nil {
		end()
		return nil, err
	}
	setICMPErrors(pc, false)
	return newQUICConn(q, d.cfg, d.o.Windows, end)
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
