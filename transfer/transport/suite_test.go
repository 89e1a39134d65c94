package transport_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/transport"
	"xfer/transfer/transport/transporttest"
)

// soon is the context of a test that should need a fraction of it.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// mustStreams opens a stream from client to server. On QUIC the server sees it with the first byte, so hello is sent
// and received on the way.
func mustStreams(t *testing.T, client, server transport.Conn) (c, s transport.Stream) {
	t.Helper()
	ctx := soon(t)
	c, err := client.OpenStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, 1)
	go func() { _, err := c.Write([]byte("h")); errs <- err }()
	if s, err = server.AcceptStream(ctx); err != nil {
		t.Fatal(err)
	}
	var h [1]byte
	if _, err := io.ReadFull(s, h[:]); err != nil {
		t.Fatal(err)
	}
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	return c, s
}

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(b)
	return b
}

// within fails the test when f takes longer than d.
func within(t *testing.T, d time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(d):
		t.Fatalf("%s took longer than %v", what, d)
	}
}

func isNetwork(err error) bool {
	var ne *transport.NetError
	return errors.As(err, &ne) && !errors.Is(err, net.ErrClosed)
}

func TestBytesBothWaysAndHalfClose(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
		client, server := f.Connected(t)
		c, s := mustStreams(t, client, server)
		data := random(3 << 20)
		var wg sync.WaitGroup
		for _, st := range []transport.Stream{c, s} {
			wg.Go(func() {
				if n, err := st.Write(data); n != len(data) || err != nil {
					t.Errorf("wrote %d: %v", n, err)
				}
				if err := st.CloseWrite(); err != nil {
					t.Error(err)
				}
				if err := st.CloseWrite(); err != nil {
					t.Errorf("CloseWrite again: %v", err)
				}
				if _, err := st.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
					t.Errorf("write after CloseWrite: %v", err)
				}
			})
			wg.Go(func() {
				h := sha256.New()
				n, err := io.Copy(h, st)
				if err != nil || n != int64(len(data)) || [32]byte(h.Sum(nil)) != sha256.Sum256(data) {
					t.Errorf("got %d bytes, %v", n, err)
				}
				if n, err := st.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("read after the end: %d, %v", n, err)
				}
			})
		}
		wg.Wait()
	})
}

func TestReadAfterOurCloseWrite(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
		client, server := f.Connected(t)
		c, s := mustStreams(t, client, server)
		errs := make(chan error, 1)
		go func() { errs <- c.CloseWrite() }()
		if b, err := io.ReadAll(s); len(b) != 0 || err != nil {
			t.Fatalf("server read %q, %v", b, err)
		}
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
		go func() {
			s.Write([]byte("answer"))
			s.CloseWrite()
		}()
		if b, err := io.ReadAll(c); string(b) != "answer" || err != nil {
			t.Fatalf("client read %q, %v", b, err)
		}
	})
}

func TestManyStreams(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
		client, server := f.Connected(t)
		if client.Multiplexed() != (f.Kind == transport.QUIC) || client.Kind() != f.Kind || server.Kind() != f.Kind {
			t.Fatalf("kind %s/%s, multiplexed %v", client.Kind(), server.Kind(), client.Multiplexed())
		}
		mustStreams(t, client, server)
		if !client.Multiplexed() {
			if _, err := client.OpenStream(soon(t)); !errors.Is(err, transport.ErrNoMoreStreams) {
				t.Errorf("second stream: %v", err)
			}
			if _, err := server.OpenStream(soon(t)); !errors.Is(err, transport.ErrNoMoreStreams) {
				t.Errorf("stream of the acceptor: %v", err)
			}
			return
		}
		for range 31 {
			mustStreams(t, client, server)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if _, err := client.OpenStream(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("33rd stream: %v", err)
		}
		mustStreams(t, server, client) // the other direction has its own
	})
}

// A stream that is closed at both ends makes room for another one.
func TestStreamsComeAndGo(t *testing.T) {
	client, server := transporttest.Fixture{Kind: transport.QUIC}.Connected(t)
	for range 200 {
		c, s := mustStreams(t, client, server)
		c.Close()
		s.Close()
	}
}

func TestPeerAndExporter(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
		n := f.Pair(t)
		client, server := n.Connect(t)
		if client.Peer() != n.Server.ID() || server.Peer() != n.Client.ID() {
			t.Fatal("wrong peers")
		}
		if len(client.PeerCertificates()) != 1 || len(server.PeerCertificates()) != 1 {
			t.Fatal("no certificates")
		}
		export := func(c transport.Conn, label string) string {
			b, err := c.Export(label, 32)
			if err != nil || len(b) != 32 {
				t.Fatalf("export: %d bytes, %v", len(b), err)
			}
			return string(b)
		}
		a := export(client, "EXPORTER-xfer-session")
		if a != export(server, "EXPORTER-xfer-session") {
			t.Error("the ends disagree")
		}
		if a == export(client, "EXPORTER-xfer-join") {
			t.Error("two labels give the same")
		}
		other, _ := n.Connect(t)
		if a == export(other, "EXPORTER-xfer-session") {
			t.Error("two connections give the same")
		}
	})
}

func TestDeadlines(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
		client, server := f.Connected(t)
		c, s := mustStreams(t, client, server)
		c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("read: %v", err)
		}
		c.SetReadDeadline(time.Time{})
		go s.Write([]byte("late"))
		b := make([]byte, 4)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "late" {
			t.Fatalf("after the deadline: %q, %v", b, err)
		}
		c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		var err error
		within(t, 10*time.Second, "writing to somebody who does not read", func() {
			for err == nil {
				_, err = c.Write(make([]byte, 1<<20))
			}
		})
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("write: %v", err)
		}
	})
}

func TestCutIsNeverTheEnd(t *testing.T) {
	data := random(200 << 10)
	transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
		n := f.Pair(t)
		for _, after := range []int64{0, 1, 5, 1000, 16 << 10, 100_000} {
			client, server := n.Connect(t)
			c, s := mustStreams(t, client, server)
			n.Faults().CutAfter(after)
			// On QUIC the server hears nothing of it, so let the client be the reader.
			go func() {
				s.Write(data)
				s.CloseWrite()
			}()
			got, err := io.ReadAll(c)
			if err == nil || !isNetwork(err) {
				t.Errorf("cut after %d: %d bytes, %v", after, len(got), err)
			}
			if !bytes.HasPrefix(data, got) || int64(len(got)) > after {
				t.Errorf("cut after %d: %d bytes, a prefix: %v", after, len(got), bytes.HasPrefix(data, got))
			}
			within(t, 5*time.Second, "Done after a cut", func() { <-client.Done() })
		}
	})
}

// A FIN that somebody forged, or a peer that died, is not the end of the data either.
func TestFINWithoutCloseNotifyIsNoEnd(t *testing.T) {
	id := transporttest.NewIdentity(t)
	a, b := net.Pipe()
	errs := make(chan error, 1)
	go func() {
		_, err := transport.NewTCPConn(soon(t), b, crypto.ServerTLS(id, nil), true)
		errs <- err
	}()
	c, err := transport.NewTCPConn(soon(t), a, crypto.ClientTLS(id, id.ID()), false)
	if err := errors.Join(err, <-errs); err != nil {
		t.Fatal(err)
	}
	st, err := c.OpenStream(soon(t))
	if err != nil {
		t.Fatal(err)
	}
	b.Close() // a pipe's reader sees io.EOF
	if _, err := st.Read(make([]byte, 1)); !isNetwork(err) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("got %v", err)
	}
	<-c.Done()
}

func TestCorruption(t *testing.T) {
	data := random(200 << 10)
	transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
		n := f.Pair(t)
		client, server := n.Connect(t)
		c, s := mustStreams(t, client, server)
		n.Faults().CorruptAt(50_000)
		go func() {
			c.Write(data)
			c.CloseWrite()
		}()
		got, err := io.ReadAll(s)
		if f.Kind == transport.QUIC { // the datagram counts as lost
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			return
		}
		if !isNetwork(err) || !bytes.HasPrefix(data, got) || len(got) >= 50_000 || crypto.IsTrustError(err) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
	})
}

func TestBlackhole(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
		n := f.PairWith(t, transporttest.Options{Dial: transport.DialOptions{Timeout: 300 * time.Millisecond}})
		client, server := n.Connect(t)
		c, s := mustStreams(t, client, server)
		n.Faults().Blackhole(true)
		go c.Write([]byte("still there"))
		s.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("through the hole: %v", err)
		}
		var ne *transport.NetError
		if _, err := n.Dial(soon(t)); !errors.As(err, &ne) || !ne.Timeout() {
			t.Fatalf("dial into the hole: %v", err)
		}
		n.Faults().Blackhole(false)
		s.SetReadDeadline(time.Now().Add(10 * time.Second))
		b := make([]byte, 11)
		if _, err := io.ReadFull(s, b); err != nil || string(b) != "still there" {
			t.Fatalf("after it: %q, %v", b, err)
		}
	})
}

func TestLossIsRepaired(t *testing.T) {
	n := transporttest.Fixture{Kind: transport.QUIC}.Pair(t)
	client, server := n.Connect(t)
	c, s := mustStreams(t, client, server)
	n.Faults().Lose(20)
	data := random(300 << 10)
	go func() {
		c.Write(data)
		c.CloseWrite()
	}()
	if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, data) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

func TestContextEndsDialAndAccept(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
		n := f.Pair(t)
		why := errors.New("the user went away")
		ctx, cancel := context.WithCancelCause(context.Background())
		n.Faults().Blackhole(true)
		errs := make(chan error, 2)
		go func() { _, err := n.Dial(ctx); errs <- err }()
		go func() { _, err := n.Accept(ctx); errs <- err }()
		cancel(why)
		for range 2 {
			if err := <-errs; !errors.Is(err, why) {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestListenerCloseLeavesConnections(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
		n := f.Pair(t)
		client, server := n.Connect(t)
		accept := make(chan error, 1)
		go func() { _, err := n.Accept(context.Background()); accept <- err }()
		if err := n.Listener().Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-accept; !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept: %v", err)
		}
		if _, err := n.Accept(soon(t)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept again: %v", err)
		}
		mustStreams(t, client, server)
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		defer cancel()
		if c, err := n.Dial(ctx); err == nil {
			c.Close(0, "")
			t.Error("dialled a closed listener")
		}
	})
}

func ExampleRace() {
	// The keys would come from package certs, and the address from the user.
	var identity *crypto.Identity
	var pinned crypto.PeerID
	if identity == nil {
		return
	}
	conn, err := transport.Race(context.Background(), "nas.example", 7419, crypto.ClientTLS(identity, pinned),
		transport.RaceOptions{Note: func(s string) { fmt.Fprintln(os.Stderr, s) }})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer conn.Close(0, "")
}
