package transport

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func TestAdmissionInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(3, 2)
		ctx := t.Context()
		must := func(addr string) func() {
			t.Helper()
			release, err := a.acquire(ctx, addr)
			if err != nil {
				t.Fatal(err)
			}
			return release
		}
		got := make(chan string, 10)
		releases := make(chan func(), 10)
		wait := func(addr string) {
			go func() {
				release, err := a.acquire(ctx, addr)
				if err != nil {
					t.Error(err)
				}
				releases <- release
				got <- addr
			}()
			synctest.Wait()
		}
		r1, r2 := must("x"), must("x")
		if _, ok := a.try("x"); ok {
			t.Fatal("a third one for x")
		}
		wait("x") // over its own limit
		r3 := must("y")
		wait("z") // over the common one
		wait("y")
		if len(got) != 0 {
			t.Fatal("somebody did not wait")
		}
		r3() // room for one, and not for x
		r3() // a second release must not count
		if s := <-got; s != "z" {
			t.Fatalf("%s went before z", s)
		}
		synctest.Wait()
		if len(got) != 0 {
			t.Fatal("released twice")
		}
		r1()
		if s := <-got; s != "x" {
			t.Fatalf("%s went before x, who came first", s)
		}
		r2()
		if s := <-got; s != "y" {
			t.Fatalf("got %s", s)
		}
		for range 3 {
			(<-releases)()
		}
		if a.total != 0 || len(a.of) != 0 || len(a.waiting) != 0 {
			t.Fatalf("left: %d, %v, %v", a.total, a.of, a.waiting)
		}
	})
}

func TestAdmissionGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(1, 1)
		release, err := a.acquire(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		why := errors.New("late")
		ctx, cancel := context.WithCancelCause(t.Context())
		errs := make(chan error)
		go func() { _, err := a.acquire(ctx, "x"); errs <- err }()
		synctest.Wait()
		cancel(why)
		if err := <-errs; err != why {
			t.Fatalf("got %v", err)
		}
		release()
		if a.total != 0 || len(a.waiting) != 0 {
			t.Fatalf("left: %d, %v", a.total, a.waiting)
		}
		if total, of := a.count("x"); total != 0 || of != 0 {
			t.Errorf("count %d, %d with nothing", total, of)
		}
		if _, ok := a.try("x"); !ok {
			t.Error("no slot")
		}
		if total, of := a.count("x"); total != 1 || of != 1 {
			t.Errorf("count %d, %d with one", total, of)
		}
	})
}

// A slot that comes at the very moment at which its waiter gives up is not lost.
func TestAdmissionGivesUpAtTheLastMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(1, 1)
		for range 100 {
			release, ok := a.try("x")
			if !ok {
				t.Fatal("a slot was lost")
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				if release, err := a.acquire(ctx, "x"); err == nil {
					release()
				}
			}()
			synctest.Wait()
			cancel()
			release()
			<-done
		}
	})
}

func TestAddressKey(t *testing.T) {
	tcp := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	for _, tc := range []struct {
		a, b net.Addr
		same bool
	}{
		{tcp("192.0.2.1:1"), tcp("192.0.2.1:2"), true},
		{tcp("192.0.2.1:1"), tcp("192.0.2.2:1"), false},
		{tcp("192.0.2.1:1"), tcp("[::ffff:192.0.2.1]:1"), true},
		{tcp("192.0.2.1:1"), net.UDPAddrFromAddrPort(netip.MustParseAddrPort("192.0.2.1:1")), true},
		{tcp("[2001:db8::1]:1"), tcp("[2001:db8::ffff:2]:1"), true},
		{tcp("[2001:db8::1]:1"), tcp("[2001:db8:0:1::1]:1"), false},
		{tcp("[fe80::1%eth0]:1"), tcp("[fe80::2%eth1]:1"), true},
		{&net.UnixAddr{Name: "a"}, &net.UnixAddr{Name: "b"}, false},
	} {
		if a, b := addressKey(tc.a), addressKey(tc.b); (a == b) != tc.same {
			t.Errorf("%v: %q, %v: %q", tc.a, a, tc.b, b)
		}
	}
}

func TestBudget(t *testing.T) {
	b := NewBudget(100)
	const all = 1 << 40
	if !b.grow("a", 60, all) || b.grow("b", 41, all) || b.grow("b", 40, 39) || !b.grow("b", 30, 39) || b.grow("b", 10, 39) || !b.grow("b", 10, 40) ||
		b.grow("a", 1, all) || b.grow("a", 1<<63, 1<<63) {
		t.Fatal("wrong answer")
	}
	b.release("a")
	b.release("a")
	if b.Free() != 60 {
		t.Fatalf("free %d, want 60", b.Free())
	}
	b.release("b")
	if b.Free() != 100 || len(b.given) != 0 {
		t.Fatalf("free %d, given %v", b.Free(), b.given)
	}
	(*Budget)(nil).release("a")
}

func TestWindowFollowsTheRoundTripTime(t *testing.T) {
	for rtt, want := range map[time.Duration]uint64{
		0: quicWindowLeast, 100 * time.Microsecond: quicWindowLeast, 4 * time.Millisecond: 4294967, 100 * time.Millisecond: quicWindowMost,
		time.Hour: quicWindowMost,
	} {
		if got := windowFor(rtt); got != want {
			t.Errorf("%v: got %d, want %d", rtt, got, want)
		}
	}
}
