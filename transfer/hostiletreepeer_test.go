package transfer

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xfer/certs/certstest"
	"xfer/crypto"
	"xfer/transfer/transport"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// treePeer is a server that takes trees and gives one away, by frames. It keeps the rules but where do says otherwise.
type treePeer struct {
	t  testing.TB
	h  *host
	st transport.Stream
	r  *wire.Reader
	do func(p *treePeer, id uint32, m any) bool // true: it has been answered

	open    wire.TreeOpen
	dec     *tree.Decoder
	hash    *crypto.Hasher
	entries uint64
	give    []byte // the manifest that is given
}

// treeServer serves clients until the end of the test. The capabilities besides that of trees are caps.
func treeServer(t *testing.T, h *host, do func(p *treePeer, id uint32, m any) bool, caps ...string) *Client {
	t.Helper()
	l, err := transport.Listen("127.0.0.1:0", []transport.Kind{h.kind}, crypto.ServerTLS(h.server, nil), transport.ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() { cancel(); _ = l[0].Close() })
	give := manifestOf(t, tree.Record{Name: "f", Kind: tree.File, Size: 5, Mode: 0o644}, tree.Record{Name: "g", Kind: tree.File, Size: 5, Mode: 0o644})
	go func() {
		for {
			c, err := l[0].Accept(ctx)
			if err != nil {
				return
			}
			go func() {
				defer c.Close(0, "")
				st, err := c.AcceptStream(ctx)
				if err != nil {
					return
				}
				p := &treePeer{t: t, h: h, st: st, r: wire.NewReader(st, wire.MaxControl), do: do, dec: tree.NewDecoder(), hash: crypto.NewHasher(), give: give}
				p.serve(append([]string{wire.CapTree}, caps...))
			}()
		}
	}()
	evil := &host{t: t, kind: h.kind, server: h.server, client: h.client, addr: l[0].Addr().String()}
	return evil.newClient(Options{RetryFor: 300 * time.Millisecond, Timeout: time.Second})
}

func (p *treePeer) send(id uint32, m wire.Message) {
	if b, err := wire.AppendFrame(nil, id, m); err == nil {
		_, _ = p.st.Write(b)
	}
}

func (p *treePeer) pack(id uint32, number uint64, files ...wire.PackFile) {
	raw := &rawPeer{st: p.st}
	raw.pack(id, number, files...)
}

func (p *treePeer) serve(caps []string) {
	for {
		h, err := p.r.Next()
		if err != nil {
			return
		}
		var m any
		switch h.Type {
		case wire.TPack:
			m, err = p.r.Pack(h, make([]byte, wire.MaxPack+64))
		case wire.TData:
			m, err = p.r.Data(h, make([]byte, wire.MaxPayload+64))
		default:
			m, err = p.r.Message(h)
		}
		if err != nil {
			return
		}
		if _, ok := m.(wire.Hello); ok {
			p.send(0, wire.Welcome{Window: 1 << 20, Caps: caps, Roots: []wire.RootInfo{{Name: "inbox", Default: true, Rights: []string{"all"}}}, Limits: wire.PeerLimits{Streams: 1, Open: 64, Requests: 64}})
			continue
		}
		if !p.do(p, h.ID, m) {
			p.answer(h.ID, m)
		}
	}
}

// answer is what the rules want.
func (p *treePeer) answer(id uint32, m any) {
	switch m := m.(type) {
	case wire.Stat:
		if m.Path.Parts()[0] == "give" {
			p.send(id, wire.Stated{Entry: wire.Entry{Name: "give", Kind: wire.KindDir}})
		} else {
			p.send(id, wire.Error{Code: wire.CodeNotFound, Class: 4})
		}
	case wire.TreeOpen:
		p.open = m
		p.send(id, wire.TreeOpened{Ahead: 16, Small: 512 << 10})
	case wire.TreePart:
		p.send(id, p.verdicts(m))
		if m.Last && p.open.Flags&wire.TreeTellExtra != 0 {
			p.send(id, wire.TreeExtra{Last: true, Total: 10})
		}
	case wire.Pack:
		ack := wire.TreeAck{Packs: []wire.Range{{Start: m.Number, Count: 1}}}
		for f, ok, _ := m.Next(); ok; f, ok, _ = m.Next() {
			ack.Published = append(ack.Published, wire.Range{Start: f.No, Count: 1})
		}
		p.send(id, wire.TreeAck{Packs: ack.Packs})
		for _, r := range ack.Published {
			p.send(id, wire.TreeAck{Published: []wire.Range{r}})
		}
	case wire.TreeCommit:
		p.send(id, p.receipt(m, p.h.server))
	case wire.TreeGet:
		p.send(id, wire.TreeOpen{Tree: wire.TransferID{1}})
	case wire.TreeOpened:
		p.send(id, wire.TreePart{Count: 3, Records: p.give, Last: true})
	case wire.TreeVerdicts:
		p.pack(id, 0, packFile(1, "hello"), packFile(2, "there"))
	case wire.TreeAck:
		if len(m.Published) > 0 && m.Published[len(m.Published)-1].Start+m.Published[len(m.Published)-1].Count == 3 {
			p.send(id, wire.TreeCommit{Entries: 3, Manifest: wire.Hash(crypto.Sum(p.give))})
		}
	}
}

func (p *treePeer) verdicts(m wire.TreePart) wire.TreeVerdicts {
	_, _ = p.hash.Write(m.Records)
	p.entries += m.Count
	v := wire.TreeVerdicts{First: m.First, Runs: []wire.Verdicts{}}
	for rest := m.Records; len(rest) > 0; {
		r, after, err := p.dec.Next(rest)
		if err != nil {
			p.t.Errorf("the client's manifest: %v", err)
			return v
		}
		code := uint64(wire.VerdictMade)
		if r.Kind == tree.File {
			code = uint64(wire.VerdictNew)
		}
		if n := len(v.Runs); n > 0 && v.Runs[n-1].Code == code {
			v.Runs[n-1].Count++
		} else {
			v.Runs = append(v.Runs, wire.Verdicts{Code: code, Count: 1})
		}
		rest = after
	}
	return v
}

func (p *treePeer) receipt(m wire.TreeCommit, who *crypto.Identity) wire.TreeReceipt {
	r := wire.TreeReceipt{Tree: p.open.Tree, Manifest: wire.Hash(p.hash.Sum()), Entries: m.Entries, RootName: "inbox", Path: p.open.Path, Durability: p.open.Durability}
	return signed(r, who)
}

func signed(r wire.TreeReceipt, who *crypto.Identity) wire.TreeReceipt {
	r.Signer = who.SPKI()
	r.Signature, _ = who.SignReceipt(wire.TreeReceiptBytes(r))
	return r
}

// when answers messages of type M by f.
func when[M any](f func(p *treePeer, id uint32, m M)) func(*treePeer, uint32, any) bool {
	return func(p *treePeer, id uint32, m any) bool {
		if m, ok := m.(M); ok {
			f(p, id, m)
			return true
		}
		return false
	}
}

// also has f say something more after the right answer.
func also[M any](f func(p *treePeer, id uint32, m M)) func(*treePeer, uint32, any) bool {
	return when(func(p *treePeer, id uint32, m M) { p.answer(id, m); f(p, id, m) })
}

// before has f say something before the right answer.
func before[M any](f func(p *treePeer, id uint32, m M)) func(*treePeer, uint32, any) bool {
	return when(func(p *treePeer, id uint32, m M) { f(p, id, m); p.answer(id, m) })
}

func rightly(*treePeer, uint32, any) bool { return false }

const noError Kind = 255

// What a server answers to a tree that is sent ends the run with a code where it is against the rules, or where nothing comes any more.
func TestHostileServerOnTreeSend(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := filepath.Join(t.TempDir(), "src")
		for _, name := range []string{"a", "b", "d/c"} {
			mustWrite(t, filepath.Join(src, name), []byte("hello"), 0o644)
		}
		stranger := certstest.New(t)
		receipt := func(change func(r *wire.TreeReceipt)) func(*treePeer, uint32, any) bool {
			return when(func(p *treePeer, id uint32, m wire.TreeCommit) {
				r := p.receipt(m, p.h.server)
				change(&r)
				p.send(id, signed(r, p.h.server))
			})
		}
		for name, c := range map[string]struct {
			do   func(p *treePeer, id uint32, m any) bool
			kind Kind
			sync bool
		}{
			"all is well":               {rightly, noError, false},
			"all is well with a delete": {rightly, noError, true},
			"verdicts twice": {also(func(p *treePeer, id uint32, m wire.TreePart) {
				p.send(id, wire.TreeVerdicts{First: m.First, Runs: []wire.Verdicts{{Code: 1, Count: m.Count}}})
			}), KindProtocol, false},
			"verdicts before the part": {also(func(p *treePeer, id uint32, m wire.TreeOpen) {
				p.send(id, wire.TreeVerdicts{Runs: []wire.Verdicts{{Code: 4, Count: 1}}})
			}), KindProtocol, false},
			"verdicts on more than there is": {when(func(p *treePeer, id uint32, m wire.TreePart) {
				v := p.verdicts(m)
				v.Runs[len(v.Runs)-1].Count++
				p.send(id, v)
			}), KindProtocol, false},
			"the content of a directory": {when(func(p *treePeer, id uint32, m wire.TreePart) {
				p.send(id, wire.TreeVerdicts{First: m.First, Runs: []wire.Verdicts{{Code: 1, Count: m.Count}}})
			}), KindProtocol, false},
			"a pack that was not sent": {also(func(p *treePeer, id uint32, m wire.TreePart) {
				p.send(id, wire.TreeAck{Packs: []wire.Range{{Start: 1 << 30, Count: 1}}})
			}), KindProtocol, false},
			"packs without end": {also(func(p *treePeer, id uint32, m wire.TreePart) {
				p.send(id, wire.TreeAck{Packs: []wire.Range{{Start: 0, Count: 1 << 39}}})
			}), KindProtocol, false},
			"an entry that was not sent": {also(func(p *treePeer, id uint32, m wire.TreePart) {
				p.send(id, wire.TreeAck{Published: []wire.Range{{Start: 999, Count: 1}}})
			}), KindProtocol, false},
			"a directory that is published": {also(func(p *treePeer, id uint32, m wire.TreePart) {
				p.send(id, wire.TreeAck{Published: []wire.Range{{Start: 0, Count: 1}}})
			}), KindProtocol, false},
			"entries without end": {also(func(p *treePeer, id uint32, m wire.TreePart) {
				p.send(id, wire.TreeAck{Published: []wire.Range{{Start: 1, Count: 1 << 39}}})
			}), KindProtocol, false},
			"published, and it never was in a pack": {func(p *treePeer, id uint32, m any) bool {
				switch m := m.(type) {
				case wire.TreeOpen:
					p.open = m
					p.send(id, wire.TreeOpened{Ahead: 16}) // so that all files have an OPEN of their own
				case wire.TreePart:
					p.send(id, p.verdicts(m))
					p.send(id, wire.TreeAck{Published: []wire.Range{{Start: 1, Count: 1}}})
				default:
					return false
				}
				return true
			}, KindProtocol, false},
			"published twice": {also(func(p *treePeer, id uint32, m wire.Pack) {
				p.send(id, wire.TreeAck{Published: []wire.Range{{Start: 1, Count: 1}}})
			}), KindProtocol, false},
			"extra names that nobody asked for": {also(func(p *treePeer, id uint32, m wire.TreePart) {
				p.send(id, wire.TreeExtra{Last: true, Total: 3})
			}), KindProtocol, false},
			"content that always arrives damaged": {when(func(p *treePeer, id uint32, m wire.Pack) {
				for f, ok, _ := m.Next(); ok; f, ok, _ = m.Next() {
					p.send(id, wire.TreeAck{Failed: []wire.TreeFailure{{No: f.No, Code: wire.CodeChunkBad}}})
				}
				p.send(id, wire.TreeAck{Packs: []wire.Range{{Start: m.Number, Count: 1}}})
			}), KindVerify, false},
			"a receipt of another tree":      {receipt(func(r *wire.TreeReceipt) { r.Tree[3]++ }), KindPartial, false},
			"a receipt for another manifest": {receipt(func(r *wire.TreeReceipt) { r.Manifest[3]++ }), KindPartial, false},
			"a receipt for more entries":     {receipt(func(r *wire.TreeReceipt) { r.Entries++ }), KindPartial, false},
			"a receipt for another place":    {receipt(func(r *wire.TreeReceipt) { r.Path, _ = wire.NewPath("else") }), KindPartial, false},
			"a receipt of another root":      {receipt(func(r *wire.TreeReceipt) { r.RootName = "other" }), KindPartial, false},
			"a receipt before there is a tree": {also(func(p *treePeer, id uint32, m wire.TreeOpen) {
				p.send(id, p.receipt(wire.TreeCommit{Entries: 1}, h.server))
			}), KindProtocol, false},
			"a receipt signed by a stranger": {when(func(p *treePeer, id uint32, m wire.TreeCommit) { p.send(id, p.receipt(m, stranger)) }), KindPartial, false},
			"more was deleted than was asked for": {func(p *treePeer, id uint32, m any) bool {
				switch m := m.(type) {
				case wire.TreePart:
					p.send(id, p.verdicts(m))
					path, _ := wire.NewPath("x")
					p.send(id, wire.TreeExtra{Entries: []wire.ExtraEntry{{Path: path, Kind: wire.KindFile}}, Last: true, Total: 10})
				case wire.TreeDelete:
					p.send(id, wire.TreeDeleted{Count: uint64(len(m.Paths)) + 5})
				default:
					return false
				}
				return true
			}, KindProtocol, true},
			"silent from the start":  {when(func(*treePeer, uint32, wire.Stat) {}), KindStalled, false},
			"silent after TREE_OPEN": {when(func(*treePeer, uint32, wire.TreeOpen) {}), KindStalled, false},
			"silent after a part":    {when(func(*treePeer, uint32, wire.TreePart) {}), KindStalled, false},
			"silent after a pack":    {when(func(*treePeer, uint32, wire.Pack) {}), KindStalled, false},
			"silent about what is published": {when(func(p *treePeer, id uint32, m wire.Pack) {
				p.send(id, wire.TreeAck{Packs: []wire.Range{{Start: m.Number, Count: 1}}})
			}), KindProtocol, false},
			"silent after the commit":     {when(func(*treePeer, uint32, wire.TreeCommit) {}), KindStalled, false},
			"extra names that never come": {when(func(p *treePeer, id uint32, m wire.TreePart) { p.send(id, p.verdicts(m)) }), KindStalled, true},
			"a delete that is never answered": {func(p *treePeer, id uint32, m any) bool {
				switch m := m.(type) {
				case wire.TreePart:
					p.send(id, p.verdicts(m))
					path, _ := wire.NewPath("x")
					p.send(id, wire.TreeExtra{Entries: []wire.ExtraEntry{{Path: path, Kind: wire.KindFile}}, Last: true, Total: 10})
				case wire.TreeDelete:
				default:
					return false
				}
				return true
			}, KindStalled, true},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				client := treeServer(t, h, c.do)
				if c.kind == KindStalled {
					client.Options.Timeout, client.Options.RetryFor = 250*time.Millisecond, 50*time.Millisecond
				}
				ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
				defer cancel()
				var err error
				if c.sync {
					_, err = client.Sync(ctx, src, addrOf("to"), SyncOptions{Delete: true, MaxDelete: -1, MaxPercent: 100})
				} else {
					_, err = client.Send(ctx, []Source{{Path: src + "/"}}, addrOf("to"))
				}
				if c.kind == noError && err != nil || c.kind != noError && (err == nil || KindOf(err) != c.kind) {
					t.Errorf("kind %d, want %d: %v", KindOf(err), c.kind, err)
				}
			})
		}
	})
}

// What a server gives when a directory is fetched.
func TestHostileServerOnTreeGet(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		bomb := squeeze(nil, make([]byte, 64<<20))
		for name, c := range map[string]struct {
			do   func(p *treePeer, id uint32, m any) bool
			kind Kind
			want string // what is in f and g then
		}{
			"all is well":                  {rightly, noError, "hello there"},
			"a pack that nobody waits for": {before(func(p *treePeer, id uint32, m wire.TreeVerdicts) { p.pack(id, 7, packFile(77, "x")) }), noError, "hello there"},
			"a pack twice, the second time with other content": {before(func(p *treePeer, id uint32, m wire.TreeVerdicts) {
				p.answer(id, m)
				p.pack(id, 0, packFile(1, "other"), packFile(2, "other"))
			}), noError, "hello there"},
			"a pack before anything was asked for": {before(func(p *treePeer, id uint32, m wire.TreeGet) { p.pack(id, 0, packFile(1, "evil!")) }), noError, "hello there"},
			"content of another length": {when(func(p *treePeer, id uint32, m wire.TreeVerdicts) {
				p.pack(id, 0, packFile(1, "too long"), packFile(2, "there"))
			}), KindPartial, "?"},
			"content without its root": {when(func(p *treePeer, id uint32, m wire.TreeVerdicts) {
				f := packFile(1, "hello")
				f.Content = []byte("jello")
				p.pack(id, 0, f, packFile(2, "there"))
			}), KindStalled, "?"},
			"a bomb": {when(func(p *treePeer, id uint32, m wire.TreeVerdicts) {
				b := append(wire.AppendPackHeader(nil), bomb...)
				wire.PutPackHeader(b, id, wire.PackZstd, 0, 1)
				_, _ = p.st.Write(b)
			}), KindProtocol, "?"},
			"a hard link to a directory, whose content never comes": {func(p *treePeer, id uint32, m any) bool {
				switch m.(type) {
				case wire.TreeOpened:
					p.give = manifestOf(p.t, tree.Record{Name: "d", Kind: tree.Directory, Mode: 0o755}, tree.Record{Up: 1, Name: "f", Kind: tree.File, Size: 5, Link: 1})
					p.answer(id, m)
				case wire.TreeVerdicts:
					p.send(id, wire.TreeCommit{Entries: 3, Manifest: wire.Hash(crypto.Sum(p.give))})
				default:
					return false
				}
				return true
			}, KindProtocol, ""},
			"too many parts": {when(func(p *treePeer, id uint32, m wire.TreeOpened) {
				p.send(id, wire.TreePart{Count: 3, Records: p.give, Last: true})
				p.send(id, wire.TreePart{First: 3, Count: 3, Records: p.give})
			}), KindProtocol, "?"},
			"a commit of another manifest": {when(func(p *treePeer, id uint32, m wire.TreeAck) {
				if len(m.Packs) > 0 {
					p.send(id, wire.TreeCommit{Entries: 3, Manifest: wire.Hash{1}})
				}
			}), KindProtocol, "hello there"},
			"a commit of more entries": {when(func(p *treePeer, id uint32, m wire.TreeAck) {
				if len(m.Packs) > 0 {
					p.send(id, wire.TreeCommit{Entries: 4, Manifest: wire.Hash(crypto.Sum(p.give))})
				}
			}), KindProtocol, "hello there"},
			"a delete": {also(func(p *treePeer, id uint32, m wire.TreeOpened) {
				path, _ := wire.NewPath("kept")
				p.send(id, wire.TreeDelete{Paths: []wire.Path{path}})
			}), KindProtocol, "?"},
			"a delete of a server that allows itself": {when(func(p *treePeer, id uint32, m wire.TreeGet) {
				p.send(id, wire.TreeOpen{Tree: wire.TransferID{1}, Flags: wire.TreeMayDelete | wire.TreeTellExtra})
				path, _ := wire.NewPath("kept")
				p.send(id, wire.TreePart{Count: 3, Records: p.give, Last: true})
				p.send(id, wire.TreeDelete{Paths: []wire.Path{path}})
			}), KindProtocol, "?"},
			"silent after TREE_GET":  {when(func(*treePeer, uint32, wire.TreeGet) {}), KindStalled, ""},
			"silent after TREE_OPEN": {when(func(*treePeer, uint32, wire.TreeOpened) {}), KindStalled, ""},
			"silent after a part":    {when(func(*treePeer, uint32, wire.TreeVerdicts) {}), KindStalled, ""},
			"silent after the packs": {when(func(*treePeer, uint32, wire.TreeAck) {}), KindStalled, "hello there"},
			"half a frame, then silent": {when(func(p *treePeer, id uint32, m wire.TreeVerdicts) {
				_, _ = p.st.Write(bareFrame(wire.TTreeCommit, id)[:7])
			}), KindStalled, ""},
			"half a pack, then silent": {when(func(p *treePeer, id uint32, m wire.TreeVerdicts) {
				var b bytes.Buffer
				raw := &rawPeer{st: half{p.st, &b}}
				raw.pack(id, 0, packFile(1, "hello"))
				_, _ = p.st.Write(b.Bytes()[:b.Len()/2])
			}), KindStalled, ""},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				client := treeServer(t, h, c.do, wire.CapZstd)
				if c.kind == KindStalled {
					client.Options.Timeout, client.Options.RetryFor = 250*time.Millisecond, 50*time.Millisecond
				}
				back := filepath.Join(t.TempDir(), "back")
				mustWrite(t, filepath.Join(back, "kept"), []byte("kept"), 0o644)
				ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
				defer cancel()
				_, err := client.Get(ctx, []Address{addrOf("give/")}, back, nil)
				if c.kind == noError && err != nil || c.kind != noError && (err == nil || KindOf(err) != c.kind) {
					t.Errorf("kind %d, want %d: %v", KindOf(err), c.kind, err)
				}
				f, _ := os.ReadFile(filepath.Join(back, "f"))
				g, _ := os.ReadFile(filepath.Join(back, "g"))
				if got := strings.TrimSpace(string(f) + " " + string(g)); c.want != "?" && got != c.want {
					t.Errorf("there is %q", got)
				}
				if b, _ := os.ReadFile(filepath.Join(back, "kept")); string(b) != "kept" {
					t.Errorf("what was there is %q", b)
				}
			})
		}
	})
}

// half keeps what is written.
type half struct {
	transport.Stream
	w io.Writer
}

func (s half) Write(b []byte) (int, error) { return s.w.Write(b) }

// In a plan for a directory that is not there nothing of what a server says has anything to act on.
func TestHostileServerOnTreePlan(t *testing.T) {
	h := newHost(t, kinds[0])
	for name, say := range map[string]func(p *treePeer, id uint32, m wire.TreeVerdicts){
		"the same": func(p *treePeer, id uint32, m wire.TreeVerdicts) { p.send(id, wire.TreeSkip{Same: []uint64{1, 2}}) },
		"gone":     func(p *treePeer, id uint32, m wire.TreeVerdicts) { p.send(id, wire.TreeSkip{Gone: []uint64{1, 2}}) },
		"a pack":   func(p *treePeer, id uint32, m wire.TreeVerdicts) { p.pack(id, 0, packFile(1, "hello")) },
	} {
		t.Run(name, func(t *testing.T) {
			client := treeServer(t, h, func(p *treePeer, id uint32, m any) bool {
				switch m := m.(type) {
				case wire.TreeGet:
					p.send(id, wire.TreeOpen{Tree: wire.TransferID{1}, Flags: wire.TreeTellExtra | wire.TreeMayDelete})
				case wire.TreeVerdicts:
					say(p, id, m)
					p.send(id, wire.TreeCommit{Entries: 3, Manifest: wire.Hash(crypto.Sum(p.give))})
				default:
					return false
				}
				return true
			})
			client.Options.DryRun = true
			base := t.TempDir()
			_, err := client.Get(context.Background(), []Address{addrOf("give/")}, filepath.Join(base, "not", "there"), nil)
			if err != nil {
				t.Error(err)
			}
			if names, _ := os.ReadDir(base); len(names) > 0 {
				t.Errorf("a plan has made %v", names)
			}
		})
	}
}
