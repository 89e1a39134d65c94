package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
)

const wireBytes = "bytes on the wire"

// unchanged sends the tree again to where it is. The time is without, the bytes are with a relay that counts.
func (b *bench) unchanged(ctx context.Context) error {
	dir, err := b.fixture("unchanged")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	src, err := b.sourceTree(ctx, dir)
	if err != nil {
		return err
	}
	size, files, err := weigh(src)
	if err != nil {
		return err
	}
	res := &result{Workload: "unchanged", FS: tmpfs, Bytes: size, Files: files}
	field := b.field(rsyncDaemon, rsyncTLS, rsyncSSH)
	err = b.race(ctx, race{res: res, field: field, src: src, rounds: b.Pairs, again: true})
	for _, c := range field {
		n, cerr := b.countAgain(ctx, c, src)
		if cerr == nil {
			res.value(c.name, wireBytes, "MB", float64(n))
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if c.ours {
			cerr = notBuilt(cerr)
		}
		text, harmless := reason(cerr)
		if res.na(c.name, wireBytes, text); !harmless {
			err = errors.Join(err, fmt.Errorf("%s: %w", c.name, cerr))
		}
	}
	return err
}

// countAgain sends src, and again through a relay, and returns what passed there, in both directions.
func (b *bench) countAgain(ctx context.Context, c *contender, src string) (n int64, err error) {
	l, err := b.open(ctx, c, tmpfs)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	dir, err := l.dir()
	if err != nil {
		return 0, err
	}
	if _, err := l.send(ctx, task{src: src, dir: dir}); err != nil {
		return 0, err
	}
	n, err = l.count(ctx, task{src: src, dir: dir})
	return n, errors.Join(err, b.arrived(src, dir, c))
}

// count does t through a relay and returns what passed there.
func (l *lane) count(ctx context.Context, t task) (int64, error) {
	var port string
	switch recv := l.recv.(type) {
	case *xferReceiver:
		port = recv.port
	case *overSSH:
		port = recv.port
	case *rsyncReceiver:
		if port = recv.rsyncService.port; recv.tls != nil {
			var err error
			if _, port, err = net.SplitHostPort(recv.addr); err != nil {
				return 0, err
			}
		}
	default:
		return 0, missingf("what %s sends is not counted", l.c.name)
	}
	r, err := newRelay(port)
	if err != nil {
		return 0, err
	}
	defer r.close()
	t.port = r.port()
	if x, ok := l.recv.(*xferReceiver); ok {
		if err := x.relay(ctx, t.port); err != nil {
			return 0, err
		}
	}
	before := r.bytes.Load() // enrolment
	_, err = l.send(ctx, t)
	return r.bytes.Load() - before, err
}
