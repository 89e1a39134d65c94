package transfer

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"xfer/transfer/durable"
	"xfer/transfer/sink"
	"xfer/transfer/transport"
	"xfer/transfer/wire"
)

// A connection that is lost after the server was at work for longer than our patience is made again.
func TestLossAfterLongWorkIsRetried(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		var asked atomic.Int64
		client := hostileServer(t, h, func(id uint32, m wire.Message, send func(uint32, wire.Message), raw io.Writer) {
			if _, ok := m.(wire.Stat); !ok {
				return
			}
			if asked.Add(1) > 1 {
				send(id, wire.Stated{Entry: wire.Entry{Name: "f", Kind: wire.KindFile, Size: 5}})
				return
			}
			for range 6 { // a long time at work, then the network breaks
				send(id, wire.Ack{})
				time.Sleep(100 * time.Millisecond)
			}
			_ = raw.(transport.Stream).Close()
		})
		r, err := client.Remote(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if e, err := r.Stat(t.Context(), addrOf("f")); err != nil || e.Size != 5 {
			t.Fatalf("%+v, %v", e, err)
		}
	})
}

// What a Remote knows of the server it still knows when the connection is lost for good.
func TestRemoteOutlivesItsConnection(t *testing.T) {
	h := newHost(t, transport.TCP)
	r, err := h.newClient(Options{RetryFor: time.Millisecond}).Remote(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h.dialErr = func(int64) error { return &Error{Op: "dial", Kind: KindUnreachable, Err: io.ErrUnexpectedEOF} }
	h.stop()
	for range 3 {
		if _, err := r.Stat(t.Context(), addrOf("f")); err == nil {
			t.Fatal("no error")
		}
	}
	if len(r.Roots()) != 1 || r.Name() != "laptop" || r.Peer() != h.server.ID() || r.Transport() != "tcp" || r.Clock().IsZero() {
		t.Error("it has forgotten the server")
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	h.start()
}

// slowFS takes a while to remove something.
type slowFS struct{ durable.FS }

func (f slowFS) Remove(name string) error { time.Sleep(7 * time.Second); return f.FS.Remove(name) }

// A request that takes long is no stall: the server says that it is at work.
func TestLongRequestShowsSignsOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "f"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		fsys, err := durable.OpenOS(dir)
		if err != nil {
			t.Fatal(err)
		}
		d, err := sink.Open(slowFS{fsys}, sink.Options{})
		if err != nil {
			t.Fatal(err)
		}
		s := newSession(context.Background(), nil, &scriptStream{}, true, slog.New(slog.DiscardHandler))
		s.panicked = func(v any) { t.Error(v) }
		ss := &serverSession{session: s, grant: Grant{Roots: []GrantedRoot{{Name: "r", View: d.View("o", sink.All), Default: true}}}}
		path, err := wire.NewPath("f")
		if err != nil {
			t.Fatal(err)
		}
		s.goRun(s.tick)
		if err := ss.message(wire.Header{ID: 4}, wire.Remove{Path: path}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(6 * time.Second)
		ack, err := wire.AppendFrame(nil, 4, wire.Ack{})
		if err != nil {
			t.Fatal(err)
		}
		s.ctl.qmu.Lock()
		n := len(s.ctl.queue)
		s.ctl.qmu.Unlock()
		if n < 2*len(ack) {
			t.Errorf("%d bytes in 6 seconds", n)
		}
		time.Sleep(6 * time.Second)
		s.mu.Lock()
		left := len(s.works)
		s.mu.Unlock()
		if _, err := os.Lstat(filepath.Join(dir, "f")); err == nil || left != 0 {
			t.Errorf("it is not removed, or %d are still worked on", left)
		}
		s.cancel(io.EOF)
		s.wg.Wait()
		_ = d.Close()
	})
}

// A limit that changes while somebody waits is no error for him.
func TestLimitChangesWhileWaiting(t *testing.T) {
	limit := int64(1 << 30)
	b := &bandwidth{limit: func(time.Time) int64 { return limit }}
	old := b.limiter()
	take := old.Burst()
	limit = 20 << 10
	if now := b.limiter(); now.Burst() >= take {
		t.Fatalf("the burst is still %d", now.Burst())
	}
	if err := old.WaitN(t.Context(), take); err != nil {
		t.Error(err)
	}
}

// kindConn is a connection that only knows its kind.
type kindConn struct {
	transport.Conn
	kind transport.Kind
}

func (c kindConn) Kind() transport.Kind { return c.kind }

// Streams follow the size of the file, and on QUIC the cores here and the way to the peer; a number that was asked for is that of
// all, with the control stream.
func TestStreamsForAFile(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	const near, far = time.Millisecond, 50 * time.Millisecond
	for _, c := range []struct {
		kind         transport.Kind
		asked, cores int
		rtt          time.Duration
		size         int64
		want         int
	}{
		{transport.TCP, 0, 1, near, 1 << 30, 3},
		{transport.TCP, 0, 64, near, 1 << 30, 3},
		{transport.TCP, 0, 1, far, 1 << 30, 3},
		{transport.QUIC, 0, 1, near, 1 << 30, 0},
		{transport.QUIC, 0, 2, near, 1 << 30, 1},
		{transport.QUIC, 0, 64, near, 1 << 30, 3},
		{transport.QUIC, 0, 1, far, 1 << 30, 3},
		{transport.QUIC, 0, 1, near, 2 << 20, 0},
		{transport.TCP, 0, 64, near, 2<<20 - 1, 0},
		{transport.TCP, 0, 64, near, 2 << 20, 1},
		{transport.TCP, 0, 64, near, 16 << 20, 3},
		{transport.TCP, 0, 64, near, -1, 3},
		{transport.TCP, 1, 64, far, 1 << 30, 0},
		{transport.QUIC, 8, 1, near, 1, 7},
		{transport.TCP, 1000, 1, near, 1, 63},
	} {
		runtime.GOMAXPROCS(c.cores)
		cs := &clientSession{session: &session{conn: kindConn{kind: c.kind}}, c: &Client{Options: Options{Streams: c.asked}}, rtt: c.rtt}
		if got := cs.streamsFor(c.size); got != c.want {
			t.Errorf("%+v: got %d", c, got)
		}
	}
}
