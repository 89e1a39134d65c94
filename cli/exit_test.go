package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"xfer/transfer"
)

func TestExitCodes(t *testing.T) {
	kind := func(k transfer.Kind) error { return &transfer.Error{Op: "x", Kind: k, Err: errors.New("why")} }
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{usagef("x"), 2},
		{kind(transfer.KindOther), 1},
		{kind(transfer.KindUsage), 2},
		{kind(transfer.KindNotFound), 3},
		{kind(transfer.KindDenied), 4},
		{kind(transfer.KindExists), 4},
		{kind(transfer.KindTrust), 5},
		{kind(transfer.KindUnreachable), 10},
		{kind(transfer.KindBusy), 10},
		{kind(transfer.KindLocalIO), 11},
		{kind(transfer.KindProtocol), 12},
		{kind(transfer.KindInterrupted), 20},
		{kind(transfer.KindPartial), 23},
		{kind(transfer.KindVanished), 24},
		{kind(transfer.KindVerify), 26},
		{kind(transfer.KindSourceChanged), 27},
		{kind(transfer.KindNoSpace), 28},
		{kind(transfer.KindStalled), 30},
		{kind(transfer.KindRemoteIO), 1},
		{kind(transfer.Kind(200)), 1},
		{fmt.Errorf("wrapped: %w", kind(transfer.KindNoSpace)), 28},
		{context.Canceled, 20},
		{&signalError{os.Interrupt}, 20},
		{&transfer.Error{Op: "x", Err: context.Canceled}, 20},
		{&transfer.Error{Op: "x", Kind: transfer.KindVerify, Err: context.Canceled}, 26},
		{failf(exitLocked, "", "x"), 75},
		{localIO(syscall.EIO), 11},
	} {
		if got := exitCodeOf(c.err); got != c.want {
			t.Errorf("exit code of %v is %d, want %d", c.err, got, c.want)
		}
	}
}

// The contract's table, by hand.
func TestExitTable(t *testing.T) {
	retry := map[int]bool{10: true, 20: true, 28: true, 30: true, 40: true, 75: true}
	want := []int{0, 1, 2, 3, 4, 5, 10, 11, 12, 20, 23, 24, 25, 26, 27, 28, 30, 40, 75}
	classes := map[string]bool{}
	for i, e := range exitTable() {
		if i >= len(want) || e.code != want[i] {
			t.Fatalf("row %d is code %d", i, e.code)
		}
		if e.retryable != retry[e.code] {
			t.Errorf("code %d: retryable %v", e.code, e.retryable)
		}
		if e.class == "" || strings.Contains(e.class, " ") || classes[e.class] {
			t.Errorf("code %d: class %q", e.code, e.class)
		}
		classes[e.class] = true
	}
	if len(exitTable()) != len(want) {
		t.Errorf("%d codes, want %d", len(exitTable()), len(want))
	}
}

func TestMessageIsOnePrintableLine(t *testing.T) {
	evil := "\x1b]0;pwned\a\nxfer: all is well\u202e\xff"
	for _, err := range []error{
		errors.New(evil),
		&transfer.Error{Op: "open", Path: evil, Kind: transfer.KindNotFound, Err: errors.New(evil)},
		&transfer.Error{Op: evil, Err: errors.New("x")},
		failf(exitError, evil, "%s", evil),
		errors.Join(errors.New("one"), errors.New("two")),
		&transfer.Error{},
	} {
		got := message("send", "nas\x1b", err)
		if !printable(got) {
			t.Errorf("message of %v: %q", err, got)
		}
		if !strings.HasPrefix(got, "xfer send: ") {
			t.Errorf("message of %v: %q does not begin with the verb", err, got)
		}
	}
}

func TestMessageSaysWhatWhereWhyAndNext(t *testing.T) {
	err := &transfer.Error{Op: "publish", Path: "big file", Kind: transfer.KindNoSpace, Err: errors.New("no space left")}
	got := message("send", "nas", err)
	for _, want := range []string{"publish", "big file", "nas", "no space left", "the same command goes on"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q lacks %q", got, want)
		}
	}
}

func TestReadingReplacesNothing(t *testing.T) {
	err := &transfer.Error{Op: "peer", Kind: transfer.KindExists, Err: &transfer.PeerError{Text: "it is a directory"}}
	for verb, want := range map[string]string{"hash": "", "cat": "", "ls": "", "stat": "", "send": "nothing was replaced", "get": "nothing was replaced", "mv": "nothing was replaced"} {
		if got := nextStep(verb, exitRefused, "nas", err); got != want {
			t.Errorf("%s: %q, want %q", verb, got, want)
		}
	}
}

// What to look for on the other side is told only where it said that something is wrong.
func TestNextStepIsWhereTheFaultIs(t *testing.T) {
	peer := &transfer.PeerError{Text: "no"}
	for _, c := range []struct {
		kind transfer.Kind
		op   string
		err  error
		want string
	}{
		{transfer.KindNotFound, "peer", peer, "see what is there: xfer ls nas:/"},
		{transfer.KindNotFound, "root", errors.New("no such root for this client"), "see what is there: xfer ls nas:/"},
		{transfer.KindNotFound, "get", syscall.ENOTDIR, ""},
		{transfer.KindNoSpace, "peer", peer, "make room there: the same command goes on"},
		{transfer.KindNoSpace, "write", syscall.ENOSPC, "make room here: the same command goes on"},
		{transfer.KindDenied, "peer", peer, "see your rights: xfer ls nas:/"},
		{transfer.KindDenied, "get", errors.New("leads out"), ""},
	} {
		if got := nextStep("get", codeOfKind(c.kind), "nas", &transfer.Error{Op: c.op, Kind: c.kind, Err: c.err}); got != c.want {
			t.Errorf("%s, %v: %q, want %q", c.op, c.err, got, c.want)
		}
	}
}
