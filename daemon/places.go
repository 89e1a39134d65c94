package daemon

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errNoPlace says that a key's places were all taken for as long as the caller wanted to wait.
var errNoPlace = errors.New("no place is free")

// places lets so many holders a key in; the others wait in line, first come first served, and at most queue of
// them a key. Safe for concurrent use.
type places[K comparable] struct {
	queue int

	mu   sync.Mutex
	keys map[K]*line // only keys with a holder or a waiter
}

type line struct {
	max     int // as the last one who came said
	held    int
	waiters []chan struct{} // closed when its turn has come
}

func newPlaces[K comparable](queue int) *places[K] {
	return &places[K]{queue: queue, keys: make(map[K]*line)}
}

// take waits for one of key's max places for at most wait. leave gives it back and may be called more than once. The
// error is errNoPlace or the context's cause. A max that differs from the last one counts from now on for all who wait;
// holders above a smaller one stay until they leave.
func (p *places[K]) take(ctx context.Context, key K, max int, wait time.Duration) (leave func(), err error) {
	turn, err := p.enter(key, max)
	if err != nil {
		return nil, err
	}
	leave = sync.OnceFunc(func() { p.leave(key) })
	if turn == nil {
		return leave, nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-turn:
		return leave, nil
	case <-timer.C:
		err = errNoPlace
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if p.quit(key, turn) {
		return nil, err
	}
	return leave, nil // the turn came at the very moment of giving up
}

// enter takes a free place (nil) or one in the line.
func (p *places[K]) enter(key K, max int) (turn chan struct{}, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.keys[key]
	if l == nil {
		l = &line{}
		p.keys[key] = l
	}
	l.max = max
	p.call(l)
	if l.held < l.max && len(l.waiters) == 0 {
		l.held++
		return nil, nil
	}
	if len(l.waiters) >= p.queue {
		p.forget(key, l)
		return nil, errNoPlace
	}
	turn = make(chan struct{})
	l.waiters = append(l.waiters, turn)
	return turn, nil
}

// quit leaves the line; false where the turn has come meanwhile, so that the caller holds a place.
func (p *places[K]) quit(key K, turn chan struct{}) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.keys[key]
	if l == nil {
		return false
	}
	for i, w := range l.waiters {
		if w == turn {
			l.waiters = append(l.waiters[:i], l.waiters[i+1:]...)
			p.forget(key, l)
			return true
		}
	}
	return false
}

func (p *places[K]) leave(key K) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.keys[key]
	l.held--
	p.call(l)
	p.forget(key, l)
}

// call lets waiters in while there is room. The caller holds mu.
func (p *places[K]) call(l *line) {
	for l.held < l.max && len(l.waiters) > 0 {
		l.held++
		close(l.waiters[0])
		l.waiters = l.waiters[1:]
	}
}

// forget drops a key that nobody uses. The caller holds mu.
func (p *places[K]) forget(key K, l *line) {
	if l.held == 0 && len(l.waiters) == 0 {
		delete(p.keys, key)
	}
}

// waiting returns how many stand in all the lines together.
func (p *places[K]) waiting() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, l := range p.keys {
		n += len(l.waiters)
	}
	return n
}
