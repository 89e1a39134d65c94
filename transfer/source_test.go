package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"xfer/transfer/transport"
	"xfer/transfer/wire"
)

// frameConn ends its connection in place of the first frame of type at that is written on it.
type frameConn struct {
	transport.Conn
	at  wire.Type
	cut *atomic.Bool
}

func (c *frameConn) OpenStream(ctx context.Context) (transport.Stream, error) {
	s, err := c.Conn.OpenStream(ctx)
	return &frameStream{Stream: s, c: c}, err
}

type frameStream struct {
	transport.Stream
	c *frameConn
}

func (s *frameStream) Write(p []byte) (int, error) {
	if len(p) > 0 && wire.Type(p[0]) == s.c.at && s.c.cut.CompareAndSwap(false, true) {
		_ = s.c.Close(1, "cut")
		return 0, io.ErrUnexpectedEOF
	}
	return s.Stream.Write(p)
}

// A stream of one chunk is committed with its root also when the chunk came in an earlier session.
func TestStdinCutBeforeCommit(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		for _, n := range []int{5, 4 << 20, 4<<20 + 1} {
			var cut atomic.Bool
			h.onDial = func(_ int64, c transport.Conn) transport.Conn { return &frameConn{c, wire.TCommit, &cut} }
			data := randomBytes(uint64(n), n)
			res, err := h.newClient(Options{}).Send(context.Background(), []Source{{Stdin: bytes.NewReader(data)}}, addrOf("in"))
			if err != nil || !cut.Load() || res.Retries == 0 {
				t.Fatalf("%d bytes: %v, cut %v, %+v", n, err, cut.Load(), res)
			}
			if got, _ := os.ReadFile(h.path("in")); !bytes.Equal(got, data) {
				t.Fatalf("%d bytes arrived as %d others", n, len(got))
			}
		}
	})
}

// What a pipe has forgotten because the receiver had it, the receiver must still have in the next session.
func TestPipeIsResumedOnlyWhereNothingIsLost(t *testing.T) {
	p := newPipeSource(bytes.NewReader(randomBytes(1, 5<<20)), []byte{2})
	p.read()
	p.Acked(0)
	for name, c := range map[string]struct {
		opened wire.Opened
		want   error
	}{
		"the acknowledged chunk is lost": {wire.Opened{State: wire.StateNew}, errPipeLost},
		"chunks that were never read":    {wire.Opened{State: wire.StatePartial, Have: wire.Ranges{{Start: 0, Count: 3}}}, nil},
	} {
		f := bareSession(t, nil).newSendFile(2, p, 22)
		err := f.resume(t.Context(), c.opened)
		var pe *wire.ProtocolError
		if c.want == nil && !errors.As(err, &pe) || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A program that writes nothing for a while to our standard input is no reason to give the connection up.
func TestSilentStdinIsNoStall(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		r, w := io.Pipe()
		go func() {
			_, _ = w.Write(make([]byte, 4<<20))
			time.Sleep(3500 * time.Millisecond)
			_, _ = w.Write([]byte("end"))
			_ = w.Close()
		}()
		res, err := h.newClient(Options{Timeout: 1500 * time.Millisecond}).Send(context.Background(), []Source{{Stdin: r}}, addrOf("in"))
		if err != nil || res.Retries != 0 || res.Bytes != 4<<20+3 {
			t.Fatalf("%v, %+v", err, res)
		}
	})
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestStdinIsLetGoWhenTheRunFails(t *testing.T) {
	h := newHost(t, transport.TCP)
	h.dialErr = func(n int64) error {
		if n > 1 {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	h.onDial = func(_ int64, c transport.Conn) transport.Conn { return &frameConn{c, wire.TData, new(atomic.Bool)} }
	if _, err := h.newClient(Options{RetryFor: time.Nanosecond}).Send(context.Background(), []Source{{Stdin: zeros{}}}, addrOf("in")); err == nil {
		t.Fatal("it succeeded")
	}
	buf := make([]byte, 1<<20)
	for deadline := time.Now().Add(5 * time.Second); strings.Contains(string(buf[:runtime.Stack(buf, true)]), "pipeSource).read"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("standard input is still being read")
		}
	}
}

// An answer to OPEN that ends a transfer before it began must fit what was asked.
func TestHostileOpened(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := filepath.Join(t.TempDir(), "f")
		mustWrite(t, src, []byte("hello"), 0o644)
		receipt := func(o wire.Open, root wire.Hash, size uint64) *wire.Receipt {
			r := &wire.Receipt{Transfer: o.Transfer, RootHash: root, Size: size, Path: o.Path, Signer: h.server.SPKI()}
			r.Signature, _ = h.server.SignReceipt(wire.ReceiptBytes(*r))
			return r
		}
		for name, c := range map[string]struct {
			stdin  bool
			opened func(o wire.Open) wire.Opened
			kind   Kind
		}{
			"a pipe that is there already": {true, func(wire.Open) wire.Opened { return wire.Opened{State: wire.StateSame} }, KindProtocol},
			"a pipe to be compared":        {true, func(wire.Open) wire.Opened { return wire.Opened{State: wire.StateExists} }, KindProtocol},
			"a pipe that arrived unread": {true, func(o wire.Open) wire.Opened {
				return wire.Opened{State: wire.StateDone, Receipt: receipt(o, wire.Hash{1}, 5)}
			}, KindVerify},
			"a receipt for another transfer": {false, func(o wire.Open) wire.Opened {
				o.Transfer[0]++
				return wire.Opened{State: wire.StateDone, Receipt: receipt(o, *o.RootHash, 5)}
			}, KindVerify},
			"a receipt for other content": {false, func(o wire.Open) wire.Opened {
				return wire.Opened{State: wire.StateSame, Receipt: receipt(o, wire.Hash{1}, 5)}
			}, KindVerify},
			"done, with other content": {false, func(o wire.Open) wire.Opened {
				return wire.Opened{State: wire.StateDone, Receipt: receipt(o, wire.Hash{1}, 5)}
			}, KindSourceChanged},
		} {
			client := hostileServer(t, h, func(id uint32, m wire.Message, send func(uint32, wire.Message), _ io.Writer) {
				switch m := m.(type) {
				case wire.Stat:
					send(id, wire.Error{Code: wire.CodeNotFound, Class: 4})
				case wire.Open:
					send(id, c.opened(m))
				}
			})
			client.Options.Receipts = true
			s := Source{Path: src}
			if c.stdin {
				r, w := io.Pipe()
				defer w.Close()
				s = Source{Stdin: r}
			}
			if _, err := client.Send(context.Background(), []Source{s}, addrOf("f")); KindOf(err) != c.kind {
				t.Errorf("%s: kind %d, %v", name, KindOf(err), err)
			}
		}
	})
}
