package crypto

import (
	"fmt"
	"math/rand/v2"
	"testing"

	reference "lukechampine.com/blake3"
	"lukechampine.com/blake3/guts"
)

// Each lane gives what the plain implementation gives, wherever the block counter is, and in place.
func TestLanesEqualOneByOne(t *testing.T) {
	if !haveLanes {
		t.Skip("this processor has no AVX-512")
	}
	data := testBytes(blockSize)
	for _, n := range []uint64{0, 16, 1<<32 - 16, 1<<32 - 7, 1<<32 - 1, 1 << 32, 1<<54 - 16, 1<<64 - 1} {
		var got [lanes][32]byte
		chunkCVs(&got, (*[blockSize]byte)(data), n)
		for i := range got {
			w := guts.ChainingValue(guts.CompressChunk(data[i*guts.ChunkSize:][:guts.ChunkSize], &guts.IV, n+uint64(i), 0))
			if want := bytesOf(&w); got[i] != want {
				t.Fatalf("chunk %d: got %x, want %x", n+uint64(i), got[i], want)
			}
		}
	}
	var cvs [2 * lanes][32]byte
	for i := range cvs {
		cvs[i] = [32]byte(data[i*77:])
	}
	before := cvs
	parentCVs((*[lanes][32]byte)(cvs[:]), &cvs)
	for i := range lanes {
		w := guts.ChainingValue(guts.ParentNode(wordsOf(&before[2*i]), wordsOf(&before[2*i+1]), &guts.IV, 0))
		if want := bytesOf(&w); cvs[i] != want {
			t.Fatalf("parent %d: got %x, want %x", i, cvs[i], want)
		}
		if cvs[lanes+i] != before[lanes+i] {
			t.Fatalf("something was written behind the result")
		}
	}
}

// The same sums come out on a processor without lanes.
func TestWithoutLanes(t *testing.T) {
	if !haveLanes {
		t.Skip("all other tests run without")
	}
	haveLanes = false
	defer func() { haveLanes = true }()
	data := testBytes(1<<20 + 5000)
	r := rand.New(rand.NewPCG(7, 8))
	h, c := NewHasher(), NewChunkHasher()
	for _, n := range interestingSizes(len(data)) {
		want := Digest(reference.Sum256(data[:n]))
		h.Reset()
		writeSplit(t, h, data[:n], len(data), r)
		if got := h.Sum(); got != want {
			t.Fatalf("%d bytes: got %v, want %v", n, got, want)
		}
		if n%7 == 0 {
			if got := rootByChunks(t, c, data[:n], 16, len(data), r); got != want {
				t.Fatalf("%d bytes in chunks: got %v, want %v", n, got, want)
			}
		}
	}
}

// BenchmarkChunk hashes chunks of 256 KiB, as sender and receiver do with a file of up to 2 GiB.
func BenchmarkChunk(b *testing.B) {
	data := testBytes(256 << 10)
	for _, on := range []bool{true, false} {
		b.Run(fmt.Sprintf("lanes=%v", on), func(b *testing.B) {
			if on && !haveLanes {
				b.Skip("this processor has no AVX-512")
			}
			defer func(was bool) { haveLanes = was }(haveLanes)
			haveLanes = on
			h := NewChunkHasher()
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				h.Reset(5, 18)
				h.Write(data)
				h.CV()
			}
		})
	}
}
