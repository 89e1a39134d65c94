package certs

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"xfer/crypto"
)

func fuzzStore(f *testing.F) *Store {
	f.Helper()
	c := newClock()
	s, err := Open(filepath.Join(f.TempDir(), "keys"), Options{Now: c.Now})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	return s
}

// wantFileError checks the error of a file that cannot be used.
func wantFileError(t *testing.T, err error) {
	t.Helper()
	var fe *FileError
	if !errors.As(err, &fe) {
		t.Fatalf("an error of another kind: %v", err)
	}
	for _, b := range []byte(err.Error()) {
		if b != '\n' && (b < ' ' || b == 0x7f) {
			t.Fatalf("a control character in the error %q", err)
		}
	}
}

func FuzzClientFile(f *testing.F) {
	s := fuzzStore(f)
	f.Add([]byte(clientText(1, "default = 'backup'\nexpires = 2026-01-01T00:00:00Z\nmax_sessions = 3\nbwlimit = '1M'\n", "")))
	f.Add([]byte("[[root]]\nname = 3\n"))
	f.Add([]byte("id = {a = [1, 2, {}]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := s.parseClient("a", "a.toml", data)
		if err != nil {
			wantFileError(t, err)
			return
		}
		if c.Name != "a" || s.checkClient(c) != nil {
			t.Fatalf("an impossible client: %+v", c)
		}
	})
}

func FuzzInviteFile(f *testing.F) {
	s := fuzzStore(f)
	code := mustInvite(f, s, "laptop")
	f.Add([]byte(mustRead(f, s, inviteFile(code.ID()))))
	if _, err := s.Redeem(code.ID(), peerID(1)); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(mustRead(f, s, inviteFile(code.ID()))))
	f.Fuzz(func(t *testing.T, data []byte) {
		inv, err := s.parseInvite(code.ID(), "i.toml", data)
		switch {
		case errors.Is(err, ErrInviteUsed), errors.Is(err, ErrInviteBurnt), errors.Is(err, ErrInviteExpired):
			if inv.Code != (crypto.Code{}) {
				t.Fatalf("the code of a dead invitation: %+v", inv)
			}
		case err != nil:
			wantFileError(t, err)
		default:
			if inv.Code.ID() != code.ID() || CheckName(inv.Name) != nil || len(inv.Roots) == 0 || s.checkGrants(inv.Roots) != nil ||
				inv.TriesLeft < 1 || inv.TriesLeft > 5 || !inv.Expires.After(s.opts.Now()) {
				t.Fatalf("an impossible invitation: %+v", inv)
			}
		}
	})
}

func FuzzKnownHostsFile(f *testing.F) {
	s := fuzzStore(f)
	fill(f, s)
	f.Add([]byte(mustRead(f, s, hostsFile)))
	f.Add([]byte("[[host]]\naddr='[::1]:1'\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		peers, err := parseHosts("known_hosts.toml", data)
		if err != nil {
			wantFileError(t, err)
			return
		}
		for _, p := range peers {
			if again, err := HostPort(p.Addr); err != nil || again != p.Addr || p.ID.IsZero() {
				t.Fatalf("an impossible host: %+v", p)
			}
		}
	})
}

func FuzzIdentityFiles(f *testing.F) {
	s := fuzzStore(f)
	id := mustIdentity(f, s)
	f.Add([]byte(mustRead(f, s, keyFile)))
	f.Add([]byte(mustRead(f, s, certFile)))
	key, err := s.loadKey()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if k, err := parseKey(data); err == nil && len(k) != 64 {
			t.Fatalf("a key of %d bytes", len(k))
		}
		if bytes.Contains(data, []byte("CERT")) {
			if err := s.write(certFile, data); err != nil {
				t.Skip(err)
			}
			cert, ok, err := s.loadCert(key)
			if err != nil || ok && crypto.PeerIDOf(cert.Leaf) != id.ID() {
				t.Fatalf("the certificate: %v, %v", ok, err)
			}
		}
	})
}

func FuzzHostPort(f *testing.F) {
	f.Add("nas:7419")
	f.Add("[2001:DB8::1%eth0]:07419")
	f.Fuzz(func(t *testing.T, s string) {
		addr, err := HostPort(s)
		if err != nil {
			return
		}
		if again, err := HostPort(addr); err != nil || again != addr {
			t.Fatalf("%q is %q, that is %q, %v", s, addr, again, err)
		}
	})
}
