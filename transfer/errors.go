package transfer

import (
	"errors"
	"fmt"
)

// Kind says what sort of failure an Error is; retrying and exit codes depend on it alone, never on text.
type Kind uint8

// The kinds, each with its exit code of CLI.md.
const (
	KindOther         Kind = iota // 1
	KindUsage                     // 2
	KindNotFound                  // 3
	KindDenied                    // 4 rights
	KindExists                    // 4 append-only, no-clobber, conflict
	KindTrust                     // 5
	KindUnreachable               // 10 network, after all retries
	KindBusy                      // 10 the peer is at a limit, after all retries
	KindLocalIO                   // 11
	KindProtocol                  // 12
	KindInterrupted               // 20
	KindPartial                   // 23 some files failed
	KindVanished                  // 24 some source files vanished
	KindVerify                    // 26
	KindSourceChanged             // 27
	KindNoSpace                   // 28
	KindStalled                   // 30
	KindRemoteIO                  // 1 the peer's disk
	KindMaxDelete                 // 25 more would be deleted than is allowed
)

// Error is a failure with what was being done, to what, and of which kind.
type Error struct {
	Op   string // "open", "read", "dial", "publish" ...
	Path string // raw bytes; quote before printing. May be empty
	Kind Kind
	Err  error
}

func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("%s %q: %v", e.Op, e.Path, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of err, KindOther where it is no *Error.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindOther
}
