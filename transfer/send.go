package transfer

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/sink"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// Address is a place on a server: a named root ("" = the client's default root) and the components beneath it.
type Address struct {
	Root       string
	Path       []string // raw bytes
	TrailSlash bool     // written with a trailing "/": a directory, made if missing; as a source, its contents
}

// Source is one local thing to send.
type Source struct {
	Path  string    // as the user named it; a directory with a trailing "/" sends its contents
	Stdin io.Reader // instead of Path: read to its end; nobody else may read it meanwhile
}

// sendTask is one entry of a source on its way.
type sendTask struct {
	kind  sink.Kind
	src   *sendRoot
	name  []string // beneath src
	dst   []string // beneath the root at the server
	shown string   // the name for people
	info  fs.FileInfo
	link  string
	pipe  *pipeSource

	whole *treeTask  // a directory
	entry *treeEntry // a file of a tree, whose handle is tree
	tree  uint32

	id      wire.TransferID
	seen    []byte // the fingerprint of the source at the last try with id
	moving  bool   // the source changed between two tries: its size and time prove nothing
	fresh   bool
	resumed bool // what was there before this run has been counted
	counted bool // it has arrived, and is among the files of the result
	most    highWater
}

func (t *sendTask) wasCounted() bool { return t.counted }

// sendRoot is an opened directory that tasks read beneath.
type sendRoot struct {
	fs    durable.FS
	start string // the directory in fs that is meant, if it is walked
}

// open opens the directory that is walked. The caller closes it.
func (r *sendRoot) open() (durable.FS, error) { return r.fs.OpenRoot(r.start) }

// sender is one Send.
type sender struct {
	*run[*sendTask]
	src  []Source
	dst  Address
	root string

	exact    bool       // the destination is the name, whatever is there
	extras   *extras    // nil but for a Sync of a directory
	check    *treeCheck // nil but for a Check of a directory
	keep     sink.Keep  // what is told of files
	owners   durable.Owners
	rules    *Rules
	filter   *tree.Filter  // of rules; nil where nothing is left out
	several  bool          // were named, be it twice the same: then the destination is a directory
	trees    chan struct{} // slots for trees
	lastTree *treeTask     // of the walker alone

	mu       sync.Mutex
	arriving map[string]any // who sends what is no directory, by its path at the server; nil where no two can have the same
	roots    []*sendRoot
	pipes    []*pipeSource
}

// treesAtOnce is how many of several directories are under way at a time.
const treesAtOnce = 2

// Send sends sources to dst and returns when all of them are published there, verified and durable as
// Options.Durability says, or when it gives up. The Result is valid in every case; the error is an *Error. Cancelling ctx
// stops within a second; what the server has of an unfinished file stays there, and the same call goes on from it.
func (c *Client) Send(ctx context.Context, src []Source, dst Address) (Result, error) {
	s := c.newSender(ctx, src, dst)
	defer s.closeRoots()
	err := s.all()
	return s.end(err)
}

func (c *Client) newSender(ctx context.Context, src []Source, dst Address) *sender {
	s := &sender{run: newRun[*sendTask](ctx, c), src: src, dst: dst, root: dst.Root, trees: make(chan struct{}, treesAtOnce), rules: &c.Options.Rules}
	s.filter = s.rules.filter()
	s.keep = c.Options.keeps(&s.owners, s.m.unkept)
	s.do = s.task
	s.path = func(t *sendTask) string { return t.shown }
	return s
}

func (s *sender) all() error {
	for _, src := range s.src {
		if src.Stdin != nil {
			continue
		}
		if _, err := os.Lstat(src.Path); err != nil {
			return localError("read", src.Path, err)
		}
	}
	if err := s.rules.check("send", len(s.src), s.onlyDirectory()); err != nil {
		return err
	}
	if err := s.distinct(); err != nil {
		return err
	}
	into, err := s.resolve()
	if err != nil {
		return err
	}
	s.q.producer(1)
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	walked := make(chan struct{})
	go func() {
		defer close(walked)
		defer s.q.producer(-1)
		for _, src := range s.src {
			s.walk(ctx, src, into)
		}
		s.m.allFound()
	}()
	err = s.work()
	cancel()
	s.q.producer(0) // wakes the walker
	<-walked
	return err
}

// distinct leaves each source out that was named before, and refuses two with one name at the destination: which of them would be there
// in the end nobody could say.
func (s *sender) distinct() error {
	s.several = len(s.src) > 1
	names := map[string]string{} // first of the sources, then as they arrive
	contents := 0
	s.src = slices.DeleteFunc(slices.Clone(s.src), func(src Source) bool { // the caller's list stays as it is
		if src.Stdin != nil {
			return false
		}
		at := filepath.Clean(src.Path)
		if _, whole := arrivesAs(src.Path); !whole {
			at += "/" // its contents are another source than itself
		}
		_, ok := names[at]
		names[at] = src.Path
		return ok
	})
	clear(names)
	for _, src := range s.src {
		name, whole := arrivesAs(src.Path)
		if !whole {
			contents++
			continue
		}
		if other, ok := names[name]; ok && src.Stdin == nil {
			return &Error{Op: "send", Path: src.Path, Kind: KindUsage, Err: fmt.Errorf("would have the name of %q at the destination; nothing was moved", other)}
		}
		names[name] = src.Path
	}
	if contents > 0 && len(s.src) > 1 {
		s.arriving = map[string]any{}
	}
	return nil
}

// arrivesAs is the name under which a source arrives in a directory; whole is false where that is its contents.
func arrivesAs(path string) (name string, whole bool) {
	base := filepath.Base(filepath.Clean(path))
	if strings.HasSuffix(path, "/") || base == "." || base == ".." || base == string(filepath.Separator) {
		return "", false
	}
	return base, true
}

// resolve says whether the destination is a directory to put things into.
func (s *sender) resolve() (into bool, err error) {
	if len(s.dst.Path) == 0 {
		// The connection is made at once, so that a refusal is known before anything is read.
		return true, s.with(func(*clientSession) error { return nil })
	}
	if s.exact {
		return false, s.with(func(cs *clientSession) error {
			_, err := cs.stat(s.ctx, s.dst, false)
			if isPeer(err) {
				return cs.rootThere(s.dst, err)
			}
			return err
		})
	}
	must := s.dst.TrailSlash || s.several
	err = s.with(func(cs *clientSession) error {
		e, err := cs.stat(s.ctx, s.dst, false)
		switch KindOf(err) {
		case KindNotFound, KindDenied: // new, or nobody may know: then it is the name
			var pe *PeerError
			if errors.As(err, &pe) {
				return cs.rootThere(s.dst, err)
			}
		}
		if err != nil {
			return err
		}
		into, err = cs.isDir(s.ctx, s.dst, e.entry)
		if err == nil && !into && (must || s.directoryAmong()) {
			return &Error{Op: "send to", Path: strings.Join(s.dst.Path, "/"), Kind: KindNotFound, Err: errors.New("is no directory, and nothing was moved")}
		}
		return err
	})
	if isPeer(err) {
		err = withPath(err, strings.Join(s.dst.Path, "/"))
	}
	return into || must, err
}

// onlyDirectory tells whether the first source is a directory, or leads to one.
func (s *sender) onlyDirectory() bool {
	info, err := os.Stat(s.src[0].Path)
	return s.src[0].Stdin == nil && err == nil && info.IsDir()
}

// directoryAmong tells whether a source is a directory.
func (s *sender) directoryAmong() bool {
	return slices.ContainsFunc(s.src, func(src Source) bool {
		info, err := os.Lstat(filepath.Clean(src.Path))
		if err == nil && strings.HasSuffix(src.Path, "/") {
			info, err = os.Stat(src.Path)
		}
		return src.Stdin == nil && err == nil && info.IsDir()
	})
}

func (s *sender) task(ctx context.Context, cs *clientSession, t *sendTask) error {
	dst, err := wire.NewPath(t.dst...)
	if err != nil {
		return &Error{Op: "send", Path: t.shown, Kind: KindUsage, Err: err}
	}
	switch {
	case t.whole != nil:
		return s.sendTree(ctx, cs, t.whole)
	case s.c.Options.DryRun:
		return s.plan(ctx, cs, t)
	}
	if alone, err := s.leavesAlone(ctx, cs, t); err != nil {
		return err
	} else if alone {
		if t.kind == sink.File {
			s.m.file(t.shown, "skipped", t.size(), 0, true)
		}
		return nil
	}
	if err := cs.wantsArchive("send", t.shown); err != nil {
		return err
	}
	if t.kind == sink.Link {
		m := metaFrom(t.info)
		if s.keep.Archive {
			if m, err = metaOfName(s.keep, t.src.fs, strings.Join(t.name, "/"), t.info); err != nil {
				return localError("read", t.shown, vanished(err))
			}
		}
		exists := wire.IfExistsReplace
		if s.c.Options.NoClobber {
			exists = wire.IfExistsFail
		}
		_, err := cs.request(ctx, 0, wire.Symlink{Root: s.root, Path: dst, Target: t.link, IfExists: exists, Meta: &m})
		if err == nil {
			s.m.made(t.shown)
		}
		return err
	}
	return s.file(ctx, cs, t, dst)
}

// size is that of a file; 0 where it is not known.
func (t *sendTask) size() int64 {
	if t.kind != sink.File || t.info == nil {
		return 0
	}
	return t.info.Size()
}

// unixNano is t in nanoseconds since 1970. What that cannot hold, before 1678 and after 2262, is the nearest that it can.
func unixNano(t time.Time) int64 {
	switch sec := t.Unix(); {
	case sec > math.MaxInt64/int64(time.Second)-1:
		return math.MaxInt64
	case sec < math.MinInt64/int64(time.Second)+1:
		return math.MinInt64
	}
	return t.UnixNano()
}

func metaFrom(info fs.FileInfo) wire.Meta {
	return wire.Meta{HasMode: true, Mode: modeBits(info.Mode()) & 0o777, HasMTime: true, MTimeNS: unixNano(info.ModTime())}
}

// openSource opens what a file task reads.
func (t *sendTask) openSource() (source, error) {
	if t.pipe != nil {
		return t.pipe, nil
	}
	if t.entry != nil {
		return t.entry.open()
	}
	f, err := durable.OpenRegular(t.src.fs, strings.Join(t.name, "/"))
	if err != nil {
		return nil, vanished(err)
	}
	src, err := newFileSource(f)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return src, nil
}

// sameSource begins a new transfer where the source is another than at the last try: what became of the old one is no answer.
func (t *sendTask) sameSource(src source) error {
	fp := src.Fingerprint()
	if t.seen != nil && !bytes.Equal(t.seen, fp) {
		if _, err := rand.Read(t.id[:]); err != nil {
			return err
		}
		t.moving, t.most = true, highWater{}
	}
	t.seen = fp
	return nil
}

func (s *sender) file(ctx context.Context, cs *clientSession, t *sendTask, dst wire.Path) error {
	var size int64 = -1
	if t.info != nil {
		size = t.info.Size()
	}
	release, err := s.slot(ctx, size)
	if err != nil {
		return err
	}
	defer release()
	src, err := t.openSource()
	if err != nil {
		return localError("read", t.shown, err)
	}
	if t.pipe == nil {
		defer src.Close()
	}
	if err := t.sameSource(src); err != nil {
		return err
	}
	open, err := s.openFor(ctx, t, src)
	if err != nil {
		return err
	}
	if t.tree == 0 {
		open.Path = dst
	} else {
		open.Root, open.Tree, open.Entry = "", uint64(t.tree), t.entry.no
	}
	f := cs.newSendFile(cs.handle(false), src, open.ChunkLog2)
	f.verify = s.c.Options.Resume == "verify" || src.Fresh()
	row := s.m.starts(t.shown, src.Size())
	defer s.m.ends(row)
	done := tally{m: s.m, row: row, most: &t.most}
	f.onAcked = func(n int64) { done.add(n, s.m.acked) }
	f.onZeros = func(n int64) { done.add(n, s.m.holes) }
	f.onResumed = func(n int64) {
		done.add(n, func(n int64) {
			s.m.resumed(n)
			if !t.resumed {
				s.m.firstResumed(n)
			}
		})
	}
	f.onSent = s.m.sent
	f.onDurable = s.c.onDurable
	f.onUnkept = s.m.unkept
	f.onOpened = func(st wire.OpenState) {
		if st == wire.StateNew || st == wire.StatePartial || st == wire.StateChanged {
			if s.c.Options.Streams > 0 || src.Size() < 0 || src.Size() > 1<<20 {
				cs.wantStreams(cs.streamsFor(src.Size()))
			}
		}
	}
	out, err := f.run(ctx, open)
	counted := done.end()
	t.resumed = true
	if err != nil {
		s.undone(counted)
		if KindOf(err) == KindSourceChanged || errors.Is(err, errSourceChanged) {
			// A new attempt with a new look: nothing of the old one counts.
			t.fresh = true
			if _, e := rand.Read(t.id[:]); e != nil {
				return e
			}
			return err
		}
		var pe *PeerError
		if errors.As(err, &pe) {
			return err
		}
		return localOr(err, t.shown)
	}
	return s.arrived(ctx, cs, t, src, out, counted)
}

// localOr gives an error that is not the network's the kind of a local one.
func localOr(err error, path string) error {
	var lost *lostError
	var te *Error
	var pe *wire.ProtocolError
	if errors.As(err, &lost) || errors.As(err, &te) || errors.As(err, &pe) || errors.Is(err, context.Canceled) {
		return err
	}
	return localError("read", path, err)
}

// openFor makes the OPEN of a task.
func (s *sender) openFor(ctx context.Context, t *sendTask, src source) (wire.Open, error) {
	o := wire.Open{Size: wire.UnknownSize, ChunkLog2: chunking(-1), Alg: 1, Fingerprint: src.Fingerprint()}
	if file, ok := src.(*fileSource); ok {
		o = openOf(file, chunking(src.Size()))
		switch {
		case !s.keep.Archive:
			o.Meta.Mode &= 0o777
		case t.tree != 0: // the manifest has the rest
			o.Meta.Mode &= t.entry.bits
		default:
			var err error
			if o.Meta, err = metaOfFile(s.keep, file.f); err != nil {
				return o, localError("read", t.shown, err)
			}
		}
		o.Compare = wire.CompareMTime
		switch {
		case t.entry != nil && (s.c.Options.Checksum || s.c.Options.Receipts): // it was compared as an entry, and is another
			o.Compare = wire.CompareNone
		case s.c.Options.Checksum || s.c.Options.Receipts || t.moving:
			root, err := hashSource(src, ctx.Err)
			if err != nil {
				return o, localOr(err, t.shown)
			}
			h := wire.Hash(root)
			o.Compare, o.RootHash = wire.CompareRoot, &h
		}
	}
	o.Transfer, o.Root = t.id, s.root
	if s.c.Options.NoClobber {
		o.IfExists = wire.IfExistsFail
	}
	if t.fresh || s.c.Options.Resume == "never" && !t.resumed {
		o.Flags |= wire.OpenFresh
	}
	o.Durability = s.durability()
	if t.entry != nil {
		o.Durability = s.treeDurability()
	}
	return o, nil
}

func (s *sender) durability() wire.Durability {
	switch s.c.Options.Durability {
	case "full":
		return wire.DurabilityFull
	case "batch":
		return wire.DurabilityBatch
	case "none":
		return wire.DurabilityNone
	}
	if len(s.src) > 1 {
		return wire.DurabilityBatch
	}
	return wire.DurabilityFull
}

// isFor sees that a receipt is for the file of t and no other.
func (s *sender) isFor(cs *clientSession, t *sendTask, r *wire.Receipt) error {
	if r.Transfer != t.id || !slices.Equal(r.Path.Parts(), t.dst) || !s.isRoot(cs, r.RootName) {
		return &Error{Op: "check the receipt", Path: t.shown, Kind: KindVerify, Err: errors.New("it is for another file")}
	}
	return nil
}

// isRoot tells whether name is the root that we send to.
func (s *sender) isRoot(cs *clientSession, name string) bool {
	root := s.root
	for _, i := range cs.welcome.Roots {
		if root == "" && i.Default {
			root = i.Name
		}
	}
	return root == "" || name == root
}

// arrived checks and counts a file that the receiver says it has.
func (s *sender) arrived(ctx context.Context, cs *clientSession, t *sendTask, src source, out outcome, counted int64) error {
	if out.receipt != nil {
		err := checkReceipt(*out.receipt, cs.peerKey())
		if err == nil {
			err = s.isFor(cs, t, out.receipt)
		}
		if err != nil {
			return err
		}
		if t.entry != nil { // the receipt of the tree has it
			t.entry.root, t.entry.length = crypto.Digest(out.receipt.RootHash), int64(out.receipt.Size)
		} else {
			s.receiptFrom(out.receipt, s.root)
		}
	}
	if s.c.Options.Verify {
		got, err := cs.stat(ctx, Address{Root: s.root, Path: t.dst}, true)
		if err != nil {
			return err
		}
		want := out.root
		if out.receipt != nil {
			want = crypto.Digest(out.receipt.RootHash)
		} else if out.receipt == nil && src.Size() >= 0 {
			if want, err = hashSource(src, ctx.Err); err != nil {
				return localOr(err, t.shown)
			}
		}
		if got.root == nil || crypto.Digest(*got.root) != want {
			return &Error{Op: "verify", Path: t.shown, Kind: KindVerify, Err: errors.New("read again at the target, it is not what was sent")}
		}
	}
	t.counted = true
	switch out.state {
	case wire.StateSame, wire.StateExists:
		s.m.file(t.shown, "skipped", out.size, counted, true)
	default:
		s.m.file(t.shown, "sent", out.size, counted, false)
	}
	return nil
}
