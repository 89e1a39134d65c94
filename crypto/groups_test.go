package crypto

import "testing"

// The groups of a chunk are what hashing each by itself gives, however the bytes come.
func TestGroups(t *testing.T) {
	for _, n := range []int{1, 1024, GroupSize - 1, GroupSize, GroupSize + 1, 5 * GroupSize, 16*GroupSize - 7, 1 << 18} {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(i * 7 / 3)
		}
		for _, step := range []int{n, 1000, GroupSize, 3*GroupSize + 5} {
			h := NewChunkHasher()
			h.KeepGroups(true)
			h.Reset(3, 18)
			for rest := p; len(rest) > 0; {
				k := min(step, len(rest))
				if _, err := h.Write(rest[:k]); err != nil {
					t.Fatal(err)
				}
				rest = rest[k:]
			}
			groups := h.Groups()
			if want := (n + GroupSize - 1) / GroupSize; len(groups) != want {
				t.Fatalf("%d bytes in steps of %d: %d groups, want %d", n, step, len(groups), want)
			}
			for i, got := range groups {
				one := NewChunkHasher()
				one.Reset(3*16+uint64(i), 14)
				if _, err := one.Write(p[i*GroupSize : min((i+1)*GroupSize, n)]); err != nil {
					t.Fatal(err)
				}
				if got != one.CV() {
					t.Errorf("%d bytes in steps of %d: group %d differs", n, step, i)
				}
			}
		}
	}
}
