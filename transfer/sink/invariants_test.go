package sink

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// One test for each promise of the package. Each names the line in the code, marked there as a guard, without which it
// fails. I2 and I3 are also looked at by the tests that crash at each operation.

func mustOpen(t testing.TB, f durable.FS, o Options) *Dir {
	t.Helper()
	d, err := Open(f, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func mustPut(t testing.TB, s *Stage, b []byte, chunks ...int64) {
	t.Helper()
	for _, c := range chunks {
		if err := put(s, b, c); err != nil {
			t.Fatalf("put chunk %d: %v", c, err)
		}
	}
}

func wantContent(t testing.TB, d *Dir, name string, want []byte) {
	t.Helper()
	got, err := readAll(d.fs, name)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%s: %d bytes that differ from the %d wanted, %v", name, len(got), len(want), err)
	}
}

// Guards: chunk.go Finish "got != cv", publish.go "root != c.Root", complete "held.n != s.chunks".
func TestI1OnlyTheCommittedVersionIsPublished(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	v := d.View("alice", All)
	a, b := content(1, 3*chunk18), content(2, 3*chunk18)
	s, _ := mustBegin(t, v, specOf(t, a, "file"))
	defer s.Park()

	w, err := s.Claim(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(b[:chunk18]); err != nil {
		t.Fatal(err)
	}
	cv, _ := chunkCV(a, 0, 18, false)
	if _, err := w.Finish(cv); !errors.Is(err, ErrChunkBad) {
		t.Errorf("other bytes than the CV says: %v", err)
	}
	mustPut(t, s, a, 0, 1)
	if _, err := s.Publish(context.Background(), commitOf(a)); !errors.Is(err, ErrMissing) {
		t.Errorf("a chunk is missing: %v", err)
	}
	mustPut(t, s, b, 2) // a chunk of another version, right by itself
	if _, err := s.Publish(context.Background(), commitOf(a)); !errors.Is(err, ErrRootMismatch) {
		t.Errorf("a mixture: %v", err)
	}
	c := commitOf(a)
	c.Size--
	if _, err := s.Publish(context.Background(), c); !errors.Is(err, ErrSourceChanged) {
		t.Errorf("another size: %v", err)
	}
	if _, err := d.fs.Lstat("file"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("something was published", err)
	}
}

// Guard: checkpoint.go, SyncData of the data before the MARK, and syncNames.
func TestI2DurableChunksSurvivePowerLoss(t *testing.T) {
	for seed := range uint64(20) {
		f := crashfs.New(seed)
		d := mustOpen(t, f, Options{})
		b := content(1, 4*chunk18)
		s, _ := mustBegin(t, d.View("alice", All), specOf(t, b, "file"))
		mustPut(t, s, b, 0, 2)
		got, err := s.Checkpoint(context.Background())
		if err != nil || !slices.Equal(got, []Range{{0, 1}, {2, 1}}) {
			t.Fatal(got, err)
		}
		mustPut(t, s, b, 1)
		d = mustOpen(t, f.Crash(), Options{})
		s, found := mustBegin(t, d.View("alice", All), specOf(t, b, "file"))
		if !s.held.has(0) || !s.held.has(2) {
			t.Fatalf("seed %d: found %+v", seed, found)
		}
	}
}

// Guard: checkpoint.go, "covered" is taken before the data sync. A chunk that comes while the sync runs is not
// covered by its MARK.
func TestI3AMarkCoversOnlyWhatWasThereBeforeTheSync(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{})
	b := content(1, 4*chunk18)
	s, _ := mustBegin(t, d.View("alice", All), specOf(t, b, "file"))
	defer s.Park()
	mustPut(t, s, b, 0)
	syncing, goOn := make(chan struct{}), make(chan struct{})
	s.data = &slowSync{File: s.data, syncing: syncing, goOn: goOn}
	type result struct {
		rs  []Range
		err error
	}
	res := make(chan result)
	go func() {
		rs, err := s.Checkpoint(context.Background())
		res <- result{rs, err}
	}()
	<-syncing // the data is synced already, the call has not returned
	mustPut(t, s, b, 1)
	close(goOn)
	r := <-res
	if r.err != nil || !slices.Equal(r.rs, []Range{{0, 1}}) {
		t.Errorf("called durable: %v, %v", r.rs, r.err)
	}
	j, err := readAll(f, s.journalName)
	if err != nil {
		t.Fatal(err)
	}
	if _, m := referenceMarked(j); len(m) != 1 {
		t.Errorf("marked: %v", m)
	}
}

type slowSync struct {
	durable.File
	syncing, goOn chan struct{}
	once          sync.Once
}

func (f *slowSync) SyncData() error {
	err := f.File.SyncData()
	f.once.Do(func() { close(f.syncing); <-f.goOn })
	return err
}

// Guards: publish.go syncPlaced before record; donelog.go add syncs before it returns.
func TestI4ReceiptsAreDurableAndReplayed(t *testing.T) {
	for seed := range uint64(20) {
		f := crashfs.New(seed)
		d := mustOpen(t, f, Options{KeepDoneLog: true})
		b := content(1, chunk18+1)
		sp := specOf(t, b, "a", "file")
		s, _ := mustBegin(t, d.View("alice", All), sp)
		receipt, err := sendRest(s, b)
		if err != nil {
			t.Fatal(err)
		}
		d = mustOpen(t, f.Crash(), Options{KeepDoneLog: true})
		wantContent(t, d, "a/file", b)
		_, found, err := d.View("alice", All).Begin(context.Background(), sp)
		if err != nil || found.State != StateDone || !bytes.Equal(found.Receipt, receipt) {
			t.Fatalf("seed %d: %+v %v", seed, found, err)
		}
		// The id alone gives nobody else the receipt.
		s, found = mustBegin(t, d.View("bob", All), sp)
		if found.State == StateDone {
			t.Error("bob has alice's receipt")
		}
		s.Discard()
		sp.Path = mustPath(t, "other")
		s, found = mustBegin(t, d.View("alice", All), sp)
		if found.State == StateDone {
			t.Error("the receipt of another path")
		}
		s.Discard()
	}
}

// Guards: stage.go usable "ended", end "s.ended = why"; publish.go rename "the last moment".
func TestI5FencedAttemptsChangeNothing(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	v := d.View("alice", All)
	b := content(1, 3*chunk18)
	sp := specOf(t, b, "file")
	old, _ := mustBegin(t, v, sp)
	mustPut(t, old, b, 0)
	w, err := old.Claim(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(b[chunk18 : chunk18+10]); err != nil {
		t.Fatal(err)
	}
	s, found := mustBegin(t, v, sp)
	defer s.Park()
	if found.Epoch != 2 || len(found.Have) != 1 || len(found.Parts) != 1 {
		t.Errorf("found %+v", found)
	}
	if err := w.Write(b[chunk18+10 : 2*chunk18]); !errors.Is(err, ErrFenced) {
		t.Errorf("Write: %v", err)
	}
	cv, _ := chunkCV(b, 1, 18, false)
	if _, err := w.Finish(cv); !errors.Is(err, ErrFenced) {
		t.Errorf("Finish: %v", err)
	}
	w.Park()
	if _, err := old.Claim(2, 0); !errors.Is(err, ErrFenced) {
		t.Errorf("Claim: %v", err)
	}
	if _, err := old.Checkpoint(context.Background()); !errors.Is(err, ErrFenced) {
		t.Errorf("Checkpoint: %v", err)
	}
	if _, err := old.Publish(context.Background(), commitOf(b)); !errors.Is(err, ErrFenced) {
		t.Errorf("Publish: %v", err)
	}
	if err := old.Park(); err != nil {
		t.Errorf("Park: %v", err)
	}
	if err := old.Discard(); err != nil {
		t.Errorf("Discard: %v", err)
	}
	if _, err := sendRest(s, b); err != nil {
		t.Fatal("the new attempt:", err)
	}
	wantContent(t, d, "file", b)
}

// Guards: chunk.go claim "old.end(ErrTaken)", Write "!w.dup", Finish "was != cv".
func TestI6AChunkIsWriteOnce(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	a, b := content(1, 2*chunk18), content(2, 2*chunk18)
	s, _ := mustBegin(t, d.View("alice", All), specOf(t, a, "file"))
	defer s.Park()

	first, err := s.Claim(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Write(b[:1000]); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, a, 0) // another stream takes it over and finishes
	if err := first.Write(b[1000:2000]); !errors.Is(err, ErrTaken) {
		t.Errorf("a writer after it was taken over: %v", err)
	}
	cv, p := chunkCV(a, 0, 18, false)
	w, err := s.Claim(0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	if dup, err := w.Finish(cv); err != nil || !dup {
		t.Errorf("the same again: dup %v, %v", dup, err)
	}
	if err := put(s, b, 0); !errors.Is(err, ErrSourceChanged) {
		t.Errorf("other content for a held chunk: %v", err)
	}
	got := make([]byte, chunk18)
	if _, err := s.data.ReadAt(got, 0); err != nil || !bytes.Equal(got, a[:chunk18]) {
		t.Error("a held chunk was written", err)
	}
}

// TestI6ManyClaimants has many streams claim the same chunks, with two contents, write random pieces, give up and come
// again. Whatever is held in the end must be on the disk. Run it with -race.
func TestI6ManyClaimants(t *testing.T) {
	dir := t.TempDir()
	d := openDir(t, dir, Options{})
	versions := [][]byte{content(1, 3*chunk18+9), content(2, 3*chunk18+9)}
	s, _ := mustBegin(t, d.View("alice", All), specOf(t, versions[0], "file"))
	var wg sync.WaitGroup
	stop := make(chan struct{})
	checks := make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				checks <- nil
				return
			default:
				if _, err := s.Checkpoint(context.Background()); err != nil {
					checks <- err
					return
				}
			}
		}
	}()
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 3))
			for range 60 {
				b := versions[r.IntN(2)]
				chunk := r.Int64N(4)
				cv, p := chunkCV(b, chunk, 18, false)
				w, err := s.Claim(chunk, 0)
				if err != nil {
					t.Error("claim:", err)
					return
				}
				stopAt := len(p)
				if r.IntN(3) == 0 {
					stopAt = r.IntN(len(p))
				}
				for len(p) > 0 && stopAt > 0 {
					n := min(len(p), stopAt, 1+r.IntN(60_000))
					if err = w.Write(p[:n]); err != nil {
						break
					}
					p, stopAt = p[n:], stopAt-n
				}
				if err == nil && len(p) == 0 {
					_, err = w.Finish(cv)
				}
				w.Park()
				if err != nil && !errors.Is(err, ErrTaken) && !errors.Is(err, ErrSourceChanged) {
					t.Error("write:", err)
					return
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	if err := <-checks; err != nil {
		t.Fatal("checkpoint:", err)
	}
	h, buf := crypto.NewChunkHasher(), make([]byte, readSize)
	for c := s.held.next(0); c >= 0; c = s.held.next(c + 1) {
		if !s.intact(c, h, buf) {
			t.Errorf("chunk %d is held and not on the disk", c)
		}
	}
	if s.held.n == 0 {
		t.Error("nothing was held: the test shows nothing")
	}
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
}

// Guards: begin.go, the fingerprint in stageIDOf and create in a new directory; sweep for Fresh.
func TestI7AnotherFingerprintGetsOtherFiles(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	v := d.View("alice", All)
	a, b := content(1, 3*chunk18), content(2, 3*chunk18)
	s, _ := mustBegin(t, v, specOf(t, a, "file"))
	mustPut(t, s, a, 0, 1)
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
	was, closeOld := stageFiles(t, d)
	defer closeOld()
	s, found := mustBegin(t, v, specOf(t, b, "file"))
	if found.State != StateChanged || len(found.Have) != 0 || found.Epoch != 1 {
		t.Errorf("found %+v", found)
	}
	now, closeNow := stageFiles(t, d)
	defer closeNow()
	if len(was) != 2 || len(now) != 2 {
		t.Fatalf("files before %v, after %v: the old ones must be gone", was, now)
	}
	for id := range now {
		if was[id] {
			t.Error("a file was used again")
		}
	}
	mustPut(t, s, b, 2)
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
	was = now
	sp := specOf(t, b, "file")
	sp.Fresh = true
	s, found = mustBegin(t, v, sp)
	if len(found.Have) != 0 {
		t.Errorf("fresh: found %+v", found)
	}
	now, closeFresh := stageFiles(t, d)
	defer closeFresh()
	for id := range now {
		if was[id] {
			t.Error("fresh: a file was used again")
		}
	}
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "file", b)
}

// stageFiles returns the identities of all files in stages, and keeps them open so that none is given out again.
func stageFiles(t *testing.T, d *Dir) (ids map[durable.ID]bool, closeAll func()) {
	t.Helper()
	ids = map[durable.ID]bool{}
	var open []durable.File
	for _, name := range findStages(t, d) {
		for _, file := range []string{"/data", "/journal"} {
			f, err := durable.OpenRegular(d.fs, name+file)
			if err != nil {
				t.Fatal(err)
			}
			open = append(open, f)
			fi, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			id, _ := durable.IDOf(fi)
			id.CTime = 0
			ids[id] = true
		}
	}
	return ids, func() {
		for _, f := range open {
			f.Close()
		}
	}
}

// findStages returns the directories of all stages.
func findStages(t *testing.T, d *Dir) (dirs []string) {
	t.Helper()
	keys, err := d.fs.ReadDir(stagesDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, k := range keys {
		stages, err := d.fs.ReadDir(stagesDir + "/" + k.Name())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range stages {
			if s.IsDir() {
				dirs = append(dirs, stagesDir+"/"+k.Name()+"/"+s.Name())
			}
		}
	}
	return dirs
}

// Guard: there is none but the design: no name but those of ".xfer" is opened for writing, and place is the only
// caller of Rename. The hook sees every operation.
func TestI8NothingButPublishTouchesFinalNames(t *testing.T) {
	f := crashfs.New(1)
	b := content(1, 3*chunk18)
	if err := durable.WriteFile(f, "file", []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	d := mustOpen(t, f, Options{KeepDoneLog: true})
	s, _ := mustBegin(t, d.View("alice", All), specOf(t, b, "file"))
	var touched []string
	f.SetHook(func(_ int, op, name string) error {
		if name == "file" {
			touched = append(touched, op)
		}
		return nil
	})
	mustPut(t, s, b, 0, 1)
	if _, err := s.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
	s, _ = mustBegin(t, d.View("alice", All), specOf(t, b, "file"))
	if len(touched) != 0 {
		t.Errorf("before Publish the final name was touched: %v", touched)
	}
	wantContent(t, d, "file", []byte("old"))
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	for _, op := range touched {
		if op != "rename" && op != "open" { // wantContent opens it
			t.Errorf("Publish did %s", op)
		}
	}
}

// Guards: begin.go "sp.IfExists = Fail", publish.go RenameNoReplace, rights.go needChange.
func TestI11AppendOnlyNeverTakesAway(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{KeepDoneLog: true})
	v := d.View("alice", Put|RMkdir|RDelete|RRename|RStat|NoReplace)
	a, b := content(1, chunk18+5), content(2, chunk18+5)
	s, _ := mustBegin(t, v, specOf(t, a, "file"))
	if _, err := sendRest(s, a); err != nil {
		t.Fatal(err)
	}
	for _, how := range []IfExists{Replace, Fail, Version} {
		sp := specOf(t, b, "file")
		sp.IfExists = how
		sp.Transfer[13], sp.Transfer[15] = 9, byte(how)
		s, _ = mustBegin(t, v, sp)
		if _, err := sendRest(s, b); !errors.Is(err, fs.ErrExist) || !errors.Is(err, syscall.EEXIST) {
			t.Errorf("other content: %v", err)
		}
		s.Discard()
		sp = specOf(t, a, "file")
		sp.Transfer[14], sp.Transfer[15] = 1, byte(how)
		s, _ = mustBegin(t, v, sp)
		if r, err := sendRest(s, a); err != nil || len(r) == 0 {
			t.Errorf("the same content again is success: %v", err)
		}
	}
	p, q := mustPath(t, "file"), mustPath(t, "other")
	for name, err := range map[string]error{
		"remove":     v.Remove(p, false, false),
		"remove all": v.Remove(p, true, true),
		"rename":     v.Rename(p, q, true),
		"set meta":   v.SetMeta(p, Meta{HasMode: true}),
	} {
		if !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A directory keeps what it has, the root too; one that the same principal made is still to get what it has at the source.
	d.own = ownDirs{}
	must(t, d.View("bob", All).Mkdir(mustPath(t, "bobs"), false, false, nil))
	must(t, v.Mkdir(mustPath(t, "mine"), false, false, nil))
	s, _ = mustBegin(t, v, specOf(t, a, "implied", "file"))
	if _, err := sendRest(s, a); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mine", "implied"} {
		if err := v.SetMeta(mustPath(t, name), Meta{HasMode: true, Mode: 0o711}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, d.fs.Rename("mine", "renamed")) // the same directory, but no longer what was made
	for _, at := range []Path{mustPath(t, "bobs"), mustPath(t, "renamed"), {}} {
		if err := v.SetMeta(at, Meta{HasMode: true}); !errors.Is(err, ErrDenied) {
			t.Errorf("set meta of %s: %v", at, err)
		}
	}
	if err := v.Symlink(p, "elsewhere", Replace, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("link over a file: %v", err)
	}
	wantContent(t, d, "file", a)
}

// TestPublishNeverReplacesAFileThatAppearsLate: with NoReplace the file comes between the look and the rename.
func TestPublishNeverReplacesAFileThatAppearsLate(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{})
	a, b := content(1, 100), content(2, 100)
	s, _ := mustBegin(t, d.View("alice", All|NoReplace), specOf(t, a, "file"))
	mustPut(t, s, a, 0)
	real := d.fs
	d.fs = &lateFile{FS: real, make: func() { _ = durable.WriteFile(real, "file", b, 0o644) }}
	if _, err := s.Publish(context.Background(), commitOf(a)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("publish: %v", err)
	}
	wantContent(t, d, "file", b)
}

type lateFile struct {
	durable.FS
	make func()
}

func (f *lateFile) RenameNoReplace(a, b string) error {
	f.make()
	return f.FS.RenameNoReplace(a, b)
}
func (f *lateFile) Rename(a, b string) error {
	if b == "file" {
		f.make()
	}
	return f.FS.Rename(a, b)
}

// Guards: checkpoint.go failed, the DROP records; verify.go verify, DropCache.
func TestFailedSyncAcknowledgesNothingMore(t *testing.T) {
	for _, op := range []string{"syncdata", "sync", "syncdir"} {
		for _, inJournal := range []bool{false, true} {
			f := crashfs.New(1)
			d := mustOpen(t, f, Options{KeepDoneLog: true})
			b := content(1, 3*chunk18)
			s, _ := mustBegin(t, d.View("alice", All), specOf(t, b, "file"))
			mustPut(t, s, b, 0)
			if _, err := s.Checkpoint(context.Background()); err != nil {
				t.Fatal(err)
			}
			mustPut(t, s, b, 1, 2)
			failed := false
			f.SetHook(func(_ int, o, name string) error {
				if !failed && o == op && (name == s.journalName) == inJournal {
					failed = true
					return syscall.EIO
				}
				return nil
			})
			_, err := s.Checkpoint(context.Background())
			if op != "syncdata" {
				if err != nil {
					t.Fatal(err)
				}
				_, err = s.Publish(context.Background(), commitOf(b))
			}
			if !failed {
				continue
			}
			var se *SyncError
			if !errors.As(err, &se) || !errors.Is(err, syscall.EIO) {
				t.Errorf("%s: %v", op, err)
			}
			if rs, err := s.Checkpoint(context.Background()); err == nil {
				t.Errorf("%s: a checkpoint after it calls %v durable", op, rs)
			}
			if _, err := s.Publish(context.Background(), commitOf(b)); err == nil {
				t.Errorf("%s: published after it", op)
			}
			s.Park()
			s, found := mustBegin(t, d.View("alice", All), specOf(t, b, "file"))
			if op == "syncdata" && (!slices.Equal(found.Have, []Range{{0, 1}})) {
				t.Errorf("%s: found %+v, want what was durable before", op, found)
			}
			if _, err := sendRest(s, b); err != nil {
				t.Fatalf("%s: %v", op, err)
			}
			for i := range uint64(5) {
				after := mustOpen(t, f.Image(i), Options{})
				wantContent(t, after, "file", b)
			}
		}
	}
}
