package certs

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable/crashfs"
)

// within tells whether got grants nothing that want does not.
func within(got, want []Grant) bool {
	for _, g := range got {
		i := slices.IndexFunc(want, func(w Grant) bool { return w.Root == g.Root })
		if i < 0 {
			return false
		}
		for _, r := range g.Rights {
			if !slices.Contains(want[i].Rights, r) {
				return false
			}
		}
	}
	return true
}

// damages returns data cut at each place, with a bit flipped in each byte, and with junk in it.
func damages(data string) []string {
	var all []string
	for i := range len(data) {
		all = append(all, data[:i], data[i:], data[:i]+string(data[i]^1)+data[i+1:], data[:i]+"\x00"+data[i+1:])
	}
	return append(all, strings.Repeat("\x00", len(data)), "\xff\xfe"+data, data+data, data+"\x00")
}

// TestTornClientNeverGetsMore shows that no damage to a file of any client gives anybody more than it gave. Here
// bits flip in names, too: what counts is the rights, and the time.
func TestTornClientNeverGetsMore(t *testing.T) {
	s, c := newStore(t)
	want := Client{Name: "a", ID: peerID(1), Roots: someGrants, Expires: c.Now().Add(-time.Hour)}
	mustPut(t, s, want)
	file := clientFile("a")
	text := mustRead(t, s, file)
	for i := range len(text) {
		for _, data := range []string{text[:i], text[i:], text[:i] + strings.Repeat("\x00", len(text)-i)} {
			got, err := s.parseClient("a", file, []byte(data))
			if err != nil {
				continue
			}
			if got.ID != want.ID || !within(got.Roots, want.Roots) {
				t.Fatalf("cut at %d: %+v", i, got)
			}
			if len(got.Roots) > 0 && !got.Expires.Equal(want.Expires) {
				t.Fatalf("cut at %d, the time is lost and rights are not: %+v", i, got)
			}
		}
	}
	for _, data := range damages(text) {
		got, err := s.parseClient("a", file, []byte(data))
		if err == nil && s.checkClient(got) != nil {
			t.Fatalf("%q gives an impossible client %+v", data, got)
		}
	}
}

// TestTornInvitationIsNotBetter shows that no cut brings a code back or gives it more tries.
func TestTornInvitationIsNotBetter(t *testing.T) {
	for name, prepare := range map[string]func(*Store, *clock, crypto.Code) error{
		"open":    func(s *Store, _ *clock, code crypto.Code) error { return s.InviteFailed(code.ID()) },
		"used":    func(s *Store, _ *clock, code crypto.Code) error { _, err := s.Redeem(code.ID(), peerID(1)); return err },
		"expired": func(_ *Store, c *clock, _ crypto.Code) error { c.add(time.Hour); return nil },
		"burnt": func(s *Store, _ *clock, code crypto.Code) error {
			var err error
			for range 5 {
				err = errors.Join(err, s.InviteFailed(code.ID()))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, c := newStore(t)
			code := mustInvite(t, s, "laptop")
			if err := prepare(s, c, code); err != nil {
				t.Fatal(err)
			}
			file := inviteFile(code.ID())
			text := mustRead(t, s, file)
			good := 0
			for i := range len(text) {
				for _, data := range []string{text[:i], text[i:], text[:i] + strings.Repeat("\x00", len(text)-i)} {
					inv, err := s.parseInvite(code.ID(), file, []byte(data))
					if err != nil {
						if strings.Contains(err.Error(), code.String()) {
							t.Fatalf("the error shows the code: %v", err)
						}
						continue
					}
					good++
					if name != "open" || inv.TriesLeft > 4 || inv.Code != code || !within(inv.Roots, someGrants) {
						t.Fatalf("cut at %d: %+v", i, inv)
					}
				}
			}
			if name != "open" && good > 0 {
				t.Errorf("%d damaged files are good", good)
			}
			for _, data := range damages(text) {
				if inv, err := s.parseInvite(code.ID(), file, []byte(data)); err == nil && (inv.TriesLeft > 5 || len(inv.Roots) == 0) {
					t.Fatalf("%q gives an impossible invitation %+v", data, inv)
				}
			}
			for _, junk := range []string{"", "\x00\x00\x00", text[:len(text)/2]} {
				mustWrite(t, s, file, junk)
				if _, ok, err := s.Invite(code.ID()); ok || err == nil {
					t.Errorf("%q is an invitation", junk)
				}
				if _, err := s.Redeem(code.ID(), peerID(9)); err == nil {
					t.Errorf("%q is redeemed", junk)
				}
				if err := s.InviteFailed(code.ID()); err == nil {
					t.Errorf("a try at %q is counted", junk)
				}
			}
		})
	}
}

func TestTornKnownHostsKnowNoOtherKey(t *testing.T) {
	s, _ := newStore(t)
	fill(t, s)
	if err := s.Pin("other:7419", peerID(2), ""); err != nil {
		t.Fatal(err)
	}
	want, err := s.Peers()
	if err != nil || len(want) != 2 {
		t.Fatal(want, err)
	}
	text := mustRead(t, s, hostsFile)
	for i := range len(text) {
		for _, data := range []string{text[:i], text[:i] + strings.Repeat("\x00", len(text)-i)} {
			peers, err := parseHosts(hostsFile, []byte(data))
			if err != nil {
				continue
			}
			for j, p := range peers {
				if p.Addr != want[j].Addr || p.ID != want[j].ID {
					t.Fatalf("cut at %d: %+v", i, p)
				}
			}
		}
	}
	for _, data := range damages(text) {
		peers, err := parseHosts(hostsFile, []byte(data))
		for _, p := range peers {
			if p.ID.IsZero() || err != nil {
				t.Fatalf("%q: %+v, %v", data, p, err)
			}
		}
	}
}

// onCrash opens a store on a crash file system.
func onCrash(t *testing.T, f *crashfs.FS, c *clock) *Store {
	t.Helper()
	if err := f.Chmod(".", dirPerm); err != nil {
		t.Fatal(err)
	}
	s, err := openFS("/keys", f, Options{Now: c.Now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// eachCrash prepares a file system, lets do run on it with the power cut before its k-th operation, for k = 1 until
// it runs through, and shows check what is left: several outcomes of each cut.
func eachCrash(t *testing.T, prepare func(s *Store), do func(s *Store) error, check func(t *testing.T, s *Store, doErr error)) {
	t.Helper()
	c := newClock()
	for k := 1; ; k++ {
		f := crashfs.New(uint64(k))
		prepare(onCrash(t, f, c))
		f = f.Crash()
		s := onCrash(t, f, c)
		before := f.Ops()
		f.CrashAt(k)
		err := do(s)
		ran := f.Ops() - before
		for range 8 {
			check(t, onCrash(t, f.Crash(), c), err)
		}
		if t.Failed() {
			t.Fatalf("the power was cut at operation %d; the last ones:\n%s", k, strings.Join(f.Trace(), "\n"))
		}
		if err == nil && ran < k {
			if k < 3 {
				t.Fatalf("only %d operations", k)
			}
			return
		}
		if k > 500 {
			t.Fatal("it does not come to its end")
		}
	}
}

// eachFault is eachCrash with an operation that fails, and the store used again at once and after a crash.
func eachFault(t *testing.T, prepare func(s *Store), do func(s *Store) error, check func(t *testing.T, s *Store, doErr error)) {
	t.Helper()
	c := newClock()
	for k := 1; ; k++ {
		f := crashfs.New(uint64(k))
		prepare(onCrash(t, f, c))
		f = f.Crash()
		s := onCrash(t, f, c)
		before := f.Ops()
		f.FailAt(k, errors.New("the disk says no"))
		err := do(s)
		ran := f.Ops() - before
		f.ClearFaults()
		check(t, s, err)
		for range 4 {
			check(t, onCrash(t, f.Crash(), c), err)
		}
		if t.Failed() {
			t.Fatalf("operation %d failed; the last ones:\n%s", k, strings.Join(f.Trace(), "\n"))
		}
		if ran < k {
			return
		}
		if k > 500 {
			t.Fatal("it does not come to its end")
		}
	}
}

func crashesAndFaults(t *testing.T, prepare func(s *Store), do func(s *Store) error, check func(t *testing.T, s *Store, doErr error)) {
	t.Run("crash", func(t *testing.T) { eachCrash(t, prepare, do, check) })
	t.Run("fault", func(t *testing.T) { eachFault(t, prepare, do, check) })
}

// TestRedeemSurvivesCrashes shows that a code is never good once a client has come of it, and that a client that was
// told so is there.
func TestRedeemSurvivesCrashes(t *testing.T) {
	var code crypto.Code
	crashesAndFaults(t,
		func(s *Store) { code = mustInvite(t, s, "laptop") },
		func(s *Store) error { _, err := s.Redeem(code.ID(), peerID(1)); return err },
		func(t *testing.T, s *Store, doErr error) {
			_, isClient, err := s.ClientByID(peerID(1))
			if err != nil {
				t.Errorf("the client: %v", err)
			}
			_, isOpen, why := s.Invite(code.ID())
			if isOpen == (why != nil) || why != nil && !errors.Is(why, ErrInviteUsed) {
				t.Errorf("the invitation: %v, %v", isOpen, why)
			}
			if isOpen && isClient {
				t.Error("the client is there, and the code still good")
			}
			if doErr == nil && !isClient {
				t.Error("enrolled, and not there")
			}
			if _, errs := s.Clients(); len(errs) > 0 {
				t.Errorf("a broken client: %v", errs)
			}
		})
}

func TestWrongTriesSurviveCrashes(t *testing.T) {
	var code crypto.Code
	crashesAndFaults(t,
		func(s *Store) {
			code = mustInvite(t, s, "laptop")
			for range 4 {
				if err := s.InviteFailed(code.ID()); err != nil {
					t.Fatal(err)
				}
			}
		},
		func(s *Store) error { return s.InviteFailed(code.ID()) },
		func(t *testing.T, s *Store, doErr error) {
			inv, isOpen, why := s.Invite(code.ID())
			if isOpen && inv.TriesLeft != 1 || !isOpen && !errors.Is(why, ErrInviteBurnt) {
				t.Errorf("the invitation: %+v, %v", inv, why)
			}
			if doErr == nil && isOpen {
				t.Error("the fifth try was counted, and the code lives")
			}
		})
}

func TestIdentitySurvivesCrashes(t *testing.T) {
	var made crypto.PeerID
	crashesAndFaults(t,
		func(s *Store) {},
		func(s *Store) error {
			id, err := s.Identity()
			if err == nil {
				made = id.ID()
			}
			return err
		},
		func(t *testing.T, s *Store, doErr error) {
			id, err := s.Identity()
			if err != nil {
				t.Errorf("no identity afterwards: %v", err)
			} else if doErr == nil && id.ID() != made {
				t.Error("another identity than before")
			}
		})
}

func TestRenewalSurvivesCrashes(t *testing.T) {
	var made crypto.PeerID
	crashesAndFaults(t,
		func(s *Store) { made = mustIdentity(t, s).ID() },
		func(s *Store) error {
			late := s.opts
			s.opts.Now = func() time.Time { return late.Now().Add(80 * 24 * time.Hour) }
			defer func() { s.opts = late }()
			_, err := s.Identity()
			return err
		},
		func(t *testing.T, s *Store, _ error) {
			if id, err := s.Identity(); err != nil || id.ID() != made {
				t.Errorf("the identity afterwards: %v", err)
			}
		})
}

func TestPinsSurviveCrashes(t *testing.T) {
	crashesAndFaults(t,
		func(s *Store) {
			if err := s.Pin("old:7419", peerID(1), ""); err != nil {
				t.Fatal(err)
			}
		},
		func(s *Store) error { return s.Pin("new:7419", peerID(2), "") },
		func(t *testing.T, s *Store, doErr error) {
			if p, ok, err := s.KnownPeer("old:7419"); !ok || err != nil || p.ID != peerID(1) {
				t.Errorf("the old one: %v, %v, %v", p, ok, err)
			}
			if p, ok, err := s.KnownPeer("new:7419"); err != nil || ok && p.ID != peerID(2) || !ok && doErr == nil {
				t.Errorf("the new one: %v, %v, %v", p, ok, err)
			}
		})
}

func TestRemovedClientStaysRemoved(t *testing.T) {
	crashesAndFaults(t,
		func(s *Store) { mustPut(t, s, Client{Name: "a", ID: peerID(1), Roots: someGrants}) },
		func(s *Store) error {
			_, err := s.RemoveClient("a")
			return err
		},
		func(t *testing.T, s *Store, doErr error) {
			if _, ok, err := s.ClientByID(peerID(1)); err != nil || ok && doErr == nil {
				t.Errorf("the removed client: %v, %v", ok, err)
			}
		})
}

// TestUnreadableIsNotUnknown shows that a disk that fails does not make a client a stranger, who would be told to give up.
func TestUnreadableIsNotUnknown(t *testing.T) {
	f, c := crashfs.New(1), newClock()
	s := onCrash(t, f, c)
	mustPut(t, s, Client{Name: "a", ID: peerID(1), Roots: someGrants})
	f.CountReads(true)
	failures := 0
	for k := 1; k < 50; k++ {
		f.FailAt(k, errors.New("the disk says no"))
		_, ok, err := s.ClientByID(peerID(1))
		f.ClearFaults()
		if !ok && err == nil {
			t.Fatalf("operation %d failed: the client is unknown", k)
		}
		if err != nil {
			failures++
		}
	}
	if failures == 0 {
		t.Error("nothing ever failed")
	}
}
