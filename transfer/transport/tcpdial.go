package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// keepAlive finds a peer that is gone without a word, on a connection that has nothing to say: within a minute. One
// that has unacknowledged data is given up by userTimeout.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 10 * time.Second, Count: 3}
}

// userTimeout is TCP_USER_TIMEOUT (RFC 5482): for how long sent data may stay unacknowledged. The kernel alone would
// try for a quarter of an hour.
const userTimeout = 45 * time.Second

// DialTCP connects to addr ("host:port") and does the handshake of cfg.
func DialTCP(ctx context.Context, addr string, cfg *tls.Config, o DialOptions) (Conn, error) {
	o = o.withDefaults()
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, silence(fmt.Sprintf("no answer within %v", o.Timeout)))
	defer cancel()
	at := place{TCP, addr}
	dial := o.Conn
	if dial == nil {
		d := net.Dialer{KeepAliveConfig: keepAlive()}
		dial = d.DialContext
	}
	c, err := dial(ctx, "tcp"+o.family(), addr)
	if err != nil {
		return nil, at.wrap("dial", ofContext(ctx, err))
	}
	o.connected()
	if c, ok := c.(*net.TCPConn); ok {
		setUserTimeout(c)
	}
	return NewTCPConn(ctx, c, cfg, false)
}
