package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// What delta tells.
const (
	changedPayload  = "1 % changed in place: payload / size"
	changedTime     = "1 % changed in place: time"
	insertedPayload = "1 byte in front: payload / size"
	insertedTime    = "1 byte in front: time"
)

const deltaExtent = 4 * kib

// delta sends a file of which the receiver has an older version: with 1 % of its bytes changed in place, as extents of 4
// KiB at random places, and with one byte inserted in front. Payload is what each tool says that it sent; rsync
// counts its framing and sums too.
func (b *bench) delta(ctx context.Context) error {
	size := b.bigSize()
	if err := b.fits(5 * size); err != nil {
		return err
	}
	dir, err := b.fixture("delta")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	v, err := makeVersions(dir, size)
	if err != nil {
		return err
	}
	res := &result{Workload: "delta", FS: tmpfs, Bytes: size, Files: 1, Rounds: 1}
	b.report.Results = append(b.report.Results, res)
	var errs []error
	for _, c := range b.field(rsyncDaemon, rsyncSSH) {
		for _, step := range []struct{ to, payload, time string }{
			{v.changed, changedPayload, changedTime}, {v.inserted, insertedPayload, insertedTime},
		} {
			sent, wall, err := b.update(ctx, c, v.base, step.to)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				if c.ours {
					err = notBuilt(err)
				}
				text, harmless := reason(err)
				if res.na(c.name, step.payload, text); !harmless {
					errs = append(errs, fmt.Errorf("%s: %w", c.name, err))
				}
				continue
			}
			res.value(c.name, step.payload, "%", float64(sent)/float64(size))
			res.value(c.name, step.time, "s", wall)
			b.say("  %s, %s: %.2f %%, %.2f s", c.name, step.payload, 100*float64(sent)/float64(size), wall)
		}
	}
	return errors.Join(errs...)
}

// versions are names of the same file in three states.
type versions struct{ base, changed, inserted string }

func makeVersions(dir string, size int64) (v versions, err error) {
	for _, x := range []struct {
		name *string
		sub  string
	}{{&v.base, "base"}, {&v.changed, "changed"}, {&v.inserted, "inserted"}} {
		if err := os.Mkdir(filepath.Join(dir, x.sub), 0o755); err != nil {
			return v, err
		}
		*x.name = filepath.Join(dir, x.sub, "big.bin")
	}
	if err := randomFile(v.base, size, 1); err != nil {
		return v, err
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(v.base, old, old); err != nil {
		return v, err
	}
	if err := writeAfter(v.changed, nil, v.base); err != nil {
		return v, err
	}
	if err := changeExtents(v.changed, size); err != nil {
		return v, err
	}
	return v, writeAfter(v.inserted, []byte{'+'}, v.base)
}

// writeAfter makes a file of head and all of another file.
func writeAfter(name string, head []byte, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = out.Write(head)
	if err == nil {
		_, err = io.Copy(out, in)
	}
	return errors.Join(err, out.Close())
}

// changeExtents changes 1 % of a file, at places that are no multiple of anything.
func changeExtents(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	r := random(3)
	extent := make([]byte, min(deltaExtent, size))
	for range max(1, size/100/deltaExtent) {
		_, _ = r.Read(extent)
		if _, err = f.WriteAt(extent, int64(r.Uint64()%uint64(size-int64(len(extent))+1))); err != nil {
			break
		}
	}
	return errors.Join(err, f.Close())
}

// update sends base, and then to, which has the same name, and returns what that took.
func (b *bench) update(ctx context.Context, c *contender, base, to string) (sent int64, wall float64, err error) {
	l, err := b.open(ctx, c, tmpfs)
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	dir, err := l.dir()
	if err != nil {
		return 0, 0, err
	}
	if _, err := l.send(ctx, task{src: base, dir: dir}); err != nil {
		return 0, 0, err
	}
	s, err := l.send(ctx, task{src: to, dir: dir, tell: true})
	if err != nil {
		return 0, 0, err
	}
	if c.ours {
		var told xferTold
		if told, err = parseTold(s.stdout); err == nil {
			sent = *told.BytesSent
		}
	} else {
		sent, err = parseRsync(s.stdout)
	}
	return sent, s.Wall, errors.Join(err, b.arrived(to, dir, c))
}
