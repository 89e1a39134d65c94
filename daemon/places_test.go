package daemon

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestPlacesAreGivenInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces[string](10)
		var leaves []func()
		for range 2 {
			leave, err := p.take(t.Context(), "a", 2, 0)
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, leave)
		}
		var mu sync.Mutex
		var order []int
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				leave, err := p.take(t.Context(), "a", 2, time.Minute)
				if err != nil {
					t.Errorf("waiter %d: %v", i, err)
					return
				}
				mu.Lock()
				order = append(order, i)
				mu.Unlock()
				leave()
			})
			synctest.Wait() // it stands in the line before the next comes
		}
		if n := p.waiting(); n != 5 {
			t.Errorf("%d wait, want 5", n)
		}
		if leave, err := p.take(t.Context(), "b", 2, 0); err != nil {
			t.Errorf("another key has to wait: %v", err)
		} else {
			leave()
		}
		leaves[0]()
		leaves[0]() // a second time changes nothing
		wg.Wait()
		if want := []int{0, 1, 2, 3, 4}; !slices.Equal(order, want) {
			t.Errorf("order %v, want %v", order, want)
		}
		leaves[1]()
		if len(p.keys) != 0 {
			t.Errorf("%d keys are kept for nobody", len(p.keys))
		}
	})
}

func TestPlacesWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces[string](1)
		leave, _ := p.take(t.Context(), "a", 1, 0)
		start := time.Now()
		if _, err := p.take(t.Context(), "a", 1, 3*time.Second); !errors.Is(err, errNoPlace) {
			t.Errorf("got %v, want errNoPlace", err)
		}
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("waited %v, want 3s", d)
		}

		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("gone")
		waits := make(chan error, 1)
		go func() {
			_, err := p.take(ctx, "a", 1, time.Hour)
			waits <- err
		}()
		synctest.Wait()
		if _, err := p.take(t.Context(), "a", 1, time.Hour); !errors.Is(err, errNoPlace) {
			t.Errorf("a line longer than allowed: got %v, want errNoPlace at once", err)
		}
		cancel(why)
		if err := <-waits; !errors.Is(err, why) {
			t.Errorf("got %v, want the cause", err)
		}
		leave()
		if len(p.keys) != 0 {
			t.Errorf("%d keys are kept for nobody", len(p.keys))
		}
	})
}

// A turn that comes while its waiter goes away must not be lost for those behind it.
func TestPlacesAreNotLostToThoseWhoGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces[int](1000)
		var wg sync.WaitGroup
		var mu sync.Mutex
		now, most := 0, 0
		for i := range 300 {
			wg.Go(func() {
				leave, err := p.take(t.Context(), 1, 3, time.Duration(i%7)*time.Second)
				if err != nil {
					return
				}
				mu.Lock()
				now++
				most = max(most, now)
				mu.Unlock()
				time.Sleep(time.Duration(i%3) * time.Second) // virtual; often the moment when others give up
				mu.Lock()
				now--
				mu.Unlock()
				leave()
			})
		}
		wg.Wait()
		if most > 3 {
			t.Errorf("%d at once, want at most 3", most)
		}
		if len(p.keys) != 0 {
			t.Fatalf("places are lost: %+v", p.keys[1])
		}
	})
}

func TestMorePlacesLetWaitersIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlaces[int](10)
		p.take(t.Context(), 1, 1, 0)
		in := make(chan error, 1)
		go func() {
			_, err := p.take(t.Context(), 1, 1, time.Hour)
			in <- err
		}()
		synctest.Wait()
		if _, err := p.take(t.Context(), 1, 3, 0); err != nil { // of three, one is left after the waiter got its own
			t.Error(err)
		}
		if err := <-in; err != nil {
			t.Error(err)
		}
	})
}
