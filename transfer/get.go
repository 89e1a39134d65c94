package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/sink"
	"xfer/transfer/wire"
)

// getTask is one entry at the server on its way to us.
type getTask struct {
	kind   sink.Kind
	remote Address
	top    *getTop
	path   []string // beneath top
	shown  string
	mode   uint32
	mtime  int64
	size   int64
	link   string
	whole  *treeTask // a directory
	// archive has owner and attributes of a file of a tree, or of a link
	archive *sink.Meta
	member  bool // it is a file of a tree, where it was compared

	root    crypto.Digest // of a member that has arrived
	length  int64
	other   bool // it may be another file than the tree has by this name
	fresh   bool
	resumed bool
	counted bool // it has arrived, and is among the files of the result
	most    highWater
}

func (t *getTask) wasCounted() bool { return t.counted }

// getTop is a local directory that tasks write beneath, as a root of its own: nothing that a server names leads out of it.
type getTop struct {
	dir  *sink.Dir
	view *sink.View
}

type getter struct {
	*run[*getTask]
	src []Address
	dst string

	tops []*getTop
}

// Get fetches sources, files or directories, to the local path dst; "-" writes the bytes of one file to out. It returns when
// everything is published there, verified and durable as Options.Durability says. The Result is valid in every case; the
// error is an *Error. The same call goes on from what an interrupted one left.
func (c *Client) Get(ctx context.Context, src []Address, dst string, out io.Writer) (Result, error) {
	g := &getter{run: newRun[*getTask](ctx, c), src: src, dst: dst}
	g.do = g.task
	g.path = func(t *getTask) string { return t.shown }
	if dst == "-" {
		return g.toPipe(out)
	}
	if info, err := os.Stat(dst); err == nil && !info.IsDir() && !info.Mode().IsRegular() && !c.Options.DryRun {
		return g.toSpecial(info)
	}
	err := g.all()
	for _, t := range g.tops {
		if cerr := t.dir.Close(); cerr != nil && err == nil {
			err = localError("close", dst, cerr)
		}
	}
	return g.end(err)
}

// toSpecial writes the one file into a device or a FIFO, as cp(1) does: it must not become a file. Nobody waits for a reader.
func (g *getter) toSpecial(info fs.FileInfo) (Result, error) {
	switch {
	case g.c.Options.NoClobber:
		return g.end(&Error{Op: "get", Path: g.dst, Kind: KindExists, Err: errors.New("it exists and may not be replaced")})
	case len(g.src) != 1 || g.src[0].TrailSlash:
		return g.end(&Error{Op: "get", Path: g.dst, Kind: KindNotFound, Err: errors.New("is no directory")})
	}
	f, err := os.OpenFile(g.dst, os.O_WRONLY|durable.NonBlock, 0)
	if errors.Is(err, syscall.ENXIO) && info.Mode()&fs.ModeNamedPipe != 0 {
		err = errors.New("nobody reads this FIFO")
	}
	if err != nil {
		return g.end(localError("write", g.dst, err))
	}
	res, err := g.toPipe(f)
	var serr error
	if block := fs.ModeDevice | fs.ModeCharDevice; err == nil && info.Mode()&block == fs.ModeDevice {
		serr = f.Sync()
	}
	if cerr := errors.Join(serr, f.Close()); cerr != nil && err == nil {
		err = localError("write", g.dst, cerr)
	}
	return res, err
}

func (g *getter) toPipe(out io.Writer) (Result, error) {
	if len(g.src) != 1 {
		return g.end(&Error{Op: "get", Kind: KindUsage, Err: errors.New("standard output takes one file")})
	}
	if g.c.Options.Receipts || g.c.Options.Verify {
		return g.end(&Error{Op: "get", Path: g.dst, Kind: KindUsage, Err: errors.New("a receipt, and reading it again, want a file as the destination")})
	}
	p := newPipeLanding(out)
	g.m.found(0)
	err := g.with(func(cs *clientSession) error { return cs.getTo(g.ctx, g.src[0], p) })
	if errors.Is(err, sink.ErrRootMismatch) { // what is written out cannot be taken back, so there is no other try
		err = &Error{Op: "get", Kind: KindVerify, Err: errors.New("what the server sent is not what it committed to")}
	}
	if err != nil {
		return g.end(withPath(asLocal(err), strings.Join(g.src[0].Path, "/")))
	}
	g.m.file(strings.Join(g.src[0].Path, "/"), "received", p.written(), 0, false)
	g.m.mu.Lock()
	g.m.r.BytesSent = p.written()
	g.m.mu.Unlock()
	return g.end(nil)
}

// asLocal gives an error of the sink its kind.
func asLocal(err error) error {
	return localOr(err, "")
}

func (g *getter) all() error {
	into, err := g.into()
	if err != nil {
		return err
	}
	if err := g.distinct(); err != nil {
		return err
	}
	for _, a := range g.src {
		if err := g.start(a, into); err != nil {
			return err
		}
	}
	g.m.allFound()
	return g.work()
}

// distinct is sender.distinct for what is at the server.
func (g *getter) distinct() error {
	names := map[string]Address{}
	list := g.src
	g.src = nil
	for _, a := range list {
		if len(a.Path) == 0 || a.TrailSlash { // its contents, whose names are not known yet
			g.src = append(g.src, a)
			continue
		}
		name := a.Path[len(a.Path)-1]
		other, ok := names[name]
		switch {
		case !ok:
			names[name] = a
			g.src = append(g.src, a)
		case other.Root != a.Root || !slices.Equal(other.Path, a.Path):
			return &Error{Op: "get", Path: strings.Join(a.Path, "/"), Kind: KindUsage,
				Err: fmt.Errorf("would have the name of %q here; nothing was moved", strings.Join(other.Path, "/"))}
		}
	}
	return nil
}

// into says whether dst is a directory to put things into.
func (g *getter) into() (bool, error) {
	info, err := os.Stat(g.dst)
	switch {
	case err == nil && info.IsDir():
		return true, nil
	case err == nil && (len(g.src) > 1 || strings.HasSuffix(g.dst, "/")):
		return false, &Error{Op: "get", Path: g.dst, Kind: KindNotFound, Err: errors.New("is no directory")}
	case errors.Is(err, syscall.ENOTDIR):
		return false, &Error{Op: "get", Path: g.dst, Kind: KindNotFound, Err: errors.New("lies below a file")}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return false, localError("look at", g.dst, err)
	}
	return len(g.src) > 1 || strings.HasSuffix(g.dst, "/"), nil
}

// start looks one source up and queues it.
func (g *getter) start(a Address, into bool) error {
	var st stated
	shown := strings.Join(a.Path, "/")
	if shown == "" {
		shown = "/" + a.Root
	}
	special, at := false, a
	err := g.with(func(cs *clientSession) (err error) {
		special = g.c.Options.SpecialModes && cs.hasRight(a.Root, "special-modes")
		st, err = cs.stat(g.ctx, a, false)
		if err == nil && g.c.Options.Rules.FollowLinks {
			at, st, err = cs.follow(g.ctx, a, st)
		}
		return err
	})
	if err != nil {
		return withPath(err, shown)
	}
	t := taskOf(st.entry)
	t.remote, t.shown = at, shown
	if g.c.Options.Archive && t.kind == sink.Link {
		t.archive = &st.meta
	}
	name := a.Root
	if n := len(a.Path); n > 0 {
		name = a.Path[n-1]
	}
	rules := &g.c.Options.Rules
	if err := rules.check("get", len(g.src), t.kind == sink.Directory || a.TrailSlash); err != nil {
		return err
	}
	dst := filepath.Clean(g.dst)
	contents := a.TrailSlash || name == "" || rules.Files != nil
	if !contents && leavesOut(rules.Filter, name, t.kind == sink.Directory) {
		return nil
	}
	switch {
	case !a.TrailSlash || t.kind == sink.Directory:
	case t.kind == sink.Link:
		t.kind = sink.Directory // what it leads to was asked for; the server follows it, or refuses to
	default:
		return &Error{Op: "get", Path: shown, Kind: KindNotFound, Err: errors.New("is no directory")}
	}
	if t.kind == sink.Directory {
		g.m.tree()
		if t.top, err = g.open(dst, special); err != nil {
			return err
		}
		if into && !contents {
			t.path = []string{name} // beneath dst like all else: a link of this name there may not lead out of it
		}
		return g.queueTree(t, &treeTask{shown: shown, bare: a.TrailSlash || len(t.path) == 0 && contents}, name, contents)
	} else {
		dir := dst
		if !into {
			dir, name = filepath.Dir(dst), filepath.Base(dst)
		}
		if t.top, err = g.open(dir, special); err != nil {
			return err
		}
		t.path = []string{name}
	}
	g.queue(t)
	return nil
}

func taskOf(e wire.Entry) *getTask {
	return &getTask{kind: sink.Kind(e.Kind), mode: e.Mode, mtime: e.MTimeNS, size: int64(min(e.Size, 1<<62)), link: e.Target}
}

// isOther tells whether a file of an archive that comes by itself has another size, time or owner than the tree has told: it may be another file,
// and not the one that other names are hard links to.
func (t *getTask) isOther(size int64, m sink.Meta) bool {
	was := t.archive
	return size != t.size || !m.MTime.Equal(was.MTime) || m.HasOwner != was.HasOwner || m.UID != was.UID || m.GID != was.GID
}

// open opens a directory to write into. special: setuid, setgid and capabilities of an archive are kept.
func (g *getter) open(dir string, special bool) (*getTop, error) {
	if g.c.Options.DryRun {
		if _, err := os.Stat(dir); err != nil {
			return &getTop{}, nil
		}
	} else if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, localError("make", dir, err)
	}
	d, err := sink.OpenDir(dir, sink.Options{})
	if err != nil {
		return nil, localError("open", dir, err)
	}
	rights := sink.All
	if special {
		rights |= sink.SpecialModes
	}
	t := &getTop{dir: d, view: d.View("get", rights)}
	g.tops = append(g.tops, t)
	return t, nil
}

func (g *getter) queue(t *getTask) {
	if t.kind == sink.File {
		g.m.found(t.size)
	}
	g.q.put(t, false, func() bool { return false })
}

func (t *getTask) metaOf() wire.Meta {
	return wire.Meta{HasMode: true, Mode: t.mode & 0o777, HasMTime: true, MTimeNS: t.mtime}
}

func (g *getter) task(ctx context.Context, cs *clientSession, t *getTask) error {
	p, err := sink.NewPath(t.path...)
	if err != nil {
		return &Error{Op: "get", Path: t.shown, Kind: KindDenied, Err: err}
	}
	switch t.kind {
	case sink.Directory:
		return g.tree(ctx, cs, t)
	case sink.Link:
		if g.c.Options.DryRun {
			g.plan(t, p)
			return nil
		}
		if g.leavesAlone(t, p) {
			return nil
		}
		if err := cs.wantsArchive("get", t.shown); err != nil {
			return err
		}
		m := sinkMeta(t.metaOf())
		if t.archive != nil {
			takeArchive(&m, *t.archive)
			m.Unkept = new(sink.Unkept)
			defer func() { g.m.unkept(*m.Unkept) }()
		}
		exists := sink.Replace
		if g.c.Options.NoClobber {
			exists = sink.Fail
		}
		if err := t.top.view.Symlink(p, t.link, exists, &m); err != nil {
			return localError("make", t.shown, err)
		}
		g.m.made(t.shown)
		return nil
	case sink.File:
		return g.file(ctx, cs, t, p)
	}
	g.m.skipped(t.shown, "not a regular file")
	return nil
}

// At the top of a root the receiver keeps its own state under stateName. What another xfer left under that name in a source
// is of no use where it would have to go there.
const (
	stateName = ".xfer"
	ownState  = "the state of another xfer"
)

func (g *getter) file(ctx context.Context, cs *clientSession, t *getTask, p sink.Path) error {
	if g.c.Options.DryRun {
		g.plan(t, p)
		return nil
	}
	if g.leavesAlone(t, p) {
		g.m.file(t.shown, "skipped", t.size, 0, true)
		return nil
	}
	release, err := g.slot(ctx, t.size)
	if err != nil {
		return err
	}
	defer release()
	path, err := wire.NewPath(t.remote.Path...)
	if err != nil {
		return &Error{Op: "get", Path: t.shown, Kind: KindUsage, Err: err}
	}
	var want *wire.Hash
	if (g.c.Options.Checksum || g.c.Options.Receipts) && !t.member {
		if e, err := t.top.view.Existing(p); err == nil && e.Kind == sink.File && e.Size == t.size {
			st, err := cs.stat(ctx, t.remote, true)
			if err != nil {
				return err
			}
			want = st.root
		}
	}
	if err := cs.wantsArchive("get", t.shown); err != nil {
		return err
	}
	r := receiver{view: t.top.view, identity: g.c.Identity, delta: cs.agreed(wire.CapDelta), archive: t.archive}
	f := &recvFile{s: cs.session, id: cs.handle(true)}
	var left *sink.Unkept
	row := g.m.starts(t.shown, t.size)
	defer g.m.ends(row)
	done := tally{m: g.m, row: row, most: &t.most}
	f.accept = func(ctx context.Context, o wire.Open, busy func()) (accepted, error) {
		o.Compare, o.RootHash = wire.CompareMTime, nil
		if g.c.Options.Checksum || g.c.Options.Receipts {
			o.Compare = wire.CompareNone
			if want != nil {
				o.Compare, o.RootHash = wire.CompareRoot, want
			}
		}
		o.Flags &^= wire.OpenFresh
		if t.fresh || g.c.Options.Resume == "never" && !t.resumed {
			o.Flags |= wire.OpenFresh
		}
		o.IfExists = wire.IfExistsReplace
		if g.c.Options.NoClobber {
			o.IfExists = wire.IfExistsFail
		}
		o.Durability = g.durability()
		if !g.c.Options.Archive {
			o.Meta.Mode &= 0o777
			o.Meta.Archive = ""
		}
		if o.Size == wire.UnknownSize {
			return accepted{}, &wire.ProtocolError{Code: wire.CodeUnsupported, Msg: "a GET of unknown size"}
		}
		a, err := r.accept(ctx, o, p, busy)
		left = a.meta.Unkept
		t.other = err == nil && t.archive != nil && t.isOther(int64(o.Size), a.meta)
		if err == nil && a.land != nil && (g.c.Options.Streams > 0 || o.Size > 1<<20) {
			cs.wantStreams(cs.streamsFor(int64(o.Size)))
		}
		return a, err
	}
	f.receiptOf = func(o wire.Open, pub sink.Published) (wire.Receipt, error) {
		o.Durability = g.durability()
		return r.receipt(o, pub)
	}
	f.onWire = g.m.sent
	f.onData = func(n int64) { done.add(n, g.m.acked) }
	f.onZeros = func(n int64) { done.add(n, g.m.holes) }
	f.onResumed = func(n int64) {
		done.add(n, func(n int64) {
			g.m.resumed(n)
			if !t.resumed {
				g.m.firstResumed(n)
			}
		})
	}
	var out outcome
	f.finished = func(o outcome, err error) { out = o }
	err = cs.get(ctx, f, wire.Get{Root: t.remote.Root, Path: path, Handle: f.id, ChunkLog2Max: 24, Exact: g.c.Options.Archive})
	counted := done.end()
	t.resumed = true
	if left != nil {
		g.m.unkept(*left)
	}
	if err != nil {
		g.undone(counted)
		if KindOf(err) == KindSourceChanged || errors.Is(err, sink.ErrSourceChanged) || errors.Is(err, sink.ErrRootMismatch) {
			t.fresh = true
		}
		var pe *PeerError
		if errors.As(err, &pe) {
			if pe.Code == wire.CodeNotFound {
				return &Error{Op: "get", Path: t.shown, Kind: KindVanished, Err: errors.New("vanished at the server before it was read")}
			}
			return err
		}
		return withPath(notStored(err, t.shown), t.shown)
	}
	return g.arrived(ctx, t, p, out, counted)
}

// notStored is localOr where what failed is the writing here, not the reading of a source.
func notStored(err error, path string) error {
	err = localOr(err, path)
	var te *Error
	if !errors.As(err, &te) || te.Op != "read" || te.Path != path {
		return err
	}
	c := *te
	c.Op = "store"
	return &c
}

func (g *getter) durability() wire.Durability {
	switch g.c.Options.Durability {
	case "full":
		return wire.DurabilityFull
	case "none":
		return wire.DurabilityNone
	case "batch":
		return wire.DurabilityBatch
	}
	if g.m.isTree() || len(g.src) > 1 {
		return wire.DurabilityBatch
	}
	return wire.DurabilityFull
}

func (g *getter) arrived(ctx context.Context, t *getTask, p sink.Path, out outcome, counted int64) error {
	if t.member {
		t.root, t.length = out.root, out.size
	} else {
		g.receiptFrom(out.receipt, "")
	}
	if g.c.Options.Verify && out.receipt != nil {
		got, _, err := t.top.view.Hash(ctx, p, func() {})
		if err != nil {
			return localError("verify", t.shown, err)
		}
		if got != crypto.Digest(out.receipt.RootHash) {
			return &Error{Op: "verify", Path: t.shown, Kind: KindVerify, Err: errors.New("read again, it is not what was received")}
		}
	}
	t.counted = true
	switch out.state {
	case wire.StateSame, wire.StateExists:
		g.m.file(t.shown, "skipped", out.size, counted, true)
	default:
		g.m.file(t.shown, "received", out.size, counted, false)
	}
	return nil
}

// plan tells what would be done with one entry.
func (g *getter) plan(t *getTask, p sink.Path) {
	action := "new"
	if t.top.view != nil {
		if e, err := t.top.view.Existing(p); err == nil {
			mode := e.Mode.Perm() == fs.FileMode(t.mode&0o777)
			switch {
			case e.Kind != t.kind, t.kind == sink.Link && e.Target != t.link:
				action = "update"
			case t.kind == sink.File && (e.Size != t.size || unixNano(e.MTime) != t.mtime):
				action = "update"
			case t.kind != sink.Link && !mode:
				action = "meta"
			default:
				action = "skip"
			}
			if g.c.Options.NoClobber && t.kind != sink.Directory {
				action = "skip"
			}
		}
	}
	if t.kind != sink.Directory && g.leavesAlone(t, p) {
		action = "skip"
	}
	size := int64(0)
	if t.kind == sink.File {
		size = t.size
	}
	g.m.event(Event{Kind: EventPlan, Action: action, Path: t.shown, Size: size})
}
