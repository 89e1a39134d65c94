package certs

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestPinAndUnpin(t *testing.T) {
	s, c := newStore(t)
	if p, ok, err := s.KnownPeer("nas:7419"); ok || err != nil {
		t.Fatalf("an empty store knows %v, %v", p, err)
	}
	start := c.Now()
	for _, p := range []Peer{{Addr: "NAS.Example:7419", ID: peerID(1), Name: "laptop"}, {Addr: "nas.example:7420", ID: peerID(2)}, {Addr: "[2001:DB8::1]:7419", ID: peerID(3), Name: "laptop"}} {
		if err := s.Pin(p.Addr, p.ID, p.Name); err != nil {
			t.Fatal(err)
		}
	}
	for addr, want := range map[string]Peer{
		"nas.example:7419":     {"nas.example:7419", peerID(1), "laptop", start},
		"nas.EXAMPLE:7420":     {"nas.example:7420", peerID(2), "", start},
		"[2001:db8:0::1]:7419": {"[2001:db8::1]:7419", peerID(3), "laptop", start},
	} {
		p, ok, err := mustOpen(t, s.Dir(), Options{}).KnownPeer(addr)
		if err != nil || !ok || p.Addr != want.Addr || p.ID != want.ID || p.Name != want.Name || !p.Added.Equal(want.Added) {
			t.Errorf("%s: got %v, %v, %v, want %v", addr, p, ok, err, want)
		}
	}
	if _, ok, err := s.KnownPeer("nas.example:7421"); ok || err != nil {
		t.Errorf("another port is known: %v", err)
	}
	// The same key again keeps its date, another one has a new one.
	c.add(time.Hour)
	if err := s.Pin("nas.example:7419", peerID(1), "desk"); err != nil {
		t.Fatal(err)
	}
	if p, _, _ := s.KnownPeer("nas.example:7419"); p.Name != "desk" || !p.Added.Equal(start) {
		t.Errorf("pinned again: %v", p)
	}
	if err := s.Pin("nas.example:7419", peerID(4), "desk"); err != nil {
		t.Fatal(err)
	}
	if p, _, _ := s.KnownPeer("nas.example:7419"); p.ID != peerID(4) || !p.Added.Equal(c.Now()) {
		t.Errorf("pinned anew: %v", p)
	}
	for _, u := range []struct {
		what string
		want bool
		left int
	}{{"nobody", false, 3}, {"NAS.example:7420", true, 2}, {"laptop", true, 1}, {"Nas.Example", true, 0}, {"nas.example", false, 0}} {
		if got, err := s.Unpin(u.what); got != u.want || err != nil {
			t.Errorf("Unpin(%q): %v, %v", u.what, got, err)
		}
		if peers, err := s.Peers(); len(peers) != u.left || err != nil {
			t.Errorf("after Unpin(%q): %v, %v", u.what, peers, err)
		}
	}
	for _, bad := range []error{
		s.Pin("nas", peerID(1), "x"),
		s.Pin("nas:7419", peerID(1), "-x"),
		s.Pin("nas:7419", [32]byte{}, "x"),
	} {
		if bad == nil {
			t.Error("a bad pin is taken")
		}
	}
}

// TestConcurrentPins shows that none is lost.
func TestConcurrentPins(t *testing.T) {
	s, _ := newStore(t)
	var wg sync.WaitGroup
	const n = 20
	for i := range n {
		other := mustOpen(t, s.Dir(), Options{})
		wg.Go(func() {
			if err := other.Pin(fmt.Sprintf("host%d:7419", i), peerID(byte(i+1)), ""); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if peers, err := s.Peers(); len(peers) != n || err != nil {
		t.Errorf("%d peers, %v, want %d", len(peers), err, n)
	}
}

// TestDamagedKnownHostsKnowNobody shows that after an error no key is trusted, and that nothing is written over
// what may yet be mended.
func TestDamagedKnownHostsKnowNobody(t *testing.T) {
	id := peerID(1).String()
	good := "[[host]]\naddr = 'nas:7419'\nid = '" + id + "'\n"
	for name, c := range map[string]struct{ data, want string }{
		"unknown key":   {good + "fingerprint = 'x'\n", ":4:1: unknown key"},
		"two keys":      {good + good, "nas:7419 is there twice"},
		"two spellings": {good + strings.Replace(good, "nas", "NAS", 1), "nas:7419 is there twice"},
		"no id":         {"[[host]]\naddr = 'nas:7419'\n", "has no id"},
		"no address":    {"[[host]]\nid = '" + id + "'\n", "want HOST:PORT"},
		"short id":      {strings.Replace(good, id, id[1:], 1), ":3:6: peer id"},
		"bad name":      {good + "name = '../x'\n", "the name"},
		"wrong type":    {"host = 3\n", "wrong type"},
		"key twice":     {good + "id = '" + id + "'\n", "id"},
		"cut":           {good[:len(good)-5], ":3:"},
		"binary":        {"\x00\xff\xfe", "UTF-8"},
		"escape":        {"\x1b[2J = 3\n", ":1:"},
		"too many":      {strings.Repeat("[[host]]\n", 5000), "at most"},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newStore(t)
			mustWrite(t, s, hostsFile, c.data)
			_, ok, err := s.KnownPeer("nas:7419")
			if ok || err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), s.path(hostsFile)) {
				t.Errorf("got %v, %v, want an error with %q", ok, err, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "\x1b") {
				t.Error("the error holds an escape")
			}
			if err := s.Pin("other:7419", peerID(2), ""); err == nil {
				t.Error("a pin is added to a damaged file")
			}
			if _, err := s.Unpin("nas:7419"); err == nil {
				t.Error("a pin is removed from a damaged file")
			}
			if mustRead(t, s, hostsFile) != c.data {
				t.Error("the damaged file was changed")
			}
		})
	}
	s, _ := newStore(t)
	mustWrite(t, s, hostsFile, good)
	if p, ok, err := s.KnownPeer("nas:7419"); !ok || err != nil || p.ID != peerID(1) {
		t.Errorf("the good file: %v, %v, %v", p, ok, err)
	}
}
