package transfer

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/transport"
	"xfer/transfer/wire"
)

// island is data within a hole.
type island struct {
	off  int64
	data []byte
}

// mustSparse makes a file of size bytes with nothing but the islands in it, or skips the test where there are no such files.
func mustSparse(t testing.TB, name string, size int64, islands ...island) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Skip("no files of this size here:", err)
	}
	for _, is := range islands {
		if _, err := f.WriteAt(is.data, is.off); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil { // so that all space that it takes is taken
		t.Fatal(err)
	}
	old := time.Unix(1_700_000_000, sparseFiles.Add(1)) // each another version
	if err := os.Chtimes(name, old, old); err != nil {
		t.Fatal(err)
	}
	if stored, ok := storedBytes(t, name); !ok || stored >= size {
		t.Skip("no holes here")
	}
}

var sparseFiles atomic.Int64

func storedBytes(t testing.TB, name string) (int64, bool) {
	t.Helper()
	fi, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	n, ok := durable.Blocks(fi)
	return n * 512, ok
}

// openFile opens a file as a source does.
func openFile(t testing.TB, name string) durable.File {
	t.Helper()
	fsys, err := durable.OpenOS(filepath.Dir(name))
	if err != nil {
		t.Fatal(err)
	}
	f, err := durable.OpenRegular(fsys, filepath.Base(name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close(); _ = fsys.Close() })
	return f
}

// mustEqualSparse compares two files wherever one of them has data, and what they take on the disk: an island takes at most
// what is around it up to the next blocks.
func mustEqualSparse(t testing.TB, got, want string) {
	t.Helper()
	a, b := openFile(t, got), openFile(t, want)
	ia, errA := a.Stat()
	ib, errB := b.Stat()
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	if ia.Size() != ib.Size() || ia.Mode() != ib.Mode() || !ia.ModTime().Equal(ib.ModTime()) {
		t.Fatalf("%s: %d bytes, %v, %v; want %d, %v, %v", got, ia.Size(), ia.Mode(), ia.ModTime(), ib.Size(), ib.Mode(), ib.ModTime())
	}
	extents := int64(0)
	x, y := make([]byte, 256<<10), make([]byte, 256<<10)
	for _, of := range []durable.File{a, b} {
		src := &fileSource{f: of, info: ib, holes: true}
		for off := int64(0); off < src.Size(); {
			data, end, err := src.extent(off)
			if err != nil {
				t.Fatal(err)
			}
			if data < end {
				extents++
			}
			for off = data; off < end; {
				n := min(int64(len(x)), end-off)
				_, errA := a.ReadAt(x[:n], off)
				_, errB := b.ReadAt(y[:n], off)
				if err := errors.Join(errA, errB); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(x[:n], y[:n]) {
					t.Fatalf("%s differs within %d bytes from %d", got, n, off)
				}
				off += n
			}
		}
	}
	is, _ := storedBytes(t, got)
	was, _ := storedBytes(t, want)
	if most := was + was/100 + extents*8192; is > most {
		t.Fatalf("%s takes %d bytes, want at most %d", got, is, most)
	}
}

// countConn counts the bytes on the streams of its connections.
func countConn(n *atomic.Int64) func(int64, transport.Conn) transport.Conn {
	return func(_ int64, c transport.Conn) transport.Conn {
		left := &atomic.Int64{}
		left.Store(1 << 60)
		return &countedConn{cutConn{c, left}, n}
	}
}

type countedConn struct {
	cutConn
	n *atomic.Int64
}

func (c *countedConn) OpenStream(ctx context.Context) (transport.Stream, error) {
	s, err := c.Conn.OpenStream(ctx)
	return &countedStream{s, c.n}, err
}

type countedStream struct {
	transport.Stream
	n *atomic.Int64
}

func (s *countedStream) Write(p []byte) (int, error) {
	s.n.Add(int64(len(p)))
	return s.Stream.Write(p)
}

func (s *countedStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	s.n.Add(int64(n))
	return n, err
}

const tebi = int64(1) << 40

// A file of 1 TiB that is nearly all hole takes a moment, and stays one, in both directions.
func TestSparseFileOfATebibyte(t *testing.T) {
	overOne(t, func(t *testing.T, h *host) {
		const size = tebi + 12345
		src := filepath.Join(t.TempDir(), "sparse")
		mustSparse(t, src, size,
			island{777, randomBytes(1, 300_001)}, island{size/2 - 55_555, randomBytes(2, 1<<20)}, island{size - 100_001, randomBytes(3, 100_001)})
		var wired atomic.Int64
		h.onDial = countConn(&wired)
		for _, o := range []Options{{Verify: true}, {Checksum: true}} {
			name := "plain"
			if o.Checksum {
				name = "hashed"
			}
			res := h.mustSend(o, name, src)
			mustEqualSparse(t, h.path(name), src)
			if res.Bytes != size || res.BytesSent > 3<<19 {
				t.Errorf("sent: %+v", res)
			}
		}
		if n := wired.Swap(0); n > 7<<19 {
			t.Errorf("%d bytes on the wire for two transfers", n)
		}
		back := filepath.Join(t.TempDir(), "back")
		res := h.mustGet(Options{}, back, "plain")
		mustEqualSparse(t, back, src)
		if n := wired.Load(); res.Bytes != size || res.BytesSent > 3<<19 || n > 7<<18 {
			t.Errorf("fetched: %+v, %d bytes on the wire", res, n)
		}
		if res := h.mustSend(Options{Checksum: true}, "plain", src); res.FilesSkipped != 1 {
			t.Errorf("sent again: %+v", res)
		}
	})
}

// Many islands in few chunks cost what they are, and what is told of the zeros between them.
func TestManyIslands(t *testing.T) {
	overOne(t, func(t *testing.T, h *host) {
		var islands []island
		for i := range int64(1000) {
			islands = append(islands, island{i * 70_001, randomBytes(uint64(i), 1000+int(i%7)*2000)})
		}
		src := filepath.Join(t.TempDir(), "sparse")
		mustSparse(t, src, 72<<20, islands...)
		res := h.mustSend(Options{}, "f", src)
		mustEqualSparse(t, h.path("f"), src)
		if stored, _ := storedBytes(t, src); res.BytesSent > stored+stored/10 {
			t.Errorf("%d bytes were sent of %d", res.BytesSent, stored)
		}
		mustEqualFile(t, h.path("f"), src)
	})
}

// A file of one hole, and one whose last chunk alone is not whole.
func TestFileOfOneHole(t *testing.T) {
	h := newHost(t, kinds[0])
	for _, size := range []int64{5000, 1 << 20, 3<<20 + 1, 1<<32 + 7} {
		src := filepath.Join(t.TempDir(), "hole")
		mustSparse(t, src, size)
		res := h.mustSend(Options{Verify: true}, "hole", src)
		mustEqualSparse(t, h.path("hole"), src)
		if res.Bytes != size || res.BytesSent > 4096 {
			t.Errorf("%d bytes: %+v", size, res)
		}
		back := filepath.Join(t.TempDir(), "back")
		h.mustGet(Options{}, back, "hole")
		mustEqualSparse(t, back, src)
	}
}

// What was cut goes on: in the same run, and in another one after the server was started anew. Nothing is told of holes but
// that they are there.
func TestSparseFileIsResumed(t *testing.T) {
	overOne(t, func(t *testing.T, h *host) {
		const size = tebi
		src := filepath.Join(t.TempDir(), "sparse")
		var islands []island
		for i := range int64(6) {
			islands = append(islands, island{i*(size-4<<20)/5 + i*1001, randomBytes(uint64(i), 4<<20-6000)})
		}
		mustSparse(t, src, size, islands...)
		h.onDial = cutAfter(13<<20, 1)
		res := h.mustSend(Options{}, "once", src)
		mustEqualSparse(t, h.path("once"), src)
		if res.Retries == 0 || res.BytesSent > 30<<20 {
			t.Errorf("cut once: %+v", res)
		}
		h.onDial = nil
		if res := h.mustGet(Options{}, filepath.Join(t.TempDir(), "back"), "once"); res.Bytes != size {
			t.Errorf("fetched: %+v", res)
		}

		for _, mode := range []string{"auto", "verify"} {
			h.onDial = nil
			ctx, cancel := context.WithCancel(t.Context())
			c := h.newClient(Options{Progress: time.Nanosecond, BWLimit: func(time.Time) (int64, int64) { return 16 << 20, 0 }})
			c.Observe = func(e Event) {
				if e.Kind == EventProgress && e.Bytes > size/2 && e.Sent > 9<<20 {
					cancel()
				}
			}
			if _, err := c.Send(ctx, []Source{{Path: src}}, addrOf(mode)); err == nil {
				t.Fatal("nothing was cut")
			}
			h.stop()
			h.start()
			var wired atomic.Int64
			h.onDial = countConn(&wired)
			res = h.mustSend(Options{Resume: mode}, mode, src)
			mustEqualSparse(t, h.path(mode), src)
			if n := wired.Load(); res.BytesResumed < size/2 || n > 18<<20 {
				t.Errorf("%s: %d bytes on the wire, %+v", mode, n, res)
			}
		}

		back := filepath.Join(t.TempDir(), "cut")
		h.onDial = cutAfter(13<<20, 1)
		if res := h.mustGet(Options{}, back, "once"); res.Retries == 0 || res.BytesSent > 30<<20 {
			t.Errorf("a get that was cut: %+v", res)
		}
		mustEqualSparse(t, back, src)
	})
}

// Data that is written into a hole while the file is sent is noticed.
func TestHoleIsFilledMeanwhile(t *testing.T) {
	overOne(t, func(t *testing.T, h *host) {
		for _, times := range []int{1, 1000} {
			src := filepath.Join(t.TempDir(), "sparse")
			mustSparse(t, src, 1<<34, island{5, randomBytes(1, 8<<20)}, island{1<<33 + 5, randomBytes(2, 8<<20)})
			c := h.newClient(Options{Progress: time.Nanosecond})
			n := 0
			c.Observe = func(e Event) {
				if e.Kind != EventProgress || e.Bytes == 0 || n >= times {
					return
				}
				n++
				f, err := os.OpenFile(src, os.O_WRONLY, 0)
				if err == nil {
					_, err = f.WriteAt(randomBytes(uint64(n), 1<<16), 3<<32+int64(n))
					err = errors.Join(err, f.Close())
				}
				if err != nil {
					t.Error(err)
				}
			}
			_, err := c.Send(t.Context(), []Source{{Path: src}}, addrOf("f"))
			if times > 1 {
				if KindOf(err) != KindSourceChanged {
					t.Errorf("kind %d, %v", KindOf(err), err)
				}
				continue
			}
			if err != nil || n == 0 {
				t.Fatal(n, err)
			}
			mustEqualSparse(t, h.path("f"), src)
			if err := os.Remove(h.path("f")); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := os.Stat(h.path("f")); !errors.Is(err, os.ErrNotExist) {
			t.Error("what changed again and again was published")
		}
	})
}

// A sparse file over an old version, of which much is a hole as well: only what changed is sent, however many chunks there
// are that nobody has to compare.
func TestSparseFileOverAnOldVersion(t *testing.T) {
	h := newHost(t, kinds[0])
	const size = 4<<30 - 99
	src := filepath.Join(t.TempDir(), "sparse")
	was := randomBytes(2, 9<<20)
	mustSparse(t, src, size, island{1 << 20, randomBytes(1, 1<<20)}, island{size - 9<<20, was})
	h.mustSend(Options{}, "f", src)
	copy(was[4<<20:], "other")
	mustSparse(t, src, size, island{2 << 30, randomBytes(4, 100)}, island{size - 9<<20, was})
	res := h.mustSend(Options{}, "f", src)
	mustEqualSparse(t, h.path("f"), src)
	if res.BytesSent > 200<<10 {
		t.Errorf("%d bytes were sent", res.BytesSent)
	}
	mustSparse(t, src, size) // all of it is gone
	res = h.mustSend(Options{}, "f", src)
	mustEqualSparse(t, h.path("f"), src)
	if res.BytesSent != 0 {
		t.Errorf("%d bytes were sent of a hole", res.BytesSent)
	}
}

// A large sparse file of a tree keeps its holes, with a directory around it.
func TestSparseFileInATree(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := filepath.Join(t.TempDir(), "tree")
		name := filepath.Join(src, "d", "sparse")
		mustSparse(t, name, 1<<36, island{5, randomBytes(1, 300_000)}, island{1 << 35, randomBytes(2, 300_000)})
		mustWrite(t, filepath.Join(src, "small"), []byte("small"), 0o644)
		if res := h.mustSend(Options{}, "", src); res.BytesSent > 2<<20 || res.Files != 2 {
			t.Errorf("sent: %+v", res)
		}
		mustEqualSparse(t, h.path("tree/d/sparse"), name)
		back := filepath.Join(t.TempDir(), "back")
		if res := h.mustGet(Options{}, back, "tree"); res.BytesSent > 2<<20 || res.Files != 2 {
			t.Errorf("fetched: %+v", res)
		}
		mustEqualSparse(t, filepath.Join(back, "d", "sparse"), name)
	})
}

// A stream has no holes: it gets all bytes, of which few cross the wire.
func TestSparseFileIntoAStream(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		const size = 40<<20 + 5
		mustSparse(t, h.path("f"), size, island{3<<20 + 5, randomBytes(1, 100_000)}, island{size - 10, []byte("0123456789")})
		want, err := os.ReadFile(h.path("f"))
		if err != nil {
			t.Fatal(err)
		}
		var wired atomic.Int64
		h.onDial = countConn(&wired)
		var out bytes.Buffer
		if _, err := h.newClient(Options{}).Get(t.Context(), []Address{addrOf("f")}, "-", &out); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(out.Bytes(), want) {
			t.Errorf("%d other bytes", out.Len())
		}
		if n := wired.Load(); n > 1<<20 {
			t.Errorf("%d bytes on the wire", n)
		}
	})
}

// Zeros that are no hole are told as such, and stored as they are; where nothing may be compressed as well.
func TestZerosThatAreNoHole(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		data := make([]byte, 12<<20+5)
		copy(data[5<<20+100:], randomBytes(1, 100_000))
		src := filepath.Join(t.TempDir(), "zeros")
		mustWrite(t, src, data, 0o644)
		res := h.mustSend(Options{Compress: "off"}, "f", src)
		mustEqualFile(t, h.path("f"), src)
		if res.BytesSent > 600_000 || res.Bytes != int64(len(data)) {
			t.Errorf("sent: %+v", res)
		}
		back := filepath.Join(t.TempDir(), "back")
		if res := h.mustGet(Options{Compress: "off"}, back, "f"); res.BytesSent > 600_000 {
			t.Errorf("fetched: %+v", res)
		}
		mustEqualFile(t, back, src)
	})
}

// otherCaps makes an unknown word of a capability in the HELLO and WELCOME of its connection.
type otherCaps struct {
	transport.Conn
	word string
}

func (c *otherCaps) OpenStream(ctx context.Context) (transport.Stream, error) {
	s, err := c.Conn.OpenStream(ctx)
	return &otherCapsStream{Stream: s, word: c.word}, err
}

type otherCapsStream struct {
	transport.Stream
	word  string
	heard bool
	once  sync.Once
}

func (s *otherCapsStream) other(p []byte) []byte {
	return bytes.Replace(p, []byte(s.word), bytes.Repeat([]byte("x"), len(s.word)), 1)
}

func (s *otherCapsStream) Write(p []byte) (int, error) {
	s.once.Do(func() { p = s.other(p) })
	return s.Stream.Write(p)
}

func (s *otherCapsStream) Read(p []byte) (int, error) {
	n, err := s.Stream.Read(p)
	if !s.heard && bytes.Contains(p[:n], []byte(s.word)) {
		copy(p, s.other(p[:n]))
		s.heard = true
	}
	return n, err
}

// Who does not know of zeros gets and sends the whole file.
func TestSparseFileToAPeerWithoutHoles(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		const size = 24<<20 + 99
		src := filepath.Join(t.TempDir(), "sparse")
		mustSparse(t, src, size, island{5 << 20, randomBytes(1, 100_000)}, island{size - 10, []byte("0123456789")})
		h.onDial = func(_ int64, c transport.Conn) transport.Conn { return &otherCaps{c, wire.CapZero} }
		res := h.mustSend(Options{Compress: "off"}, "f", src)
		mustEqualFile(t, h.path("f"), src)
		if res.BytesSent != size {
			t.Errorf("sent: %+v", res)
		}
		mustSparse(t, h.path("f"), size, island{5 << 20, randomBytes(1, 100_000)})
		back := filepath.Join(t.TempDir(), "back")
		if res := h.mustGet(Options{Compress: "off"}, back, "f"); res.BytesSent != size {
			t.Errorf("fetched: %+v", res)
		}
		mustEqualFile(t, back, h.path("f"))
	})
}

// The holes of more ranges than one message has are told one message after the other.
func TestHolesOfManyRanges(t *testing.T) {
	const chunks = 5 * wire.MaxRanges
	var f *sendFile
	s := bareSession(t, nil)
	f = s.newSendFile(2, slowSource{chunks<<18 - 5}, 18)
	acked := int64(0)
	f.onZeros = func(n int64) { acked += n }
	f.sparse = true
	for i := int64(1); i < chunks; i += 2 {
		f.holes.add(i)
	}
	for i := int64(0); i < chunks; i += 2 {
		f.acked.add(i)
	}
	f.acked.add(7) // the receiver had it
	f.tellZeros()
	for n := range 3 {
		if f.awaited.count == 0 || f.awaited.count > wire.MaxRanges || f.isReady {
			t.Fatalf("message %d: %d chunks are awaited, ready %v", n, f.awaited.count, f.isReady)
		}
		if err := f.take(wire.Ack{Received: wire.Ranges{{Start: 0, Count: wire.MaxChunks}}}); err != nil {
			t.Fatal(err)
		}
	}
	if want := int64(chunks/2-1)<<18 - 5; !f.isReady || f.awaited.count != 0 || acked != want {
		t.Errorf("ready %v, %d chunks are awaited, %d bytes are done, want %d", f.isReady, f.awaited.count, acked, want)
	}
	r := wire.NewReader(bytes.NewReader(s.ctl.queue), wire.MaxControl)
	told := uint64(0)
	for {
		h, err := r.Next()
		if err != nil {
			break
		}
		m, err := r.Message(h)
		z, ok := m.(wire.Zeros)
		if err != nil || !ok {
			t.Fatal(m, err)
		}
		told += z.Chunks.Chunks()
	}
	if told != chunks/2 {
		t.Errorf("%d chunks were told, want %d", told, chunks/2)
	}
}

// A source is hashed the same, with its holes read or not.
func TestHashOfASparseSource(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	mustSparse(t, name, 20<<20+17, island{100_000, randomBytes(1, 300_000)}, island{9 << 20, []byte("x")})
	src, err := newFileSource(openFile(t, name))
	if err != nil || !src.holes {
		t.Fatal(src, err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	got, err := hashSource(src, func() error { return nil })
	if want := crypto.Sum(data); err != nil || got != want {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	in := newHoleFinder(src)
	holes := 0
	for off := int64(0); off < src.Size(); {
		n, hole, err := in.next(off, min(50_000, src.Size()-off))
		if err != nil || n < 1 || n > 50_000 || hole && !allZero(data[off:off+n]) {
			t.Fatalf("%d bytes at %d, hole %v, %v", n, off, hole, err)
		}
		if hole {
			holes += int(n)
		}
		off += n
	}
	if holes < 19<<20 {
		t.Errorf("%d bytes are known to be zeros", holes)
	}
	if err := os.Truncate(name, 5<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := hashSource(src, func() error { return nil }); !errors.Is(err, errSourceChanged) {
		t.Errorf("cut off: %v", err)
	}
}

// The sets of chunks do what sets of numbers do.
func TestChunkSets(t *testing.T) {
	for seed := range uint64(50) {
		var a, b chunkSet
		ma, mb := map[int64]bool{}, map[int64]bool{}
		r := randomBytes(seed, 400)
		for i := 0; i+3 <= len(r); i += 3 {
			first, count := int64(r[i])*2, int64(r[i+1]>>1)
			if r[i+2]%3 > 0 {
				a.addRange(first, count)
				for c := first; c < first+count; c++ {
					ma[c] = true
				}
				continue
			}
			added := int64(0)
			for c := first; c < first+count; c++ {
				if ma[c] {
					delete(ma, c)
					if !mb[c] {
						added++
					}
					mb[c] = true
				}
			}
			if n := a.moveRange(&b, first, count); n != added {
				t.Fatalf("%d were moved, want %d", n, added)
			}
		}
		if a.count != int64(len(ma)) || b.count != int64(len(mb)) {
			t.Fatalf("%d and %d members, want %d and %d", a.count, b.count, len(ma), len(mb))
		}
		for i := range int64(800) {
			next, end := i, i
			for next < 800 && !ma[next] {
				next++
			}
			for ma[end] {
				end++
			}
			if next == 800 {
				next = -1
			}
			if a.has(i) != ma[i] || b.has(i) != mb[i] || a.next(i) != next || a.end(i) != end {
				t.Fatalf("%d: %v %v, next %d, end %d; want %v %v %d %d", i, a.has(i), b.has(i), a.next(i), a.end(i), ma[i], mb[i], next, end)
			}
		}
	}
}
