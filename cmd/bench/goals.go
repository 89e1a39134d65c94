package main

import (
	"fmt"
	"math"
)

// goal is a number that xfer is to reach.
type goal struct {
	what     string
	workload string
	fs       string
	only     string // the one of our contenders that it is for; "" = each
	side     bound
	must     float64 // NaN: there is none
	aim      float64
	unit     string
	get      func(r *result, ours string) (float64, string)
}

// bound is on which side of its limits a number is good.
type bound bool

const (
	atMost  bound = false
	atLeast bound = true
)

// verdict is a goal with what was measured.
type verdict struct {
	Goal     string   `json:"goal"`
	Of       string   `json:"of"`
	Must     string   `json:"must"`
	Aim      string   `json:"aim"`
	Measured *float64 `json:"measured,omitempty"`
	Text     string   `json:"text"`
	OK       string   `json:"ok"` // "aim" reached, "yes": the must, "no": not even that, "-": not the aim, and nothing must be; "n/a"
	NA       string   `json:"na,omitempty"`
}

// goals are in the order in which they are told. Those without only are told of each of our contenders.
func goals() []goal {
	nothing := math.NaN()
	return []goal{
		{"one big file: speed / bare TLS copy", "big", tmpfs, xferTCP, atLeast, 0.70, 0.85, "x", speedOver(bareTLS)},
		{"one big file: CPU / bare TLS copy", "big", tmpfs, xferTCP, atMost, 1.50, 1.3, "x", cpuOver(bareTLS)},
		{"one big file: speed / scp aes128-gcm", "big", tmpfs, xferTCP, atLeast, 1.6, 2, "x", speedOver(scpAES)},
		{"one big file: speed / rsync over ssh", "big", tmpfs, xferTCP, atLeast, 2.5, 4, "x", speedOver(rsyncSSH)},
		{"one big file: speed / bare QUIC copy", "big", tmpfs, xferQUIC, atLeast, 1.15, 1.4, "x", speedOver(bareQUIC)},
		{"source tree: time / rsync over TLS", "tree", tmpfs, "", atMost, 0.9, 0.6, "x", timeOver(rsyncTLS)},
		{"source tree, durable: time / rsync over ssh and sync", "tree", ext4, "", atMost, 0.8, 0.5, "x", timeOver(rsyncSSH)},
		{"small files: time / rsync over TLS", "small", tmpfs, "", atMost, 0.8, 0.5, "x", timeOver(rsyncTLS)},
		{"nothing changed: time / rsync daemon", "unchanged", tmpfs, "", atMost, 1.2, 0.8, "x", timeOver(rsyncDaemon)},
		{"nothing changed: bytes on the wire", "unchanged", tmpfs, "", atMost, 0.5e6, 0.3e6, "MB", number(wireBytes)},
		{"one byte: time / scp", "latency", tmpfs, "", atMost, 0.15, 0.1, "x", timeOver(scpOwn)},
		{"one byte: time / bare TLS program", "latency", tmpfs, "", atMost, 4, 2.5, "x", timeOver(bareTLS)},
		{"half, killed, resumed: sent again / missing half", "resume", tmpfs, "", atMost, 0.005, 0.001, "%", number(sentAgain)},
		{"half, killed, resumed: time / the whole", "resume", tmpfs, "", atMost, 0.8, 0.65, "x", number(secondTime)},
		{"1 % changed as 4 KiB extents: payload / size", "delta", tmpfs, "", atMost, 0.06, 0.04, "%", number(changedPayload)},
		{"1 byte in front: payload / size", "delta", tmpfs, "", atMost, nothing, 0.01, "%", number(insertedPayload)},
		{"big file: peak memory of a side", "memory", tmpfs, "", atMost, 48 * mib, 24 * mib, "MiB", greater(bigHere, bigThere)},
		{"many entries: peak memory of a side", "memory", tmpfs, "", atMost, 256 * mib, 96 * mib, "MiB", greater(manyHere, manyThere)},
		{"sparse file: time", "sparse", tmpfs, "", atMost, 60, 5, "s", number(wholeTime)},
		{"sparse file: bytes on the wire", "sparse", tmpfs, "", atMost, 16 * mib, nothing, "MiB", number(wireBytes)},
	}
}

// judge returns the verdicts on the goals of the workloads that ran.
func (r *report) judge() []verdict {
	var all []verdict
	for _, g := range goals() {
		res := r.find(g.workload, g.fs)
		if res == nil {
			continue
		}
		for _, ours := range []string{xferTCP, xferQUIC} {
			if g.only != "" && g.only != ours || !r.Options.runs(ours) {
				continue
			}
			all = append(all, g.judge(res, ours))
		}
	}
	return all
}

// runs tells whether one of our contenders was to run.
func (o options) runs(ours string) bool { return o.Transport == "both" || "xfer-"+o.Transport == ours }

func (g goal) judge(res *result, ours string) verdict {
	v := verdict{Goal: g.what, Of: ours, Must: g.limit(g.must), Aim: g.limit(g.aim), OK: "n/a", Text: "n/a"}
	if v.NA = res.NA; v.NA != "" {
		return v
	}
	x, why := g.get(res, ours)
	if why == "" && math.IsNaN(x) {
		why = "not measured"
	}
	if v.NA = why; why != "" {
		return v
	}
	v.Measured, v.Text = &x, valueText(x, g.unit)
	reached := func(limit float64) bool {
		return g.side == atLeast && x >= limit || g.side == atMost && x <= limit
	}
	switch {
	case !math.IsNaN(g.aim) && reached(g.aim):
		v.OK = "aim"
	case math.IsNaN(g.must):
		v.OK = "-"
	case reached(g.must):
		v.OK = "yes"
	default:
		v.OK = "no"
	}
	return v
}

func (g goal) limit(x float64) string {
	switch {
	case math.IsNaN(x):
		return "-"
	case g.side == atLeast:
		return ">= " + valueText(x, g.unit)
	}
	return "<= " + valueText(x, g.unit)
}

// valueText is x in a unit: "x" a plain ratio, "%", "s", "ms", "MB", "MiB", "".
func valueText(x float64, unit string) string {
	switch unit {
	case "x":
		return fmt.Sprintf("%.3g", x)
	case "%":
		return fmt.Sprintf("%.3g %%", 100*x)
	case "s":
		return fmt.Sprintf("%.3g s", x)
	case "ms":
		return fmt.Sprintf("%.3g ms", 1000*x)
	case "MB":
		return fmt.Sprintf("%.3g MB", x/1e6)
	case "MiB":
		return fmt.Sprintf("%.1f MiB", x/mib)
	}
	return fmt.Sprintf("%.4g", x)
}

// The following say how a number is got from a result.

func timeOver(peer string) func(*result, string) (float64, string) {
	return func(r *result, ours string) (float64, string) { return r.over(ours, peer, (*row).walls) }
}

func speedOver(peer string) func(*result, string) (float64, string) {
	return func(r *result, ours string) (float64, string) { return r.over(peer, ours, (*row).walls) }
}

func cpuOver(peer string) func(*result, string) (float64, string) {
	return func(r *result, ours string) (float64, string) { return r.over(ours, peer, (*row).cpus) }
}

// over is the median of the ratios within the rounds of a to b, or why there is none.
func (r *result) over(a, b string, of func(*row) map[int]float64) (float64, string) {
	for _, name := range []string{a, b} {
		switch x := r.row(name); {
		case x == nil:
			return 0, name + " did not run"
		case len(of(x)) == 0 && x.NA != "":
			return 0, name + ": " + x.NA
		}
	}
	return ratioOfPairs(of(r.row(a)), of(r.row(b))), ""
}

func number(what string) func(*result, string) (float64, string) {
	return func(r *result, ours string) (float64, string) {
		why := "not measured"
		for _, v := range r.Values {
			switch {
			case v.Contender != ours:
			case v.Spread == nil:
				why = v.NA // it may have ended everything after it
			case v.What == what:
				return v.Spread.Median, ""
			}
		}
		return 0, why
	}
}

func greater(a, b string) func(*result, string) (float64, string) {
	return func(r *result, ours string) (float64, string) {
		x, why := number(a)(r, ours)
		if why != "" {
			return 0, why
		}
		y, why := number(b)(r, ours)
		return max(x, y), why
	}
}
