package transport

import (
	"encoding/binary"
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// mergedBytes holds the most that the kernel merges.
const mergedBytes = 64 << 10

// mergingConn is a UDP socket from which datagrams of one sender that came one after the other are read in one system
// call (UDP_GRO, udp(7)), and which quic-go still knows as one that can do all that a *net.UDPConn can: it has the methods
// of quic.OOBCapablePacketConn, and the ReadBatch that quic-go prefers. On the loopback the datagrams of one sendmsg with
// UDP_SEGMENT are never taken apart at all.
type mergingConn struct {
	*net.UDPConn

	// What follows belongs to the one goroutine that calls ReadBatch.
	buf, oob []byte
	left     []byte // of what was read, not yet handed out
	segment  int    // the size of each datagram of it but the last
	control  []byte // its control messages
	from     netip.AddrPort
	addr     *net.UDPAddr // from
}

// merging returns pc as a mergingConn, or as it is where that cannot be.
func merging(pc net.PacketConn) net.PacketConn {
	c, ok := pc.(*net.UDPConn)
	if !ok {
		return pc
	}
	err := control(c, func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) })
	if err != nil { // Linux before 5.0
		return pc
	}
	return &mergingConn{UDPConn: c, buf: make([]byte, mergedBytes), oob: make([]byte, 256)}
}

// ReadBatch fills at least one of ms and returns how many. Not for concurrent use.
func (c *mergingConn) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	if len(c.left) == 0 {
		if err := c.read(); err != nil {
			return 0, err
		}
	}
	n := 0
	for ; n < len(ms) && (n == 0 || len(c.left) > 0); n++ {
		m := &ms[n]
		k := min(c.segment, len(c.left))
		m.N = copy(m.Buffers[0], c.left[:k]) // what is too long for QUIC is cut, and then dropped
		m.NN = copy(m.OOB, c.control)
		m.Flags, m.Addr = 0, c.addr
		c.left = c.left[k:]
	}
	return n, nil
}

func (c *mergingConn) read() error {
	n, oobn, _, from, err := c.ReadMsgUDPAddrPort(c.buf, c.oob)
	if err != nil {
		return err
	}
	if c.addr == nil || from != c.from {
		c.from, c.addr = from, net.UDPAddrFromAddrPort(from) // a new one: others may keep the old one
	}
	c.left, c.segment, c.control = c.buf[:n], n, c.oob[:oobn]
	for rest := c.control; len(rest) > 0; {
		h, data, after, err := unix.ParseOneSocketControlMessage(rest)
		if err != nil {
			break
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4 {
			if size := int(binary.NativeEndian.Uint32(data)); size > 0 && size < n {
				c.segment = size
			}
		}
		rest = after
	}
	return nil
}
