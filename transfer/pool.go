package transfer

import "sync"

// pool runs jobs in a few goroutines, which end when there is nothing to do.
type pool struct {
	mu      sync.Mutex
	changed *sync.Cond
	max     int
	running int
	jobs    []func()
	closed  bool
}

// maxJobs is how many jobs wait before add does.
const maxJobs = 1024

func newPool(n int) *pool {
	p := &pool{max: max(n, 1)}
	p.changed = sync.NewCond(&p.mu)
	return p
}

// add has f run; it waits while there is much to do. After close nothing is run.
func (p *pool) add(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.jobs) >= maxJobs && !p.closed {
		p.changed.Wait()
	}
	if p.closed {
		return
	}
	p.jobs = append(p.jobs, f)
	if p.running < p.max {
		p.running++
		go p.work()
	}
}

func (p *pool) work() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.jobs) > 0 {
		f := p.jobs[0]
		p.jobs = p.jobs[1:]
		p.changed.Broadcast()
		p.mu.Unlock()
		f()
		p.mu.Lock()
	}
	p.running--
	p.changed.Broadcast()
}

// wait returns when nothing is left to do.
func (p *pool) wait() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.running > 0 {
		p.changed.Wait()
	}
}

// close forgets the jobs that have not begun, and waits for those that have.
func (p *pool) close() {
	p.mu.Lock()
	p.closed, p.jobs = true, nil
	p.changed.Broadcast()
	p.mu.Unlock()
	p.wait()
}
