package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xfer/transfer/durable/crashfs"
)

// numbered is n small files in a directory.
func numbered(n int) source {
	src := source{}
	for i := range n {
		src[fmt.Sprintf("d/%04d", i)] = file(fmt.Sprint("content ", i))
	}
	return src
}

// A group is published a second after its first file came, or when it is full.
func TestGroupsEndByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := Open(crashfs.New(1), Options{})
		must(t, err)
		defer d.Close()
		d.trees.openFiles, d.trees.groupFiles = 3, 5
		var told atomic.Int64
		s := begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top"), Published: func(uint64, error) { told.Add(1) }}, numbered(20))
		s.take()
		nos := s.wanted()
		put := func(n int) {
			for range n {
				data := []byte(s.src[s.paths[nos[0]]].data)
				must(t, s.tree.Put(nos[0], data, digest(data), nil))
				nos = nos[1:]
			}
		}
		want := func(n int64) {
			t.Helper()
			synctest.Wait()
			if got := told.Load(); got != n {
				t.Fatalf("%d are published, want %d", got, n)
			}
		}
		put(2)
		want(0)
		time.Sleep(999 * time.Millisecond)
		want(0)
		time.Sleep(time.Millisecond)
		want(2)
		put(4) // now it is known that there is a syncfs
		time.Sleep(500 * time.Millisecond)
		want(2)
		put(1)
		want(7)
		time.Sleep(time.Minute)
		want(7)
		put(1)
		must(t, s.tree.Flush(context.Background()))
		want(8)
		must(t, s.tree.Flush(context.Background()))
		put(1)
		must(t, s.tree.Close())
		want(9)
	})
}

// What has come is published soon when no other small file is awaited; a large one may still be.
func TestGroupsEndWhenNothingSmallIsAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := Open(crashfs.New(1), Options{})
		must(t, err)
		defer d.Close()
		var told atomic.Int64
		src := numbered(3)
		src["d/9999"] = file(strings.Repeat("large", 100))
		s := begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top"), Small: 100, Published: func(uint64, error) { told.Add(1) }}, src)
		s.take()
		nos := s.wanted()
		put := func(i int) error {
			data := []byte(s.src[s.paths[nos[i]]].data)
			return s.tree.Put(nos[i], data, digest(data), nil)
		}
		want := func(n int64) {
			t.Helper()
			synctest.Wait()
			if got := told.Load(); got != n {
				t.Fatalf("%d are published, want %d", got, n)
			}
		}
		must(t, put(0))
		time.Sleep(500 * time.Millisecond)
		want(0) // two are awaited
		must(t, put(1))
		if err := s.tree.Put(nos[2], []byte("other"), digest([]byte("else")), nil); err == nil {
			t.Fatal("content of another hash was taken")
		}
		time.Sleep(400 * time.Millisecond)
		want(0) // the third one still is
		must(t, put(2))
		time.Sleep(19 * time.Millisecond)
		want(0)
		time.Sleep(time.Millisecond)
		want(3)
		must(t, s.tree.Close())
	})
}

// While a group is being published another one fills, and no third.
func TestPutWaitsWhileTwoGroupsAreOnTheirWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := Open(crashfs.New(1), Options{})
		must(t, err)
		defer d.Close()
		d.trees.openFiles, d.trees.groupFiles = 3, 3
		goOn := make(chan struct{})
		s := begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top"), Published: func(uint64, error) { <-goOn }}, numbered(20))
		s.take()
		var put atomic.Int64
		var wg sync.WaitGroup
		nos := s.wanted()
		for w := range 2 {
			wg.Go(func() {
				for i := w; i < len(nos); i += 2 {
					data := []byte(s.src[s.paths[nos[i]]].data)
					if err := s.tree.Put(nos[i], data, digest(data), nil); err != nil {
						t.Error(err)
					}
					put.Add(1)
				}
			})
		}
		synctest.Wait()
		if n := put.Load(); n != 6 {
			t.Errorf("%d files were taken, want 6", n)
		}
		if names := must2(s.tree.temp.made().ReadDir(".")); len(names) > 2*3+1 {
			t.Errorf("%d names wait on the disk", len(names))
		}
		for i := range int64(3) {
			goOn <- struct{}{}
			synctest.Wait()
			if want := 6 + 3*(i/2); put.Load() != want && i < 2 {
				t.Errorf("after %d published: %d files were taken, want %d", i+1, put.Load(), want)
			}
		}
		if n := put.Load(); n != 9 {
			t.Errorf("%d files were taken, want 9", n)
		}
		close(goOn)
		wg.Wait()
		o := s.finish()
		must(t, o.err)
		wantTree(t, d.fs, "top", s.src)
	})
}

// A Put that waits ends with the tree.
func TestPutThatWaitsWhenTheTreeIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := Open(crashfs.New(1), Options{})
		must(t, err)
		defer d.Close()
		d.trees.openFiles, d.trees.groupFiles = 1, 1
		goOn := make(chan struct{})
		s := begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top"), Published: func(uint64, error) { <-goOn }}, numbered(3))
		s.take()
		errs := make(chan error, 3)
		for _, no := range s.wanted() {
			go func() {
				data := []byte(s.src[s.paths[no]].data)
				errs <- s.tree.Put(no, data, digest(data), nil)
			}()
		}
		synctest.Wait()
		closed := make(chan error)
		go func() { closed <- s.tree.Close() }()
		synctest.Wait()
		close(goOn)
		must(t, <-closed)
		refused := 0
		for range 3 {
			if err := <-errs; errors.Is(err, ErrClosed) {
				refused++
			} else if err != nil {
				t.Error(err)
			}
		}
		if refused != 1 || len(s.published) != 2 {
			t.Errorf("%d refused, told of %v", refused, s.published)
		}
	})
}

// After a failed syncfs nothing of the group is published, nor what was written into the next one before it returned: it tells
// only once. Guards: treegroup.go syncGroup, poison.
func TestFailedSyncFSPublishesNothing(t *testing.T) {
	f := crashfs.New(1)
	w := &seam{FS: f}
	d := mustOpen(t, w, Options{})
	d.trees.openFiles, d.trees.groupFiles = 2, 2
	syncing, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.hook = func(op, name, to string) (err error) {
		if op == "syncfs" {
			once.Do(func() {
				close(syncing)
				<-goOn
				err = syscall.EIO
			})
		}
		return err
	}
	s := begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, numbered(6))
	s.take()
	nos := s.wanted()
	put := func(no uint64) {
		data := []byte(s.src[s.paths[no]].data)
		must(t, s.tree.Put(no, data, digest(data), nil))
	}
	put(nos[0])
	put(nos[1])
	<-syncing
	put(nos[2]) // into the next group
	close(goOn)
	must(t, s.tree.Flush(context.Background()))
	for _, no := range nos[:3] {
		var se *SyncError
		if err := s.published[s.paths[no]]; !errors.As(err, &se) || !errors.Is(err, syscall.EIO) {
			t.Errorf("%q: %v", s.paths[no], err)
		}
		if _, err := f.Lstat("top/" + s.paths[no]); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", s.paths[no], err)
		}
	}
	// They have to be sent again, which makes the pages dirty again; another tree does that. What comes later is on its own.
	put(nos[3])
	put(nos[4])
	must(t, s.tree.Flush(context.Background()))
	for _, no := range nos[3:5] {
		if err, ok := s.published[s.paths[no]]; err != nil || !ok {
			t.Errorf("%q: %v", s.paths[no], err)
		}
	}
	if names := must2(s.tree.temp.made().ReadDir(".")); len(names) != 1 {
		t.Error("left:", names)
	}
	must(t, s.tree.Close())
}

// Without syncfs the files of a group stay open until each of them is synced; one that fails fails all.
func TestFailedSyncOfAFilePublishesNothing(t *testing.T) {
	f := crashfs.New(1)
	f.SetSyncFS(false)
	d := mustOpen(t, f, Options{})
	s := begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, numbered(10))
	s.take()
	f.SetHook(func(_ int, op, name string) error {
		if op == "sync" && strings.HasSuffix(name, "/4") {
			return syscall.ENOSPC
		}
		return nil
	})
	s.put()
	must(t, s.tree.Flush(context.Background()))
	for p, err := range s.published {
		var se *SyncError
		if !errors.As(err, &se) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%q: %v", p, err)
		}
	}
	if names := must2(f.ReadDir("top/d")); len(names) != 0 || len(s.published) != 10 {
		t.Errorf("published: %v, told of %d", names, len(s.published))
	}
	must(t, s.tree.Close())
}

// An error of the last sync is the error of Finish: nothing may be called durable.
func TestFailedSyncAtTheEnd(t *testing.T) {
	for _, syncs := range []bool{true, false} {
		f := crashfs.New(1)
		f.SetSyncFS(syncs)
		w := &seam{FS: f}
		d := mustOpen(t, w, Options{})
		s := begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, numbered(2))
		s.take()
		s.put()
		must(t, s.tree.Flush(context.Background()))
		f.SetHook(func(_ int, op, name string) error {
			if op == "syncfs" && syncs || op == "syncdir" && !syncs {
				return syscall.EIO
			}
			return nil
		})
		o := s.finish()
		var se *SyncError
		if !errors.As(o.err, &se) {
			t.Errorf("syncfs %t: %v", syncs, o.err)
		}
		f.ClearFaults()
	}
}

// With durability none there is no sync at all, and with the others there is.
func TestNoSyncsWhereNoneAreWanted(t *testing.T) {
	for _, dur := range []Durability{None, Full, Batch} {
		f := crashfs.New(1)
		d := mustOpen(t, f, Options{})
		var syncs int
		f.SetHook(func(_ int, op, name string) error {
			if strings.HasPrefix(op, "sync") {
				syncs++
			}
			return nil
		})
		mustSend(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "over", "top"), Durability: dur, Backup: mustPath(t, "old")}, sampleTree())
		if dur == None && syncs > 0 || dur != None && syncs == 0 {
			t.Errorf("durability %d: %d syncs", dur, syncs)
		}
	}
}

// Nothing has changed for long: nothing is synced. Something is young: it may not be durable.
func TestNoSyncsWhereNothingHasChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := crashfs.New(1)
		d, err := Open(noClose{f}, Options{})
		must(t, err)
		src := source{"d/f": file("f"), "d/l": symlink("x"), "e/f": file("f")}
		mustSend(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, src)
		for _, c := range []struct {
			name  string
			after time.Duration
			do    func() error
			syncs bool
		}{
			{"again at once", 0, nil, true},
			{"two hours later", 2 * time.Hour, nil, false},
			{"a file got its mode", 0, func() error { return f.Chmod("top/d/f", 0o644) }, true},
			{"a link got its time", 2 * time.Hour, func() error { return f.SetTimes("top/d/l", noon) }, true},
			{"a directory got its time", 2 * time.Hour, func() error { return f.SetTimes("top/e", noon) }, true},
			{"two hours after that", 2 * time.Hour, nil, false},
		} {
			time.Sleep(c.after)
			if c.do != nil {
				must(t, c.do())
			}
			var syncs int
			f.SetHook(func(_ int, op, name string) error {
				if strings.HasPrefix(op, "sync") {
					syncs++
				}
				return nil
			})
			o := mustSend(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, src)
			if (syncs > 0) != c.syncs || o.result.Same != 6 {
				t.Errorf("%s: %d syncs, %+v", c.name, syncs, o.result)
			}
		}
		must(t, d.Close())
	})
}
