package main

import (
	"math"
	"testing"
)

func near(a, b float64) bool { return math.Abs(a-b) <= 1e-12*math.Max(math.Abs(a), math.Abs(b)) }

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		v    []float64
		want spread
	}{
		{[]float64{3}, spread{3, 3, 3, 0, 1}},
		{[]float64{4, 1}, spread{2.5, 1, 4, 1.5, 2}},
		{[]float64{5, 1, 9, 2, 100}, spread{5, 1, 100, 4, 5}}, // distances 0 4 4 3 95
	} {
		if got := spreadOf(c.v); got != c.want {
			t.Errorf("%v: got %+v, want %+v", c.v, got, c.want)
		}
	}
	if got := spreadOf(nil); got.N != 0 || !math.IsNaN(got.Median) {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestRatioOfPairs(t *testing.T) {
	// The median of the ratios (2, 0.5, 3) is 2, that of the medians would be 6/4.
	a := map[int]float64{0: 8, 1: 2, 2: 6, 3: 50}
	b := map[int]float64{0: 4, 1: 4, 2: 2, 4: 1}
	if got := ratioOfPairs(a, b); got != 2 {
		t.Errorf("got %v, want 2: rounds that only one has do not count", got)
	}
	if got := ratioOfPairs(a, map[int]float64{9: 1}); !math.IsNaN(got) {
		t.Errorf("without a common round: %v", got)
	}
	if got := ratioOfPairs(a, a); got != 1 {
		t.Errorf("of the same: %v", got)
	}
}

func TestSum(t *testing.T) {
	cpu := func(x float64) *float64 { return &x }
	r := &result{Bytes: 2 * gib, Rows: []*row{
		{Name: "a", Samples: []sample{{Round: 0, Wall: 1, CPU: cpu(2), PeakHere: 5}, {Round: 1, Wall: 4, CPU: cpu(4), PeakHere: 3}, {Round: 2, Wall: 3, CPU: cpu(6)}}},
		{Name: "b", Samples: []sample{{Round: 0, Wall: 2, CPU: cpu(1)}, {Round: 2, Wall: 12}}},
		{Name: "c", NA: "not here"},
	}}
	r.sum()
	a, b, c := r.Rows[0], r.Rows[1], r.Rows[2]
	if a.Wall.Median != 3 || a.CPU.Median != 4 || a.CPUPerGiB != 2 || a.PeakHere != 5 {
		t.Errorf("a: %+v", a)
	}
	if b.TimeOver["a"] != 3 || !near(a.TimeOver["b"], (0.5+0.25)/2) || a.CPUOver["b"] != 2 {
		t.Errorf("ratios: %v %v %v", b.TimeOver, a.TimeOver, a.CPUOver)
	}
	if b.CPU != nil {
		t.Errorf("b has CPU time of one round only, and yet: %+v", b.CPU)
	}
	if c.Wall != nil || len(c.TimeOver) > 0 {
		t.Errorf("c did not run: %+v", c)
	}
}

func TestGoals(t *testing.T) {
	r := &report{Options: options{Transport: "both"}, Results: []*result{{
		Workload: "big", FS: tmpfs, Bytes: gib, Rows: []*row{
			{Name: xferTCP, Samples: []sample{{Round: 0, Wall: 1}, {Round: 1, Wall: 1}}},
			{Name: bareTLS, Samples: []sample{{Round: 0, Wall: 0.8}, {Round: 1, Wall: 0.8}}},
			{Name: scpAES, Samples: []sample{{Round: 0, Wall: 1.5}}},
			{Name: rsyncSSH, NA: "no ssh"},
			{Name: xferQUIC, Samples: []sample{{Round: 0, Wall: 1}}},
			{Name: bareQUIC, Samples: []sample{{Round: 0, Wall: 1.5}}},
		},
	}}}
	r.Results[0].sum()
	want := map[string]string{
		"one big file: speed / bare TLS copy":  "yes", // 0.8
		"one big file: CPU / bare TLS copy":    "n/a",
		"one big file: speed / scp aes128-gcm": "no",
		"one big file: speed / rsync over ssh": "n/a",
		"one big file: speed / bare QUIC copy": "aim",
	}
	got := r.judge()
	if len(got) != len(want) {
		t.Errorf("%d verdicts, want %d: %+v", len(got), len(want), got)
	}
	for _, v := range got {
		if v.OK != want[v.Goal] {
			t.Errorf("%s: %q, want %q (%+v)", v.Goal, v.OK, want[v.Goal], v)
		}
	}
	at := goal{side: atMost, must: math.NaN(), aim: 0.01, unit: "%", get: func(*result, string) (float64, string) { return 0.5, "" }}
	if v := at.judge(&result{}, xferTCP); v.OK != "-" || v.Must != "-" {
		t.Errorf("missed an aim where nothing must be: %+v", v)
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"1": 1, "4k": 4096, "4K": 4096, "100M": 100 << 20, "1G": 1 << 30, "1GiB": 1 << 30, "2T": 2 << 40} {
		if got, err := parseSize(s); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "0", "-1", "k", "1.5G", "G1", "9999999T", "1X", "iB"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("%q is %d", s, got)
		}
	}
}
