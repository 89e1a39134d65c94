package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
	"unicode/utf8"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/sink"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// Errors cross the wire as numbers: wireError and errorOf are the two directions. No local path and no text of
// the operating system beyond the errno's own goes to the peer.

// PeerError is what the peer said went wrong there.
type PeerError struct {
	Code       wire.Code
	Text       string
	RetryAfter time.Duration
}

func (e *PeerError) Error() string {
	if e.Text == "" {
		return e.Code.String()
	}
	return fmt.Sprintf("%s (%s)", e.Text, e.Code)
}

// errSourceChanged is beneath each error that a new attempt with a new look at the source may mend (class 3).
var errSourceChanged = errors.New("the source changed while it was read")

var kindOfCode = map[wire.Code]Kind{
	wire.CodeStreamLost: KindUnreachable, wire.CodeGoAway: KindBusy, wire.CodeChunkBad: KindVerify,
	wire.CodeFenced: KindExists, wire.CodeTimeout: KindUnreachable,
	wire.CodeBusy: KindBusy, wire.CodeNoSpace: KindNoSpace, wire.CodeQuota: KindNoSpace, wire.CodeRate: KindBusy,
	wire.CodeServerLimit: KindBusy, wire.CodeIOError: KindRemoteIO, wire.CodeDraining: KindBusy,
	wire.CodeSourceChanged: KindSourceChanged, wire.CodeRootMismatch: KindSourceChanged, wire.CodeStageLost: KindSourceChanged,
	wire.CodeDenied: KindDenied, wire.CodeBadPath: KindDenied, wire.CodeExists: KindExists,
	wire.CodeUnsupported: KindProtocol, wire.CodeTooBig: KindDenied, wire.CodeNotFound: KindNotFound,
	wire.CodeBadName: KindDenied, wire.CodeIsDir: KindExists, wire.CodeNotDir: KindExists, wire.CodeNotEmpty: KindExists,
	wire.CodeInternal: KindOther,
	wire.CodeProtocol: KindProtocol, wire.CodeLimit: KindProtocol, wire.CodeAuth: KindTrust, wire.CodeVersion: KindProtocol,
	wire.CodeRevoked: KindTrust, wire.CodeExpired: KindTrust,
}

// errorOf makes the error for an ERROR frame. An unknown code is KindOther.
func errorOf(e wire.Error) error {
	pe := &PeerError{Code: e.Code, Text: e.Text, RetryAfter: time.Duration(e.RetryAfterMS) * time.Millisecond}
	kind, ok := kindOfCode[e.Code]
	if !ok {
		kind = KindOther
	}
	return &Error{Op: "peer", Kind: kind, Err: pe}
}

// wireError makes the ERROR frame for err.
func wireError(err error) wire.Error {
	code, text := codeOf(err)
	m := wire.Error{Code: code, Class: code.Class(), Text: clip(text)}
	var busy *BusyError
	if errors.As(err, &busy) {
		m.RetryAfterMS = uint64(max(busy.RetryAfter, 0) / time.Millisecond)
	}
	return m
}

func clip(s string) string {
	if !utf8.ValidString(s) {
		s = fmt.Sprintf("%q", s)
	}
	if len(s) > 400 {
		s = s[:400]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return s
}

func codeOf(err error) (wire.Code, string) {
	var (
		we    *wire.ProtocolError
		pe    *PeerError
		errno syscall.Errno
		te    *Error
		se    *sink.SyncError
	)
	switch {
	case errors.As(err, &we):
		return we.Code, we.Error()
	case errors.As(err, &pe):
		return pe.Code, pe.Text
	case errors.Is(err, errSourceChanged):
		return wire.CodeSourceChanged, "the source changed while it was read"
	case errors.Is(err, sink.ErrFenced):
		return wire.CodeFenced, "another run sends the same file; the newest goes on"
	case errors.Is(err, sink.ErrBusy):
		return wire.CodeBusy, "somebody else writes to that stage"
	case errors.Is(err, sink.ErrChunkBad):
		return wire.CodeChunkBad, "a chunk does not have the hash that came with it"
	case errors.Is(err, sink.ErrSourceChanged):
		return wire.CodeSourceChanged, "a chunk came twice with different content"
	case errors.Is(err, sink.ErrRootMismatch), errors.Is(err, sink.ErrMissing):
		return wire.CodeRootMismatch, "what is here is not what was committed"
	case errors.Is(err, sink.ErrStageLost):
		return wire.CodeStageLost, "what was held of the file is gone"
	case errors.Is(err, sink.ErrRange):
		return wire.CodeProtocol, "outside of the file"
	case errors.Is(err, sink.ErrDenied):
		return wire.CodeDenied, "no right to do that"
	case errors.Is(err, sink.ErrBadPath):
		return wire.CodeBadPath, "that name is not allowed, or it leads out of the root"
	case errors.Is(err, tree.ErrDangling):
		return wire.CodeNotFound, tree.ErrDangling.Error()
	case errors.Is(err, tree.ErrOutside):
		return wire.CodeBadPath, tree.ErrOutside.Error()
	case errors.Is(err, tree.ErrLoop):
		return wire.CodeBadPath, tree.ErrLoop.Error()
	case errors.Is(err, durable.ErrXAttrs):
		return wire.CodeIOError, durable.ErrXAttrs.Error()
	case errors.Is(err, durable.ErrNotRegular):
		return wire.CodeBadPath, "it is no regular file"
	case errors.Is(err, sink.ErrIsDir):
		return wire.CodeIsDir, "it is a directory"
	case errors.Is(err, sink.ErrNotDir):
		return wire.CodeNotDir, "something that is no directory is in the way"
	case errors.Is(err, sink.ErrTooBig):
		return wire.CodeTooBig, "larger than can be received"
	case errors.Is(err, sink.ErrMoved): // before what it wraps
		return wire.CodeIOError, "the directory of this root was moved, removed or mounted over; its daemon must be restarted"
	case errors.As(err, &se):
		return wire.CodeIOError, "a sync to disk failed; nothing is called durable"
	case errors.Is(err, fs.ErrNotExist):
		return wire.CodeNotFound, "no such file or directory"
	case errors.Is(err, fs.ErrExist) && !errors.Is(err, syscall.ENOTEMPTY):
		return wire.CodeExists, "it exists and may not be replaced"
	case errors.As(err, &te):
		switch te.Kind {
		case KindBusy:
			return wire.CodeBusy, te.Err.Error()
		case KindTrust:
			return wire.CodeAuth, te.Err.Error()
		case KindDenied:
			return wire.CodeDenied, te.Err.Error()
		case KindNotFound:
			return wire.CodeNotFound, te.Err.Error()
		case KindProtocol:
			return wire.CodeProtocol, te.Err.Error()
		case KindRemoteIO:
			return wire.CodeIOError, te.Err.Error()
		}
	}
	if errors.As(err, &errno) {
		switch errno {
		case syscall.ENOSPC:
			return wire.CodeNoSpace, "no space left on the device"
		case syscall.EDQUOT:
			return wire.CodeQuota, "disk quota exceeded"
		case syscall.ENOTDIR:
			return wire.CodeNotDir, "something that is no directory is in the way"
		case syscall.EISDIR:
			return wire.CodeIsDir, "it is a directory"
		case syscall.ENOTEMPTY:
			return wire.CodeNotEmpty, "the directory is not empty"
		case syscall.EACCES, syscall.EPERM:
			return wire.CodeDenied, "permission denied by the file system there"
		case syscall.ENAMETOOLONG, syscall.EINVAL, syscall.EILSEQ:
			return wire.CodeBadName, errno.Error()
		case syscall.EFBIG:
			return wire.CodeTooBig, errno.Error()
		case syscall.ELOOP, syscall.EXDEV:
			return wire.CodeBadPath, "the path leads out of the root or in a loop"
		}
		return wire.CodeIOError, errno.Error()
	}
	var path *fs.PathError
	if errors.As(err, &path) && path.Err != nil && path.Err.Error() == "path escapes from parent" {
		return wire.CodeBadPath, "the path leads out of the root"
	}
	if errors.Is(err, context.Canceled) {
		return wire.CodeDraining, "the transfer was stopped"
	}
	return wire.CodeInternal, "internal error"
}

// netError wraps an error of the transport as retryable, or as what it really is.
func netError(op string, err error) error {
	var te *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &te):
		return err
	case crypto.IsTrustError(err):
		return &Error{Op: op, Kind: KindTrust, Err: err}
	case crypto.IsVersionError(err):
		return &Error{Op: op, Kind: KindProtocol, Err: err}
	}
	return &Error{Op: op, Kind: KindUnreachable, Err: err}
}

// readError sorts what ended a reader: a broken protocol, or a broken connection.
func readError(err error) error {
	var pe *wire.ProtocolError
	if errors.As(err, &pe) {
		return err
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) {
		return &Error{Op: "read", Kind: KindUnreachable, Err: errors.New("the peer closed the connection")}
	}
	return netError("read", err)
}

// localError gives a failure of our own disk its kind.
func localError(op, path string, err error) error {
	var te *Error
	if errors.As(err, &te) {
		return err
	}
	kind := KindLocalIO
	switch {
	case errors.Is(err, fs.ErrNotExist):
		kind = KindNotFound
	case errors.Is(err, errSourceChanged), errors.Is(err, sink.ErrSourceChanged), errors.Is(err, sink.ErrRootMismatch):
		kind = KindSourceChanged
	case errors.Is(err, sink.ErrMissing), errors.Is(err, sink.ErrChunkBad): // the other side's fault
		kind = KindVerify
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		kind = KindNoSpace
	case errors.Is(err, fs.ErrExist), errors.Is(err, sink.ErrIsDir), errors.Is(err, sink.ErrNotDir):
		kind = KindExists
	case errors.Is(err, sink.ErrFenced), errors.Is(err, sink.ErrBusy):
		kind = KindExists
	case errors.Is(err, sink.ErrDenied), errors.Is(err, sink.ErrBadPath):
		kind = KindDenied
	}
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return &Error{Op: op, Path: path, Kind: kind, Err: err}
}

// fileError is the failure of one file, whatever err is.
func fileError(err error, path string) *Error {
	err = withPath(err, path)
	var te *Error
	if !errors.As(err, &te) {
		te = localError("transfer", path, err).(*Error)
	}
	return te
}

// withPath adds the file's name to an error that lacks one.
func withPath(err error, path string) error {
	var te *Error
	if errors.As(err, &te) && te.Path == "" {
		c := *te
		c.Path = path
		return &c
	}
	return err
}
