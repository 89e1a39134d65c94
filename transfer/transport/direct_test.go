package transport

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"xfer/crypto"
)

// ends returns both ends of one connection without anything in between.
func ends(t *testing.T, kind Kind, windows *Budget) (client, server Conn) {
	t.Helper()
	id := newIdentity(t)
	ls, err := Listen("127.0.0.1:0", []Kind{kind}, crypto.ServerTLS(id, nil), ListenOptions{Windows: windows})
	if err != nil {
		t.Fatal(err)
	}
	dial := DialTCP
	if kind == QUIC {
		dial = DialQUIC
	}
	client, err = dial(context.Background(), ls[0].Addr().String(), crypto.ClientTLS(newIdentity(t), id.ID()), DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	server, err = ls[0].Accept(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		client.Close(0, "")
		server.Close(0, "")
		<-client.Done()
		<-server.Done()
		ls[0].Close()
	})
	return client, server
}

// With a relay in between the kernel's reset would not be seen: this is the real thing. The server says why and closes
// although there is input that it never read, and the client is late to read.
func TestLastWordsSurviveUnreadInput(t *testing.T) {
	for _, kind := range []Kind{TCP, QUIC} {
		t.Run(string(kind), func(t *testing.T) {
			for range 5 {
				client, server := ends(t, kind, nil)
				c, err := client.OpenStream(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				if _, err := c.Write(make([]byte, 100<<10)); err != nil {
					t.Fatal(err)
				}
				s, err := server.AcceptStream(context.Background())
				if err != nil {
					t.Fatal(err)
				}
				words := bytes.Repeat([]byte("no room"), 1000)
				if _, err := s.Write(words); err != nil {
					t.Fatal(err)
				}
				server.Close(1, "no room")
				time.Sleep(50 * time.Millisecond) // late
				c.Write(make([]byte, 10<<10))     // and still talking; it may or may not fail
				if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, words) {
					t.Fatalf("got %d of %d bytes, %v", len(got), len(words), err)
				}
			}
		})
	}
}

// A peer that sends for ever cannot keep a closed connection alive, nor make us read it all.
func TestCloseIsBounded(t *testing.T) {
	for _, kind := range []Kind{TCP, QUIC} {
		t.Run(string(kind), func(t *testing.T) {
			client, server := ends(t, kind, nil)
			c, err := client.OpenStream(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			sent := make(chan int)
			go func() {
				sum := 0
				for {
					n, err := c.Write(make([]byte, 64<<10))
					sum += n
					if err != nil {
						sent <- sum
						return
					}
				}
			}()
			s, err := server.AcceptStream(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Write([]byte("stop")); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			server.Close(0, "")
			<-server.Done()
			if d := time.Since(start); d > 3*time.Second {
				t.Errorf("closing took %v", d)
			}
			if n := <-sent; n > 64<<20 {
				t.Errorf("the peer got rid of %d MiB", n>>20)
			}
		})
	}
}

// The windows of QUIC connections grow from the common budget, stop where it ends, and come back.
func TestWindowsAreBudgeted(t *testing.T) {
	b := NewBudget(3 << 20)
	client, server := ends(t, QUIC, b)
	c, err := client.OpenStream(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	const size = 24 << 20
	go func() {
		buf := make([]byte, 1<<20)
		for range size / len(buf) {
			if _, err := c.Write(buf); err != nil {
				t.Error(err)
				break
			}
		}
		c.CloseWrite()
	}()
	s, err := server.AcceptStream(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, s)
	if n != size || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	if free := b.Free(); free < 0 || free == 3<<20 {
		t.Errorf("%d free of the budget: the windows did not grow from it", free)
	}
	client.Close(0, "")
	server.Close(0, "")
	<-server.Done()
	if free := b.Free(); free != 3<<20 {
		t.Errorf("%d free after the end", free)
	}
}

// A net.Pipe with TLS in a bubble: an idle connection lives for days of virtual time, and closing takes none.
func TestVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id, cid := newIdentity(t), newIdentity(t)
		a, b := net.Pipe()
		type result struct {
			c   Conn
			err error
		}
		done := make(chan result)
		go func() {
			c, err := NewTCPConn(t.Context(), b, crypto.ServerTLS(id, nil), true)
			done <- result{c, err}
		}()
		client, err := NewTCPConn(t.Context(), a, crypto.ClientTLS(cid, id.ID()), false)
		if err != nil {
			t.Fatal(err)
		}
		r := <-done
		if r.err != nil {
			t.Fatal(r.err)
		}
		c, _ := client.OpenStream(t.Context())
		s, _ := r.c.AcceptStream(t.Context())
		start := time.Now()
		c.SetReadDeadline(start.Add(48 * time.Hour))
		time.AfterFunc(24*time.Hour, func() { s.Write([]byte("x")) })
		if _, err := c.Read(make([]byte, 1)); err != nil || time.Since(start) != 24*time.Hour {
			t.Errorf("after %v: %v", time.Since(start), err)
		}
		client.Close(0, "")
		r.c.Close(0, "")
		<-client.Done()
		<-r.c.Done()
		if d := time.Since(start); d != 24*time.Hour {
			t.Errorf("closing took %v", d-24*time.Hour)
		}
	})
}
