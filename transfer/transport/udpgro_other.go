//go:build !linux

package transport

import "net"

// merging returns pc: the system cannot merge datagrams, or Go cannot ask it to.
func merging(pc net.PacketConn) net.PacketConn { return pc }
