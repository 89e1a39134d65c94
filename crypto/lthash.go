package crypto

import (
	"encoding/binary"

	"github.com/zeebo/blake3"
)

// ltLanes is how many sums of 16 bits an LtHash has.
const ltLanes = 1024

// LtHash is the hash of a set of byte strings, whatever the order in which they come: LtHash16 of Lewi, Kim, Maykov and Weis,
// "Securing Update Propagation with Homomorphic Hashing" (2019), after Bellare and Micciancio, with BLAKE3 as the function that
// is summed up. Two sets with one hash cannot be found; the same string 65536 times can, so whoever compares sets that a
// stranger has made sees that nothing is in them twice. The zero value is the empty set. Not safe for concurrent use.
type LtHash struct {
	sum [ltLanes]uint16
	buf [2 * ltLanes]byte
	h   *blake3.Hasher
}

// Add adds a string that is not in the set.
func (l *LtHash) Add(b []byte) {
	l.expand(b)
	for i := range l.sum {
		l.sum[i] += binary.LittleEndian.Uint16(l.buf[2*i:])
	}
}

// Remove takes a string out that is in the set.
func (l *LtHash) Remove(b []byte) {
	l.expand(b)
	for i := range l.sum {
		l.sum[i] -= binary.LittleEndian.Uint16(l.buf[2*i:])
	}
}

func (l *LtHash) expand(b []byte) {
	if l.h == nil {
		l.h = blake3.New()
	}
	l.h.Reset()
	_, _ = l.h.Write(b)                // it has no errors
	_, _ = l.h.Digest().Read(l.buf[:]) // nor has this
}

// Sum returns the BLAKE3 hash of the sums: 2048 bytes, little-endian.
func (l *LtHash) Sum() Digest {
	b := make([]byte, 0, 2*ltLanes)
	for _, v := range l.sum {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return Sum(b)
}
