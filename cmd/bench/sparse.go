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

const (
	islands      = 3
	islandSize   = mib
	sparseLimit  = 3 * time.Minute // longer is no answer any more
	sparseStored = gib             // more stored than this, and the holes were filled
)

// sparse is a great file that is nearly all hole, with islands at its beginning, in its middle and at its end.
func (b *bench) sparse(ctx context.Context) error {
	size := int64(tib)
	if len(b.chosen) == 1 {
		size = b.sizeOr(size)
	}
	if size < 2*islands*islandSize {
		return fmt.Errorf("%s has no room for %d islands", sizeText(size), islands)
	}
	dir, err := b.fixture("sparse")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	src := filepath.Join(dir, "sparse.img")
	if err := sparseFile(src, size); err != nil {
		return err
	}
	res := &result{Workload: "sparse", FS: tmpfs, Bytes: size, Files: 1, Rounds: 1}
	b.report.Results = append(b.report.Results, res)
	return b.each(ctx, res, wholeTime, func(l *lane, _ *xferReceiver) error {
		wall, err := b.sendSparse(ctx, l, src, func(ctx context.Context, t task) (float64, error) {
			s, err := l.send(ctx, t)
			if err == nil {
				b.say("  %s: here %s, there %s, %.2f s", l.c.name, sizeText(s.PeakHere), sizeText(s.PeakThere), s.Wall)
			}
			return s.Wall, err
		})
		if err != nil {
			return err
		}
		res.value(l.c.name, wholeTime, "s", wall)
		wire, err := b.sendSparse(ctx, l, src, func(ctx context.Context, t task) (float64, error) {
			n, err := l.count(ctx, t)
			return float64(n), err
		})
		if err == nil {
			res.value(l.c.name, wireBytes, "MiB", wire)
		}
		return err
	})
}

func sparseFile(name string, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	r, island := random(4), make([]byte, islandSize)
	err = f.Truncate(size)
	for i := int64(0); i < islands && err == nil; i++ {
		_, _ = r.Read(island)
		_, err = f.WriteAt(island, i*(size-islandSize)/(islands-1))
	}
	return errors.Join(err, f.Close())
}

// sendSparse does one transfer under guard. That it does not end, or fills the holes, is what this version has not got.
func (b *bench) sendSparse(ctx context.Context, l *lane, src string, send func(context.Context, task) (float64, error)) (float64, error) {
	dir, err := l.dir()
	if err != nil {
		return 0, err
	}
	guarded, release := guard(ctx, l.site.root)
	x, err := send(guarded, task{src: src, dir: dir})
	if why := release(); why != nil {
		return 0, why
	}
	if err != nil {
		return 0, missingf("a sparse file does not arrive: %v", err)
	}
	if err := sameSparse(src, filepath.Join(dir, filepath.Base(src))); err != nil {
		return 0, fmt.Errorf("WRONG CONTENT ARRIVED: %w", err)
	}
	return x, os.RemoveAll(dir)
}

// guard returns a context that ends when too much is stored beneath root, or it takes too long. release tells which it
// was, if any, and has to be called.
func guard(ctx context.Context, root string) (guarded context.Context, release func() error) {
	guarded, stop := context.WithCancelCause(ctx)
	released, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		over := poll(released, 100*time.Millisecond, sparseLimit, func() bool { return storedBytes(root) > sparseStored })
		switch {
		case over:
			stop(missingf("the holes are filled: more than %s were stored", sizeText(sparseStored)))
		case released.Err() == nil:
			stop(missingf("not there after %v", sparseLimit))
		}
	}()
	return guarded, func() error {
		cancel()
		<-done
		why := context.Cause(guarded)
		stop(nil)
		return why
	}
}

// storedBytes is what the files beneath root take on disk.
func storedBytes(root string) (sum int64) {
	_ = filepath.WalkDir(root, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			sum += allocated(info)
		}
		return nil
	})
	return sum
}

// sameSparse compares all that is data in one of the two.
func sameSparse(want, got string) error {
	f, err := os.Open(want)
	if err != nil {
		return err
	}
	defer f.Close()
	g, err := os.Open(got)
	if err != nil {
		return err
	}
	defer g.Close()
	a, err := f.Stat()
	if err != nil {
		return err
	}
	c, err := g.Stat()
	if err != nil {
		return err
	}
	if a.Size() != c.Size() {
		return fmt.Errorf("%s has %d bytes, not %d", got, c.Size(), a.Size())
	}
	return errors.Join(sameData(f, f, g), sameData(g, f, g))
}

// sameData compares a and b where of, one of them, has data.
func sameData(of, a, b *os.File) error {
	x, y := make([]byte, 256*kib), make([]byte, 256*kib)
	for off := int64(0); ; {
		from, to, err := nextData(of, off)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		for at := from; at < to; at += int64(len(x)) {
			n := min(int64(len(x)), to-at)
			_, err := a.ReadAt(x[:n], at)
			_, err2 := b.ReadAt(y[:n], at)
			if err = errors.Join(err, err2); err != nil {
				return err
			}
			if !bytes.Equal(x[:n], y[:n]) {
				return fmt.Errorf("%s differs within %d bytes from %d", b.Name(), n, at)
			}
		}
		off = to
	}
}
