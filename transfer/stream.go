package transfer

import (
	"errors"
	"sync"
	"time"

	"xfer/transfer/transport"
	"xfer/transfer/wire"
)

// stream is one ordered pipe of a session, with one reader goroutine, one writer of control frames (on the control
// stream) and one sender of chunks.
type stream struct {
	s    transport.Stream
	conn transport.Conn // nil where it lives on the control connection
	no   uint64

	wmu sync.Mutex // a whole frame at a time

	qmu   sync.Mutex
	queue []byte // control frames to be written
	spare []byte
	wake  chan struct{}

	pack, zpack []byte // the pack that is sent, and the same compressed; the sender alone
	raw         []byte // what a compressed piece or pack holds; the reader goroutine alone

	cur *incoming // the chunk that arrives, nil or &in; the reader goroutine alone
	in  incoming
}

func newStream(ts transport.Stream, conn transport.Conn, no uint64) *stream {
	return &stream{s: ts, conn: conn, no: no, wake: make(chan struct{}, 1)}
}

func (s *session) closeStreams() {
	s.mu.Lock()
	s.closed = true
	list := make([]*stream, 0, len(s.streams))
	for st := range s.streams {
		list = append(list, st)
	}
	s.mu.Unlock()
	s.disp.close()
	for _, st := range list {
		if st != s.ctl {
			st.close()
		}
	}
	// What is queued on the control stream (an ERROR, a BYE) goes out before the end, for a moment.
	_ = s.ctl.s.SetWriteDeadline(time.Now().Add(500 * time.Millisecond))
	s.ctl.flush()
	_ = s.ctl.s.CloseWrite()
	_ = s.conn.Close(0, "")
	_ = s.ctl.s.SetReadDeadline(time.Now())
}

func (st *stream) close() {
	_ = st.s.Close()
	if st.conn != nil {
		_ = st.conn.Close(0, "")
	}
}

// flush writes what is queued.
func (st *stream) flush() {
	st.wmu.Lock()
	defer st.wmu.Unlock()
	st.qmu.Lock()
	b := st.queue
	st.queue = nil
	st.qmu.Unlock()
	if len(b) > 0 {
		_, _ = st.s.Write(b)
	}
}

// send queues a control frame. It never blocks: a peer that does not read what it asked for loses the session.
func (s *session) send(id uint32, m wire.Message) {
	st := s.ctl
	st.qmu.Lock()
	b, err := wire.AppendFrame(st.queue, id, m)
	if err == nil {
		st.queue = b
	}
	n := len(st.queue)
	st.qmu.Unlock()
	if err != nil {
		s.cancel(&Error{Op: "encode " + m.Type().String(), Kind: KindOther, Err: err})
		return
	}
	if n > maxOutQueue {
		s.cancel(&Error{Op: "send", Kind: KindProtocol, Err: errors.New("the peer does not read its answers")})
		return
	}
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

func (s *session) writeControl(st *stream) {
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-st.wake:
		}
		st.wmu.Lock()
		st.qmu.Lock()
		b := st.queue
		st.queue = st.spare[:0]
		st.qmu.Unlock()
		var err error
		if len(b) > 0 {
			_, err = st.s.Write(b)
		}
		if cap(b) <= 1<<20 {
			st.spare = b
		} else {
			st.spare = nil
		}
		st.wmu.Unlock()
		if err != nil {
			s.cancel(netError("write", err))
			return
		}
	}
}

// readLoop takes the frames of one stream until it ends.
func (s *session) readLoop(st *stream, r *wire.Reader) error {
	var buf, packs []byte
	for {
		h, err := r.Next()
		if err != nil {
			return readError(err)
		}
		s.heard.Store(s.now())
		if h.Type == wire.TData {
			if buf == nil {
				buf = make([]byte, wire.MaxPayload+64)
			}
			d, err := r.Data(h, buf)
			if err != nil {
				return readError(err)
			}
			err = s.ours(func() error {
				if err := s.holdBack(h.ID, len(d.Payload)); err != nil {
					return err
				}
				s.bytesIn.Add(int64(len(d.Payload)))
				if f := s.recvOf(h.ID); f != nil && f.onWire != nil {
					f.onWire(int64(len(d.Payload)))
				}
				d, err := s.expandData(st, d)
				if err != nil {
					return err
				}
				return s.takeData(st, h.ID, d)
			})
			if err != nil {
				return err
			}
			continue
		}
		if h.Type == wire.TPack {
			if len(packs) < int(h.Length) {
				packs = make([]byte, max(int(h.Length), packTarget+16<<10))
			}
			p, err := r.Pack(h, packs)
			if err != nil {
				return readError(err)
			}
			err = s.ours(func() error {
				if err := s.holdBack(h.ID, int(h.Length)); err != nil {
					return err
				}
				s.bytesIn.Add(int64(h.Length))
				shrunk, err := s.expandPack(st, &p)
				if err != nil {
					return err
				}
				return s.takePack(h.ID, p, shrunk)
			})
			if err != nil {
				return err
			}
			continue
		}
		if st != s.ctl {
			return protocolError("%v on a data stream", h.Type)
		}
		m, err := r.Message(h)
		if err != nil && h.ID != 0 && answerable(err) {
			if s.awaits(h.ID) { // nobody else would ever answer what we asked
				return protocolError("%v that cannot be used: %v", h.Type, err)
			}
			s.send(h.ID, wireError(err))
			continue
		}
		if err != nil {
			return readError(err)
		}
		if err := s.ours(func() error { return s.dispatch(h, m) }); err != nil {
			return err
		}
	}
}

// holdBack waits until n received bytes may pass. The peer does not know of our limit, so it is told that we are at work.
func (s *session) holdBack(id uint32, n int) error {
	if s.limitIn == nil {
		return nil
	}
	if s.server {
		s.beginWork(id)
		defer s.endWork(id)
	}
	return s.limitIn(s.ctx, n)
}

// answerable tells whether a message that was refused leaves the stream whole, so that only its own request fails: one with
// a path that is not allowed, or of a kind that we do not know (PROTOCOL.md, "Errors").
func answerable(err error) bool {
	var pe *wire.ProtocolError
	return errors.As(err, &pe) && (pe.Code == wire.CodeBadPath || pe.Code == wire.CodeUnsupported)
}

// addStream makes ts a data stream of the session and serves it until it ends. conn is the connection to close
// with it, nil for a stream of the control connection.
func (s *session) addStream(ts transport.Stream, conn transport.Conn, r *wire.Reader, no uint64) error {
	st := newStream(ts, conn, no)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		st.close()
		return s.lost()
	}
	s.streams[st] = struct{}{}
	s.mu.Unlock()
	done := make(chan struct{})
	if !s.goRun(func() {
		defer close(done)
		s.sendLoop(st)
		st.close() // a stream that can not be written to is of no use: the reader ends as well
	}) {
		close(done)
	}
	err := s.guard(func() error { return s.readLoop(st, r) })
	st.close()
	s.disp.dropStream(st)
	<-done
	s.disp.forget(st)
	s.mu.Lock()
	delete(s.streams, st)
	s.mu.Unlock()
	if st.cur != nil && st.cur.w != nil {
		st.cur.w.Park()
	}
	var pe *wire.ProtocolError
	if errors.As(err, &pe) {
		s.fatal(err)
	}
	return err
}

func (s *session) streamCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}
