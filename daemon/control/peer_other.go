//go:build !linux

package control

import "net"

// checkPeer relies on the socket's mode here.
func checkPeer(net.Conn) error { return nil }
