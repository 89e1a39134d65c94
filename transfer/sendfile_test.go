package transfer

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/transport"
	"xfer/transfer/wire"
)

// scriptStream is a stream whose peer is a function called with what is written.
type scriptStream struct {
	transport.Stream
	written func(p []byte)
}

func (s *scriptStream) Write(p []byte) (int, error) {
	if s.written != nil {
		s.written(p)
	}
	return len(p), nil
}

func (s *scriptStream) Read([]byte) (int, error) { return 0, io.EOF }
func (s *scriptStream) Close() error             { return nil }

// bareSession is a session that nobody serves.
func bareSession(t *testing.T, written func(p []byte)) *session {
	t.Helper()
	s := newSession(t.Context(), nil, &scriptStream{written: written}, false, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { s.cancel(io.EOF) })
	return s
}

// A receiver that acknowledges what was not sent yet learns that this is no receipt for it.
func TestAckOfWhatWasNotSent(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := filepath.Join(t.TempDir(), "f")
		for _, n := range []int{200 << 10, 300 << 10} {
			mustWrite(t, src, randomBytes(1, n), 0o644)
			client := hostileServer(t, h, func(id uint32, m wire.Message, send func(uint32, wire.Message), _ io.Writer) {
				switch m := m.(type) {
				case wire.Stat:
					send(id, wire.Error{Code: wire.CodeNotFound, Class: 4})
				case wire.Open:
					send(id, wire.Opened{State: wire.StateNew, Epoch: 1})
					go func() {
						for range 100 {
							send(id, wire.Ack{Received: wire.Ranges{{Start: 0, Count: 2}}})
							time.Sleep(5 * time.Millisecond)
						}
					}()
				case wire.Commit:
					t.Errorf("COMMIT %x", m.RootHash)
				}
			})
			client.Options.BWLimit = func(time.Time) (int64, int64) { return 100 << 10, 0 }
			if _, err := client.Send(context.Background(), []Source{{Path: src}}, addrOf("f")); KindOf(err) != KindProtocol {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	})
}

// Streams that wait for work are told of it also when it comes between their look and their wait.
func TestNoWakeUpIsLost(t *testing.T) {
	d := newDispatcher(bareSession(t, nil))
	d.mu.Lock() // as one that has looked and not yet waits
	woken := make(chan struct{})
	go func() { defer close(woken); d.wakeAll() }()
	select {
	case <-woken:
		t.Error("a wake-up went to nobody")
	case <-time.After(50 * time.Millisecond):
	}
	d.mu.Unlock()
	<-woken
}

// A chunk of a pipe whose stream died may have arrived: when that turns out while it is sent again, it is no longer
// in memory, and need not be.
func TestPipeChunkArrivesWhileItIsSentAgain(t *testing.T) {
	var f *sendFile
	frames := 0
	s := bareSession(t, func(p []byte) {
		if frames++; frames == 2 {
			if err := f.take(wire.Ack{Received: wire.Ranges{{Start: 0, Count: 1}}}); err != nil {
				t.Error(err)
			}
		}
	})
	p := newPipeSource(bytes.NewReader(randomBytes(1, 1<<20)), []byte{2})
	p.read()
	f = s.newSendFile(2, p, 22)
	f.setCV(0, crypto.CV{}) // it was sent once
	p.attach(f.grow)
	s.disp.add(fileLane, f)
	w, ok := s.disp.next(s.ctl)
	if !ok {
		t.Fatal("nothing to send")
	}
	if err := w.from.send(s.ctl, newSendBuffer()); err != nil {
		t.Fatal(err)
	}
	if err := f.failure(); err != nil || frames != 2 || !f.isReady {
		t.Fatalf("after %d frames: %v, ready %v", frames, err, f.isReady)
	}
}

// Streams that come and go leave nothing behind in the session.
func TestStreamsLeaveNothingBehind(t *testing.T) {
	s := bareSession(t, nil)
	s.panicked = func(v any) { t.Error(v) }
	for i := range 5 {
		st := &scriptStream{}
		if err := s.addStream(st, nil, wire.NewReader(st, wire.MaxControl), uint64(i)); KindOf(err) != KindUnreachable {
			t.Fatal(err)
		}
	}
	if n := len(s.disp.dropped) + s.streamCount() - 1; n != 0 {
		t.Fatalf("%d streams are kept", n)
	}
}
