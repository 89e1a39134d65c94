package transfer

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"xfer/crypto"
	"xfer/transfer/wire"
)

// Progress is what was never done before in a run: not what is lost and done again, however often.
func TestProgressIsMoreThanEverBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMeter(nil, 0)
		began := m.progressAt()
		var file, other highWater
		for i, c := range []struct {
			of    *highWater
			bytes int64
			is    bool
		}{
			{&file, 5, true}, {&file, 6, true}, {&file, 6, false}, {&file, 1, false}, {&file, 6, false}, {&other, 1, true}, {&file, 7, true}, {&other, 1, false},
		} {
			time.Sleep(time.Second)
			before := m.progressAt()
			m.acked(1)
			m.holes(1)
			m.undone(1)
			m.reached(c.of, c.bytes)
			if is := m.progressAt().After(before); is != c.is {
				t.Errorf("step %d, %d bytes: progress is %v", i, c.bytes, is)
			}
		}
		m.file("f", "sent", 7, 7, false)
		if got := m.progressAt().Sub(began); got != 8*time.Second {
			t.Errorf("a file that has arrived: progress after %v", got)
		}
	})
}

// Long work of a peer costs no patience, but what lies between does.
func TestPatienceWithLongWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPatience(10 * time.Second)
		lost := &lostError{context.Canceled}
		sessions := 0
		for began := time.Now(); ; sessions++ {
			from := time.Now()
			time.Sleep(time.Minute)
			p.worked(from, time.Now())
			time.Sleep(2 * time.Second)
			if !p.wait(t.Context(), lost, func(time.Duration, int) {}) {
				break
			}
			if time.Since(began) > time.Hour {
				t.Fatal("it never ends")
			}
		}
		if sessions < 2 || sessions > 5 {
			t.Errorf("%d sessions were tried again", sessions)
		}
		p = newPatience(10 * time.Second)
		for range 20 { // a little more each time
			time.Sleep(9 * time.Second)
			p.progressed(time.Now())
		}
		if !p.wait(t.Context(), lost, func(time.Duration, int) {}) {
			t.Error("a slow network is given up")
		}
		p = newPatience(10 * time.Second)
		for range 3 { // work that takes less time than that is no excuse
			from := time.Now()
			time.Sleep(4 * time.Second)
			p.worked(from, time.Now())
		}
		if p.wait(t.Context(), lost, func(time.Duration, int) {}) {
			t.Error("short work counts")
		}
	})
}

// A server that takes all, or gives all, again and again, and never comes to an end is not tried for ever.
func TestServerThatNeverCommits(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := filepath.Join(t.TempDir(), "tree")
		mustWrite(t, filepath.Join(src, "f"), randomBytes(1, 5000), 0o644)
		mustWrite(t, filepath.Join(src, "d/g"), randomBytes(2, 5000), 0o644)
		large := filepath.Join(t.TempDir(), "large")
		mustWrite(t, large, randomBytes(3, 3<<18), 0o644)
		noCommit := when(func(*treePeer, uint32, wire.TreeCommit) {})
		send := func(ctx context.Context, c *Client, path string) error {
			_, err := c.Send(ctx, []Source{{Path: path}}, addrOf("to"))
			return err
		}
		for name, c := range map[string]struct {
			do  func(p *treePeer, id uint32, m any) bool
			run func(ctx context.Context, c *Client) error
		}{
			"of a tree": {noCommit, func(ctx context.Context, c *Client) error { return send(ctx, c, src+"/") }},
			"of a tree that is not published": {func(p *treePeer, id uint32, m any) bool {
				if m, ok := m.(wire.Pack); ok {
					p.send(id, wire.TreeAck{Packs: []wire.Range{{Start: m.Number, Count: 1}}})
					return true
				}
				return noCommit(p, id, m)
			}, func(ctx context.Context, c *Client) error { return send(ctx, c, src+"/") }},
			"of a file": {func(p *treePeer, id uint32, m any) bool {
				switch m := m.(type) {
				case wire.Open:
					p.send(id, wire.Opened{State: wire.StateNew, Epoch: 1})
				case wire.Data:
					if m.Flags&wire.DataLast != 0 {
						p.send(id, wire.Ack{Received: wire.Ranges{{Start: m.Chunk, Count: 1}}})
					}
				case wire.Commit:
				default:
					return false
				}
				return true
			}, func(ctx context.Context, c *Client) error { return send(ctx, c, large) }},
			"of a file that is fetched, always another one": {func(p *treePeer, id uint32, m any) bool {
				switch m := m.(type) {
				case wire.Stat:
					p.send(id, wire.Stated{Entry: wire.Entry{Name: "f", Kind: wire.KindFile, Size: 1000}})
				case wire.Get:
					fingerprint := make([]byte, 16)
					_, _ = rand.Read(fingerprint)
					p.send(id, wire.Open{Transfer: wire.TransferID(fingerprint), Path: m.Path, Size: 1000, ChunkLog2: 18, Alg: 1, Fingerprint: fingerprint})
				case wire.Opened:
					content := randomBytes(4, 1000)
					raw := &rawPeer{st: p.st}
					raw.data(id, wire.DataFirst|wire.DataLast, 0, 0, 1000, content, crypto.CV(crypto.Sum(content)))
				default:
					return false
				}
				return true
			}, func(ctx context.Context, c *Client) error {
				_, err := c.Get(ctx, []Address{addrOf("f")}, filepath.Join(t.TempDir(), "f"), nil)
				return err
			}},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				client := treeServer(t, h, c.do)
				client.Options.Timeout, client.Options.RetryFor = 200*time.Millisecond, 600*time.Millisecond
				ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
				defer cancel()
				if err := c.run(ctx, client); KindOf(err) != KindStalled {
					t.Errorf("kind %d: %v", KindOf(err), err)
				}
			})
		}
	})
}
