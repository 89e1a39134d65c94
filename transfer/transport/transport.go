package transport

import (
	"context"
	"crypto/x509"
	"net"
	"time"

	"xfer/crypto"
)

// Kind names a transport.
type Kind string

// The transports.
const (
	TCP    Kind = "tcp"
	QUIC   Kind = "quic"
	Memory Kind = "memory"
)

// Conn is one authenticated connection: TLS 1.3 over TCP (one stream in all), QUIC (many), or memory.
// It is usable only after its handshake; Peer is then known. Methods may be called concurrently. Whoever
// got the Conn closes it; closing ends all its streams. The errors are those of the package comment.
type Conn interface {
	Kind() Kind
	// Multiplexed tells whether more than one stream fits on this connection.
	Multiplexed() bool
	// OpenStream returns a new stream. On a TCP connection the dialler's first call returns its only
	// stream and every other call fails with ErrNoMoreStreams. On QUIC it waits, until ctx ends, while the peer
	// allows no further one (32 at a time); the peer learns of the stream with the first bytes written to it.
	OpenStream(ctx context.Context) (Stream, error)
	// AcceptStream returns the next stream that the peer opened. On TCP the acceptor's first call returns the
	// only stream; later calls block until the connection ends.
	AcceptStream(ctx context.Context) (Stream, error)
	Peer() crypto.PeerID
	PeerCertificates() []*x509.Certificate
	// Export derives n bytes bound to this very TLS channel (RFC 8446 7.5, RFC 5705).
	Export(label string, n int) ([]byte, error)
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
	// Close ends the connection for us at once: all that uses it fails with net.ErrClosed. It does not wait, but what
	// was written before still goes out, for at most a second (see the package comment). Code and reason reach the
	// peer where the transport can carry them: QUIC. A second Close does nothing. The error is always nil.
	Close(code uint64, reason string) error
	// Done is closed when the connection has ended, for whatever reason: at the latest about a second after Close,
	// with nothing of it left. A process that cares for its last words waits for it before it exits. A connection
	// that nobody reads from may be dead without showing it.
	Done() <-chan struct{}
}

// Stream is an ordered, reliable pipe in both directions. One goroutine may read while another writes.
type Stream interface {
	Read(p []byte) (int, error)
	Write(p []byte) (int, error)
	// CloseWrite ends our direction after all that was written: the peer reads io.EOF behind it.
	CloseWrite() error
	// Close ends both directions at once, unsent data is dropped unless CloseWrite came before; reads and writes in
	// progress fail. On TCP it ends the connection too.
	Close() error
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

// Listener hands out connections whose handshake is complete. Handshakes run concurrently inside it, each under
// an absolute deadline, so a slow peer delays nobody.
type Listener interface {
	Accept(ctx context.Context) (Conn, error)
	Addr() net.Addr
	// Close stops accepting, ends the handshakes in progress and closes the socket (on QUIC, when the last of its
	// connections has ended); connections already handed out live on. Accept fails with net.ErrClosed.
	Close() error
}
