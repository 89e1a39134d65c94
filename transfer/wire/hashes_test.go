package wire

import "testing"

func TestHashesValues(t *testing.T) {
	const k18, k24 = 18, 24
	for _, c := range []struct {
		name string
		m    Hashes
		log2 uint8
		old  uint64
		n    int
		want string
	}{
		{"of held chunks", Hashes{First: 5, Count: 8192}, k18, 0, 8192, "ok"},
		{"all chunks", Hashes{Count: 3, Old: true}, k18, 3 << 18, 3, "ok"},
		{"the last one is short", Hashes{First: 2, Count: 1, Old: true}, k18, 2<<18 + 1, 1, "ok"},
		{"one too many", Hashes{Count: 4, Old: true}, k18, 3 << 18, 0, "PROTOCOL"},
		{"behind the end", Hashes{First: 3, Count: 1, Old: true}, k18, 3 << 18, 0, "PROTOCOL"},
		{"far behind the end", Hashes{First: MaxChunks - 1, Count: 1, Old: true}, k24, 1, 0, "PROTOCOL"},
		{"no old version", Hashes{Count: 1, Old: true}, k18, 0, 0, "PROTOCOL"},
		{"the largest file", Hashes{First: MaxChunks - 8192, Count: 8192, Old: true}, k24, MaxFileSize, 8192, "ok"},
		{"groups of one chunk", Hashes{First: 1, Count: 1, Old: true, Groups: true}, k18, 3 << 18, 16, "ok"},
		{"groups of the largest chunks", Hashes{First: MaxChunks - 8, Count: 8, Old: true, Groups: true}, k24, MaxFileSize, 8192, "ok"},
		{"groups of one chunk more", Hashes{First: 0, Count: 9, Old: true, Groups: true}, k24, MaxFileSize, 0, "LIMIT"},
		{"as many groups, but the chunks are too many", Hashes{Count: 9, Old: true, Groups: true}, k24, 8<<24 + 1, 0, "LIMIT"},
		{"groups of the smallest chunks", Hashes{Count: 512, Old: true, Groups: true}, k18, 1 << 40, 8192, "ok"},
		{"the last group has one byte", Hashes{First: 1, Count: 1, Old: true, Groups: true}, k18, 1<<18 + 1, 1, "ok"},
		{"the last group is whole", Hashes{First: 1, Count: 1, Old: true, Groups: true}, k18, 1<<18 + 1<<15, 2, "ok"},
		{"a group begins behind them", Hashes{Count: 2, Old: true, Groups: true}, k18, 1<<18 + 1<<15 + 1, 19, "ok"},
	} {
		n, err := c.m.Values(c.log2, c.old)
		if got := outcome(t, err); n != c.n || got != c.want {
			t.Errorf("%s: %d, %v; want %d, %s", c.name, n, err, c.n, c.want)
		}
	}
}

// Asked for piece by piece there are as many as asked for at once, and none has no bytes.
func TestHashesValuesAddUp(t *testing.T) {
	for _, old := range []uint64{1, 1<<14 - 1, 1 << 14, 1<<14 + 1, 1<<20 - 1, 1 << 20, 1<<20 + 1, 5<<20 + 12345} {
		for _, groups := range []bool{false, true} {
			chunks := (old + 1<<20 - 1) >> 20
			all, err := Hashes{Count: chunks, Old: true, Groups: groups}.Values(20, old)
			if err != nil {
				t.Fatal(err)
			}
			sum := 0
			for i := range chunks {
				n, err := Hashes{First: i, Count: 1, Old: true, Groups: groups}.Values(20, old)
				if err != nil || n == 0 {
					t.Fatalf("%d, %v", n, err)
				}
				sum += n
			}
			size := uint64(1 << 20)
			if groups {
				size = 1 << 14
			}
			if sum != all || uint64(all) != (old+size-1)/size {
				t.Errorf("%d bytes, groups %v: %d at once, %d by and by", old, groups, all, sum)
			}
		}
	}
}
