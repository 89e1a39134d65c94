package main

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
)

// relay counts what passes between a client and a server, on one port for TCP and UDP: payload of both directions, without
// the headers of IP, TCP and UDP. It is for counting, not for timing.
type relay struct {
	bytes atomic.Int64

	to   string
	tcp  net.Listener
	udp  *net.UDPConn
	all  sync.WaitGroup
	mu   sync.Mutex // guards the following
	open map[io.Closer]bool
	shut bool
}

// newRelay starts one before a port of loopback. The caller closes it.
func newRelay(port string) (*relay, error) {
	r := &relay{to: "127.0.0.1:" + port, open: map[io.Closer]bool{}}
	var err error
	for range 20 { // until a port is free for both
		if r.tcp, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return nil, err
		}
		at := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(r.tcp.Addr().String()))
		if r.udp, err = net.ListenUDP("udp", at); err == nil {
			break
		}
		r.tcp.Close()
	}
	if err != nil {
		return nil, err
	}
	_ = r.udp.SetReadBuffer(4 * mib)
	r.all.Go(r.acceptTCP)
	r.all.Go(r.readUDP)
	return r, nil
}

func (r *relay) port() string {
	_, port, _ := net.SplitHostPort(r.tcp.Addr().String())
	return port
}

// close ends all connections.
func (r *relay) close() {
	r.mu.Lock()
	r.shut = true
	for c := range r.open {
		c.Close()
	}
	r.mu.Unlock()
	r.tcp.Close()
	r.udp.Close()
	r.all.Wait()
}

// keep remembers what close has to close; it is false when that has already been.
func (r *relay) keep(c io.Closer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.shut {
		c.Close()
		return false
	}
	r.open[c] = true
	return true
}

func (r *relay) drop(c io.Closer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, c)
	c.Close()
}

func (r *relay) acceptTCP() {
	for {
		c, err := r.tcp.Accept()
		if err != nil {
			return
		}
		r.all.Go(func() {
			to, err := net.Dial("tcp", r.to)
			if err != nil {
				c.Close()
				return
			}
			if !r.keep(c) || !r.keep(to) {
				return
			}
			both(counting{c.(*net.TCPConn), r}, counting{to.(*net.TCPConn), r})
			r.drop(c)
			r.drop(to)
		})
	}
}

// counting counts what is written.
type counting struct {
	*net.TCPConn
	r *relay
}

func (c counting) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	c.r.bytes.Add(int64(n))
	return n, err
}

// ReadFrom and WriteTo are hidden from io.Copy, which would go around Write.
func (c counting) ReadFrom(from io.Reader) (int64, error) {
	return io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{from})
}

func (c counting) WriteTo(to io.Writer) (int64, error) {
	return io.Copy(to, struct{ io.Reader }{c.TCPConn})
}

// readUDP forwards what clients send, each by a socket of its own.
func (r *relay) readUDP() {
	flows := map[netip.AddrPort]net.Conn{}
	buf := make([]byte, 64*kib)
	for {
		n, from, err := r.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		to := flows[from]
		if to == nil {
			if to, err = net.Dial("udp", r.to); err != nil {
				continue
			}
			if !r.keep(to) {
				return
			}
			flows[from] = to
			r.all.Go(func() { r.answer(to, from) })
		}
		if _, err := to.Write(buf[:n]); err == nil {
			r.bytes.Add(int64(n))
		}
	}
}

// answer forwards what the server sends back.
func (r *relay) answer(to net.Conn, client netip.AddrPort) {
	buf := make([]byte, 64*kib)
	for {
		n, err := to.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // the server's port is closed for a moment
			continue
		}
		if _, err := r.udp.WriteToUDPAddrPort(buf[:n], client); err == nil {
			r.bytes.Add(int64(n))
		}
	}
}
