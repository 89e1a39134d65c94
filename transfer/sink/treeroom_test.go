package sink

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"xfer/transfer/durable/crashfs"
)

// Few directories are open at a time, in a deep and in a broad tree, and everything arrives.
func TestFewDirectoriesAreOpen(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		d.trees.dirs = 4
		src := source{}
		for i := range 20 {
			p := strings.Repeat("d/", i)
			src[p+"f"] = file(fmt.Sprint("f", i))
			src[fmt.Sprintf("z/%d/f", i)] = file(fmt.Sprint("b", i))
			src[fmt.Sprintf("z/%d/g", i)] = hardlink(p + "f")
		}
		s := begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, src)
		for _, e := range s.es {
			s.verdicts[s.paths[e.No]] = s.tree.Take(e)
			if open := s.tree.cache.open; open > 4 {
				t.Fatalf("%d directories are open", open)
			}
		}
		s.put()
		o := s.finish()
		must(t, o.err)
		if s.tree.cache.open != 0 {
			t.Errorf("%d directories are left open", s.tree.cache.open)
		}
		wantTree(t, d.fs, "top", src)
	})
}

// What is awaited is bounded; room comes when something has come.
func TestRoom(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	d.trees.wanted = 10
	src := source{}
	for i := range 30 {
		src[fmt.Sprintf("d%02d/f", i)] = file("x")
	}
	s := begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, src)
	waited := 0
	var open []uint64
	for _, e := range s.es {
		for s.tree.Room() <= 0 {
			waited++
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			if err := s.tree.Wait(ctx); !errors.Is(err, context.Canceled) {
				t.Fatal("there is room:", err)
			}
			got := make(chan error)
			go func() { got <- s.tree.Wait(context.Background()) }()
			s.tree.Drop(open[0])
			open = open[1:]
			must(t, <-got)
		}
		v := s.tree.Take(e)
		if v.Code == VerdictFailed {
			t.Fatal(v.Err)
		}
		if v.Code == VerdictNew {
			open = append(open, e.No)
		}
		if n := s.tree.Pending(); n > 10 || n != len(open) {
			t.Fatalf("%d are pending, %d were wanted", n, len(open))
		}
	}
	if waited == 0 {
		t.Error("there was always room")
	}
	must(t, s.tree.Close())
	// Who does not wait is told, and all after it.
	s = begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top2")}, src)
	s.take()
	if v := s.verdicts["d29/f"]; v.Code != VerdictFailed || !errors.Is(v.Err, ErrBusy) {
		t.Error(v)
	}
	must(t, s.tree.Close())
}
