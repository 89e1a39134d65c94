// Package transport carries authenticated streams of bytes over TLS 1.3: on TCP, where a connection is one stream; on
// QUIC, where a connection carries many; and over any [net.Conn] given from outside. It knows who the peer is and
// nothing about files or messages.
//
// A client calls [Race], or [DialTCP] and [DialQUIC]; a server [Listen], or [ListenTCP] and [ListenQUIC]. The TLS
// configurations come from package crypto. [NewTCPConn] makes a Conn of any [net.Conn], which is how tests put it over
// [net.Pipe] with virtual time.
//
// # Errors
//
// Reads, writes and dials fail with
//   - [io.EOF]: the peer ended its direction in the protocol's own way. A connection that was merely cut is never io.EOF;
//   - [os.ErrDeadlineExceeded]: a deadline set on the stream (on TCP a write that timed out leaves the stream unusable);
//   - [net.ErrClosed]: closed by ourselves;
//   - [*TLSError]: the two sides do not trust or understand each other, see crypto.IsTrustError and
//     crypto.IsVersionError. Trying again does not help;
//   - [*NetError]: everything else, the network or the peer is gone. Trying again may help. When the peer closed the
//     connection and said why, a [*CloseError] is beneath it;
//   - [*RaceError]: every attempt of a Race failed; it holds their errors.
//
// A TLS 1.3 client's handshake succeeds before the server has judged the client's certificate: the refusal comes with
// the first read. Nothing that matters should leave a client before the server has said something.
//
// # Closing
//
// What was written before Conn.Close reaches a peer that reads it: the connection ends in the background, at the
// latest after a second (on QUIC and four round trips), and Done tells when. On TCP we send close_notify and FIN, then read and drop what still comes
// (at most 256 KiB), so that no unread byte makes the kernel send a reset that would overtake our data. On QUIC a
// CONNECTION_CLOSE makes the peer drop what it has not read yet, so we end our directions (FIN), open one
// unidirectional stream with nothing in it to say that nobody reads here any more, and send CONNECTION_CLOSE when the
// peer has closed, has said the same, or the second is over. A peer that does not know this only makes us wait.
package transport
