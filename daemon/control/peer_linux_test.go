package control

import "testing"

func TestOnlyOurUserAndRootMayAsk(t *testing.T) {
	for _, c := range []struct {
		uid, self uint32
		ok        bool
	}{{0, 1000, true}, {1000, 1000, true}, {1001, 1000, false}, {1000, 0, false}} {
		if err := allowed(c.uid, c.self); (err == nil) != c.ok {
			t.Errorf("user %d at a daemon of %d: %v, want ok=%v", c.uid, c.self, err, c.ok)
		}
	}
}
