package crypto

import (
	"errors"
	"math/bits"

	"github.com/zeebo/blake3"
	"lukechampine.com/blake3/guts"
)

// blockSize is what is compressed at once: the 16 BLAKE3 chunks of 1 KiB that fill the widest vector unit.
const blockSize = guts.MaxSIMD * guts.ChunkSize

// subtree hashes a run of bytes that begins at 1-KiB block number base of its file.
type subtree struct {
	base  uint64
	done  stack // of whole blocks, never of the last
	n     int   // bytes in buf
	block [blockSize]byte

	keep   bool // groups
	groups []CV // of whole blocks, never of the last
}

func (t *subtree) reset(base uint64) {
	t.base, t.n = base, 0
	t.done.reset()
	t.groups = t.groups[:0]
}

func (t *subtree) len() int64 { return int64(t.done.count)*blockSize + int64(t.n) }

// write takes p. A block is compressed only when a byte after it is known, since the last node is special.
func (t *subtree) write(p []byte) {
	if t.n > 0 {
		k := copy(t.block[t.n:], p)
		t.n += k
		p = p[k:]
		if len(p) == 0 {
			return
		}
		t.compress(&t.block)
		t.n = 0
	}
	for len(p) > blockSize {
		k := 1
		if haveLanes {
			k = min((len(p)-1)/blockSize, together)
		}
		if k == 1 {
			t.compress((*[blockSize]byte)(p))
		} else {
			t.compressRun(p[:k*blockSize])
		}
		p = p[k*blockSize:]
	}
	t.n = copy(t.block[:], p)
}

// next is the BLAKE3 chunk counter of the next block.
func (t *subtree) next() uint64 { return t.base + t.done.count*(blockSize/guts.ChunkSize) }

func (t *subtree) compress(b *[blockSize]byte) {
	w := guts.ChainingValue(blockNode(b, t.next()))
	t.done.push(&w)
	if t.keep {
		t.groups = append(t.groups, bytesOf(&w))
	}
}

// compressRun takes up to together whole blocks.
func (t *subtree) compressRun(p []byte) {
	cvs := runCVs(p, t.next())
	for i := range len(p) / blockSize {
		w := wordsOf(&cvs[i])
		t.done.push(&w)
		if t.keep {
			t.groups = append(t.groups, cvs[i])
		}
	}
}

// node returns the topmost node of all that was written.
func (t *subtree) node() guts.Node {
	var n guts.Node
	if t.n == blockSize {
		n = blockNode(&t.block, t.next())
	} else {
		n = guts.CompressBuffer(&t.block, t.n, &guts.IV, t.next(), 0)
	}
	if t.done.depth == 0 {
		return n
	}
	// The stack merges when one is pushed, and the last block is not pushed: do here what push would.
	s := &t.done
	depth, top := s.depth, s.cvs[s.depth-1]
	for keep := bits.OnesCount64(s.count); depth > keep; depth-- {
		top = guts.ChainingValue(guts.ParentNode(s.cvs[depth-2], top, &guts.IV, 0))
	}
	n = guts.ParentNode(top, guts.ChainingValue(n), &guts.IV, 0)
	return s.over(n, depth-1)
}

// root returns the digest of all that was written, as a whole file.
func (t *subtree) root() Digest {
	// CompressBuffer takes as long for 2 KiB as for 16; up to half of that the other implementation is twice as fast.
	if t.done.count == 0 && t.n <= blockSize/2 {
		return blake3.Sum256(t.block[:t.n])
	}
	return rootOfNode(t.node())
}

var (
	errChunkFull  = errors.New("chunk: more bytes than the chunk holds")
	errChunkRange = errors.New("chunk: number or size out of range")
)

// ChunkHasher hashes one chunk of a file after another. It allocates nothing once made and starts no goroutine.
// Not for concurrent use.
type ChunkHasher struct {
	t     subtree
	chunk uint64
	limit int64 // -1: Reset was called with nonsense
}

// NewChunkHasher returns a hasher that is ready for the only chunk of a file of at most 1<<24 bytes. For any
// other call Reset first. It holds 20 KiB.
func NewChunkHasher() *ChunkHasher {
	h := new(ChunkHasher)
	h.Reset(0, 24)
	return h
}

// Reset begins with chunk number chunk of a file with chunks of 1<<chunkLog2 bytes. A chunkLog2 outside of
// 10 to 40, or a chunk beyond the 2^64 bytes that BLAKE3 can count, makes every Write fail.
func (h *ChunkHasher) Reset(chunk uint64, chunkLog2 uint8) {
	h.chunk = chunk
	if chunkLog2 < 10 || chunkLog2 > 40 || chunk >= 1<<(64-chunkLog2) {
		h.limit = -1
		h.t.reset(0)
		return
	}
	h.limit = 1 << chunkLog2
	h.t.reset(chunk << (chunkLog2 - 10))
}

// Write adds p to the chunk. Where p is more than the chunk may still hold nothing is taken and an error returned.
func (h *ChunkHasher) Write(p []byte) (int, error) {
	if h.limit < 0 {
		return 0, errChunkRange
	}
	if int64(len(p)) > h.limit-h.t.len() {
		return 0, errChunkFull
	}
	h.t.write(p)
	return len(p), nil
}

// Len returns the number of bytes written since Reset.
func (h *ChunkHasher) Len() int64 { return h.t.len() }

// CV returns the non-root chaining value of what was written, the zero CV where that is nothing. Write may go on.
func (h *ChunkHasher) CV() CV {
	if h.t.len() == 0 {
		return CV{}
	}
	w := guts.ChainingValue(h.t.node())
	return bytesOf(&w)
}

// GroupSize is how many bytes a group of Groups has.
const GroupSize = blockSize

// KeepGroups makes the hasher remember the chaining values of groups, from the next Reset on.
func (h *ChunkHasher) KeepGroups(keep bool) { h.t.keep = keep }

// Groups returns the non-root chaining values of the groups of GroupSize bytes that were written, of which the last may be
// shorter, where KeepGroups says so. They are good until the next Write or Reset.
func (h *ChunkHasher) Groups() []CV {
	if h.t.n == 0 || !h.t.keep {
		return h.t.groups
	}
	w := guts.ChainingValue(guts.CompressBuffer(&h.t.block, h.t.n, &guts.IV, h.t.next(), 0))
	return append(h.t.groups, bytesOf(&w))
}

// Root returns the digest of a file that consists of this chunk alone, EmptyRoot where nothing was written.
// Only chunk 0 can be alone: for another the result is the zero Digest. Write may go on.
func (h *ChunkHasher) Root() Digest {
	if h.chunk != 0 || h.limit < 0 {
		return Digest{}
	}
	return h.t.root()
}

// Hasher hashes a whole file; the result is what b3sum prints. Not for concurrent use.
type Hasher struct{ t subtree }

// NewHasher returns a hasher of nothing yet. It holds 20 KiB.
func NewHasher() *Hasher { return new(Hasher) }

// Write adds p. The error is always nil.
func (h *Hasher) Write(p []byte) (int, error) {
	h.t.write(p)
	return len(p), nil
}

// Len returns the number of bytes written since the last Reset.
func (h *Hasher) Len() int64 { return h.t.len() }

// Reset forgets all that was written.
func (h *Hasher) Reset() { h.t.reset(0) }

// Sum returns the digest of all that was written. Write may go on.
func (h *Hasher) Sum() Digest { return h.t.root() }
