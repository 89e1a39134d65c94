package transfer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/transport"
	"xfer/transfer/wire"
)

// Server serves connections of clients. All fields are set before the first Serve and not changed after.
type Server struct {
	Identity *crypto.Identity // signs receipts
	Policy   Policy
	Agent    string
	Log      *slog.Logger
	Limits   Limits
	Observe  func(ServerEvent) // may be nil; called concurrently

	owners durable.Owners

	mu       sync.Mutex
	sessions map[wire.SessionID]*serverSession
	draining bool
	panics   atomic.Int64
	memory   atomic.Int64 // bytes of buffers given to streams
}

// Limits of a Server; a zero field has the value named.
type Limits struct {
	HelloTimeout time.Duration // from the handshake to HELLO, absolute: 5 s
	JoinTimeout  time.Duration // from a new stream to its JOIN, absolute: 5 s
	MaxStreams   int           // data streams a session: 16
	MaxOpen      int           // transfers a session: 1024
	MemoryMax    int64         // bytes of stream buffers over all sessions: 256 MiB
}

func (l Limits) withDefaults() Limits {
	def := func(p *time.Duration, d time.Duration) {
		if *p <= 0 {
			*p = d
		}
	}
	def(&l.HelloTimeout, 5*time.Second)
	def(&l.JoinTimeout, 5*time.Second)
	if l.MaxStreams <= 0 {
		l.MaxStreams = 16
	}
	if l.MaxOpen <= 0 {
		l.MaxOpen = 1024
	}
	if l.MemoryMax <= 0 {
		l.MemoryMax = 256 << 20
	}
	return l
}

// ServerEvent is something that the daemon logs.
type ServerEvent struct {
	Kind      string // session-start, session-end, published, refused, enrolled, panic
	Session   string
	Client    string
	Remote    string
	Transport string
	Path      string // raw bytes
	Bytes     int64
	Files     int64 // of a tree
	Err       error
}

// SessionInfo is one live session.
type SessionInfo struct {
	ID, Client, Remote, Transport string
	Peer                          crypto.PeerID
	Since                         time.Time
	Streams                       int
	Transfers                     int
	BytesIn, BytesOut             int64
}

// serverSession is a session with what its client may do.
type serverSession struct {
	*session
	srv   *Server
	grant Grant
	peer  crypto.PeerID
	since time.Time
	gets  atomic.Int64 // GETs being answered
	joins atomic.Int64 // streams that have joined, or are about to
}

// streamMemory is what a stream may hold in buffers: one frame received, one to be sent, and its records.
const streamMemory = 3 * (wire.MaxPayload + 8192)

// Serve serves one connection until it ends, and returns why. A JOIN finds its session among those of this Server. What
// was received is parked when it returns. Cancelling ctx with a cause ends the session, and the cause goes to the peer
// as an ERROR. Serve closes c.
func (s *Server) Serve(ctx context.Context, c transport.Conn) (err error) {
	defer c.Close(0, "")
	defer func() {
		if v := recover(); v != nil {
			s.panicked(v)
			err = errors.New("internal error")
		}
	}()
	limits := s.Limits.withDefaults()
	deadline := time.Now().Add(limits.HelloTimeout)
	hctx, cancel := context.WithDeadline(ctx, deadline)
	st, err := c.AcceptStream(hctx)
	cancel()
	if err != nil {
		return netError("accept", err)
	}
	return s.first(ctx, c, st, deadline)
}

// first reads the first frame of a connection and goes where it leads.
func (s *Server) first(ctx context.Context, c transport.Conn, st transport.Stream, deadline time.Time) error {
	_ = st.SetReadDeadline(deadline)
	stop := context.AfterFunc(ctx, func() { _ = st.SetReadDeadline(time.Now()) })
	r := wire.NewReader(st, wire.MaxControlPreAuth)
	h, m, err := firstFrame(r, wire.THello, wire.TJoin, wire.TEnroll)
	stop()
	if err != nil {
		s.refuse(c, st, err)
		return err
	}
	_ = st.SetReadDeadline(time.Time{})
	switch m := m.(type) {
	case wire.Hello:
		err = s.hello(ctx, c, st, r, m)
	case wire.Join:
		err = s.join(c, st, r, m, nil)
	case wire.Enroll:
		err = s.enroll(ctx, c, st, h.ID, m)
	}
	return err
}

func firstFrame(r *wire.Reader, allowed ...wire.Type) (wire.Header, wire.Message, error) {
	h, err := r.Next()
	if err != nil {
		return h, nil, readError(err)
	}
	if !slices.Contains(allowed, h.Type) {
		return h, nil, protocolError("%v before the session", h.Type)
	}
	m, err := r.Message(h)
	if err != nil {
		return h, nil, readError(err)
	}
	return h, m, nil
}

// refuse says why, and ends the stream.
func (s *Server) refuse(c transport.Conn, st transport.Stream, err error) {
	_ = st.SetWriteDeadline(time.Now().Add(2 * time.Second))
	if b, e := wire.AppendFrame(nil, 0, wireError(err)); e == nil {
		_, _ = st.Write(b)
	}
	_ = st.CloseWrite()
	s.event(ServerEvent{Kind: "refused", Client: c.Peer().String(), Remote: c.RemoteAddr().String(), Transport: string(c.Kind()), Err: err})
}

func (s *Server) event(e ServerEvent) {
	if s.Observe != nil {
		s.Observe(e)
	}
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

func (s *Server) panicked(v any) {
	s.panics.Add(1)
	s.log().Error("panic in a session", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	s.event(ServerEvent{Kind: "panic", Err: fmt.Errorf("panic: %v", v)})
}

// Panics returns how many panics were caught. It must be 0.
func (s *Server) Panics() int64 { return s.panics.Load() }

// ourCaps are the capabilities that we announce.
var ourCaps = []string{wire.CapBLAKE3, wire.CapTree, wire.CapZstd, wire.CapZero, wire.CapDelta, wire.CapExact}

// minorVersions are the minor versions of the protocol that we speak.
var minorVersions = []uint64{0}

func (s *Server) hello(ctx context.Context, c transport.Conn, st transport.Stream, r *wire.Reader, m wire.Hello) error {
	if !slices.Contains(m.Versions, minorVersions[0]) {
		err := &wire.ProtocolError{Code: wire.CodeVersion, Msg: "no common version of the protocol"}
		s.refuse(c, st, err)
		return err
	}
	grant, release, err := s.Policy.Authorize(ctx, c.Peer(), c.PeerCertificates(), c.RemoteAddr().String())
	if err != nil {
		s.refuse(c, st, err)
		return err
	}
	defer release()
	limits := s.Limits.withDefaults()
	if s.memory.Add(streamMemory) > limits.MemoryMax {
		s.memory.Add(-streamMemory)
		err := &Error{Op: "hello", Kind: KindBusy, Err: &BusyError{RetryAfter: time.Second}}
		s.refuse(c, st, err)
		return err
	}
	defer s.memory.Add(-streamMemory)
	// The session does not end with ctx by itself: the peer is told why before.
	ss := &serverSession{session: newSession(context.WithoutCancel(ctx), c, st, true, s.log()), srv: s, grant: grant, peer: c.Peer(), since: time.Now()}
	defer ss.cancel(nil)
	ss.agree(m.Caps, "auto")
	if _, err := rand.Read(ss.id[:]); err != nil {
		return err
	}
	if ss.key, err = crypto.SessionKey(c); err != nil {
		return err
	}
	ss.onMessage = ss.message
	ss.panicked = s.panicked
	ss.hold(grant.Bandwidth)
	s.mu.Lock()
	if s.draining {
		s.mu.Unlock()
		err := &wire.ProtocolError{Code: wire.CodeDraining, Msg: "the server is going down"}
		s.refuse(c, st, err)
		return err
	}
	if s.sessions == nil {
		s.sessions = map[wire.SessionID]*serverSession{}
	}
	s.sessions[ss.id] = ss
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.sessions, ss.id)
		s.mu.Unlock()
	}()
	ev := ServerEvent{Kind: "session-start", Session: fmt.Sprintf("%x", ss.id[:4]), Client: grant.Name, Remote: c.RemoteAddr().String(), Transport: string(c.Kind())}
	s.event(ev)
	ss.send(0, s.welcome(ss, limits))
	r.SetMaxControl(wire.MaxControl)
	if c.Multiplexed() {
		ss.goRun(func() { s.acceptStreams(c, ss, limits) })
	}
	stop := context.AfterFunc(ctx, func() {
		if cause := context.Cause(ctx); cause != context.Canceled {
			ss.send(0, wireError(cause))
		} else {
			ss.send(0, wire.Bye{Reason: "the server is going down"})
		}
		ss.cancel(context.Cause(ctx))
	})
	defer stop()
	err = ss.run(r)
	var pe *wire.ProtocolError
	if errors.As(err, &pe) {
		s.log().Warn("protocol error", "client", grant.Name, "err", pe)
	}
	ev.Kind, ev.Err, ev.Bytes = "session-end", err, ss.bytesIn.Load()+ss.bytesOut.Load()
	s.event(ev)
	return err
}

func (s *Server) welcome(ss *serverSession, limits Limits) wire.Welcome {
	w := wire.Welcome{
		Minor: minorVersions[0], Session: ss.id, Window: defaultWindow, Caps: ourCaps, TimeNS: time.Now().UnixNano(), Name: ss.grant.Name,
		Limits: wire.PeerLimits{Streams: uint64(limits.MaxStreams), Open: uint64(limits.MaxOpen), Requests: maxHandlers},
	}
	for _, r := range ss.grant.Roots {
		w.Roots = append(w.Roots, wire.RootInfo{Name: r.Name, Rights: r.Rights, Default: r.Default})
	}
	return w
}

// acceptStreams serves the JOINs on further streams of a QUIC control connection.
func (s *Server) acceptStreams(c transport.Conn, ss *serverSession, limits Limits) {
	for {
		st, err := c.AcceptStream(ss.ctx)
		if err != nil {
			return
		}
		ss.goRun(func() {
			_ = st.SetReadDeadline(time.Now().Add(limits.JoinTimeout))
			r := wire.NewReader(st, wire.MaxControlPreAuth)
			_, m, err := firstFrame(r, wire.TJoin)
			if err == nil {
				_ = st.SetReadDeadline(time.Time{})
				err = s.join(c, st, r, m.(wire.Join), ss)
			}
			if err != nil {
				_ = st.Close()
			}
		})
	}
}

// join makes st a data stream of the session that m names. on is the session of the stream's own connection, where that
// is the control connection; then there is nothing to prove.
func (s *Server) join(c transport.Conn, st transport.Stream, r *wire.Reader, m wire.Join, on *serverSession) error {
	s.mu.Lock()
	ss := s.sessions[m.Session]
	s.mu.Unlock()
	limits := s.Limits.withDefaults()
	err := func() error {
		denied := &wire.ProtocolError{Code: wire.CodeAuth, Msg: "no such session"}
		if ss == nil || ss.peer != c.Peer() || (on != nil && on != ss) {
			return denied
		}
		if on != nil {
			if len(m.MAC) != 0 {
				return denied
			}
		} else if ok, err := crypto.VerifyJoinProof(ss.key, c, m.Counter, m.MAC); err != nil || !ok {
			return denied
		}
		if ss.joins.Add(1) > int64(limits.MaxStreams) {
			ss.joins.Add(-1)
			return &wire.ProtocolError{Code: wire.CodeServerLimit, Msg: "no more streams in this session"}
		}
		return nil
	}()
	if err == nil && s.memory.Add(streamMemory) > limits.MemoryMax {
		s.memory.Add(-streamMemory)
		ss.joins.Add(-1)
		err = &wire.ProtocolError{Code: wire.CodeServerLimit, Msg: "no memory for more streams"}
	}
	if err != nil {
		s.refuse(c, st, err)
		return err
	}
	defer s.memory.Add(-streamMemory)
	defer ss.joins.Add(-1)
	ss.mu.Lock()
	no := ss.nextNo
	ss.nextNo++
	ss.mu.Unlock()
	b, err := wire.AppendFrame(nil, 0, wire.Joined{Stream: no})
	if err != nil {
		return err
	}
	if _, err := st.Write(b); err != nil {
		return err
	}
	r.SetMaxControl(wire.MaxControl)
	var own transport.Conn
	if on == nil {
		own = c
	}
	return ss.addStream(st, own, r, no)
}

func (s *Server) enroll(ctx context.Context, c transport.Conn, st transport.Stream, id uint32, m wire.Enroll) error {
	answer, err := s.tryCode(ctx, c, m)
	if err != nil {
		s.refuse(c, st, err)
		return err
	}
	b, err := wire.AppendFrame(nil, id, answer)
	if err != nil {
		return err
	}
	_ = st.SetWriteDeadline(time.Now().Add(5 * time.Second))
	if _, err := st.Write(b); err != nil {
		return err
	}
	s.event(ServerEvent{Kind: "enrolled", Client: answer.Name, Remote: c.RemoteAddr().String(), Transport: string(c.Kind())})
	return st.CloseWrite()
}

func (s *Server) tryCode(ctx context.Context, c transport.Conn, m wire.Enroll) (wire.Enrolled, error) {
	refused := &Error{Op: "enroll", Kind: KindTrust, Err: errors.New("the code is wrong, used or expired")}
	if len(m.CodeID) != 2 || len(c.PeerCertificates()) == 0 {
		return wire.Enrolled{}, refused
	}
	try, err := s.Policy.Enroll(ctx, c.Peer(), c.RemoteAddr().String(), [2]byte(m.CodeID))
	if err != nil {
		if KindOf(err) == KindBusy {
			return wire.Enrolled{}, err
		}
		return wire.Enrolled{}, refused // one answer for all: nothing is learned of which codes there are
	}
	code := try.Code()
	client, server := c.PeerCertificates()[0].RawSubjectPublicKeyInfo, s.Identity.SPKI()
	if ok, err := code.VerifyClientProof(c, client, server, m.MAC); err != nil || !ok {
		try.Reject()
		return wire.Enrolled{}, refused
	}
	mac, err := code.ServerProof(c, client, server)
	if err != nil {
		try.Reject()
		return wire.Enrolled{}, err
	}
	name, roots, err := try.Accept(m.Name)
	if err != nil {
		return wire.Enrolled{}, refused
	}
	e := wire.Enrolled{MAC: mac, Name: name}
	for _, r := range roots {
		e.Roots = append(e.Roots, wire.RootInfo{Name: r.Name, Rights: r.Rights, Default: r.Default})
	}
	return e, nil
}

// Drain tells every session that the server goes down, lets what is in flight come to its end until ctx ends, and
// refuses new sessions. The caller then cancels the contexts given to Serve.
func (s *Server) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	for _, ss := range s.sessions {
		ss.draining.Store(true)
		ss.send(0, wire.GoAway{DeadlineMS: 1000, Reason: "the server is going down"})
	}
	s.mu.Unlock()
	t := time.NewTicker(20 * time.Millisecond)
	defer t.Stop()
	for {
		busy := 0
		s.mu.Lock()
		for _, ss := range s.sessions {
			ss.mu.Lock()
			busy += len(ss.recvs) + len(ss.sends) + len(ss.treeRecvs) + len(ss.treeSends)
			ss.mu.Unlock()
		}
		s.mu.Unlock()
		if busy == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// Sessions is a snapshot for status, in no order.
func (s *Server) Sessions() []SessionInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]SessionInfo, 0, len(s.sessions))
	for _, ss := range s.sessions {
		ss.mu.Lock()
		out = append(out, SessionInfo{
			ID: fmt.Sprintf("%x", ss.id[:4]), Client: ss.grant.Name, Remote: ss.conn.RemoteAddr().String(), Transport: string(ss.conn.Kind()),
			Peer: ss.peer, Since: ss.since, Streams: len(ss.streams), Transfers: len(ss.recvs) + len(ss.sends),
			BytesIn: ss.bytesIn.Load(), BytesOut: ss.bytesOut.Load(),
		})
		ss.mu.Unlock()
	}
	return out
}
