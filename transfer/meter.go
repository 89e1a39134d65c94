package transfer

import (
	"slices"
	"sync"
	"time"

	"xfer/transfer/sink"
)

// meter counts what a run does and tells it upward.
type meter struct {
	observe func(Event)
	every   time.Duration

	mu        sync.Mutex
	r         Result
	total     int64
	files     int64
	known     bool // the totals are whole
	walks     int  // trees whose end the walk has not reached
	doneBytes int64
	doneFiles int64
	began     time.Time
	lastTold  time.Time
	lastWork  time.Time // when more was done than ever before in the run
	rate      float64
	rateAt    time.Time
	rateFrom  time.Time // of the first payload
	rateBytes int64
	live      int64 // payload taken by the receiver, for the rate
	large     []*largeFile
	lost      sink.Unkept // of the metadata of any entry
}

// largeFile is a file under way that is told of by itself.
type largeFile struct{ FileProgress }

// What is told of by itself: files of this size, so many of them at a time.
const (
	largeSize = 16 << 20
	largeTold = 4
)

// maxListed bounds the lists of a Result.
const maxListed = 1000

func newMeter(observe func(Event), every time.Duration) *meter {
	if every <= 0 {
		every = 100 * time.Millisecond
	}
	now := time.Now()
	return &meter{observe: observe, every: every, began: now, lastWork: now, rateAt: now}
}

// tell passes an event on, one at a time. Called with the lock held.
func (m *meter) tell(e Event) {
	if m.observe != nil {
		e.Time = time.Now()
		m.observe(e)
	}
}

func (m *meter) event(e Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tell(e)
}

func (m *meter) progress() Event {
	e := Event{
		Kind: EventProgress, Bytes: m.doneBytes, Files: m.doneFiles, Sent: m.r.BytesSent, Resumed: m.r.BytesResumed, Rate: m.rate,
		BytesFound: m.total, FilesFound: m.files, Transport: m.r.Transport,
	}
	if m.known && m.walks <= 0 {
		e.BytesTotal, e.FilesTotal = m.total, m.files
	}
	for _, f := range m.large[:min(len(m.large), largeTold)] {
		e.Large = append(e.Large, f.FileProgress)
	}
	return e
}

// tick tells the progress when it is time. Called with the lock held.
func (m *meter) tick() {
	now := time.Now()
	if now.Sub(m.lastTold) < m.every {
		return
	}
	m.lastTold = now
	if dt := now.Sub(m.rateAt).Seconds(); dt > 0.05 {
		r := float64(m.live-m.rateBytes) / dt
		if m.rate == 0 {
			m.rate = r
		} else {
			w := min(dt/min(3, now.Sub(m.rateFrom).Seconds()), 1) // smoothed over about three seconds, and at first over all
			m.rate += (r - m.rate) * w
		}
		m.rateAt, m.rateBytes = now, m.live
	}
	m.tell(m.progress())
}

// found counts a file of the source.
func (m *meter) found(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files++
	m.total += max(size, 0)
}

// allFound notes that all sources are known; the trees among them may still be walked.
func (m *meter) allFound() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known = true
}

// walked notes that a tree has been walked to its end.
func (m *meter) walked() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.walks--
}

func (m *meter) sent(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.r.BytesSent += n
}

func (m *meter) acked(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live == 0 { // what was done before, as finding out what is there, says nothing about the rate
		m.rateAt, m.rateBytes = time.Now(), n
		m.rateFrom = m.rateAt
	}
	m.live += n
	m.doneBytes += n
	m.tick()
}

// holes counts bytes that are done and never crossed the wire, so they say nothing about its rate.
func (m *meter) holes(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.doneBytes += n
	m.tick()
}

func (m *meter) resumed(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.doneBytes += n
	m.tick()
}

// highWater is how much of a file, or of a tree, was done at most in a run. What is lost with a session and done again is no progress:
// else a peer that takes everything and keeps nothing would be tried for ever.
type highWater struct{ bytes int64 } // guarded by meter.mu

// reached notes that bytes of what h is about are done; it is progress where they were never so many.
func (m *meter) reached(h *highWater, bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if bytes > h.bytes {
		h.bytes = bytes
		m.lastWork = time.Now()
	}
}

// undone takes back what an attempt had counted that ended without a receipt.
func (m *meter) undone(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.doneBytes -= n
}

// starts notes that a file is under way. It returns nil for one that is not told of by itself; moved and ends take that too.
func (m *meter) starts(path string, size int64) *largeFile {
	if size < largeSize {
		return nil
	}
	f := &largeFile{FileProgress{Path: path, Size: size}}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.large = append(m.large, f)
	return f
}

// moved notes that n more bytes of a file are done.
func (m *meter) moved(f *largeFile, n int64) {
	if f == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f.Bytes += n
}

// tally counts what one attempt at a file has done. What a goroutine that is still at work for it tells after its end
// no longer counts: the next attempt finds it.
type tally struct {
	m    *meter
	row  *largeFile // may be nil
	most *highWater // may be nil

	mu   sync.Mutex
	n    int64
	over bool
}

// add counts n bytes and passes them to tell, one at a time.
func (t *tally) add(n int64, tell func(int64)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	t.n += n
	t.m.moved(t.row, n)
	if t.most != nil {
		t.m.reached(t.most, t.n)
	}
	tell(n)
}

// end returns all bytes that were counted.
func (t *tally) end() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	return t.n
}

// ends notes that a file is no longer under way.
func (m *meter) ends(f *largeFile) {
	if f == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.large = slices.DeleteFunc(m.large, func(o *largeFile) bool { return o == f })
}

// file counts a finished file. counted is what acked and resumed have told of it already.
func (m *meter) file(path, action string, size, counted int64, unchanged bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.doneBytes += size - counted
	m.doneFiles++
	m.r.Files++
	m.r.Bytes += size
	if unchanged {
		m.r.FilesSkipped++
		m.r.BytesSkipped += size
	}
	m.lastWork = time.Now()
	m.tell(Event{Kind: EventFile, Path: path, Action: action, Size: size})
	m.tick()
}

// made tells of a directory or a link.
func (m *meter) made(path string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastWork = time.Now()
}

// firstResumed counts what was there before this run began: only the first attempt at a file in a run counts, since what a
// later one finds came in this run.
func (m *meter) firstResumed(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.r.BytesResumed += n
}

func (m *meter) failed(err *Error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.r.ErrorCount++
	if len(m.r.Errors) < maxListed {
		m.r.Errors = append(m.r.Errors, err)
	}
	m.tell(Event{Kind: EventFile, Path: err.Path, Action: "failed", Err: err})
}

// errors is how many entries have failed.
func (m *meter) errors() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.r.ErrorCount
}

func (m *meter) skipped(path, reason string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.r.Skipped) < maxListed {
		m.r.Skipped = append(m.r.Skipped, Skipped{Path: path, Reason: reason})
	}
	m.tell(Event{Kind: EventFile, Path: path, Action: "skipped", Reason: reason})
}

// unkept notes what of the metadata of an entry is not kept.
func (m *meter) unkept(u sink.Unkept) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lost |= u
}

func (m *meter) receipt(r Receipt) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.r.Receipts = append(m.r.Receipts, r)
}

func (m *meter) treeReceipt(r TreeReceipt) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.r.Trees = append(slices.DeleteFunc(m.r.Trees, func(old TreeReceipt) bool { return old.Path == r.Path }), r) // a sync may send one twice
}

// tree notes that a source is a directory.
func (m *meter) tree() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.r.Tree = true
	m.walks++
}

// isTree tells whether a source is a directory.
func (m *meter) isTree() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.r.Tree
}

// progressAt returns the time of the last progress.
func (m *meter) progressAt() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lastWork
}

// finish tells the last progress and returns the result.
func (m *meter) finish() Result {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.r.Duration = time.Since(m.began)
	m.r.Unkept = m.lost.Words()
	m.tell(m.progress())
	return m.r
}
