package transport

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// setUserTimeout sets TCP_USER_TIMEOUT, see tcp(7). Without it the connection works too, only its death is slower.
func setUserTimeout(c *net.TCPConn) {
	_ = control(c, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
	})
}

// setICMPErrors makes an unconnected UDP socket report what ICMP says (IP_RECVERR, ip(7)): a closed port is known at
// once. It is for the handshake only: afterwards anybody could end a connection with one forged ICMP message.
func setICMPErrors(c net.PacketConn, on bool) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	v := 0
	if on {
		v = 1
	}
	_ = control(sc, func(fd int) error {
		// One of them fails, according to the socket's family.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, v)
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, v)
	})
}

func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}

// forceReceiveBuffer goes beyond net.core.rmem_max, for those who may: socket(7), SO_RCVBUFFORCE.
func forceReceiveBuffer(c *net.UDPConn, n int) {
	_ = control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n) })
}
