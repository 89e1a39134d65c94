package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// island is content at a place of a sparse file; between them are zeros.
type island struct {
	at int64
	b  []byte
}

// withHoles makes a file of size bytes.
func withHoles(size int, islands ...island) []byte {
	b := make([]byte, size)
	for _, i := range islands {
		copy(b[i.at:], i.b)
	}
	return b
}

func sparseSpec(t testing.TB, b []byte, parts ...string) Spec {
	sp := specOf(t, b, parts...)
	sp.Sparse = true
	return sp
}

// sendSparse sends what is missing as the sender of a sparse file does.
func sendSparse(s *Stage, b []byte) error {
	n := chunksOf(int64(len(b)), s.chunkSize)
	held := func(c int64) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.held.has(c)
	}
	for c := int64(0); c < n; c++ {
		if held(c) {
			continue
		}
		end := c
		for end < n && !held(end) && allZero(b[end*s.chunkSize:min((end+1)*s.chunkSize, int64(len(b)))]) {
			end++
		}
		if end == c {
			if err := put(s, b, c); err != nil {
				return err
			}
			continue
		}
		if _, err := s.Zero(context.Background(), c, end-c); err != nil {
			return err
		}
		c = end - 1
	}
	return nil
}

// blocksOf returns how many bytes name has on the disk.
func blocksOf(t testing.TB, fsys durable.FS, name string) int64 {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	fi, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	n, ok := durable.Blocks(fi)
	if !ok {
		t.Skip("the system does not tell the blocks of a file")
	}
	return n * 512
}

// overHoles runs a test over file systems with holes.
func overHoles(t *testing.T, f func(t *testing.T, fsys durable.FS)) {
	t.Run("memory", func(t *testing.T) { f(t, crashfs.New(1)) })
	for name, dir := range map[string]func(t *testing.T) string{
		"os":  func(t *testing.T) string { return t.TempDir() },
		"xfs": func(t *testing.T) string { return mustLoop(t, "xfs", "300M") },
	} {
		t.Run(name, func(t *testing.T) {
			fsys, err := durable.OpenOS(dir(t))
			must(t, err)
			h, err := fsys.OpenFile("probe", os.O_RDWR|os.O_CREATE, 0o600)
			must(t, err)
			must(t, h.Truncate(1<<20))
			at, err := h.NextData(0)
			if err := errors.Join(err, h.Close(), fsys.Remove("probe")); err != nil || at != 1<<20 {
				t.Skip("no holes here:", at, err)
			}
			f(t, fsys)
		})
	}
}

func TestSparseFiles(t *testing.T) {
	for _, c := range []struct {
		name string
		b    []byte
		data int64 // bytes in blocks of 4096 that are not zeros
	}{
		{"empty", []byte{}, 0},
		{"one byte of zero", []byte{0}, 0},
		{"one hole", make([]byte, 5*chunk18+77), 0},
		{"one chunk, a hole", make([]byte, 100_000), 0},
		{"one chunk with a hole", withHoles(200_000, island{50_000, content(1, 4096)}), 8192},
		{"islands", withHoles(20*chunk18+5000, island{0, content(1, 8192)}, island{7*chunk18 + 12_288, content(2, 4096)}, island{15 * chunk18, content(3, 2*chunk18)}),
			8192 + 4096 + 2*chunk18},
		{"data at the end", withHoles(3*chunk18+100, island{3 * chunk18, content(1, 100)}), 4096},
		{"no holes", content(1, 3*chunk18), 3 * chunk18},
		{"blocks of zeros in data", withHoles(chunk18, island{0, content(1, 4096)}, island{8192, content(2, 8192)}, island{chunk18 - 1, []byte{1}}), 4096 + 8192 + 4096},
	} {
		t.Run(c.name, func(t *testing.T) {
			overHoles(t, func(t *testing.T, fsys durable.FS) {
				d := mustOpen(t, fsys, Options{})
				v := d.View("alice", All)
				s, _ := mustBegin(t, v, sparseSpec(t, c.b, "file"))
				must(t, sendSparse(s, c.b))
				if _, err := s.Checkpoint(context.Background()); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Publish(context.Background(), commitOf(c.b)); err != nil {
					t.Fatal(err)
				}
				wantContent(t, d, "file", c.b)
				if got := blocksOf(t, fsys, "file"); got != c.data {
					t.Errorf("%d bytes on the disk, want %d", got, c.data)
				}
				root, n, err := v.Hash(context.Background(), mustPath(t, "file"), nil)
				if err != nil || root != digest(c.b) || n != int64(len(c.b)) {
					t.Errorf("hashed again: %v of %d bytes, %v", root, n, err)
				}
			})
		})
	}
}

// A file of 1 TiB with three islands takes no more than they do, and no time that grows with it.
func TestSparseTebibyte(t *testing.T) {
	overHoles(t, func(t *testing.T, fsys durable.FS) {
		const log2, size = 23, 1<<40 + 12345
		const chunkSize = 1 << log2
		d := mustOpen(t, fsys, Options{})
		v := d.View("alice", All)
		sp := Spec{Path: mustPath(t, "file"), Size: size, ChunkLog2: log2, Sparse: true, Fingerprint: []byte("f")}
		s, _, err := v.Begin(context.Background(), sp)
		if err != nil {
			t.Fatal(err)
		}
		islands := []int64{3, 70_000, 131_071}
		data := map[int64][]byte{}
		for _, c := range islands {
			data[c] = withHoles(chunkSize, island{1 << 20, content(uint64(c), 1<<20)})
		}
		// The root as the sender joins it.
		var join crypto.Joiner
		next := int64(0)
		ctx := context.Background()
		for _, c := range islands {
			mustZero(t)(s.Zero(ctx, next, c-next))
			must(t, join.AddZeros(uint64(c-next), log2, nil))
			h := crypto.NewChunkHasher()
			h.Reset(uint64(c), log2)
			h.Write(data[c])
			join.Add(h.CV())
			w, err := s.Claim(c, 0)
			must(t, err)
			must(t, w.Write(data[c]))
			_, err = w.Finish(h.CV())
			must(t, err)
			next = c + 1
		}
		mustZero(t)(s.Zero(ctx, next, 1)) // the last, which is short
		join.Add(crypto.ZeroCV(uint64(next), log2, 12345))
		// It is taken up again, by another process.
		must(t, s.Park())
		d2 := mustOpen(t, reopened(t, fsys), Options{})
		s, found := mustBegin(t, d2.View("alice", All), sp)
		if chunks, _ := s.Held(); chunks != 131_073 || found.State != StatePartial {
			t.Fatalf("%d chunks are held, found %v", chunks, found.State)
		}
		if _, err := s.Publish(ctx, Commit{Root: join.Root(), Size: size}); err != nil {
			t.Fatal(err)
		}
		root, n, err := d2.View("alice", All).Hash(ctx, mustPath(t, "file"), nil)
		if err != nil || root != join.Root() || n != size {
			t.Errorf("hashed again: %v, %d, %v", root, n, err)
		}
		if got, want := blocksOf(t, fsys, "file"), int64(3<<20); got > want+want/100 {
			t.Errorf("%d bytes on the disk, want %d", got, want)
		}
	})
}

// reopened is the same file system in another process.
func reopened(t testing.TB, fsys durable.FS) durable.FS {
	t.Helper()
	if c, ok := fsys.(*crashfs.FS); ok {
		return c
	}
	f, err := fsys.OpenFile(".", os.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	again, err := durable.OpenOS(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return again
}

func TestZeroIsOnlyForWhatIsThere(t *testing.T) {
	v := mustOpen(t, crashfs.New(1), Options{}).View("alice", All)
	b := make([]byte, 4*chunk18+5)
	ctx, cancel := context.WithCancel(context.Background())
	plain, _ := mustBegin(t, v, specOf(t, b, "plain"))
	if _, err := plain.Zero(ctx, 0, 1); !errors.Is(err, ErrRange) {
		t.Errorf("a file that is not sparse: %v", err)
	}
	must(t, plain.Discard())
	sp := sparseSpec(t, b, "unknown")
	sp.Size = -1
	unknown, _ := mustBegin(t, v, sp)
	if _, err := unknown.Zero(ctx, 0, 1); !errors.Is(err, ErrRange) {
		t.Errorf("a file of unknown size: %v", err)
	}
	must(t, unknown.Discard())
	sp = sparseSpec(t, b, "big")
	sp.ChunkLog2, sp.Size = 24, maxSparse+1
	if _, _, err := v.Begin(ctx, sp); !errors.Is(err, ErrTooBig) {
		t.Errorf("more than 4 TiB: %v", err)
	}
	s, _ := mustBegin(t, v, sparseSpec(t, b, "file"))
	for _, r := range [][2]int64{{-1, 1}, {0, 0}, {0, -1}, {0, 6}, {5, 1}, {4, 2}, {1 << 62, 1 << 62}, {1, 1<<63 - 1}} {
		if _, err := s.Zero(ctx, r[0], r[1]); !errors.Is(err, ErrRange) {
			t.Errorf("%v: %v", r, err)
		}
	}
	if n, err := s.Zero(ctx, 0, 5); err != nil || n != int64(len(b)) {
		t.Errorf("%d bytes are new, %v", n, err)
	}
	if n, err := s.Zero(ctx, 2, 1); err != nil || n != 0 {
		t.Errorf("told twice: %d bytes are new, %v", n, err)
	}
	if n := s.journal.records; n != 2 {
		t.Errorf("%d records for what was told twice", n)
	}
	if chunks, bytes := s.Held(); chunks != 5 || bytes != int64(len(b)) || !slices.Equal(s.Zeros(), []Range{{0, 5}}) {
		t.Errorf("held: %d chunks, %d bytes, zeros %v", chunks, bytes, s.Zeros())
	}
	if cvs, err := s.CVs(0, 5); err != nil || !slices.Equal(cvs, make([]crypto.CV, 5)) {
		t.Errorf("CVs: %v, %v", cvs, err)
	}
	cancel()
	must(t, s.Park())
	if _, err := s.Zero(ctx, 0, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("after Park: %v", err)
	}
}

// mustZero takes the result of a Zero that is to succeed.
func mustZero(t *testing.T) func(int64, error) {
	return func(_ int64, err error) {
		t.Helper()
		must(t, err)
	}
}

// Guards of I6: hole.go zero, zeroOne; chunk.go Finish.
func TestZeroKeepsToTheRules(t *testing.T) {
	v := mustOpen(t, crashfs.New(1), Options{}).View("alice", All)
	b := withHoles(6*chunk18, island{2 * chunk18, content(1, 100)})
	ctx := context.Background()
	s, _ := mustBegin(t, v, sparseSpec(t, b, "file"))
	mustPut(t, s, b, 2)
	for _, r := range []Range{{2, 1}, {0, 6}, {1, 2}} {
		if _, err := s.Zero(ctx, r.Start, r.Count); !errors.Is(err, ErrSourceChanged) {
			t.Errorf("zeros over data %v: %v", r, err)
		}
	}
	if chunks, _ := s.Held(); chunks != 1 {
		t.Errorf("%d chunks are held after what was refused", chunks)
	}
	if _, err := s.zeroOne(2); !errors.Is(err, ErrSourceChanged) {
		t.Errorf("zeros over data that came meanwhile: %v", err)
	}
	// A chunk of zeros that came as bytes is one.
	mustPut(t, s, b, 0)
	mustZero(t)(s.Zero(ctx, 0, 2))
	if !slices.Equal(s.Zeros(), []Range{{0, 2}}) {
		t.Errorf("zeros %v", s.Zeros())
	}
	// The same chunk again as bytes, the right ones and others.
	if err := put(s, b, 1); err != nil {
		t.Errorf("zeros again: %v", err)
	}
	if err := put(s, content(3, 6*chunk18), 1); !errors.Is(err, ErrSourceChanged) {
		t.Errorf("data over zeros: %v", err)
	}
	// A writer ends.
	w, err := s.Claim(3, 0)
	must(t, err)
	must(t, w.Write(content(4, 10_000)))
	mustZero(t)(s.Zero(ctx, 3, 2))
	if err := w.Write([]byte("x")); !errors.Is(err, ErrTaken) {
		t.Errorf("the former writer: %v", err)
	}
	w, err = s.Claim(5, 0)
	must(t, err)
	s2, _ := mustBegin(t, v, sparseSpec(t, b, "file"))
	if _, err := s.Zero(ctx, 5, 1); !errors.Is(err, ErrFenced) { // guard of I5
		t.Errorf("a fenced attempt: %v", err)
	}
	if err := w.Write([]byte("x")); !errors.Is(err, ErrFenced) {
		t.Errorf("a fenced writer: %v", err)
	}
	must(t, sendSparse(s2, b))
	if _, err := s2.Publish(ctx, commitOf(b)); err != nil {
		t.Fatal(err)
	}
	wantContent(t, v.d, "file", b)
}

// noPunch is a file system whose files get no holes, and do not tell where data is if blind is set.
type noPunch struct {
	durable.FS
	blind bool
}

func (f noPunch) OpenFile(name string, flag int, perm os.FileMode) (durable.File, error) {
	h, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return noPunchFile{h, f.blind}, nil
}

type noPunchFile struct {
	durable.File
	blind bool
}

func (noPunchFile) PunchHole(int64, int64) error { return errors.ErrUnsupported }

func (f noPunchFile) NextData(off int64) (int64, error) {
	if !f.blind {
		return f.File.NextData(off)
	}
	return off, nil
}

func (f noPunchFile) NextHole(off int64) (int64, error) {
	if !f.blind {
		return f.File.NextHole(off)
	}
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return max(off, fi.Size()), nil
}

// What was written into a chunk that is then told to be zeros, or comes with zeros in that place, does not stay there:
// neither in one life of the stage nor in the next.
func TestNothingStaysBeneathZeros(t *testing.T) {
	for _, c := range []struct {
		name string
		fs   func(f durable.FS) durable.FS
		data int64 // bytes on the disk at the end
	}{
		{"holes", func(f durable.FS) durable.FS { return f }, 4096},
		{"no punching", func(f durable.FS) durable.FS { return noPunch{f, false} }, -1},
		{"blind", func(f durable.FS) durable.FS { return noPunch{f, true} }, -1},
	} {
		for _, again := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, ", another process ", again), func(t *testing.T) {
				f := crashfs.New(1)
				d := mustOpen(t, c.fs(f), Options{})
				// Chunk 2 has one block of data, all else is zeros.
				b := withHoles(5*chunk18, island{2*chunk18 + 40_960, content(1, 4096)})
				sp := sparseSpec(t, b, "file")
				s, _ := mustBegin(t, d.View("alice", All), sp)
				for _, chunk := range []int64{1, 2, 4} {
					w, err := s.Claim(chunk, 0)
					must(t, err)
					must(t, w.Write(content(9, 100_000)))
					w.Park()
				}
				if again {
					must(t, s.Park())
					d = mustOpen(t, c.fs(f), Options{})
					var found Found
					s, found = mustBegin(t, d.View("alice", All), sp)
					if len(found.Parts) != 3 {
						t.Fatalf("parts %v", found.Parts)
					}
				}
				mustPut(t, s, b, 2, 4)
				mustZero(t)(s.Zero(context.Background(), 0, 2))
				mustZero(t)(s.Zero(context.Background(), 3, 1))
				if _, err := s.Publish(context.Background(), commitOf(b)); err != nil {
					t.Fatal(err)
				}
				wantContent(t, d, "file", b)
				if got := blocksOf(t, f, "file"); c.data >= 0 && got != c.data {
					t.Errorf("%d bytes on the disk, want %d", got, c.data)
				}
			})
		}
	}
}

// A claim of zeros is looked at when another process takes the stage up.
func TestZerosAreClaims(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{})
	b := withHoles(8*chunk18+9, island{5 * chunk18, content(1, 100)})
	sp := sparseSpec(t, b, "file")
	s, _ := mustBegin(t, d.View("alice", All), sp)
	must(t, sendSparse(s, b))
	must(t, s.Park())
	data, err := f.OpenFile(s.dataName, os.O_RDWR, 0)
	must(t, err)
	for at, p := range map[int64]string{chunk18 + 5: "x", 7*chunk18 - 2: "abcd", 3 * chunk18: "\x00\x00", 8*chunk18 + 8: "y"} {
		_, err = data.WriteAt([]byte(p), at)
		must(t, err)
	}
	d = mustOpen(t, f, Options{})
	s, found := mustBegin(t, d.View("alice", All), sp)
	if want := []Range{{0, 1}, {2, 4}}; !slices.Equal(found.Have, want) {
		t.Errorf("have %v, want %v", found.Have, want)
	}
	if want := []Range{{0, 1}, {2, 3}}; !slices.Equal(s.Zeros(), want) {
		t.Errorf("zeros %v, want %v", s.Zeros(), want)
	}
	must(t, sendSparse(s, b))
	if _, err := s.Publish(context.Background(), commitOf(b)); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "file", b)
}

// The hole at the end may be lost with the size, and is there again.
func TestSizeOfASparseStageIsMadeAgain(t *testing.T) {
	f := crashfs.New(1)
	b := withHoles(8*chunk18, island{chunk18, content(1, chunk18)})
	sp := sparseSpec(t, b, "file")
	s, _ := mustBegin(t, mustOpen(t, f, Options{}).View("alice", All), sp)
	must(t, sendSparse(s, b))
	must(t, s.Park())
	data, err := f.OpenFile(s.dataName, os.O_RDWR, 0)
	must(t, err)
	must(t, data.Truncate(2*chunk18-1))
	s, found := mustBegin(t, mustOpen(t, f, Options{}).View("alice", All), sp)
	if want := []Range{{0, 1}, {2, 6}}; !slices.Equal(found.Have, want) {
		t.Errorf("have %v, want %v", found.Have, want)
	}
	must(t, sendSparse(s, b))
	if _, err := s.Publish(context.Background(), commitOf(b)); err != nil {
		t.Fatal(err)
	}
}

// A file that becomes sparse, or no longer is, gets a new stage: they are different on the disk.
func TestSparseAndPlainStagesAreNotMixed(t *testing.T) {
	d := mustOpen(t, crashfs.New(1), Options{})
	b := content(1, 3*chunk18)
	for _, sparse := range []bool{false, true, false} {
		sp := specOf(t, b, "file")
		sp.Sparse = sparse
		s, found := mustBegin(t, d.View("alice", All), sp)
		if len(found.Have) != 0 {
			t.Errorf("sparse %v: have %v", sparse, found.Have)
		}
		mustPut(t, s, b, 1)
		must(t, s.Park())
		s, found = mustBegin(t, d.View("alice", All), sp)
		if len(found.Have) != 1 {
			t.Errorf("sparse %v: have %v of the same", sparse, found.Have)
		}
		must(t, s.Park())
	}
}

// After a failed sync nothing that was called held is lost from a hole, and nothing is called durable.
func TestZerosAndAFailedSync(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{})
	b := withHoles(9*chunk18, island{4 * chunk18, content(1, chunk18)})
	sp := sparseSpec(t, b, "file")
	s, _ := mustBegin(t, d.View("alice", All), sp)
	must(t, sendSparse(s, b))
	f.FailAt(1, errKilled)
	var se *SyncError
	if _, err := s.Checkpoint(context.Background()); !errors.As(err, &se) {
		t.Fatal(err)
	}
	records := s.journal.records
	if _, err := s.Zero(context.Background(), 0, 1); err == nil {
		t.Error("a dead stage takes zeros")
	}
	_ = s.Park()
	s, found := mustBegin(t, d.View("alice", All), sp)
	if want := []Range{{0, 4}, {5, 4}}; !slices.Equal(found.Have, want) {
		t.Errorf("have %v, want %v; %d records", found.Have, want, records)
	}
	must(t, sendSparse(s, b))
	if _, err := s.Publish(context.Background(), commitOf(b)); err != nil {
		t.Fatal(err)
	}
	wantContent(t, mustOpen(t, f.Crash(), Options{}), "file", b)
}

// A journal of a sparse file that is rewritten says the same.
func TestCompactedZeros(t *testing.T) {
	f := crashfs.New(1)
	d := mustOpen(t, f, Options{})
	b := withHoles(40*chunk18, island{3 * chunk18, content(1, chunk18)}, island{30 * chunk18, []byte{1}})
	sp := sparseSpec(t, b, "file")
	s, _ := mustBegin(t, d.View("alice", All), sp)
	mustZero(t)(s.Zero(context.Background(), 0, 3))
	mustPut(t, s, b, 3)
	if _, err := s.Checkpoint(context.Background()); err != nil {
		t.Fatal(err)
	}
	mustZero(t)(s.Zero(context.Background(), 4, 20))
	s.mu.Lock()
	err := s.compact()
	records, zeros := s.journal.records, s.journal.zeros
	s.mu.Unlock()
	if err != nil || records != 5 || zeros != 23 {
		t.Fatalf("%d records, %d zeros, %v", records, zeros, err)
	}
	must(t, s.Park())
	s, found := mustBegin(t, mustOpen(t, f, Options{}).View("alice", All), sp)
	if want := []Range{{0, 24}}; !slices.Equal(found.Have, want) || !slices.Equal(s.Zeros(), []Range{{0, 3}, {4, 20}}) {
		t.Errorf("have %v, zeros %v", found.Have, s.Zeros())
	}
	must(t, sendSparse(s, b))
	if _, err := s.Publish(context.Background(), commitOf(b)); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "file", b)
}

// Holes are lost and told again, time after time; the journal stays within its limits.
func TestZerosToldAgainAndAgain(t *testing.T) {
	f := crashfs.New(1)
	b := make([]byte, 10*chunk18)
	sp := sparseSpec(t, b, "file")
	for range 30 {
		s, found := mustBegin(t, mustOpen(t, f, Options{}).View("alice", All), sp)
		if len(found.Have) == 10 {
			t.Fatal("nothing was lost")
		}
		mustZero(t)(s.Zero(context.Background(), 0, 10))
		must(t, s.Park())
		h, err := f.OpenFile(s.dataName, os.O_RDWR, 0)
		must(t, err)
		for c := range int64(10) {
			_, err = h.WriteAt([]byte("x"), c*chunk18)
			must(t, err)
		}
		must(t, h.Close())
		if s.journal.zeros > maxZeros(10) {
			t.Fatalf("%d zeros", s.journal.zeros)
		}
	}
	s, _ := mustBegin(t, mustOpen(t, f, Options{}).View("alice", All), sp)
	mustZero(t)(s.Zero(context.Background(), 0, 10))
	if _, err := s.Publish(context.Background(), commitOf(b)); err != nil {
		t.Fatal(err)
	}
}

func TestTakeFromASparseOldVersion(t *testing.T) {
	overHoles(t, func(t *testing.T, fsys durable.FS) {
		d := mustOpen(t, fsys, Options{})
		v := d.View("alice", All)
		b := withHoles(10*chunk18, island{chunk18, content(1, chunk18)}, island{5*chunk18 + 8192, content(2, 4096)}, island{8 * chunk18, []byte("hello")})
		sp := sparseSpec(t, b, "file")
		s, _ := mustBegin(t, v, sp)
		must(t, sendSparse(s, b))
		_, err := s.Publish(context.Background(), commitOf(b))
		must(t, err)
		b2 := changed(b, 1, 8)
		o := mustOld(t, v, nil, "file")
		s, _ = mustBegin(t, v, sparseSpec(t, b2, "file"))
		taken, err := takeOrPut(s, o, b2)
		if err != nil || taken != 8 {
			t.Fatal(taken, err)
		}
		_, err = s.Publish(context.Background(), commitOf(b2))
		must(t, err)
		wantContent(t, d, "file", b2)
		if got, want := blocksOf(t, fsys, "file"), int64(chunk18+4096+4096+4096); got != want {
			t.Errorf("%d bytes on the disk, want %d", got, want)
		}
	})
}

// A small file of a tree keeps its holes where its entry says that it has some.
func TestSmallSparseFilesOfATree(t *testing.T) {
	overHoles(t, func(t *testing.T, fsys durable.FS) {
		d := mustOpen(t, fsys, Options{})
		b := string(withHoles(100_000, island{40_960, content(1, 4096)}))
		sparse := file(b)
		sparse.sparse = true
		src := source{"sparse": sparse, "plain": file(b)}
		mustSend(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "t")}, src)
		wantTree(t, fsys, "t", src)
		if got := blocksOf(t, fsys, "t/sparse"); got != 4096 {
			t.Errorf("%d bytes on the disk, want 4096", got)
		}
		if got := blocksOf(t, fsys, "t/plain"); got < 100_000 {
			t.Errorf("%d bytes on the disk of a file without holes", got)
		}
	})
}

func TestWriteSparse(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 0))
		f := memory(t, nil)
		model := make([]byte, 100_000)
		must(t, f.Truncate(int64(len(model))))
		used := map[int64]bool{}
		for at := 0; at < len(model); {
			n := min(rng.IntN(20_000), len(model)-at)
			p := make([]byte, n)
			for k := 0; k < n; k++ {
				if rng.IntN(5000) == 0 {
					p[k] = 1
					used[int64(at+k)/holeBlock] = true
				}
			}
			copy(model[at:], p)
			must(t, writeSparse(f, p, int64(at)))
			at += n
		}
		got := make([]byte, len(model))
		if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, model) {
			t.Fatalf("seed %d: other bytes, %v", seed, err)
		}
		fi, err := f.Stat()
		must(t, err)
		if n, _ := durable.Blocks(fi); n != int64(len(used))*8 {
			t.Fatalf("seed %d: %d blocks of 512, want those of %d pages", seed, n, len(used))
		}
	}
}

func TestRangesOfABitset(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var a, b bitset
		model := [2]map[int64]bool{{}, {}}
		for range 20 {
			first, count := rng.Int64N(300), rng.Int64N(200)
			switch rng.IntN(4) {
			case 0, 1:
				added := int64(0)
				for i := first; i < first+count; i++ {
					if !model[0][i] {
						model[0][i] = true
						added++
					}
				}
				if got := a.addRange(first, count); got != added {
					t.Fatalf("seed %d: %d added, want %d", seed, got, added)
				}
			case 2:
				for i := first; i < first+count; i++ {
					if model[0][i] {
						delete(model[0], i)
						model[1][i] = true
					}
				}
				a.moveRange(&b, first, count)
			case 3:
				for i := first; i < first+count; i++ {
					delete(model[1], i)
				}
				b.moveRange(nil, first, count)
			}
			for k, s := range []*bitset{&a, &b} {
				if s.n != int64(len(model[k])) {
					t.Fatalf("seed %d: %d members, want %d", seed, s.n, len(model[k]))
				}
				for i := range int64(600) {
					if s.has(i) != model[k][i] {
						t.Fatalf("seed %d: %d is %v", seed, i, s.has(i))
					}
				}
			}
		}
	}
}

// The hashing of holes ends when Stop says so, with nothing published and nothing lost.
func TestHashingOfHolesIsStopped(t *testing.T) {
	const log2, size = 24, 1<<40 + 256<<20 // what is behind 1 TiB is less than is known in one
	v := mustOpen(t, crashfs.New(1), Options{}).View("alice", All)
	s, _ := mustBegin(t, v, Spec{Path: mustPath(t, "file"), Size: size, ChunkLog2: log2, Sparse: true, Fingerprint: []byte("f")})
	ctx := context.Background()
	mustZero(t)(s.Zero(ctx, 0, size>>log2))
	c := Commit{Root: crypto.ZeroRoot(size), Size: size}
	stopped := errors.New("stopped")
	asked := 0
	c.Stop = func() error {
		if asked++; asked == 2 {
			return stopped
		}
		return nil
	}
	if _, err := s.Publish(ctx, c); !errors.Is(err, stopped) || asked != 2 {
		t.Fatalf("%v, asked %d times", err, asked)
	}
	if _, err := v.Stat(mustPath(t, "file")); err == nil {
		t.Error("published")
	}
	if held, _ := s.Held(); held != size>>log2 {
		t.Errorf("%d chunks are held", held)
	}
	if _, err := s.Publish(ctx, c); err != nil {
		t.Fatal(err)
	}
}

// However small the chunks, a sparse file has only so many: all of them are held for one message.
func TestSparseFileOfTooManyChunks(t *testing.T) {
	v := mustOpen(t, crashfs.New(1), Options{}).View("alice", All)
	sp := Spec{Path: mustPath(t, "file"), Size: maxSparseChunks<<18 + 1, ChunkLog2: 18, Sparse: true, Fingerprint: []byte("f")}
	if _, _, err := v.Begin(context.Background(), sp); !errors.Is(err, ErrTooBig) {
		t.Fatal(err)
	}
	sp.Size--
	s, _ := mustBegin(t, v, sp)
	mustZero(t)(s.Zero(context.Background(), 0, maxSparseChunks))
	must(t, s.Discard())
}
