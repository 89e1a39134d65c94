package sink

import (
	"bytes"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

var update = flag.Bool("update", false, "write the vectors anew")

// memory returns a file with b in it.
func memory(t testing.TB, b []byte) durable.File {
	t.Helper()
	f, err := crashfs.New(1).OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := writeAt(f, b, 0); err != nil {
		t.Fatal(err)
	}
	return f
}

// loaded is what a journal says, before the data is looked at.
func loaded(t testing.TB, b []byte) string {
	text, _ := loadedStage(t, b)
	return text
}

// loadedStage is loaded, with the stage that was read; nil where none was.
func loadedStage(t testing.TB, b []byte) (string, *Stage) {
	f := memory(t, b)
	defer f.Close()
	h, n, err := readHeader(f)
	if err != nil {
		return "error: " + err.Error(), nil
	}
	if h.chunkLog2 < minChunkLog2 || h.chunkLog2 > maxChunkLog2 || h.size > maxChunks<<h.chunkLog2 {
		return "error: limits", nil // never equal to a checked Spec
	}
	d, err := Open(crashfs.New(1), Options{})
	if err != nil {
		t.Fatal(err)
	}
	spec := Spec{Path: Path{parts: h.path}, Size: h.size, ChunkLog2: h.chunkLog2, Fingerprint: h.fingerprint, Sparse: h.sparse}
	s := newStage(d, d.View(h.owner, All), spec, stageID{}, "x")
	s.journal = &journal{f: f, start: int64(n)}
	l := loader{s: s}
	if err := l.scan(); err != nil {
		return "error: " + err.Error(), nil
	}
	have, parts := s.Have()
	text := fmt.Sprintf("owner %q path %q size %d chunks of 2^%d fingerprint %x\nepoch %d records %d\nhave %v bytes %d durable %v\nparts %v\nlast %d of %d",
		h.owner, h.path, h.size, h.chunkLog2, h.fingerprint, l.epoch, s.journal.records, have, s.bytes, s.durable.ranges(), parts, s.last, s.lastLen)
	if h.sparse {
		text += fmt.Sprintf("\nzeros %v", s.zeros.ranges())
	}
	return text, s
}

// checkSets looks whether what a journal says of chunks fits together.
func checkSets(t testing.TB, s *Stage) {
	var bytes int64
	for c := s.held.next(0); c >= 0; c = s.held.next(c + 1) {
		bytes += s.chunkLimit(c)
		if s.pending.has(c) == s.durable.has(c) {
			t.Fatalf("chunk %d: pending %v, durable %v", c, s.pending.has(c), s.durable.has(c))
		}
	}
	for c := s.zeros.next(0); c >= 0; c = s.zeros.next(c + 1) {
		if !s.held.has(c) {
			t.Fatalf("chunk %d is zeros and not held", c)
		}
	}
	if bytes != s.bytes || s.pending.n+s.durable.n != s.held.n || s.zeros.n > 0 && !s.sparse || s.journal.zeros > maxZeros(s.span()) {
		t.Fatalf("%d bytes, want %d; %d pending, %d durable, %d held, %d zeros", s.bytes, bytes, s.pending.n, s.durable.n, s.held.n, s.zeros.n)
	}
	for c := range s.parts {
		if s.held.has(c) {
			t.Fatalf("a part of the held chunk %d", c)
		}
	}
}

// vectors are journals with what is to be read from them. The bytes are made by appending by hand.
func journalVectors() map[string][]byte {
	h := header{transfer: [16]byte{1, 2, 3}, owner: "alice", path: []string{"a", "b\xff"}, size: 3*chunk18 + 5, chunkLog2: 18, fingerprint: []byte{9, 8, 7}}
	u := h
	u.size = -1
	u.chunkLog2 = 22
	sp := h
	sp.sparse = true
	un := u
	un.sparse = true
	epoch := record{kind: recEpoch, index: 1, body: [32]byte{7: 1, 8: 0xaa}}
	chunk := func(i uint64) record { return record{kind: recChunk, index: i, body: [32]byte{byte(i + 1)}} }
	mark := func(n uint64) record { return record{kind: recMark, index: n} }
	part := func(i, n uint64) record { return record{kind: recPart, index: i, body: bodyOf(n)} }
	last := func(i, n uint64) record { return record{kind: recLast, index: i, body: bodyOf(n)} }
	drop := func(i uint64) record { return record{kind: recDrop, index: i} }
	zero := func(i, n uint64) record { return record{kind: recZero, index: i, body: bodyOf(n)} }
	make := func(h header, rs ...record) []byte {
		b := appendHeader(nil, h)
		for _, r := range rs {
			b = appendRecord(b, r)
		}
		return b
	}
	cut := func(b []byte, n int) []byte { return b[:len(b)-n] }
	change := func(b []byte, at int, x byte) []byte {
		if at < 0 {
			at += len(b)
		}
		b[at] ^= x
		return b
	}
	resum := func(b []byte) []byte { // the last record's checksum made right
		r := b[len(b)-recordLen:]
		sum := checksum(r[4:])
		r[0], r[1], r[2], r[3] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
		return b
	}
	return map[string][]byte{
		"empty":               {},
		"magic-only":          []byte("XFERJNL1"),
		"later-version":       change(make(h, epoch), 7, '1'^'3'),
		"other-version":       change(make(h, epoch), 7, '1'^'2'),
		"earlier-version":     change(make(h, epoch), 7, '1'^'0'),
		"foreign":             []byte("PK\x03\x04 something else altogether, and long enough"),
		"header-only":         make(h),
		"header-cut":          cut(make(h), 1),
		"header-flipped":      change(make(h), 30, 1),
		"header-length":       change(make(h), 8, 0xff),
		"new":                 make(h, epoch),
		"held":                make(h, epoch, chunk(0), chunk(2), part(1, 1000)),
		"marked":              make(h, epoch, chunk(0), chunk(2), mark(3), chunk(1)),
		"marked-in-part":      make(h, epoch, chunk(0), chunk(2), mark(2)),
		"marked-too-much":     make(h, epoch, chunk(0), mark(9)),
		"all-held":            make(h, epoch, chunk(0), chunk(1), chunk(2), chunk(3), mark(5), record{kind: recSeal, body: [32]byte{5}}),
		"torn":                cut(make(h, epoch, chunk(0), chunk(1)), 1),
		"flipped":             change(make(h, epoch, chunk(0), chunk(1)), -60, 4),
		"flags":               resum(change(make(h, epoch, chunk(0)), -recordLen+5, 1)),
		"reserved":            resum(change(make(h, epoch, chunk(0)), -recordLen+7, 1)),
		"unknown-record":      make(h, epoch, chunk(0), record{kind: 99}, chunk(1)),
		"zero-record":         make(h, epoch, record{kind: 5, index: 0, body: bodyOf(1)}, chunk(1)),
		"chunk-beyond":        make(h, epoch, chunk(0), chunk(4), chunk(1)),
		"chunk-far-beyond":    make(h, epoch, chunk(0), chunk(1<<63), chunk(1)),
		"chunk-twice":         make(h, epoch, chunk(0), mark(2), chunk(0)),
		"dropped":             make(h, epoch, chunk(0), chunk(1), mark(3), drop(0)),
		"dropped-held-again":  make(h, epoch, chunk(0), mark(2), drop(0), chunk(0)),
		"part-replaced":       make(h, epoch, part(1, 1000), part(1, 2000), part(3, 5)),
		"part-taken-back":     make(h, epoch, part(1, 1000), part(1, 0)),
		"part-of-held":        make(h, epoch, chunk(1), part(1, 1000)),
		"part-too-long":       make(h, epoch, part(3, 6)),
		"part-junk":           make(h, epoch, record{kind: recPart, index: 1, body: [32]byte{7: 9, 31: 1}}),
		"epochs":              make(h, epoch, record{kind: recEpoch, index: 7}, record{kind: recEpoch, index: 3}),
		"epoch-huge":          make(h, epoch, record{kind: recEpoch, index: 1 << 63}),
		"unknown-size":        make(u, epoch, chunk(0), chunk(1), last(2, 10), chunk(2), mark(5)),
		"unknown-size-open":   make(u, epoch, chunk(0), chunk(7)),
		"unknown-last-alone":  make(u, epoch, chunk(0), last(2, 10)),
		"unknown-last-twice":  make(u, epoch, last(2, 10), chunk(2), last(2, 11)),
		"unknown-last-before": make(u, epoch, chunk(3), last(2, 10)),
		"known-last":          make(h, epoch, last(3, 5)),

		"sparse":               make(sp, epoch, chunk(0)),
		"sparse-unknown-size":  make(un, epoch),
		"sparse-zeros":         make(sp, epoch, zero(1, 2), chunk(0), mark(2), zero(3, 1)),
		"sparse-marked":        make(sp, epoch, zero(0, 4), mark(2)),
		"sparse-none":          make(sp, epoch, zero(1, 0), chunk(1)),
		"sparse-beyond":        make(sp, epoch, chunk(0), zero(1, 4), chunk(1)),
		"sparse-far-beyond":    make(sp, epoch, chunk(0), zero(1<<63, 1<<63), chunk(1)),
		"sparse-junk":          make(sp, epoch, record{kind: recZero, index: 1, body: [32]byte{7: 1, 31: 1}}, chunk(1)),
		"sparse-dropped":       make(sp, epoch, zero(0, 4), mark(2), drop(2)),
		"sparse-dropped-again": make(sp, epoch, zero(0, 4), mark(2), drop(2), zero(1, 2)),
		"sparse-then-data":     make(sp, epoch, zero(0, 3), mark(2), chunk(1)),
		"sparse-over-data":     make(sp, epoch, chunk(1), part(2, 100), mark(2), zero(1, 2)),
		"sparse-too-often":     make(sp, epoch, zero(0, 4), zero(0, 4), zero(0, 4), zero(0, 4), zero(3, 1), chunk(0)),
	}
}

// TestJournalVectors reads the files in testdata/vectors, which FORMAT.md describes, and compares.
func TestJournalVectors(t *testing.T) {
	const dir = "testdata/vectors"
	if *update {
		for name, b := range journalVectors() {
			text := fmt.Sprintf("%s\n\n%s", loaded(t, b), hexLines(b))
			if err := os.WriteFile(filepath.Join(dir, "journal-"+name+".txt"), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	files, err := filepath.Glob(dir + "/journal-*.txt")
	if err != nil || len(files) < 30 {
		t.Fatal(len(files), "vectors", err)
	}
	made := journalVectors()
	for _, f := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(f), "journal-"), ".txt")
		t.Run(name, func(t *testing.T) {
			want, b := readVector(t, f)
			got, s := loadedStage(t, b)
			if got != want {
				t.Errorf("read:\n%s\nwant:\n%s", got, want)
			}
			if s != nil {
				checkSets(t, s)
			}
			if !bytes.Equal(made[name], b) {
				t.Error("the writer makes other bytes")
			}
		})
	}
}

func hexLines(b []byte) string {
	var s strings.Builder
	for c := range slices.Chunk(b, 32) {
		fmt.Fprintf(&s, "%x\n", c)
	}
	return s.String()
}

func readVector(t *testing.T, name string) (expect string, b []byte) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	expect, hexes, ok := strings.Cut(string(text), "\n\n")
	if !ok {
		t.Fatal("no blank line")
	}
	b, err = hex.DecodeString(strings.Join(strings.Fields(hexes), ""))
	if err != nil {
		t.Fatal(err)
	}
	return expect, b
}

// FuzzJournal reads any bytes as a journal: no panic, no more memory than the limits allow, and the records are those that
// the simplest reader finds.
func FuzzJournal(f *testing.F) {
	for _, b := range journalVectors() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, s := loadedStage(t, b); s != nil {
			checkSets(t, s)
		}
		want, ok := referenceRecords(b)
		h, n, err := parseHeader(b)
		if (err == nil) != ok {
			// Only the inside of the header may make the difference.
			if !ok {
				t.Fatalf("the reference refuses what we read: %+v", h)
			}
			return
		}
		if err != nil {
			return
		}
		if again := appendHeader(nil, h); !bytes.Equal(again, b[:n]) {
			t.Fatal("the header is written in another way")
		}
		var got []refRecord
		m := memory(t, b)
		defer m.Close()
		_, err = scanRecords(m, int64(n), 1<<20, func(_ int64, r record) bool {
			got = append(got, refRecord{byte(r.kind), r.index, r.body})
			return true
		})
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("%d records, the reference has %d; %v", len(got), len(want), err)
		}
		for i, r := range got {
			at := n + i*recordLen
			if !bytes.Equal(appendRecord(nil, record{recordType(r.kind), r.index, r.body}), b[at:at+recordLen]) {
				t.Fatal("a record is written in another way")
			}
		}
	})
}

// FuzzDoneLog reads any bytes as a done.log.
func FuzzDoneLog(f *testing.F) {
	one := appendDone(nil, [16]byte{1}, make([]byte, 16), []byte("receipt"))
	two := appendDone(one, [16]byte{2}, make([]byte, 16), nil)
	f.Add([]byte{})
	f.Add(one)
	f.Add(two)
	f.Add(two[:len(two)-1])
	f.Add(append(slices.Clone(two), 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		end := scanDone(bytes.NewReader(b), func(id [16]byte, off int64, n uint32) {
			p := b[off : off+int64(n)]
			if [16]byte(p) != id {
				t.Fatal("wrong id")
			}
			again = appendDone(again, id, p[16:32], p[32:])
		})
		if !bytes.Equal(again, b[:end]) {
			t.Fatal("what was read is written in another way")
		}
	})
}

// FuzzPath: what NewPath lets through stays beneath the root and out of our state.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"a/b", "..", "a/../b", "", ".xfer/x", "a/.xfer-b", "/", "a\x00b", ".XFER", "a/.xfer", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := NewPath(strings.Split(s, "/")...)
		if err != nil {
			return
		}
		name := p.String()
		if name != s || filepath.Clean(name) != name || !filepath.IsLocal(name) || strings.IndexByte(name, 0) >= 0 ||
			len(name) > 4096 {
			t.Fatalf("%q became %q", s, name)
		}
		for i, c := range p.Parts() {
			l := strings.ToLower(c)
			if i == 0 && l == ".xfer" || strings.HasPrefix(l, ".xfer-") || len(c) > 255 {
				t.Fatalf("%q", s)
			}
		}
		if back, err := NewPath(p.Parts()...); err != nil || back.String() != name {
			t.Fatal("not stable", err)
		}
	})
}

// TestNameVectors pins where a stage is, since another program must find it there.
func TestNameVectors(t *testing.T) {
	for _, c := range []struct{ owner, path, fp string }{
		{"alice", "a/b", "\x01\x02"},
		{"alice", "ab", "\x01\x02"},
		{"", "a", ""},
	} {
		sp := Spec{Path: mustPath(t, strings.Split(c.path, "/")...), Size: 1000, ChunkLog2: 18, Fingerprint: []byte(c.fp)}
		id := stageIDOf(c.owner, &sp)
		h := func(parts ...string) string {
			x := crypto.NewHasher()
			for _, p := range parts {
				x.Write([]byte(p))
			}
			s := x.Sum()
			return hex.EncodeToString(s[:16])
		}
		key := []string{"\x00\x00\x00\x11xfer stage key v1", "\x00\x00\x00" + string(rune(len(c.owner))) + c.owner}
		for _, p := range strings.Split(c.path, "/") {
			key = append(key, "\x00\x00\x00"+string(rune(len(p)))+p)
		}
		if want := h(key...); id.key != want {
			t.Errorf("%+v: key %s, want %s", c, id.key, want)
		}
		if want := h("\x00\x00\x00\x12xfer stage file v1", "\x00\x00\x00"+string(rune(len(c.fp)))+c.fp, "\x00\x00\x00\x00\x00\x00\x03\xe8", "\x12"); id.file != want {
			t.Errorf("%+v: file %s, want %s", c, id.file, want)
		}
	}
}
