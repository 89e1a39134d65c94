package sink

import "sync"

// group runs one function per key for many callers at once: fsync of a directory, or of done.log. The zero value
// is ready.
type group struct {
	mu   sync.Mutex
	keys map[string]*groupKey
}

type groupKey struct {
	refs int
	next *batch // not begun yet: who joins it is covered by it
	run  sync.Mutex
}

// batch is one run of the function. Its fields are guarded by groupKey.run.
type batch struct {
	done bool
	err  error
}

// do returns after a run of f for key that began after do was called. When a run fails, the callers that wait
// for the next one fail too: what they did before it may be among what the failed sync has lost.
func (g *group) do(key string, f func() error) error {
	g.mu.Lock()
	k := g.keys[key]
	if k == nil {
		if g.keys == nil {
			g.keys = make(map[string]*groupKey)
		}
		k = new(groupKey)
		g.keys[key] = k
	}
	k.refs++
	if k.next == nil {
		k.next = new(batch)
	}
	b := k.next
	g.mu.Unlock()

	k.run.Lock()
	if !b.done {
		g.takeNext(k)
		b.err, b.done = f(), true
		if b.err != nil {
			if n := g.takeNext(k); n != nil {
				n.err, n.done = b.err, true
			}
		}
	}
	err := b.err
	k.run.Unlock()

	g.mu.Lock()
	if k.refs--; k.refs == 0 {
		delete(g.keys, key)
	}
	g.mu.Unlock()
	return err
}

func (g *group) takeNext(k *groupKey) *batch {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := k.next
	k.next = nil
	return b
}
