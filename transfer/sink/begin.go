package sink

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// Limits of a file.
const (
	minChunkLog2     = 18
	maxChunkLog2     = 24
	maxChunks        = 1 << 24 // of a file
	maxSparse        = 1 << 42 // bytes of a sparse file: holes take no space, and those beyond what crypto knows minutes
	maxSparseChunks  = 1 << 19 // of a sparse file: one message makes all of them held, which is memory
	maxUnknownChunks = 1 << 20 // of a file whose size is not known before its end
	maxCVsInMemory   = 1 << 18 // beyond, CVs are read from the journal
	maxParts         = 1024    // kept of one stage
	stageNames       = 4       // tried in turn, where stages of later versions are in the way
)

// check is the guard against nonsense from a peer, before anything is looked up or allocated.
func (sp *Spec) check(owner string) error {
	switch {
	case sp.Path.IsRoot():
		return fmt.Errorf("begin: %w: the root itself", ErrBadPath)
	case sp.ChunkLog2 < minChunkLog2 || sp.ChunkLog2 > maxChunkLog2:
		return fmt.Errorf("begin: %w: chunks of 2^%d bytes", ErrRange, sp.ChunkLog2)
	case sp.Size < -1:
		return fmt.Errorf("begin: %w: size %d", ErrRange, sp.Size)
	case sp.Size > maxChunks<<sp.ChunkLog2:
		return fmt.Errorf("begin: %w: %d bytes in chunks of 2^%d", ErrTooBig, sp.Size, sp.ChunkLog2)
	case sp.Sparse && sp.Size > maxSparse:
		return fmt.Errorf("begin: %w: a sparse file of %d bytes", ErrTooBig, sp.Size)
	case sp.Sparse && sp.Size > maxSparseChunks<<sp.ChunkLog2:
		return fmt.Errorf("begin: %w: a sparse file of %d bytes in chunks of 2^%d", ErrTooBig, sp.Size, sp.ChunkLog2)
	case len(sp.Fingerprint) > maxFPLen:
		return fmt.Errorf("begin: %w: fingerprint of %d bytes", ErrTooBig, len(sp.Fingerprint))
	case len(owner) > maxOwnerLen:
		return fmt.Errorf("begin: %w: owner of %d bytes", ErrTooBig, len(owner))
	}
	return nil
}

// stageID is where a stage is looked for: FORMAT.md, "Names".
type stageID struct {
	key  string // 32 hex digits: of owner and path
	file string // 32 hex digits: of fingerprint, size and chunk size
}

func stageIDOf(owner string, sp *Spec) stageID {
	b := lengthPrefixed(nil, "xfer stage key v1", owner)
	b = lengthPrefixed(b, sp.Path.parts...)
	id := stageID{key: shortHash(b)}
	b = lengthPrefixed(nil, "xfer stage file v1", string(sp.Fingerprint))
	b = binary.BigEndian.AppendUint64(b, uint64(sp.Size))
	b = append(b, sp.ChunkLog2)
	id.file = shortHash(b)
	return id
}

func lengthPrefixed(b []byte, parts ...string) []byte {
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}

func shortHash(b []byte) string {
	h := crypto.NewHasher()
	h.Write(b)
	sum := h.Sum()
	return hex.EncodeToString(sum[:16])
}

// Begin finds or makes the stage of a file. A live Stage of the same owner and path is fenced first: its writes in
// progress are waited for, then its methods return ErrFenced. Where another process has it, the error is ErrBusy.
// Stages of different owners for one path live side by side; who publishes last wins.
//
// What an earlier process left is read again from the disk; until that is done ctx can end it. The caller ends the
// Stage with Publish, Park or Discard. Errors: ErrDenied, ErrBadPath, ErrIsDir (the path is a directory now), ErrNotDir,
// ErrTooBig, ErrRange, ErrBusy, ErrClosed, and of the disk, as syscall.ENOSPC: then a new stage leaves nothing behind.
func (v *View) Begin(ctx context.Context, sp Spec) (*Stage, Found, error) {
	if err := v.need("put", Put); err != nil {
		return nil, Found{}, err
	}
	if err := sp.check(v.owner); err != nil {
		return nil, Found{}, err
	}
	if v.rights&NoReplace != 0 { // guard of I11
		sp.IfExists = Fail
	}
	sp.Fingerprint = append([]byte(nil), sp.Fingerprint...)
	d := v.d
	id := stageIDOf(v.owner, &sp)
	k, err := d.acquire(ctx, id.key, sp.Busy)
	if err != nil {
		return nil, Found{}, err
	}
	defer d.release(id.key, k)
	if old := d.liveStage(k); old != nil {
		ended := make(chan struct{})
		go func() { defer close(ended); _ = old.end(ErrFenced) }()
		_ = busyWait(ended, sp.Busy)
	}
	d.mu.Lock()
	closed := d.closed
	d.mu.Unlock()
	if closed {
		return nil, Found{}, fmt.Errorf("begin: %w", ErrClosed)
	}
	receipt, ok, err := d.done.find(sp.Transfer, id.key)
	if err != nil {
		return nil, Found{}, err
	}
	if ok {
		return nil, Found{State: StateDone, Receipt: receipt}, nil
	}
	s, state, err := d.open(ctx, v, sp, id)
	if err != nil {
		return nil, Found{}, err
	}
	d.mu.Lock()
	k.stage = s
	d.mu.Unlock()
	have, parts := s.Have()
	return s, Found{State: state, Epoch: s.epoch, Have: have, Parts: parts}, nil
}

// keyDir finds the directory for the stages of sp.Path: beneath ".xfer", or where the path is on another device,
// in a directory of our own on that one, since publishing is a rename.
func (d *Dir) keyDir(sp *Spec, id stageID) (dir string, above []ancestor, err error) {
	at, err := d.locate(sp.Path, 0)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return "", nil, err
	}
	if !missing && at.info != nil && at.info.IsDir() {
		return "", nil, pathError("begin", sp.Path.String(), ErrIsDir)
	}
	for n := len(sp.Path.parts) - 1; missing && n > 0; n-- {
		at, err = d.locate(Path{parts: sp.Path.parts[:n]}, followLast)
		switch missing = errors.Is(err, fs.ErrNotExist) || err == nil && at.info == nil; {
		case missing:
			continue
		case err != nil:
			return "", nil, err
		case !at.info.IsDir():
			return "", nil, pathError("begin", sp.Path.String(), ErrNotDir)
		}
		if at.name != "." {
			i, ok := durable.IDOf(at.info)
			at.dirs = append(at.dirs, ancestor{name: at.name, id: i, known: ok, above: -1})
		}
		at.parent = at.name
	}
	if missing {
		at = spot{parent: "."}
	}
	if at.parent != "." {
		last := at.dirs[len(at.dirs)-1]
		d.mu.Lock()
		forced := d.away[at.parent]
		d.mu.Unlock()
		if forced || last.known && last.id.Dev != d.root.Dev {
			return at.parent + "/" + stateDir + "-" + id.key[:8], at.dirs, nil
		}
	}
	return stagesDir + "/" + id.key, nil, nil
}

// open opens or makes the stage. The caller holds the key.
func (d *Dir) open(ctx context.Context, v *View, sp Spec, id stageID) (_ *Stage, _ State, err error) {
	dir, above, err := d.keyDir(&sp, id)
	if err != nil {
		return nil, 0, err
	}
	s := newStage(d, v, sp, id, dir)
	s.above = above
	if err := s.lock(); err != nil {
		return nil, 0, err
	}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	others, err := s.sweep()
	if err != nil {
		return nil, 0, err
	}
	found, err := s.load(ctx)
	switch {
	case err != nil:
		return nil, 0, err
	case found:
		return s, StatePartial, nil
	}
	if err := s.create(); err != nil {
		s.discard()
		return nil, 0, err
	}
	if others {
		return s, StateChanged, nil
	}
	return s, StateNew, nil
}

// away tells whether the stage is on another device than ".xfer".
func (s *Stage) away() bool { return !strings.HasPrefix(s.keyDir, stagesDir+"/") }

// lock makes the directory of the key and takes its lock, which another process may be removing.
func (s *Stage) lock() error {
	dirs := []string{stateDir, stagesDir, s.keyDir}
	away := s.away()
	if away {
		dirs = []string{stateDir, awayDir, s.keyDir}
	}
	var err error
	for range 10 {
		if err = s.d.ensureDirs(dirs...); err != nil {
			return err
		}
		if away {
			if err := s.d.noteAway(s.id.key, s.keyDir); err != nil {
				return err
			}
		}
		s.unlock, err = s.d.lock(s.keyDir + "/lock")
		switch {
		case err == nil:
			return nil
		case errors.Is(err, durable.ErrLocked):
			return fmt.Errorf("begin %q: %w", s.spec.Path.String(), ErrBusy)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	return err
}

// lock takes the lock in the file name. What is there and is no regular file is not ours, and is removed.
func (d *Dir) lock(name string) (unlock func() error, err error) {
	for range 10 {
		unlock, err = d.fs.Lock(name)
		switch {
		case errors.Is(err, durable.ErrNotRegular), errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.EISDIR):
			if err := d.fs.RemoveAll(name); err != nil {
				return nil, err
			}
		default:
			return unlock, err
		}
	}
	return nil, err
}

// sweep chooses the directory of the stage, and removes those of other fingerprints beneath the same key, before
// space for the new one is taken. Stages of later versions are left alone.
func (s *Stage) sweep() (others bool, err error) {
	entries, err := s.d.fs.ReadDir(s.keyDir)
	if err != nil {
		return false, err
	}
	later := make(map[string]bool)
	for _, e := range entries {
		later[e.Name()] = e.IsDir() && s.d.isLater(s.keyDir+"/"+e.Name())
	}
	own := ""
	for i := range stageNames {
		name := s.id.file
		if i > 0 {
			name += fmt.Sprintf("-%d", i)
		}
		if !later[name] {
			own = name
			break
		}
	}
	if own == "" {
		return false, fmt.Errorf("begin %q: stages of a later version of xfer are in the way: %w", s.spec.Path.String(), ErrBusy)
	}
	s.dir = s.keyDir + "/" + own
	s.dataName, s.journalName = s.dir+"/data", s.dir+"/journal"
	for _, e := range entries {
		if n := e.Name(); n == "lock" || later[n] || n == own {
			continue
		}
		others = others || e.IsDir()
		if err := s.remove(s.keyDir + "/" + e.Name()); err != nil {
			return false, err
		}
	}
	if _, there := later[own]; there && (s.spec.Fresh || s.d.isLost(s.dir)) {
		return true, s.remove(s.dir)
	}
	return others, nil
}

// isLater tells whether dir is a stage that a later version of xfer has written.
func (d *Dir) isLater(dir string) bool {
	f, err := durable.OpenRegular(d.fs, dir+"/journal")
	if err != nil {
		return false
	}
	defer f.Close()
	_, _, err = readHeader(f)
	return errors.Is(err, errLater)
}

// remove removes a stage's directory, or whatever has its name.
func (s *Stage) remove(dir string) error {
	if err := s.d.fs.RemoveAll(dir); err != nil {
		return err
	}
	s.d.forgetStage(dir)
	return nil
}

// create makes a new, empty stage.
func (s *Stage) create() error {
	fsys := s.d.fs
	if err := s.remove(s.dir); err != nil {
		return err
	}
	if err := fsys.Mkdir(s.dir, 0o700); err != nil {
		return err
	}
	const fresh = os.O_RDWR | os.O_CREATE | os.O_EXCL | durable.NoFollow
	f, err := fsys.OpenFile(s.journalName, fresh, 0o600)
	if err != nil {
		return err
	}
	s.journal = &journal{f: f}
	if s.data, err = fsys.OpenFile(s.dataName, fresh, 0o666); err != nil {
		return err
	}
	s.watch.mine()
	// Space first: it is the likely failure, and nothing is worth keeping then.
	if err := s.allocate(); err != nil {
		return err
	}
	b := appendHeader(nil, s.header())
	s.epoch = 1
	b = appendRecord(b, s.epochRecord())
	if err := writeAt(f, b, 0); err != nil {
		return fmt.Errorf("begin journal: %w", err)
	}
	s.journal.start, s.journal.records = int64(len(b)-recordLen), 1
	return nil
}

// allocate reserves the space of a file of several chunks. One chunk is written in a moment. A sparse file is as long as it
// will be at once, one hole.
func (s *Stage) allocate() error {
	if s.sparse {
		return s.stretch()
	}
	if s.spec.Size <= s.chunkSize {
		return nil
	}
	err := s.data.Allocate(s.spec.Size)
	s.watch.mine()
	return err
}

func (s *Stage) header() header {
	return header{
		transfer:    s.spec.Transfer,
		owner:       s.v.owner,
		path:        s.spec.Path.parts,
		size:        s.spec.Size,
		chunkLog2:   s.spec.ChunkLog2,
		fingerprint: s.spec.Fingerprint,
		sparse:      s.sparse,
	}
}

func (s *Stage) epochRecord() record {
	r := record{kind: recEpoch, index: s.epoch, body: bodyOf(uint64(s.d.o.Now().UnixNano()))}
	copy(r.body[8:], s.d.process[:])
	return r
}

// busyWait waits for done, and calls busy each second meanwhile.
func busyWait(done <-chan struct{}, busy func()) error {
	return waiting(busy, func(tick <-chan time.Time) (bool, error) {
		select {
		case <-done:
			return true, nil
		case <-tick:
			return false, nil
		}
	})
}
