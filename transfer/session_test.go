package transfer

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"xfer/crypto"
	"xfer/transfer/transport"
	"xfer/transfer/wire"
)

// A link, or a limit, on which one chunk takes longer than the timeout is slow and not dead.
func TestSlowIsNotStalled(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		dir := t.TempDir()
		src := filepath.Join(dir, "f")
		mustWrite(t, src, randomBytes(1, 256<<10), 0o644)
		slow := Options{Timeout: 1500 * time.Millisecond, BWLimit: func(time.Time) (int64, int64) { return 80 << 10, 80 << 10 }}
		if res := h.mustSend(slow, "", src); res.Retries != 0 {
			t.Errorf("sent with %d retries", res.Retries)
		}
		if res := h.mustGet(slow, filepath.Join(dir, "back"), "f"); res.Retries != 0 {
			t.Errorf("fetched with %d retries", res.Retries)
		}
	})
}

// slowSource takes a second for each read.
type slowSource struct{ size int64 }

func (s slowSource) ReadAt(p []byte, _ int64) error { time.Sleep(time.Second); clear(p); return nil }
func (s slowSource) Size() int64                    { return s.size }
func (s slowSource) Fingerprint() []byte            { return nil }
func (s slowSource) Fresh() bool                    { return false }
func (s slowSource) Changed() error                 { return nil }
func (s slowSource) Acked(int64)                    {}
func (s slowSource) Close() error                   { return nil }

// A server that reads a file again to compare it shows that it lives.
func TestServerAtWorkSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bareSession(t, nil)
		s.server = true
		f := s.newSendFile(1, slowSource{8 << 20}, 18)
		var have chunkSet
		for i := range f.total {
			have.add(i)
		}
		hash := crypto.NewChunkHasher()
		for i := range f.total {
			hash.Reset(uint64(i), 18)
			_, _ = hash.Write(make([]byte, 256<<10))
			f.setCV(i, hash.CV())
		}
		if err := f.compare(t.Context(), &have); err != nil {
			t.Fatal(err)
		}
		if _, err := hashSource(f.src, func() error { f.atWork(); return nil }); err != nil {
			t.Fatal(err)
		}
		ack, err := wire.AppendFrame(nil, 1, wire.Ack{})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(s.ctl.queue) / len(ack); n < 30 {
			t.Errorf("%d signs of life in 64 seconds", n)
		}
	})
}

// Who is cut off learns why, whatever ends first.
func TestCauseOfTheCutIsTold(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		l, err := transport.Listen("127.0.0.1:0", []transport.Kind{h.kind}, crypto.ServerTLS(h.server, nil), transport.ListenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer l[0].Close()
		at := &host{t: t, kind: h.kind, server: h.server, client: h.client, addr: l[0].Addr().String()}
		for range 20 {
			ctx, cut := context.WithCancelCause(context.Background())
			served := make(chan error, 1)
			go func() {
				c, err := l[0].Accept(ctx)
				if err == nil {
					err = h.srv.Serve(ctx, c)
				}
				served <- err
			}()
			p := at.raw()
			p.hello()
			revoked := &Error{Op: "authorize", Kind: KindTrust, Err: errors.New("the client was removed")}
			cut(revoked)
			if code := p.mustEnd(); code != wire.CodeAuth {
				t.Fatalf("ended with %v", code)
			}
			if err := <-served; !errors.Is(err, revoked) {
				t.Fatalf("Serve: %v", err)
			}
		}
	})
}

// A request that several goroutines work on is worked on until the last of them is done.
func TestWorkIsCounted(t *testing.T) {
	s := newSession(t.Context(), nil, nil, true, slog.New(slog.DiscardHandler))
	first, second := s.worksOn(7), s.worksOn(7)
	second()
	if len(s.works) != 1 {
		t.Error("one of them is at work still")
	}
	first()
	if len(s.works) != 0 {
		t.Error("nobody is at work any more")
	}
}
