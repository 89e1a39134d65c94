package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// race is a workload in which contenders do the same, interleaved.
type race struct {
	res    *result
	field  []*contender
	src    string
	rounds int
	// again sends into the same directory each round, where it all is already.
	again bool
}

// entrant is a contender in a race.
type entrant struct {
	c    *contender
	row  *row
	lane *lane
	dir  string // with again
}

// run runs the race: in each round every contender once, the order turning round from one to the next. A contender that
// fails drops out with its reason. The error is of content that is not what was sent, or of a failure that is
// nothing missing; it comes when all is run.
func (b *bench) race(ctx context.Context, r race) (err error) {
	var in []*entrant
	for _, c := range r.field {
		e := &entrant{c: c, row: &row{Name: c.name}}
		r.res.Rows = append(r.res.Rows, e.row)
		in = append(in, e)
	}
	b.report.Results = append(b.report.Results, r.res)
	r.res.Rounds = r.rounds
	defer func() {
		for _, e := range in {
			if cerr := e.leave(); cerr != nil {
				err = errors.Join(err, cerr)
			}
		}
		r.res.sum()
		b.warnOthers(r.res)
	}()
	var failures []error
	drop := func(e *entrant, err error) {
		if e.c.ours {
			err = notBuilt(err)
		}
		text, harmless := reason(err)
		e.row.NA = text
		b.say("  %-14s out: %s", e.c.name, text)
		if !harmless {
			failures = append(failures, fmt.Errorf("%s: %w", e.c.name, err))
		}
	}
	for _, e := range in {
		err := b.warm(ctx, e.c)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			drop(e, err)
		}
	}
	for round := range r.rounds {
		order := slices.Clone(in)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		var told []string
		for _, e := range order {
			if e.row.NA != "" {
				continue
			}
			s, err := b.turn(ctx, r, e, round)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				drop(e, err)
				continue
			}
			e.row.Samples = append(e.row.Samples, s)
			told = append(told, fmt.Sprintf("%s %.3g s", e.c.name, s.Wall))
		}
		b.say("  %s %s round %d of %d: %s", r.res.Workload, r.res.FS, round+1, r.rounds, strings.Join(told, ", "))
	}
	return errors.Join(failures...)
}

// turn is one run of one contender.
func (b *bench) turn(ctx context.Context, r race, e *entrant, round int) (s sample, err error) {
	if e.lane == nil {
		if e.lane, err = b.open(ctx, e.c, r.res.FS); err != nil {
			return s, err
		}
		if r.again {
			if e.dir, err = e.lane.dir(); err != nil {
				return s, err
			}
			if _, err := e.lane.send(ctx, task{src: r.src, dir: e.dir}); err != nil {
				return s, err
			}
		}
	}
	dir := e.dir
	if !r.again {
		if dir, err = e.lane.dir(); err != nil {
			return s, err
		}
	}
	if s, err = e.lane.send(ctx, task{src: r.src, dir: dir}); err != nil {
		return s, err
	}
	s.Round = round
	if err := b.arrived(r.src, dir, e.c); err != nil {
		return s, err
	}
	switch {
	case r.res.FS == ext4: // a new one for the next run
		return s, e.leave()
	case !r.again:
		return s, os.RemoveAll(dir)
	}
	return s, nil
}

// warm has a contender send one byte, in memory: so its programs are there when it is measured, and it is known whether it
// can be used.
func (b *bench) warm(ctx context.Context, c *contender) (err error) {
	l, err := b.open(ctx, c, tmpfs)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	src, err := b.oneByte()
	if err != nil {
		return err
	}
	dir, err := l.dir()
	if err != nil {
		return err
	}
	if _, err := l.send(ctx, task{src: src, dir: dir}); err != nil {
		return err
	}
	return b.arrived(src, dir, c)
}

// leave ends the lane, if there is one.
func (e *entrant) leave() error {
	if e.lane == nil {
		return nil
	}
	l := e.lane
	e.lane = nil
	return l.close()
}

// arrived compares what was sent with what is in dir. That it differs is what nobody may overlook.
func (b *bench) arrived(src, dir string, c *contender) error {
	cmp := &comparer{meta: !c.plain, follow: c.follows}
	err := cmp.same(src, filepath.Join(dir, filepath.Base(src)))
	if err == nil {
		err = alone(dir)
	}
	if err != nil {
		err = fmt.Errorf("WRONG CONTENT ARRIVED: %w", err)
		b.say("!!! %s: %v", c.name, err)
	}
	return err
}

// warnOthers says so when the machine was not ours.
func (b *bench) warnOthers(r *result) {
	var shares []float64
	for _, x := range r.Rows {
		if x.Others != nil {
			shares = append(shares, *x.Others)
		}
	}
	if m := median(shares); m > 0.1 {
		b.note("%s on %s: others used %.0f %% of the CPU time meanwhile. Times are not worth much then; ratios of CPU time are worth more.", r.Workload, r.FS, 100*m)
	}
}
