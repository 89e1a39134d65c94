package transport

import (
	"fmt"
	"net"
	"os"
	"runtime"
)

// udpBuffer is the size of the receive buffer that quic-go asks for.
const udpBuffer = 7 << 20

// quietBuffers keeps quic-go from printing its warning about small UDP buffers to the standard logger; its variable is
// the only way to. UDPBufferNote says the same where people look for it.
func quietBuffers() {
	const name = "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING"
	if _, ok := os.LookupEnv(name); !ok {
		os.Setenv(name, "true")
	}
}

// UDPBufferNote says in one sentence what to do when the system does not give UDP sockets the receive buffer that
// QUIC wants at high speed; "" when all is well, or where it cannot be known.
func UDPBufferNote() string {
	c, err := net.ListenUDP("udp", nil)
	if err != nil {
		return "" // no UDP at all is told elsewhere
	}
	defer c.Close()
	got, ok := receiveBuffer(c, udpBuffer)
	if !ok || got >= udpBuffer {
		return ""
	}
	s := fmt.Sprintf("UDP receive buffer is %d KiB, QUIC wants %d KiB for full speed", got>>10, udpBuffer>>10)
	switch runtime.GOOS {
	case "linux":
		s += "; as root: sysctl -w net.core.rmem_max=7500000 net.core.wmem_max=7500000"
	case "darwin", "freebsd":
		s += "; as root: sysctl -w kern.ipc.maxsockbuf=8441037"
	}
	return s
}
