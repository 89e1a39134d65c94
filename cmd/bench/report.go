package main

import (
	"encoding/json"
	"io"
	"math"
	"runtime"
	"time"
)

// report is all that a run found out. Its JSON has seconds, bytes and plain ratios.
type report struct {
	Started time.Time `json:"started"`
	Machine machine   `json:"machine"`
	Options options   `json:"options"`
	Notes   []string  `json:"notes,omitempty"`
	Results []*result `json:"results"`
	Goals   []verdict `json:"goals"`
}

// result is what a workload found on a file system: a race, single values, or both.
type result struct {
	Workload string  `json:"workload"`
	FS       string  `json:"fs"`
	Bytes    int64   `json:"bytes"`
	Files    int64   `json:"files"`
	Rounds   int     `json:"rounds,omitempty"`
	NA       string  `json:"na,omitempty"` // why nothing of it ran
	Rows     []*row  `json:"rows,omitempty"`
	Values   []value `json:"values,omitempty"`
}

// row is a contender of a race.
type row struct {
	Name    string   `json:"name"`
	NA      string   `json:"na,omitempty"` // why there are no numbers, or no more of them
	Samples []sample `json:"samples,omitempty"`

	Wall      *spread `json:"wall,omitempty"`
	CPU       *spread `json:"cpu,omitempty"`
	CPUPerGiB float64 `json:"cpu_s_per_gib,omitempty"`
	PeakHere  int64   `json:"peak_here,omitempty"` // the greatest of all rounds
	PeakFloor int64   `json:"peak_floor,omitempty"`
	PeakThere int64   `json:"peak_there,omitempty"`
	// Others is the share of the machine's CPU time that others used meanwhile; nil where the runs were too short to tell.
	Others *float64 `json:"others,omitempty"`
	// TimeOver is the median, over the rounds, of this one's time divided by that of the named one. CPUOver is the same
	// of CPU time.
	TimeOver map[string]float64 `json:"time_over,omitempty"`
	CPUOver  map[string]float64 `json:"cpu_over,omitempty"`
}

// value is a number that is not of a race.
type value struct {
	Contender string  `json:"contender"`
	What      string  `json:"what"`
	Unit      string  `json:"unit"` // of valueText
	Spread    *spread `json:"spread,omitempty"`
	NA        string  `json:"na,omitempty"`
}

func newReport(o options) report {
	return report{Started: time.Now(), Machine: thisMachine(), Options: o}
}

// value adds the numbers of a series.
func (r *result) value(contender, what, unit string, v ...float64) {
	if len(v) == 0 {
		r.na(contender, what, "not measured")
		return
	}
	s := spreadOf(v)
	r.Values = append(r.Values, value{Contender: contender, What: what, Unit: unit, Spread: &s})
}

// na says why there is no number.
func (r *result) na(contender, what, why string) {
	r.Values = append(r.Values, value{Contender: contender, What: what, NA: why})
}

// shortest is for how many seconds of CPU time the clock of the machine, which ticks in 10 ms, is good enough.
const shortest = 0.5

// sum fills the rows from their samples.
func (r *result) sum() {
	for _, x := range r.Rows {
		if len(x.Samples) == 0 {
			continue
		}
		wall := spreadOf(values(x.walls()))
		x.Wall = &wall
		if cpus := x.cpus(); len(cpus) == len(x.Samples) {
			cpu := spreadOf(values(cpus))
			x.CPU = &cpu
			if r.Bytes >= mib {
				x.CPUPerGiB = cpu.Median / (float64(r.Bytes) / gib)
			}
		}
		var others, all float64
		for _, s := range x.Samples {
			others, all = others+s.Others, all+s.Wall*float64(runtime.NumCPU())
			x.PeakHere, x.PeakThere = max(x.PeakHere, s.PeakHere), max(x.PeakThere, s.PeakThere)
			x.PeakFloor = max(x.PeakFloor, s.PeakFloor)
		}
		if all >= shortest {
			share := others / all
			x.Others = &share
		}
		x.TimeOver, x.CPUOver = map[string]float64{}, map[string]float64{}
		for _, y := range r.Rows {
			if ratio := ratioOfPairs(x.walls(), y.walls()); y != x && !math.IsNaN(ratio) {
				x.TimeOver[y.Name] = ratio
			}
			if ratio := ratioOfPairs(x.cpus(), y.cpus()); y != x && !math.IsNaN(ratio) {
				x.CPUOver[y.Name] = ratio
			}
		}
	}
}

// walls are the times by round.
func (x *row) walls() map[int]float64 {
	m := map[int]float64{}
	for _, s := range x.Samples {
		m[s.Round] = s.Wall
	}
	return m
}

// cpus are the CPU times by round, where they are known.
func (x *row) cpus() map[int]float64 {
	m := map[int]float64{}
	for _, s := range x.Samples {
		if s.CPU != nil {
			m[s.Round] = *s.CPU
		}
	}
	return m
}

func values(m map[int]float64) []float64 {
	var v []float64
	for _, x := range m {
		v = append(v, x)
	}
	return v
}

// find returns the result of a workload on a file system, nil where there is none.
func (r *report) find(workload, fs string) *result {
	for _, x := range r.Results {
		if x.Workload == workload && x.FS == fs {
			return x
		}
	}
	return nil
}

// row returns that of a contender, nil where it did not take part.
func (r *result) row(name string) *row {
	for _, x := range r.Rows {
		if x.Name == name {
			return x
		}
	}
	return nil
}

func (r *report) writeJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}
