package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
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

func TestVersionsAreKept(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{KeepVersions: 3, Now: func() time.Time { return now }})
	var replaced []string
	for i := range 8 {
		b := content(uint64(i), 1000)
		sp := specOf(t, b, "dir", "file")
		sp.IfExists = Version
		s, _ := mustBegin(t, d.View("alice", All), sp)
		c := commitOf(b)
		c.Sign = func(p Published) ([]byte, error) {
			replaced = append(replaced, p.Replaced.String())
			return nil, nil
		}
		if _, err := sendAll(s, b, c); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 { // two at the same moment
			now = now.Add(time.Second)
		}
	}
	es, err := d.fs.ReadDir(versionsDir + "/dir/file")
	if err != nil || len(es) != 3 {
		t.Fatal(es, err)
	}
	for _, i := range []int{4, 5, 6} { // 7 is the file
		wantContent(t, d, versionsDir+"/"+replaced[i+1], content(uint64(i), 1000))
		if _, err := NewPath(strings.Split(replaced[i+1], "/")...); err != nil {
			t.Error("not to be sent to a peer:", err)
		}
	}
	if replaced[0] != "." || replaced[1] != "dir/file/20260102T030405.000000006Z" {
		t.Errorf("replaced %q", replaced)
	}
}

// TestVersionOfWhatIsReplaced: somebody else publishes between the keeping of the old file and the rename. What is
// replaced is what is kept, and that is durable before.
func TestVersionOfWhatIsReplaced(t *testing.T) {
	f := crashfs.New(1)
	one, two, b := content(1, 1000), content(2, 1000), content(3, 1000)
	if err := durable.WriteFile(f, "file", one, 0o644); err != nil {
		t.Fatal(err)
	}
	d := mustOpen(t, f, Options{})
	sp := specOf(t, b, "file")
	sp.IfExists = Version
	s, _ := mustBegin(t, d.View("alice", All), sp)
	mustPut(t, s, b, 0)
	d.fs = &betweenLinkAndRename{FS: f, do: func() {
		if err := durable.WriteFile(f, "file", two, 0o644); err != nil {
			t.Error(err)
		}
	}}
	var ops []string
	f.SetHook(func(_ int, op, name string) error {
		if strings.HasPrefix(name, versionsDir) || name == s.dataName && op == "rename" {
			ops = append(ops, op+" "+name)
		}
		return nil
	})
	if _, err := s.Publish(context.Background(), commitOf(b)); err != nil {
		t.Fatal(err)
	}
	f.SetHook(nil)
	wantContent(t, d, "file", b)
	es, err := f.ReadDir(versionsDir + "/file")
	if err != nil || len(es) != 1 {
		t.Fatal(es, err)
	}
	wantContent(t, d, versionsDir+"/file/"+es[0].Name(), two)
	if n := len(ops); ops[n-1] != "rename "+s.dataName || ops[n-2] != "syncdir "+versionsDir+"/file" {
		t.Errorf("operations %q", ops)
	}
}

type betweenLinkAndRename struct {
	durable.FS
	do   func()
	once sync.Once
}

func (f *betweenLinkAndRename) Link(a, b string) error {
	err := f.FS.Link(a, b)
	f.once.Do(f.do)
	return err
}

// TestParentsAreSyncedAgain when somebody has put another directory in place of one that was durable.
// Guard: dir.go syncAbove.
func TestParentsAreSyncedAgain(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{})
	b := content(1, 100)
	for _, n := range []string{"one", "two"} {
		s, _ := mustBegin(t, d.View("alice", All), specOf(t, b, "dir", n))
		if _, err := sendRest(s, b); err != nil {
			t.Fatal(err)
		}
		for i := range uint64(20) {
			if _, err := f.Image(i).Lstat("dir/" + n); err != nil {
				t.Fatalf("%s after power loss: %v", n, err)
			}
		}
		if err := errors.Join(f.Rename("dir", "was "+n), f.Mkdir("dir", 0o755)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConfirm(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{KeepDoneLog: true})
	b := content(1, 3000)
	// Nothing of it is durable: another program has just written it.
	other, err := f.OpenFile("file", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.Write(b)
	if err := errors.Join(err, other.Close(), f.Mkdir("dir", 0o777), f.Rename("file", "dir/file"), f.Symlink("file", "dir/link")); err != nil {
		t.Fatal(err)
	}
	v := d.View("alice", Put|NoReplace) // who may not even see it
	sp := specOf(t, b, "dir", "file")
	if e, err := v.Existing(sp.Path); err != nil || e.Size != 3000 || e.Kind != File {
		t.Error(e, err)
	}
	r, err := v.Confirm(context.Background(), sp, commitOf(b))
	if err != nil || len(r) == 0 {
		t.Fatal(err)
	}
	for i := range uint64(20) {
		if got, err := readAll(f.Image(i), "dir/file"); err != nil || !bytes.Equal(got, b) {
			t.Fatal("a receipt for what is not durable", err)
		}
	}
	if _, found, err := v.Begin(context.Background(), sp); err != nil || found.State != StateDone || !bytes.Equal(found.Receipt, r) {
		t.Error(found, err)
	}
	if _, err := v.Confirm(context.Background(), sp, commitOf(content(2, 3000))); !errors.Is(err, fs.ErrExist) {
		t.Error("other content:", err)
	}
	if _, err := v.Confirm(context.Background(), specOf(t, b, "dir", "none"), commitOf(b)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("no file:", err)
	}
	if _, err := v.Confirm(context.Background(), specOf(t, b, "dir", "link"), commitOf(b)); !errors.Is(err, fs.ErrExist) {
		t.Error("a link:", err)
	}
	if _, err := v.Confirm(context.Background(), specOf(t, b, "dir"), commitOf(b)); !errors.Is(err, ErrIsDir) {
		t.Error("a directory:", err)
	}
}

// TestForwardRecovery: the crash comes after the rename, and nothing is sent again.
func TestForwardRecovery(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{KeepDoneLog: true})
	b := content(1, 2*chunk18+5)
	sp := specOf(t, b, "dir", "file")
	s, _ := mustBegin(t, d.View("alice", All), sp)
	c := commitOf(b)
	c.Sign = func(Published) ([]byte, error) { return nil, errKilled }
	if _, err := sendAll(s, b, c); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	wantContent(t, d, "dir/file", b)
	f = f.Kill()
	d = mustOpen(t, f, Options{KeepDoneLog: true})
	s, found := mustBegin(t, d.View("alice", All), sp)
	if found.State != StatePartial || fmt.Sprint(found.Have) != "[{0 3}]" {
		t.Fatalf("found %+v", found)
	}
	before, _ := d.fs.Lstat("dir/file")
	if dupErr := put(s, b, 1); dupErr != nil {
		t.Error("a duplicate:", dupErr)
	}
	if _, err := s.Checkpoint(context.Background()); err != nil {
		t.Error(err)
	}
	if err := s.Park(); err != nil {
		t.Error(err)
	}
	s, _ = mustBegin(t, d.View("alice", All), sp)
	r, err := s.Publish(context.Background(), commitOf(b))
	if err != nil || len(r) == 0 {
		t.Fatal(err)
	}
	after, _ := d.fs.Lstat("dir/file")
	if !durable.SameFile(before, after) {
		t.Error("published again")
	}
	if len(findStages(t, d)) != 0 {
		t.Error("left:", findStages(t, d))
	}

	// Somebody has changed the file since: then it is sent again.
	sp.Transfer[0]++
	s, _ = mustBegin(t, d.View("alice", All), sp)
	if _, err := sendAll(s, b, c); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	d = mustOpen(t, f.Kill(), Options{KeepDoneLog: true})
	if err := durable.WriteFile(d.fs, "dir/file", b[1:], 0o644); err != nil {
		t.Fatal(err)
	}
	s, found = mustBegin(t, d.View("alice", All), sp)
	if len(found.Have) != 0 {
		t.Errorf("found %+v", found)
	}
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "dir/file", b)
}

// TestStageBesideTheFile: where a mount lies between, the stage is made on the other side. The other device is played.
func TestStageBesideTheFile(t *testing.T) {
	f := crashfs.New(1)
	if err := durable.MkdirAll(f, "mnt/dir", 0o777); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	d := mustOpen(t, &mounted{FS: f}, Options{Now: func() time.Time { return now }})
	v := d.View("alice", All)
	b := content(1, 2*chunk18)
	sp := specOf(t, b, "mnt", "dir", "new", "file")
	s, _ := mustBegin(t, v, sp)
	if !strings.HasPrefix(s.dir, "mnt/dir/.xfer-") {
		t.Fatal("stage in", s.dir)
	}
	mustPut(t, s, b, 0)
	if _, err := s.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
	if es, _, err := v.List(context.Background(), mustPath(t, "mnt", "dir"), "", 10); err != nil || len(es) != 0 {
		t.Error("seen:", es, err)
	}
	s, found := mustBegin(t, v, sp)
	if len(found.Have) != 1 {
		t.Errorf("found %+v", found)
	}
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "mnt/dir/new/file", b)
	if es, err := f.ReadDir("mnt/dir"); err != nil || len(es) != 1 {
		t.Error("left:", es, err)
	}
	if es, err := f.ReadDir(awayDir); err != nil || len(es) != 0 {
		t.Error("left:", es, err)
	}
	// CleanUp finds it as well.
	s, _ = mustBegin(t, v, specOf(t, b, "mnt", "dir", "second"))
	mustPut(t, s, b, 0)
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
	now = now.Add(20 * 24 * time.Hour)
	if n, err := d.CleanUp(context.Background()); n != 1 || err != nil {
		t.Error(n, err)
	}
	if es, err := f.ReadDir("mnt/dir"); err != nil || len(es) != 1 {
		t.Error("left:", es, err)
	}
	if err := v.Symlink(mustPath(t, "mnt", "link"), "x", Replace, nil); err != nil {
		t.Error("link on the other device:", err)
	}
}

// mounted is an FS in which "mnt" and all beneath it is another device.
type mounted struct{ durable.FS }

func (m *mounted) other(name string) bool { return name == "mnt" || strings.HasPrefix(name, "mnt/") }

func (m *mounted) Lstat(name string) (fs.FileInfo, error) {
	fi, err := m.FS.Lstat(name)
	if err == nil && m.other(name) {
		id, _ := durable.IDOf(fi)
		id.Dev += 100
		fi = otherDevice{fi, id}
	}
	return fi, err
}

type otherDevice struct {
	fs.FileInfo
	id durable.ID
}

func (o otherDevice) Sys() any { return o.id }

func (m *mounted) check(a, b string) error {
	if m.other(a) != m.other(b) {
		return &os.LinkError{Op: "rename", Old: a, New: b, Err: syscall.EXDEV}
	}
	return nil
}

func (m *mounted) Rename(a, b string) error {
	if err := m.check(a, b); err != nil {
		return err
	}
	return m.FS.Rename(a, b)
}

func (m *mounted) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := m.FS.OpenFile(name, flag, perm)
	if err == nil && m.other(name) {
		f = &mountedFile{f}
	}
	return f, err
}

type mountedFile struct{ durable.File }

func (f *mountedFile) Stat() (fs.FileInfo, error) {
	fi, err := f.File.Stat()
	if err == nil {
		id, _ := durable.IDOf(fi)
		id.Dev += 100
		fi = otherDevice{fi, id}
	}
	return fi, err
}

// TestHiddenMount: the device number is the same on both sides (a bind mount), and the rename tells. The second try works.
func TestHiddenMount(t *testing.T) {
	f := crashfs.New(1)
	if err := durable.MkdirAll(f, "mnt", 0o777); err != nil {
		t.Fatal(err)
	}
	d := mustOpen(t, &bound{mounted{f}}, Options{})
	v := d.View("alice", All)
	b := content(1, 2*chunk18)
	sp := specOf(t, b, "mnt", "file")
	s, _ := mustBegin(t, v, sp)
	if _, err := sendRest(s, b); !errors.Is(err, syscall.EXDEV) {
		t.Fatal(err)
	}
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
	s, _ = mustBegin(t, v, sp)
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "mnt/file", b)
}

type bound struct{ mounted }

func (m *bound) Lstat(name string) (fs.FileInfo, error) { return m.FS.Lstat(name) }
func (m *bound) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	return m.FS.OpenFile(name, flag, perm)
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

// TestParentsComeBeforeTheRename: else a power cut could take the new directory, and with it the only copy of what was
// called durable. Guard: publish.go makeParents.
func TestParentsComeBeforeTheRename(t *testing.T) {
	for seed := range uint64(60) {
		f := crashfs.New(seed)
		d := mustOpen(t, f, Options{})
		b := content(1, 2*chunk18)
		sp := specOf(t, b, "dir", "sub", "file")
		s, _ := mustBegin(t, d.View("alice", All), sp)
		mustPut(t, s, b, 0, 1)
		if _, err := s.Checkpoint(context.Background()); err != nil {
			t.Fatal(err)
		}
		renamed := false
		f.SetHook(func(_ int, op, name string) error {
			if renamed {
				return crashfs.ErrCrashed
			}
			renamed = op == "rename"
			return nil
		})
		if _, err := s.Publish(context.Background(), commitOf(b)); !errors.Is(err, crashfs.ErrCrashed) {
			t.Fatal(err)
		}
		d = mustOpen(t, f.Crash(), Options{})
		if _, found := mustBegin(t, d.View("alice", All), sp); len(found.Have) != 1 || found.Have[0].Count != 2 {
			if got, err := readAll(d.fs, "dir/sub/file"); err != nil || !bytes.Equal(got, b) {
				t.Fatalf("seed %d: found %+v, %v", seed, found, err)
			}
		}
	}
}

// TestPublishedUnderBothNames: a crash left the published file in its stage too. It is not written to any more.
// Guard: load.go openData "SameFile(fi, at.info)".
func TestPublishedUnderBothNames(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{})
	b := content(1, 2*chunk18)
	sp := specOf(t, b, "file")
	s, _ := mustBegin(t, d.View("alice", All), sp)
	mustPut(t, s, b, 0)
	if err := s.Park(); err != nil {
		t.Fatal(err)
	}
	if err := f.Link(s.dataName, "file"); err != nil {
		t.Fatal(err)
	}
	want, err := readAll(f, "file")
	if err != nil {
		t.Fatal(err)
	}
	s, _ = mustBegin(t, d.View("alice", All), sp)
	w, err := s.Claim(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write([]byte("rubbish")); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "file", want)
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "file", b)
}
