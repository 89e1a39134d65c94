package transfer

import (
	"context"
	"encoding/binary"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// zstdBomb is a zstd frame of blocks of 128 KiB of zeros each, in four bytes. It says that it has size bytes, 0: nothing of it.
func zstdBomb(blocks int, size uint32) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38}
	if size > 0 {
		b = binary.LittleEndian.AppendUint32(append(b[:4], 0xa0), size)
	}
	for i := range blocks {
		h := uint32(128<<10)<<3 | 1<<1
		if i == blocks-1 {
			h |= 1
		}
		b = append(b, byte(h), byte(h>>8), byte(h>>16), 0)
	}
	return b
}

// bombs are frames that expand to 3.6 GiB, and ones that do not expand to what they say.
func bombs() map[string][]byte {
	const blocks = 30000
	return map[string][]byte{
		"says how much it is":      zstdBomb(blocks, blocks<<17-1),
		"says nothing":             zstdBomb(blocks, 0),
		"says that it is small":    zstdBomb(blocks, 1000),
		"is less than it says":     zstdBomb(1, 200<<10),
		"is a little too much":     zstdBomb(9, 0), // 1152 KiB
		"ends before its last one": zstdBomb(2, 256<<10)[:14],
	}
}

func (p *rawPeer) zstdPack(id uint32, z []byte) {
	b := append(wire.AppendPackHeader(nil), z...)
	wire.PutPackHeader(b, id, wire.PackZstd, 0, 1)
	_, _ = p.st.Write(b)
}

// mustStaySmall fails where much more memory is got from the system while f runs.
func mustStaySmall(t *testing.T, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if n := int64(after.Sys) - int64(before.Sys); n > 256<<20 {
		t.Errorf("%d MiB more", n>>20)
	}
}

// What expands to more than may come ends the session, in both directions, and costs no memory.
func TestZstdBombs(t *testing.T) {
	h := newHost(t, kinds[0])
	manifest := manifestOf(t, tree.Record{Name: "a", Kind: tree.File, Size: 1000, Mode: 0o644})
	refused := func(code wire.Code) bool { return code == wire.CodeProtocol || code == wire.CodeLimit }
	mustStaySmall(t, func() {
		for name, z := range bombs() {
			t.Run("PACK to a server "+name, func(t *testing.T) {
				p := h.raw()
				p.t = t
				p.helloWith(wire.CapZstd)
				p.openTree(2, "top", 0)
				p.send(2, wire.TreePart{Count: 2, Records: manifest})
				if _, ok := p.readTree().(wire.TreeVerdicts); !ok {
					t.Fatal("no verdicts")
				}
				p.zstdPack(2, z)
				if code := p.mustEnd(); !refused(code) {
					t.Errorf("the session ended with %v", code)
				}
			})
			t.Run("DATA to a server "+name, func(t *testing.T) {
				p := h.raw()
				p.t = t
				p.helloWith(wire.CapZstd)
				if _, ok := p.open(2, "f", 1<<30).(wire.Opened); !ok {
					t.Fatal("no OPENED")
				}
				p.data(2, wire.DataFirst|wire.DataZstd, 0, 0, 256<<10, z, crypto.CV{})
				if code := p.mustEnd(); !refused(code) {
					t.Errorf("the session ended with %v", code)
				}
			})
			t.Run("PACK to a client "+name, func(t *testing.T) {
				client := treeServer(t, h, when(func(p *treePeer, id uint32, m wire.TreeVerdicts) {
					raw := &rawPeer{st: p.st}
					raw.zstdPack(id, z)
				}), wire.CapZstd)
				ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
				defer cancel()
				if _, err := client.Get(ctx, []Address{addrOf("give/")}, filepath.Join(t.TempDir(), "back"), nil); KindOf(err) != KindProtocol {
					t.Error(err)
				}
			})
			t.Run("DATA to a client "+name, func(t *testing.T) {
				client := treeServer(t, h, func(p *treePeer, id uint32, m any) bool {
					switch m := m.(type) {
					case wire.Stat:
						p.send(id, wire.Stated{Entry: wire.Entry{Name: "f", Kind: wire.KindFile, Size: 1 << 20}})
					case wire.Get:
						p.send(id, wire.Open{Transfer: wire.TransferID{1}, Path: m.Path, Size: 1 << 20, ChunkLog2: 18, Alg: 1, Fingerprint: []byte("v1")})
					case wire.Opened:
						raw := &rawPeer{st: p.st}
						raw.data(id, wire.DataFirst|wire.DataZstd, 0, 0, 256<<10, z, crypto.CV{})
					default:
						return false
					}
					return true
				}, wire.CapZstd)
				ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
				defer cancel()
				if _, err := client.Get(ctx, []Address{addrOf("f")}, filepath.Join(t.TempDir(), "f"), nil); KindOf(err) != KindProtocol {
					t.Error(err)
				}
			})
		}
	})
	h.mustServe()
}
