package transport_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"xfer/transfer/transport"
	"xfer/transfer/transport/transporttest"
)

// A frame written just before Close reaches the peer, although the peer has sent what was never read.
func TestLastWordsBeforeClose(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
		n := f.Pair(t)
		fastest := time.Hour // of a machine that is busy with other things a single one says little
		for range 10 {
			client, server := n.Connect(t)
			c, s := mustStreams(t, client, server)
			var wg sync.WaitGroup
			wg.Go(func() { c.Write(random(100 << 10)) }) // what nobody reads
			words := random(50 << 10)
			wg.Go(func() {
				if _, err := s.Write(words); err != nil {
					t.Error(err)
				}
				server.Close(7, "because")
			})
			time.Sleep(20 * time.Millisecond) // the reader is slow: it has other things to do
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, words) {
				t.Fatalf("got %d of %d bytes, %v", len(got), len(words), err)
			}
			start := time.Now()
			client.Close(0, "")
			<-client.Done()
			<-server.Done()
			fastest = min(fastest, time.Since(start))
			wg.Wait()
		}
		if fastest > 500*time.Millisecond {
			t.Errorf("both closed, but it never took less than %v", fastest)
		}
	})
}

func TestCloseCodeReachesQUICPeer(t *testing.T) {
	client, server := transporttest.Fixture{Kind: transport.QUIC}.Connected(t)
	server.Close(42, "no room")
	_, err := client.AcceptStream(soon(t))
	var ce *transport.CloseError
	if !errors.As(err, &ce) || ce.Code != 42 || ce.Reason != "no room" || !isNetwork(err) {
		t.Fatalf("got %v", err)
	}
}

func TestCloseEndsWhatIsInProgress(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
		client, server := f.Connected(t)
		c, _ := mustStreams(t, client, server)
		errs := make(chan error, 3)
		var started sync.WaitGroup
		started.Add(3)
		go func() { started.Done(); _, err := c.Read(make([]byte, 1)); errs <- err }()
		go func() { started.Done(); _, err := client.AcceptStream(context.Background()); errs <- err }()
		go func() {
			started.Done()
			var err error
			for err == nil {
				_, err = c.Write(make([]byte, 1<<20))
			}
			errs <- err
		}()
		started.Wait()
		time.Sleep(20 * time.Millisecond) // most likely they are all blocked now; it has to work if not, too
		start := time.Now()
		client.Close(0, "")
		for range 3 {
			if err := <-errs; !errors.Is(err, net.ErrClosed) {
				t.Errorf("got %v", err)
			}
		}
		if d := time.Since(start); d > 500*time.Millisecond {
			t.Errorf("it took %v", d)
		}
		if err := client.Close(0, ""); err != nil {
			t.Error(err)
		}
		if _, err := client.OpenStream(context.Background()); !errors.Is(err, net.ErrClosed) {
			t.Errorf("open: %v", err)
		}
		for _, err := range []error{c.CloseWrite(), c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Time{})} {
			if !errors.Is(err, net.ErrClosed) {
				t.Errorf("got %v", err)
			}
		}
		within(t, 2*time.Second, "Done", func() { <-client.Done() }) // the peer does not read
	})
}

func TestStreamCloseIsNoEnd(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
		client, server := f.Connected(t)
		c, s := mustStreams(t, client, server)
		go c.Read(make([]byte, 1))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("own read: %v", err)
		}
		if _, err := s.Write(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("own write: %v", err)
		}
		within(t, 5*time.Second, "the peer's error", func() {
			if _, err := io.ReadAll(c); !isNetwork(err) {
				t.Errorf("peer's read: %v", err)
			}
		})
		if client.Multiplexed() {
			mustStreams(t, client, server) // the connection lives
		} else {
			<-server.Done()
		}
	})
}

// CloseWrite and then Close loses nothing.
func TestCloseAfterCloseWrite(t *testing.T) {
	transporttest.Run(t, func(t *testing.T, f transporttest.Fixture) {
		client, server := f.Connected(t)
		c, s := mustStreams(t, client, server)
		data := random(200 << 10)
		go func() {
			c.Write(data)
			c.CloseWrite()
			c.Close()
		}()
		if got, err := io.ReadAll(s); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("got %d bytes, %v", len(got), err)
		}
	})
}
