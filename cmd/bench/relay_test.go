package main

import (
	"io"
	"net"
	"strings"
	"testing"
)

func TestRelayCountsBothDirections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	go func() { // answers each byte by two
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			data, _ := io.ReadAll(c)
			_, _ = c.Write(append(data, data...))
			c.Close()
		}
	}()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	r, err := newRelay(port)
	must(t, err)
	defer r.close()
	const n = 300_000
	c, err := net.Dial("tcp", "127.0.0.1:"+r.port())
	must(t, err)
	defer c.Close()
	_, err = c.Write([]byte(strings.Repeat("x", n)))
	must(t, err)
	must(t, c.(*net.TCPConn).CloseWrite())
	back, err := io.ReadAll(c)
	if err != nil || len(back) != 2*n {
		t.Fatalf("%d bytes came back, want %d: %v", len(back), 2*n, err)
	}
	if got := r.bytes.Load(); got != 3*n {
		t.Errorf("counted %d, want %d", got, 3*n)
	}
}

func TestRelayCountsDatagrams(t *testing.T) {
	s, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	defer s.Close()
	go func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := s.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = s.WriteTo(buf[:n], from)
		}
	}()
	_, port, _ := net.SplitHostPort(s.LocalAddr().String())
	r, err := newRelay(port)
	must(t, err)
	defer r.close()
	c, err := net.Dial("udp", "127.0.0.1:"+r.port())
	must(t, err)
	defer c.Close()
	buf := make([]byte, 2000)
	for i := range 20 { // one at a time: nothing is lost on loopback then
		_, err := c.Write(buf[:100+i])
		must(t, err)
		if n, err := c.Read(buf); err != nil || n != 100+i {
			t.Fatalf("got %d bytes, %v", n, err)
		}
	}
	// The relay counts when it has written: the last answer may be here before it is counted.
	if got, want := r.bytes.Load(), int64(2*(20*100+190)); got > want || got < want-119 {
		t.Errorf("counted %d, want %d", got, want)
	}
}
