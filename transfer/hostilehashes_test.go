package transfer

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"xfer/transfer/wire"
)

// HASHES of what is not there, or is not to be had, ends the session; what is late, or for nobody, says nothing.
func TestHostileHashes(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		mustWrite(t, h.path("f"), randomBytes(1, 2<<20), 0o644)
		hashes := func(id uint32, m wire.Hashes) func(p *rawPeer) { return func(p *rawPeer) { p.send(id, m) } }
		bare := func(body ...byte) func(p *rawPeer) { return func(p *rawPeer) { p.bare(wire.THashes, 2, body...) } }
		for name, c := range map[string]struct {
			do   func(p *rawPeer)
			code wire.Code // 0: it is ignored
		}{
			"of chunks behind the file":        {hashes(2, wire.Hashes{First: 8, Count: 1}), wire.CodeProtocol},
			"to behind the file":               {hashes(2, wire.Hashes{First: 7, Count: 2}), wire.CodeProtocol},
			"of the old one, behind it":        {hashes(2, wire.Hashes{First: 8, Count: 1, Old: true}), wire.CodeProtocol},
			"of the old one, to behind it":     {hashes(2, wire.Hashes{First: 1, Count: 8, Old: true, Groups: true}), wire.CodeProtocol},
			"of an old one that there is not":  {hashes(4, wire.Hashes{Count: 1, Old: true}), wire.CodeProtocol},
			"too many":                         {bare(0xa2, 0x01, 0x00, 0x03, 0x19, 0x20, 0x01), wire.CodeLimit},
			"none":                             {bare(0xa2, 0x01, 0x00, 0x03, 0x00), wire.CodeProtocol},
			"too many groups":                  {bare(0xa4, 0x01, 0x00, 0x02, 0xf5, 0x03, 0x19, 0x02, 0x01, 0x04, 0xf5), wire.CodeLimit},
			"groups of what is no old version": {bare(0xa3, 0x01, 0x00, 0x03, 0x01, 0x04, 0xf5), wire.CodeProtocol},
			"chunks that no file has":          {bare(0xa2, 0x01, 0x1a, 0x00, 0xff, 0xff, 0xff, 0x03, 0x02), wire.CodeLimit},
			"of nothing that is open":          {hashes(90, wire.Hashes{First: 5, Count: 9}), 0},
			"an answer that nobody asked for": {func(p *rawPeer) {
				p.send(2, wire.HashList{CVs: make([]wire.Hash, 8)})
				p.send(8, wire.HashList{CVs: make([]wire.Hash, 8), Old: true})
				p.send(90, wire.HashList{CVs: make([]wire.Hash, 8192), First: 5, Old: true, Groups: true})
			}, 0},
		} {
			t.Run(name, func(t *testing.T) {
				p := h.raw()
				p.t = t
				p.helloWith(wire.CapDelta)
				if o, ok := p.open(2, "f", 2<<20).(wire.Opened); !ok || o.Old != 2<<20 {
					t.Fatalf("%#v", o)
				}
				if o, ok := p.open(4, "new", 2<<20).(wire.Opened); !ok || o.Old != 0 {
					t.Fatalf("%#v", o)
				}
				if m, ok := p.openTree(8, "other", 0).(wire.TreeOpened); !ok {
					t.Fatalf("%#v", m)
				}
				c.do(p)
				if c.code != 0 {
					if code := p.mustEnd(); code != c.code {
						t.Errorf("ended with %v, want %v", code, c.code)
					}
					return
				}
				p.otherTree(8)
				p.send(2, wire.Hashes{First: 3, Count: 5, Old: true})
				if l, ok := p.read().(wire.HashList); !ok || len(l.CVs) != 5 || l.First != 3 || !l.Old || l.CVs[4] == (wire.Hash{}) {
					t.Errorf("%#v", l)
				}
				p.send(2, wire.Hashes{Count: 8}) // nothing is held
				if l, ok := p.read().(wire.HashList); !ok || len(l.CVs) != 8 || l.Old || l.CVs[7] != (wire.Hash{}) {
					t.Errorf("%#v", l)
				}
			})
		}
		h.mustServe()
	})
}

// HASHES for a tree ends the tree.
func TestHashesForATree(t *testing.T) {
	h := newHost(t, kinds[0])
	p := h.raw()
	p.hello()
	p.openTree(2, "top", 0)
	p.openTree(8, "other", 0)
	p.send(2, wire.Hashes{Count: 1})
	if e, ok := p.readTree().(wire.Error); !ok || e.Code != wire.CodeProtocol {
		t.Errorf("%#v", e)
	}
	p.otherTree(8)
}

// What a server says of the old version, or of what it holds, is no more than a hint: the file arrives whole, or the run ends.
func TestHostileHashList(t *testing.T) {
	src := filepath.Join(t.TempDir(), "f")
	mustWrite(t, src, randomBytes(1, 3<<20), 0o644)
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(src, old, old); err != nil {
		t.Fatal(err)
	}
	list := func(m wire.Hashes, n int) wire.HashList {
		l := wire.HashList{First: m.First, Old: m.Old, Groups: m.Groups}
		for i := range n {
			l.CVs = append(l.CVs, wire.Hash{byte(i), 7})
		}
		return l
	}
	values := func(m wire.Hashes) int {
		n, _ := m.Values(18, 3<<20)
		return n
	}
	held := wire.Opened{State: wire.StatePartial, Epoch: 1, Have: wire.Ranges{{Start: 0, Count: 5}}}
	before := wire.Opened{State: wire.StateNew, Epoch: 1, Old: 3 << 20}
	overAll(t, func(t *testing.T, h *host) {
		for name, c := range map[string]struct {
			opened wire.Opened
			say    func(p *treePeer, id uint32, m wire.Hashes)
			kind   Kind
		}{
			"of another file": {before, func(p *treePeer, id uint32, m wire.Hashes) { p.send(id, list(m, values(m))) }, noError},
			"of what cannot be read": {before, func(p *treePeer, id uint32, m wire.Hashes) {
				p.send(id, wire.HashList{First: m.First, Old: m.Old, Groups: m.Groups, CVs: make([]wire.Hash, values(m))})
			}, noError},
			"first of another transfer": {before, func(p *treePeer, id uint32, m wire.Hashes) {
				p.send(id+100, list(m, 9))
				p.send(id, list(m, values(m)))
			}, noError},
			"first of what was not asked": {before, func(p *treePeer, id uint32, m wire.Hashes) {
				p.send(id, list(wire.Hashes{First: 1 << 23, Old: true}, 3))
				p.send(id, list(wire.Hashes{First: 77, Old: true, Groups: true}, 3))
				p.send(id, list(wire.Hashes{First: m.First}, 3))
				p.send(id, list(m, values(m)))
			}, noError},
			"twice": {before, func(p *treePeer, id uint32, m wire.Hashes) {
				p.send(id, list(m, values(m)))
				p.send(id, list(m, values(m)+1))
			}, noError},
			"one too many": {before, func(p *treePeer, id uint32, m wire.Hashes) {
				n := values(m)
				if !m.Groups {
					n++
				}
				p.send(id, list(m, n))
			}, KindProtocol},
			"one too few": {before, func(p *treePeer, id uint32, m wire.Hashes) {
				n := values(m)
				if !m.Groups {
					n--
				}
				p.send(id, list(m, n))
			}, KindProtocol},
			"one group too few": {before, func(p *treePeer, id uint32, m wire.Hashes) {
				n := values(m)
				if m.Groups {
					n--
				}
				p.send(id, list(m, n))
			}, KindProtocol},
			"never":                 {before, func(*treePeer, uint32, wire.Hashes) {}, KindStalled},
			"held, one too many":    {held, func(p *treePeer, id uint32, m wire.Hashes) { p.send(id, list(m, int(m.Count)+1)) }, KindProtocol},
			"held, one too few":     {held, func(p *treePeer, id uint32, m wire.Hashes) { p.send(id, list(m, int(m.Count)-1)) }, KindProtocol},
			"held, of others":       {held, func(p *treePeer, id uint32, m wire.Hashes) { p.send(id, list(wire.Hashes{First: 6}, 3)) }, KindStalled},
			"held, behind the file": {wire.Opened{State: wire.StatePartial, Epoch: 1, Have: wire.Ranges{{Start: 10, Count: 3}}}, func(p *treePeer, id uint32, m wire.Hashes) { p.send(id, list(m, int(m.Count))) }, KindProtocol},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var open wire.Open
				client := treeServer(t, h, func(p *treePeer, id uint32, m any) bool {
					switch m := m.(type) {
					case wire.Open:
						open = m
						p.send(id, c.opened)
					case wire.Hashes:
						c.say(p, id, m)
					case wire.Data:
						if m.Flags&wire.DataOld != 0 {
							t.Errorf("chunk %d is taken from another file", m.Chunk)
						}
						if m.Flags&wire.DataLast != 0 {
							p.send(id, wire.Ack{Received: wire.Ranges{{Start: m.Chunk, Count: 1}}})
						}
					case wire.Commit:
						if sum := wire.Hash(sumOf(randomBytes(1, 3<<20))); !bytes.Equal(m.RootHash[:], sum[:]) {
							t.Error("the root is that of another file")
						}
						r := wire.Receipt{Transfer: open.Transfer, RootName: "inbox", RootHash: m.RootHash, Size: m.Size, Path: open.Path, Signer: p.h.server.SPKI()}
						r.Signature, _ = p.h.server.SignReceipt(wire.ReceiptBytes(r))
						p.send(id, r)
					default:
						return false
					}
					return true
				}, wire.CapDelta)
				if c.kind == KindStalled {
					client.Options.Timeout, client.Options.RetryFor = 250*time.Millisecond, 50*time.Millisecond
				}
				ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
				defer cancel()
				_, err := client.Send(ctx, []Source{{Path: src}}, addrOf("f"))
				if c.kind == noError && err != nil || c.kind != noError && (err == nil || KindOf(err) != c.kind) {
					t.Errorf("kind %d, want %d: %v", KindOf(err), c.kind, err)
				}
			})
		}
	})
}
