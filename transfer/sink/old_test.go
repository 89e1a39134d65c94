package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// mustOld opens what is at name, which holds b.
func mustOld(t testing.TB, v *View, b []byte, name string) *Old {
	t.Helper()
	if b != nil {
		if err := durable.WriteFile(v.d.fs, name, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	o, err := v.OldVersion(context.Background(), mustPath(t, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.Close() })
	return o
}

// cvOf is the chaining value that part i of b has, in parts of 1<<log2 bytes.
func cvOf(b []byte, i int64, log2 uint8) crypto.CV {
	cv, _ := chunkCV(b, i, log2, true)
	return cv
}

func TestOldVersionTellsItsChainingValues(t *testing.T) {
	ctx := context.Background()
	for _, size := range []int{0, 1, 16 << 10, 16<<10 + 1, chunk18 - 1, chunk18, chunk18 + 1, 3*chunk18 + 12345} {
		v := mustOpen(t, crashfs.New(1), Options{}).View("alice", All)
		b := content(uint64(size), size)
		o := mustOld(t, v, b, "file")
		if o.Size() != int64(size) {
			t.Errorf("size %d, want %d", o.Size(), size)
		}
		for _, log2 := range []uint8{14, 15, 17, 18, 20} {
			n := chunksOf(int64(size), 1<<log2)
			var want []crypto.CV
			for i := range n {
				want = append(want, cvOf(b, i, log2))
			}
			got, err := o.CVs(ctx, 0, maxOldCVs, log2)
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("%d bytes by 2^%d: %d values, %v, want %d", size, log2, len(got), err, n)
			}
			if n > 2 {
				got, err = o.CVs(ctx, 1, n-2, log2)
				if err != nil || !slices.Equal(got, want[1:n-1]) {
					t.Errorf("%d bytes by 2^%d from 1: other values, %v", size, log2, err)
				}
			}
			if got, err := o.CVs(ctx, n, 5, log2); err != nil || len(got) != 0 {
				t.Errorf("behind the end: %d, %v", len(got), err)
			}
		}
		if size > chunk18 {
			got, err := o.Groups(ctx, 1, 18)
			want, err2 := o.CVs(ctx, 16, 16, 14)
			if err != nil || err2 != nil || len(got) == 0 || !slices.Equal(got, want) {
				t.Errorf("groups: %d, %v, %v", len(got), err, err2)
			}
		}
	}
}

func TestOldVersionLimits(t *testing.T) {
	v := mustOpen(t, crashfs.New(1), Options{}).View("alice", All)
	o := mustOld(t, v, content(1, 100), "file")
	ctx, cancel := context.WithCancel(context.Background())
	for _, c := range []struct {
		first, count int64
		log2         uint8
	}{{-1, 1, 18}, {0, -1, 18}, {0, maxOldCVs + 1, 18}, {0, 1, 13}, {0, 1, 25}, {1 << 62, 1, 18}} {
		if _, err := o.CVs(ctx, c.first, c.count, c.log2); !errors.Is(err, ErrRange) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, c := range []struct {
		chunk int64
		log2  uint8
	}{{-1, 18}, {0, 13}, {0, 25}, {1 << 60, 18}} {
		if _, err := o.Groups(ctx, c.chunk, c.log2); !errors.Is(err, ErrRange) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	cancel()
	if _, err := o.CVs(ctx, 0, 1, 18); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is done: %v", err)
	}
	if _, err := v.OldVersion(ctx, mustPath(t, "file")); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that is done: %v", err)
	}
}

func TestOldVersionOpensFilesOnly(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{})
	must(t, f.Mkdir("dir", 0o755))
	must(t, durable.WriteFile(f, "file", nil, 0o644))
	must(t, f.Symlink("file", "link"))
	must(t, f.Mkfifo("fifo", 0o644))
	for name, want := range map[string]error{
		"missing": fs.ErrNotExist, "dir": ErrIsDir, "link": durable.ErrNotRegular, "fifo": durable.ErrNotRegular, "file/x": ErrNotDir,
	} {
		p, err := NewPath(name)
		if name == "file/x" {
			p, err = mustPath(t, "file", "x"), nil
		}
		must(t, err)
		if _, err := d.View("alice", All).OldVersion(context.Background(), p); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
	}
	// Who may not read learns nothing of what is there.
	for _, r := range []Rights{Put, Get, Put | RList | RStat} {
		if _, err := d.View("alice", r).OldVersion(context.Background(), mustPath(t, "file")); !errors.Is(err, ErrDenied) {
			t.Errorf("%v: %v", r, err)
		}
	}
}

// changed is b with one byte of each of the chunks changed.
func changed(b []byte, chunks ...int64) []byte {
	b = bytes.Clone(b)
	for _, c := range chunks {
		b[c*chunk18+20_000] ^= 1
	}
	return b
}

// takeOrPut fills what is missing with what the old version has, and else with what the sender has.
func takeOrPut(s *Stage, o *Old, b []byte) (taken int, err error) {
	for i := range chunksOf(int64(len(b)), s.chunkSize) {
		s.mu.Lock()
		held := s.held.has(i)
		s.mu.Unlock()
		if held {
			continue
		}
		cv, _ := chunkCV(b, i, s.spec.ChunkLog2, false)
		err := s.Take(i, o, cv)
		if errors.Is(err, ErrChunkBad) {
			err = put(s, b, i)
		} else if err == nil {
			taken++
		}
		if err != nil {
			return taken, err
		}
	}
	return taken, nil
}

func testTake(t *testing.T, f durable.FS) {
	d := mustOpen(t, f, Options{})
	v := d.View("alice", All)
	b := content(1, 5*chunk18+1000)
	for _, c := range []struct {
		name  string
		old   []byte
		taken int
	}{
		{"equal", b, 6},
		{"changed", changed(b, 1, 3), 4},
		{"shorter", b[:3*chunk18+5], 3},
		{"longer", append(bytes.Clone(b), 7), 6},
		{"empty", []byte{}, 0},
		{"other", content(2, len(b)), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := "file-" + c.name
			o := mustOld(t, v, c.old, name)
			s, _ := mustBegin(t, v, specOf(t, b, name))
			taken, err := takeOrPut(s, o, b)
			if err != nil || taken != c.taken {
				t.Fatalf("%d chunks taken, %v, want %d", taken, err, c.taken)
			}
			if _, err := s.Publish(context.Background(), commitOf(b)); err != nil {
				t.Fatal(err)
			}
			wantContent(t, d, name, b)
		})
	}
}

func TestTakeFromTheOldVersion(t *testing.T) {
	t.Run("memory", func(t *testing.T) { testTake(t, crashfs.New(1)) })
	t.Run("os", func(t *testing.T) {
		f, err := durable.OpenOS(t.TempDir())
		must(t, err)
		testTake(t, f)
	})
	t.Run("xfs", func(t *testing.T) {
		f, err := durable.OpenOS(mustLoop(t, "xfs", "300M"))
		must(t, err)
		testTake(t, f)
	})
}

// mustLoop mounts an image of its own, or skips where that cannot be done.
func mustLoop(t *testing.T, kind, size string) string {
	t.Helper()
	image, dir := t.TempDir()+"/image", t.TempDir()
	for _, c := range [][]string{
		{"truncate", "-s", size, image},
		{"mkfs." + kind, "-q", image},
		{"mount", "-o", "loop", image, dir},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Skipf("needs %s and the right to mount: %v\n%s", c[0], err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			_ = exec.Command("umount", "-l", dir).Run()
			t.Errorf("%v\n%s", err, out)
		}
	})
	return dir
}

// Where the file system can, what is taken needs no second place on the disk.
func TestTakeSharesSpace(t *testing.T) {
	d := openDir(t, mustLoop(t, "xfs", "300M"), Options{})
	v := d.View("alice", All)
	b := content(1, 64*chunk18)
	o := mustOld(t, v, b, "file")
	sp := specOf(t, b, "file")
	s, _ := mustBegin(t, v, sp)
	must(t, s.data.Truncate(0)) // gives back what was reserved
	must(t, s.data.Truncate(sp.Size))
	s.watch.mine()
	must(t, s.data.Sync())
	before, _, err := d.Space()
	must(t, err)
	if taken, err := takeOrPut(s, o, b); err != nil || taken != 64 {
		t.Fatal(taken, err)
	}
	if _, err := s.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	after, _, err := d.Space()
	must(t, err)
	if used := before - after; used > int64(len(b))/8 {
		t.Errorf("%d bytes more are used for %d that were there", used, len(b))
	}
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "file", b)
}

// A chunk is made of what the sender sends and what the old version has, in any order.
func TestChunkOfOldAndNewGroups(t *testing.T) {
	v := mustOpen(t, crashfs.New(1), Options{}).View("alice", All)
	b := content(1, 2*chunk18)
	const group = 16 << 10
	old := bytes.Clone(b)
	for _, g := range []int{0, 3, 4, 15} {
		old[chunk18+g*group+7] ^= 1
	}
	o := mustOld(t, v, old, "file")
	s, _ := mustBegin(t, v, specOf(t, b, "file"))
	defer s.Park()
	mustPut(t, s, b, 0)
	groups, err := o.Groups(context.Background(), 1, 18)
	must(t, err)
	w, err := s.Claim(1, 0)
	must(t, err)
	sent := 0
	for i, cv := range groups {
		at := chunk18 + i*group
		if cv == cvOf(b, int64(16+i), 14) {
			must(t, w.Take(o, group))
			continue
		}
		sent++
		must(t, w.Write(b[at:at+group]))
	}
	cv, _ := chunkCV(b, 1, 18, false)
	if _, err := w.Finish(cv); err != nil || sent != 4 {
		t.Fatal(sent, err)
	}
	if _, err := s.Publish(context.Background(), commitOf(b)); err != nil {
		t.Fatal(err)
	}
}

// Guard of I1: chunk.go, Finish; old.go, Take. What changes while it is taken costs sending it, no more.
func TestOldVersionThatChanges(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name   string
		change func(f durable.File) error
		seen   bool
	}{
		{"overwritten", func(f durable.File) error { _, err := f.WriteAt([]byte("changed"), 100); return err }, true},
		{"cut", func(f durable.File) error { return f.Truncate(10) }, true},
		{"longer", func(f durable.File) error { return f.Truncate(3 * chunk18) }, true},
		{"time put back", func(f durable.File) error {
			fi, err := f.Stat()
			if err == nil {
				_, err = f.WriteAt([]byte("changed"), 100)
			}
			return errors.Join(err, f.SetTimes(fi.ModTime()))
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := mustOpen(t, crashfs.New(1), Options{})
			v := d.View("alice", All)
			b := content(1, 2*chunk18)
			o := mustOld(t, v, b, "file")
			cvs, err := o.CVs(ctx, 0, 2, 18)
			if err != nil || cvs[0] != cvOf(b, 0, 18) {
				t.Fatal(err)
			}
			f, err := d.fs.OpenFile("file", os.O_RDWR, 0)
			must(t, err)
			must(t, c.change(f))
			if err := o.Unchanged(); errors.Is(err, ErrOldChanged) != c.seen {
				t.Errorf("Unchanged: %v", err)
			}
			if _, err := o.CVs(ctx, 0, 2, 18); errors.Is(err, ErrOldChanged) != c.seen {
				t.Errorf("CVs: %v", err)
			}
			s, _ := mustBegin(t, v, specOf(t, b, "file"))
			cv, _ := chunkCV(b, 0, 18, false)
			err = s.Take(0, o, cv)
			if c.name == "longer" {
				must(t, err) // the bytes are what they were
			} else if !errors.Is(err, ErrChunkBad) {
				t.Fatalf("Take: %v", err)
			} else if have, parts := s.Have(); len(have) != 0 || len(parts) != 0 {
				t.Fatalf("kept of a bad chunk: %v, %v", have, parts)
			}
			if _, err := sendRest(s, b); err != nil {
				t.Fatal(err)
			}
			wantContent(t, d, "file", b)
		})
	}
}

// Guards of I6: stage.go Claim; old.go Take, compare.
func TestTakeKeepsToTheRules(t *testing.T) {
	v := mustOpen(t, crashfs.New(1), Options{}).View("alice", All)
	b := content(1, 3*chunk18)
	old := changed(b, 1)
	o := mustOld(t, v, old, "file")
	s, _ := mustBegin(t, v, specOf(t, b, "file"))
	defer s.Park()
	cv := func(b []byte, i int64) crypto.CV { cv, _ := chunkCV(b, i, 18, false); return cv }

	mustPut(t, s, b, 0)
	if err := s.Take(0, o, cv(b, 0)); err != nil {
		t.Errorf("a held chunk, the same: %v", err)
	}
	if err := s.Take(0, o, cv(old, 1)); !errors.Is(err, ErrSourceChanged) {
		t.Errorf("a held chunk, another: %v", err)
	}
	if err := s.Take(5, o, crypto.CV{}); !errors.Is(err, ErrRange) {
		t.Errorf("a chunk that there is none: %v", err)
	}
	w, err := s.Claim(1, 0)
	must(t, err)
	if err := s.Take(1, o, cv(old, 1)); err != nil {
		t.Errorf("taken over: %v", err)
	}
	if err := w.Write(b[chunk18 : chunk18+10]); !errors.Is(err, ErrTaken) {
		t.Errorf("the former writer: %v", err)
	}
	if err := w.Take(o, 10); !errors.Is(err, ErrTaken) {
		t.Errorf("the former writer: %v", err)
	}
	w, err = s.Claim(2, 0)
	must(t, err)
	if err := w.Take(o, chunk18+1); !errors.Is(err, ErrRange) {
		t.Errorf("more than the chunk has: %v", err)
	}
	must(t, s.Discard())
	if err := s.Take(2, o, cv(b, 2)); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

func TestTakeFromManySides(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	v := d.View("alice", All)
	b := content(1, 8*chunk18+5)
	o := mustOld(t, v, changed(b, 2, 5), "file")
	s, _ := mustBegin(t, v, specOf(t, b, "file"))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := takeOrPut(s, o, b); err != nil && !errors.Is(err, ErrTaken) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "file", b)
}

// BenchmarkOldVersion compares a file with what is there: by chunks of 1 MiB, and by groups of 16 KiB.
func BenchmarkOldVersion(b *testing.B) {
	d := openDir(b, b.TempDir(), Options{})
	data := content(1, 64<<20)
	o := mustOld(b, d.View("alice", All), data, "file")
	for _, log2 := range []uint8{20, 14} {
		b.Run(fmt.Sprint("parts of 2^", log2), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := o.CVs(context.Background(), 0, maxOldCVs, log2); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
