package main

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"os/exec"
	"strings"
	"testing"
)

// referenceBLAKE3 is BLAKE3 written from its specification for these tests alone, slow and short, so that what the
// program says of content is compared with something that shares no code with it.
func referenceBLAKE3(data []byte) [32]byte {
	// The state of the rightmost path: chaining values of finished subtrees, the largest first.
	var stack [][8]uint32
	chunk := uint64(0)
	for ; len(data) > 1024; data, chunk = data[1024:], chunk+1 {
		cv := b3chunk(data[:1024], chunk).chain()
		for n := chunk + 1; n&1 == 0; n >>= 1 {
			cv = b3parent(stack[len(stack)-1], cv).chain()
			stack = stack[:len(stack)-1]
		}
		stack = append(stack, cv)
	}
	last := b3chunk(data, chunk)
	for i := len(stack) - 1; i >= 0; i-- {
		last = b3parent(stack[i], last.chain())
	}
	last.flags |= b3root
	out := last.compress()
	var sum [32]byte
	for i := range 8 {
		binary.LittleEndian.PutUint32(sum[4*i:], out[i])
	}
	return sum
}

const (
	b3chunkStart = 1
	b3chunkEnd   = 2
	b3parentFlag = 4
	b3root       = 8
)

// b3iv are the initial values.
func b3iv() [8]uint32 {
	return [8]uint32{0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19}
}

// b3node is the input of one compression.
type b3node struct {
	cv      [8]uint32
	block   [16]uint32
	counter uint64
	length  uint32
	flags   uint32
}

func (n b3node) chain() (cv [8]uint32) {
	v := n.compress()
	copy(cv[:], v[:])
	return cv
}

func (n b3node) compress() [16]uint32 {
	iv := b3iv()
	v := [16]uint32{}
	copy(v[:], n.cv[:])
	copy(v[8:], iv[:4])
	v[12], v[13], v[14], v[15] = uint32(n.counter), uint32(n.counter>>32), n.length, n.flags
	m := n.block
	g := func(a, b, c, d int, x, y uint32) {
		v[a] += v[b] + x
		v[d] = bits.RotateLeft32(v[d]^v[a], -16)
		v[c] += v[d]
		v[b] = bits.RotateLeft32(v[b]^v[c], -12)
		v[a] += v[b] + y
		v[d] = bits.RotateLeft32(v[d]^v[a], -8)
		v[c] += v[d]
		v[b] = bits.RotateLeft32(v[b]^v[c], -7)
	}
	for round := range 7 {
		g(0, 4, 8, 12, m[0], m[1])
		g(1, 5, 9, 13, m[2], m[3])
		g(2, 6, 10, 14, m[4], m[5])
		g(3, 7, 11, 15, m[6], m[7])
		g(0, 5, 10, 15, m[8], m[9])
		g(1, 6, 11, 12, m[10], m[11])
		g(2, 7, 8, 13, m[12], m[13])
		g(3, 4, 9, 14, m[14], m[15])
		if round < 6 {
			old := m
			for i, from := range [16]int{2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8} {
				m[i] = old[from]
			}
		}
	}
	for i := range 8 {
		v[i] ^= v[i+8]
		v[i+8] ^= n.cv[i]
	}
	return v
}

// b3chunk returns the last compression of a chunk of at most 1,024 bytes.
func b3chunk(data []byte, counter uint64) b3node {
	n := b3node{cv: b3iv(), counter: counter, flags: b3chunkStart}
	for len(data) > 64 {
		n.load(data[:64])
		n.cv = n.chain()
		n.flags = 0
		data = data[64:]
	}
	n.load(data)
	n.flags |= b3chunkEnd
	return n
}

func (n *b3node) load(data []byte) {
	var block [64]byte
	n.length = uint32(copy(block[:], data))
	for i := range n.block {
		n.block[i] = binary.LittleEndian.Uint32(block[4*i:])
	}
}

func b3parent(left, right [8]uint32) b3node {
	n := b3node{cv: b3iv(), length: 64, flags: b3parentFlag}
	copy(n.block[:], left[:])
	copy(n.block[8:], right[:])
	return n
}

// TestReferenceBLAKE3 compares it with values of the official test vectors and with b3sum.
func TestReferenceBLAKE3(t *testing.T) {
	input := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(i % 251)
		}
		return b
	}
	for n, want := range map[int]string{
		0:    "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
		1:    "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
		1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
		1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
	} {
		if got := referenceBLAKE3(input(n)); hex.EncodeToString(got[:]) != want {
			t.Errorf("%d bytes: %x, want %s", n, got, want)
		}
	}
	b3sum, err := exec.LookPath("b3sum")
	if err != nil {
		t.Skip("b3sum is not installed: the test vectors alone")
	}
	for _, n := range []int{2048, 2049, 3072, 5000, 7*1024 + 1, 31744, 100000, 1<<18 + 1} {
		c := exec.Command(b3sum, "--no-names")
		c.Stdin = bytes.NewReader(input(n))
		out, err := c.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := referenceBLAKE3(input(n)); hex.EncodeToString(got[:]) != strings.TrimSpace(string(out)) {
			t.Errorf("%d bytes: %x, b3sum says %s", n, got, out)
		}
	}
}
