package transfer

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Limit tells how many bytes of payload may pass in a second at a moment, sent (up) and received (down) by this side; 0 is no limit. It is
// called often and concurrently.
type Limit func(now time.Time) (up, down int64)

// slot is a line of a timetable: from that minute of the week on.
type slot struct {
	minute   int // of the week, Sunday 00:00 is 0
	up, down int64
}

// ParseLimit reads a rate ("2M"), one for each direction ("512k:2M"), or a timetable ("08:00,512k 19:00,off", days as in
// "Sat-08:00,off"). It returns nil where there is no limit at all. The times are local.
func ParseLimit(s string) (Limit, error) {
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return nil, fmt.Errorf("want a rate such as 2M, 512k:2M or \"08:00,512k 19:00,off\"")
	}
	if len(fields) == 1 && !strings.Contains(s, ",") {
		up, down, err := parseRates(fields[0])
		if err != nil || up == 0 && down == 0 {
			return nil, err
		}
		return func(time.Time) (int64, int64) { return up, down }, nil
	}
	var slots []slot
	for _, f := range fields {
		when, rate, ok := strings.Cut(f, ",")
		if !ok {
			return nil, fmt.Errorf("%q: want TIME,RATE as in 08:00,512k", f)
		}
		minutes, err := parseWhen(when)
		if err != nil {
			return nil, err
		}
		up, down, err := parseRates(rate)
		if err != nil {
			return nil, err
		}
		for _, m := range minutes {
			slots = append(slots, slot{m, up, down})
		}
	}
	slices.SortStableFunc(slots, func(a, b slot) int { return a.minute - b.minute })
	return func(now time.Time) (int64, int64) {
		at := int(now.Weekday())*24*60 + now.Hour()*60 + now.Minute()
		current := slots[len(slots)-1] // what began last week lasts until the first slot
		for _, s := range slots {
			if s.minute > at {
				break
			}
			current = s
		}
		return current.up, current.down
	}, nil
}

// parseWhen reads HH:MM (each day) or Day-HH:MM.
func parseWhen(s string) ([]int, error) {
	day := ""
	clock := s
	if d, c, ok := strings.Cut(s, "-"); ok {
		day, clock = d, c
	}
	t, err := time.Parse("15:04", clock)
	if err != nil {
		return nil, fmt.Errorf("%q: want a time as in 08:00 or Mon-08:00", s)
	}
	minute := t.Hour()*60 + t.Minute()
	var all []int
	for d := range 7 {
		name := time.Weekday(d).String()
		if day == "" || strings.EqualFold(day, name) || strings.EqualFold(day, name[:3]) {
			all = append(all, d*24*60+minute)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%q: %q is no day of the week", s, day)
	}
	return all, nil
}

func parseRates(s string) (up, down int64, err error) {
	u, d, both := strings.Cut(s, ":")
	if up, err = parseRate(u); err != nil {
		return 0, 0, err
	}
	if !both {
		return up, up, nil
	}
	down, err = parseRate(d)
	return up, down, err
}

// parseRate reads a number of bytes a second with its unit. A bare number is refused, since rsync, rclone and we would each
// take it for something else.
func parseRate(s string) (int64, error) {
	if s == "off" || s == "0" {
		return 0, nil
	}
	number := strings.TrimRight(s, "kKmMgGtTiB")
	unit := strings.ToLower(s[len(number):])
	if unit != "b" {
		unit = strings.TrimSuffix(strings.TrimSuffix(unit, "b"), "i")
	}
	scale := map[string]float64{"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}[unit]
	if scale == 0 {
		return 0, fmt.Errorf("%q: want a rate with its unit: k, M or G (powers of 1024), B for bytes, or off", s)
	}
	f, err := strconv.ParseFloat(number, 64)
	if err != nil || !(f > 0) || f*scale >= math.MaxInt64 {
		return 0, fmt.Errorf("%q: want a rate such as 2M, 512k or off", s)
	}
	return max(1, int64(f*scale)), nil
}
