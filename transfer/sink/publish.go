package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"syscall"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// Publish verifies that the stage is the whole file that c says and gives it its final name, with its metadata; missing
// directories above it are made. When it returns nil that is durable (but with Durability None), the receipt is
// recorded, and the stage is gone; a second call returns the same receipt.
//
// Errors: ErrMissing, ErrRootMismatch, ErrSourceChanged (another size), fs.ErrExist (with IfExists Fail: another content
// is there), ErrIsDir, ErrNotDir, ErrBadPath, ErrStageLost, ErrFenced, *SyncError, and of the disk. After an error before
// the rename the final name is what it was, and Publish may be called again; after a *SyncError nothing more may
// be done but Park or Discard.
func (s *Stage) Publish(ctx context.Context, c Commit) ([]byte, error) {
	s.op.Lock()
	defer s.op.Unlock()
	if s.published {
		return slices.Clone(s.receipt), nil
	}
	s.mu.Lock()
	err := s.usable()
	if err == nil {
		err = s.complete(c.Size)
	}
	if err == nil {
		s.sealing = true
	}
	s.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	s.endWriters(ErrClosed)
	receipt, err := s.publish(ctx, c)
	s.mu.Lock()
	s.sealing = false
	if err == nil && s.ended == nil {
		s.ended = ErrClosed
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	s.published, s.receipt = true, receipt
	_ = s.discard() // what is left behind is found by CleanUp
	return slices.Clone(receipt), nil
}

// complete checks that all chunks of a file of size bytes are held, and no others. s.mu is held.
func (s *Stage) complete(size int64) error {
	switch {
	case s.chunks >= 0 && size != s.spec.Size:
		return fmt.Errorf("%d bytes were announced, %d committed: %w", s.spec.Size, size, ErrSourceChanged)
	case s.chunks >= 0 && s.held.n != s.chunks: // guard of I1
		return fmt.Errorf("%d of %d: %w", s.chunks-s.held.n, s.chunks, ErrMissing)
	case s.chunks >= 0:
		return nil
	case size < 0:
		return fmt.Errorf("size %d: %w", size, ErrRange)
	case !s.whole() || s.bytes != size || s.held.n != chunksOf(size, s.chunkSize):
		return fmt.Errorf("%d of %d bytes are held: %w", s.bytes, size, ErrMissing)
	}
	return nil
}

// publish does the work; FORMAT.md, "Publishing", has the order and why. s.op is held, no writer is left.
func (s *Stage) publish(ctx context.Context, c Commit) ([]byte, error) {
	root, err := s.root(ctx, c)
	if err != nil {
		return nil, err
	}
	if root != c.Root { // guard of I1
		return nil, fmt.Errorf("publish: %w", ErrRootMismatch)
	}
	if err := s.d.Here(); err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	var done placed
	if s.forward {
		done, err = s.placedBefore()
	} else {
		if s.watch.disturbed(s.data) {
			if err := s.readAgain(ctx, c.Size, root); err != nil {
				return nil, err
			}
		}
		if err := s.seal(c, root); err != nil {
			return nil, err
		}
		if err := s.makeParents(); err != nil {
			return nil, err
		}
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		done, err = s.place(ctx, c)
	}
	if err != nil {
		return nil, err
	}
	if s.spec.Durability != None {
		if err := s.syncPlaced(done); err != nil {
			return nil, err
		}
	}
	p := Published{Path: s.spec.Path, Root: root, Size: c.Size, Time: s.d.o.Now(), Replaced: done.replaced}
	receipt, err := s.d.record(s.spec.Transfer, s.id.key, s.spec.Durability, p, c.Sign)
	if err != nil {
		// The file is published, the stage is sealed: the next Begin goes on from here.
		s.mu.Lock()
		s.dead = err
		s.mu.Unlock()
		return nil, err
	}
	return receipt, nil
}

// readAgain sees that the data is still what it was when it arrived.
func (s *Stage) readAgain(ctx context.Context, size int64, root crypto.Digest) error {
	got, n, err := hashPrefix(ctx, s.data, size, s.spec.Busy)
	if err != nil {
		return fmt.Errorf("publish: read again: %w", err)
	}
	if n != size || got != root {
		return s.giveUp(fmt.Errorf("publish: changed by somebody else: %w", ErrStageLost))
	}
	return nil
}

// root joins the CVs of what is held.
func (s *Stage) root(ctx context.Context, commit Commit) (crypto.Digest, error) {
	size := commit.Size
	n := chunksOf(size, s.chunkSize)
	if n == 1 && !s.single() {
		// A chunk of unknown company was hashed as one of several.
		h := s.d.pool.Get().(*crypto.ChunkHasher)
		defer s.d.pool.Put(h)
		if _, err := s.hashChunk(0, h, make([]byte, readSize)); err != nil {
			return crypto.Digest{}, fmt.Errorf("publish: %w", err)
		}
		cv, err := s.cvs.get(0, s.journal)
		if err == nil && h.CV() != cv {
			err = ErrStageLost
		}
		return h.Root(), err
	}
	if n == 1 {
		cv, err := s.cv(0)
		return crypto.Digest(cv), err
	}
	tick := ticker(ctx, s.spec.Busy)
	stop := func() error {
		if err := tick(); err != nil || commit.Stop == nil {
			return err
		}
		return commit.Stop()
	}
	var join crypto.Joiner
	for c := int64(0); c < n; {
		if k := min(s.zeros.end(c), size/s.chunkSize) - c; k > 0 && s.zeros.has(c) {
			if err := join.AddZeros(uint64(k), s.spec.ChunkLog2, stop); err != nil {
				return crypto.Digest{}, err
			}
			c += k
			continue
		}
		cv, err := s.cv(c)
		if err != nil {
			return crypto.Digest{}, fmt.Errorf("publish: %w", err)
		}
		join.Add(cv)
		c++
	}
	return join.Root(), nil
}

// seal makes the file in the stage what it is to be under its final name, durably, and says so in the journal.
func (s *Stage) seal(c Commit, root crypto.Digest) error {
	if s.spec.Size < 0 {
		// A chunk that was begun and never finished may lie behind the end.
		if err := s.data.Truncate(c.Size); err != nil {
			return err
		}
	}
	fi, err := s.data.Stat()
	if err != nil {
		return err
	}
	if fi.Size() != c.Size {
		return s.giveUp(fmt.Errorf("publish: the stage has %d bytes instead of %d: %w", fi.Size(), c.Size, ErrStageLost))
	}
	meta := s.spec.Meta
	if c.Meta != nil {
		meta = *c.Meta
	}
	if err := s.v.allow(meta).apply(s.data); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if s.spec.Durability != None {
		// One fsync for bytes and metadata: nothing depends on the state between them.
		if err := s.data.Sync(); err != nil {
			return s.failed(syncError("data", err))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.journal.append(record{kind: recSeal, body: root}); err != nil {
		s.dead = err
		return err
	}
	return nil
}

// giveUp makes the stage one that is removed by the next Begin.
func (s *Stage) giveUp(err error) error {
	s.d.setLost(s.dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = err
	return err
}

// makeParents makes the directories above the final name, durably: were they lost after the rename, all that was
// called durable would be lost with them.
func (s *Stage) makeParents() error {
	if s.spec.Durability == None {
		return nil
	}
	s.d.ns.RLock()
	at, err := s.d.resolve(s.spec.Path, makeParents)
	s.d.own.add(s.d.fs, s.v.owner, at.made)
	s.d.ns.RUnlock()
	if err != nil {
		return err
	}
	if err := s.d.syncAbove(at.dirs); err != nil {
		return s.failed(err)
	}
	return nil
}

// placed says what has the final name.
type placed struct {
	at       spot
	existing bool // it was there before, with the same content
	replaced Path
}

// place gives the file its final name. This is the only way in which a file gets one (I8).
func (s *Stage) place(ctx context.Context, c Commit) (placed, error) {
	switch s.spec.IfExists {
	case Fail:
		return s.placeNew(ctx, c)
	case Version:
		return s.placeKeeping()
	default:
		var p placed
		err := s.underName(s.d.ns.RLocker(), func(at spot) error {
			p.at = at
			return s.rename(at, s.d.fs.Rename)
		})
		return p, err
	}
}

// locker is a sync.Locker.
type locker interface {
	Lock()
	Unlock()
}

// underName resolves the final name, making the directories above it, and calls f with lock held, so that the name
// means the same to both. It tries again when somebody removed a directory in between.
func (s *Stage) underName(lock locker, f func(spot) error) error {
	once := func() error {
		lock.Lock()
		defer lock.Unlock()
		at, err := s.d.resolve(s.spec.Path, makeParents)
		s.d.own.add(s.d.fs, s.v.owner, at.made)
		if err != nil {
			return err
		}
		if at.info != nil && at.info.IsDir() {
			return pathError("publish", s.spec.Path.String(), ErrIsDir)
		}
		return f(at)
	}
	var err error
	for range 3 {
		if err = once(); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// rename moves the data to at by move, if the stage still has the file that was written.
func (s *Stage) rename(at spot, move func(from, to string) error) error {
	own, err := s.data.Stat()
	if err != nil {
		return err
	}
	now, err := s.d.fs.Lstat(s.dataName)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !durable.SameFile(own, now) {
		return s.giveUp(fmt.Errorf("publish: %w", ErrStageLost))
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	err = s.ended // guard of I5: the last moment
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	err = move(s.dataName, at.name)
	switch {
	case err == nil:
		s.renamed = true
	case errors.Is(err, syscall.EXDEV):
		// A mount of the same device. Next time the stage is made beside the file.
		s.d.mu.Lock()
		s.d.away[at.parent] = true
		s.d.mu.Unlock()
	}
	return err
}

// placeNew never replaces (I11). What is there with the same content is success.
func (s *Stage) placeNew(ctx context.Context, c Commit) (placed, error) {
	var p placed
	err := s.underName(s.d.ns.RLocker(), func(at spot) error {
		p.at = at
		if at.info != nil {
			return existError(s.spec.Path.String())
		}
		return s.rename(at, s.d.fs.RenameNoReplace) // guard of I11
	})
	if !errors.Is(err, fs.ErrExist) {
		return p, err
	}
	at, err := s.d.sameContent(ctx, s.spec.Path, c, s.spec.Durability, s.spec.Busy)
	return placed{at: at, existing: true}, err
}

// placedBefore is place for a file that has its final name already: a crash came between.
func (s *Stage) placedBefore() (placed, error) {
	at, err := s.d.locate(s.spec.Path, 0)
	if err != nil {
		return placed{}, err
	}
	own, err := s.data.Stat()
	if err != nil {
		return placed{}, err
	}
	if at.info == nil || !durable.SameFile(own, at.info) {
		return placed{}, s.giveUp(fmt.Errorf("publish: %w", ErrStageLost))
	}
	if s.spec.Durability != None {
		if err := s.data.Sync(); err != nil && !unsupported(err) {
			return placed{}, s.giveUp(syncError("data", err))
		}
	}
	return placed{at: at, existing: true}, nil
}

// syncPlaced makes the final name durable. When that fails the file may have it and lose it again: nothing of the
// stage is of use any more.
func (s *Stage) syncPlaced(p placed) error {
	err := s.d.syncSpot(p.at)
	if err == nil {
		return nil
	}
	_ = s.giveUp(err)
	if s.remove(s.dir) != nil {
		s.d.setLost(s.dir)
	}
	return err
}

// syncSpot makes a name durable, with the directories above it.
func (d *Dir) syncSpot(at spot) error {
	if err := d.syncAbove(at.dirs); err != nil {
		return err
	}
	return d.syncDir(at.parent)
}
