package transfer

import (
	"path/filepath"
	"sync"
	"testing"
	"time"
)

func TestParseLimit(t *testing.T) {
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
		limit, err := ParseLimit(c.in)
		if err != nil {
			t.Errorf("ParseLimit(%q): %v", c.in, err)
			continue
		}
		if up, down := limit(c.when); up != c.up || down != c.down {
			t.Errorf("ParseLimit(%q) at %v = %d, %d, want %d, %d", c.in, c.when, up, down, c.up, c.down)
		}
	}
	for _, in := range []string{"off", "0"} {
		if limit, err := ParseLimit(in); err != nil || limit != nil {
			t.Errorf("ParseLimit(%q) = limit %v, %v, want none", in, limit != nil, err)
		}
	}
	for _, in := range []string{"", " ", "2000", "-1M", "M", "1X", "1Mbit", "1M:", ":1M", "1M:1M:1M", "8,1M", "25:00,1M", "08:00,", "08:00", "Foo-08:00,1M", "NaNk", "Infk", "1e300G", "08:00,1M 2M"} {
		if _, err := ParseLimit(in); err == nil {
			t.Errorf("ParseLimit(%q) is accepted", in)
		}
	}
}

func FuzzParseLimit(f *testing.F) {
	for _, s := range []string{"2M", "1M:off", "08:00,512k 19:00,off", "Mon-08:00,512k Sat-00:00,off"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		limit, err := ParseLimit(s)
		if err != nil || limit == nil {
			return
		}
		for h := range 7 * 24 {
			if up, down := limit(time.Date(2026, 1, 4, h, 30, 0, 0, time.UTC)); up < 0 || down < 0 {
				t.Fatalf("ParseLimit(%q): %d, %d", s, up, down)
			}
		}
	})
}

// What a server gives a session to keep to holds for what comes in and what goes out, and for all sessions together that have it.
func TestServerHoldsBandwidth(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		const perSecond = 1 << 20
		limit := NewBandwidth(func(time.Time) (int64, int64) { return perSecond, perSecond })
		h.set(func() { h.bandwidth = []*Bandwidth{NewBandwidth(nil), limit} })
		dir := t.TempDir()
		least := func(what string, bytes int, do func()) {
			t.Helper()
			began := time.Now()
			do()
			if d := time.Since(began); d < time.Duration(bytes-perSecond/5)*time.Second/perSecond {
				t.Errorf("%s: %d bytes in %v", what, bytes, d)
			}
		}
		a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
		mustWrite(t, a, randomBytes(1, 600_000), 0o644)
		mustWrite(t, b, randomBytes(2, 600_000), 0o644)
		least("two clients send", 1_200_000, func() {
			var wg sync.WaitGroup
			wg.Go(func() { h.mustSend(Options{}, "", a) })
			wg.Go(func() { h.mustSend(Options{}, "", b) })
			wg.Wait()
		})
		least("a client gets", 600_000, func() { h.mustGet(Options{}, filepath.Join(dir, "back"), "a") })
		mustEqualFile(t, filepath.Join(dir, "back"), a)
		// A limit that ends holds nothing back, in sessions that live as well: this would take ten minutes.
		limit.Set(func(time.Time) (int64, int64) { return 1 << 10, 1 << 10 })
		limit.Set(nil)
		h.mustSend(Options{Checksum: true}, "again", a)
	})
}

// A client's patience with a server that does not go on is not for one that holds it back.
func TestSlowLimitOfTheServerIsNoStall(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		limit := NewBandwidth(func(time.Time) (int64, int64) { return 48 << 10, 48 << 10 })
		h.set(func() { h.bandwidth = []*Bandwidth{limit} })
		src := filepath.Join(t.TempDir(), "f")
		mustWrite(t, src, randomBytes(3, 300_000), 0o644)
		if res := h.mustSend(Options{Timeout: 4 * time.Second, RetryFor: time.Nanosecond}, "", src); res.Retries != 0 {
			t.Errorf("%d retries", res.Retries)
		}
		mustEqualFile(t, h.path("f"), src)
		h.mustGet(Options{Timeout: 4 * time.Second, RetryFor: time.Nanosecond}, src, "f")
	})
}
