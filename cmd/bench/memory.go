package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
)

// What memory tells.
const (
	bigHere   = "big file: peak of the client"
	bigThere  = "big file: peak of the daemon"
	manyHere  = "many entries: peak of the client"
	manyThere = "many entries: peak of the daemon"
	manyTime  = "many entries: time"
)

// memory is the peak of the resident set of both sides. Each transfer has a daemon of its own, which has done nothing
// before.
func (b *bench) memory(ctx context.Context) error {
	entries := b.Entries
	if entries == 0 {
		entries = 1_000_000
	}
	size := b.bigSize()
	if err := b.fits(max(2*size, 4*kib*int64(entries))); err != nil {
		return err
	}
	dir, err := b.fixture("memory")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	res := &result{Workload: "memory", FS: tmpfs, Bytes: size, Files: int64(entries), Rounds: 1}
	b.report.Results = append(b.report.Results, res)

	big := filepath.Join(dir, "big.bin")
	if err := randomFile(big, size, 1); err != nil {
		return err
	}
	err = b.each(ctx, res, bigHere, func(l *lane, _ *xferReceiver) error {
		s, err := b.peak(ctx, l, big)
		if err == nil {
			res.value(l.c.name, bigHere, "MiB", float64(s.PeakHere))
			res.value(l.c.name, bigThere, "MiB", float64(s.PeakThere))
		}
		return err
	})
	if rerr := os.Remove(big); err != nil || rerr != nil {
		return err
	}
	many := filepath.Join(dir, "many")
	if err := emptyFiles(many, entries); err != nil {
		return err
	}
	return b.each(ctx, res, manyHere, func(l *lane, _ *xferReceiver) error {
		s, err := b.peak(ctx, l, many)
		if err == nil {
			res.value(l.c.name, manyHere, "MiB", float64(s.PeakHere))
			res.value(l.c.name, manyThere, "MiB", float64(s.PeakThere))
			res.value(l.c.name, manyTime, "s", s.Wall)
		}
		return err
	})
}

func (b *bench) peak(ctx context.Context, l *lane, src string) (sample, error) {
	dir, err := l.dir()
	if err != nil {
		return sample{}, err
	}
	s, err := l.send(ctx, task{src: src, dir: dir})
	if err != nil {
		return s, err
	}
	if s.PeakHere == 0 || s.PeakThere == 0 {
		return s, missingf("peaks of memory are known on Linux")
	}
	b.say("  %s %s: here %s, there %s, %.1f s", l.c.name, filepath.Base(src), sizeText(s.PeakHere), sizeText(s.PeakThere), s.Wall)
	return s, b.arrived(src, dir, l.c)
}

// emptyFiles makes a directory of n empty files.
func emptyFiles(dir string, n int) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for i := range n {
		f, err := os.Create(filepath.Join(dir, "entry"+strconv.Itoa(i)))
		if err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}
