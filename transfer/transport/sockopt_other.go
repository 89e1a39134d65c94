//go:build !linux

package transport

import "net"

// setUserTimeout does nothing here: keep-alives and the system's retransmission limit end a dead connection.
func setUserTimeout(*net.TCPConn) {}

// setICMPErrors does nothing here: the timeout of the handshake ends a dial to a closed port.
func setICMPErrors(net.PacketConn, bool) {}

// forceReceiveBuffer does nothing here.
func forceReceiveBuffer(*net.UDPConn, int) {}
