package crypto

import (
	"bytes"
	"fmt"
	"io"
	"math/bits"
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"

	"github.com/zeebo/blake3"
	reference "lukechampine.com/blake3"
)

// testBytes returns n bytes that are the same in each run.
func testBytes(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{'x'}).Read(b)
	return b
}

// interestingSizes are lengths around each border of the tree up to most, and some in between.
func interestingSizes(most int) []int {
	seen := map[int]bool{}
	var sizes []int
	add := func(n int) {
		if n >= 0 && n <= most && !seen[n] {
			seen[n] = true
			sizes = append(sizes, n)
		}
	}
	for n := 0; n <= 130; n++ {
		add(n)
	}
	for k := 7; 1<<k <= most; k++ {
		for _, d := range []int{-1025, -1024, -65, -64, -63, -1, 0, 1, 63, 64, 65, 1023, 1024, 1025} {
			add(1<<k + d)
			add(3<<k + d)
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		add(r.IntN(most + 1))
	}
	return sizes
}

// writeSplit writes p in pieces of at most most bytes.
func writeSplit(t *testing.T, w io.Writer, p []byte, most int, r *rand.Rand) {
	t.Helper()
	for len(p) > 0 {
		n := min(len(p), 1+r.IntN(most))
		if k, err := w.Write(p[:n]); err != nil || k != n {
			t.Fatalf("Write of %d bytes: %d, %v", n, k, err)
		}
		p = p[n:]
	}
}

func TestHasherEqualsReferenceForAnySplit(t *testing.T) {
	data := testBytes(1<<20 + 3<<14)
	r := rand.New(rand.NewPCG(3, 4))
	h := NewHasher()
	for _, n := range interestingSizes(len(data)) {
		want := Digest(reference.Sum256(data[:n]))
		for _, most := range []int{37, 5000, 1 << 14, 1 << 14 * 3, len(data)} {
			if most < 1000 && n > 1<<17 {
				continue
			}
			h.Reset()
			writeSplit(t, h, data[:n], most, r)
			if got := h.Sum(); got != want || h.Len() != int64(n) {
				t.Fatalf("%d bytes in writes of up to %d: got %v (length %d), want %v", n, most, got, h.Len(), want)
			}
		}
	}
}

// TestHasherGoesOnAfterSum shows that looking at a sum changes nothing.
func TestHasherGoesOnAfterSum(t *testing.T) {
	data := testBytes(100_000)
	h := NewHasher()
	for i := 0; i < len(data); i += 777 {
		if got, want := h.Sum(), Digest(reference.Sum256(data[:i])); got != want {
			t.Fatalf("after %d bytes: got %v, want %v", i, got, want)
		}
		h.Write(data[i:min(i+777, len(data))])
	}
}

// rootByChunks hashes data chunk by chunk, in any order, as sender and receiver do.
func rootByChunks(t *testing.T, h *ChunkHasher, data []byte, log2 uint8, most int, r *rand.Rand) Digest {
	t.Helper()
	size := 1 << log2
	n := (len(data) + size - 1) / size
	if n < 2 {
		h.Reset(0, log2)
		writeSplit(t, h, data, most, r)
		return RootOf(uint64(n), func(uint64) CV { return CV(h.Root()) })
	}
	cvs := make([]CV, n)
	for _, i := range r.Perm(n) {
		h.Reset(uint64(i), log2)
		chunk := data[i*size : min((i+1)*size, len(data))]
		writeSplit(t, h, chunk, most, r)
		if h.Len() != int64(len(chunk)) {
			t.Fatalf("Len() = %d, want %d", h.Len(), len(chunk))
		}
		cvs[i] = h.CV()
	}
	return RootOf(uint64(n), func(i uint64) CV { return cvs[i] })
}

func TestRootOfChunksEqualsReference(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	h := NewChunkHasher()
	small := testBytes(1<<20 + 5000)
	for log2 := uint8(10); log2 <= 18; log2++ {
		for _, n := range interestingSizes(len(small)) {
			if got, want := rootByChunks(t, h, small[:n], log2, 40_000, r), Digest(reference.Sum256(small[:n])); got != want {
				t.Fatalf("chunks of 1<<%d, %d bytes: got %v, want %v", log2, n, got, want)
			}
		}
	}
	if testing.Short() {
		return
	}
	big := testBytes(5<<24 + 12345)
	for log2 := uint8(18); log2 <= 24; log2++ {
		size := 1 << log2
		for _, n := range []int{size - 1, size, size + 1, 2*size - 1, 2 * size, 2*size + 1, 3*size + 1025, 5*size + 12345} {
			if n > 32<<20 && log2 < 24 {
				continue
			}
			if got, want := rootByChunks(t, h, big[:n], log2, 300_000, r), Digest(reference.Sum256(big[:n])); got != want {
				t.Fatalf("chunks of 1<<%d, %d bytes: got %v, want %v", log2, n, got, want)
			}
		}
	}
}

// TestRootEqualsB3sum asks the program that users check with.
func TestRootEqualsB3sum(t *testing.T) {
	b3sum, err := exec.LookPath("b3sum")
	if err != nil {
		t.Skip("b3sum is not installed")
	}
	data := testBytes(3<<20 + 17)
	h := NewChunkHasher()
	r := rand.New(rand.NewPCG(7, 8))
	for _, n := range []int{0, 1, 1023, 1024, 1025, 16384, 16385, 1 << 18, 1<<18 + 1, 3 << 18, 1 << 20, len(data)} {
		cmd := exec.Command(b3sum, "--no-names")
		cmd.Stdin = bytes.NewReader(data[:n])
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		want := strings.TrimSpace(string(out))
		if got := rootByChunks(t, h, data[:n], 18, 1<<18, r); got.String() != want {
			t.Errorf("%d bytes: got %v, b3sum says %s", n, got, want)
		}
	}
}

// TestFarChunkCounter shows that the block counter begins where the chunk does, beyond what a whole file could test: a
// chunk's CV is computed here from the compression of its parts.
func TestFarChunkCounter(t *testing.T) {
	data := testBytes(1 << 18)
	h := NewChunkHasher()
	far := uint64(1<<24 - 1)
	h.Reset(far, 18)
	h.Write(data)
	got := h.CV()

	// The same bytes as four chunks of 64 KiB have the same place in the tree.
	var quarter [4]CV
	for i := range quarter {
		h.Reset(far*4+uint64(i), 16)
		h.Write(data[i<<16 : (i+1)<<16])
		quarter[i] = h.CV()
	}
	var j stack
	for i := range quarter {
		w := quarter[i].words()
		j.push(&w)
	}
	h.Reset(far-1, 18)
	h.Write(data)
	if h.CV() == got {
		t.Error("the CV does not depend on the chunk's number")
	}
	// Adding a fifth makes the stack merge the four.
	var w words
	j.push(&w)
	if want := CV(bytesOf(&j.cvs[0])); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestChunkHasherLimits(t *testing.T) {
	h := NewChunkHasher()
	h.Reset(3, 18)
	if !h.CV().IsZero() {
		t.Error("the CV of nothing is not zero")
	}
	full := make([]byte, 1<<18)
	if _, err := h.Write(append(full, 0)); err == nil {
		t.Error("a Write of more than the chunk holds succeeds")
	}
	if h.Len() != 0 {
		t.Errorf("a refused Write left %d bytes", h.Len())
	}
	if _, err := h.Write(full); err != nil {
		t.Errorf("a full chunk: %v", err)
	}
	cv := h.CV()
	if _, err := h.Write([]byte{1}); err == nil {
		t.Error("a byte beyond the chunk is taken")
	}
	if n, err := h.Write(nil); n != 0 || err != nil {
		t.Errorf("an empty Write to a full chunk: %d, %v", n, err)
	}
	if h.CV() != cv || cv.IsZero() {
		t.Error("a refused Write changed the CV")
	}
	if !h.Root().IsZero() {
		t.Error("chunk 3 has a root of its own")
	}
	for _, c := range []struct {
		chunk uint64
		log2  uint8
	}{{0, 9}, {0, 0}, {0, 41}, {0, 255}, {1 << 46, 18}, {^uint64(0), 24}} {
		h.Reset(c.chunk, c.log2)
		if _, err := h.Write([]byte{1}); err == nil {
			t.Errorf("Reset(%d, %d): Write succeeds", c.chunk, c.log2)
		}
		if !h.CV().IsZero() || !h.Root().IsZero() {
			t.Errorf("Reset(%d, %d): there is a CV or a root", c.chunk, c.log2)
		}
	}
	h.Reset(1<<46-1, 18)
	if _, err := h.Write(full); err != nil {
		t.Errorf("the last chunk that BLAKE3 can count: %v", err)
	}
}

func TestJoiner(t *testing.T) {
	var j Joiner
	if j.Root() != EmptyRoot || EmptyRoot != Digest(reference.Sum256(nil)) {
		t.Error("the root of nothing is not BLAKE3 of nothing")
	}
	one := CV{1, 2, 3}
	j.Add(one)
	if j.Root() != Digest(one) || RootOf(1, func(uint64) CV { return one }) != Digest(one) {
		t.Error("the root of one chunk is not what its CV field carries")
	}
	j.Reset()
	h := NewChunkHasher()
	data := testBytes(300 << 10)
	var cvs []CV
	for i := range 300 {
		h.Reset(uint64(i), 10)
		h.Write(data[i<<10 : (i+1)<<10])
		cvs = append(cvs, h.CV())
		j.Add(cvs[i])
		if j.Len() != uint64(i+1) {
			t.Fatalf("Len() = %d after %d", j.Len(), i+1)
		}
		if i == 0 {
			continue
		}
		want := Digest(reference.Sum256(data[:(i+1)<<10]))
		if got := j.Root(); got != want {
			t.Fatalf("%d chunks: got %v, want %v", i+1, got, want)
		}
		if j.s.depth > bits.Len(uint(i+1))+1 {
			t.Fatalf("%d chunks need %d entries", i+1, j.s.depth)
		}
	}
}

func TestHashersDoNotAllocate(t *testing.T) {
	data := testBytes(1 << 18)
	h := NewChunkHasher()
	f := NewHasher()
	var j Joiner
	for _, n := range []int{1, 1000, 1024, 4096, 5000, 16384, 16385, 100_000, 1 << 18} {
		if a := testing.AllocsPerRun(10, func() {
			h.Reset(0, 18)
			h.Write(data[:n/2])
			h.Write(data[n/2 : n])
			j.Add(h.CV())
			h.Root()
			f.Write(data[:n])
		}); a != 0 {
			t.Errorf("%d bytes: %v allocations", n, a)
		}
	}
	if a := testing.AllocsPerRun(10, func() { f.Sum(); j.Root() }); a != 0 {
		t.Errorf("sums: %v allocations", a)
	}
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte("abc"), uint8(10), uint16(1))
	f.Add(testBytes(5000), uint8(11), uint16(100))
	f.Add(testBytes(40_000), uint8(14), uint16(17_000))
	f.Fuzz(func(t *testing.T, data []byte, log2 uint8, most uint16) {
		log2 = 10 + log2%8
		r := rand.New(rand.NewPCG(uint64(log2), uint64(most)))
		got := rootByChunks(t, NewChunkHasher(), data, log2, int(most)+1, r)
		if want := Digest(reference.Sum256(data)); got != want {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

// BenchmarkChunkHasher hashes chunks of 4 MiB that come in pieces; one goroutine.
func BenchmarkChunkHasher(b *testing.B) {
	data := testBytes(4 << 20)
	for _, piece := range []int{1, 64, 1000, 4096, 16 << 10, 64 << 10, 256 << 10, 4 << 20} {
		b.Run(fmt.Sprintf("piece=%d", piece), func(b *testing.B) {
			h := NewChunkHasher()
			h.Reset(0, 22)
			b.SetBytes(int64(piece))
			b.ReportAllocs()
			at := 0
			for b.Loop() {
				if at+piece > len(data) {
					h.CV()
					h.Reset(1, 22)
					at = 0
				}
				h.Write(data[at : at+piece])
				at += piece
			}
		})
	}
}

// BenchmarkSmallFile hashes a whole file of one chunk.
func BenchmarkSmallFile(b *testing.B) {
	data := testBytes(256 << 10)
	for _, size := range []int{1, 64, 1024, 2048, 4096, 8192, 16 << 10, 64 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("size=%d/ours", size), func(b *testing.B) {
			h := NewChunkHasher()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				h.Reset(0, 18)
				h.Write(data[:size])
				h.Root()
			}
		})
		b.Run(fmt.Sprintf("size=%d/zeebo", size), func(b *testing.B) {
			h := blake3.New()
			var sum [32]byte
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				h.Reset()
				h.Write(data[:size])
				h.Sum(sum[:0])
			}
		})
	}
}
