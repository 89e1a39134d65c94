package crypto

import (
	"encoding/binary"
	"fmt"
	"testing"

	reference "lukechampine.com/blake3"
)

func TestLtHashIsOfASet(t *testing.T) {
	words := []string{"", "a", "b", "aa", "a long one, that is more than a block of sixty-four bytes, so that it takes a second"}
	var one, other LtHash
	for i := range words {
		one.Add([]byte(words[i]))
		other.Add([]byte(words[len(words)-1-i]))
	}
	if one.Sum() != other.Sum() {
		t.Error("the order counts")
	}
	all := one.Sum()
	seen := map[Digest]string{all: "all", new(LtHash).Sum(): "none"}
	for i := range words {
		l := one
		l.h = nil
		l.Remove([]byte(words[i]))
		if was, ok := seen[l.Sum()]; ok {
			t.Errorf("without %q it is the hash of %s", words[i], was)
		}
		seen[l.Sum()] = fmt.Sprintf("all but %q", words[i])
		l.Add([]byte(words[i]))
		if l.Sum() != all {
			t.Errorf("%q is not what was removed", words[i])
		}
	}
}

// The sums are what another BLAKE3 gives.
func TestLtHashAgainstAnotherBLAKE3(t *testing.T) {
	var l LtHash
	var sum [ltLanes]uint16
	for i := range 40 {
		b := fmt.Appendf(nil, "%0*d", i*7, i)
		l.Add(b)
		h := reference.New(2*ltLanes, nil)
		_, _ = h.Write(b)
		out := h.Sum(nil)
		for j := range sum {
			sum[j] += binary.LittleEndian.Uint16(out[2*j:])
		}
	}
	var b []byte
	for _, v := range sum {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	if want := Digest(reference.Sum256(b)); l.Sum() != want {
		t.Errorf("%v, want %v", l.Sum(), want)
	}
}

func BenchmarkLtHash(b *testing.B) {
	var l LtHash
	line := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		l.Add(line)
	}
}
