package transfer

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/sink"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// helloExact begins a session in which archives may be sent.
func (p *rawPeer) helloExact() {
	p.t.Helper()
	p.send(0, wire.Hello{Versions: []uint64{0}, Agent: "raw", TimeNS: 1, Caps: []string{wire.CapTree, wire.CapExact}})
	if _, ok := p.read().(wire.Welcome); !ok {
		p.t.Fatal("no WELCOME")
	}
}

// exactTree begins a tree of an archive.
func (h *host) exactTree() *rawPeer {
	h.t.Helper()
	p := h.raw()
	p.helloExact()
	if m, ok := p.openTree(2, "top", wire.TreeExact).(wire.TreeOpened); !ok {
		h.t.Fatalf("%#v", m)
	}
	return p
}

// Owners and attributes that no manifest may have end the tree.
func TestHostileArchiveRecords(t *testing.T) {
	top, name := "4101", "4006"+"0161"+"00" // more: owner and attributes; the name a; no bytes
	for what, c := range map[string]struct {
		hex  string
		code wire.Code
	}{
		"a user's name with NUL":     {name + "01" + "05" + "05" + "0100" + "00", wire.CodeProtocol},
		"a user of 2^32-1":           {name + "01" + "ffffffff0f" + "05" + "0000", wire.CodeProtocol},
		"a user above 32 bits":       {name + "01" + "8080808010" + "05" + "0000", wire.CodeLimit},
		"a long name of a user":      {name + "01" + "05" + "05" + "8002" + strings.Repeat("61", 256), wire.CodeLimit},
		"129 attributes":             {name + "01" + "05" + "05" + "0000" + "01" + "8101", wire.CodeLimit},
		"attributes out of order":    {name + "01" + "05" + "05" + "0000" + "01" + "02" + "0162" + "00" + "0161" + "00", wire.CodeProtocol},
		"an attribute without name":  {name + "01" + "05" + "05" + "0000" + "01" + "01" + "00" + "00", wire.CodeProtocol},
		"an attribute of 2^40 bytes": {name + "01" + "05" + "05" + "0000" + "01" + "01" + "0162" + "808080808020", wire.CodeLimit},
		"attributes of 64 KiB + 1":   {name + "01" + "05" + "05" + "0000" + "01" + "01" + "0162" + "808004" + strings.Repeat("61", 1<<16), wire.CodeLimit},
		"an unknown owner":           {name + "07", wire.CodeProtocol},
		"a link to itself":           {"4008" + "0161" + "00" + "00", wire.CodeProtocol},
		"a link to the top":          {"4008" + "0161" + "00" + "01", wire.CodeProtocol},
	} {
		t.Run(what, func(t *testing.T) {
			h := newHost(t, kinds[0])
			p := h.exactTree()
			b, err := hex.DecodeString(top + c.hex)
			if err != nil {
				t.Fatal(err)
			}
			p.send(2, wire.TreePart{Count: 2, Records: b})
			if e, ok := p.readTree().(wire.Error); !ok || e.Code != c.code {
				t.Fatalf("%#v, want %v", e, c.code)
			}
			h.mustServe()
		})
	}
}

// A link to what is no file is a file of its own; one to a file that never comes fails by name.
func TestHostileLinks(t *testing.T) {
	h := newHost(t, kinds[0])
	p := h.exactTree()
	file := func(name string, link uint64, shared bool) tree.Record {
		return tree.Record{Name: name, Kind: tree.File, Size: 1, Mode: 0o644, Link: link, Shared: shared}
	}
	b := manifestOf(t,
		tree.Record{Name: "a", Kind: tree.Symlink, Target: "x", Mode: 0o777}, // 1
		tree.Record{Name: "b", Kind: tree.Directory, Mode: 0o755},            // 2
		func() tree.Record { r := file("c", 0, true); r.Up = 1; return r }(), // 3: never comes
		file("d", 1, false), file("e", 2, false), file("f", 3, false), // 4 to a link, 5 to a directory, 6
		file("g", 0, false), file("h", 7, false), // 8: to one that does not say that it has links
		file("i", 0, true), file("j", 9, false), // 10: to one that comes
	)
	p.send(2, wire.TreePart{Count: 11, Records: b, Last: true})
	v, ok := p.readTree().(wire.TreeVerdicts)
	if !ok || v.Entries() != 11 || len(v.Failed) != 0 {
		t.Fatalf("%#v", v)
	}
	var codes []uint64
	for _, r := range v.Runs {
		for range r.Count {
			codes = append(codes, r.Code)
		}
	}
	want := []uint64{4, 4, 4, 1, 1, 1, 4, 1, 1, 1, 4}
	for i := range want {
		if codes[i] != want[i] {
			t.Errorf("entry %d: verdict %d, want %d", i, codes[i], want[i])
		}
	}
	p.pack(2, 0, packFile(4, "d"), packFile(5, "e"), packFile(7, "g"), packFile(8, "h"), packFile(9, "i"))
	p.send(2, wire.TreeSkip{Gone: []uint64{3}})
	p.send(2, wire.TreeCommit{Entries: 11, Manifest: wire.Hash(crypto.Sum(b))})
	var failed []wire.TreeFailure
	for {
		m := p.readTree()
		if a, ok := m.(wire.TreeAck); ok {
			failed = append(failed, a.Failed...)
			continue
		}
		if _, ok := m.(wire.TreeReceipt); !ok {
			t.Fatalf("%#v", m)
		}
		break
	}
	if len(failed) != 1 || failed[0].No != 6 || strings.Join(failed[0].Path.Parts(), "/") != "f" {
		t.Errorf("failed: %+v", failed)
	}
	if got := strings.Join(namesBeneath(t, h.path("top")), " "); got != "a b d e g h i j" {
		t.Errorf("arrived: %s", got)
	}
	i, err := os.Stat(h.path("top/i"))
	if err != nil {
		t.Fatal(err)
	}
	if j, err := os.Stat(h.path("top/j")); err != nil || !os.SameFile(i, j) {
		t.Errorf("j is another file than i: %v", err)
	}
	h.mustServe()
}

// What was told of an owner and of attributes counts in an archive only.
func TestArchiveThatWasNotAnnounced(t *testing.T) {
	h := newHost(t, kinds[0])
	p := h.raw()
	p.helloExact()
	p.openTree(2, "top", 0)
	b := manifestOf(t, tree.Record{
		Name: "f", Kind: tree.File, Size: 1, Mode: 0o4755, Owner: &tree.Owner{UID: 1234, GID: 4321}, XAttrs: []tree.XAttr{{Name: "user.x", Value: []byte("x")}},
	})
	p.send(2, wire.TreePart{Count: 2, Records: b, Last: true})
	p.readTree()
	p.pack(2, 0, packFile(1, "x"))
	p.send(2, wire.TreeCommit{Entries: 2, Manifest: wire.Hash(crypto.Sum(b))})
	for {
		if _, ok := p.readTree().(wire.TreeReceipt); ok {
			break
		}
	}
	fsys, err := durable.OpenOS(h.path("top"))
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	fi, err := fsys.Lstat("f")
	if err != nil {
		t.Fatal(err)
	}
	if uid, _, ok := durable.OwnerOf(fi); ok && uid == 1234 || fi.Mode() != 0o755 {
		t.Errorf("%v of %d", fi.Mode(), uid)
	}
	if attrs, err := fsys.LXAttrs("f"); err == nil {
		for _, a := range attrs {
			if a.Name == "user.x" {
				t.Error("the attribute is there")
			}
		}
	}
}

// Metadata of a single file that no record has is refused; where archives were not agreed on it is ignored, and the flags are refused.
func TestHostileArchiveOfAFile(t *testing.T) {
	r := archiveRecord()
	r.Owner = &tree.Owner{UID: 5, GID: 6}
	good, err := tree.NewEncoder().Append(nil, &r)
	if err != nil {
		t.Fatal(err)
	}
	r.Kind = tree.File
	bad := map[string]wire.Code{
		"\xff": wire.CodeProtocol, string(good) + "\x00": wire.CodeProtocol, string(good[:len(good)-1]): wire.CodeProtocol, "\x09\x00": wire.CodeProtocol,
		"\x41\x01": wire.CodeProtocol, "\x00\x00": wire.CodeProtocol, "\x41\x04\x01\x81\x01": wire.CodeLimit,
	}
	h := newHost(t, kinds[0])
	id := uint32(2)
	p, old := h.raw(), h.raw()
	p.helloExact()
	old.hello()
	for b, code := range bad {
		o := openMessage(t, "f", 1<<20)
		o.Meta.Archive = b
		p.send(id, o)
		if e, ok := p.read().(wire.Error); !ok || e.Code != code {
			t.Errorf("%x: %#v, want %v", b, e, code)
		}
		path := o.Path
		p.send(id+1, wire.Symlink{Path: path, Target: "x", Meta: &wire.Meta{Archive: b}})
		if e, ok := p.read().(wire.Error); !ok || e.Code != code {
			t.Errorf("a link, %x: %#v, want %v", b, e, code)
		}
		old.send(id, o)
		if m, ok := old.read().(wire.Opened); !ok {
			t.Errorf("not agreed, %x: %#v", b, m)
		}
		old.send(id, wire.Abort{Code: wire.CodeSourceChanged})
		id += 2
	}
	if m := old.openTree(100, "top", wire.TreeExact); m.(wire.Error).Code != wire.CodeUnsupported {
		t.Errorf("TREE_OPEN: %#v", m)
	}
	old.send(101, wire.TreeGet{Path: wire.Path{}, Flags: wire.TreeExact})
	if e, ok := old.read().(wire.Error); !ok || e.Code != wire.CodeUnsupported {
		t.Errorf("TREE_GET: %#v", e)
	}
	mustWrite(t, h.path("there"), []byte("x"), 0o644)
	there := openMessage(t, "there", 1).Path
	for i, peer := range []*rawPeer{old, p} {
		peer.send(103, wire.Get{Path: there, Handle: 103, Exact: true})
		if o, ok := peer.read().(wire.Open); !ok || (o.Meta.Archive != "") != (i == 1) {
			t.Errorf("GET: %#v", o)
		}
	}
	h.mustServe()
}

// A server that sends more than was asked for does not get its way.
func TestSpecialModesOfAServer(t *testing.T) {
	if os.Geteuid() != 0 || runtime.GOOS != "linux" {
		t.Skip("needs root, and attributes as Linux has them")
	}
	h := newHost(t, kinds[0])
	mustWrite(t, h.path("d/f"), []byte("x"), 0o755)
	if err := os.Chmod(h.path("d/f"), 0o755|os.ModeSetuid); err != nil {
		t.Fatal(err)
	}
	for _, right := range []bool{false, true} {
		h.set(func() {
			h.rights = sink.All
			if right {
				h.rights |= sink.SpecialModes
			}
		})
		for _, o := range []Options{{}, {Archive: true}, {Archive: true, SpecialModes: true}} {
			to := filepath.Join(t.TempDir(), "to")
			h.mustGet(o, to, "d")
			fi, err := os.Stat(filepath.Join(to, "f"))
			if err != nil {
				t.Fatal(err)
			}
			if has := fi.Mode()&os.ModeSetuid != 0; has != (right && o.SpecialModes) {
				t.Errorf("right %v, %+v: %v", right, o, fi.Mode())
			}
		}
	}
}

// There is a limit to the files that wait for their other names.
func TestLinkTableIsBounded(t *testing.T) {
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "a"), []byte("x"), 0o644)
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")); err != nil {
		t.Skip(err)
	}
	fsys, err := durable.OpenOS(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	info, err := fsys.Lstat("a")
	if err != nil {
		t.Fatal(err)
	}
	links, ok := durable.Links(info)
	if !ok {
		t.Skip("no numbers of names here")
	}
	table, e := linkTable{}, &treeEntry{info: info, links: links, kind: tree.File}
	var refused, first, second tree.Record
	table.find(e, &refused, 7) // and it gets no number
	table.find(e, &first, 7)
	table.note(e, &first, 7)
	table.find(e, &second, 9)
	table.note(e, &second, 9)
	if links != 2 || !first.Shared || first.Link != 0 || second.Shared || second.Link != 7 || len(table.files) != 0 {
		t.Errorf("%d names: %+v, %+v, %v", links, first, second, table.files)
	}
	if err := os.Truncate(filepath.Join(dir, "b"), 5); err != nil {
		t.Fatal(err)
	}
	table.note(e, &first, 7)
	changed := &treeEntry{links: links, kind: tree.File}
	if changed.info, err = fsys.Lstat("a"); err != nil {
		t.Fatal(err)
	}
	var third tree.Record
	table.find(changed, &third, 13)
	if third.Link != 0 || !third.Shared {
		t.Errorf("what may be another file by now is %+v", third)
	}
	table.files = make(map[linkKey]linkGroup, maxLinkGroups)
	for i := range uint64(maxLinkGroups) {
		table.files[linkKey{fileNumber: fileNumber{1 << 60, i}}] = linkGroup{}
	}
	var over tree.Record
	table.find(e, &over, 11)
	table.note(e, &over, 11)
	if over.Shared || over.Link != 0 || table.over != 1 || len(table.files) != maxLinkGroups {
		t.Errorf("%+v, %d are over", over, table.over)
	}
}

// A file is not there because the receiver says that it was made.
func TestAFileIsNotMade(t *testing.T) {
	for what, e := range map[string]*treeEntry{
		"a file":      {kind: tree.File},
		"a hard link": {kind: tree.File, linked: 1},
		"a directory": {kind: tree.Directory},
	} {
		s := &session{}
		ts := s.newTreeSend(2, treeHooks{settled: func(*treeEntry, wire.VerdictCode, error) {}})
		ts.parts = [][]*treeEntry{{e}}
		err := ts.takeVerdicts(wire.TreeVerdicts{Runs: []wire.Verdicts{{Code: uint64(wire.VerdictMade), Count: 1}}})
		if (err != nil) != (what == "a file") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
