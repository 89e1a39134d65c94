package daemon

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestFailedTriesAreLimitedByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTries(3, time.Minute)
		for i := range 3 {
			if _, wait := tr.begin("a"); wait != 0 {
				t.Fatalf("try %d has to wait %v", i, wait)
			}
			time.Sleep(10 * time.Second)
		}
		if _, wait := tr.begin("a"); wait != 30*time.Second {
			t.Errorf("fourth try: wait %v, want 30s", wait)
		}
		if _, wait := tr.begin("b"); wait != 0 {
			t.Errorf("another address waits %v", wait)
		}
		time.Sleep(30 * time.Second)
		if _, wait := tr.begin("a"); wait != 0 {
			t.Errorf("after the window: wait %v", wait)
		}
		if _, wait := tr.begin("a"); wait != 10*time.Second {
			t.Errorf("only the first try was out of the window: wait %v, want 10s", wait)
		}
	})
}

func TestGoodTriesDoNotCount(t *testing.T) {
	tr := newTries(2, time.Minute)
	for i := range 10 {
		forgive, wait := tr.begin("a")
		if wait != 0 {
			t.Fatalf("try %d has to wait %v", i, wait)
		}
		forgive()
		forgive()
	}
	if len(tr.seen) != 0 {
		t.Errorf("addresses are kept for nothing: %v", tr.seen)
	}
	// Many at once count while they are under way.
	tr.begin("a")
	tr.begin("a")
	if _, wait := tr.begin("a"); wait == 0 {
		t.Error("three at once got through where two may")
	}
}

func TestTriesRememberABoundedNumberOfAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTries(1, time.Minute)
		for i := range maxTried + 10 {
			tr.begin(fmt.Sprint(i))
			time.Sleep(time.Millisecond)
		}
		if n := len(tr.seen); n != maxTried {
			t.Errorf("%d addresses, want %d", n, maxTried)
		}
		if _, wait := tr.begin(fmt.Sprint(maxTried + 9)); wait == 0 {
			t.Error("the newest was forgotten")
		}
		if _, wait := tr.begin("0"); wait != 0 {
			t.Error("the oldest was kept")
		}
	})
}

func TestHostOf(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1:1234":                    "192.0.2.1",
		"[::ffff:192.0.2.1]:99":             "192.0.2.1",
		"[2001:db8:1:2:3:4:5:6]:7419":       "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::1]:7":          "2001:db8:1:2::/64",
		"[fe80::1%eth0]:7":                  "fe80::/64",
		"pipe":                              "pipe",
		"":                                  "",
		"@":                                 "@",
		"2001:db8::1":                       "2001:db8::/64",
		"example.org:1":                     "example.org",
		"[2001:db8:1:2:3:4:5:6%a\x1bb]:741": "2001:db8:1:2::/64",
	} {
		if got := hostOf(in); got != want {
			t.Errorf("hostOf(%q) = %q, want %q", in, got, want)
		}
	}
}
