package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// writeTable writes the report for people.
func (r *report) writeTable(w io.Writer) error {
	p := &printer{w: w}
	p.line("%d CPUs, %s/%s, %s, %s", r.Machine.CPUs, r.Machine.OS, r.Machine.Arch, r.Machine.Go, r.Started.Format("2006-01-02 15:04"))
	for _, res := range r.Results {
		p.result(res)
	}
	if len(r.Goals) > 0 {
		p.line("\nGoals")
		p.table([]string{"goal", "of", "must", "aim", "measured", "ok"}, func(cells func(...string)) {
			for _, v := range r.Goals {
				if v.NA != "" {
					v.OK += ": " + short(v.NA)
				}
				cells(v.Goal, v.Of, v.Must, v.Aim, v.Text, v.OK)
			}
		})
	}
	for _, n := range r.Notes {
		p.line("\nNOTE: %s", n)
	}
	return p.err
}

// printer keeps the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if _, err := fmt.Fprintf(p.w, format+"\n", args...); err != nil && p.err == nil {
		p.err = err
	}
}

func (p *printer) table(head []string, rows func(cells func(...string))) {
	t := tabwriter.NewWriter(p.w, 0, 0, 2, ' ', 0)
	cells := func(c ...string) { fmt.Fprintln(t, strings.Join(c, "\t")) }
	cells(head...)
	rows(cells)
	if err := t.Flush(); err != nil && p.err == nil {
		p.err = err
	}
}

func (p *printer) result(r *result) {
	p.line("\n%s on %s: %s, %s, %s", r.Workload, r.FS, sizeText(r.Bytes), counted(r.Files, "file"), counted(int64(r.Rounds), "round"))
	if r.NA != "" {
		p.line("n/a: %s", short(r.NA))
	}
	if len(r.Rows) > 0 {
		p.race(r)
	}
	if len(r.Values) > 0 {
		p.table([]string{"contender", "what", "median", "min..max", "n"}, func(cells func(...string)) {
			for _, v := range r.Values {
				if v.Spread == nil {
					cells(v.Contender, v.What, "n/a", "", "")
					continue
				}
				s := *v.Spread
				span := ""
				if s.N > 1 {
					span = valueText(s.Min, v.Unit) + ".." + valueText(s.Max, v.Unit)
				}
				cells(v.Contender, v.What, valueText(s.Median, v.Unit), span, fmt.Sprint(s.N))
			}
		})
		for _, v := range r.Values {
			if v.NA != "" {
				p.line("%s, %s: %s", v.Contender, v.What, short(v.NA))
			}
		}
	}
}

// race prints the rows. Others is the share of the machine's CPU time that others used meanwhile. The last columns are the
// times of each contender divided by those of ours: above 1, we are faster.
func (p *printer) race(r *result) {
	var ours []string
	for _, x := range r.Rows {
		if strings.HasPrefix(x.Name, "xfer-") {
			ours = append(ours, x.Name)
		}
	}
	head := []string{"contender", "s", "min..max", "MAD", "MiB/s", "files/s", "CPU s", "CPU s/GiB", "others", "peak MiB here", "there"}
	for _, o := range ours {
		head = append(head, "time / "+o)
	}
	p.table(head, func(cells func(...string)) {
		for _, x := range r.Rows {
			if x.Wall == nil {
				cells(append([]string{x.Name, "n/a"}, make([]string, len(head)-2)...)...)
				continue
			}
			cells(append(p.row(r, x), p.overs(x, ours)...)...)
		}
	})
	for _, x := range r.Rows {
		switch n := len(x.Samples); {
		case x.NA == "":
		case n == 0:
			p.line("%s did not run: %s", x.Name, short(x.NA))
		default:
			p.line("%s stopped after %s: %s", x.Name, counted(int64(n), "round"), short(x.NA))
		}
	}
}

func (p *printer) row(r *result, x *row) []string {
	w, files := x.Wall, float64(r.Files)
	if r.Files == 1 {
		files = 0
	}
	c := []string{
		x.Name, fmt.Sprintf("%.4f", w.Median), fmt.Sprintf("%.4f..%.4f", w.Min, w.Max), fmt.Sprintf("%.4f", w.MAD),
		rate(float64(r.Bytes)/mib, w.Median), rate(files, w.Median),
	}
	if x.CPU == nil {
		c = append(c, "?", "?")
	} else {
		c = append(c, fmt.Sprintf("%.2f", x.CPU.Median), perGiB(x.CPUPerGiB))
	}
	others := "?"
	if x.Others != nil {
		others = fmt.Sprintf("%.0f %%", 100**x.Others)
	}
	return append(c, others, peakText(x.PeakHere, x.PeakFloor), peakText(x.PeakThere, 0))
}

// rate is n in a time; of less than one thing it says nothing.
func rate(n, seconds float64) string {
	switch x := n / seconds; {
	case n < 1:
		return "-"
	case x < 100:
		return fmt.Sprintf("%.2f", x)
	default:
		return fmt.Sprintf("%.0f", x)
	}
}

func perGiB(cpu float64) string {
	if cpu == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", cpu)
}

func counted(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// peakText is in MiB.
func peakText(peak, floor int64) string {
	switch {
	case peak == 0:
		return "?"
	case peak <= floor:
		return fmt.Sprintf("<%.1f", float64(peak)/mib)
	}
	return fmt.Sprintf("%.1f", float64(peak)/mib)
}

func (p *printer) overs(x *row, ours []string) []string {
	var c []string
	for _, o := range ours {
		if ratio, ok := x.TimeOver[o]; ok {
			c = append(c, fmt.Sprintf("%.2f", ratio))
		} else {
			c = append(c, "")
		}
	}
	return c
}

// short is a reason in one line.
func short(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	if r := []rune(line); len(r) > 160 {
		return string(r[:159]) + "…"
	}
	return line
}
