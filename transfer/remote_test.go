package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/transport"
	"xfer/transfer/wire"
)

// stuck takes nothing until it is let go.
type stuck struct {
	began, free chan struct{}
	bytes.Buffer
}

func (w *stuck) Write(p []byte) (int, error) {
	close(w.began)
	<-w.free
	return w.Buffer.Write(p)
}

// A get to a pipe that nobody reads can be stopped.
func TestStdoutThatNobodyReadsCanBeStopped(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		mustWrite(t, h.path("f"), randomBytes(1, 1<<20), 0o644)
		w := &stuck{began: make(chan struct{}), free: make(chan struct{})}
		defer close(w.free)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan error, 1)
		go func() {
			_, err := h.newClient(Options{}).Get(ctx, []Address{addrOf("f")}, "-", w)
			ended <- err
		}()
		<-w.began
		cancel()
		select {
		case err := <-ended:
			if KindOf(err) != KindInterrupted {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("it does not stop")
		}
	})
}

// A chunk whose writing outlasts its session is written once.
func TestStdoutChunkOutlastsItsSession(t *testing.T) {
	data := randomBytes(1, 300<<10)
	h := crypto.NewChunkHasher()
	h.Reset(0, 18)
	_, _ = h.Write(data[:256<<10])
	w := &stuck{began: make(chan struct{}), free: make(chan struct{})}
	p := newPipeLanding(w)
	o := wire.Open{Size: uint64(len(data)), ChunkLog2: 18, Fingerprint: []byte{1}}
	ctx, cut := context.WithCancelCause(t.Context())
	if _, err := p.accept(ctx, o); err != nil {
		t.Fatal(err)
	}
	c, err := p.Claim(0, 0)
	if err == nil {
		err = c.Write(data[:256<<10])
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() { <-w.began; cut(&Error{Op: "read", Kind: KindUnreachable, Err: io.EOF}) }()
	var lost *lostError
	if _, err := c.Finish(h.CV()); !errors.As(err, &lost) || !retryable(err) {
		t.Fatal(err)
	}
	time.AfterFunc(20*time.Millisecond, func() { close(w.free) })
	a, err := p.accept(t.Context(), o)
	if err != nil || len(a.found.Have) != 1 || a.found.Have[0].Count != 1 || !bytes.Equal(w.Bytes(), data[:256<<10]) {
		t.Fatalf("%+v, %v", a, err)
	}
}

// What the receiver says it holds is not believed against the hash that was made before.
func TestLieAboutHeldChunks(t *testing.T) {
	h := newHost(t, transport.TCP)
	src := filepath.Join(t.TempDir(), "f")
	mustWrite(t, src, randomBytes(1, 300<<10), 0o644)
	client := hostileServer(t, h, func(id uint32, m wire.Message, send func(uint32, wire.Message), _ io.Writer) {
		switch m := m.(type) {
		case wire.Stat:
			send(id, wire.Error{Code: wire.CodeNotFound, Class: 4})
		case wire.Open:
			send(id, wire.Opened{State: wire.StatePartial, Epoch: 1, Have: wire.Ranges{{Start: 0, Count: 2}}})
		case wire.Hashes:
			send(id, wire.HashList{CVs: make([]wire.Hash, m.Count)})
		case wire.Commit:
			t.Error("it was committed")
		}
	})
	client.Options.Checksum = true
	if _, err := client.Send(t.Context(), []Source{{Path: src}}, addrOf("f")); KindOf(err) != KindSourceChanged {
		t.Error(err)
	}
}

// No more streams join than are allowed, also when they come at once.
func TestStreamsJoinOneByOne(t *testing.T) {
	h := newHost(t, transport.TCP)
	h.set(func() { h.srv.Limits.MaxStreams = 3 })
	p := h.raw()
	w := p.hello()
	key, err := crypto.SessionKey(p.c)
	if err != nil {
		t.Fatal(err)
	}
	answers := make(chan wire.Message)
	for i := range uint64(10) {
		q := h.raw()
		mac, err := crypto.JoinProof(key, q.c, i)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			q.send(0, wire.Join{Session: w.Session, MAC: mac, Counter: i})
			answers <- q.read()
		}()
	}
	joined := 0
	for range 10 {
		if _, ok := (<-answers).(wire.Joined); ok {
			joined++
		}
	}
	if joined != 3 {
		t.Errorf("%d streams joined", joined)
	}
}
