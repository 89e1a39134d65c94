package transfer

import "sync"

// queue holds the tasks of a run over the sessions it takes. Tasks may make further tasks while they are worked on.
type queue[T any] struct {
	mu        sync.Mutex
	cond      *sync.Cond
	items     []T
	active    int // tasks that workers have
	producers int // others who will put
	stopped   bool
}

func newQueue[T any]() *queue[T] {
	q := &queue[T]{}
	q.cond = sync.NewCond(&q.mu)
	return q
}

// maxQueued is how far a producer may be ahead of the workers.
const maxQueued = 4096

// put adds a task. A producer waits while there are many; it returns false when the queue was stopped for good.
func (q *queue[T]) put(t T, wait bool, ended func() bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	for wait && len(q.items) >= maxQueued && !ended() {
		q.cond.Wait()
	}
	if ended() {
		return false
	}
	q.items = append(q.items, t)
	q.cond.Broadcast()
	return true
}

func (q *queue[T]) producer(n int) {
	q.mu.Lock()
	q.producers += n
	q.mu.Unlock()
	q.cond.Broadcast()
}

// get waits for a task; ok is false when all is done or the workers are to stop.
func (q *queue[T]) get() (t T, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.stopped {
			return t, false
		}
		if n := len(q.items); n > 0 {
			t = q.items[0]
			q.items = q.items[1:]
			q.active++
			q.cond.Broadcast()
			return t, true
		}
		if q.active == 0 && q.producers == 0 {
			return t, false
		}
		q.cond.Wait()
	}
}

// done says that a task which get gave is over; with again it is put back in front.
func (q *queue[T]) done(t T, again bool) {
	q.mu.Lock()
	q.active--
	if again {
		q.items = append([]T{t}, q.items...)
	}
	q.mu.Unlock()
	q.cond.Broadcast()
}

// stop lets all workers end; start lets them begin again.
func (q *queue[T]) stop() {
	q.mu.Lock()
	q.stopped = true
	q.mu.Unlock()
	q.cond.Broadcast()
}

func (q *queue[T]) start() {
	q.mu.Lock()
	q.stopped = false
	q.mu.Unlock()
}
