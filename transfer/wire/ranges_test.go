package wire

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"
)

// rangesOf makes the ranges of a set of chunks.
func rangesOf(set []bool) Ranges {
	var out Ranges
	for i, in := range set {
		switch {
		case !in:
		case i > 0 && set[i-1]:
			out[len(out)-1].Count++
		default:
			out = append(out, Range{Start: uint64(i), Count: 1})
		}
	}
	return out
}

func TestRangesAgainstSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		set := rapid.SliceOfN(rapid.Bool(), 0, 40).Draw(t, "set")
		r := rangesOf(set)
		if err := r.check(); err != nil {
			t.Fatalf("%v: %v", r, err)
		}
		n := uint64(0)
		for i, in := range set {
			if r.Contains(uint64(i)) != in {
				t.Fatalf("%v: Contains(%d) is %v", r, i, !in)
			}
			if in {
				n++
			}
		}
		if r.Contains(uint64(len(set))) || r.Contains(1<<64-1) {
			t.Fatalf("%v contains what is behind it", r)
		}
		if r.Chunks() != n {
			t.Fatalf("%v: %d chunks, want %d", r, r.Chunks(), n)
		}
		k := rapid.IntRange(0, 10).Draw(t, "k")
		c := r.Coarsen(k)
		if len(c) != min(k, len(r)) {
			t.Fatalf("%v: %d ranges of at most %d", r, len(c), k)
		}
		if err := c.check(); err != nil {
			t.Fatalf("%v coarsened: %v", c, err)
		}
		for _, e := range c {
			for i := range e.Count {
				if !r.Contains(e.Start + i) {
					t.Fatalf("%v: chunk %d came from nowhere", c, e.Start+i)
				}
			}
		}
		if !reflect.DeepEqual(r, rangesOf(set)) {
			t.Fatal("Coarsen changed its receiver")
		}
	})
}

func TestCoarsenKeepsTheLongest(t *testing.T) {
	r := Ranges{{Start: 0, Count: 1}, {Start: 2, Count: 9}, {Start: 20, Count: 2}, {Start: 30, Count: 5}}
	if got, want := r.Coarsen(2), (Ranges{{Start: 2, Count: 9}, {Start: 30, Count: 5}}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := r.Coarsen(-1); len(got) != 0 {
		t.Errorf("got %v, want none", got)
	}
}
