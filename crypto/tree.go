package crypto

import (
	"encoding/binary"
	"math/bits"

	"lukechampine.com/blake3/guts"
)

// words is a chaining value as BLAKE3 computes with it.
type words = [8]uint32

func (cv CV) words() words { return wordsOf((*[32]byte)(&cv)) }

func bytesOf(w *words) (b [32]byte) {
	for i, v := range w {
		binary.LittleEndian.PutUint32(b[4*i:], v)
	}
	return b
}

// stack joins the chaining values of equal subtrees, given from left to right, left-heavy: the left side of
// each join has the largest power of two of subtrees that is less than all. A join is done only when a further
// subtree is there, since the last one of all carries the ROOT flag. n subtrees need log2(n)+1 entries.
type stack struct {
	cvs   [65]words
	depth int
	count uint64
}

func (s *stack) reset() { s.depth, s.count = 0, 0 }

// push adds the next subtree.
func (s *stack) push(cv *words) {
	// As many entries stay as count has bits set: the complete subtrees of different heights.
	for s.depth > bits.OnesCount64(s.count) {
		n := guts.ParentNode(s.cvs[s.depth-2], s.cvs[s.depth-1], &guts.IV, 0)
		s.depth--
		s.cvs[s.depth-1] = guts.ChainingValue(n)
	}
	s.cvs[s.depth] = *cv
	s.depth++
	s.count++
}

// over returns the node that joins all entries below depth with last, which stands to their right. Nothing changes.
func (s *stack) over(last guts.Node, depth int) guts.Node {
	for i := depth - 1; i >= 0; i-- {
		last = guts.ParentNode(s.cvs[i], guts.ChainingValue(last), &guts.IV, 0)
	}
	return last
}

func rootOfNode(n guts.Node) Digest {
	n.Flags |= guts.FlagRoot
	w := guts.ChainingValue(n)
	return bytesOf(&w)
}

// Joiner joins the CVs of a file's chunks, in order, to its root. It needs memory for the logarithm of their
// number. The zero value is ready. Not for concurrent use.
type Joiner struct{ s stack }

// Add adds the CV of the next chunk; of a file of one chunk, its root.
func (j *Joiner) Add(cv CV) {
	w := cv.words()
	j.s.push(&w)
}

// Len returns the number of CVs added.
func (j *Joiner) Len() uint64 { return j.s.count }

// Reset forgets all that was added.
func (j *Joiner) Reset() { j.s.reset() }

// Root returns the root of what was added: EmptyRoot of none, the one value itself of one. It may be called
// at any time, and Add goes on after it.
func (j *Joiner) Root() Digest {
	s := &j.s
	switch s.depth {
	case 0:
		return EmptyRoot
	case 1:
		// Two entries or more are left from the second Add on, so this is the only chunk.
		return bytesOf(&s.cvs[0])
	}
	n := guts.ParentNode(s.cvs[s.depth-2], s.cvs[s.depth-1], &guts.IV, 0)
	return rootOfNode(s.over(n, s.depth-2))
}

// RootOf joins the CVs of n chunks to the root of the file. cv is called once for each i from 0 to n-1, in order.
// n = 0 gives EmptyRoot; with n = 1 the one CV is the root itself.
func RootOf(n uint64, cv func(i uint64) CV) Digest {
	var j Joiner
	for i := range n {
		j.Add(cv(i))
	}
	return j.Root()
}
