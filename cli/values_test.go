package cli

import (
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"30": 30 * time.Second, "0": 0, "1.5": 1500 * time.Millisecond, "15m": 15 * time.Minute, "1h30m": 90 * time.Minute,
		"2d": 48 * time.Hour, "1d12h": 36 * time.Hour, "500ms": 500 * time.Millisecond,
	} {
		if got, err := parseDuration(in); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "x", "-1", "-5s", "d", "1dx", "1e300", "NaN", "Inf", "1m2d", "99999d99999999h", "5 s"} {
		if got, err := parseDuration(in); err == nil {
			t.Errorf("parseDuration(%q) = %v, want an error", in, got)
		}
	}
}

func TestShortDuration(t *testing.T) {
	for want, d := range map[string]time.Duration{"15m": 15 * time.Minute, "24h": 24 * time.Hour, "30s": 30 * time.Second, "1h30m": 90 * time.Minute, "10m5s": 605 * time.Second, "0s": 0} {
		if got := shortDuration(d); got != want {
			t.Errorf("shortDuration(%d) = %q, want %q", d, got, want)
		}
	}
}

func TestParseBandwidth(t *testing.T) {
	at := func(s string) time.Time {
		when, err := time.ParseInLocation("Mon 2006-01-02 15:04", s, time.Local)
		if err != nil {
			t.Fatal(err)
		}
		return when
	}
	monday8, monday12, monday20 := at("Mon 2026-01-05 08:00"), at("Mon 2026-01-05 12:00"), at("Mon 2026-01-05 20:00")
	sunday3, saturday12 := at("Sun 2026-01-04 03:00"), at("Sat 2026-01-10 12:00")
	for _, c := range []struct {
		in       string
		when     time.Time
		up, down int64
	}{
		{"2M", monday8, 2 << 20, 2 << 20},
		{"512k", monday8, 512 << 10, 512 << 10},
		{"512K", monday8, 512 << 10, 512 << 10},
		{"1.5G", monday8, 3 << 29, 3 << 29},
		{"1MiB", monday8, 1 << 20, 1 << 20},
		{"1MB", monday8, 1 << 20, 1 << 20},
		{"1000B", monday8, 1000, 1000},
		{"1M:off", monday8, 1 << 20, 0},
		{"off:3M", monday8, 0, 3 << 20},
		{"08:00,512k 19:00,off", monday8, 512 << 10, 512 << 10},
		{"08:00,512k 19:00,off", monday12, 512 << 10, 512 << 10},
		{"08:00,512k 19:00,off", monday20, 0, 0},
		{"08:00,512k 19:00,off", sunday3, 0, 0},
		{"08:00,512k 19:00,1M:2M", sunday3, 1 << 20, 2 << 20},
		{"Mon-08:00,512k Sat-00:00,off", monday12, 512 << 10, 512 << 10},
		{"Mon-08:00,512k Sat-00:00,off", saturday12, 0, 0},
		{"Monday-08:00,512k saturday-00:00,off", sunday3, 0, 0},
		{"08:00,1k", sunday3, 1 << 10, 1 << 10},
	} {
		limit, err := parseBandwidth(c.in)
		if err != nil {
			t.Errorf("parseBandwidth(%q): %v", c.in, err)
			continue
		}
		if up, down := limit(c.when); up != c.up || down != c.down {
			t.Errorf("parseBandwidth(%q) at %v = %d, %d, want %d, %d", c.in, c.when, up, down, c.up, c.down)
		}
	}
	for _, in := range []string{"off", "0"} {
		if limit, err := parseBandwidth(in); err != nil || limit != nil {
			t.Errorf("parseBandwidth(%q) = limit %v, %v, want none", in, limit != nil, err)
		}
	}
	for _, in := range []string{"", " ", "2000", "-1M", "M", "1X", "1Mbit", "1M:", ":1M", "1M:1M:1M", "8,1M", "25:00,1M", "08:00,", "08:00", "Foo-08:00,1M", "NaNk", "Infk", "1e300G", "08:00,1M 2M"} {
		if _, err := parseBandwidth(in); err == nil {
			t.Errorf("parseBandwidth(%q) is accepted", in)
		}
	}
}

func FuzzParseBandwidth(f *testing.F) {
	for _, s := range []string{"2M", "1M:off", "08:00,512k 19:00,off", "Mon-08:00,512k Sat-00:00,off"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		limit, err := parseBandwidth(s)
		if err != nil || limit == nil {
			return
		}
		for h := range 7 * 24 {
			if up, down := limit(time.Date(2026, 1, 4, h, 30, 0, 0, time.UTC)); up < 0 || down < 0 {
				t.Fatalf("parseBandwidth(%q): %d, %d", s, up, down)
			}
		}
	})
}
