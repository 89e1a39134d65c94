package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// What share tells.
const (
	twoEnds     = "two clients at once: time of the slower / the faster"
	smallAlone  = "small file: time alone"
	smallUnder  = "small file: time under a large transfer"
	smallLoaded = "small file: time under a foreign load (bare TLS copies)"
	smallRatio  = "small file: under a large transfer / under a foreign load"
	smallFirst  = "mixed tree: share of small files there before the large one"
)

const (
	shareSmall = 64 * kib // the small file
	mixedFiles = 2000     // in the mixed tree
)

// share is how what goes on at the same time fares: two clients with half of --size each, a small file of one client
// while another sends a large one, compared with the same while foreign copies load the machine, and a tree of many
// small files and a large one that comes first in the order of names.
func (b *bench) share(ctx context.Context) error {
	size := b.bigSize()
	if err := b.fits(5 * size); err != nil {
		return err
	}
	dir, err := b.fixture("share")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	src, err := makeShared(dir, size)
	if err != nil {
		return err
	}
	res := &result{Workload: "share", FS: tmpfs, Bytes: size, Files: 1, Rounds: b.Pairs}
	b.report.Results = append(b.report.Results, res)
	return b.each(ctx, res, twoEnds, func(l *lane, x *xferReceiver) error {
		other, err := x.enrol(ctx, x.port)
		if err != nil {
			return err
		}
		s := &sharing{b, l, x, other, src, res}
		return errors.Join(notBuilt(s.two(ctx)), notBuilt(s.smallFile(ctx)), notBuilt(s.mixed(ctx)))
	})
}

// shared are sources.
type shared struct{ big, half1, half2, small, mixed string }

func makeShared(dir string, size int64) (s shared, err error) {
	in := func(name string) string { return filepath.Join(dir, name) }
	s = shared{in("big.bin"), in("half1.bin"), in("half2.bin"), in("small.bin"), in("mixed")}
	if err := smallFiles(filepath.Join(s.mixed, "small"), mixedFiles, 4*kib); err != nil {
		return s, err
	}
	return s, errors.Join(
		randomFile(s.big, size, 1), randomFile(s.half1, size/2, 5), randomFile(s.half2, size/2, 6),
		randomFile(s.small, shareSmall, 7), randomFile(filepath.Join(s.mixed, "large.bin"), size/2, 8))
}

// sharing is the workload for one of our contenders.
type sharing struct {
	b     *bench
	l     *lane
	x     *xferReceiver
	other string // the home of a second client
	src   shared
	res   *result
}

// as is a command of one of the two clients.
func (s *sharing) as(ctx context.Context, home, src, dir string) pipeline {
	return pipeline{s.x.send(ctx, home, s.x.port, task{src: src, dir: dir})}
}

// two sends from two clients at once.
func (s *sharing) two(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx) // ends what runs when we return early
	defer cancel()
	var ratios []float64
	for range s.b.Pairs {
		dirs := [2]string{}
		var runs [2]*running
		start := time.Now()
		for i, who := range []struct{ home, src string }{{s.x.here, s.src.half1}, {s.other, s.src.half2}} {
			var err error
			if dirs[i], err = s.l.dir(); err != nil {
				return err
			}
			if runs[i], err = s.b.start(s.as(ctx, who.home, who.src, dirs[i])); err != nil {
				return err
			}
		}
		type end struct {
			wall float64
			err  error
		}
		ends := [2]chan end{make(chan end, 1), make(chan end, 1)}
		for i, r := range runs {
			go func() {
				_, err := r.wait()
				ends[i] <- end{time.Since(start).Seconds(), err}
			}()
		}
		a, c := <-ends[0], <-ends[1]
		if err := errors.Join(a.err, c.err); err != nil {
			return err
		}
		ratios = append(ratios, max(a.wall, c.wall)/min(a.wall, c.wall))
		if err := errors.Join(s.b.arrived(s.src.half1, dirs[0], s.l.c), s.b.arrived(s.src.half2, dirs[1], s.l.c),
			os.RemoveAll(dirs[0]), os.RemoveAll(dirs[1])); err != nil {
			return err
		}
	}
	s.res.value(s.l.c.name, twoEnds, "x", ratios...)
	return nil
}

// smallFile sends a small file alone, while another client's large one goes on, and while a foreign load does.
func (s *sharing) smallFile(ctx context.Context) error {
	foreign, err := s.b.open(ctx, s.b.peer(bareTLS), tmpfs)
	if err != nil {
		return err
	}
	defer foreign.close()
	var alone, under, loaded, ratios []float64
	for round := range s.b.Pairs {
		a, err := s.timeSmall(ctx)
		if err != nil {
			return err
		}
		dir, err := s.l.dir()
		if err != nil {
			return err
		}
		foreignDir, err := foreign.dir()
		if err != nil {
			return err
		}
		loads := []pipeline{s.as(ctx, s.other, s.src.big, dir), foreign.recv.command(ctx, task{src: s.src.big, dir: foreignDir})}
		var took [2]float64
		for i := range loads {
			if round%2 == 1 {
				i = 1 - i
			}
			if took[i], err = s.beside(ctx, loads[i]); err != nil {
				return err
			}
		}
		if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(foreignDir)); err != nil {
			return err
		}
		alone, under, loaded = append(alone, a), append(under, took[0]), append(loaded, took[1])
		ratios = append(ratios, took[0]/took[1])
	}
	s.res.value(s.l.c.name, smallAlone, "ms", alone...)
	s.res.value(s.l.c.name, smallUnder, "ms", under...)
	s.res.value(s.l.c.name, smallLoaded, "ms", loaded...)
	s.res.value(s.l.c.name, smallRatio, "x", ratios...)
	return nil
}

// timeSmall sends the small file once.
func (s *sharing) timeSmall(ctx context.Context) (float64, error) {
	dir, err := s.l.dir()
	if err != nil {
		return 0, err
	}
	start := time.Now()
	_, err = s.b.run(s.as(ctx, s.x.here, s.src.small, dir))
	wall := time.Since(start).Seconds()
	if err != nil {
		return 0, err
	}
	return wall, errors.Join(s.b.arrived(s.src.small, dir, s.l.c), os.RemoveAll(dir))
}

// beside is timeSmall while a load runs, which must be under way before and not over after it.
func (s *sharing) beside(ctx context.Context, load pipeline) (float64, error) {
	run, err := s.b.start(load)
	if err != nil {
		return 0, err
	}
	loadEnd := make(chan error, 1)
	pid := run.cmds[0].Process.Pid
	under := poll(ctx, time.Millisecond, runLimit, func() bool {
		var n int64
		n, err = hasRead(pid)
		return err != nil || n > s.res.Bytes/20
	})
	go func() {
		_, werr := run.wait()
		loadEnd <- werr
	}()
	if err == nil && !under {
		err = errors.New("the load does not start")
	}
	var wall float64
	if err == nil {
		wall, err = s.timeSmall(ctx)
	}
	select {
	case werr := <-loadEnd:
		if err == nil && werr == nil {
			werr = missingf("the large transfer was over before the small one: give a larger --size")
		}
		return wall, errors.Join(err, werr)
	default:
		return wall, errors.Join(err, <-loadEnd)
	}
}

// mixed sends a tree and looks which of its files got their names before the large one did.
func (s *sharing) mixed(ctx context.Context) error {
	var shares []float64
	for range s.b.Pairs {
		dir, err := s.l.dir()
		if err != nil {
			return err
		}
		if _, err := s.b.run(s.as(ctx, s.x.here, s.src.mixed, dir)); err != nil {
			return err
		}
		if err := s.b.arrived(s.src.mixed, dir, s.l.c); err != nil {
			return err
		}
		share, err := sharedBefore(filepath.Join(dir, filepath.Base(s.src.mixed)))
		if err != nil {
			return err
		}
		shares = append(shares, share)
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	s.res.value(s.l.c.name, smallFirst, "%", shares...)
	return nil
}

// sharedBefore returns the share of the small files that were renamed last no later than the large one.
func sharedBefore(tree string) (float64, error) {
	info, err := os.Lstat(filepath.Join(tree, "large.bin"))
	if err != nil {
		return 0, err
	}
	large, err := changed(info)
	if err != nil {
		return 0, err
	}
	before, all := 0, 0
	err = filepath.WalkDir(filepath.Join(tree, "small"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		at, err := changed(info)
		if all++; err == nil && !at.After(large) {
			before++
		}
		return err
	})
	if err == nil && all == 0 {
		err = fmt.Errorf("no small file in %s", tree)
	}
	return float64(before) / float64(all), err
}
