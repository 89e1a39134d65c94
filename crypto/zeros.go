package crypto

import (
	_ "embed"
	"math/bits"

	"lukechampine.com/blake3/guts"
)

// The hash of a hole. BLAKE3 counts its blocks, so zeros have another chaining value at each place, and a file that is one
// hole of 1 TiB costs minutes of hashing. But what these values are does not depend on anything else: they are
// constants, and zeros.bin has those of whole granules. A hole costs the hashing of what lies between its ends and the
// granules, so the root of a sparse file is the same as that of any other, and b3sum prints it.

//go:embed zeros.bin
var zeroTable string

// zeroLevel is a part of zeros.bin: the chaining values of granules of zeros, one after the other.
type zeroLevel struct {
	from, to uint64 // KiB
	log2     uint8  // of a granule, in KiB
	at       int    // of its first value in the table
}

const (
	gibi = 1 << 20 // KiB
	tebi = 1 << 30
)

// zeroLevels are finer where most files are.
var zeroLevels = [...]zeroLevel{
	{0, 64 * gibi, 14, 0},
	{64 * gibi, tebi, 18, 4096},
	{tebi, 4 * tebi, 20, 4096 + 3840},
}

const zeroEntries = 4096 + 3840 + 3072

// knownZeros returns the chaining value of 2^log2 KiB of zeros from KiB first on, if the table has just that.
func knownZeros(first uint64, log2 uint8) (w words, ok bool) {
	for _, l := range zeroLevels {
		if first >= l.from && first < l.to && log2 == l.log2 {
			at := (l.at + int((first-l.from)>>log2)) * 32
			return CV([]byte(zeroTable[at : at+32])).words(), true
		}
	}
	return w, false
}

var (
	zeroBlock [blockSize]byte
	zeroRun   [together * blockSize]byte
)

// In KiB, a block and what is hashed together.
const (
	blockLog2 = 4
	runLog2   = 6
)

// zeroRunCV returns the chaining value of 2^runLog2 KiB of zeros from KiB first on.
func zeroRunCV(first uint64) words {
	cvs := runCVs(zeroRun[:], first)
	for n := together; n > 1; n /= 2 {
		for i := range n / 2 {
			w := guts.ChainingValue(guts.ParentNode(wordsOf(&cvs[2*i]), wordsOf(&cvs[2*i+1]), &guts.IV, 0))
			cvs[i] = bytesOf(&w)
		}
	}
	return wordsOf(&cvs[0])
}

// tickLog2 is how much is hashed between two calls of tick: 64 MiB, 10 to 20 ms.
const tickLog2 = 16

// zeros returns the chaining value of 2^log2 KiB of zeros from KiB first on, a multiple of that. tick, if not nil, is
// called now and then, and its error ends it.
func zeros(first uint64, log2 uint8, tick func() error) (words, error) {
	if w, ok := knownZeros(first, log2); ok {
		return w, nil
	}
	switch {
	case log2 == runLog2 && haveLanes:
		return zeroRunCV(first), nil
	case log2 == blockLog2:
		return guts.ChainingValue(blockNode(&zeroBlock, first)), nil
	case log2 < blockLog2:
		return guts.ChainingValue(guts.CompressBuffer(&zeroBlock, guts.ChunkSize<<log2, &guts.IV, first, 0)), nil
	}
	left, err := zeros(first, log2-1, tick)
	if err != nil {
		return words{}, err
	}
	right, err := zeros(first+1<<(log2-1), log2-1, tick)
	if err != nil {
		return words{}, err
	}
	if log2 == tickLog2 && tick != nil {
		if err := tick(); err != nil {
			return words{}, err
		}
	}
	return guts.ChainingValue(guts.ParentNode(left, right, &guts.IV, 0)), nil
}

// pushZeros is push for n subtrees of zeros, each of 2^unit KiB; the stack begins at KiB base of the file.
func (s *stack) pushZeros(base uint64, unit uint8, n uint64, tick func() error) error {
	for n > 0 {
		// The largest group that begins here and is a subtree.
		log2 := uint8(bits.Len64(n) - 1)
		if s.count > 0 {
			log2 = min(log2, uint8(bits.TrailingZeros64(s.count)))
		} else if log2 > 0 {
			log2-- // never one entry for all there is: the topmost join carries the ROOT flag
		}
		w, err := zeros(base+s.count<<unit, unit+log2, tick)
		if err != nil {
			return err
		}
		s.push(&w)
		s.count += 1<<log2 - 1
		n -= 1 << log2
	}
	return nil
}

// writeZeros is write of n zeros.
func (t *subtree) writeZeros(n int64, tick func() error) error {
	if t.n > 0 {
		k := min(n, int64(blockSize-t.n))
		t.write(zeroBlock[:k])
		n -= k
	}
	if n == 0 {
		return nil
	}
	if t.n > 0 { // a whole block, and more follows
		t.compress(&t.block)
		t.n = 0
	}
	if whole := (n - 1) / blockSize; whole > 0 { // the last block stays
		if err := t.done.pushZeros(t.base, blockLog2, uint64(whole), tick); err != nil {
			return err
		}
		n -= whole * blockSize
	}
	t.n = copy(t.block[:], zeroBlock[:n])
	return nil
}

// WriteZeros is Write of n zeros, for much less than n bytes of work where they are many. tick, if not nil, is called after
// each 64 MiB that have to be hashed after all; its error ends WriteZeros, and h is good for nothing but Reset.
func (h *Hasher) WriteZeros(n int64, tick func() error) error { return h.t.writeZeros(max(n, 0), tick) }

// AddZeros is Add for the next n chunks of a file of several chunks of 1<<chunkLog2 bytes, each whole and all zeros. tick is
// that of Hasher.WriteZeros; after its error j is good for nothing but Reset. A chunkLog2 outside of 10 to 40, or chunks
// beyond the 2^64 bytes that BLAKE3 can count, are an error.
func (j *Joiner) AddZeros(n uint64, chunkLog2 uint8, tick func() error) error {
	if chunkLog2 < 10 || chunkLog2 > 40 || n > 1<<(64-chunkLog2) || j.s.count+n > 1<<(64-chunkLog2) {
		return errChunkRange
	}
	return j.s.pushZeros(0, chunkLog2-10, n, tick)
}

// ZeroCV returns the CV of chunk number chunk, of n zeros, of a file with chunks of 1<<chunkLog2 bytes: what a ChunkHasher
// would. The zero CV where n is not from 1 to the size of a chunk, or the chunk out of range.
func ZeroCV(chunk uint64, chunkLog2 uint8, n int64) CV {
	if chunkLog2 < 10 || chunkLog2 > 40 || chunk >= 1<<(64-chunkLog2) || n < 1 || n > 1<<chunkLog2 {
		return CV{}
	}
	base := chunk << (chunkLog2 - 10)
	if n == 1<<chunkLog2 {
		w, _ := zeros(base, chunkLog2-10, nil)
		return bytesOf(&w)
	}
	var t subtree
	t.reset(base)
	_ = t.writeZeros(n, nil)
	w := guts.ChainingValue(t.node())
	return bytesOf(&w)
}

// ZeroRoot returns the Digest of n zeros.
func ZeroRoot(n int64) Digest {
	var t subtree
	_ = t.writeZeros(max(n, 0), nil)
	return t.root()
}
