package daemon

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xfer/certs"
	"xfer/crypto"
	"xfer/transfer"
)

func (w *world) invite(name string, g []certs.Grant) crypto.Code {
	w.t.Helper()
	code, err := w.store.NewInvite(name, g, time.Hour)
	if err != nil {
		w.t.Fatal(err)
	}
	return code
}

func TestEnrolment(t *testing.T) {
	w := newWorld(t, nil)
	code := w.invite("laptop", grants("second", "append"))
	try, err := w.policy.Enroll(t.Context(), peer(1), "192.0.2.1:5", code.ID())
	if err != nil {
		t.Fatal(err)
	}
	if try.Code() != code {
		t.Fatal("another code")
	}
	name, roots, err := try.Accept("host\x1b]0;\u202e")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(name, roots); got != "laptop[{second [append get put list stat mkdir] true}]" {
		t.Errorf("got %s", got)
	}
	g, release, err := w.policy.Authorize(t.Context(), peer(1), nil, "")
	if err != nil || g.Name != "laptop" {
		t.Fatalf("right after: %+v, %v", g, err)
	}
	release()
	if _, err := w.policy.Enroll(t.Context(), peer(2), "192.0.2.1:5", code.ID()); transfer.KindOf(err) != transfer.KindTrust {
		t.Errorf("a used code: got %v, want KindTrust", err)
	}
	log := w.log.String()
	for _, want := range []string{"msg=enrolled", "client=laptop", peer(1).String(), "remote=192.0.2.1:5", `host=host\x1b]0;\u202e`, "has been used"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not have %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, code.String()) {
		t.Error("the code is in the log")
	}
	if n := w.counts.enrolled.Load(); n != 1 {
		t.Errorf("%d enrolments counted, want 1", n)
	}
}

func TestFiveWrongTriesKillACode(t *testing.T) {
	w := newWorld(t, nil)
	code := w.invite("laptop", grants("first", "all"))
	for i := range 5 {
		try, err := w.policy.Enroll(t.Context(), peer(1), "192.0.2.1:5", code.ID())
		if err != nil {
			t.Fatalf("try %d: %v", i+1, err)
		}
		try.Reject()
	}
	_, err := w.policy.Enroll(t.Context(), peer(1), "192.0.2.1:5", code.ID())
	kind(t, err, transfer.KindTrust)
	if n := strings.Count(w.log.String(), "wrong code"); n != 5 {
		t.Errorf("%d wrong tries in the log, want 5", n)
	}
}

// Tries at once are five as well: one at a time has the code in its hand.
func TestTriesOfOneCodeAreOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil)
		code := w.invite("laptop", grants("first", "all"))
		first, err := w.policy.Enroll(t.Context(), peer(1), "192.0.2.1:5", code.ID())
		if err != nil {
			t.Fatal(err)
		}
		second := make(chan error, 1)
		go func() {
			try, err := w.policy.Enroll(t.Context(), peer(2), "192.0.2.2:5", code.ID())
			if err == nil {
				try.Reject()
			}
			second <- err
		}()
		synctest.Wait()
		select {
		case err := <-second:
			t.Fatalf("the second try did not wait: %v", err)
		default:
		}
		if _, _, err := first.Accept("a"); err != nil {
			t.Fatal(err)
		}
		kind(t, <-second, transfer.KindTrust)

		// One that never comes to its end holds the others up for a while only.
		code = w.invite("desktop", grants("first", "all"))
		if _, err := w.policy.Enroll(t.Context(), peer(3), "192.0.2.3:5", code.ID()); err != nil {
			t.Fatal(err)
		}
		_, err = w.policy.Enroll(t.Context(), peer(4), "192.0.2.4:5", code.ID())
		busyAfter(t, err)
	})
}

func TestFailedEnrolmentsAreLimitedByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Limits.FailedEnrolments = 10 })
		code := w.invite("laptop", grants("first", "all"))
		unknown := [2]byte{code.ID()[0] ^ 1, code.ID()[1]}
		for i := range 10 {
			_, err := w.policy.Enroll(t.Context(), peer(1), fmt.Sprintf("192.0.2.1:%d", i+1), unknown)
			kind(t, err, transfer.KindTrust)
		}
		_, err := w.policy.Enroll(t.Context(), peer(1), "192.0.2.1:77", code.ID())
		if after := busyAfter(t, err); after <= 0 || after > time.Minute {
			t.Errorf("come again in %v", after)
		}
		if try, err := w.policy.Enroll(t.Context(), peer(1), "192.0.2.2:77", code.ID()); err != nil {
			t.Errorf("another address: %v", err)
		} else {
			try.Reject()
		}
		time.Sleep(time.Minute)
		try, err := w.policy.Enroll(t.Context(), peer(1), "192.0.2.1:77", code.ID())
		if err != nil {
			t.Fatalf("a minute later: %v", err)
		}
		if _, _, err := try.Accept("h"); err != nil {
			t.Error(err)
		}
		if !strings.Contains(w.log.String(), "too many failed tries") {
			t.Error("the refusal is not in the log")
		}
	})
}

// An office behind one address may enrol as many as it has codes for.
func TestGoodEnrolmentsAreNotLimited(t *testing.T) {
	w := newWorld(t, nil)
	for i := range 15 {
		code := w.invite(fmt.Sprintf("c%d", i), grants("first", "all"))
		try, err := w.policy.Enroll(t.Context(), peer(byte(i+1)), "192.0.2.1:5", code.ID())
		if err != nil {
			t.Fatalf("enrolment %d: %v", i+1, err)
		}
		if _, _, err := try.Accept("h"); err != nil {
			t.Fatalf("enrolment %d: %v", i+1, err)
		}
	}
}

// What a peer is told of a code that does not work is the same for every reason.
func TestRefusedCodesLookTheSame(t *testing.T) {
	w := newWorld(t, nil)
	used := w.invite("a", grants("first", "all"))
	if _, err := w.store.Redeem(used.ID(), peer(9)); err != nil {
		t.Fatal(err)
	}
	expired, err := w.store.NewInvite("b", grants("first", "all"), time.Nanosecond)
	if err != nil {
		t.Fatal(err)
	}
	burnt := w.invite("c", grants("first", "all"))
	for range 5 {
		w.store.InviteFailed(burnt.ID())
	}
	texts := make(map[string]bool)
	for i, id := range [][2]byte{used.ID(), expired.ID(), burnt.ID(), {0xff, 0xff}} {
		_, err := w.policy.Enroll(t.Context(), peer(1), fmt.Sprintf("192.0.2.%d:1", i), id)
		kind(t, err, transfer.KindTrust)
		texts[err.Error()] = true
	}
	if len(texts) != 1 {
		t.Errorf("told apart: %v", texts)
	}
}

// A key that is a client's already enrols once more where its host lost the pin, or knows the server under another name: it learns
// who it is, and its rights stay.
func TestAKnownKeyStaysWhatItIs(t *testing.T) {
	w := newWorld(t, nil)
	w.enrol(certs.Client{Name: "laptop", ID: peer(1), Roots: grants("first", "get")})
	code := w.invite("more", grants("first", "all"))
	try, err := w.policy.Enroll(t.Context(), peer(1), "192.0.2.1:5", code.ID())
	if err != nil {
		t.Fatal(err)
	}
	name, roots, err := try.Accept("h")
	if err != nil || name != "laptop" || len(roots) != 1 || strings.Join(roots[0].Rights, " ") != "get list stat" {
		t.Errorf("%q, %v, %v", name, roots, err)
	}
	if c, _, err := w.store.ClientByID(peer(1)); err != nil || c.Name != "laptop" || len(c.Roots[0].Rights) != 1 {
		t.Errorf("the client has changed: %+v, %v", c, err)
	}
	if _, err := w.policy.Enroll(t.Context(), peer(2), "192.0.2.1:5", code.ID()); err == nil {
		t.Error("the code works once more")
	}
	if !strings.Contains(w.log.String(), "stay as they are") {
		t.Error("the log does not say that the code gave nothing")
	}
}

// brokenBook fails where the disk does.
type brokenBook struct{ book }

var errDisk = errors.New("input/output error")

func (brokenBook) Invite([2]byte) (certs.Invite, bool, error) {
	return certs.Invite{}, false, errDisk
}
func (brokenBook) ClientByID(crypto.PeerID) (certs.Client, bool, error) {
	return certs.Client{}, false, errDisk
}

// Our own failure is no refusal: the peer may come again, and no path or cause leaves the machine.
func TestOurOwnFailuresAreNotHeldAgainstThePeer(t *testing.T) {
	w := newWorld(t, nil)
	w.policy.book = brokenBook{w.policy.book}
	for range 20 {
		_, err := w.policy.Enroll(t.Context(), peer(1), "192.0.2.1:5", [2]byte{1, 2})
		kind(t, err, transfer.KindRemoteIO)
		if errors.Is(err, errDisk) || strings.Contains(err.Error(), errDisk.Error()) {
			t.Fatalf("the peer sees %v", err)
		}
	}
	_, _, err := w.policy.Authorize(t.Context(), peer(1), nil, "")
	kind(t, err, transfer.KindRemoteIO)
	if !strings.Contains(w.log.String(), errDisk.Error()) {
		t.Error("the cause is not in the log")
	}
}
