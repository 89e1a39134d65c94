package transport

import (
	"context"
	"net"
	"net/netip"
	"sync"
)

// admission hands out the slots of handshakes in progress: at most limit in all and per for one address. Those who
// wait are served in the order in which they came, but nobody waits for an address that is over its own limit.
type admission struct {
	limit, per int

	mu      sync.Mutex // guards the following
	total   int
	of      map[string]int
	waiting []*waiter
}

type waiter struct {
	addr  string
	ready chan struct{} // closed when it has its slot
}

func newAdmission(limit, per int) *admission {
	return &admission{limit: limit, per: per, of: make(map[string]int)}
}

// acquire waits for a slot for addr until ctx ends. The slot is given back by release, once.
func (a *admission) acquire(ctx context.Context, addr string) (release func(), err error) {
	a.mu.Lock()
	if a.fits(addr) {
		a.take(addr)
		a.mu.Unlock()
		return a.releaser(addr), nil
	}
	w := &waiter{addr, make(chan struct{})}
	a.waiting = append(a.waiting, w)
	a.mu.Unlock()

	select {
	case <-w.ready:
		return a.releaser(addr), nil
	case <-ctx.Done():
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, x := range a.waiting {
		if x == w {
			a.waiting = append(a.waiting[:i], a.waiting[i+1:]...)
			return nil, context.Cause(ctx)
		}
	}
	a.give(addr) // the slot came at the same moment
	return nil, context.Cause(ctx)
}

// try is acquire without waiting.
func (a *admission) try(addr string) (release func(), ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.fits(addr) {
		return nil, false
	}
	a.take(addr)
	return a.releaser(addr), true
}

// count tells how many slots are taken, in all and by addr.
func (a *admission) count(addr string) (total, of int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.total, a.of[addr]
}

func (a *admission) releaser(addr string) func() {
	return sync.OnceFunc(func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.give(addr)
	})
}

func (a *admission) fits(addr string) bool { return a.total < a.limit && a.of[addr] < a.per }

func (a *admission) take(addr string) { a.total++; a.of[addr]++ }

// give returns a slot of addr and passes on what became free. a.mu is held.
func (a *admission) give(addr string) {
	a.total--
	if a.of[addr]--; a.of[addr] == 0 {
		delete(a.of, addr)
	}
	rest := a.waiting[:0]
	for _, w := range a.waiting {
		if a.fits(w.addr) {
			a.take(w.addr)
			close(w.ready)
			continue
		}
		rest = append(rest, w)
	}
	clear(a.waiting[len(rest):])
	a.waiting = rest
}

// addressKey is what the limits per address count by: the IPv4 address, the IPv6 /64 (a host has as many addresses
// in it as it likes), or the text of any other address.
func addressKey(addr net.Addr) string {
	if addr == nil {
		return ""
	}
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return addr.String()
	}
	ip := ap.Addr().Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}
