package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

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
