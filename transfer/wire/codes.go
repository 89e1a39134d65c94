package wire

import (
	"fmt"
	"strconv"
)

// Code is an error code on the wire. The upper byte is its class, which alone says what the other side does about
// it, so that a code of a later version can be acted upon without being known.
type Code uint16

// Class 1, retry now: the transfer goes on inside the session, or after a redial.
const (
	CodeStreamLost Code = 0x0101 + iota // a data stream ended early
	CodeGoAway                          // the server said GOAWAY; open the transfer in a new session
	CodeChunkBad                        // NACK: the bytes of a chunk do not have the CV that came with them
	CodeFenced                          // a newer attempt has taken the transfer over
	CodeTimeout                         // an answer was not there in time
)

// Class 2, retry later: something there must change first; Error.RetryAfterMS may say when.
const (
	CodeBusy        Code = 0x0201 + iota // somebody else is at it, or a limit of connections is reached
	CodeNoSpace                          // the disk is full
	CodeQuota                            // the principal's quota is used up
	CodeRate                             // too many requests
	CodeServerLimit                      // too many transfers or streams
	CodeIOError                          // the disk failed
	CodeDraining                         // the server is about to stop
)

// Class 3, restart the transfer with a new look at the source, a few times.
const (
	CodeSourceChanged Code = 0x0301 + iota // the source changed while it was read
	CodeRootMismatch                       // what is held does not have the committed root
	CodeStageLost                          // what was held is gone
)

// Class 4, permanent for this request.
const (
	CodeDenied      Code = 0x0401 + iota // no right to do that
	CodeBadPath                          // a name that the protocol does not allow
	CodeExists                           // it is there and may not be replaced
	CodeUnsupported                      // a message, key or value that the receiver does not know
	CodeTooBig                           // larger than the receiver takes
	CodeNotFound                         // no such file, directory or root
	CodeBadName                          // a name that the file system there does not take
	CodeIsDir                            // a directory is in the way
	CodeNotDir                           // something that is no directory is in the way
	CodeNotEmpty                         // the directory is not empty
	CodeInternal                         // a fault of the other side
)

// Class 5, the session is over.
const (
	CodeProtocol Code = 0x0501 + iota // bytes or an order of messages that PROTOCOL.md does not allow
	CodeLimit                         // a length or a count above the limit
	CodeAuth                          // the principal is unknown, or a proof is wrong
	CodeVersion                       // no common version
	CodeRevoked                       // the principal was removed
	CodeExpired                       // the peer's certificate or permission has ended
)

// The classes of codes.
const (
	ClassRetry     = 1
	ClassLater     = 2
	ClassRestart   = 3
	ClassPermanent = 4
	ClassSession   = 5
)

// Class returns the class of c, 1 to 5, also for a code that is not known here; 0 where c has none.
func (c Code) Class() uint8 {
	if class := uint8(c >> 8); class >= ClassRetry && class <= ClassSession {
		return class
	}
	return 0
}

// codeNames has the names by class and by the lower byte less one.
var codeNames = [...][]string{
	ClassRetry:     {"STREAM_LOST", "GOAWAY", "CHUNK_BAD", "FENCED", "TIMEOUT"},
	ClassLater:     {"BUSY", "NO_SPACE", "QUOTA", "RATE", "SERVER_LIMIT", "IO_ERROR", "DRAINING"},
	ClassRestart:   {"SOURCE_CHANGED", "ROOT_MISMATCH", "STAGE_LOST"},
	ClassPermanent: {"DENIED", "BAD_PATH", "EXISTS", "UNSUPPORTED", "TOO_BIG", "NOT_FOUND", "BAD_NAME", "IS_DIR", "NOT_DIR", "NOT_EMPTY", "INTERNAL"},
	ClassSession:   {"PROTOCOL", "LIMIT", "AUTH", "VERSION", "REVOKED", "EXPIRED"},
}

// String returns the name of c as in PROTOCOL.md, or its number in hex.
func (c Code) String() string {
	names := codeNames[c.Class()]
	if i := int(c&0xff) - 1; i >= 0 && i < len(names) {
		return names[i]
	}
	return "0x" + strconv.FormatUint(0x10000|uint64(c), 16)[1:]
}

// CodeByName returns the code with this name, as String gives it.
func CodeByName(name string) (Code, bool) {
	for class, names := range codeNames {
		for i, n := range names {
			if n == name {
				return Code(class<<8 + i + 1), true
			}
		}
	}
	return 0, false
}

// ProtocolError is what every decoding failure is, and what the peer is told: CodeProtocol, CodeLimit,
// CodeUnsupported or CodeBadPath. After the latter two the stream is still at the border of a frame and the session may
// go on; after the former two it may not. Msg may quote bytes of the peer, escaped, never more than a few.
type ProtocolError struct {
	Code Code
	Msg  string
}

func (e *ProtocolError) Error() string { return e.Msg + " (" + e.Code.String() + ")" }

func errf(c Code, format string, args ...any) error {
	return &ProtocolError{Code: c, Msg: fmt.Sprintf(format, args...)}
}
