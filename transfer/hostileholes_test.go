package transfer

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/wire"
)

// helloWith begins a session with all that we can.
func (p *rawPeer) helloWith(caps ...string) {
	p.t.Helper()
	p.send(0, wire.Hello{Versions: []uint64{0}, Agent: "raw", Caps: caps, TimeNS: 1})
	if m, ok := p.read().(wire.Welcome); !ok {
		p.t.Fatalf("instead of WELCOME: %+v", m)
	}
}

func (p *rawPeer) openSparse(id uint32, name string, size uint64, log2 uint8) wire.Message {
	p.t.Helper()
	o := openMessage(p.t, name, size)
	o.Transfer[2], o.Flags, o.ChunkLog2 = byte(id), wire.OpenSparse, log2
	p.send(id, o)
	return p.read()
}

// zeros sends ZEROS of one range and returns the answer.
func (p *rawPeer) zeros(id uint32, start, count uint64) wire.Message {
	p.t.Helper()
	p.send(id, wire.Zeros{Chunks: wire.Ranges{{Start: start, Count: count}}})
	return p.read()
}

func mustAck(t *testing.T, m wire.Message, start, count uint64) {
	t.Helper()
	if a, ok := m.(wire.Ack); !ok || len(a.Received) != 1 || a.Received[0].Start != start || a.Received[0].Count != count {
		t.Fatalf("instead of an ACK of %d+%d: %+v", start, count, m)
	}
}

// ZEROS that do not fit end the session, and nothing else.
func TestHostileZeros(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		const chunks = 1 << 10
		one := wire.Zeros{Chunks: wire.Ranges{{Start: 0, Count: 1}}}
		for name, attack := range map[string]func(p *rawPeer){
			"for a file without holes": func(p *rawPeer) { p.open(2, "x", 1<<20); p.send(2, one) },
			"beyond the file": func(p *rawPeer) {
				p.openSparse(2, "x", chunks<<18, 18)
				p.send(2, wire.Zeros{Chunks: wire.Ranges{{Start: 0, Count: chunks + 1}}})
			},
			"far beyond the file": func(p *rawPeer) {
				p.openSparse(2, "x", chunks<<18, 18)
				p.send(2, wire.Zeros{Chunks: wire.Ranges{{Start: 5, Count: 1}, {Start: wire.MaxChunks - 1, Count: 1}}})
			},
			"as with smaller chunks": func(p *rawPeer) {
				p.openSparse(2, "x", chunks<<18, 18)
				p.openSparse(4, "x", chunks<<18, 20)
				p.send(4, wire.Zeros{Chunks: wire.Ranges{{Start: 0, Count: chunks}}})
			},
			"of a file of unknown size": func(p *rawPeer) {
				p.openSparse(2, "x", wire.UnknownSize, 22)
				p.send(2, one)
			},
			"of no chunks":         func(p *rawPeer) { p.bare(wire.TZeros, 2, 0xa1, 0x01, 0x80) },
			"with handle 0":        func(p *rawPeer) { p.bare(wire.TZeros, 0, 0xa1, 0x01, 0x81, 0x82, 0x00, 0x01) },
			"of an empty file":     func(p *rawPeer) { p.openSparse(2, "x", 0, 18); p.send(2, one) },
			"of no holes, as DATA": func(p *rawPeer) { p.data(2, wire.DataFirst|wire.DataZero, 0, 0, 1<<18, nil, crypto.CV{}) },
			"as DATA of a wrong length": func(p *rawPeer) {
				p.openSparse(2, "x", chunks<<18, 18)
				p.data(2, wire.DataFirst|wire.DataLast|wire.DataZero, 0, 0, 1<<24, nil, crypto.CV{})
			},
			"as DATA beyond the file": func(p *rawPeer) {
				p.openSparse(2, "x", chunks<<18, 18)
				p.data(2, wire.DataFirst|wire.DataLast|wire.DataZero, chunks, 0, 1<<18, nil, crypto.CV{})
			},
		} {
			p := h.raw()
			p.helloWith(wire.CapZero)
			attack(p)
			if code := p.mustEnd(); code.Class() != 5 {
				t.Errorf("%s: ended with %v", name, code)
			}
		}
		h.mustServe()
	})
}

// What is said of holes in a session that goes on: of what is not open, again and again, over what is there.
func TestZerosOverWhatIsThere(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		const size = 8 << 18
		p := h.raw()
		p.helloWith(wire.CapZero)
		p.send(20, wire.Zeros{Chunks: wire.Ranges{{Start: 0, Count: 1}}}) // nobody is told
		if e, ok := p.openSparse(2, "huge", 1<<42+1, 24).(wire.Error); !ok || e.Code != wire.CodeTooBig {
			t.Errorf("more than 4 TiB: %+v", e)
		}
		if e, ok := p.openSparse(22, "fine", 1<<37+1, 18).(wire.Error); !ok || e.Code != wire.CodeTooBig {
			t.Errorf("more than 2^19 chunks: %+v", e)
		}
		data := randomBytes(1, 1<<18)
		put := func(id uint32, chunk uint64, p0 []byte) {
			hash := crypto.NewChunkHasher()
			hash.Reset(chunk, 18)
			_, _ = hash.Write(p0)
			p.data(id, wire.DataFirst|wire.DataLast, chunk, 0, 1<<18, p0, hash.CV())
		}
		if _, ok := p.openSparse(4, "f", size, 18).(wire.Opened); !ok {
			t.Fatal("no OPENED")
		}
		put(4, 3, data)
		mustAck(t, p.read(), 3, 1)
		if e, ok := p.zeros(4, 2, 4).(wire.Error); !ok || e.Code != wire.CodeSourceChanged {
			t.Fatalf("over other content: %+v", e)
		}
		// What was held is still there, with other zeros around it.
		o, ok := p.openSparse(6, "f", size, 18).(wire.Opened)
		if !ok || o.State != wire.StatePartial || len(o.Have) != 1 || o.Have[0].Start != 3 {
			t.Fatalf("OPENED: %+v", o)
		}
		for range 3 {
			mustAck(t, p.zeros(6, 0, 3), 0, 3)
			mustAck(t, p.zeros(6, 1, 1), 1, 1)
		}
		p.send(6, wire.Hashes{First: 2, Count: 2})
		if l, ok := p.read().(wire.HashList); !ok || len(l.CVs) != 2 || l.CVs[0] != (wire.Hash{}) || l.CVs[1] == (wire.Hash{}) {
			t.Errorf("HASHLIST: %+v", l)
		}
		// Zeros as DATA: with the CV of something else, with their own, and again.
		p.data(6, wire.DataFirst|wire.DataLast|wire.DataZero, 4, 0, 1<<18, nil, crypto.CV{1})
		if n, ok := p.read().(wire.Nack); !ok || n.Chunk != 4 {
			t.Fatalf("instead of NACK: %+v", n)
		}
		for range 2 {
			p.data(6, wire.DataFirst|wire.DataLast|wire.DataZero, 4, 0, 1<<18, nil, crypto.ZeroCV(4, 18, 1<<18))
			mustAck(t, p.read(), 4, 1)
		}
		// A chunk of which a part was written: what is said last counts.
		p.data(6, wire.DataFirst, 5, 0, 1<<18, data[:1000], crypto.CV{})
		mustAck(t, p.zeros(6, 5, 3), 5, 3)
		if _, err := os.Stat(h.path("f")); !errors.Is(err, os.ErrNotExist) {
			t.Fatal("it is there before COMMIT")
		}
		want := make([]byte, size)
		copy(want[3<<18:], data)
		p.send(6, wire.Commit{RootHash: wire.Hash(crypto.Sum(want)), Size: size})
		if r, ok := p.read().(wire.Receipt); !ok {
			t.Fatalf("instead of RECEIPT: %+v", r)
		}
		p.send(6, wire.Zeros{Chunks: wire.Ranges{{Start: 0, Count: 8}}}) // late
		if got, _ := os.ReadFile(h.path("f")); !bytes.Equal(got, want) {
			t.Error("other content")
		}
		h.mustServe()
	})
}

// A flood of ZEROS takes no memory and no space, and its end is as any other.
func TestFloodOfZeros(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		const chunks = 1 << 17
		rounds := 100_000
		if testing.Short() {
			rounds = 10_000
		}
		p := h.raw()
		_ = p.st.SetReadDeadline(time.Now().Add(time.Minute))
		_ = p.st.SetWriteDeadline(time.Now().Add(time.Minute))
		p.helloWith(wire.CapZero)
		if m, ok := p.openSparse(2, "flood", chunks<<23, 23).(wire.Opened); !ok {
			t.Skipf("no file of 1 TiB: %+v", m)
		}
		go func() {
			var b []byte
			for i := range rounds {
				b, _ = wire.AppendFrame(b, 2, wire.Zeros{Chunks: wire.Ranges{{Start: uint64(i) % chunks, Count: chunks - uint64(i)%chunks}}})
				if len(b) > 64<<10 || i == rounds-1 {
					_, _ = p.st.Write(b)
					b = b[:0]
				}
			}
		}()
		for range rounds {
			if a, ok := p.read().(wire.Ack); !ok {
				t.Fatalf("instead of ACK: %+v", a)
			}
		}
		files := 0
		err := filepath.WalkDir(h.path(stateName), func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				files++
				if n, ok := storedBytes(t, name); ok && n > 1<<20 {
					t.Errorf("%d bytes are stored of a hole in %s", n, name)
				}
			}
			return err
		})
		if err != nil || files < 2 {
			t.Fatal(files, err)
		}
		p.send(2, wire.Commit{RootHash: wire.Hash(crypto.ZeroRoot(chunks << 23)), Size: chunks << 23})
		if r, ok := p.read().(wire.Receipt); !ok {
			t.Fatalf("instead of RECEIPT: %+v", r)
		}
		if n, ok := storedBytes(t, h.path("flood")); ok && n > 1<<20 {
			t.Errorf("%d bytes are stored of a hole", n)
		}
		h.mustServe()
	})
}

// Who asks for the hashing of holes and goes away does not keep the server at it, nor lose what it has sent.
func TestCommitOfHolesIsLeft(t *testing.T) {
	overOne(t, func(t *testing.T, h *host) {
		// From 64 GiB on the zeros of 256 MiB are known as a whole only: an island in each lets all of them be hashed, 175 GiB.
		const log2, islands, size = 19, 700, 256 << 30
		p := h.raw()
		_ = p.st.SetReadDeadline(time.Now().Add(time.Minute))
		_ = p.st.SetWriteDeadline(time.Now().Add(time.Minute))
		p.helloWith(wire.CapZero, wire.CapZstd)
		if m, ok := p.openSparse(2, "left", size, log2).(wire.Opened); !ok {
			t.Skipf("no file of 256 GiB: %+v", m)
		}
		data := append([]byte{1}, make([]byte, 1<<log2-1)...)
		hash := crypto.NewChunkHasher()
		var holes wire.Ranges
		next := uint64(0)
		for i := range uint64(islands) {
			chunk := (64<<30+i<<28)>>log2 + 100
			hash.Reset(chunk, log2)
			_, _ = hash.Write(data)
			flags := uint8(wire.DataFirst | wire.DataZstd)
			for off := 0; off < len(data); off += wire.MaxPayload {
				if off+wire.MaxPayload == len(data) {
					flags |= wire.DataLast
				}
				p.data(2, flags, chunk, uint32(off), 1<<log2, squeeze(nil, data[off:off+wire.MaxPayload]), hash.CV())
				flags = wire.DataZstd
			}
			holes = append(holes, wire.Range{Start: next, Count: chunk - next})
			next = chunk + 1
		}
		p.send(2, wire.Zeros{Chunks: append(holes, wire.Range{Start: next, Count: size>>log2 - next})})
		for n := uint64(0); n < size>>log2; {
			m := p.read()
			a, ok := m.(wire.Ack)
			if !ok {
				t.Fatalf("%d chunks were acknowledged, then came %+v", n, m)
			}
			for _, r := range a.Received {
				n += r.Count
			}
		}
		p.send(2, wire.Commit{Size: size})
		p.send(0, wire.Bye{})
		for p.read() != nil {
		}

		p = h.raw()
		p.helloWith(wire.CapZero)
		o, ok := p.openSparse(2, "left", size, log2).(wire.Opened) // which waits no longer than raw lets it
		if !ok || o.State != wire.StatePartial || len(o.Have) != 1 || o.Have[0].Count != size>>log2 {
			t.Fatalf("instead of all that was sent: %+v", o)
		}
		h.mustServe()
	})
}
