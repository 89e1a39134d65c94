package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xfer/crypto"
)

// ends returns both ends of one connection without anything in between.
func ends(t testing.TB, kind Kind, windows *Budget) (client, server Conn) {
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
				words := bytes.Repeat([]byte("no room "), 64<<10) // more than the client's kernel takes at once
				written := make(chan error, 1)
				go func() {
					_, err := s.Write(words)
					server.Close(1, "no room")
					written <- err
				}()
				time.Sleep(50 * time.Millisecond) // late
				c.Write(make([]byte, 10<<10))     // and still talking; it may or may not fail
				if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, words) {
					t.Fatalf("got %d of %d bytes, %v", len(got), len(words), err)
				}
				if err := <-written; err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// A refused client that goes on talking sees our alert and then the end, no reset: there are systems where a reset
// takes with it what the client has not read yet.
func TestRefusalIsNoReset(t *testing.T) {
	id := newIdentity(t)
	ls, err := Listen("127.0.0.1:0", []Kind{TCP}, crypto.ServerTLS(id, nil), ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer ls[0].Close()
	raw := mustDial(t, ls[0].Addr().String())
	cfg := crypto.ClientTLS(newIdentity(t), id.ID())
	cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil }
	c := tls.Client(raw, cfg)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	for range 10 {
		if _, err := c.Write(make([]byte, 10<<10)); err != nil {
			t.Fatalf("still talking: %v", err)
		}
	}
	raw.SetReadDeadline(time.Now().Add(5 * time.Second))
	if alert, err := io.ReadAll(raw); err != nil || len(alert) == 0 {
		t.Errorf("read %d bytes, %v", len(alert), err)
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

// mute is a net.Conn that can still be read when writing to it fails.
type mute struct {
	net.Conn
	on atomic.Bool
}

func (m *mute) Write(p []byte) (int, error) {
	if m.on.Load() {
		return 0, syscall.EPIPE
	}
	return m.Conn.Write(p)
}

// A failed write looks for the reason; what it finds besides is not lost for the reader.
func TestFailedWriteLosesNothing(t *testing.T) {
	id := newIdentity(t)
	a, b := net.Pipe()
	m := &mute{Conn: a}
	served := make(chan error, 1)
	go func() {
		c, err := NewTCPConn(context.Background(), b, crypto.ServerTLS(id, nil), true)
		if err != nil {
			served <- err
			return
		}
		s, err := c.AcceptStream(context.Background())
		if err == nil {
			_, err = s.Write([]byte("no room"))
		}
		c.Close(0, "")
		<-c.Done()
		served <- err
	}()
	client, err := NewTCPConn(context.Background(), m, crypto.ClientTLS(newIdentity(t), id.ID()), false)
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.OpenStream(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	m.on.Store(true)
	var ne *NetError
	if _, err := c.Write([]byte("hello")); !errors.As(err, &ne) || !errors.Is(err, syscall.EPIPE) {
		t.Fatalf("write: %v", err)
	}
	if got, err := io.ReadAll(c); string(got) != "no room" || err != nil {
		t.Fatalf("read %q, %v", got, err)
	}
	client.Close(0, "")
	<-client.Done()
	if err := <-served; err != nil {
		t.Fatal(err)
	}
}
