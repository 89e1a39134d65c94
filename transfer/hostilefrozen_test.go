package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"xfer/crypto"
	"xfer/transfer/sink"
	"xfer/transfer/transport"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// pipeConn is a connection of one stream within the process, whose writers wait for readers.
type pipeConn struct {
	transport.Conn
	pipe net.Conn
	once sync.Once
	done chan struct{}
}

func (c *pipeConn) Kind() transport.Kind { return transport.TCP }

func (c *pipeConn) Close(uint64, string) error {
	c.once.Do(func() { close(c.done); _ = c.pipe.Close() })
	return nil
}

func (c *pipeConn) Done() <-chan struct{} { return c.done }

type pipeStream struct {
	net.Conn
	c *pipeConn
}

func (s pipeStream) CloseWrite() error { return nil }

func (s pipeStream) Close() error { return s.c.Close(0, "") }

// A client that freezes in the middle of a tree, that is sends nothing and reads nothing, is given up, and what was complete is published.
func TestFrozenClient(t *testing.T) {
	file := func(name string) tree.Record { return tree.Record{Name: name, Kind: tree.File, Size: 1, Mode: 0o644} }
	for name, c := range map[string]struct {
		after int // how many of its messages it sends
		want  string
	}{
		"after TREE_OPEN": {1, ""},
		"after a part":    {2, ""},
		"after a pack":    {3, "a"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			manifest := manifestOf(t, file("a"), file("b"))
			synctest.Test(t, func(t *testing.T) {
				d, err := sink.OpenDir(root, sink.Options{})
				if err != nil {
					t.Fatal(err)
				}
				defer d.Close()
				here, there := net.Pipe()
				conn := &pipeConn{pipe: there, done: make(chan struct{})}
				s := newSession(context.Background(), conn, pipeStream{there, conn}, true, slog.New(slog.DiscardHandler))
				s.panicked = func(v any) { t.Error(v) }
				grant := Grant{Roots: []GrantedRoot{{Name: "r", View: d.View("o", sink.All), Default: true}}}
				ss := &serverSession{session: s, srv: &Server{}, grant: grant}
				ss.onMessage = ss.message
				ended := make(chan error, 1)
				go func() { ended <- ss.run(wire.NewReader(there, wire.MaxControl)) }()
				answers := wire.NewReader(here, wire.MaxControl)
				read := func(done func(m wire.Message) bool) {
					for {
						h, err := answers.Next()
						if err != nil {
							t.Fatal(err)
						}
						m, err := answers.Message(h)
						if err != nil {
							t.Fatal(err)
						}
						if done(m) {
							return
						}
					}
				}
				send := func(m wire.Message) {
					b, err := wire.AppendFrame(nil, 2, m)
					if err != nil {
						t.Fatal(err)
					}
					_, _ = here.Write(b)
				}
				path, _ := wire.NewPath("top")
				for i := range c.after {
					switch i {
					case 0:
						send(wire.TreeOpen{Tree: wire.TransferID{1}, Path: path, Durability: wire.DurabilityNone})
						read(func(m wire.Message) bool { _, ok := m.(wire.TreeOpened); return ok })
					case 1:
						send(wire.TreePart{Count: 3, Records: manifest})
						read(func(m wire.Message) bool { _, ok := m.(wire.TreeVerdicts); return ok })
					case 2:
						(&rawPeer{st: pipeStream{here, conn}}).pack(2, 0, packFile(1, "x"))
						read(func(m wire.Message) bool { a, ok := m.(wire.TreeAck); return ok && len(a.Packs) > 0 })
					}
				}
				go func() { _, _ = io.Copy(io.Discard, here) }() // what it does not read lies in the buffers of its system
				began := time.Now()
				err = <-ended
				if took := time.Since(began); KindOf(err) != KindUnreachable || took < deadAfter-pingEvery || took > deadAfter+pingEvery {
					t.Errorf("it was given up after %v: %v", took, err)
				}
				if len(s.treeRecvs) != 0 {
					t.Error("the tree is still there")
				}
				_ = here.Close()
			})
			var got []string
			if _, err := os.Lstat(root + "/top"); err == nil {
				got = namesBeneath(t, root+"/top")
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("arrived: %v", got)
			}
		})
	}
}

// emptyFiles sends a manifest of n files of nothing to a server, which then are all there is to be done, and returns the most that lived on the heap
// in either half of it.
func (p *rawPeer) emptyFiles(id uint32, n uint64) (most [2]uint64, err error) {
	const each = 4096
	p.openTree(id, "many", wire.TreeDryRun)
	enc, hash := tree.NewEncoder(), crypto.NewHasher()
	sent, answered := uint64(0), uint64(0)
	var buf []byte
	for answered < n {
		for sent < n && sent < answered+treeAhead*each {
			buf = buf[:0]
			first := sent
			for ; sent < n && sent < first+each; sent++ {
				r := tree.Record{Name: fmt.Sprintf("%08x", sent), Kind: tree.File, Mode: 0o644}
				if sent == 0 {
					r = tree.Record{Kind: tree.Directory, NoMeta: true}
				}
				if buf, err = enc.Append(buf, &r); err != nil {
					return most, err
				}
			}
			_, _ = hash.Write(buf)
			p.send(id, wire.TreePart{First: first, Count: sent - first, Records: buf, Last: sent == n})
		}
		_ = p.st.SetReadDeadline(time.Now().Add(30 * time.Second))
		v, ok := p.readTree().(wire.TreeVerdicts)
		if !ok {
			return most, errors.New("no verdicts")
		}
		answered += uint64(v.Entries())
		if answered/each%8 == 0 || answered == n {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			half := min(answered*2/n, 1)
			most[half] = max(most[half], m.HeapAlloc)
		}
	}
	p.send(id, wire.TreeCommit{Entries: n, Manifest: wire.Hash(hash.Sum())})
	for {
		switch m := p.readTree().(type) {
		case wire.TreeReceipt:
			return most, nil
		case wire.TreeAck:
		default:
			return most, fmt.Errorf("%#v", m)
		}
	}
}

// The memory for a manifest does not grow with its entries, and another tree of the session comes to its end beside it.
func TestVeryLongManifest(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		p := h.raw()
		p.hello()
		_ = p.st.SetWriteDeadline(time.Now().Add(60 * time.Second))
		if m, ok := p.openTree(4, "other", 0).(wire.TreeOpened); !ok {
			t.Fatalf("%#v", m)
		}
		most, err := p.emptyFiles(2, 300_000)
		if err != nil {
			t.Fatal(err)
		}
		if most[1] > most[0]+16<<20 {
			t.Errorf("%d MiB for the first half, %d MiB for the second", most[0]>>20, most[1]>>20)
		}
		p.otherTree(4)
		h.mustServe()
	})
}
