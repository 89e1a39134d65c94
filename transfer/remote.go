package transfer

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"xfer/crypto"
	"xfer/transfer/sink"
	"xfer/transfer/wire"
)

// RemoteEntry is what a server says of one name.
type RemoteEntry struct {
	Name   string // raw bytes
	Kind   sink.Kind
	Size   int64  // bytes
	Mode   uint32 // Unix permission bits with setuid, setgid and sticky
	MTime  time.Time
	Target string // of a symbolic link, raw bytes
}

// RootInfo is a root that the server offers us.
type RootInfo struct {
	Name    string
	Rights  []string
	Default bool
}

// Remote is a connection for single operations. Where it is lost, an operation dials anew, as long as Options.RetryFor says.
// Methods may not be called concurrently. Errors are *Error.
type Remote struct {
	r *run[struct{}]
}

// Remote connects. The caller closes it.
func (c *Client) Remote(ctx context.Context) (*Remote, error) {
	r := &Remote{r: newRun[struct{}](ctx, c)}
	if _, err := r.r.session(); err != nil {
		return nil, err
	}
	return r, nil
}

// Close ends the session.
func (r *Remote) Close() error {
	if r.r.cs != nil {
		r.r.cs.close()
	}
	return nil
}

// Roots are the roots that the server offers us.
func (r *Remote) Roots() []RootInfo {
	var out []RootInfo
	for _, i := range r.r.last.welcome.Roots {
		out = append(out, RootInfo{Name: i.Name, Rights: i.Rights, Default: i.Default})
	}
	return out
}

// Name is our name at the server.
func (r *Remote) Name() string { return r.r.last.welcome.Name }

// Clock is the server's wall clock when the session began.
func (r *Remote) Clock() time.Time { return time.Unix(0, r.r.last.welcome.TimeNS) }

// Peer is the server's identity.
func (r *Remote) Peer() crypto.PeerID { return r.r.last.conn.Peer() }

// Transport is "tcp" or "quic".
func (r *Remote) Transport() string { return string(r.r.last.conn.Kind()) }

func (r *Remote) with(ctx context.Context, f func(cs *clientSession) error) error {
	r.r.ctx = ctx
	return r.r.with(f)
}

// Stat tells what a name is.
func (r *Remote) Stat(ctx context.Context, a Address) (e RemoteEntry, err error) {
	err = r.with(ctx, func(cs *clientSession) error {
		st, err := cs.stat(ctx, a, false)
		e = remoteEntry(st.entry)
		return err
	})
	return e, err
}

// List calls each with the entries of a directory, sorted by their bytes.
func (r *Remote) List(ctx context.Context, a Address, each func(RemoteEntry) error) error {
	var after []byte
	for {
		var page wire.Entries
		err := r.with(ctx, func(cs *clientSession) (err error) {
			page, err = cs.list(ctx, a, after)
			return err
		})
		if err != nil {
			return err
		}
		for _, e := range page.Entries {
			if err := each(remoteEntry(e)); err != nil {
				return err
			}
		}
		if len(page.Next) == 0 {
			return nil
		}
		after = page.Next
	}
}

// Hash lets the server hash a file.
func (r *Remote) Hash(ctx context.Context, a Address) (d crypto.Digest, size int64, err error) {
	err = r.with(ctx, func(cs *clientSession) error {
		st, err := cs.stat(ctx, a, true)
		if err != nil {
			return err
		}
		if st.root == nil {
			return protocolError("STATED without the root that was asked for")
		}
		d, size = crypto.Digest(*st.root), int64(st.entry.Size)
		return nil
	})
	return d, size, err
}

// Mkdir makes a directory; with parents also those above it, and one that is there is no error.
func (r *Remote) Mkdir(ctx context.Context, a Address, parents bool) error {
	return r.do(ctx, a, func(p wire.Path) wire.Message {
		return wire.Mkdir{Root: a.Root, Path: p, Parents: parents, ExistOK: parents}
	})
}

// Rename renames beneath one root.
func (r *Remote) Rename(ctx context.Context, from, to Address, noReplace bool) error {
	if from.Root != to.Root {
		return &Error{Op: "mv", Kind: KindUsage, Err: errors.New("both names must be in one root")}
	}
	dst, err := wire.NewPath(to.Path...)
	if err != nil {
		return &Error{Op: "mv", Kind: KindUsage, Err: err}
	}
	return r.do(ctx, from, func(p wire.Path) wire.Message {
		return wire.Rename{Root: from.Root, From: p, To: dst, NoReplace: noReplace}
	})
}

// Remove removes a name; recursive: a directory with all that is in it.
func (r *Remote) Remove(ctx context.Context, a Address, recursive, missingOK bool) error {
	return r.do(ctx, a, func(p wire.Path) wire.Message {
		return wire.Remove{Root: a.Root, Path: p, Recursive: recursive, MissingOK: missingOK}
	})
}

func (r *Remote) do(ctx context.Context, a Address, m func(wire.Path) wire.Message) error {
	p, err := wire.NewPath(a.Path...)
	if err != nil {
		return &Error{Op: "name", Kind: KindUsage, Err: err}
	}
	return r.with(ctx, func(cs *clientSession) error {
		_, err := cs.request(ctx, 0, m(p))
		return err
	})
}

// Space tells what is free beneath a root, and the size of its file system, in bytes.
func (r *Remote) Space(ctx context.Context, root string) (free, total int64, err error) {
	err = r.with(ctx, func(cs *clientSession) error {
		m, err := cs.request(ctx, 0, wire.Space{Root: root})
		if err != nil {
			return err
		}
		s, ok := m.(wire.Spaced)
		if !ok {
			return protocolError("%v instead of SPACED", m.Type())
		}
		free, total = int64(min(s.Free, 1<<62)), int64(min(s.Total, 1<<62))
		return nil
	})
	return free, total, err
}

// Ping measures a round trip.
func (r *Remote) Ping(ctx context.Context) (time.Duration, error) {
	began := time.Now()
	_, _, err := r.Space(ctx, "")
	var pe *PeerError
	if errors.As(err, &pe) {
		err = nil // an answer is an answer
	}
	return time.Since(began), err
}

// Cat writes the bytes of a file to w, each chunk after it was verified, and returns how many.
func (r *Remote) Cat(ctx context.Context, a Address, w io.Writer) (int64, error) {
	p := newPipeLanding(w)
	err := r.with(ctx, func(cs *clientSession) error { return cs.getTo(ctx, a, p) })
	return p.written(), err
}

// stated is the answer to a STAT.
type stated struct {
	entry wire.Entry
	root  *wire.Hash
	meta  sink.Meta // owner and attributes of a symbolic link, where they were asked for
}

func (cs *clientSession) stat(ctx context.Context, a Address, root bool) (stated, error) {
	p, err := wire.NewPath(a.Path...)
	if err != nil {
		return stated{}, &Error{Op: "name", Kind: KindUsage, Err: err}
	}
	exact := cs.c.Options.Archive && cs.agreed(wire.CapExact)
	m, err := cs.request(ctx, 0, wire.Stat{Root: a.Root, Path: p, WantRoot: root, Exact: exact})
	if err != nil {
		return stated{}, err
	}
	s, ok := m.(wire.Stated)
	if !ok {
		return stated{}, protocolError("%v instead of STATED", m.Type())
	}
	meta, err := sinkMetaOf(s.Meta)
	return stated{s.Entry, s.RootHash, meta}, err
}

// follow returns what the link st at a leads to, within its root; anything else it returns as it is.
func (cs *clientSession) follow(ctx context.Context, a Address, st stated) (Address, stated, error) {
	for range maxFollowed {
		if sink.Kind(st.entry.Kind) != sink.Link {
			return a, st, nil
		}
		no := func(text string) (Address, stated, error) {
			return a, st, &Error{Op: "follow the link", Path: strings.Join(a.Path, "/"), Kind: KindNotFound, Err: errors.New(text)}
		}
		if strings.HasPrefix(st.entry.Target, "/") {
			return no("it leads out of the root")
		}
		parts := slices.Clone(a.Path[:max(len(a.Path)-1, 0)])
		for _, part := range strings.Split(st.entry.Target, "/") {
			switch {
			case part == "" || part == ".":
			case part != "..":
				parts = append(parts, part)
			case len(parts) == 0:
				return no("it leads out of the root")
			default:
				parts = parts[:len(parts)-1]
			}
		}
		a.Path = parts
		var err error
		if st, err = cs.stat(ctx, a, false); err != nil {
			if KindOf(err) == KindNotFound {
				return no("it points at nothing")
			}
			return a, st, err
		}
	}
	return a, st, &Error{Op: "follow the link", Path: strings.Join(a.Path, "/"), Kind: KindNotFound, Err: errors.New("it goes round in circles")}
}

// maxFollowed is how many links are followed in a row, as Linux has it (path_resolution(7)).
const maxFollowed = 40

// rootThere is nil where a is in a root that we have: then what was not found is the name in it, and not the root.
func (cs *clientSession) rootThere(a Address, notFound error) error {
	if a.Root == "" {
		return nil
	}
	for _, r := range cs.welcome.Roots {
		if r.Name == a.Root {
			return nil
		}
	}
	return notFound
}

func (cs *clientSession) list(ctx context.Context, a Address, after []byte) (wire.Entries, error) {
	p, err := wire.NewPath(a.Path...)
	if err != nil {
		return wire.Entries{}, &Error{Op: "name", Kind: KindUsage, Err: err}
	}
	m, err := cs.request(ctx, 0, wire.List{Root: a.Root, Path: p, Depth: 1, Cursor: after})
	if err != nil {
		return wire.Entries{}, err
	}
	e, ok := m.(wire.Entries)
	if !ok {
		return wire.Entries{}, protocolError("%v instead of ENTRIES", m.Type())
	}
	last := string(after)
	for _, x := range e.Entries {
		if x.Name <= last {
			return wire.Entries{}, protocolError("ENTRIES out of order")
		}
		last = x.Name
	}
	if len(e.Next) > 0 && (len(e.Entries) == 0 || string(e.Next) != last) {
		return wire.Entries{}, protocolError("ENTRIES with a cursor that leads nowhere")
	}
	return e, nil
}

// isDir tells whether e, which is at a, is a directory or a link that leads to one. The server follows links within its root
// only; one that leads elsewhere is an error.
func (cs *clientSession) isDir(ctx context.Context, a Address, e wire.Entry) (bool, error) {
	switch sink.Kind(e.Kind) {
	case sink.Directory:
		return true, nil
	case sink.Link:
	default:
		return false, nil
	}
	_, err := cs.list(ctx, a, nil)
	var pe *PeerError
	if errors.As(err, &pe) {
		switch pe.Code {
		case wire.CodeNotDir, wire.CodeNotFound, wire.CodeDenied: // a file, nothing, or not for us to know
			return false, nil
		}
	}
	return err == nil, err
}

func remoteEntry(e wire.Entry) RemoteEntry {
	return RemoteEntry{Name: e.Name, Kind: sink.Kind(e.Kind), Size: int64(min(e.Size, 1<<62)), Mode: e.Mode, MTime: time.Unix(0, e.MTimeNS), Target: e.Target}
}

// getTo gets one file into a pipe, on the control stream alone so that it comes in order.
func (cs *clientSession) getTo(ctx context.Context, a Address, p *pipeLanding) error {
	path, err := wire.NewPath(a.Path...)
	if err != nil {
		return &Error{Op: "name", Kind: KindUsage, Err: err}
	}
	f := &recvFile{s: cs.session, id: cs.handle(true)}
	f.accept = func(ctx context.Context, o wire.Open, _ func()) (accepted, error) { return p.accept(ctx, o) }
	f.receiptOf = func(o wire.Open, pub sink.Published) (wire.Receipt, error) {
		return receiver{identity: cs.c.Identity}.receipt(o, pub)
	}
	return cs.get(ctx, f, wire.Get{Root: a.Root, Path: path, Handle: f.id, ChunkLog2Max: 20, Dense: true})
}

// get sends a GET and waits until its transfer has ended in f.
func (cs *clientSession) get(ctx context.Context, f *recvFile, m wire.Get) error {
	done := make(chan error, 1)
	inner := f.finished
	f.finished = func(o outcome, err error) {
		if inner != nil {
			inner(o, err)
		}
		done <- err
	}
	cs.mu.Lock()
	if cs.closed {
		cs.mu.Unlock()
		return cs.lost()
	}
	cs.recvs[f.id] = f
	cs.mu.Unlock()
	cs.working(1)
	defer cs.working(-1)
	cs.send(f.id, m)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		cs.send(f.id, wire.Abort{Keep: true, Code: wire.CodeStreamLost})
		f.stop(true, context.Cause(ctx))
		return context.Cause(ctx)
	case <-cs.ended: // everything is parked
		select {
		case err := <-done:
			return err
		default:
			return cs.lost()
		}
	}
}

// pipeLanding takes chunks in order and writes each to w once it is verified.
type pipeLanding struct {
	w io.Writer

	mu    sync.Mutex
	open  *wire.Open
	next  int64 // chunks written
	bytes int64
	cvs   []crypto.CV
	buf   []byte
	err   error           // of w
	ctx   context.Context // of the attempt's session
	busy  chan struct{}   // closed when the last write to w has ended; nil before the first
}

func newPipeLanding(w io.Writer) *pipeLanding { return &pipeLanding{w: w} }

func (p *pipeLanding) written() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.bytes
}

func (p *pipeLanding) accept(ctx context.Context, o wire.Open) (accepted, error) {
	p.mu.Lock()
	busy := p.busy
	p.mu.Unlock()
	if busy != nil { // of an earlier session
		select {
		case <-busy:
		case <-ctx.Done():
			return accepted{}, context.Cause(ctx)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return accepted{}, p.err
	}
	p.ctx = ctx
	if o.Flags&wire.OpenSparse != 0 {
		return accepted{}, protocolError("holes in a stream")
	}
	if o.Size == wire.UnknownSize || o.ChunkLog2 > 24 {
		return accepted{}, &wire.ProtocolError{Code: wire.CodeUnsupported, Msg: "a GET of unknown size"}
	}
	if p.open != nil && (string(p.open.Fingerprint) != string(o.Fingerprint) || p.open.Size != o.Size || p.open.ChunkLog2 != o.ChunkLog2) {
		if p.next > 0 {
			return accepted{}, &Error{Op: "get", Kind: KindVerify, Err: errors.New("the file changed at the server while a part of it was already written out")}
		}
	}
	p.open = &o
	a := accepted{state: wire.StateNew, land: p}
	if p.next > 0 {
		a.state = wire.StatePartial
		a.found.Have = []sink.Range{{Start: 0, Count: p.next}}
	}
	return a, nil
}

func (p *pipeLanding) Claim(chunk, offset int64) (chunkWriter, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if chunk != p.next || offset != 0 {
		return nil, protocolError("chunks out of order in a stream")
	}
	p.buf = p.buf[:0]
	return &pipeChunk{p: p, chunk: chunk}, nil
}

// pipeChunk is one chunk on its way through a pipeLanding.
type pipeChunk struct {
	p     *pipeLanding
	chunk int64
}

func (c *pipeChunk) Write(b []byte) error {
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	c.p.buf = append(c.p.buf, b...)
	return nil
}

// Take is never called: a stream has no old version.
func (c *pipeChunk) Take(*sink.Old, int64) error { return sink.ErrChunkBad }

func (c *pipeChunk) Park() {}

// Zero is never called: a stream has no holes.
func (p *pipeLanding) Zero(context.Context, int64, int64) (int64, error) { return 0, sink.ErrRange }

func (c *pipeChunk) Finish(cv crypto.CV) (bool, error) {
	p := c.p
	p.mu.Lock()
	defer p.mu.Unlock()
	h := crypto.NewChunkHasher()
	h.Reset(uint64(c.chunk), p.open.ChunkLog2)
	_, _ = h.Write(p.buf)
	want := cv
	var got crypto.CV
	if chunkCount(int64(p.open.Size), p.open.ChunkLog2) == 1 {
		got = crypto.CV(h.Root())
	} else {
		got = h.CV()
	}
	if got != want {
		return false, sink.ErrChunkBad
	}
	return false, p.write(cv)
}

// write passes the verified chunk on. Where nobody reads our output it waits no longer than the session lasts; the write
// itself may end later, and counts then. Called with the lock held.
func (p *pipeLanding) write(cv crypto.CV) error {
	busy, b, ctx := make(chan struct{}), p.buf, p.ctx
	p.busy, p.buf = busy, nil
	go func() {
		defer close(busy)
		n, err := p.w.Write(b)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.bytes += int64(n)
		if err != nil {
			p.err = &Error{Op: "write", Path: "-", Kind: KindLocalIO, Err: err}
			return
		}
		p.next++
		p.cvs = append(p.cvs, cv)
		p.buf = b[:0]
	}()
	p.mu.Unlock()
	defer p.mu.Lock()
	select {
	case <-busy:
	case <-ctx.Done():
		return &lostError{context.Cause(ctx)}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *pipeLanding) Held() (int64, int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next, p.bytes
}

func (p *pipeLanding) CVs(first, count int64) ([]crypto.CV, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if first < 0 || count < 0 || first+count > int64(len(p.cvs)) {
		return nil, protocolError("HASHES outside of the transfer")
	}
	return append([]crypto.CV(nil), p.cvs[first:first+count]...), nil
}

func (p *pipeLanding) Checkpoint(context.Context) ([]sink.Range, error) { return nil, nil }
func (p *pipeLanding) Dirty() (int64, time.Time)                        { return 0, time.Time{} }
func (p *pipeLanding) Park() error                                      { return nil }
func (p *pipeLanding) Discard() error                                   { return nil }

func (p *pipeLanding) Publish(_ context.Context, c sink.Commit) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bytes != c.Size || p.open.Size != uint64(c.Size) {
		return nil, sink.ErrMissing
	}
	var root crypto.Digest
	switch len(p.cvs) {
	case 0:
		root = crypto.EmptyRoot
	case 1:
		root = crypto.Digest(p.cvs[0])
	default:
		root = crypto.RootOf(uint64(len(p.cvs)), func(i uint64) crypto.CV { return p.cvs[i] })
	}
	if root != c.Root {
		return nil, sink.ErrRootMismatch
	}
	return c.Sign(sink.Published{Root: root, Size: c.Size, Time: time.Now()})
}
