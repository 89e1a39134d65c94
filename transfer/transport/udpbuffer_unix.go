//go:build linux || darwin || freebsd

package transport

import (
	"net"

	"golang.org/x/sys/unix"
)

// receiveBuffer asks for a receive buffer of want bytes as quic-go does, and tells what it got.
func receiveBuffer(c *net.UDPConn, want int) (got int, ok bool) {
	size := func() (n int) {
		raw, err := c.SyscallConn()
		if err != nil {
			return 0
		}
		_ = raw.Control(func(fd uintptr) { n, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF) })
		return n
	}
	_ = c.SetReadBuffer(want)
	if size() < want {
		forceReceiveBuffer(c, want)
	}
	n := size()
	return n, n > 0
}
