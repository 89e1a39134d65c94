package cli

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"xfer/transfer"
)

// The types here are pflag.Values, so that a flag, XFER_NAME and a key of the configuration are checked by the same code.

// durationValue is a length of time: "90s", "15m", "1h30m", "2d", or a number of seconds.
type durationValue struct{ d time.Duration }

func (v *durationValue) String() string { return shortDuration(v.d) }
func (v *durationValue) Type() string   { return "DUR" }
func (v *durationValue) Set(s string) error {
	d, err := parseDuration(s)
	if err == nil {
		v.d = d
	}
	return err
}

func parseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("want a length of time such as 30s, 15m or 24h")
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		if !(f >= 0 && f < math.MaxInt64/1e9) {
			return 0, bad
		}
		return time.Duration(f * float64(time.Second)), nil
	}
	days := time.Duration(0)
	if head, tail, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(head, 10, 16)
		if err != nil {
			return 0, bad
		}
		days = time.Duration(n) * 24 * time.Hour
		if tail == "" {
			return days, nil
		}
		s = tail
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > math.MaxInt64-days {
		return 0, bad
	}
	return d + days, nil
}

func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// choiceValue is one of a few words.
type choiceValue struct {
	s    string
	from []string
}

func (v *choiceValue) String() string { return v.s }
func (v *choiceValue) Type() string   { return strings.Join(v.from, "|") }
func (v *choiceValue) Set(s string) error {
	if !slices.Contains(v.from, s) {
		return fmt.Errorf("want one of %s", strings.Join(v.from, ", "))
	}
	v.s = s
	return nil
}

// portValue is a port, 0 while it is not set.
type portValue struct{ n int }

func (v *portValue) String() string {
	if v.n == 0 {
		return ""
	}
	return strconv.Itoa(v.n)
}
func (v *portValue) Type() string { return "PORT" }
func (v *portValue) Set(s string) (err error) {
	v.n, err = parsePort(s)
	return err
}

// countValue is a number from 1 to max; "auto" is 0.
type countValue struct{ n, max int }

func (v *countValue) String() string {
	if v.n == 0 {
		return "auto"
	}
	return strconv.Itoa(v.n)
}
func (v *countValue) Type() string { return "N" }
func (v *countValue) Set(s string) error {
	if s == "auto" {
		v.n = 0
		return nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > v.max {
		return fmt.Errorf("want a number from 1 to %d, or auto", v.max)
	}
	v.n = n
	return nil
}

// rateValue is --bwlimit.
type rateValue struct {
	text  string
	limit func(time.Time) (up, down int64) // nil: none
}

func (v *rateValue) String() string { return v.text }
func (v *rateValue) Type() string   { return "RATE" }
func (v *rateValue) Set(s string) error {
	limit, err := transfer.ParseLimit(s)
	if err == nil {
		v.text, v.limit = s, limit
	}
	return err
}
