package crypto

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"lukechampine.com/blake3/guts"
)

var makeZeros = flag.Bool("make-zeros", false, "compute zeros.bin anew, which takes half an hour")

// hashedZeros is zeros without the table.
func hashedZeros(first uint64, log2 uint8) words {
	if log2 == blockLog2 {
		return guts.ChainingValue(guts.CompressBuffer(&zeroBlock, blockSize, &guts.IV, first, 0))
	}
	left, right := hashedZeros(first, log2-1), hashedZeros(first+1<<(log2-1), log2-1)
	return guts.ChainingValue(guts.ParentNode(left, right, &guts.IV, 0))
}

// TestZeroTable hashes granules of each level, the first and the last and some between, and compares.
func TestZeroTable(t *testing.T) {
	if *makeZeros {
		var b []byte
		for _, l := range zeroLevels {
			for first := l.from; first < l.to; first += 1 << l.log2 {
				w := hashedZeros(first, l.log2)
				cv := bytesOf(&w)
				b = append(b, cv[:]...)
			}
		}
		if err := os.WriteFile("zeros.bin", b, 0o644); err != nil {
			t.Fatal(err)
		}
		t.Skip("made anew; run the test again")
	}
	if len(zeroTable) != 32*zeroEntries {
		t.Fatalf("%d bytes, want %d", len(zeroTable), 32*zeroEntries)
	}
	for i, l := range zeroLevels {
		n := (l.to - l.from) >> l.log2
		entries := []uint64{0, n - 1, rand.Uint64N(n), rand.Uint64N(n)}
		if i == 2 || testing.Short() {
			entries = entries[2-i%2:][:1] // a GiB takes half a second
		}
		for _, e := range entries {
			first := l.from + e<<l.log2
			got, ok := knownZeros(first, l.log2)
			if want := hashedZeros(first, l.log2); !ok || got != want {
				t.Errorf("level %d, entry %d: %x, %v, want %x", i, e, got, ok, want)
			}
		}
	}
	for _, c := range []struct {
		first uint64
		log2  uint8
	}{{0, 13}, {0, 18}, {64 * gibi, 14}, {tebi, 18}, {4 * tebi, 20}, {1 << 60, 20}} {
		if _, ok := knownZeros(c.first, c.log2); ok {
			t.Errorf("%+v is not in the table", c)
		}
	}
}

// What is hashed together is what is hashed one by one.
func TestZerosHashedTogether(t *testing.T) {
	for _, first := range []uint64{0, 64, 1 << 32, 1 << 40} {
		for log2 := uint8(blockLog2); log2 < 10; log2++ {
			got, err := zeros(first, log2, nil)
			if want := hashedZeros(first, log2); err != nil || got != want {
				t.Errorf("2^%d KiB from %d on: %x, want %x", log2, first, got, want)
			}
		}
	}
	if 1<<(runLog2-blockLog2) != together {
		t.Error("a run is not what is hashed together")
	}
}

// The roots of files of zeros, as b3sum prints them for as many bytes of /dev/zero.
func TestZeroRootsEqualB3sum(t *testing.T) {
	for size, want := range map[int64]string{
		64 << 10:    "3bdeaf8f8e98780b318106aafdc3ca257f73df123d97b69112b26044c91a7d56",
		1 << 30:     "94b4ec39d8d42ebda685fbb5429e8ab0086e65245e750142c1eea36a26abc24d",
		100<<30 + 1: "6f104e1b9630eb70a0636636a230bee6dae944452ec98bc529ed831d1d1c24a8",
		1 << 40:     "9387bd9b2ff4c3d9baa8c65d491f51789b6ed2a000aa45b679f80d21c3cc5013",
	} {
		if got := ZeroRoot(size).String(); got != want {
			t.Errorf("%d bytes: %s, want %s", size, got, want)
		}
	}
}

// A file of runs of zeros and of bytes has the same digest however it is told to the hasher.
func TestWriteZeros(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		a, b := NewHasher(), NewHasher()
		var told string
		for range rng.IntN(6) + 1 {
			n := rng.IntN(3 * blockSize)
			switch rng.IntN(4) {
			case 0:
				n = rng.IntN(4) * blockSize
			case 1:
				n += rng.IntN(1 << 20)
			}
			if rng.IntN(2) == 0 {
				told += fmt.Sprint(" zeros ", n)
				if err := a.WriteZeros(int64(n), nil); err != nil {
					t.Fatal(err)
				}
				b.Write(make([]byte, n))
				continue
			}
			told += fmt.Sprint(" bytes ", n)
			p := bytes.Repeat([]byte{byte(1 + rng.IntN(255))}, n)
			a.Write(p)
			b.Write(p)
		}
		if a.Sum() != b.Sum() || a.Len() != b.Len() {
			t.Fatalf("seed %d:%s: %d bytes %v, want %d %v", seed, told, a.Len(), a.Sum(), b.Len(), b.Sum())
		}
	}
}

// The same of a Joiner, with chunks of any size.
func TestAddZeros(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		log2 := uint8(10 + rng.IntN(6))
		var a, b Joiner
		h := NewChunkHasher()
		add := func(j *Joiner, fill byte) {
			h.Reset(j.Len(), log2)
			h.Write(bytes.Repeat([]byte{fill}, 1<<log2))
			j.Add(h.CV())
		}
		for range rng.IntN(6) + 1 {
			n := rng.IntN(20)
			if rng.IntN(2) == 0 {
				if err := a.AddZeros(uint64(n), log2, nil); err != nil {
					t.Fatal(err)
				}
				for range n {
					if cv := ZeroCV(b.Len(), log2, 1<<log2); cv.IsZero() {
						t.Fatal("no CV")
					}
					add(&b, 0)
				}
				continue
			}
			for range n % 4 {
				add(&a, byte(n+1))
				add(&b, byte(n+1))
			}
		}
		if a.Root() != b.Root() || a.Len() != b.Len() {
			t.Fatalf("seed %d: %d chunks of 2^%d: %v, want %d %v", seed, a.Len(), log2, a.Root(), b.Len(), b.Root())
		}
	}
}

func TestZeroCV(t *testing.T) {
	h := NewChunkHasher()
	for _, c := range []struct {
		chunk uint64
		log2  uint8
		n     int64
	}{
		{0, 18, 1 << 18}, {5, 18, 1 << 18}, {5, 18, 1}, {5, 18, 1<<18 - 1}, {7, 24, 1 << 24}, {7, 24, 3<<20 + 5}, {1 << 20, 24, 1 << 24},
		{1, 10, 1024}, {3, 13, 8192}, {1 << 39, 24, 1 << 20},
	} {
		h.Reset(c.chunk, c.log2)
		h.Write(make([]byte, c.n))
		if got, want := ZeroCV(c.chunk, c.log2, c.n), h.CV(); got != want || got.IsZero() {
			t.Errorf("%+v: %v, want %v", c, got, want)
		}
	}
	for _, c := range []struct {
		chunk uint64
		log2  uint8
		n     int64
	}{{0, 18, 0}, {0, 18, -1}, {0, 18, 1<<18 + 1}, {0, 9, 1}, {0, 41, 1}, {1 << 46, 18, 1}} {
		if got := ZeroCV(c.chunk, c.log2, c.n); !got.IsZero() {
			t.Errorf("%+v: %v", c, got)
		}
	}
	var j Joiner
	for _, err := range []error{j.AddZeros(1, 9, nil), j.AddZeros(1, 41, nil), j.AddZeros(1<<46+1, 18, nil)} {
		if err == nil {
			t.Error("nonsense was added")
		}
	}
}

// What has to be hashed can be stopped.
func TestZerosAreHashedInSteps(t *testing.T) {
	stop := errors.New("stop")
	ticks := 0
	var j Joiner
	err := j.AddZeros(1<<30, 24, func() error {
		if ticks++; ticks == 3 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || ticks != 3 {
		t.Errorf("%v after %d steps", err, ticks)
	}
}

// BenchmarkHole is 1 TiB of zeros with three islands, as a receiver joins it.
func BenchmarkHole(b *testing.B) {
	const log2, chunks = 23, 1 << 17
	cv := CV{1}
	b.ReportAllocs()
	for b.Loop() {
		var j Joiner
		for _, island := range []uint64{1000, 60_000, 131_000} {
			if err := j.AddZeros(island-j.Len(), log2, nil); err != nil {
				b.Fatal(err)
			}
			j.Add(cv)
		}
		if err := j.AddZeros(chunks-j.Len(), log2, nil); err != nil {
			b.Fatal(err)
		}
		_ = j.Root()
	}
}
