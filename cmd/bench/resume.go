package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// What resume tells.
const (
	sentAgain   = "sent again / missing part, client killed"
	secondTime  = "time of the second run / the whole, client killed"
	sentAgain2  = "sent again / missing part, both killed"
	secondTime2 = "time of the second run / the whole, both killed"
	wholeTime   = "time of the whole"
	arrivedPart = "part that had arrived when it was killed"
)

// resume kills a transfer half-way, and runs the same command again: once with the client killed, once with the daemon
// killed as well. What had arrived is what the receiver had written by then, told by its content (the file is
// random): what the second run sends beyond the rest was sent again.
func (b *bench) resume(ctx context.Context) error {
	size := b.bigSize()
	if err := b.fits(3 * size); err != nil {
		return err
	}
	dir, err := b.fixture("resume")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	src := filepath.Join(dir, "big.bin")
	if err := randomFile(src, size, 1); err != nil {
		return err
	}
	res := &result{Workload: "resume", FS: tmpfs, Bytes: size, Files: 1, Rounds: b.Pairs}
	b.report.Results = append(b.report.Results, res)
	return b.each(ctx, res, sentAgain, func(l *lane, x *xferReceiver) error {
		return b.resumeRounds(ctx, l, x, res, src, size)
	})
}

// each runs f for each of ours, with its receiver up. Why it cannot is the value of what.
func (b *bench) each(ctx context.Context, res *result, what string, f func(*lane, *xferReceiver) error) error {
	var errs []error
	for _, c := range b.ours() {
		l, err := b.open(ctx, c, res.FS)
		if err == nil {
			err = errors.Join(notBuilt(f(l, l.recv.(*xferReceiver))), l.close())
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			continue
		}
		text, harmless := reason(err)
		res.na(c.name, what, text)
		b.say("  %s out: %s", c.name, text)
		if !harmless {
			errs = append(errs, fmt.Errorf("%s: %w", c.name, err))
		}
	}
	return errors.Join(errs...)
}

func (b *bench) resumeRounds(ctx context.Context, l *lane, x *xferReceiver, res *result, src string, size int64) error {
	var whole, parts []float64
	again, ratio := map[bool][]float64{}, map[bool][]float64{}
	for round := range b.Pairs {
		dir, err := l.dir()
		if err != nil {
			return err
		}
		s, err := l.send(ctx, task{src: src, dir: dir})
		if err != nil {
			return err
		}
		if err := errors.Join(b.arrived(src, dir, l.c), os.RemoveAll(dir)); err != nil {
			return err
		}
		whole = append(whole, s.Wall)
		for _, killBoth := range []bool{false, true} {
			r, err := b.resumed(ctx, l, x, src, size, killBoth)
			if err != nil {
				return err
			}
			missing := float64(size - r.arrived)
			again[killBoth] = append(again[killBoth], (float64(r.sent)-missing)/missing)
			ratio[killBoth] = append(ratio[killBoth], r.wall/s.Wall)
			parts = append(parts, float64(r.arrived)/float64(size))
			who := "client"
			if killBoth {
				who = "both"
			}
			b.say("  %s round %d of %d, %s killed: %.1f %% had arrived, %d bytes sent again, second run %.2f of the whole",
				l.c.name, round+1, b.Pairs, who, 100*float64(r.arrived)/float64(size), r.sent-(size-r.arrived), r.wall/s.Wall)
		}
	}
	res.value(l.c.name, wholeTime, "s", whole...)
	res.value(l.c.name, arrivedPart, "%", parts...)
	res.value(l.c.name, sentAgain, "%", again[false]...)
	res.value(l.c.name, secondTime, "x", ratio[false]...)
	res.value(l.c.name, sentAgain2, "%", again[true]...)
	res.value(l.c.name, secondTime2, "x", ratio[true]...)
	return nil
}

// resumedRun is what came of a kill and a second run.
type resumedRun struct {
	arrived int64 // at the receiver before the second run
	sent    int64 // payload of the second run
	wall    float64
}

// resumed kills a run at its half and runs it again.
func (b *bench) resumed(ctx context.Context, l *lane, x *xferReceiver, src string, size int64, killBoth bool) (r resumedRun, err error) {
	dir, err := l.dir()
	if err != nil {
		return r, err
	}
	run, err := b.start(l.recv.command(ctx, task{src: src, dir: dir}))
	if err != nil {
		return r, err
	}
	kerr := readHalf(ctx, run.cmds[0].Process.Pid, size)
	run.kill()
	if killBoth {
		x.there.kill()
	}
	_, werr := run.wait()
	if kerr != nil {
		return r, kerr
	}
	if werr == nil || exitCode(werr) >= 0 {
		return r, fmt.Errorf("the run that was to be killed ended by itself: %v", werr)
	}
	if r.arrived, err = b.stored(ctx, x.site.root, src, size); err != nil {
		return r, err
	}
	if killBoth {
		if err := x.listen(ctx, x.port); err != nil {
			return r, err
		}
	}
	s, err := l.send(ctx, task{src: src, dir: dir, tell: true})
	if err != nil {
		return r, err
	}
	told, err := parseTold(s.stdout)
	if err != nil {
		return r, err
	}
	r.sent, r.wall = *told.BytesSent, s.Wall
	return r, errors.Join(b.arrived(src, dir, l.c), os.RemoveAll(dir))
}

// readHalf returns when a sender has read half of its source.
func readHalf(ctx context.Context, pid int, size int64) error {
	var err error
	there := poll(ctx, time.Millisecond, runLimit, func() bool {
		var n int64
		n, err = hasRead(pid)
		return err != nil || n >= size/2
	})
	if err == nil && !there {
		err = errors.New("it never came to the half")
	}
	return err
}

// stored returns how much of src the greatest file beneath root has, when that does not change any more.
func (b *bench) stored(ctx context.Context, root, src string, size int64) (int64, error) {
	var last int64
	var err error
	still := poll(ctx, 200*time.Millisecond, time.Minute, func() bool {
		var now int64
		if now, err = storedNow(root, src, size); err != nil {
			return true
		}
		same := now == last && now > 0
		last = now
		return same
	})
	if err == nil && !still {
		err = errors.New("what has arrived goes on changing after the kill, or is nothing")
	}
	return last, err
}

func storedNow(root, src string, size int64) (int64, error) {
	name, most := "", int64(-1)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		if info, err := d.Info(); err == nil && info.Size() > most {
			name, most = path, info.Size()
		}
		return nil
	})
	if err != nil || name == "" {
		return 0, err
	}
	return equalBlocks(name, src)
}

// equalBlocks counts the bytes of the 4 KiB blocks in which both files are the same.
func equalBlocks(x, y string) (int64, error) {
	f, err := os.Open(x)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	g, err := os.Open(y)
	if err != nil {
		return 0, err
	}
	defer g.Close()
	var sum int64
	a, c := make([]byte, 256*kib), make([]byte, 256*kib)
	for {
		n, err := io.ReadFull(f, a)
		m, err2 := io.ReadFull(g, c)
		for off := 0; off < min(n, m); off += 4 * kib {
			to := min(off+4*kib, n, m)
			if bytes.Equal(a[off:to], c[off:to]) {
				sum += int64(to - off)
			}
		}
		if err != nil || err2 != nil {
			if err != nil && !end(err) || err2 != nil && !end(err2) {
				return 0, errors.Join(err, err2)
			}
			return sum, nil
		}
	}
}
