package transporttest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"xfer/transfer/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo sends data from one end to the other and back, and tells how long it took.
func echo(t *testing.T, n *Net, data []byte) time.Duration {
	t.Helper()
	client, server := n.Connect(t)
	c, err := client.OpenStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	go func() {
		c.Write(data)
		c.CloseWrite()
	}()
	s, err := server.AcceptStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		io.Copy(s, s)
		s.CloseWrite()
	}()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, data) {
		t.Fatalf("got %d of %d bytes, %v", len(got), len(data), err)
	}
	return time.Since(start)
}

func TestSimulatedDelayAndLoss(t *testing.T) {
	for _, f := range Simulated() {
		t.Run(f.Name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := f.Pair(t)
				n.Faults().Delay(50 * time.Millisecond)
				if f.Kind == transport.QUIC {
					n.Faults().Lose(20)
				}
				if d := echo(t, n, make([]byte, 300<<10)); d < 100*time.Millisecond || d > time.Minute {
					t.Errorf("took %v of virtual time", d)
				}
			})
		})
	}
}

// A QUIC connection whose network is gone ends by itself after 45 seconds, at both ends.
func TestSimulatedSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := Simulated()[1].Pair(t)
		client, server := n.Connect(t)
		time.Sleep(10 * time.Minute) // kept alive
		select {
		case <-client.Done():
			t.Fatal("an idle connection ended")
		default:
		}
		n.Faults().Blackhole(true)
		start := time.Now()
		for _, c := range []transport.Conn{client, server} {
			_, err := c.AcceptStream(context.Background())
			var ne *transport.NetError
			if !errors.As(err, &ne) || !ne.Timeout() {
				t.Errorf("got %v", err)
			}
			<-c.Done()
		}
		if d := time.Since(start); d < 15*time.Second || d > 90*time.Second {
			t.Errorf("noticed after %v", d)
		}
	})
}

func TestFaults(t *testing.T) {
	Run(t, func(t *testing.T, f Fixture) {
		n := f.Pair(t)
		before := n.Faults().Passed()
		n.Faults().Delay(20 * time.Millisecond)
		if d := echo(t, n, make([]byte, 10<<10)); d < 40*time.Millisecond {
			t.Errorf("a delay of 20 ms each way took %v", d)
		}
		n.Faults().Delay(0)
		if p := n.Faults().Passed() - before; p < 20<<10 || p > 100<<10 {
			t.Errorf("%d bytes passed", p)
		}
		client, _ := n.Connect(t)
		n.Faults().CutNow()
		select {
		case <-client.Done():
		case <-time.After(100 * time.Millisecond):
			// TCP and memory notice with the next use
			c, err := client.OpenStream(context.Background())
			if err == nil {
				_, err = c.Read(make([]byte, 1))
			}
			if err == nil {
				t.Error("a cut connection lives")
			}
		}
		echo(t, n, []byte("later ones are well"))
	})
}
