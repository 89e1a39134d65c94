package transfer

import (
	"context"

	"xfer/crypto"
	"xfer/transfer/sink"
	"xfer/transfer/wire"
)

// plan tells what would be done with one entry.
func (s *sender) plan(ctx context.Context, cs *clientSession, t *sendTask) error {
	if t.pipe != nil {
		s.m.event(Event{Kind: EventPlan, Action: "new", Path: t.shown})
		return nil
	}
	there, err := cs.stat(ctx, Address{Root: s.root, Path: t.dst}, false)
	if err != nil && KindOf(err) != KindNotFound {
		return err
	}
	action, size := "new", int64(0)
	if t.kind == sink.File {
		size = t.info.Size()
	}
	if err == nil {
		action, err = s.planFor(ctx, cs, t, there)
		if err != nil {
			return err
		}
		if s.c.Options.NoClobber && t.kind != sink.Directory {
			action = "skip"
		}
	}
	if alone, err := s.leavesAlone(ctx, cs, t); err != nil {
		return err
	} else if alone {
		action = "skip"
	}
	s.m.event(Event{Kind: EventPlan, Action: action, Path: t.shown, Size: size})
	return nil
}

func (s *sender) planFor(ctx context.Context, cs *clientSession, t *sendTask, there stated) (string, error) {
	e := there.entry
	mode := e.Mode&0o777 == modeBits(t.info.Mode())&0o777
	switch t.kind {
	case sink.Directory:
		if e.Kind != wire.Kind(sink.Directory) {
			return "update", nil
		}
		if !mode {
			return "meta", nil
		}
		return "skip", nil
	case sink.Link:
		if e.Kind == wire.Kind(sink.Link) && e.Target == t.link {
			return "skip", nil
		}
		return "update", nil
	}
	if e.Kind != wire.Kind(sink.File) || int64(e.Size) != t.info.Size() {
		return "update", nil
	}
	same := e.MTimeNS == unixNano(t.info.ModTime())
	if s.c.Options.Checksum {
		equal, err := s.equal(ctx, cs, t)
		if err != nil || !equal {
			return "update", err
		}
		if !same || !mode {
			return "meta", nil
		}
		return "skip", nil
	}
	switch {
	case !same:
		return "update", nil
	case !mode:
		return "meta", nil
	}
	return "skip", nil
}

// equal compares a file with the one at the server by content.
func (s *sender) equal(ctx context.Context, cs *clientSession, t *sendTask) (bool, error) {
	there, err := cs.stat(ctx, Address{Root: s.root, Path: t.dst}, true)
	if err != nil {
		return false, err
	}
	src, err := t.openSource()
	if err != nil {
		return false, localError("read", t.shown, err)
	}
	defer src.Close()
	root, err := hashSource(src, ctx.Err)
	if err != nil {
		return false, localOr(err, t.shown)
	}
	return there.root != nil && crypto.Digest(*there.root) == root, nil
}
