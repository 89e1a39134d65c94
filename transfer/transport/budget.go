package transport

import "sync"

// Budget bounds the receive windows of many QUIC connections together, in bytes. A connection begins with a small
// window outside the budget and grows it from the budget; when nothing is left the windows stay as they are. It is
// safe for concurrent use.
type Budget struct {
	mu    sync.Mutex // guards the following
	free  int64
	given map[any]int64
}

// NewBudget returns a budget of n bytes.
func NewBudget(n int64) *Budget {
	return &Budget{free: n, given: make(map[any]int64)}
}

// Free returns how many bytes are left.
func (b *Budget) Free() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.free
}

// grow takes n bytes for who, all or nothing, where it has then no more than most.
func (b *Budget) grow(who any, n, most uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	had := uint64(b.given[who])
	if b.free < 0 || n > uint64(b.free) || n > most || had > most-n {
		return false
	}
	b.free -= int64(n)
	b.given[who] += int64(n)
	return true
}

// release gives back all that who took.
func (b *Budget) release(who any) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.free += b.given[who]
	delete(b.given, who)
}
