package transport

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// lowConn is what tls.Conn sees of a connection: without the deadlines, which are set below TLS by us alone (tls.Conn
// would give its close_notify five seconds, whatever the user of the stream wants), noticing an EOF that no
// close_notify announced, and with many records of one Write in one system call.
type lowConn struct {
	net.Conn
	first []byte // already read; read again first
	eof   atomic.Bool

	mu       sync.Mutex // guards the following, and is held while writing
	together bool       // records are collected in out
	out      []byte     // made by the first large Write
	broken   error      // of a write: what went out is cut somewhere, so nothing may follow
}

const (
	recordPayload = 16 << 10 // of a TLS record, at most
	// togetherBytes is what goes to the kernel at once: a DATA frame with the overhead of its records. A system call for
	// each record costs twice the CPU, at both ends.
	togetherBytes = 264 << 10
)

func (l *lowConn) Read(p []byte) (int, error) {
	if len(l.first) > 0 && len(p) > 0 {
		n := copy(p, l.first)
		l.first = l.first[n:]
		return n, nil
	}
	n, err := l.Conn.Read(p)
	if n == 0 && err == io.EOF {
		l.eof.Store(true)
	}
	return n, err
}

// Write writes a record, or keeps it until flush.
func (l *lowConn) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return 0, l.broken
	}
	if !l.together {
		return l.write(p)
	}
	if len(l.out)+len(p) > cap(l.out) {
		if err := l.writeOut(); err != nil {
			return 0, err
		}
	}
	if len(p) > cap(l.out) {
		return l.write(p)
	}
	l.out = append(l.out, p...)
	return len(p), nil
}

// collect begins to keep records, those of other goroutines too. Nothing may be kept before the handshake is over, nor
// when nobody is about to flush: the peer would wait for it.
func (l *lowConn) collect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.out == nil {
		l.out = make([]byte, 0, togetherBytes)
	}
	l.together = true
}

// flush writes what was kept. After an error every write fails.
func (l *lowConn) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.together = false
	if l.broken != nil {
		return l.broken
	}
	return l.writeOut()
}

func (l *lowConn) writeOut() error {
	if len(l.out) == 0 {
		return nil
	}
	_, err := l.write(l.out)
	l.out = l.out[:0]
	return err
}

func (l *lowConn) write(p []byte) (int, error) {
	n, err := l.Conn.Write(p)
	l.broken = err
	return n, err
}

func (l *lowConn) SetDeadline(time.Time) error      { return nil }
func (l *lowConn) SetReadDeadline(time.Time) error  { return nil }
func (l *lowConn) SetWriteDeadline(time.Time) error { return nil }

// writeRecords writes p, the records of it together. Where that fails n is 0: how much of it was read by the peer nobody
// knows. wmu is held.
func (t *tcpConn) writeRecords(p []byte) (n int, err error) {
	if len(p) <= recordPayload {
		return t.tls.Write(p)
	}
	t.low.collect()
	n, err = t.tls.Write(p)
	if ferr := t.low.flush(); ferr != nil {
		return 0, ferr
	}
	return n, err
}
