package transfer

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What was there before a resume is done, but tells nothing of the speed of the network.
func TestRateAfterAResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last Event
		m := newMeter(func(e Event) { last = e }, 0)
		m.found(1000 << 20)
		m.allFound()
		m.resumed(900 << 20)
		for range 50 {
			time.Sleep(100 * time.Millisecond)
			m.acked(1 << 20)
		}
		if last.Bytes != 950<<20 || last.BytesTotal != 1000<<20 || last.Rate < 9.9*(1<<20) || last.Rate > 10.1*(1<<20) {
			t.Errorf("%d of %d at %.0f bytes a second", last.Bytes, last.BytesTotal, last.Rate)
		}
	})
}

// The rate begins with the first payload, and is right from then on, however long it took to find out what there is to do.
func TestRateAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last Event
		m := newMeter(func(e Event) { last = e }, 0)
		time.Sleep(10 * time.Second)
		for range 5 {
			time.Sleep(100 * time.Millisecond)
			m.acked(1 << 20)
		}
		if last.Rate < 9.9*(1<<20) || last.Rate > 10.1*(1<<20) {
			t.Errorf("%.0f bytes a second", last.Rate)
		}
	})
}

func TestLargeFilesAreToldOfByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last Event
		m := newMeter(func(e Event) { last = e }, 0)
		m.found(3)
		small := m.starts("small", largeSize-1)
		var rows []*largeFile
		for _, name := range []string{"a", "b", "c", "d", "e"} {
			rows = append(rows, m.starts(name, largeSize))
		}
		tell := func() []FileProgress {
			time.Sleep(time.Second)
			m.acked(1)
			return last.Large
		}
		m.moved(small, 5)
		m.moved(rows[1], 7)
		if got := tell(); len(got) != largeTold || got[0].Path != "a" || got[1] != (FileProgress{"b", 7, largeSize}) {
			t.Errorf("told %+v", got)
		}
		if last.BytesTotal != 0 || last.BytesFound != 3 || last.FilesFound != 1 {
			t.Errorf("while the walk goes on: %+v", last)
		}
		m.ends(small)
		m.ends(rows[0])
		if got := tell(); len(got) != largeTold || got[0].Path != "b" || got[3].Path != "e" {
			t.Errorf("told %+v", got)
		}
		for _, r := range rows {
			m.ends(r)
		}
		if got := tell(); len(got) != 0 {
			t.Errorf("told %+v of files that are done", got)
		}
	})
}

// What is told of an attempt after its end is not done twice when the next attempt finds it.
func TestTallyEnds(t *testing.T) {
	m := newMeter(nil, 0)
	row := m.starts("large", largeSize)
	c := tally{m: m, row: row}
	c.add(5, m.acked)
	c.add(7, m.holes)
	var late sync.WaitGroup
	for range 4 {
		late.Go(func() { c.add(1, m.holes) })
	}
	n := c.end()
	m.undone(n)
	late.Wait()
	c.add(100, m.acked)
	if again := c.end(); n < 12 || again != n {
		t.Errorf("%d bytes at the end, %d after it", n, again)
	}
	if e := m.progress(); e.Bytes != 0 || row.Bytes != n {
		t.Errorf("%d bytes are done, %d of the file, want 0 and %d", e.Bytes, row.Bytes, n)
	}
}
