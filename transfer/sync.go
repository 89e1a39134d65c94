package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"xfer/transfer/wire"
)

// SyncOptions say what Sync removes at the target.
type SyncOptions struct {
	Delete     bool
	MaxDelete  int64 // entries; -1: MaxPercent counts instead
	MaxPercent int64 // of the entries beneath the destination, 0 to 100
	// Mounts are the file systems that the source was on at the last sync, as Synced.Mounts has told them.
	Mounts []string
	// Backup is a directory beneath the destination for what is replaced or removed; nil = none is kept.
	Backup []string
}

// Synced is what Sync found.
type Synced struct {
	Result
	// Mounts are where the source's file systems are mounted, to be kept for the next Sync where the error is nil: raw bytes, with
	// slashes; beneath the source relative to it, "." for the source itself, and absolute for the one that it lies in.
	Mounts []string
}

// Reasons for which Sync deletes nothing although all else went well. They are beneath an Error of KindPartial.
var (
	ErrSourceEmpty = errors.New("the source is empty, which looks like a file system that is not mounted")
	ErrMountGone   = errors.New("was where a file system is mounted at the last sync, and is not now")
)

// Sync makes dst the same as the contents of the directory src, or as the file src. What is only at dst is removed where o says so,
// after all else has arrived and is durable, and only where nothing looks wrong: no entry of the source may have failed, it may not be
// empty, nor lack a mounted file system that was there the last time. Errors of KindMaxDelete and KindPartial that come of it
// say that nothing was deleted, and why. What Options.Rules leave out is left alone at dst as well, and so is what of the source is
// nothing to send, as a FIFO.
func (c *Client) Sync(ctx context.Context, src string, dst Address, o SyncOptions) (Synced, error) {
	info, err := os.Stat(src)
	if err != nil {
		return Synced{}, localError("read", src, err)
	}
	if !info.IsDir() {
		return c.syncFile(ctx, src, dst, o)
	}
	x := &extras{o: o, top: strings.TrimSuffix(src, "/")}
	if x.top == "" {
		x.top = "/"
	}
	above, err := mountAbove(src)
	if err != nil {
		return Synced{}, localError("read", src, err)
	}
	x.above = above
	s := c.newSender(ctx, []Source{{Path: strings.TrimSuffix(x.top, "/") + "/"}}, dst)
	defer s.closeRoots()
	s.exact, s.extras = true, x
	err = s.mayDelete()
	if err == nil {
		err = s.all()
	}
	ended := err != nil
	res, err := s.end(err)
	res.Deleted = x.deleted
	if !ended {
		err = x.outcome(err)
	}
	out := Synced{Result: res}
	if err == nil {
		out.Mounts = x.remembered(s)
	}
	return out, err
}

func (c *Client) syncFile(ctx context.Context, src string, dst Address, o SyncOptions) (Synced, error) {
	s := c.newSender(ctx, []Source{{Path: src}}, dst)
	defer s.closeRoots()
	s.exact = true
	no := ""
	switch {
	case len(dst.Path) == 0:
		no = "is a file, and the destination is the root itself"
	case len(o.Backup) > 0:
		no = "is a file, and a directory for backups lies beneath the destination"
	}
	if no != "" {
		return Synced{}, &Error{Op: "sync", Path: src, Kind: KindUsage, Err: errors.New(no)}
	}
	res, err := s.end(s.all())
	return Synced{Result: res}, err
}

// mayDelete finds out before anything is sent whether we have the rights to do all of it.
func (s *sender) mayDelete() error {
	if !s.extras.o.Delete {
		return nil
	}
	return s.with(func(cs *clientSession) error {
		for _, r := range cs.welcome.Roots {
			if r.Name != s.root && (s.root != "" || !r.Default) || slices.Contains(r.Rights, "all") {
				continue
			}
			for _, right := range []string{"delete", "list"} {
				if !slices.Contains(r.Rights, right) {
					return &Error{Op: "sync", Path: strings.Join(s.dst.Path, "/"), Kind: KindDenied,
						Err: fmt.Errorf("no right to %s in root %q; nothing was moved", right, r.Name)}
				}
			}
		}
		return nil
	})
}

// outcome is the error of a run that came to its end: err, or why nothing was deleted.
func (x *extras) outcome(err error) error {
	switch {
	case x.refused == nil:
		return err
	case err == nil, KindOf(x.refused) == KindMaxDelete:
		return x.refused
	}
	// Some entries failed, which is why nothing was deleted.
	kind := KindPartial
	if KindOf(err) == KindVanished {
		kind = KindVanished
	}
	var te *Error
	if errors.As(err, &te) && te.Path == "" {
		err = te.Err
	}
	return &Error{Op: "sync", Path: x.top, Kind: kind, Err: fmt.Errorf("%w; nothing was deleted", err)}
}

// guard says why nothing may be deleted; nil where it may.
func (x *extras) guard(s *sender) error {
	no := func(kind Kind, path string, format string, a ...any) error {
		return &Error{Op: "sync", Path: path, Kind: kind, Err: fmt.Errorf(format+"; nothing was deleted", a...)}
	}
	if n := s.m.errors(); n > 0 {
		return no(KindPartial, x.top, "%d entries of the source failed", n)
	}
	if x.entries == 0 {
		return no(KindPartial, x.top, "%w", ErrSourceEmpty)
	}
	for _, m := range x.o.Mounts {
		if x.mounted(m) {
			continue
		}
		if out, err := x.keeps.without(m, true); m == "." || strings.HasPrefix(m, "/") || err != nil || !out {
			return no(KindPartial, x.shownMount(m), "%w", ErrMountGone)
		}
	}
	n, total := int64(len(x.list))+x.over+x.deleted, x.total+x.deleted
	limit := x.o.MaxDelete
	if limit < 0 {
		limit = total/100*x.o.MaxPercent + total%100*x.o.MaxPercent/100
	}
	if x.over > 0 {
		return no(KindMaxDelete, x.top, "%d entries at the destination would be deleted, of which a run takes %d", n, len(x.list))
	}
	if n > limit {
		return no(KindMaxDelete, x.top, "%d of the %d entries at the destination would be deleted, and --max-delete allows %d", n, total, limit)
	}
	return nil
}

// deleteExtras removes what only the target has, the deepest first.
func (s *sender) deleteExtras(ctx context.Context, cs *clientSession, task *treeTask, t *treeSend) error {
	x := s.extras
	if len(x.list)+len(x.inWay) == 0 {
		return nil
	}
	if s.m.errors() > 0 { // nor can it be told what the rules of the source leave out
		x.refused = x.guard(s)
		s.stillInWay(task, true)
		return nil
	}
	if err := s.addInWay(ctx, cs, task); err != nil {
		return err
	}
	x.keeps = keeper{filter: s.filter, top: task.top}
	defer x.keeps.close()
	if err := x.keepSome(s, task); err != nil {
		return err
	}
	s.stillInWay(task, false)
	if len(x.list) == 0 {
		return nil
	}
	if x.refused = x.guard(s); x.refused != nil {
		s.stillInWay(task, true)
		return nil
	}
	if s.c.Options.DryRun {
		s.tellPlan(task)
		return nil
	}
	for end := len(x.list); end > 0 && x.refused == nil; {
		begin := x.batch(end)
		if err := s.deleteBatch(ctx, task, t, x.list[begin:end]); err != nil {
			return err
		}
		end = begin
	}
	return nil
}

// tellPlan tells what would be deleted, and what would then take the place of that.
func (s *sender) tellPlan(task *treeTask) {
	x := s.extras
	for _, e := range slices.Backward(x.list) {
		s.m.event(Event{Kind: EventPlan, Action: "delete", Path: task.shownPath(e.path), Size: e.size})
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.plan {
		s.m.event(e)
	}
}

// Bounds of one TREE_DELETE.
const (
	deletePaths = 1024
	deleteBytes = wire.MaxControl / 2
)

// batch returns where what fits into one message with the last of the first end begins.
func (x *extras) batch(end int) int {
	begin, bytes := end, 0
	for begin > 0 && end-begin < deletePaths {
		n := len(x.list[begin-1].path)
		if bytes += 2*n + 16; bytes > deleteBytes && begin < end { // a component of one byte costs two
			break
		}
		begin--
	}
	return begin
}

// deleteBatch removes the entries of list, the last one first.
func (s *sender) deleteBatch(ctx context.Context, task *treeTask, t *treeSend, list []extraEntry) error {
	x := s.extras
	var paths []wire.Path
	for _, e := range slices.Backward(list) {
		p, err := wire.NewPath(strings.Split(e.path, "/")...)
		if err != nil {
			return err
		}
		paths = append(paths, p)
	}
	before := s.m.errors()
	done, err := t.remove(ctx, paths)
	if err != nil {
		return err
	}
	if now := s.m.errors(); done.Count == 0 && x.deleted == 0 && now > before {
		// What could not be given its name there was told before the answer, which then says that nothing was removed.
		x.refused = x.guard(s)
		return nil
	}
	failed := map[uint64]error{}
	for _, f := range done.Failed {
		failed[f.No] = failureOf(f)
	}
	for i, e := range slices.Backward(list) {
		shown := task.shownPath(e.path)
		if err := failed[uint64(len(list)-1-i)]; err != nil {
			s.m.failed(fileError(err, shown))
			continue
		}
		x.deleted++
		s.m.event(Event{Kind: EventFile, Action: "deleted", Path: shown, Size: e.size})
	}
	return nil
}
