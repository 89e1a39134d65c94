package sink

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

// treeGroup is small files that are made durable and published together.
type treeGroup struct {
	files   []*treeFile
	joined  int   // files, those too that are being written
	bytes   int64 // of them
	writing int
	began   time.Time
	due     bool // it is to be published though it is not full
	timer   *time.Timer
	err     error         // why none of it may be published
	done    chan struct{} // closed when all of it is published, or not
}

// syncWay is how files are made durable.
type syncWay uint8

const (
	syncUnknown syncWay = iota // not tried yet
	syncAll                    // one syncfs for a group
	syncEach                   // fsync of each
)

// committer publishes groups, one at a time, while the next one fills.
type committer struct {
	t  *Tree
	wg sync.WaitGroup

	mu     sync.Mutex // guards what follows
	cond   sync.Cond
	runs   bool
	ended  bool
	way    syncWay
	cur    *treeGroup    // is filling
	cost   time.Duration // of the newest commit
	before *treeGroup    // is being published
}

func (c *committer) init(t *Tree) {
	c.t = t
	c.cond.L = &c.mu
	if t.spec.Durability == None {
		c.way = syncAll // a sync that is left out
	}
}

// full is called with mu.
func (c *committer) full(g *treeGroup) bool {
	files := c.t.max.groupFiles
	if c.way != syncAll {
		files = c.t.max.openFiles
	}
	return g.joined >= files || g.bytes >= c.t.max.groupBytes
}

// join returns a group that has room for a file of size bytes, waiting for it. The caller writes the file, which is to stay open
// if keepOpen, and calls arrived.
func (c *committer) join(size int64) (g *treeGroup, keepOpen bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if c.ended {
			return nil, false, ErrClosed
		}
		if c.cur == nil {
			c.begin()
		}
		if !c.full(c.cur) {
			break
		}
		c.cond.Wait()
	}
	g = c.cur
	g.joined++
	g.bytes += size
	g.writing++
	if c.full(g) {
		c.cond.Broadcast()
	}
	return g, c.way != syncAll, nil
}

// begin makes a new group to be filled. mu is held.
func (c *committer) begin() {
	g := &treeGroup{done: make(chan struct{}), began: time.Now()}
	c.cur = g
	g.timer = time.AfterFunc(c.t.max.groupEvery, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		g.due = true
		c.cond.Broadcast()
	})
	if !c.runs {
		c.runs = true
		c.wg.Go(c.run)
	}
}

// arrived says that a file has been written into g, or (nil) that it was not.
func (c *committer) arrived(g *treeGroup, f *treeFile) {
	if g == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if f != nil {
		g.files = append(g.files, f)
		if g == c.cur && c.t.allPut() {
			g.timer.Reset(c.quiet(g))
		}
	}
	if g.writing--; g.writing == 0 && g == c.before { // which run waits for
		c.cond.Broadcast()
	}
}

// quiet is when g is due if nothing more comes: soon, as long as what a group costs is a tenth of the time. mu is held.
func (c *committer) quiet(g *treeGroup) time.Duration {
	return min(max(c.t.max.groupQuiet, 10*c.cost), c.t.max.groupEvery-time.Since(g.began))
}

// run publishes groups until stop.
func (c *committer) run() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		for c.cur == nil || !c.full(c.cur) && !c.cur.due {
			if c.ended && c.cur == nil {
				return
			}
			c.cond.Wait()
		}
		g := c.cur
		c.cur, c.before = nil, g
		g.timer.Stop()
		c.cond.Broadcast() // there is room for another group
		for g.writing > 0 {
			c.cond.Wait()
		}
		err := g.err
		c.mu.Unlock()
		began := time.Now()
		c.t.commit(g, err)
		c.mu.Lock()
		c.cost = time.Since(began)
		c.before = nil
		close(g.done)
		c.cond.Broadcast()
	}
}

// hurry has the group that is filling published before its time.
func (c *committer) hurry() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cur != nil && !c.cur.due {
		c.cur.due = true
		c.cond.Broadcast()
	}
}

// flush has everything published that has arrived.
func (c *committer) flush(ctx context.Context) error {
	c.mu.Lock()
	var wait []*treeGroup
	if c.before != nil {
		wait = append(wait, c.before)
	}
	if c.cur != nil {
		c.cur.due = true
		c.cond.Broadcast()
		wait = append(wait, c.cur)
	}
	c.mu.Unlock()
	for _, g := range wait {
		err := waiting(c.t.spec.Busy, func(tick <-chan time.Time) (bool, error) {
			select {
			case <-g.done:
				return true, nil
			case <-ctx.Done():
				return true, context.Cause(ctx)
			case <-tick:
				return false, nil
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// stop has everything published that has arrived, and takes nothing more.
func (c *committer) stop() {
	c.mu.Lock()
	c.ended = true
	if c.cur != nil {
		c.cur.due = true
	}
	c.cond.Broadcast()
	c.mu.Unlock()
	c.wg.Wait()
}

// Flush publishes what was Put before it was called.
func (t *Tree) Flush(ctx context.Context) error { return t.group.flush(ctx) }

// commit publishes the files of a group: FORMAT.md, "Trees", has the order and why. err says that none of it may be.
func (t *Tree) commit(g *treeGroup, err error) {
	var kept map[*treeFile]error // of those that replace something
	if err == nil {
		err = t.d.Here()
	}
	if err == nil && t.backup {
		kept, err = t.keepOld(g.files)
	}
	if err == nil {
		err = t.syncGroup(g)
	}
	for _, f := range g.files {
		if f.f != nil { // synced, or worth nothing
			_ = f.f.Close()
			f.f = nil
		}
		ferr, isKept := kept[f]
		if err != nil {
			ferr = err
		}
		if ferr == nil {
			ferr = t.place(f, isKept)
		} else {
			t.discard(f)
		}
		t.published(f, ferr)
	}
}

// syncGroup makes the content of all files of g durable.
func (t *Tree) syncGroup(g *treeGroup) error {
	if t.spec.Durability == None {
		return nil
	}
	if dir := t.temp.made(); dir != nil && t.group.syncWay() != syncEach {
		err := dir.SyncFS()
		switch {
		case errors.Is(err, errors.ErrUnsupported) && t.group.syncWay() == syncUnknown: // all files are open
			t.group.setWay(syncEach)
		case err != nil:
			err = syncError("file system", err)
			t.group.poison(err)
			return err
		default:
			t.group.setWay(syncAll)
		}
	}
	all := t.group.syncWay() == syncAll
	var alone []*treeFile
	for _, f := range g.files {
		if f.beside || !all {
			alone = append(alone, f)
		}
	}
	return syncError("data", t.syncFiles(alone))
}

// syncFiles syncs each of the files, several at a time. All of them have to succeed.
func (t *Tree) syncFiles(files []*treeFile) error {
	errs := make([]error, len(files))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(t.max.syncWorkers, len(files)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(files)); i = next.Add(1) - 1 {
				errs[i] = files[i].f.Sync()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *committer) syncWay() syncWay {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.way
}

func (c *committer) setWay(way syncWay) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.way = way
	c.cond.Broadcast() // another number of files is a full group now
}

// poison says that a sync has failed, which tells of all files at once, and only once: what was written into the next group
// meanwhile may be lost as well.
func (c *committer) poison(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cur != nil {
		c.cur.err = err
		c.cur.due = true
		c.cond.Broadcast()
	}
}
