package transfer

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// openTree begins a tree and reads the answer.
func (p *rawPeer) openTree(id uint32, name string, flags uint64) wire.Message {
	p.t.Helper()
	path, err := wire.NewPath(strings.Split(name, "/")...)
	if err != nil {
		p.t.Fatal(err)
	}
	p.send(id, wire.TreeOpen{Tree: wire.TransferID{byte(id)}, Path: path, Durability: wire.DurabilityBatch, Flags: flags})
	return p.read()
}

// manifestOf encodes records; the top comes by itself.
func manifestOf(t testing.TB, records ...tree.Record) []byte {
	t.Helper()
	enc := tree.NewEncoder()
	var b []byte
	for _, r := range append([]tree.Record{{Kind: tree.Directory, NoMeta: true}}, records...) {
		var err error
		if b, err = enc.Append(b, &r); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func (p *rawPeer) pack(id uint32, number uint64, files ...wire.PackFile) {
	b := wire.AppendPackHeader(nil)
	for _, f := range files {
		b = wire.AppendPackFile(b, f.No, nil, len(f.Content))
		b = append(append(b, f.Content...), f.Root[:]...)
	}
	wire.PutPackHeader(b, id, 0, number, len(files))
	_, _ = p.st.Write(b)
}

func packFile(no uint64, content string) wire.PackFile {
	return wire.PackFile{No: no, Content: []byte(content), Root: wire.Hash(crypto.Sum([]byte(content)))}
}

// readTree reads until a message of the tree comes that says something.
func (p *rawPeer) readTree() wire.Message {
	p.t.Helper()
	for {
		m := p.read()
		if a, ok := m.(wire.TreeAck); ok && len(a.Packs)+len(a.Published)+len(a.Failed) == 0 {
			continue
		}
		return m
	}
}

// names are all files beneath dir, with slashes, without the receiver's state.
func namesBeneath(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		if rel == stateName {
			return fs.SkipDir
		}
		if rel != "." {
			out = append(out, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// A manifest that is not one ends its tree, and nothing else of the session.
func TestHostileManifests(t *testing.T) {
	file := func(name string) tree.Record { return tree.Record{Name: name, Kind: tree.File, Size: 1, Mode: 0o644} }
	good := manifestOf(t, file("a"), file("b"))
	cases := map[string]struct {
		part wire.TreePart
		code wire.Code
	}{
		"garbage":              {wire.TreePart{Count: 2, Records: bytes.Repeat([]byte{0xff}, 40)}, wire.CodeProtocol},
		"fewer than announced": {wire.TreePart{Count: 4, Records: good}, wire.CodeProtocol},
		"more than announced":  {wire.TreePart{Count: 2, Records: good}, wire.CodeProtocol},
		"not the next":         {wire.TreePart{First: 7, Count: 3, Records: good}, wire.CodeProtocol},
		"twice the same":       {wire.TreePart{Count: 4, Records: append(bytes.Clone(good), tail(t, good, "b")...)}, wire.CodeProtocol},
		"out of order":         {wire.TreePart{Count: 4, Records: append(bytes.Clone(good), tail(t, good, "a")...)}, wire.CodeProtocol},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, kinds[0])
			p := h.raw()
			p.hello()
			if m, ok := p.openTree(2, "top", 0).(wire.TreeOpened); !ok {
				t.Fatalf("%#v", m)
			}
			if m, ok := p.openTree(4, "other", 0).(wire.TreeOpened); !ok {
				t.Fatalf("%#v", m)
			}
			p.send(2, c.part)
			e, ok := p.readTree().(wire.Error)
			if !ok || e.Code != c.code {
				t.Fatalf("%#v", e)
			}
			// The other tree goes on.
			p.send(4, wire.TreePart{Count: 3, Records: good, Last: true})
			v, ok := p.readTree().(wire.TreeVerdicts)
			if !ok || v.Entries() != 3 {
				t.Fatalf("%#v", v)
			}
			p.pack(4, 0, packFile(1, "x"), packFile(2, "y"))
			if a, ok := p.readTree().(wire.TreeAck); !ok || len(a.Packs) != 1 || len(a.Failed) > 0 {
				t.Fatalf("%#v", a)
			}
			p.send(4, wire.TreeCommit{Entries: 3, Manifest: wire.Hash(crypto.Sum(good))})
			for {
				m := p.readTree()
				if _, ok := m.(wire.TreeReceipt); ok {
					break
				}
				if a, ok := m.(wire.TreeAck); !ok || len(a.Failed) > 0 {
					t.Fatalf("%#v", m)
				}
			}
			if got := strings.Join(namesBeneath(t, filepath.Join(h.root, "other")), " "); got != "a b" {
				t.Fatalf("arrived: %s", got)
			}
		})
	}
}

// tail is the bytes of the record named name, as an encoder that is at the end of good would write another one.
func tail(t testing.TB, good []byte, name string) []byte {
	t.Helper()
	dec := tree.NewDecoder()
	for rest := good; ; {
		r, after, err := dec.Next(rest)
		if err != nil {
			t.Fatal(err)
		}
		if r.Name == name {
			return rest[:len(rest)-len(after)]
		}
		rest = after
	}
}

func TestHostilePacks(t *testing.T) {
	good := manifestOf(t, tree.Record{Name: "a", Kind: tree.File, Size: 1, Mode: 0o644}, tree.Record{Name: "d", Kind: tree.Directory, Mode: 0o755})
	begin := func(t *testing.T) (*host, *rawPeer) {
		h := newHost(t, kinds[0])
		p := h.raw()
		p.hello()
		p.openTree(2, "top", 0)
		p.send(2, wire.TreePart{Count: 3, Records: good})
		if v, ok := p.readTree().(wire.TreeVerdicts); !ok || v.Entries() != 3 {
			t.Fatalf("%#v", v)
		}
		return h, p
	}
	failed := func(t *testing.T, p *rawPeer, code wire.Code) {
		t.Helper()
		a, ok := p.readTree().(wire.TreeAck)
		if !ok || len(a.Failed) != 1 || a.Failed[0].Code != code {
			t.Fatalf("%#v", a)
		}
	}
	t.Run("wrong content", func(t *testing.T) {
		h, p := begin(t)
		f := packFile(1, "x")
		f.Content = []byte("y")
		p.pack(2, 0, f)
		failed(t, p, wire.CodeChunkBad)
		p.pack(2, 1, packFile(1, "x")) // and again, well
		if a, ok := p.readTree().(wire.TreeAck); !ok || len(a.Failed) > 0 || len(a.Packs) != 1 {
			t.Fatalf("%#v", a)
		}
		if _, err := os.Lstat(filepath.Join(h.root, "top", "a")); err == nil {
			if b, _ := os.ReadFile(filepath.Join(h.root, "top", "a")); string(b) != "x" {
				t.Fatalf("published %q", b)
			}
		}
	})
	t.Run("wrong size", func(t *testing.T) {
		_, p := begin(t)
		p.pack(2, 0, packFile(1, "xyz"))
		failed(t, p, wire.CodeSourceChanged)
	})
	for name, no := range map[string]uint64{"a directory": 2, "not in the manifest": 77} {
		t.Run(name, func(t *testing.T) {
			h, p := begin(t)
			p.pack(2, 0, packFile(no, "x"))
			if a, ok := p.readTree().(wire.TreeAck); !ok || len(a.Packs) != 1 || len(a.Published)+len(a.Failed) > 0 {
				t.Fatalf("%#v", a)
			}
			if got := strings.Join(namesBeneath(t, filepath.Join(h.root, "top")), " "); got != "d" {
				t.Fatalf("arrived: %s", got)
			}
		})
	}
	for name, change := range map[string]func(b []byte) []byte{
		"length beyond the frame": func(b []byte) []byte { b[wire.PackHeaderLen+9] = 0x7f; return b },
		"more files than there":   func(b []byte) []byte { b[wire.PackHeaderLen-1] = 9; return b },
		"bytes behind":            func(b []byte) []byte { b[7]++; return append(b, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			_, p := begin(t)
			b := wire.AppendPackHeader(nil)
			b = wire.AppendPackFile(b, 1, nil, 1)
			f := packFile(1, "x")
			b = append(append(b, 'x'), f.Root[:]...)
			wire.PutPackHeader(b, 2, 0, 0, 1)
			_, _ = p.st.Write(change(b))
			if code := p.mustEnd(); code != wire.CodeProtocol {
				t.Fatalf("the session ended with %v", code)
			}
		})
	}
}

// A manifest without end, of whose files none ever comes, costs the receiver no memory: it stops answering.
func TestEndlessManifestIsBounded(t *testing.T) {
	h := newHost(t, kinds[0])
	p := h.raw()
	p.hello()
	p.openTree(2, "top", 0)
	enc := tree.NewEncoder()
	var before runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	no, answered, sent := uint64(0), 0, 0
	_ = p.st.SetReadDeadline(time.Now().Add(60 * time.Second))
	for answered < 1000 {
		for ; sent < answered+treeAhead && sent < 1000; sent++ {
			var b []byte
			count := uint64(0)
			for ; count < 1000; count++ {
				r := tree.Record{Name: fmt.Sprintf("f%08d", no), Kind: tree.File, Size: 1, Mode: 0o644}
				if no == 0 {
					r = tree.Record{Kind: tree.Directory, NoMeta: true}
				}
				var err error
				if b, err = enc.Append(b, &r); err != nil {
					t.Fatal(err)
				}
				no++
			}
			p.send(2, wire.TreePart{First: no - count, Count: count, Records: b})
		}
		_ = p.st.SetReadDeadline(time.Now().Add(2 * time.Second))
		m := p.readTree()
		if m == nil { // it waits for content
			break
		}
		if _, ok := m.(wire.TreeVerdicts); !ok {
			t.Fatalf("%#v", m)
		}
		answered++
	}
	var after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&after)
	if n := int64(after.HeapAlloc) - int64(before.HeapAlloc); answered >= 1000 || n > 64<<20 {
		t.Fatalf("%d parts answered, %d MiB more in use", answered, n>>20)
	}
}

// Files that fail as they arrive are given up, however many they are: the entries behind them have room.
func TestFailedFilesMakeRoom(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: many files or messages")
	}
	h := newHost(t, kinds[0])
	p := h.raw()
	p.hello()
	_ = p.st.SetReadDeadline(time.Now().Add(60 * time.Second))
	_ = p.st.SetWriteDeadline(time.Now().Add(60 * time.Second))
	p.openTree(2, "top", 0)
	const parts, each = 70, 1000
	enc := tree.NewEncoder()
	hash := crypto.NewHasher()
	for no := uint64(0); no < parts*each; {
		var records []byte
		first := no
		var files []wire.PackFile
		for ; no < first+each; no++ {
			r := tree.Record{Name: fmt.Sprintf("f%08d", no), Kind: tree.File, Size: 1, Mode: 0o644}
			if no == 0 {
				r = tree.Record{Kind: tree.Directory, NoMeta: true}
			} else {
				files = append(files, packFile(no, "too long"))
			}
			var err error
			if records, err = enc.Append(records, &r); err != nil {
				t.Fatal(err)
			}
		}
		_, _ = hash.Write(records)
		p.send(2, wire.TreePart{First: first, Count: each, Records: records, Last: no == parts*each})
		if v, ok := p.readTree().(wire.TreeVerdicts); !ok || v.First != first {
			t.Fatalf("entries from %d: %#v", first, v)
		}
		p.pack(2, first/each, files...)
		failed := 0
		for packed := false; !packed; {
			a, ok := p.readTree().(wire.TreeAck)
			if !ok {
				t.Fatalf("%#v", a)
			}
			failed += len(a.Failed)
			packed = len(a.Packs) > 0
		}
		if failed != len(files) {
			t.Fatalf("%d of %d failed", failed, len(files))
		}
	}
	p.send(2, wire.TreeCommit{Entries: parts * each, Manifest: wire.Hash(hash.Sum())})
	for {
		switch m := p.readTree().(type) {
		case wire.TreeReceipt:
			if m.Files != 0 {
				t.Fatalf("%d files are there", m.Files)
			}
			return
		case wire.TreeAck:
		default:
			t.Fatalf("%#v", m)
		}
	}
}
