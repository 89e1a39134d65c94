package crypto

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMutualHandshake(t *testing.T) {
	bothWays(t, func(t *testing.T, handshake func(*testing.T, *tls.Config, *tls.Config) (c, s end)) {
		client, server := newIdentity(t), newIdentity(t)
		var asked PeerID
		c, s := mustHandshake(t, handshake, ClientTLS(client, server.ID()), ServerTLS(server, VerifierFunc(func(id PeerID, certs []*x509.Certificate) error {
			if len(certs) != 1 || PeerIDOf(certs[0]) != id {
				t.Errorf("the verifier is shown %d certificates", len(certs))
			}
			asked = id
			return nil
		})))
		if asked != client.ID() {
			t.Errorf("the server asked for %v, want %v", asked, client.ID())
		}
		for _, e := range []end{c, s} {
			if e.state.Version != tls.VersionTLS13 || e.state.NegotiatedProtocol != ALPN || e.state.DidResume {
				t.Errorf("version %x, protocol %q, resumed %v", e.state.Version, e.state.NegotiatedProtocol, e.state.DidResume)
			}
			if e.state.CurveID != tls.X25519MLKEM768 {
				t.Errorf("key exchange %v, want X25519MLKEM768", e.state.CurveID)
			}
			if e.state.ServerName != "" {
				t.Errorf("a server name is sent: %q", e.state.ServerName)
			}
		}
		if got := PeerIDOf(c.state.PeerCertificates[0]); got != server.ID() {
			t.Errorf("the client sees %v, want %v", got, server.ID())
		}
		if got := PeerIDOf(s.state.PeerCertificates[0]); got != client.ID() {
			t.Errorf("the server sees %v, want %v", got, client.ID())
		}
		if string(s.state.PeerCertificates[0].RawSubjectPublicKeyInfo) != string(client.SPKI()) {
			t.Error("SPKI() is not what the peer sees")
		}
	})
}

func TestAnyKeyIsAcceptedWhereAskedFor(t *testing.T) {
	bothWays(t, func(t *testing.T, handshake func(*testing.T, *tls.Config, *tls.Config) (c, s end)) {
		client, server := newIdentity(t), newIdentity(t)
		var seen []PeerID
		mustHandshake(t, handshake, ClientTLSAny(client, func(id PeerID) { seen = append(seen, id) }), ServerTLS(server, nil))
		if !slices.Equal(seen, []PeerID{server.ID()}) {
			t.Errorf("seen: %v, want %v", seen, server.ID())
		}
		mustHandshake(t, handshake, ClientTLSAny(client, nil), ServerTLS(server, nil))
	})
}

func TestTLS12Refused(t *testing.T) {
	client, server := newIdentity(t), newIdentity(t)
	old := func(c *tls.Config) *tls.Config {
		c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		return c
	}
	c, s := handshakeTCP(t, old(ClientTLSAny(client, nil)), ServerTLS(server, nil))
	if c.err == nil || s.err == nil {
		t.Errorf("a TLS 1.2 client: it has %v, the server %v", c.err, s.err)
	}
	if !IsVersionError(c.err) || IsTrustError(c.err) {
		t.Errorf("the TLS 1.2 client's error %v: version %v, trust %v", c.err, IsVersionError(c.err), IsTrustError(c.err))
	}
	c, s = handshakeTCP(t, ClientTLS(client, server.ID()), old(ServerTLS(server, nil)))
	if c.err == nil || s.err == nil {
		t.Errorf("a TLS 1.2 server: the client has %v, it %v", c.err, s.err)
	}
	if !IsVersionError(c.err) {
		t.Errorf("the client's error %v is no version error", c.err)
	}
}

// TestTicketsAreOff shows that there is nothing to resume, even for a client that would like to, and thus no 0-RTT.
func TestTicketsAreOff(t *testing.T) {
	client, server := newIdentity(t), newIdentity(t)
	cache := new(countingCache)
	for range 2 {
		conf := ClientTLS(client, server.ID())
		conf.ClientSessionCache, conf.SessionTicketsDisabled = cache, false
		conf.ServerName = "host" // the key of the cache
		c, _ := mustHandshake(t, handshakeTCP, conf, ServerTLS(server, nil))
		if c.state.DidResume {
			t.Error("the session was resumed")
		}
	}
	if cache.put != 0 {
		t.Errorf("the server gave %d tickets", cache.put)
	}
	// The test can fail: a server with tickets does give some.
	conf, open := ClientTLS(client, server.ID()), ServerTLS(server, nil)
	conf.ClientSessionCache, conf.SessionTicketsDisabled = cache, false
	conf.ServerName, open.SessionTicketsDisabled = "host", false
	mustHandshake(t, handshakeTCP, conf, open)
	if cache.put == 0 {
		t.Error("tickets are not seen where they are given")
	}
	for _, c := range []*tls.Config{ServerTLS(server, nil), ClientTLS(client, server.ID()), ClientTLSAny(client, nil)} {
		if !c.SessionTicketsDisabled || c.ClientSessionCache != nil || c.MinVersion != tls.VersionTLS13 || c.CurvePreferences != nil {
			t.Error("a configuration has tickets, a session cache, an old TLS or its own curves")
		}
	}
}

type countingCache struct{ put int }

func (c *countingCache) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (c *countingCache) Put(_ string, s *tls.ClientSessionState)    { c.put++ }

// errorText tells whether err says all parts, and else which not.
func errorText(err error, parts ...string) (missing string, complete bool) {
	for _, p := range parts {
		if err == nil || !strings.Contains(err.Error(), p) {
			return p, false
		}
	}
	return "", true
}

func TestChangedServerKeyIsRefused(t *testing.T) {
	bothWays(t, func(t *testing.T, handshake func(*testing.T, *tls.Config, *tls.Config) (c, s end)) {
		client, server, pinned := newIdentity(t), newIdentity(t), newIdentity(t)
		c, s := handshake(t, ClientTLS(client, pinned.ID()), ServerTLS(server, nil))
		var pin *PinError
		if !errors.As(c.err, &pin) || pin.Want != pinned.ID() || pin.Got != server.ID() {
			t.Fatalf("got %v, want a PinError with both ids", c.err)
		}
		if miss, ok := errorText(c.err, pinned.ID().Grouped(), server.ID().Grouped()); !ok {
			t.Errorf("%q does not say %s", c.err, miss)
		}
		if !IsTrustError(c.err) || !IsTrustError(s.err) {
			t.Errorf("no trust errors: client %v, server %v", c.err, s.err)
		}
	})
}

func TestClientWithoutCertificateIsRefused(t *testing.T) {
	bothWays(t, func(t *testing.T, handshake func(*testing.T, *tls.Config, *tls.Config) (c, s end)) {
		client, server := newIdentity(t), newIdentity(t)
		conf := ClientTLS(client, server.ID())
		conf.GetClientCertificate = nil
		called := false
		c, s := handshake(t, conf, ServerTLS(server, VerifierFunc(func(PeerID, []*x509.Certificate) error { called = true; return nil })))
		if s.err == nil || !IsTrustError(c.err) || called {
			t.Errorf("client: %v, server: %v, verifier called: %v", c.err, s.err, called)
		}
	})
}

func TestStrangerIsRefused(t *testing.T) {
	bothWays(t, func(t *testing.T, handshake func(*testing.T, *tls.Config, *tls.Config) (c, s end)) {
		client, server := newIdentity(t), newIdentity(t)
		no := errors.New("who is that?")
		c, s := handshake(t, ClientTLS(client, server.ID()), ServerTLS(server, VerifierFunc(func(PeerID, []*x509.Certificate) error { return no })))
		if !errors.Is(s.err, no) {
			t.Errorf("the server has %v, want the verifier's error", s.err)
		}
		if !IsTrustError(c.err) || IsVersionError(c.err) {
			t.Errorf("the client has %v, want a trust error", c.err)
		}
		if _, told := errorText(c.err, "who is that"); told {
			t.Error("the verifier's words reach the peer")
		}
	})
}

// badCertificates are certificates that no peer may show, with what is said of them.
func badCertificates(t *testing.T) map[string]struct {
	cert   tls.Certificate
	reason CertReason
	text   string
} {
	t.Helper()
	type bad = struct {
		cert   tls.Certificate
		reason CertReason
		text   string
	}
	now := time.Now()
	key, other := mustKey(t), mustKey(t)
	day := 24 * time.Hour

	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: now.Add(-day), NotAfter: now.Add(day)}
	ecDER, err := x509.CreateCertificate(rand.Reader, template, template, ec.Public(), ec)
	if err != nil {
		t.Fatal(err)
	}
	// Signed by another key than its own: what a CA does.
	parent := mustSelfSigned(t, other, now, day)
	issued, err := x509.CreateCertificate(rand.Reader, template, parent.Leaf, key.Public(), other)
	if err != nil {
		t.Fatal(err)
	}
	good := mustSelfSigned(t, key, now, day)
	broken := slices.Clone(good.Certificate[0])
	broken[len(broken)-1] ^= 1
	return map[string]bad{
		"expired":          {mustSelfSigned(t, key, now.Add(-2*day), day), CertExpired, "expired"},
		"just expired":     {mustSelfSigned(t, key, now.Add(-day), day-ClockSkew-time.Second), CertExpired, "expired"},
		"not yet valid":    {mustSelfSigned(t, key, now.Add(2*day), day), CertNotYetValid, "not valid before"},
		"ECDSA":            {tls.Certificate{Certificate: [][]byte{ecDER}, PrivateKey: ec}, CertWrongKind, "ECDSA"},
		"signed by others": {tls.Certificate{Certificate: [][]byte{issued}, PrivateKey: key}, CertBadSignature, "not signed by its own key"},
		"broken signature": {tls.Certificate{Certificate: [][]byte{broken}, PrivateKey: key}, CertBadSignature, "not signed by its own key"},
		"a chain":          {tls.Certificate{Certificate: [][]byte{good.Certificate[0], parent.Certificate[0]}, PrivateKey: key}, CertWrongKind, "not exactly one"},
	}
}

func TestBadCertificateIsRefused(t *testing.T) {
	for name, bad := range badCertificates(t) {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, handshake func(*testing.T, *tls.Config, *tls.Config) (c, s end)) {
				good := newIdentity(t)
				check := func(t *testing.T, here, there error) {
					t.Helper()
					var ce *CertError
					if !errors.As(here, &ce) || ce.Reason != bad.reason || !strings.Contains(here.Error(), bad.text) {
						t.Errorf("got %v, want a CertError that says %q", here, bad.text)
					}
					if !IsTrustError(here) || !IsTrustError(there) {
						t.Errorf("no trust errors: %v and, at the peer, %v", here, there)
					}
				}
				t.Run("client", func(t *testing.T) {
					called := false
					server := ServerTLS(good, VerifierFunc(func(PeerID, []*x509.Certificate) error { called = true; return nil }))
					client := ClientTLSAny(good, nil)
					client.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &bad.cert, nil }
					c, s := handshake(t, client, server)
					check(t, s.err, c.err)
					if called {
						t.Error("the verifier is asked about a bad certificate")
					}
				})
				t.Run("server", func(t *testing.T) {
					server := ServerTLS(good, nil)
					server.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &bad.cert, nil }
					c, s := handshake(t, ClientTLSAny(good, nil), server)
					check(t, c.err, s.err)
				})
			})
		})
	}
}

// TestClockSkew shows that certificates count a little beyond their ends, by the clock of the configuration.
func TestClockSkew(t *testing.T) {
	client, server := newIdentity(t), newIdentity(t)
	leaf := client.Certificate().Leaf
	for _, c := range []struct {
		now  time.Time
		want bool
	}{
		{leaf.NotBefore.Add(-ClockSkew), true},
		{leaf.NotBefore.Add(-ClockSkew - time.Second), false},
		{leaf.NotAfter.Add(ClockSkew), true},
		{leaf.NotAfter.Add(ClockSkew + time.Second), false},
	} {
		conf := ServerTLS(server, nil)
		conf.Time = func() time.Time { return c.now }
		_, s := handshakeTCP(t, ClientTLS(client, server.ID()), conf)
		if (s.err == nil) != c.want {
			t.Errorf("at %v, valid from %v to %v: %v", c.now, leaf.NotBefore, leaf.NotAfter, s.err)
		}
	}
}

func TestOtherProtocolsAreRefused(t *testing.T) {
	bothWays(t, func(t *testing.T, handshake func(*testing.T, *tls.Config, *tls.Config) (c, s end)) {
		client, server := newIdentity(t), newIdentity(t)
		conf := ClientTLS(client, server.ID())
		conf.NextProtos = []string{"xfer/0", "h2"}
		c, s := handshake(t, conf, ServerTLS(server, nil))
		if c.err == nil || s.err == nil {
			t.Errorf("client: %v, server: %v", c.err, s.err)
		}
		if !IsVersionError(c.err) || IsTrustError(c.err) {
			t.Errorf("the client's error %v: version %v, trust %v", c.err, IsVersionError(c.err), IsTrustError(c.err))
		}
	})
	t.Run("none", func(t *testing.T) {
		client, server := newIdentity(t), newIdentity(t)
		conf := ServerTLS(server, nil)
		conf.NextProtos = nil
		c, _ := handshakeTCP(t, ClientTLS(client, server.ID()), conf)
		var version *VersionError
		if !errors.As(c.err, &version) || version.ALPN != "" || !IsVersionError(c.err) || IsTrustError(c.err) {
			t.Errorf("a server without ALPN: the client has %v", c.err)
		}
		conf = ClientTLS(client, server.ID())
		conf.NextProtos, conf.VerifyConnection = nil, nil
		_, s := handshakeTCP(t, conf, ServerTLS(server, nil))
		if !errors.As(s.err, &version) {
			t.Errorf("a client without ALPN: the server has %v", s.err)
		}
	})
}

// TestRenewedCertificateKeepsThePin shows that a new certificate of the same key is used at once and changes nobody.
func TestRenewedCertificateKeepsThePin(t *testing.T) {
	key := mustKey(t)
	server, client := mustIdentity(t, key), newIdentity(t)
	conf := ServerTLS(server, nil)
	id, old := server.ID(), server.Certificate().Leaf.SerialNumber
	renewed := mustSelfSigned(t, key, time.Now().Add(time.Minute), 48*time.Hour)
	if err := server.SetCertificate(renewed); err != nil {
		t.Fatal(err)
	}
	c, _ := mustHandshake(t, handshakeTCP, ClientTLS(client, id), conf)
	if got := c.state.PeerCertificates[0].SerialNumber; got.Cmp(renewed.Leaf.SerialNumber) != 0 || got.Cmp(old) == 0 {
		t.Error("the old certificate is shown")
	}
	if !server.NotAfter().Equal(renewed.Leaf.NotAfter) || server.ID() != id {
		t.Error("the identity is not that of the new certificate")
	}
	before := server.Certificate().Leaf
	for name, cert := range map[string]tls.Certificate{
		"another key":       mustSelfSigned(t, mustKey(t), time.Now(), time.Hour),
		"another's private": {Certificate: renewed.Certificate, PrivateKey: mustKey(t)},
		"none":              {},
		"junk":              {Certificate: [][]byte{{1, 2, 3}}, PrivateKey: key},
	} {
		if err := server.SetCertificate(cert); err == nil {
			t.Errorf("%s: the certificate is taken", name)
		}
	}
	if server.Certificate().Leaf != before {
		t.Error("a refused certificate took the place of the good one")
	}
}

func TestNewIdentityRefuses(t *testing.T) {
	for name, bad := range badCertificates(t) {
		_, err := NewIdentity(bad.cert)
		if timely := bad.reason == CertWrongKind || bad.reason == CertBadSignature; timely && err == nil {
			t.Errorf("%s: is an identity", name)
		} else if !timely && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	cert := mustSelfSigned(t, mustKey(t), time.Now(), time.Hour)
	cert.PrivateKey = nil
	if _, err := NewIdentity(cert); err == nil {
		t.Error("an identity without a private key")
	}
	if _, err := SelfSigned(nil, time.Now(), time.Hour); err == nil {
		t.Error("a certificate without a key")
	}
	if _, err := SelfSigned(mustKey(t), time.Now(), 0); err == nil {
		t.Error("a certificate without a life")
	}
}

// TestOneKeyOneID shows that a key in another encoding, which would have another id, is refused.
func TestOneKeyOneID(t *testing.T) {
	cert := mustSelfSigned(t, mustKey(t), time.Now(), time.Hour)
	leaf := *cert.Leaf
	leaf.RawSubjectPublicKeyInfo = append(slices.Clone(leaf.RawSubjectPublicKeyInfo), 0)
	if err := CheckCertificate(cert.Leaf, time.Now()); err != nil {
		t.Errorf("the usual encoding: %v", err)
	}
	var ce *CertError
	if err := CheckCertificate(&leaf, time.Now()); !errors.As(err, &ce) || ce.Reason != CertWrongKind {
		t.Errorf("another encoding: %v", err)
	}
}

func TestKindsOfErrors(t *testing.T) {
	remote := func(a uint8) error {
		return &net.OpError{Op: "remote error", Net: "tcp", Err: errors.New(tls.AlertError(a).Error())}
	}
	for a := range 256 {
		alert := uint8(a)
		trust := slices.Contains([]int{42, 43, 44, 45, 46, 48, 49, 116}, a)
		version := a == 70 || a == 120
		for name, err := range map[string]error{
			"as it is": tls.AlertError(alert),
			"wrapped":  fmt.Errorf("dial: %w", fmt.Errorf("%w", tls.AlertError(alert))),
			"joined":   errors.Join(io.ErrUnexpectedEOF, tls.AlertError(alert)),
			"remote":   fmt.Errorf("read: %w", remote(alert)),
		} {
			if IsTrustError(err) != trust || IsVersionError(err) != version {
				t.Errorf("alert %d %s: trust %v, version %v", a, name, IsTrustError(err), IsVersionError(err))
			}
		}
	}
	local := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New(tls.AlertError(42).Error())}
	for _, err := range []error{nil, io.EOF, net.ErrClosed, local, &net.OpError{Op: "remote error"}} {
		if IsTrustError(err) || IsVersionError(err) {
			t.Errorf("%v: trust %v, version %v", err, IsTrustError(err), IsVersionError(err))
		}
	}
	if IsTrustError(fmt.Errorf("%w %w", &VersionError{}, tls.AlertError(42))) {
		t.Error("a version error with QUIC's alert is a trust error")
	}
}
