package sink

import (
	"sync"
	"time"

	"xfer/transfer/durable"
)

// watch notices that somebody else writes to the data of a live stage: what arrived was verified on its way and is not read
// again. A change of the file after our last write, and before our next one, shows in its times. One that falls together with a
// write of ours does not; a stage that nobody has open is read again in any case (FORMAT.md, "Taking a stage up again").
type watch struct {
	mu      sync.Mutex
	writing int       // writes of ours in progress
	ours    time.Time // when the last of them had ended
	foreign bool
}

// mine notes that the file has just been changed by us, or opened.
func (w *watch) mine() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ours = time.Now()
}

// begin is called before each write, end after it.
func (w *watch) begin(f durable.File) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.look(f)
	w.writing++
}

func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing--
	w.ours = time.Now()
}

// disturbed tells whether the file cannot be trusted to have what we wrote.
func (w *watch) disturbed(f durable.File) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.look(f)
	return w.foreign
}

// look is called with mu.
func (w *watch) look(f durable.File) {
	if w.writing > 0 || w.foreign {
		return
	}
	fi, err := f.Stat()
	if err != nil {
		w.foreign = true
		return
	}
	id, _ := durable.IDOf(fi) // its change time cannot be put back
	w.foreign = fi.ModTime().After(w.ours) || id.CTime > w.ours.UnixNano()
}
