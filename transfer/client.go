package transfer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"xfer/crypto"
	"xfer/transfer/transport"
	"xfer/transfer/wire"
)

// Client runs transfers with one host. Its fields are set before use; each method call is a run of its own, and runs may be
// concurrent.
type Client struct {
	// Dial gives an authenticated connection, the pin checked. Its errors are *Error; those with KindUnreachable and
	// KindBusy are tried again.
	Dial     func(ctx context.Context) (transport.Conn, error)
	Identity *crypto.Identity // signs the receipts of a get
	Agent    string           // program and version, told to the peer
	Observe  func(Event)      // may be nil
	Options  Options

	onDurable func(bytes int64) // for tests
}

// Options of a Client's runs. The zero value is good, but for RetryFor: 0 means a single try.
type Options struct {
	Streams    int           // data streams; 0 = by itself
	Transfers  int           // files at once; 0 = by itself
	BWLimit    Limit         // nil = none
	RetryFor   time.Duration // how long to go on without progress, over a bad network or a busy server
	Timeout    time.Duration // no progress on a live connection, 30 s
	Checksum   bool          // compare by content, not by size and mtime
	NoClobber  bool          // never replace
	Resume     string        // auto (also ""), verify, never
	Durability string        // full, batch, none; "" = full for one file, batch for trees
	Verify     bool          // re-read at the target after publishing
	DryRun     bool          // only plan
	Receipts   bool          // collect Result.Receipts; unchanged files are compared by content
	Progress   time.Duration // between progress events, 100 ms

	Compress       string // auto (also ""), on, off
	Update         bool   // a file that is newer at the target is left alone
	Existing       bool   // nothing new is made at the target
	IgnoreExisting bool   // what is there is left alone
	Rules          Rules
	// Archive keeps owners, hard links, extended attributes and ACLs too, and the mode with all its bits. SpecialModes keeps of an archive also setuid
	// and setgid of files, and capabilities, where the right special-modes is there too.
	Archive, SpecialModes bool
}

const defaultTimeout = 30 * time.Second

func (c *Client) timeout() time.Duration {
	if c.Options.Timeout > 0 {
		return c.Options.Timeout
	}
	return defaultTimeout
}

// clientSession is a session that we dialled.
type clientSession struct {
	*session
	c       *Client
	welcome wire.Welcome
	ended   chan struct{}

	rtt time.Duration // what HELLO took

	smu     sync.Mutex
	streams int // data streams asked for
}

// connect dials and says HELLO.
func (c *Client) connect(ctx context.Context) (*clientSession, error) {
	conn, err := c.Dial(ctx)
	if err != nil {
		return nil, netError("dial", err)
	}
	cs, err := c.hello(ctx, conn)
	if err != nil {
		_ = conn.Close(0, "")
		return nil, err
	}
	return cs, nil
}

func (c *Client) hello(ctx context.Context, conn transport.Conn) (*clientSession, error) {
	st, err := conn.OpenStream(ctx)
	if err != nil {
		return nil, netError("open a stream", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close(0, "") })
	defer stop()
	hello := wire.Hello{Versions: minorVersions, Agent: c.Agent, Caps: c.caps(), TimeNS: time.Now().UnixNano()}
	asked := time.Now()
	r, m, err := ask(st, 0, hello, c.timeout())
	if err != nil {
		return nil, err
	}
	rtt := time.Since(asked)
	w, ok := m.(wire.Welcome)
	if !ok {
		return nil, &Error{Op: "connect", Kind: KindProtocol, Err: protocolError("%v instead of WELCOME", m.Type())}
	}
	if !slices.Contains(minorVersions, w.Minor) {
		return nil, &Error{Op: "connect", Kind: KindProtocol, Err: fmt.Errorf("the peer chose version 1.%d, which we do not speak", w.Minor)}
	}
	r.SetMaxControl(wire.MaxControl)
	cs := &clientSession{session: newSession(context.WithoutCancel(ctx), conn, st, false, slog.New(slog.DiscardHandler)), c: c, welcome: w, rtt: rtt, ended: make(chan struct{})}
	cs.id = w.Session
	cs.agree(w.Caps, c.Options.Compress)
	cs.disp.window = int64(min(max(w.Window, 1<<20), 1<<30))
	if cs.key, err = crypto.SessionKey(conn); err != nil {
		return nil, err
	}
	cs.onMessage = cs.message
	cs.panicked = func(v any) { panic(v) } // ours is the only session: a bug is shown
	if l := c.Options.BWLimit; l != nil {
		cs.hold([]*Bandwidth{NewBandwidth(l)})
	}
	go func() {
		defer close(cs.ended)
		_ = cs.run(r)
	}()
	cs.goRun(cs.watch)
	return cs, nil
}

// caps are the capabilities that we announce.
func (c *Client) caps() []string {
	switch c.Options.Compress {
	case "off":
		return slices.DeleteFunc(slices.Clone(ourCaps), func(w string) bool { return w == wire.CapZstd })
	case "on":
		return append(slices.Clone(ourCaps), wire.CapZstdOn)
	}
	return ourCaps
}

// ask sends the first frame of a stream and reads the answer.
func ask(st transport.Stream, id uint32, m wire.Message, patience time.Duration) (*wire.Reader, wire.Message, error) {
	b, err := wire.AppendFrame(nil, id, m)
	if err != nil {
		return nil, nil, err
	}
	_ = st.SetWriteDeadline(time.Now().Add(patience))
	_ = st.SetReadDeadline(time.Now().Add(patience))
	_, werr := st.Write(b)
	r := wire.NewReader(st, wire.MaxControl)
	h, err := r.Next() // also where the write failed: why it was refused stands there
	if err != nil {
		if werr != nil && KindOf(readError(err)) != KindTrust {
			return nil, nil, netError("write", werr)
		}
		return nil, nil, asProtocol(readError(err))
	}
	a, err := r.Message(h)
	if err != nil {
		return nil, nil, asProtocol(readError(err))
	}
	_ = st.SetWriteDeadline(time.Time{})
	_ = st.SetReadDeadline(time.Time{})
	if e, ok := a.(wire.Error); ok {
		return nil, nil, errorOf(e)
	}
	return r, a, nil
}

// asProtocol gives a decoding failure its kind.
func asProtocol(err error) error {
	var pe *wire.ProtocolError
	if err != nil && errors.As(err, &pe) && KindOf(err) == KindOther {
		return &Error{Op: "talk to the peer", Kind: KindProtocol, Err: err}
	}
	return err
}

// message takes what a server may send on its own: an OPEN that answers our GET.
func (cs *clientSession) message(h wire.Header, m wire.Message) error {
	if o, ok := m.(wire.TreeOpen); ok {
		return cs.treeOpened(h.ID, o)
	}
	o, ok := m.(wire.Open)
	if !ok {
		return protocolError("%v from a server", h.Type)
	}
	f := cs.recvOf(h.ID)
	if f == nil {
		if h.ID%2 == 1 {
			cs.send(h.ID, wire.Abort{Keep: true, Code: wire.CodeStreamLost})
			return nil // of a GET that we gave up
		}
		return protocolError("OPEN that nobody asked for")
	}
	if !f.expect() {
		return protocolError("a second OPEN for one GET")
	}
	return cs.handler(func() { f.begin(o) })
}

// treeOpened takes a TREE_OPEN, which answers our TREE_GET.
func (cs *clientSession) treeOpened(id uint32, o wire.TreeOpen) error {
	t := cs.treeRecvOf(id)
	if t == nil {
		if id%2 == 1 {
			cs.send(id, wire.Abort{Keep: true, Code: wire.CodeStreamLost})
			return nil // of one that we gave up
		}
		return protocolError("TREE_OPEN that nobody asked for")
	}
	if !t.expect() {
		return protocolError("a second TREE_OPEN for one TREE_GET")
	}
	if !cs.goRun(func() { t.serve(o) }) {
		return cs.lost()
	}
	return nil
}

// watch ends a session that makes no progress while somebody waits for it.
func (cs *clientSession) watch() {
	limit := cs.c.timeout()
	t := time.NewTicker(min(limit/10+time.Millisecond, time.Second))
	defer t.Stop()
	for {
		select {
		case <-cs.ctx.Done():
			return
		case <-t.C:
			if cs.disp.waiting.Load() > 0 && cs.blocked.Load() == 0 && cs.now()-cs.progress.Load() > int64(limit) {
				cs.cancel(&Error{Op: "wait for the peer", Kind: KindStalled, Err: fmt.Errorf("no progress for %v", limit)})
				return
			}
		}
	}
}

// close ends the session: BYE, and everything parked.
func (cs *clientSession) close() {
	cs.send(0, wire.Bye{Reason: "done"})
	cs.cancel(errSessionOver)
	<-cs.ended
	// The program may end right after this: the peer is given a moment to hear it, or it would keep the session until its
	// keep-alive gives up.
	select {
	case <-cs.conn.Done():
	case <-time.After(500 * time.Millisecond):
	}
}

var errSessionOver = errors.New("the session is over")

// wantStreams lets n data streams join, beyond the control stream, as far as the server allows.
func (cs *clientSession) wantStreams(n int) {
	n = min(n, int(min(cs.welcome.Limits.Streams, 64)))
	cs.smu.Lock()
	defer cs.smu.Unlock()
	for ; cs.streams < n; cs.streams++ {
		cs.goRun(cs.keepStream)
	}
}

// keepStream holds one data stream, and dials again when it is lost, as long as the session lives.
func (cs *clientSession) keepStream() {
	wait := 200 * time.Millisecond
	for tries := 0; tries < 8; tries++ {
		began := time.Now()
		err := cs.joinStream()
		var pe *PeerError
		if cs.ctx.Err() != nil || errors.As(err, &pe) || KindOf(err) == KindTrust {
			return
		}
		if time.Since(began) > 10*time.Second {
			tries, wait = 0, 200*time.Millisecond
		}
		select {
		case <-cs.ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = min(wait*2, 5*time.Second)
	}
}

func (cs *clientSession) joinStream() error {
	cs.mu.Lock()
	counter := cs.nextNo
	cs.nextNo++
	cs.mu.Unlock()
	// Where a connection could carry more streams, too: on QUIC they would share one goroutine that works on packets.
	conn, err := cs.c.Dial(cs.ctx)
	if err != nil {
		return err
	}
	join := wire.Join{Session: cs.id, Counter: counter}
	if join.MAC, err = crypto.JoinProof(cs.key, conn, counter); err != nil {
		_ = conn.Close(0, "")
		return err
	}
	st, err := conn.OpenStream(cs.ctx)
	if err != nil {
		_ = conn.Close(0, "")
		return err
	}
	stop := context.AfterFunc(cs.ctx, func() { _ = st.Close() })
	defer stop()
	r, m, err := ask(st, 0, join, cs.c.timeout())
	if err == nil {
		if _, ok := m.(wire.Joined); !ok {
			err = protocolError("%v instead of JOINED", m.Type())
		}
	}
	if err != nil {
		_ = st.Close()
		_ = conn.Close(0, "")
		return err
	}
	return cs.addStream(st, conn, r, counter)
}

// Enroll proves knowledge of a one-time code on a connection whose server key is not known yet, and learns the key. The
// connection comes from Dial, which must accept any key here. The caller pins Enrolled.Peer.
func (c *Client) Enroll(ctx context.Context, code crypto.Code, name string) (Enrolled, error) {
	conn, err := c.Dial(ctx)
	if err != nil {
		return Enrolled{}, netError("dial", err)
	}
	defer conn.Close(0, "")
	if len(conn.PeerCertificates()) == 0 {
		return Enrolled{}, &Error{Op: "enroll", Kind: KindTrust, Err: errors.New("the server showed no certificate")}
	}
	st, err := conn.OpenStream(ctx)
	if err != nil {
		return Enrolled{}, netError("open a stream", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = st.Close() })
	defer stop()
	client, server := c.Identity.SPKI(), conn.PeerCertificates()[0].RawSubjectPublicKeyInfo
	mac, err := code.ClientProof(conn, client, server)
	if err != nil {
		return Enrolled{}, err
	}
	id := code.ID()
	_, m, err := ask(st, 2, wire.Enroll{CodeID: id[:], MAC: mac, Name: name}, c.timeout())
	if err != nil {
		return Enrolled{}, err
	}
	e, ok := m.(wire.Enrolled)
	if !ok {
		return Enrolled{}, &Error{Op: "enroll", Kind: KindProtocol, Err: protocolError("%v instead of ENROLLED", m.Type())}
	}
	if ok, err := code.VerifyServerProof(conn, client, server, e.MAC); err != nil || !ok {
		return Enrolled{}, &Error{Op: "enroll", Kind: KindTrust, Err: errors.New("the server does not know the code: somebody is in between, or it is the wrong host")}
	}
	out := Enrolled{Peer: conn.Peer(), Name: e.Name}
	for _, r := range e.Roots {
		out.Roots = append(out.Roots, RootInfo{Name: r.Name, Rights: r.Rights, Default: r.Default})
	}
	return out, nil
}
