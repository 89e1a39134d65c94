package crypto

import (
	"encoding/binary"

	"lukechampine.com/blake3/guts"
)

// lanes is how many BLAKE3 chunks of 1 KiB, or parents, are hashed at once where the processor can: twice as fast as
// guts.CompressBuffer.
const lanes = 16

// together is how many blocks are hashed as one run: then nearly all joins of parents fill the lanes, too.
const together = 4

// chunkCVs hashes 16 KiB, the first of which has the block counter n, to the CVs of 1 KiB each.
func chunkCVs(out *[lanes][32]byte, p *[blockSize]byte, n uint64) {
	var counters [2 * lanes]uint32
	for i := range uint64(lanes) {
		counters[i], counters[lanes+i] = uint32(n+i), uint32((n+i)>>32)
	}
	hashLanes(out, &p[0], guts.ChunkSize, guts.ChunkSize/guts.BlockSize, &counters, 0, guts.FlagChunkStart, guts.FlagChunkEnd)
}

// parentCVs joins the first 2 * lanes CVs of in by twos. Of fewer the result has fewer, and what is behind is without meaning.
// out may overlap in.
func parentCVs(out *[lanes][32]byte, in *[2 * lanes][32]byte) {
	var counters [2 * lanes]uint32
	hashLanes(out, &in[0][0], 2*32, 1, &counters, guts.FlagParent, 0, 0)
}

// runCVs hashes a run of 1 to together whole blocks, the first of which has the block counter n. The CVs of the blocks are the
// first of the result.
func runCVs(p []byte, n uint64) (cvs [together * lanes][32]byte) {
	count := len(p) / guts.ChunkSize
	for i := 0; i < count; i += lanes {
		chunkCVs((*[lanes][32]byte)(cvs[i:]), (*[blockSize]byte)(p[i*guts.ChunkSize:]), n+uint64(i))
	}
	for each := lanes; each > 1; each /= 2 { // of what is left of a block
		count /= 2
		for i := 0; i < count; i += lanes {
			parentCVs((*[lanes][32]byte)(cvs[i:]), (*[2 * lanes][32]byte)(cvs[2*i:]))
		}
	}
	return cvs
}

// blockNode returns the topmost node of 16 KiB.
func blockNode(p *[blockSize]byte, n uint64) guts.Node {
	if !haveLanes {
		return guts.CompressBuffer(p, blockSize, &guts.IV, n, 0)
	}
	var cvs [2 * lanes][32]byte
	chunkCVs((*[lanes][32]byte)(cvs[:]), p, n)
	for range 3 { // to 8, 4, 2
		parentCVs((*[lanes][32]byte)(cvs[:]), &cvs)
	}
	return guts.ParentNode(wordsOf(&cvs[0]), wordsOf(&cvs[1]), &guts.IV, 0)
}

func wordsOf(b *[32]byte) (w words) {
	for i := range w {
		w[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return w
}
