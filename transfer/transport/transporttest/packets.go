package transporttest

import (
	"context"
	"net"
	"os"
	"sync"
	"time"
)

// datagram is one on its way.
type datagram struct {
	b    []byte
	peer net.Addr
	at   time.Time // of arrival
}

// packetSocket is a net.PacketConn that reads what is put into it and writes through a function.
type packetSocket struct {
	local net.Addr
	write func([]byte, net.Addr) error
	in    chan datagram
	done  chan struct{} // closed by Close and fail
	onEnd func()

	mu       sync.Mutex // guards the following
	ended    bool
	err      error
	deadline time.Time
	moved    chan struct{} // closed and replaced when the deadline changes
}

func newPacketSocket(local net.Addr, write func([]byte, net.Addr) error) *packetSocket {
	return &packetSocket{
		local: local, write: write, onEnd: func() {},
		in:   make(chan datagram, 1024),
		done: make(chan struct{}), moved: make(chan struct{}),
	}
}

// put is the arrival of a datagram. One too many is lost, as in life.
func (s *packetSocket) put(d datagram) {
	select {
	case s.in <- d:
	default:
	}
}

func (s *packetSocket) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		s.mu.Lock()
		err, deadline, moved := s.err, s.deadline, s.moved
		s.mu.Unlock()
		if err != nil {
			return 0, nil, err
		}
		var late <-chan time.Time
		if !deadline.IsZero() {
			d := time.Until(deadline)
			if d <= 0 {
				return 0, nil, os.ErrDeadlineExceeded
			}
			timer := time.NewTimer(d)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case d := <-s.in:
			return copy(p, d.b), d.peer, nil
		case <-late:
		case <-moved:
		case <-s.done:
		}
	}
}

func (s *packetSocket) WriteTo(p []byte, to net.Addr) (int, error) {
	s.mu.Lock()
	err := s.err
	s.mu.Unlock()
	if err == nil {
		err = s.write(p, to)
	}
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// end makes all further use fail with err.
func (s *packetSocket) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.ended, s.err = true, err
		close(s.done)
		s.onEnd()
	}
}

func (s *packetSocket) Close() error {
	s.end(net.ErrClosed)
	return nil
}

func (s *packetSocket) LocalAddr() net.Addr { return s.local }

func (s *packetSocket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline = t
	close(s.moved)
	s.moved = make(chan struct{})
	return nil
}

func (s *packetSocket) SetWriteDeadline(time.Time) error { return nil }
func (s *packetSocket) SetDeadline(t time.Time) error    { return s.SetReadDeadline(t) }

// packets puts the faults in front of inner. The result closes inner.
func (f *Faults) packets(wg *sync.WaitGroup, inner net.PacketConn) net.PacketConn {
	ctx, cancel := context.WithCancel(context.Background())
	out, in := make(chan datagram, 4096), make(chan datagram, 4096)
	var s *packetSocket
	// send takes one datagram on its way, in one of the directions.
	send := func(way chan<- datagram, b []byte, peer net.Addr) {
		if f.lost() {
			return
		}
		d := datagram{b: append([]byte(nil), b...), peer: peer}
		keep, cut, at := f.touch(d.b)
		d.at = at
		if cut {
			f.CutNow()
		}
		if keep < len(b) {
			return // a part of a datagram is nothing
		}
		select {
		case way <- d:
		default: // the queue of the slow network is full
		}
	}
	s = newPacketSocket(inner.LocalAddr(), func(b []byte, to net.Addr) error {
		send(out, b, to)
		return nil
	})
	s.onEnd = func() {
		cancel()
		inner.SetReadDeadline(time.Unix(1, 0))
	}
	forget := f.onCut(func() { s.end(errCut) })
	deliver := func(way <-chan datagram, to func(datagram)) {
		for {
			select {
			case d := <-way:
				if sleepUntil(ctx, d.at) {
					to(d)
				}
				if ctx.Err() == nil {
					continue
				}
			case <-ctx.Done():
			}
			for { // what is due still leaves: a CONNECTION_CLOSE just before Close
				select {
				case d := <-way:
					if time.Until(d.at) <= 0 {
						to(d)
					}
					continue
				default:
				}
				return
			}
		}
	}
	var both sync.WaitGroup
	both.Go(func() { deliver(out, func(d datagram) { inner.WriteTo(d.b, d.peer) }) })
	both.Go(func() { deliver(in, s.put) })
	both.Go(func() {
		b := make([]byte, 64<<10)
		for {
			n, peer, err := inner.ReadFrom(b)
			if ctx.Err() != nil {
				return
			}
			if err == nil {
				send(in, b[:n], peer)
			}
		}
	})
	wg.Go(func() {
		both.Wait()
		forget()
		inner.Close()
	})
	return s
}

// packetNet is a network of datagrams in memory, without loss or delay of its own.
type packetNet struct {
	mu      sync.Mutex // guards the following
	sockets map[string]*packetSocket
	next    int
}

func newPacketNet() *packetNet { return &packetNet{sockets: make(map[string]*packetSocket)} }

// socket makes one with an address of its own.
func (n *packetNet) socket() *packetSocket {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.next++
	local := &net.UDPAddr{IP: net.IPv4(192, 0, 2, 1), Port: n.next}
	s := newPacketSocket(local, func(b []byte, to net.Addr) error {
		n.mu.Lock()
		defer n.mu.Unlock()
		if peer := n.sockets[to.String()]; peer != nil {
			peer.put(datagram{b: append([]byte(nil), b...), peer: local})
		}
		return nil
	})
	n.sockets[local.String()] = s
	return s
}
