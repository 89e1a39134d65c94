package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// story is one file that is sent over a bad disk: what was there, what comes, and what the receiver has said so far.
type story struct {
	old, new []byte // old nil: nothing was there
	spec     Spec
	rights   Rights
	commit   Commit
	take     bool // what the old version has is taken from it

	acked   map[int64]bool // chunks called durable
	receipt []byte
}

var errKilled = errors.New("killed")

func newStory(t testing.TB, old []byte, how IfExists, sparse bool) *story {
	b := content(7, chunk18+1000)
	if sparse {
		b = withHoles(4*chunk18+1000, island{10_000, content(7, 50_000)}, island{4 * chunk18, content(8, 1000)})
	}
	sp := specOf(t, b, "dir", "sub", "file")
	sp.Sparse = sparse
	sp.IfExists = how
	return &story{old: old, new: b, spec: sp, rights: All, commit: commitOf(b)}
}

// again is the same story, not told yet.
func (st story) again() *story {
	st.acked = map[int64]bool{}
	return &st
}

// disk returns a file system with the old version on it, all durable.
func (st *story) disk(t testing.TB, seed uint64) *crashfs.FS {
	t.Helper()
	f := crashfs.New(seed)
	if st.old == nil {
		return f
	}
	err := errors.Join(durable.MkdirAll(f, "dir/sub", 0o777), durable.WriteFile(f, "dir/sub/file", st.old, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// try is one session: as much of the transfer as the disk lets through.
func (st *story) try(d *Dir) error {
	ctx := context.Background()
	v := d.View("alice", st.rights)
	s, f, err := v.Begin(ctx, st.spec)
	if err != nil {
		return err
	}
	if f.State == StateDone {
		st.receipt = f.Receipt
		return nil
	}
	defer s.Park()
	held := map[int64]bool{}
	for _, r := range f.Have {
		for i := range r.Count {
			held[r.Start+i] = true
		}
	}
	for i := range chunksOf(int64(len(st.new)), chunk18) {
		if held[i] {
			continue
		}
		n, err := st.put(v, s, i)
		if err != nil {
			return err
		}
		for k := range n {
			held[i+k] = true
		}
		if i == 0 {
			if err := st.interrupt(s); err != nil {
				return err
			}
			rs, err := s.Checkpoint(ctx)
			st.ack(rs)
			if err != nil {
				return err
			}
			// The connection is lost, and comes again.
			if err := s.Park(); err != nil {
				return err
			}
			return st.try(d)
		}
	}
	st.receipt, err = s.Publish(ctx, st.commit)
	return err
}

// put gets chunk i into the stage, of a sparse file all that are zeros from there on; and returns how many.
func (st *story) put(v *View, s *Stage, i int64) (n int64, err error) {
	zero := func(c int64) bool { return allZero(st.new[c*chunk18 : min((c+1)*chunk18, int64(len(st.new)))]) }
	if st.spec.Sparse && zero(i) { // the last chunk is not
		for n = 1; zero(i + n); n++ {
		}
		_, err := s.Zero(context.Background(), i, n)
		return n, err
	}
	if !st.take {
		return 1, put(s, st.new, i)
	}
	o, err := v.OldVersion(context.Background(), st.spec.Path)
	if err != nil {
		return 1, err
	}
	defer o.Close()
	cv, _ := chunkCV(st.new, i, st.spec.ChunkLog2, false)
	if err := s.Take(i, o, cv); !errors.Is(err, ErrChunkBad) {
		return 1, err
	}
	return 1, put(s, st.new, i)
}

// interrupt writes a piece of the last chunk and loses the stream.
func (st *story) interrupt(s *Stage) error {
	w, err := s.Claim(1, 0)
	if err != nil {
		return err
	}
	defer w.Park()
	if st.spec.Sparse {
		return w.Write(content(9, 5000)) // nonsense, beneath what will be zeros
	}
	return w.Write(st.new[chunk18 : chunk18+10])
}

func (st *story) ack(rs []Range) {
	for _, r := range rs {
		for i := range r.Count {
			st.acked[r.Start+i] = true
		}
	}
}

// run tries until there is a receipt or the machine is gone.
func (st *story) run(d *Dir) error {
	var err error
	for range 4 {
		if err = st.try(d); err == nil || errors.Is(err, crashfs.ErrCrashed) || errors.Is(err, errKilled) {
			return err
		}
	}
	return err
}

// check looks at a disk as a crash left it, and finishes the transfer there.
func (st *story) check(t *testing.T, f *crashfs.FS) {
	t.Helper()
	got, err := readAll(f, "dir/sub/file")
	published := err == nil && bytes.Equal(got, st.new)
	switch {
	case published:
	case st.receipt != nil:
		t.Fatalf("I4: a receipt for what is not there: %d bytes, %v", len(got), err)
	case err == nil && st.old != nil && bytes.Equal(got, st.old):
	case errors.Is(err, fs.ErrNotExist) && st.old == nil:
	default:
		t.Fatalf("I1: the final name has %d bytes, %v; old %d, new %d", len(got), err, len(st.old), len(st.new))
	}
	checkMarks(t, f, published)
	st.checkOld(t, f, got)

	d, err := Open(f, Options{KeepDoneLog: true})
	if err != nil {
		t.Fatal(err)
	}
	s, found, err := d.View("alice", st.rights).Begin(context.Background(), st.spec)
	if err != nil {
		t.Fatal("begin after the crash:", err)
	}
	if st.receipt != nil {
		if found.State != StateDone || !bytes.Equal(found.Receipt, st.receipt) {
			t.Fatalf("I4: the receipt is not replayed: %+v", found)
		}
		return
	}
	if found.State == StateDone {
		return // written, and not told any more
	}
	if !published {
		for c := range st.acked {
			s.mu.Lock()
			held := s.held.has(c)
			s.mu.Unlock()
			if !held {
				t.Fatalf("I2: chunk %d was called durable and is lost; found %+v", c, found)
			}
		}
	}
	for c := range s.chunks {
		s.mu.Lock()
		held := s.held.has(c)
		s.mu.Unlock()
		if held {
			continue
		}
		if st.spec.Sparse && c > 0 && c < s.chunks-1 {
			_, err = s.Zero(context.Background(), c, 1)
		} else {
			err = put(s, st.new, c)
		}
		if err != nil {
			t.Fatal("after the crash:", err)
		}
	}
	if _, err := s.Publish(context.Background(), st.commit); err != nil {
		t.Fatal("finish after the crash:", err)
	}
	if got, err := readAll(f, "dir/sub/file"); err != nil || !bytes.Equal(got, st.new) {
		t.Fatal("the file is not whole after all", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// checkOld: with Version a replaced file is kept.
func (st *story) checkOld(t *testing.T, f *crashfs.FS, got []byte) {
	t.Helper()
	if st.spec.IfExists != Version || st.old == nil || !bytes.Equal(got, st.new) {
		return
	}
	es, err := f.ReadDir(versionsDir + "/dir/sub/file")
	if err != nil {
		t.Fatal("the old version is lost:", err)
	}
	for _, e := range es {
		if b, err := readAll(f, versionsDir+"/dir/sub/file/"+e.Name()); err == nil && bytes.Equal(b, st.old) {
			return
		}
	}
	t.Fatal("the old version is not among", es)
}

// checkMarks is I3: what a MARK covers is there.
func checkMarks(t *testing.T, f *crashfs.FS, published bool) {
	t.Helper()
	keys, err := f.ReadDir(stagesDir)
	if err != nil {
		return
	}
	for _, k := range keys {
		stages, _ := f.ReadDir(stagesDir + "/" + k.Name())
		for _, s := range stages {
			dir := stagesDir + "/" + k.Name() + "/" + s.Name()
			journal, err := readAll(f, dir+"/journal")
			if err != nil {
				continue
			}
			data, err := readAll(f, dir+"/data")
			if errors.Is(err, fs.ErrNotExist) && published {
				continue
			}
			h, claims := referenceMarked(journal)
			for c, cv := range claims {
				lo, hi := c<<h.chunkLog2, min((c+1)<<h.chunkLog2, h.size)
				var got crypto.CV
				if hi <= int64(len(data)) {
					got, _ = chunkCV(append(make([]byte, lo, hi), data[lo:hi]...), c, h.chunkLog2, h.size > 1<<h.chunkLog2)
				}
				if got != cv {
					t.Fatalf("I3: chunk %d is marked and not there", c)
				}
			}
		}
	}
}

var stories = []struct {
	name string
	old  []byte
	how  IfExists

	take, sparse bool
}{
	{"new", nil, Replace, false, false},
	{"replace", content(3, 5000), Replace, false, false},
	{"new, no clobber", nil, Fail, false, false},
	{"version", content(3, 5000), Version, false, false},
	{"a part of the old", append(content(7, chunk18+1000)[:chunk18], content(3, 5000)...), Replace, true, false},
	{"holes", nil, Replace, false, true},
}

// each runs a story with a fault at the k-th operation, for k = 1 and so on until nothing is hit any more. With reads
// those count as well.
func each(t *testing.T, seeds uint64, reads bool, fault func(f *crashfs.FS, k int), after func(t *testing.T, st *story, f *crashfs.FS, err error)) {
	for _, c := range stories {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			first := newStory(t, c.old, c.how, c.sparse)
			first.take = c.take
			for seed := range seeds {
				for k := 1; ; k++ {
					if k > 2000 {
						t.Fatal("no end")
					}
					st := first.again()
					f := st.disk(t, seed)
					d, err := Open(f, Options{KeepDoneLog: true})
					if err != nil {
						t.Fatal(err)
					}
					f.CountReads(reads)
					before := f.Ops()
					fault(f, k)
					err = st.run(d)
					hit := f.Ops()-before >= k
					t.Run(fmt.Sprintf("seed %d k %d", seed, k), func(t *testing.T) {
						defer func() {
							if t.Failed() {
								tr := f.Trace()
								t.Logf("error %v\n%s", err, strings.Join(tr[max(0, len(tr)-60):], "\n"))
							}
						}()
						after(t, st, f, err)
					})
					if !hit {
						break
					}
					if t.Failed() {
						return
					}
				}
			}
		})
	}
}

func TestPowerCutAtEachOperation(t *testing.T) {
	each(t, 2, false, func(f *crashfs.FS, k int) { f.CrashAt(k) }, func(t *testing.T, st *story, f *crashfs.FS, err error) {
		if err != nil && !errors.Is(err, crashfs.ErrCrashed) {
			t.Fatal("run:", err)
		}
		for range 4 {
			st.check(t, f.Crash())
		}
	})
}

func TestErrorAtEachOperation(t *testing.T) {
	for _, e := range []struct {
		name  string
		reads bool
		fault func(f *crashfs.FS, k int)
	}{
		{"EIO", true, func(f *crashfs.FS, k int) { f.FailAt(k, syscall.EIO) }},
		{"ENOSPC", false, func(f *crashfs.FS, k int) { f.FailAt(k, syscall.ENOSPC) }},
		{"short write", false, func(f *crashfs.FS, k int) { f.ShortAt(k, syscall.ENOSPC) }},
		{"EIO of two", false, func(f *crashfs.FS, k int) { f.FailAt(k, syscall.EIO); f.FailAt(k+1, syscall.EIO) }},
	} {
		t.Run(e.name, func(t *testing.T) {
			each(t, 1, e.reads, e.fault, func(t *testing.T, st *story, f *crashfs.FS, err error) {
				if err != nil {
					t.Fatal("not done after four tries:", err)
				}
				for i := range uint64(3) {
					st.check(t, f.Image(i))
				}
				st.check(t, f.Kill())
			})
		})
	}
}

// TestBrokenFromEachOperation: everything fails from some moment on, then the process is killed, or the power cut, and the
// disk works again.
func TestBrokenFromEachOperation(t *testing.T) {
	each(t, 1, false, func(f *crashfs.FS, k int) { f.FailFrom(k, syscall.EIO) }, func(t *testing.T, st *story, f *crashfs.FS, err error) {
		for i := range uint64(3) {
			st.check(t, f.Image(i))
		}
		st.check(t, f.Kill())
	})
}

// TestKillAtEachOperation: the process is killed, another one finishes, then the power fails.
func TestKillAtEachOperation(t *testing.T) {
	each(t, 1, false, func(f *crashfs.FS, k int) { f.FailFrom(k, errKilled) }, func(t *testing.T, st *story, f *crashfs.FS, err error) {
		if err != nil && !errors.Is(err, errKilled) {
			t.Fatal("run:", err)
		}
		f = f.Kill()
		d, err := Open(f, Options{KeepDoneLog: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.run(d); err != nil {
			t.Fatal("second process:", err)
		}
		for i := range uint64(3) {
			st.check(t, f.Image(i))
		}
	})
}
