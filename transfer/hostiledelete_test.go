package transfer

import (
	"os"
	"strings"
	"testing"

	"xfer/crypto"
	"xfer/transfer/sink"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

func mustPaths(t *testing.T, names ...string) (out []wire.Path) {
	t.Helper()
	for _, n := range names {
		p, err := wire.NewPath(strings.Split(n, "/")...)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// toDelete fills a root: in top are a and d/b, which are in the manifest, x and old/y, which are extra, f/in, where the manifest has a file, and
// two links; beside is another directory.
func toDelete(t *testing.T, h *host) (manifest []byte) {
	t.Helper()
	for _, n := range []string{"top/a", "top/d/b", "top/x", "top/old/y", "top/f/in", "beside/b", "beside/c", "beside/.xfer-keep"} {
		mustWrite(t, h.path(n), []byte("1"), 0o644)
	}
	for link, to := range map[string]string{"top/link": "../beside", "top/way": "../beside"} {
		if err := os.Symlink(to, h.path(link)); err != nil {
			t.Skip(err)
		}
	}
	file := func(name string, up int) tree.Record {
		return tree.Record{Name: name, Up: up, Kind: tree.File, Size: 1, Mode: 0o644}
	}
	return manifestOf(t, file("a", 0), tree.Record{Name: "d", Kind: tree.Directory, Mode: 0o755}, file("b", 0), file("f", 1),
		tree.Record{Name: "way", Kind: tree.Directory, Mode: 0o755})
}

// told sends a manifest and reads all that is told of it, until the last TREE_EXTRA where there is one.
func (p *rawPeer) told(manifest []byte, n uint64, flags uint64) string {
	p.t.Helper()
	if m, ok := p.openTree(2, "top", flags).(wire.TreeOpened); !ok {
		p.t.Fatalf("%#v", m)
	}
	p.send(2, wire.TreePart{Count: n, Records: manifest, Last: true})
	if v, ok := p.readTree().(wire.TreeVerdicts); !ok || v.Entries() != n {
		p.t.Fatalf("%#v", v)
	}
	var told []string
	for last := flags&wire.TreeTellExtra == 0; !last; {
		m, ok := p.readTree().(wire.TreeExtra)
		if !ok {
			p.t.Fatalf("%#v", m)
		}
		for _, e := range m.Entries {
			told = append(told, strings.Join(e.Path.Parts(), "/"))
		}
		last = m.Last
	}
	return strings.Join(told, " ")
}

// What a client deletes of a tree is what it was told of as extra, or what is in the way; and nothing that a link leads to.
func TestHostileTreeDelete(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		manifest := toDelete(t, h)
		p := h.raw()
		p.hello()
		if told := p.told(manifest, 6, wire.TreeMayDelete|wire.TreeTellExtra); told != "link old old/y x" {
			t.Fatalf("told: %s", told)
		}
		p.pack(2, 0, packFile(1, "n"), packFile(3, "n"))
		names := []string{
			"a", "d", "d/b", "f2", "d/none", // of the manifest, or nowhere
			"link/b", "way/b", "link/.xfer-keep", // by a link; the link way itself is in the way
			"old",                                   // not empty
			"old/y", "old", "x", "f/in", "f", "way", // that may go
			"x", "link",
		}
		p.send(2, wire.TreeDelete{Paths: mustPaths(t, append(names[:7:7], names[8:]...)...)})
		var d wire.TreeDeleted
		for {
			m := p.readTree()
			if _, ok := m.(wire.TreeAck); ok {
				continue
			}
			var ok bool
			if d, ok = m.(wire.TreeDeleted); !ok {
				t.Fatalf("%#v", m)
			}
			break
		}
		codes := map[uint64]wire.Code{}
		for _, f := range d.Failed {
			codes[f.No] = f.Code
		}
		for no, want := range []wire.Code{
			wire.CodeExists, wire.CodeExists, wire.CodeExists, wire.CodeExists, wire.CodeExists,
			wire.CodeExists, wire.CodeNotDir,
			wire.CodeNotEmpty, 0, 0, 0, 0, 0, 0, wire.CodeNotFound, 0,
		} {
			if codes[uint64(no)] != want {
				t.Errorf("path %d: %v, want %v", no, codes[uint64(no)], want)
			}
		}
		if got := strings.Join(namesBeneath(t, h.path("top")), " "); got != "a d d/b" {
			t.Errorf("left: %s", got)
		}
		if got := strings.Join(namesBeneath(t, h.path("beside")), " "); got != ".xfer-keep b c" {
			t.Errorf("left beside: %s", got)
		}
		h.mustServe()
	})
}

// A TREE_DELETE at a time, or in a tree, where there is none ends the tree; a name that is none fails by itself. Other trees of the session go on.
func TestHostileTreeDeleteIsRefused(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		manifest := toDelete(t, h)
		all := func(p *rawPeer) { p.send(2, wire.TreeDelete{Paths: mustPaths(t, "x")}) }
		const both = wire.TreeMayDelete | wire.TreeTellExtra
		parts := func(flags uint64, last bool) func(p *rawPeer) {
			return func(p *rawPeer) {
				p.send(2, wire.TreeOpen{Tree: wire.TransferID{2}, Path: mustPaths(t, "top")[0], Flags: flags})
				p.send(2, wire.TreePart{Count: 6, Records: manifest, Last: last})
			}
		}
		for name, c := range map[string]struct {
			rights sink.Rights
			begin  func(p *rawPeer)
			attack func(p *rawPeer)
			code   wire.Code
		}{
			"not announced":           {sink.All, parts(wire.TreeTellExtra, true), all, wire.CodeProtocol},
			"nothing was told":        {sink.All, parts(wire.TreeMayDelete, true), all, wire.CodeProtocol},
			"a dry run":               {sink.All, parts(both|wire.TreeDryRun, true), all, wire.CodeProtocol},
			"before there is a part":  {sink.All, func(p *rawPeer) { p.openTree(2, "top", both) }, all, wire.CodeProtocol},
			"before the last part":    {sink.All, parts(both, false), all, wire.CodeProtocol},
			"without the right":       {sink.All &^ sink.RDelete, func(*rawPeer) {}, parts(both, true), wire.CodeDenied},
			"with the right to add":   {sink.All | sink.NoReplace, func(*rawPeer) {}, parts(both, true), wire.CodeDenied},
			"the last part behind it": {sink.All, parts(both, false), func(p *rawPeer) { all(p); p.send(2, wire.TreePart{First: 6, Last: true}) }, wire.CodeProtocol},
			"..":                      {sink.All, parts(both, true), func(p *rawPeer) { p.bare(wire.TTreeDelete, 2, 0xa1, 0x01, 0x81, 0x81, 0x42, '.', '.') }, wire.CodeBadPath},
			"an absolute name":        {sink.All, parts(both, true), func(p *rawPeer) { p.bare(wire.TTreeDelete, 2, 0xa1, 0x01, 0x81, 0x81, 0x42, '/', 'x') }, wire.CodeBadPath},
			"our own state": {sink.All, parts(both, true), func(p *rawPeer) {
				p.bare(wire.TTreeDelete, 2, append([]byte{0xa1, 0x01, 0x81, 0x81, 0x45}, ".xfer"...)...)
			}, wire.CodeBadPath},
		} {
			t.Run(name, func(t *testing.T) {
				h.set(func() { h.rights = c.rights })
				p := h.raw()
				p.t = t
				p.hello()
				if m, ok := p.openTree(4, "other", 0).(wire.TreeOpened); !ok {
					t.Fatalf("%#v", m)
				}
				c.begin(p)
				c.attack(p)
				for {
					m := p.readTree()
					if e, ok := m.(wire.Error); ok {
						if e.Code != c.code {
							t.Errorf("%#v, want %v", e, c.code)
						}
						break
					}
					if m == nil {
						t.Fatal("the session has ended")
					}
				}
				p.otherTree(4)
				for _, n := range []string{"top/a", "top/x", "top/old/y", "beside/b"} {
					if _, err := os.Lstat(h.path(n)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		h.set(func() { h.rights = sink.All })
		h.mustServe()
	})
}

// otherTree brings a tree of one file to its end, whose TREE_OPEN was answered.
func (p *rawPeer) otherTree(id uint32) {
	p.t.Helper()
	b := manifestOf(p.t, tree.Record{Name: "z", Kind: tree.File, Size: 1, Mode: 0o644})
	p.send(id, wire.TreePart{Count: 2, Records: b, Last: true})
	for {
		switch m := p.readTree().(type) {
		case wire.TreeReceipt:
			return
		case wire.TreeVerdicts:
			if m.Entries() == 2 {
				p.pack(id, 0, packFile(1, "z"))
			}
		case wire.TreeAck:
			if len(m.Packs) > 0 && m.Packs[0].Start == 0 {
				p.send(id, wire.TreeCommit{Entries: 2, Manifest: wire.Hash(crypto.Sum(b))})
			}
		case wire.TreeExtra, wire.TreeOpened:
		default:
			p.t.Fatalf("the other tree: %#v", m)
		}
	}
}

// TREE_SKIP of what was not asked, and TREE_COMMIT of what did not come.
func TestHostileTreeEnds(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		manifest := manifestOf(t, tree.Record{Name: "a", Kind: tree.File, Size: 1, Mode: 0o644}, tree.Record{Name: "d", Kind: tree.Directory, Mode: 0o755})
		good := wire.TreeCommit{Entries: 3, Manifest: wire.Hash(crypto.Sum(manifest))}
		packed := func(p *rawPeer) {
			p.pack(2, 0, packFile(1, "x"))
			for {
				a, ok := p.readTree().(wire.TreeAck)
				if !ok {
					p.t.Fatalf("%#v", a)
				}
				if len(a.Packs) > 0 {
					return
				}
			}
		}
		skip := func(m wire.TreeSkip) func(p *rawPeer) {
			return func(p *rawPeer) { packed(p); p.send(2, m); p.send(2, good) }
		}
		for name, c := range map[string]struct {
			last bool
			do   func(p *rawPeer)
			code wire.Code // 0: it ends well
		}{
			"well":                        {true, func(p *rawPeer) { packed(p); p.send(2, good) }, 0},
			"gone, which never was asked": {true, skip(wire.TreeSkip{Gone: []uint64{2, 77, 1 << 39}}), 0},
			"gone, which has come":        {true, skip(wire.TreeSkip{Gone: []uint64{1}}), 0},
			"the same, which never was asked": {true, func(p *rawPeer) {
				packed(p)
				p.send(2, wire.TreeSkip{Same: []uint64{2, 77}})
				for {
					a, ok := p.readTree().(wire.TreeAck)
					if !ok {
						p.t.Fatalf("%#v", a)
					}
					if len(a.Failed) > 0 {
						if len(a.Failed) != 2 || a.Failed[0].No != 2 || a.Failed[1].No != 77 {
							p.t.Errorf("%#v", a.Failed)
						}
						break
					}
				}
				p.send(2, good)
			}, 0},
			"committed before the last part": {false, func(p *rawPeer) { packed(p); p.send(2, good) }, wire.CodeRootMismatch},
			"the last part behind it":        {false, func(p *rawPeer) { packed(p); p.send(2, good); p.send(2, wire.TreePart{First: 3, Last: true}) }, wire.CodeRootMismatch},
			"committed before the pack":      {true, func(p *rawPeer) { p.send(2, good) }, wire.CodeProtocol},
			"of more entries":                {true, func(p *rawPeer) { packed(p); p.send(2, wire.TreeCommit{Entries: 4, Manifest: good.Manifest}) }, wire.CodeRootMismatch},
			"of another manifest":            {true, func(p *rawPeer) { packed(p); p.send(2, wire.TreeCommit{Entries: 3}) }, wire.CodeRootMismatch},
			"twice":                          {true, func(p *rawPeer) { packed(p); p.send(2, good); p.send(2, good) }, 0},
			"packs of what is not wanted, and twice": {true, func(p *rawPeer) {
				p.pack(2, 5, packFile(2, "dir"), packFile(77, "x"), packFile(1<<39, "x"))
				if a, ok := p.readTree().(wire.TreeAck); !ok || len(a.Packs) != 1 || len(a.Failed) > 0 {
					p.t.Errorf("%#v", a)
				}
				packed(p)
				p.pack(2, 6, packFile(1, "y"))
				p.send(2, good)
			}, 0},
		} {
			t.Run(name, func(t *testing.T) {
				p := h.raw()
				p.t = t
				p.hello()
				if m, ok := p.openTree(4, "other", 0).(wire.TreeOpened); !ok {
					t.Fatalf("%#v", m)
				}
				if err := os.RemoveAll(h.path("top")); err != nil {
					t.Fatal(err)
				}
				p.openTree(2, "top", 0)
				p.send(2, wire.TreePart{Count: 3, Records: manifest, Last: c.last})
				if v, ok := p.readTree().(wire.TreeVerdicts); !ok || v.Entries() != 3 {
					t.Fatalf("%#v", v)
				}
				c.do(p)
			ends:
				for {
					switch m := p.readTree().(type) {
					case wire.TreeAck:
					case wire.TreeReceipt:
						if c.code != 0 || m.Files != 1 {
							t.Errorf("%#v", m)
						}
						break ends
					case wire.Error:
						if m.Code != c.code {
							t.Errorf("%#v, want %v", m, c.code)
						}
						break ends
					default:
						t.Fatalf("%#v", m)
					}
				}
				p.otherTree(4)
			})
		}
		h.mustServe()
	})
}
