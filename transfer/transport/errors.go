package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"reflect"
	"strings"

	"xfer/crypto"
)

// ErrNoMoreStreams is returned by OpenStream of a connection that can carry no further stream.
var ErrNoMoreStreams = errors.New("the connection carries one stream only")

// NetError is a failure of the network or of the peer's machine: trying again may help. Unwrap gives the cause, but
// never net.ErrClosed, which is for what we closed ourselves.
type NetError struct {
	Op   string // "dial", "handshake", "open", "accept", "read", "write"
	Kind Kind
	Addr string // of the peer, may be empty
	Err  error
}

func (e *NetError) Error() string { return describe(e.Op, e.Kind, e.Addr, e.Err) }

// Unwrap returns the cause.
func (e *NetError) Unwrap() error { return e.Err }

// Timeout tells whether the failure is a silence: of the handshake, of a live connection, or of a lookup.
func (e *NetError) Timeout() bool {
	var t interface{ Timeout() bool }
	return errors.As(e.Err, &t) && t.Timeout()
}

// TLSError says that the two sides could not agree in the handshake, which a TLS 1.3 client may hear only with its
// first read. The cause is what crypto.IsTrustError and crypto.IsVersionError know; the peer's alert is found as
// tls.AlertError whatever the transport.
type TLSError struct {
	Op   string
	Kind Kind
	Addr string
	Err  error
}

func (e *TLSError) Error() string { return describe(e.Op, e.Kind, e.Addr, e.Err) }

// Unwrap returns the cause.
func (e *TLSError) Unwrap() error { return e.Err }

func describe(op string, kind Kind, addr string, err error) string {
	var b strings.Builder
	b.WriteString(op)
	if kind != "" {
		b.WriteString(" " + string(kind))
	}
	if addr != "" {
		b.WriteString(" " + addr)
	}
	fmt.Fprintf(&b, ": %v", err)
	return b.String()
}

// CloseError says that the peer closed the connection, with the code and the reason of its Close. Reason is text
// from the peer: quote it before printing.
type CloseError struct {
	Code   uint64
	Reason string
}

func (e *CloseError) Error() string {
	if e.Reason == "" {
		return fmt.Sprintf("the peer closed the connection (code %d)", e.Code)
	}
	return fmt.Sprintf("the peer closed the connection (code %d): %q", e.Code, e.Reason)
}

// silence is a cause without a text of the system: nothing came for too long.
type silence string

func (e silence) Error() string { return string(e) }
func (e silence) Timeout() bool { return true }

// opaque keeps the text of an error whose chain must not be seen, since it contains net.ErrClosed.
type opaque string

func (e opaque) Error() string { return string(e) }

// place is where an error happened.
type place struct {
	kind Kind
	addr string
}

// wrap turns whatever err a transport gave into one of the errors that the package promises.
func (p place) wrap(op string, err error) error {
	var ne *NetError
	var te *TLSError
	var alert tls.AlertError
	switch {
	case err == nil, err == io.EOF, errors.As(err, &ne), errors.As(err, &te):
		return err
	case crypto.IsTrustError(err), crypto.IsVersionError(err):
		return &TLSError{op, p.kind, p.addr, withAlert(err)}
	case errors.As(err, &alert):
		return &NetError{op, p.kind, p.addr, err}
	case isForeign(err):
		return &TLSError{op, p.kind, p.addr, err}
	case errors.Is(err, net.ErrClosed):
		// The owner of the connection knows whether we closed it, and has said net.ErrClosed already.
		return &NetError{op, p.kind, p.addr, opaque(err.Error())}
	}
	return &NetError{op, p.kind, p.addr, trim(err)}
}

// isForeign tells whether the peer does not speak TLS 1.3, as a tls.Conn says it: in words only.
func isForeign(err error) bool {
	var record tls.RecordHeaderError
	return errors.As(err, &record) && record.Conn != nil || strings.Contains(err.Error(), "unsupported protocol version")
}

// trim drops the addresses and system calls that package net adds, since we say what we did ourselves.
func trim(err error) error {
	op, ok := err.(*net.OpError)
	if !ok || op.Err == nil || op.Op == "remote error" || op.Op == "local error" { // the latter two are of tls.Conn
		return err
	}
	if sys, ok := op.Err.(*os.SyscallError); ok && sys.Err != nil {
		return sys.Err
	}
	return op.Err
}

// withAlert makes the alert that a tls.Conn received visible as tls.AlertError: it hands it out as an unexported
// type of the same kind.
func withAlert(err error) error {
	var alert tls.AlertError
	var op *net.OpError
	if errors.As(err, &alert) || !errors.As(err, &op) || op.Op != "remote error" || op.Err == nil {
		return err
	}
	if v := reflect.ValueOf(op.Err); v.Kind() == reflect.Uint8 {
		return refused(tls.AlertError(v.Uint()))
	}
	return err
}

// refused is what we say of an alert that the peer sent.
func refused(a tls.AlertError) error { return fmt.Errorf("refused by the peer: %w", a) }

// isDeadline tells whether err is the end of a deadline set by the user of a stream.
func isDeadline(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// ofContext gives the error of an operation that ended since ctx did: its cause, or err where ctx still lives.
func ofContext(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		if err == nil || errors.Is(err, ctx.Err()) || errors.Is(err, cause) || isDeadline(err) {
			return cause
		}
		return fmt.Errorf("%w (%w)", cause, trim(err))
	}
	return err
}
