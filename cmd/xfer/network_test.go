package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// throughRelay is a daemon and a client with a relay between them.
func throughRelay(t *testing.T) (*server, *side, *relay) {
	t.Helper()
	d := startDaemon(t)
	r := newRelay(t, d.addr)
	name := "relayed"
	o := d.must("invite", "--name", name)
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	c := newSide(t)
	c.env = []string{"XFER_PORT=" + strconv.Itoa(r.port())}
	if e := c.run(lines[len(lines)-1]+"\n", "enroll", "127.0.0.1"); e.code != 0 {
		t.Fatalf("enroll: %s", e.stderr)
	}
	return d, c, r
}

func TestTenCutsInOneFile(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: moves much")
	}
	const size = 256 << 20
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			d, c, r := throughRelay(t)
			src := filepath.Join(t.TempDir(), "file")
			data := mustRandomFile(t, src, 7, size)
			var cuts atomic.Int64
			base := r.bytes.Load()
			r.onN = func(total int64) {
				if n := cuts.Load(); n < 10 && total-base > (n+1)*(size/12) && cuts.CompareAndSwap(n, n+1) {
					go r.cut()
				}
			}
			o := c.run("", "send", "--json", "--transport", transport, "--timeout", "3s", src, d.host("file"))
			if o.code != 0 {
				t.Fatalf("exit %d after %d cuts: %s", o.code, cuts.Load(), o.stderr)
			}
			if got, _ := os.ReadFile(d.inbox("file")); !bytes.Equal(got, data) {
				t.Fatal("a wrong file")
			}
			res := o.result(t)
			if cuts.Load() != 10 || (res.Retries == 0 && transport == "tcp") { // QUIC goes on from another address
				t.Errorf("%d cuts, %d retries", cuts.Load(), res.Retries)
			}
			t.Logf("%d cuts, %d retries, %d bytes sent twice", cuts.Load(), res.Retries, res.BytesSent-size)
		})
	}
}

func TestTenSecondsWithoutALink(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: waits")
	}
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			d, c, r := throughRelay(t)
			src := filepath.Join(t.TempDir(), "file")
			data := mustRandomFile(t, src, 8, 64<<20)
			base := r.bytes.Load()
			var once atomic.Bool
			r.onN = func(total int64) {
				if total-base > 20<<20 && once.CompareAndSwap(false, true) {
					r.dark.Store(true)
					time.AfterFunc(10*time.Second, func() { r.dark.Store(false) })
				}
			}
			o := c.run("", "send", "--json", "--transport", transport, src, d.host("file"))
			if o.code != 0 {
				t.Fatalf("exit %d: %s", o.code, o.stderr)
			}
			if got, _ := os.ReadFile(d.inbox("file")); !bytes.Equal(got, data) {
				t.Fatal("a wrong file")
			}
			if !once.Load() {
				t.Error("the link was never down")
			}
		})
	}
}

// TestOneTransportBlocked: with the default, either of them may be blocked from the start.
func TestOneTransportBlocked(t *testing.T) {
	for _, blocked := range transports {
		t.Run(blocked, func(t *testing.T) {
			d, c, r := throughRelay(t)
			if blocked == "tcp" {
				_ = r.tcp.Close()
			}
			r.noUDP.Store(blocked == "quic")
			r.cut()
			src := filepath.Join(t.TempDir(), "file")
			data := mustRandomFile(t, src, 9, 8<<20)
			o := c.run("", "send", "--json", src, d.host("file"))
			if o.code != 0 {
				t.Fatalf("exit %d: %s", o.code, o.stderr)
			}
			if got, _ := os.ReadFile(d.inbox("file")); !bytes.Equal(got, data) {
				t.Fatal("a wrong file")
			}
			if by := o.result(t).Transport; by == blocked {
				t.Errorf("it went by %s", by)
			}
			if blocked == "tcp" && strings.Count(o.stderr, "TCP") != 1 {
				t.Errorf("it does not say once that TCP is blocked: %q", o.stderr)
			}
		})
	}
}
