package sink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

const someKey = "000102030405060708090a0b0c0d0e0f"

func doneID(i int) (id [16]byte) {
	binary.BigEndian.PutUint64(id[:], uint64(i))
	return id
}

func wantReceipt(t *testing.T, d *Dir, i int, want string) {
	t.Helper()
	r, ok, err := d.done.find(doneID(i), someKey)
	if err != nil || ok != (want != "") || ok && string(r) != want {
		t.Fatalf("%d: %q %v %v, want %q", i, r, ok, err, want)
	}
}

func TestDoneLogTornTail(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, noClose{f}, Options{KeepDoneLog: true})
	for i := range 3 {
		if err := d.done.add(doneID(i), someKey, []byte(fmt.Sprint("receipt ", i)), true); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := readAll(f, doneName)
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(whole) / 3 * 2; cut < len(whole); cut++ {
		f := crashfs.New(1)
		if err := errors.Join(f.Mkdir(stateDir, 0o700), durable.WriteFile(f, doneName, whole[:cut], 0o600)); err != nil {
			t.Fatal(err)
		}
		d := mustOpen(t, noClose{f}, Options{KeepDoneLog: true})
		wantReceipt(t, d, 1, "receipt 1")
		wantReceipt(t, d, 2, "")
		if err := d.done.add(doneID(7), someKey, []byte("after"), true); err != nil {
			t.Fatal(err)
		}
		d.Close()
		d = mustOpen(t, noClose{f}, Options{KeepDoneLog: true})
		wantReceipt(t, d, 0, "receipt 0")
		wantReceipt(t, d, 7, "after")
		d.Close()
	}
}

func TestDoneLogIsRotated(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, noClose{f}, Options{KeepDoneLog: true})
	big := strings.Repeat("x", maxReceiptLen-8)
	const n = maxDoneLog/maxReceiptLen + 20
	for i := range n {
		if err := d.done.add(doneID(i), someKey, []byte(fmt.Sprintf("%08d%s", i, big)), false); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		for _, i := range []int{0, 500, n - 1} {
			wantReceipt(t, d, i, fmt.Sprintf("%08d%s", i, big))
		}
		if _, err := f.Lstat(doneFileName(1)); err != nil {
			t.Fatal(err)
		}
		if fi, err := f.Lstat(doneName); err != nil || fi.Size() > 1<<21 {
			t.Fatal(fi, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		d = mustOpen(t, noClose{f}, Options{KeepDoneLog: true})
	}
	if err := d.done.add(doneID(1), someKey, make([]byte, maxReceiptLen+1), false); !errors.Is(err, ErrTooBig) {
		t.Error(err)
	}
}

func TestDoneLogIndexIsBounded(t *testing.T) {
	var l doneLog
	l.init(nil)
	for i := range maxDoneIndex + 500 {
		l.put(doneID(i), doneEntry{off: int64(i)})
		l.put(doneID(i), doneEntry{off: int64(i)})
	}
	if len(l.index) != maxDoneIndex || len(l.ring) != maxDoneIndex {
		t.Error(len(l.index), len(l.ring))
	}
	if _, ok := l.index[doneID(499)]; ok {
		t.Error("the oldest is still there")
	}
	if _, ok := l.index[doneID(500)]; !ok {
		t.Error("a newer one is gone")
	}
}

// TestDoneLogAfterAFailedSync: the file is not used any more, and nothing that went with it is replayed.
func TestDoneLogAfterAFailedSync(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, noClose{f}, Options{KeepDoneLog: true})
	if err := d.done.add(doneID(1), someKey, []byte("one"), true); err != nil {
		t.Fatal(err)
	}
	failing := true
	f.SetHook(func(_ int, op, name string) error {
		if failing && op == "syncdata" && name == doneName {
			failing = false
			return syscall.EIO
		}
		return nil
	})
	var se *SyncError
	if err := d.done.add(doneID(2), someKey, []byte("two"), true); !errors.As(err, &se) {
		t.Fatal(err)
	}
	wantReceipt(t, d, 2, "")
	if err := d.done.add(doneID(3), someKey, []byte("three"), true); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(10) {
		img := mustOpen(t, f.Image(i), Options{KeepDoneLog: true})
		wantReceipt(t, img, 1, "one")
		wantReceipt(t, img, 3, "three")
	}
	wantReceipt(t, d, 1, "one")
	wantReceipt(t, d, 3, "three")
}

// TestGroup: who joins while a run is under way is covered by the next one, and a failure reaches those who wait.
func TestGroup(t *testing.T) {
	var g group
	began, goOn := make(chan struct{}), make(chan error)
	first := make(chan error)
	go func() { first <- g.do("k", func() error { close(began); return <-goOn }) }()
	<-began
	runs := 0
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for range 10 {
		wg.Go(func() {
			err := g.do("k", func() error { runs++; return nil })
			mu.Lock()
			errs = append(errs, err)
			mu.Unlock()
		})
	}
	for { // all ten wait
		g.mu.Lock()
		n := g.keys["k"].refs
		g.mu.Unlock()
		if n == 11 {
			break
		}
	}
	if err := g.do("other", func() error { return nil }); err != nil {
		t.Error("another key waits:", err)
	}
	goOn <- syscall.EIO
	if err := <-first; !errors.Is(err, syscall.EIO) {
		t.Error(err)
	}
	wg.Wait()
	for _, err := range errs {
		if !errors.Is(err, syscall.EIO) {
			t.Error("who waited is told that all is well")
		}
	}
	if runs != 0 {
		t.Error(runs, "runs")
	}
	if err := g.do("k", func() error { runs++; return nil }); err != nil || runs != 1 {
		t.Error(err, runs)
	}
	if len(g.keys) != 0 {
		t.Error("keys are left")
	}
}

// TestBusyIsCalled each second while Begin reads what another process left; the disk is slow here.
func TestBusyIsCalled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := crashfs.New(1)
		b := content(1, 4*chunk18)
		d := mustOpen(t, f, Options{})
		s, _ := mustBegin(t, d.View("alice", All), specOf(t, b, "file"))
		mustPut(t, s, b, 0, 1, 2)
		if err := s.Park(); err != nil {
			t.Fatal(err)
		}
		d = mustOpen(t, &slowReads{f}, Options{})
		sp := specOf(t, b, "file")
		calls := 0
		sp.Busy = func() { calls++ }
		start := time.Now()
		s, found := mustBegin(t, d.View("alice", All), sp)
		if took := time.Since(start); calls < int(took/time.Second)-3 || calls == 0 || took < 5*time.Second {
			t.Errorf("%d calls in %v", calls, took)
		}
		if len(found.Have) != 1 {
			t.Errorf("found %+v", found)
		}
		if err := s.Discard(); err != nil {
			t.Fatal(err)
		}
	})
}

// slowReads takes ten seconds for a piece of data.
type slowReads struct{ durable.FS }

func (s *slowReads) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := s.FS.OpenFile(name, flag, perm)
	if err == nil && strings.HasSuffix(name, "/data") {
		f = &slowFile{f}
	}
	return f, err
}

type slowFile struct{ durable.File }

func (f *slowFile) ReadAt(p []byte, off int64) (int, error) {
	time.Sleep(10 * time.Second) // of the bubble
	return f.File.ReadAt(p, off)
}

// noClose is an FS that outlives its Dir.
type noClose struct{ durable.FS }

func (noClose) Close() error { return nil }
