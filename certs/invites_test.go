package certs

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
)

func mustInvite(t testing.TB, s *Store, name string) crypto.Code {
	t.Helper()
	code, err := s.NewInvite(name, someGrants, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return code
}

func TestInviteAndRedeem(t *testing.T) {
	s, c := newStore(t)
	code := mustInvite(t, s, "laptop")
	// A daemon that was running all the time sees it.
	daemon := mustOpen(t, s.Dir(), Options{Now: c.Now})
	inv, ok, err := daemon.Invite(code.ID())
	want := Invite{Code: code, Name: "laptop", Roots: someGrants, Made: c.Now(), Expires: c.Now().Add(time.Hour), TriesLeft: 5}
	if err != nil || !ok || !reflect.DeepEqual(inv, want) {
		t.Fatalf("got %+v, %v, %v, want %+v", inv, ok, err, want)
	}
	if all, err := s.Invites(); err != nil || !reflect.DeepEqual(all, []Invite{want}) {
		t.Errorf("Invites: %+v, %v", all, err)
	}
	got, err := daemon.Redeem(code.ID(), peerID(1))
	wantClient := Client{Name: "laptop", ID: peerID(1), Roots: someGrants, Default: "backup", Added: c.Now()}
	if err != nil || !reflect.DeepEqual(got, wantClient) {
		t.Errorf("Redeem: %+v, %v, want %+v", got, err, wantClient)
	}
	if cl, ok, err := s.ClientByID(peerID(1)); !ok || err != nil || !reflect.DeepEqual(cl, wantClient) {
		t.Errorf("the client: %+v, %v, %v", cl, ok, err)
	}
	if strings.Contains(mustRead(t, s, inviteFile(code.ID())), code.String()) {
		t.Error("the used code is still on the disk")
	}
	if all, err := s.Invites(); err != nil || len(all) != 0 {
		t.Errorf("Invites: %+v, %v", all, err)
	}
}

// wantDead checks that a code is good for nothing.
func wantDead(t *testing.T, s *Store, id [2]byte, why error) {
	t.Helper()
	before, _ := s.Clients()
	if inv, ok, err := s.Invite(id); ok || !errors.Is(err, why) || inv.Code != (crypto.Code{}) {
		t.Errorf("Invite: %v, %v, %v, want %v", inv, ok, err, why)
	}
	if c, err := s.Redeem(id, peerID(77)); !errors.Is(err, why) || c.Name != "" {
		t.Errorf("Redeem: %v, %v, want %v", c, err, why)
	}
	if err := s.InviteFailed(id); !errors.Is(err, why) {
		t.Errorf("InviteFailed: %v, want %v", err, why)
	}
	if after, _ := s.Clients(); !reflect.DeepEqual(before, after) {
		t.Errorf("the clients are %v now, were %v", after, before)
	}
}

func TestUsedCodeIsDead(t *testing.T) {
	s, _ := newStore(t)
	code := mustInvite(t, s, "laptop")
	if _, err := s.Redeem(code.ID(), peerID(1)); err != nil {
		t.Fatal(err)
	}
	wantDead(t, s, code.ID(), ErrInviteUsed)
	// Removing the client does not bring the code back.
	if _, err := s.RemoveClient("laptop"); err != nil {
		t.Fatal(err)
	}
	wantDead(t, s, code.ID(), ErrInviteUsed)
	wantDead(t, s, [2]byte{code[0] ^ 1, code[1]}, ErrInviteUnknown)
}

func TestFiveWrongTriesKillACode(t *testing.T) {
	s, c := newStore(t)
	code, other := mustInvite(t, s, "laptop"), mustInvite(t, s, "desk")
	for left := 4; left >= 0; left-- {
		if _, ok, err := s.Invite(code.ID()); !ok || err != nil {
			t.Fatalf("dead with %d tries left: %v", left+1, err)
		}
		// The count is on the disk, not in the process.
		if err := mustOpen(t, s.Dir(), Options{Now: c.Now}).InviteFailed(code.ID()); err != nil {
			t.Fatal(err)
		}
		if inv, _, _ := s.Invite(code.ID()); inv.TriesLeft != left {
			t.Errorf("%d tries left, want %d", inv.TriesLeft, left)
		}
	}
	wantDead(t, s, code.ID(), ErrInviteBurnt)
	if strings.Contains(mustRead(t, s, inviteFile(code.ID())), code.String()) {
		t.Error("the dead code is still on the disk")
	}
	if inv, ok, err := s.Invite(other.ID()); !ok || err != nil || inv.TriesLeft != 5 {
		t.Errorf("the other invitation: %v, %v, %v", inv, ok, err)
	}
}

// TestConcurrentWrongTriesAreAllCounted shows that tries at the same time are not fewer.
func TestConcurrentWrongTriesAreAllCounted(t *testing.T) {
	s, c := newStore(t)
	code := mustInvite(t, s, "laptop")
	var wg sync.WaitGroup
	var counted, refused atomic.Int32
	for range 20 {
		other := mustOpen(t, s.Dir(), Options{Now: c.Now})
		wg.Go(func() {
			switch err := other.InviteFailed(code.ID()); {
			case err == nil:
				counted.Add(1)
			case errors.Is(err, ErrInviteBurnt):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if counted.Load() != 5 || refused.Load() != 15 {
		t.Errorf("%d counted, %d refused, want 5 and 15", counted.Load(), refused.Load())
	}
	wantDead(t, s, code.ID(), ErrInviteBurnt)
}

func TestExpiredCodeIsDead(t *testing.T) {
	s, c := newStore(t)
	code := mustInvite(t, s, "laptop")
	c.add(time.Hour - 1)
	if _, ok, err := s.Invite(code.ID()); !ok || err != nil {
		t.Errorf("a moment before: %v, %v", ok, err)
	}
	c.add(1)
	wantDead(t, s, code.ID(), ErrInviteExpired)
	for _, life := range []time.Duration{0, -time.Second} {
		if _, err := s.NewInvite("x", someGrants, life); err == nil {
			t.Errorf("an invitation for %v", life)
		}
	}
}

func TestCodeIsRedeemedOnce(t *testing.T) {
	t.Run("goroutines", func(t *testing.T) {
		s, c := newStore(t)
		code := mustInvite(t, s, "laptop")
		var wg sync.WaitGroup
		var winner atomic.Int32
		start := make(chan struct{})
		for i := range 16 {
			other := mustOpen(t, s.Dir(), Options{Now: c.Now})
			wg.Go(func() {
				<-start
				switch _, err := other.Redeem(code.ID(), peerID(byte(i+1))); {
				case err == nil:
					if !winner.CompareAndSwap(0, int32(i+1)) {
						t.Error("a second one has redeemed it")
					}
				case !errors.Is(err, ErrInviteUsed):
					t.Error(err)
				}
			})
		}
		close(start)
		wg.Wait()
		if all, errs := s.Clients(); len(all) != 1 || len(errs) != 0 || all[0].ID != peerID(byte(winner.Load())) {
			t.Errorf("the clients are %v, %v, the winner was %d", all, errs, winner.Load())
		}
	})
	t.Run("processes", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "keys")
		s := mustOpen(t, dir, Options{})
		code := mustInvite(t, s, "laptop")
		job := func(n string) []string { return []string{"redeem", dir, code.String(), n} }
		won := 0
		for _, a := range inProcesses(t, job("1"), job("2"), job("3"), job("4")) {
			switch {
			case a == "redeemed":
				won++
			case !strings.Contains(a, ErrInviteUsed.Error()):
				t.Errorf("an answer: %q", a)
			}
		}
		if all, errs := s.Clients(); won != 1 || len(all) != 1 || len(errs) != 0 {
			t.Errorf("%d have redeemed it, the clients are %v, %v", won, all, errs)
		}
	})
}

// TestCodesDoNotShareAnID fills most of the ids.
func TestCodesDoNotShareAnID(t *testing.T) {
	s, _ := newStore(t)
	if err := os.Mkdir(s.path(invitesDir), 0o700); err != nil {
		t.Fatal(err)
	}
	// All ids but those that begin with a zero byte are taken, whatever the files hold.
	full := &fullFS{FS: s.fs}
	s.fs = full
	for range 3 {
		code, err := s.NewInvite("laptop", someGrants, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if id := code.ID(); id[0] >= 16 {
			t.Errorf("the id %x is taken", id)
		}
	}
	full.all = true
	if _, err := s.NewInvite("laptop", someGrants, time.Hour); err == nil {
		t.Error("an invitation where all ids are taken")
	}
}

// fullFS pretends that most invitations are there.
type fullFS struct {
	durable.FS
	all bool
}

func (f *fullFS) Lstat(name string) (os.FileInfo, error) {
	if strings.HasPrefix(name, invitesDir+"/") && (f.all || name[len(invitesDir)+1] != '0') {
		return f.FS.Lstat(".")
	}
	return f.FS.Lstat(name)
}

func TestNameCollisions(t *testing.T) {
	s, now := newStore(t)
	mustPut(t, s, Client{Name: "laptop", ID: peerID(1)})
	_, err := s.NewInvite("laptop", someGrants, time.Hour)
	if !errors.Is(err, ErrClientExists) || !strings.Contains(err.Error(), `"laptop"`) {
		t.Errorf("an invitation for a client that is there: %v", err)
	}
	mustWrite(t, s, clientFile("broken"), "x")
	if _, err := s.NewInvite("broken", someGrants, time.Hour); !errors.Is(err, ErrClientExists) {
		t.Errorf("an invitation over a broken file: %v", err)
	}

	// Two codes for one name: the first wins, the other stays what it was.
	a, b := mustInvite(t, s, "desk"), mustInvite(t, s, "desk")
	if _, err := s.Redeem(b.ID(), peerID(2)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Redeem(a.ID(), peerID(3)); !errors.Is(err, ErrClientExists) {
		t.Errorf("the name is taken: %v", err)
	}
	if c, _, _ := s.ClientByName("desk"); c.ID != peerID(2) {
		t.Errorf("the client is %v now", c)
	}
	if _, ok, err := s.Invite(a.ID()); !ok || err != nil {
		t.Errorf("the code was lost: %v", err)
	}

	// A key that is a client already does not become a second one: it stays what it is, and the code is used.
	code := mustInvite(t, s, "second")
	if c, err := s.Redeem(code.ID(), peerID(2)); err != nil || c.Name != "desk" {
		t.Errorf("a known key: %v, %v", c, err)
	}
	if _, err := s.Redeem(code.ID(), peerID(5)); err == nil {
		t.Error("the code works for another key as well")
	}
	if _, ok, _ := s.ClientByName("second"); ok {
		t.Error("the key has two names")
	}
	mustPut(t, s, Client{Name: "late", ID: peerID(6), Expires: now.Now().Add(-time.Hour)})
	code = mustInvite(t, s, "third")
	if _, err := s.Redeem(code.ID(), peerID(6)); !errors.Is(err, ErrClientExists) || !strings.Contains(err.Error(), `"late"`) {
		t.Errorf("a key whose time is over: %v", err)
	}
}

func TestNewInviteRefuses(t *testing.T) {
	clk := newClock()
	s := mustOpen(t, filepath.Join(t.TempDir(), "keys"), Options{Now: clk.Now, CheckRights: func(words []string) error {
		if len(words) > 0 && words[0] == "fly" {
			return errors.New("nobody flies")
		}
		return nil
	}})
	for what, err := range map[string]error{
		"a path":        second(s.NewInvite("../x", someGrants, time.Hour)),
		"no name":       second(s.NewInvite("", someGrants, time.Hour)),
		"no roots":      second(s.NewInvite("x", nil, time.Hour)),
		"a bad root":    second(s.NewInvite("x", []Grant{{Root: "/"}}, time.Hour)),
		"a root twice":  second(s.NewInvite("x", []Grant{{Root: "a"}, {Root: "a"}}, time.Hour)),
		"a wrong right": second(s.NewInvite("x", []Grant{{Root: "a", Rights: []string{"fly"}}}, time.Hour)),
	} {
		if err == nil {
			t.Errorf("%s: an invitation", what)
		}
	}
	if all, err := s.Invites(); len(all) != 0 || err != nil {
		t.Errorf("there are %v, %v", all, err)
	}
}

func second(_ crypto.Code, err error) error { return err }

func TestOldInvitationsAreRemoved(t *testing.T) {
	s, c := newStore(t)
	used, open, dead := mustInvite(t, s, "a"), mustInvite(t, s, "b"), mustInvite(t, s, "c")
	if _, err := s.Redeem(used.ID(), peerID(1)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if err := s.InviteFailed(dead.ID()); err != nil {
			t.Fatal(err)
		}
	}
	there := func() (n int) {
		for _, code := range []crypto.Code{used, open, dead} {
			if _, err := os.Lstat(s.path(inviteFile(code.ID()))); err == nil {
				n++
			}
		}
		return n
	}
	c.add(time.Hour + inviteKept)
	mustInvite(t, s, "d")
	if there() != 3 {
		t.Errorf("%d of 3 are left after a week", there())
	}
	c.add(time.Second)
	mustInvite(t, s, "e")
	if there() != 0 {
		t.Errorf("%d are left after more than a week", there())
	}
	wantDead(t, s, used.ID(), ErrInviteUnknown)
	wantDead(t, s, dead.ID(), ErrInviteUnknown)
}

// TestInvitationUnderAnotherID shows that a file counts only under the name that its code gives it.
func TestInvitationUnderAnotherID(t *testing.T) {
	s, _ := newStore(t)
	code := mustInvite(t, s, "laptop")
	other := [2]byte{code[0] ^ 1, code[1]}
	mustWrite(t, s, inviteFile(other), mustRead(t, s, inviteFile(code.ID())))
	if inv, ok, err := s.Invite(other); ok || err == nil {
		t.Errorf("got %+v, %v", inv, err)
	}
	if _, err := s.Redeem(other, peerID(1)); err == nil {
		t.Error("it is redeemed")
	}
}
