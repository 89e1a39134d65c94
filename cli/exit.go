package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"xfer/crypto"
	"xfer/transfer"
	"xfer/transfer/wire"
)

// The exit codes, as in the package comment. Scripts rely on them.
const (
	exitOK            = 0
	exitError         = 1
	exitUsage         = 2
	exitNotFound      = 3
	exitRefused       = 4
	exitTrust         = 5
	exitUnreachable   = 10
	exitLocalIO       = 11
	exitProtocol      = 12
	exitInterrupted   = 20
	exitPartial       = 23
	exitVanished      = 24
	exitMaxDelete     = 25
	exitVerify        = 26
	exitSourceChanged = 27
	exitNoSpace       = 28
	exitStalled       = 30
	exitStopped       = 40
	exitLocked        = 75
)

// exitInfo is what there is to say of an exit code.
type exitInfo struct {
	code      int
	class     string
	meaning   string
	retryable bool
	next      string // what to do, for explain and as the hint of last resort
}

// exitTable lists the codes in order.
func exitTable() []exitInfo {
	return []exitInfo{
		{exitOK, "ok", "everything is at the destination, verified and durable", false, ""},
		{exitError, "error", "an error that has no code of its own", false, "run it again with -v; for a fault of the other side's disk look at the daemon's log there"},
		{exitUsage, "usage", "the command line or the configuration is wrong; nothing was done", false, "see xfer VERB --help"},
		{exitNotFound, "not-found", "the source is missing or the destination cannot be selected; nothing was moved", false, "see what is there with xfer ls HOST:/"},
		{exitRefused, "refused", "the other side does not allow it: rights, a name that is taken, append-only, --no-clobber", false, "see your rights with xfer ls HOST:/, or ask for an invitation with more of them"},
		{exitTrust, "trust", "the other side is unknown, its key or certificate changed, or enrolment failed", false, "see the keys with xfer trust ls and xfer id; a new pair is made by xfer invite there and xfer enroll HOST here"},
		{exitUnreachable, "unreachable", "the host could not be reached or kept refusing until --retry-for was over", true, "see what is wrong with xfer doctor HOST; the same command goes on"},
		{exitLocalIO, "local-io", "a local file could not be read or written", false, "see to the file and run the same command again"},
		{exitProtocol, "protocol", "the other side is no xfer, or one too old or too new", false, "compare xfer version on both sides, and the port"},
		{exitInterrupted, "interrupted", "stopped by a signal; what had arrived is kept", true, "the same command goes on"},
		{exitPartial, "partial", "some files failed, the rest arrived", false, "see to the files that were named and run the same command again"},
		{exitVanished, "vanished", "some source files vanished meanwhile, the rest arrived", false, "nothing, if they were meant to go"},
		{exitMaxDelete, "max-delete", "--max-delete stopped the deletions", false, "look whether the source is what you think, then raise --max-delete"},
		{exitVerify, "verify", "contents differ, or verification failed", false, "send what differs again; if it comes back, suspect memory or disk"},
		{exitSourceChanged, "source-changed", "the source kept changing while it was read; the old version at the destination was kept", false, "send a snapshot of it, or when it is quiet"},
		{exitNoSpace, "no-space", "no space or quota at the target", true, "make room there; the same command goes on"},
		{exitStalled, "stalled", "connected, but no progress within --timeout and --retry-for", true, "the same command goes on; see xfer doctor HOST"},
		{exitStopped, "stopped", "stopped by --max-duration or --stop-at", true, "the same command goes on"},
		{exitLocked, "locked", "another run of the same source and destination is at work", true, "wait for it"},
	}
}

func exitInfoOf(code int) exitInfo {
	for _, e := range exitTable() {
		if e.code == code {
			return e
		}
	}
	return exitInfo{code: code, class: "error", meaning: "unknown"}
}

// codeOfKind maps the engine's kinds to exit codes. A kind that it does not know is a plain error.
func codeOfKind(k transfer.Kind) int {
	switch k {
	case transfer.KindUsage:
		return exitUsage
	case transfer.KindNotFound:
		return exitNotFound
	case transfer.KindDenied, transfer.KindExists:
		return exitRefused
	case transfer.KindTrust:
		return exitTrust
	case transfer.KindUnreachable, transfer.KindBusy:
		return exitUnreachable
	case transfer.KindLocalIO:
		return exitLocalIO
	case transfer.KindProtocol:
		return exitProtocol
	case transfer.KindInterrupted:
		return exitInterrupted
	case transfer.KindPartial:
		return exitPartial
	case transfer.KindVanished:
		return exitVanished
	case transfer.KindVerify:
		return exitVerify
	case transfer.KindSourceChanged:
		return exitSourceChanged
	case transfer.KindNoSpace:
		return exitNoSpace
	case transfer.KindStalled:
		return exitStalled
	case transfer.KindMaxDelete:
		return exitMaxDelete
	}
	return exitError
}

// cliError is a failure of this side with its exit code and, where one is known, what to do next.
type cliError struct {
	code  int
	err   error
	hint  string // noHint: the text says it all
	local bool   // it is about this machine, so the host is not named
	// detail is shown on lines of its own below the message: the place of a fault in the configuration.
	detail string
}

func (e *cliError) Error() string { return e.err.Error() }
func (e *cliError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &cliError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

func failf(code int, hint, format string, args ...any) error {
	return &cliError{code: code, err: fmt.Errorf(format, args...), hint: hint}
}

// localIO wraps an error of a local file.
func localIO(err error) error {
	if err == nil {
		return nil
	}
	return &cliError{code: exitLocalIO, err: err}
}

// exitCodeOf returns the exit code of a run that ended with err.
func exitCodeOf(err error) int {
	if err == nil {
		return exitOK
	}
	var ce *cliError
	var te *transfer.Error
	switch {
	case errors.As(err, &ce):
		return ce.code
	case errors.As(err, &te):
		if te.Kind != transfer.KindOther || !isInterrupt(err) {
			return codeOfKind(te.Kind)
		}
		return exitInterrupted
	case isInterrupt(err):
		return exitInterrupted
	}
	return exitError
}

func isInterrupt(err error) bool {
	var sig *signalError
	return errors.As(err, &sig) || errors.Is(err, context.Canceled)
}

// message is the one line for stderr: what failed, which file and host, why, what next. It is safe to print.
func message(verb, host string, err error) string {
	code := exitCodeOf(err)
	var b strings.Builder
	b.WriteString("xfer")
	if verb != "" {
		b.WriteString(" " + verb)
	}
	b.WriteString(": ")
	var ce *cliError
	if errors.As(err, &ce) && ce.local {
		host = ""
	}
	var te *transfer.Error
	if errors.As(err, &te) {
		b.WriteString(engineText(te, host))
	} else {
		text := causeText(err)
		b.WriteString(text)
		if host != "" && code != exitUsage && !strings.Contains(text, host) {
			b.WriteString(" (host " + quote(host) + ")")
		}
	}
	if next := nextStep(verb, code, host, err); next != "" {
		b.WriteString("; " + next)
	}
	return clean(b.String())
}

func engineText(e *transfer.Error, host string) string {
	if e.Op == "peer" && e.Err != nil { // the other side's own words
		from := "the other side"
		if host != "" {
			from = quote(host)
		}
		text := from + " answers: " + causeText(e.Err)
		if e.Path != "" {
			text = quote(e.Path) + ": " + text
		}
		return text
	}
	var parts []string
	if e.Op != "" {
		parts = append(parts, e.Op)
	}
	if e.Path != "" {
		parts = append(parts, quote(e.Path))
	}
	head := strings.Join(parts, " ")
	why := "failed"
	if e.Err != nil {
		why = causeText(e.Err)
	}
	if host != "" && !strings.Contains(head+why, host) {
		if head == "" {
			head = "host " + quote(host)
		} else {
			head += " (host " + quote(host) + ")"
		}
	}
	if head == "" {
		return why
	}
	return head + ": " + why
}

// causeText is err in words. Several errors become one line.
func causeText(err error) string {
	var pe *fs.PathError
	if e, ok := err.(*cliError); ok {
		return causeText(e.err)
	}
	if errors.As(err, &pe) && err == error(pe) {
		return pe.Op + " " + quote(pe.Path) + ": " + pe.Err.Error()
	}
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' }), "; ")
}

// nextStep says what to do about err.
func nextStep(verb string, code int, host string, err error) string {
	var ce *cliError
	if errors.As(err, &ce) && ce.hint != "" {
		return strings.TrimPrefix(ce.hint, noHint)
	}
	at := "HOST"
	if host != "" {
		at = quote(host)
	}
	switch code {
	case exitNotFound:
		if host != "" && fromPeer(err) {
			return "see what is there: xfer ls " + at + ":/"
		}
	case exitRefused:
		if transfer.KindOf(err) == transfer.KindExists {
			if verb == "rm" {
				return "nothing was removed; -r removes a directory with all that is in it"
			}
			if verb == "cat" || verb == "hash" || verb == "ls" || verb == "stat" {
				return "" // these replace nothing anyway
			}
			return "nothing was replaced"
		}
		var pe *transfer.PeerError
		if !errors.As(err, &pe) || pe.Code == wire.CodeBadPath {
			return "" // it is about our own disk, or no right would help
		}
		return "see your rights: xfer ls " + at + ":/"
	case exitTrust:
		return trustStep(verb, at, err)
	case exitUnreachable:
		return "see what is wrong: xfer doctor " + at + "; the same command goes on"
	case exitProtocol:
		return "compare xfer version on both sides, and the port"
	case exitInterrupted:
		if verb == "send" || verb == "get" || verb == "sync" {
			return "what had arrived is kept: the same command goes on"
		}
		return "run it again"
	case exitMaxDelete:
		return "look at the plan with -n; if it is right, raise --max-delete"
	case exitPartial:
		switch {
		case errors.Is(err, transfer.ErrSourceEmpty):
			return "if there is nothing to keep: xfer rm -r"
		case errors.Is(err, transfer.ErrMountGone):
			return "mount it; if it is gone for good, sync once without --delete"
		}
		return "see to these files and run the same command again"
	case exitSourceChanged:
		return "the old version was kept: send it when it is quiet"
	case exitNoSpace:
		if !fromPeer(err) {
			return "make room here: the same command goes on"
		}
		return "make room there: the same command goes on"
	case exitStalled:
		return "the same command goes on; see xfer doctor " + at
	case exitLocalIO:
		if errors.Is(err, syscall.ENOSPC) {
			return "make room here: the same command goes on"
		}
	}
	return ""
}

// fromPeer tells whether err is of the other side: what it said, or what of its roots and directories we found out ourselves.
func fromPeer(err error) bool {
	var pe *transfer.PeerError
	var te *transfer.Error
	return errors.As(err, &pe) || errors.As(err, &te) && (te.Op == "root" || te.Op == "send to")
}

// trustStep says what to do where one side does not trust the other.
func trustStep(verb, host string, err error) string {
	var pin *crypto.PinError
	var cert *crypto.CertError
	switch {
	case verb == "enroll":
		return "get a new code: xfer invite --name NAME there"
	case errors.As(err, &pin):
		return "somebody may be in between; if the key was changed on purpose: xfer trust rm " + host + ", then xfer enroll " + host
	case errors.As(err, &cert):
		return "check the clocks of both sides"
	}
	return "to enroll again: xfer invite --name NAME there, xfer enroll " + host + " here"
}
