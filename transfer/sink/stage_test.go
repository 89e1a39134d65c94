package sink

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable/crashfs"
)

func TestSpecsThatAreRefused(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{})
	v := d.View("alice", All)
	ok := specOf(t, []byte("x"), "file")
	for name, c := range map[string]struct {
		change func(*Spec)
		want   error
	}{
		"the root":           {func(s *Spec) { s.Path = Path{} }, ErrBadPath},
		"size":               {func(s *Spec) { s.Size = -2 }, ErrRange},
		"small chunks":       {func(s *Spec) { s.ChunkLog2 = 17 }, ErrRange},
		"big chunks":         {func(s *Spec) { s.ChunkLog2 = 25 }, ErrRange},
		"2^63-1 bytes":       {func(s *Spec) { s.Size, s.ChunkLog2 = 1<<63-1, 24 }, ErrTooBig},
		"too many chunks":    {func(s *Spec) { s.Size = 1<<42 + 1 }, ErrTooBig},
		"long fingerprint":   {func(s *Spec) { s.Fingerprint = make([]byte, 65) }, ErrTooBig},
		"more than the disk": {func(s *Spec) { s.Size, s.ChunkLog2 = 1<<48, 24 }, syscall.ENOSPC},
	} {
		sp := ok
		c.change(&sp)
		f.SetSpace(1 << 30)
		if _, _, err := v.Begin(context.Background(), sp); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := d.View(strings.Repeat("x", 1025), All).Begin(context.Background(), ok); !errors.Is(err, ErrTooBig) {
		t.Error("owner:", err)
	}
}

func TestClaimsThatAreRefused(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	b := content(1, 2*chunk18+10)
	s, _ := mustBegin(t, d.View("alice", All), specOf(t, b, "file"))
	defer s.Discard()
	for _, c := range [][2]int64{{-1, 0}, {3, 0}, {1 << 62, 0}, {0, -1}, {0, 1}, {2, 10}} {
		if _, err := s.Claim(c[0], c[1]); !errors.Is(err, ErrRange) {
			t.Errorf("claim %v: %v", c, err)
		}
	}
	w, err := s.Claim(2, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(make([]byte, 11)); !errors.Is(err, ErrRange) {
		t.Error("too many bytes:", err)
	}
	if err := w.Write(nil); !errors.Is(err, ErrRange) {
		t.Error("after the end:", err)
	}
	if w, err = s.Claim(2, 0); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(make([]byte, 9)); err != nil {
		t.Error(err)
	}
	if _, err := w.Finish(crypto.CV{}); !errors.Is(err, ErrRange) {
		t.Error("too few bytes:", err)
	}
	// A bad chunk leaves no part, a good prefix does.
	if w, err = s.Claim(2, 0); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(make([]byte, 10)); err != nil {
		t.Error(err)
	}
	if _, err := w.Finish(crypto.CV{1}); !errors.Is(err, ErrChunkBad) {
		t.Error(err)
	}
	if _, parts := s.Have(); len(parts) != 0 {
		t.Error("parts", parts)
	}
	for _, r := range [][2]int64{{-1, 1}, {0, -1}, {0, 1 << 20}} {
		if _, err := s.CVs(r[0], r[1]); !errors.Is(err, ErrRange) {
			t.Errorf("cvs %v: %v", r, err)
		}
	}
	mustPut(t, s, b, 1)
	cv, _ := chunkCV(b, 1, 18, false)
	if cvs, err := s.CVs(0, 4); err != nil || !slices.Equal(cvs, []crypto.CV{{}, cv, {}, {}}) {
		t.Error(cvs, err)
	}
}

// TestPartsAreBounded: a peer that begins every chunk with one byte costs no memory for each.
func TestPartsAreBounded(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	sp := specOf(t, nil, "file")
	sp.Size = -1
	s, _ := mustBegin(t, d.View("alice", All), sp)
	for i := range int64(3000) {
		w, err := s.Claim(i, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		w.Park()
	}
	if _, parts := s.Have(); len(parts) != maxParts {
		t.Errorf("%d parts", len(parts))
	}
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
	if s, found := mustBegin(t, d.View("alice", All), sp); len(found.Parts) != maxParts {
		t.Errorf("%d parts are found", len(found.Parts))
	} else {
		s.Discard()
	}
}

func TestUnknownSize(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	v := d.View("alice", All)
	b := content(1, 2*chunk18+10)
	sp := specOf(t, b, "file")
	sp.Size = -1
	s, _ := mustBegin(t, v, sp)
	mustPut(t, s, b, 2, 0) // the short one first: it is the last
	if _, err := s.Claim(3, 0); !errors.Is(err, ErrRange) {
		t.Error("a chunk behind the last:", err)
	}
	short := b[:chunk18+5]
	if err := put(s, short, 1); !errors.Is(err, ErrRange) {
		t.Error("a second short chunk:", err)
	}
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
	s, found := mustBegin(t, v, sp)
	if fmt.Sprint(found.Have) != "[{0 1} {2 1}]" {
		t.Errorf("found %+v", found)
	}
	if _, err := s.Publish(context.Background(), commitOf(b)); !errors.Is(err, ErrMissing) {
		t.Error(err)
	}
	mustPut(t, s, b, 1)
	mustPut(t, s, b, 2) // again: a duplicate
	for _, wrong := range [][]byte{b[:2*chunk18], content(1, 2*chunk18+11)} {
		if _, err := s.Publish(context.Background(), commitOf(wrong)); !errors.Is(err, ErrMissing) {
			t.Errorf("committed with %d bytes: %v", len(wrong), err)
		}
	}
	if _, err := s.Publish(context.Background(), commitOf(b)); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "file", b)

	// A chunk was begun behind what turned out to be the end.
	one := content(2, 100)
	sp = specOf(t, one, "one")
	sp.Size = -1
	s, _ = mustBegin(t, v, sp)
	w, err := s.Claim(5, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write([]byte("begun")); err != nil {
		t.Fatal(err)
	}
	if _, err := sendRest(s, one); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "one", one)
}

// TestTwoProcesses: two Dirs on one directory stand for two processes.
func TestTwoProcesses(t *testing.T) {
	dir := t.TempDir()
	a, b := openDir(t, dir, Options{}), openDir(t, dir, Options{})
	data := content(1, 2*chunk18)
	sp := specOf(t, data, "file")
	s, _ := mustBegin(t, a.View("alice", All), sp)
	mustPut(t, s, data, 0)
	if _, _, err := b.View("alice", All).Begin(context.Background(), sp); !errors.Is(err, ErrBusy) {
		t.Error("the same stage twice:", err)
	}
	if n, err := b.CleanUp(context.Background()); n != 0 || err != nil {
		t.Error("clean-up of a stage in use:", n, err)
	}
	// Another owner has another stage.
	other, _ := mustBegin(t, b.View("bob", All), sp)
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
	s, found := mustBegin(t, b.View("alice", All), sp)
	if len(found.Have) != 1 {
		t.Errorf("found %+v", found)
	}
	if _, err := sendRest(s, data); err != nil {
		t.Fatal(err)
	}
	if _, err := sendRest(other, data); err != nil {
		t.Fatal(err)
	}
	wantContent(t, a, "file", data)

	served := openDir(t, dir, Options{KeepDoneLog: true})
	s, _ = mustBegin(t, served.View("alice", All), sp)
	defer s.Discard()
	again := openDir(t, dir, Options{KeepDoneLog: true})
	if _, _, err := again.View("bob", All).Begin(context.Background(), sp); !errors.Is(err, ErrBusy) {
		t.Error("two servers of one directory:", err)
	}
}

// TestManyBeginsOfOne: attempts that come all at once take turns, and the last one wins.
func TestManyBeginsOfOne(t *testing.T) {
	d := openDir(t, t.TempDir(), Options{KeepDoneLog: true})
	b := content(1, 2*chunk18+3)
	var wg sync.WaitGroup
	var mu sync.Mutex
	done := 0
	for range 16 {
		wg.Go(func() {
			for {
				s, f, err := d.View("alice", All).Begin(context.Background(), specOf(t, b, "dir", "file"))
				if err != nil {
					t.Error("begin:", err)
					return
				}
				if f.State != StateDone {
					_, err = sendRest(s, b)
				}
				if err == nil {
					mu.Lock()
					done++
					mu.Unlock()
					return
				}
				if !errors.Is(err, ErrFenced) && !errors.Is(err, ErrTaken) {
					t.Error("send:", err)
					return
				}
			}
		})
	}
	wg.Wait()
	if done != 16 {
		t.Error(done, "of 16 done")
	}
	wantContent(t, d, "dir/file", b)
}

// TestManyFilesAtOnce shares syncs, and each file arrives.
func TestManyFilesAtOnce(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{KeepDoneLog: true})
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			b := content(uint64(i), 1000+i)
			sp := specOf(t, b, "dir", fmt.Sprint(i%4), fmt.Sprint(i))
			sp.Transfer[0] = byte(i)
			sp.Durability = Batch
			s, _, err := d.View("alice", All).Begin(context.Background(), sp)
			if err == nil {
				_, err = sendRest(s, b)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for seed := range uint64(5) {
		img := mustOpen(t, f.Image(seed), Options{KeepDoneLog: true})
		for i := range 64 {
			wantContent(t, img, fmt.Sprintf("dir/%d/%d", i%4, i), content(uint64(i), 1000+i))
		}
	}
}

func TestNoSpace(t *testing.T) {
	f := crashfs.New(1)
	f.SetSpace(64 << 18)
	d := mustOpen(t, f, Options{})
	v := d.View("alice", All)
	b := content(1, 100<<18)
	free, _, _ := d.Space()
	if _, _, err := v.Begin(context.Background(), specOf(t, b, "file")); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal("begin:", err)
	}
	if now, _, _ := d.Space(); now != free {
		t.Errorf("space is kept that helps nobody: %d of %d bytes free", now, free)
	}
	if dirs := findStages(t, d); len(dirs) != 0 {
		t.Error("left:", dirs)
	}
	f.SetSpace(200 << 18)
	s, _ := mustBegin(t, v, specOf(t, b, "file"))
	if _, err := sendRest(s, b); err != nil {
		t.Fatal("with more space:", err)
	}
	// Of unknown size: full half-way, parked, and it goes on.
	sp := specOf(t, b, "other")
	sp.Size = -1
	f.SetSpace(150 << 18)
	s, _ = mustBegin(t, v, sp)
	if _, err := sendRest(s, b); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal("half-way:", err)
	}
	f.SetSpace(300 << 18)
	if err := s.Park(); err != nil {
		t.Fatal("park:", err)
	}
	s, found := mustBegin(t, v, sp)
	if n, _ := s.Held(); n < 30 {
		t.Errorf("only %d chunks are kept: %+v", n, found)
	}
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "other", b)
}

func TestEmptyStageIsNotKept(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	v := d.View("alice", All)
	s, _ := mustBegin(t, v, specOf(t, content(1, 4*chunk18), "file"))
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
	if es, err := d.fs.ReadDir(stagesDir); err != nil || len(es) != 0 {
		t.Error("left:", es, err)
	}
	if err := s.Park(); err != nil {
		t.Error("a second time:", err)
	}
	if _, err := s.Claim(0, 0); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := s.Publish(context.Background(), Commit{}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := s.CVs(0, 1); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestCleanUp(t *testing.T) {
	now := time.Now()
	f := crashfs.New(1)
	o := Options{Now: func() time.Time { return now }}
	d := mustOpen(t, f, o)
	b := content(1, 2*chunk18)
	for i := range 20 {
		s, _ := mustBegin(t, d.View("alice", All), specOf(t, b, fmt.Sprint("file", i)))
		mustPut(t, s, b, 0)
		if err := s.Park(); err != nil {
			t.Fatal(err)
		}
	}
	live, _ := mustBegin(t, d.View("alice", All), specOf(t, b, "file7"))
	d2 := mustOpen(t, f, o)
	other, _ := mustBegin(t, d2.View("alice", All), specOf(t, b, "file8"))
	if n, err := d.CleanUp(context.Background()); n != 0 || err != nil {
		t.Fatal("too early:", n, err)
	}
	now = now.Add(15 * 24 * time.Hour)
	if n, err := d.CleanUp(context.Background()); n != 18 || err != nil {
		t.Fatal(n, err)
	}
	if err := errors.Join(live.Park(), other.Park()); err != nil {
		t.Fatal(err)
	}
	s, found := mustBegin(t, d.View("alice", All), specOf(t, b, "file7"))
	if len(found.Have) != 1 {
		t.Error("a live stage was touched", found)
	}
	if err := s.Discard(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(15 * 24 * time.Hour)
	if n, err := d.CleanUp(context.Background()); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if es, err := d.fs.ReadDir(stagesDir); err != nil || len(es) != 0 {
		t.Error("left:", es, err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errKilled)
	mustBegin(t, d.View("alice", All), specOf(t, b, "file1"))
	if _, err := d.CleanUp(ctx); !errors.Is(err, errKilled) {
		t.Error(err)
	}
}

// TestJournalIsRewritten: many short lives of the connection do not make the journal grow without end, and lose nothing.
func TestJournalIsRewritten(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{})
	b := content(1, 2*chunk18)
	sp := specOf(t, b, "file")
	s, _ := mustBegin(t, d.View("alice", All), sp)
	mustPut(t, s, b, 1)
	for i := range int64(3000) { // each life brings one byte
		w, err := s.Claim(0, i)
		if err != nil {
			t.Fatal(i, err)
		}
		if err := w.Write(b[i : i+1]); err != nil {
			t.Fatal(err)
		}
		if err := s.Park(); err != nil {
			t.Fatal(err)
		}
		var found Found
		s, found = mustBegin(t, d.View("alice", All), sp)
		if len(found.Have) != 1 || !slices.Equal(found.Parts, []Part{{0, i + 1}}) {
			t.Fatalf("life %d: found %+v", i, found)
		}
	}
	if n := s.journal.records; n > maxRecords(2)/2+10 {
		t.Errorf("%d records", n)
	}
	if _, err := s.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(5) {
		img := mustOpen(t, f.Image(i), Options{})
		if _, found := mustBegin(t, img.View("alice", All), sp); len(found.Have) != 1 {
			t.Fatalf("after power loss: %+v", found)
		}
	}
	w, err := s.Claim(0, 3000)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(b[3000:chunk18]); err != nil {
		t.Fatal(err)
	}
	cv, _ := chunkCV(b, 0, 18, false)
	if _, err := w.Finish(cv); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Publish(context.Background(), commitOf(b)); err != nil {
		t.Fatal(err)
	}
}

// TestCVsOnDisk: for very many chunks the CVs are read from the journal again, also after it was rewritten.
func TestCVsOnDisk(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	b := content(1, 5*chunk18+9)
	sp := specOf(t, b, "file")
	s, _ := mustBegin(t, d.View("alice", All), sp)
	s.cvs.onDisk = true
	mustPut(t, s, b, 3, 0)
	if _, err := s.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, b, 5, 1)
	s.mu.Lock()
	err := s.compact()
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	mustPut(t, s, b, 2, 4, 3)
	if err := put(s, content(2, 5*chunk18+9), 0); !errors.Is(err, ErrSourceChanged) {
		t.Error(err)
	}
	if _, err := s.Publish(context.Background(), commitOf(b)); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "file", b)
}

// TestModeThatForbidsWriting: the stage has got its final mode when the publishing fails, and is taken up again.
func TestModeThatForbidsWriting(t *testing.T) {
	d := openDir(t, t.TempDir(), Options{})
	b := content(1, 2*chunk18)
	sp := specOf(t, b, "dir", "file")
	sp.Meta.Mode = 0
	s, _ := mustBegin(t, d.View("alice", All), sp)
	mustPut(t, s, b, 0, 1)
	if err := s.seal(commitOf(b), digest(b)); err != nil {
		t.Fatal(err)
	}
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
	s, found := mustBegin(t, d.View("alice", All), sp)
	if len(found.Have) != 1 {
		t.Errorf("found %+v", found)
	}
	if _, err := s.Publish(context.Background(), commitOf(b)); err != nil {
		t.Fatal(err)
	}
	if e, err := d.View("alice", All).Stat(sp.Path); err != nil || e.Mode != 0 {
		t.Error(e, err)
	}
}

// TestNotDurable: with None nothing is synced, and nothing called durable.
func TestNotDurable(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{})
	b := content(1, 3*chunk18)
	sp := specOf(t, b, "dir", "file")
	sp.Durability = None
	f.SetHook(func(_ int, op, name string) error {
		if strings.HasPrefix(op, "sync") {
			t.Errorf("%s of %s", op, name)
		}
		return nil
	})
	s, _ := mustBegin(t, d.View("alice", All), sp)
	mustPut(t, s, b, 0)
	if rs, err := s.Checkpoint(context.Background()); err != nil || len(rs) != 0 {
		t.Error(rs, err)
	}
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
	s, found := mustBegin(t, d.View("alice", All), sp)
	if len(found.Have) != 1 {
		t.Errorf("found %+v", found)
	}
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "dir/file", b)
}

// TestClosedDir: Close parks what is live, and nothing begins afterwards.
func TestClosedDir(t *testing.T) {
	dir := t.TempDir()
	d := openDir(t, dir, Options{})
	b := content(1, 2*chunk18)
	s, _ := mustBegin(t, d.View("alice", All), specOf(t, b, "file"))
	mustPut(t, s, b, 0)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := put(s, b, 1); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, _, err := d.View("alice", All).Begin(context.Background(), specOf(t, b, "file")); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	d = openDir(t, dir, Options{})
	if _, found := mustBegin(t, d.View("alice", All), specOf(t, b, "file")); len(found.Have) != 1 {
		t.Errorf("found %+v", found)
	}
}

// TestVerifyingCanBeStopped: what another process left is read again, and ctx ends that; the stage stays.
func TestVerifyingCanBeStopped(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{})
	b := content(1, 8*chunk18)
	s, _ := mustBegin(t, d.View("alice", All), specOf(t, b, "file"))
	mustPut(t, s, b, 0, 1, 2, 3, 4, 5)
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
	d = mustOpen(t, f, Options{})
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errKilled)
	ended := 0
	for range 20 { // a select between two ready channels takes either
		s, _, err := d.View("alice", All).Begin(ctx, specOf(t, b, "file"))
		if errors.Is(err, errKilled) {
			ended++
		} else if err != nil {
			t.Fatal(err)
		} else if err := s.Park(); err != nil {
			t.Fatal(err)
		} else {
			d = mustOpen(t, f, Options{})
		}
	}
	if ended == 0 {
		t.Error("never stopped")
	}
	if _, found := mustBegin(t, d.View("alice", All), specOf(t, b, "file")); len(found.Have) != 1 || found.Have[0].Count != 6 {
		t.Errorf("found %+v", found)
	}
}
