package transport

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"net"
	"time"
)

// ListenOptions are the limits of a listener before anybody is authenticated. The zero value of a field is the
// default beside it.
type ListenOptions struct {
	// HandshakeTimeout is absolute, from the accepted connection to the one handed out: 10 s. Whatever is not
	// through by then is closed.
	HandshakeTimeout time.Duration
	// PerAddress is how many handshakes of one address (for IPv6: one /64) may be in progress: 16. Others wait their
	// turn, still under the absolute deadline.
	PerAddress int
	// Handshakes is how many may be in progress in all: 256. Others wait their turn. QUIC clients have to prove their
	// address (Retry) above half of it; four times as many QUIC connections may have begun, those of one address one
	// time, before new ones are refused.
	Handshakes int
	// MaxPending is how many TCP sockets may be open that are not yet handed out: 4096. Beyond, new ones are closed
	// at once. A socket that says nothing takes no handshake, only a descriptor.
	MaxPending int
	// Windows bounds what all QUIC connections together may be sent before they read it; nil: no common bound.
	Windows *Budget
	// ResetKey lets a restarted server tell QUIC clients at once that it forgot them (RFC 9000 10.3). It must be
	// random, secret and the same in all runs; all zero: no such resets.
	ResetKey [32]byte
	// Log gets what went wrong before authentication, at level debug, and what is wrong with the socket, at level
	// warn; nil: nothing.
	Log *slog.Logger

	shared *admission // of listeners made together
}

func (o ListenOptions) withDefaults() ListenOptions {
	o.HandshakeTimeout = cmp.Or(max(o.HandshakeTimeout, 0), 10*time.Second)
	o.PerAddress = cmp.Or(max(o.PerAddress, 0), 16)
	o.Handshakes = cmp.Or(max(o.Handshakes, 0), 256)
	o.MaxPending = cmp.Or(max(o.MaxPending, 0), 4096)
	o.Windows = cmp.Or(o.Windows, NewBudget(math.MaxInt64))
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.shared == nil {
		o.shared = newAdmission(o.Handshakes, o.PerAddress)
	}
	return o
}

// DialOptions are how to dial. The zero value is ready to use.
type DialOptions struct {
	// Network is "", "tcp4", "tcp6", "udp4" or "udp6"; the digit alone matters.
	Network string
	// Timeout is for connecting and the handshake together, within what the context allows: 10 s.
	Timeout time.Duration
	// Windows bounds what all QUIC connections together may be sent before they read it; nil: no common bound.
	Windows *Budget

	// Conn makes the connection below TLS instead of a net.Dialer; for tests and proxies.
	Conn func(ctx context.Context, network, addr string) (net.Conn, error)
	// Packet makes the socket below QUIC instead of net.ListenUDP; the connection closes it. For tests.
	Packet func(ctx context.Context, network string) (net.PacketConn, error)

	connected func() // the peer answered below TLS; TCP only
}

func (o DialOptions) withDefaults() DialOptions {
	o.Timeout = cmp.Or(max(o.Timeout, 0), 10*time.Second)
	o.Windows = cmp.Or(o.Windows, NewBudget(math.MaxInt64))
	if o.connected == nil {
		o.connected = func() {}
	}
	return o
}

// family is the digit of Network: "", "4" or "6".
func (o DialOptions) family() string {
	if n := len(o.Network); n > 0 && (o.Network[n-1] == '4' || o.Network[n-1] == '6') {
		return o.Network[n-1:]
	}
	return ""
}
