package main

import (
	"math"
	"slices"
)

// spread is what is told of a series of numbers.
type spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
	MAD    float64 `json:"mad"` // the median of the distances from the median
	N      int     `json:"n"`
}

// spreadOf returns the spread of v, all NaN where there is none.
func spreadOf(v []float64) spread {
	if len(v) == 0 {
		nan := math.NaN()
		return spread{nan, nan, nan, nan, 0}
	}
	m := median(v)
	far := make([]float64, len(v))
	for i, x := range v {
		far[i] = math.Abs(x - m)
	}
	return spread{m, slices.Min(v), slices.Max(v), median(far), len(v)}
}

// median is the middle of v, or the mean of the middle two; NaN of nothing.
func median(v []float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// ratioOfPairs is the median of a[round]/b[round] over the rounds that both have, NaN where there is none.
func ratioOfPairs(a, b map[int]float64) float64 {
	var r []float64
	for round, x := range a {
		if y, ok := b[round]; ok && y != 0 {
			r = append(r, x/y)
		}
	}
	return median(r)
}
