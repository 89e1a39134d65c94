package main

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// relay stands between client and daemon on one port for TCP and UDP, and breaks the network in between.
type relay struct {
	to    string
	tcp   net.Listener
	udp   *net.UDPConn
	dark  atomic.Bool // a link without a carrier: nothing passes, nobody is told
	noUDP atomic.Bool
	bytes atomic.Int64 // client to daemon
	down  atomic.Int64 // daemon to client

	mu    sync.Mutex
	conns map[net.Conn]struct{}
	flows map[string]*net.UDPConn
	onN   func(total int64)
}

func newRelay(t testing.TB, to string) *relay {
	t.Helper()
	r := &relay{to: to, conns: map[net.Conn]struct{}{}, flows: map[string]*net.UDPConn{}}
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		u, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: l.Addr().(*net.TCPAddr).Port})
		if err == nil {
			r.tcp, r.udp = l, u
			break
		}
		_ = l.Close()
	}
	if r.udp == nil {
		t.Fatal("no port that is free for TCP and UDP")
	}
	_ = r.udp.SetReadBuffer(4 << 20)
	t.Cleanup(func() { _ = r.tcp.Close(); _ = r.udp.Close(); r.cut() })
	go r.acceptTCP()
	go r.readUDP()
	return r
}

func (r *relay) port() int { return r.tcp.Addr().(*net.TCPAddr).Port }

// cut ends every connection at once, TCP by a reset, UDP by forgetting the flow.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0)
		}
		_ = c.Close()
	}
	r.conns = map[net.Conn]struct{}{}
	for k, f := range r.flows {
		_ = f.Close()
		delete(r.flows, k)
	}
}

func (r *relay) passed(n int) {
	total := r.bytes.Add(int64(n))
	if f := r.onN; f != nil {
		f(total)
	}
}

func (r *relay) acceptTCP() {
	for {
		c, err := r.tcp.Accept()
		if err != nil {
			return
		}
		out, err := net.DialTimeout("tcp", r.to, 5*time.Second)
		if err != nil {
			_ = c.Close()
			continue
		}
		r.keep(c)
		r.keep(out)
		go r.copyTCP(out, c, true)
		go r.copyTCP(c, out, false)
	}
}

func (r *relay) keep(c net.Conn) {
	r.mu.Lock()
	r.conns[c] = struct{}{}
	r.mu.Unlock()
}

func (r *relay) copyTCP(dst, src net.Conn, up bool) {
	defer dst.Close()
	defer src.Close()
	b := make([]byte, 64<<10)
	for {
		n, err := src.Read(b)
		for r.dark.Load() {
			time.Sleep(10 * time.Millisecond) // the bytes wait in the kernel's buffers, as for a retransmission
		}
		if n > 0 {
			if up {
				r.passed(n)
			} else {
				r.down.Add(int64(n))
			}
			if _, err := dst.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (r *relay) readUDP() {
	b := make([]byte, 64<<10)
	for {
		n, from, err := r.udp.ReadFromUDP(b)
		if err != nil {
			return
		}
		if r.dark.Load() || r.noUDP.Load() {
			continue
		}
		f := r.flow(from)
		if f == nil {
			continue
		}
		r.passed(n)
		_, _ = f.Write(b[:n])
	}
}

func (r *relay) flow(from *net.UDPAddr) *net.UDPConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.flows[from.String()]; f != nil {
		return f
	}
	addr, err := net.ResolveUDPAddr("udp", r.to)
	if err != nil {
		return nil
	}
	f, err := net.DialUDP("udp", nil, addr)
	if err != nil {
		return nil
	}
	_ = f.SetReadBuffer(4 << 20)
	r.flows[from.String()] = f
	go func() {
		b := make([]byte, 64<<10)
		for {
			n, err := f.Read(b)
			if err != nil {
				return
			}
			if !r.dark.Load() && !r.noUDP.Load() {
				r.down.Add(int64(n))
				_, _ = r.udp.WriteToUDP(b[:n], from)
			}
		}
	}()
	return f
}
