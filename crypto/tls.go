package crypto

import (
	"bytes"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"time"
)

// ALPN is the protocol name that both transports negotiate (RFC 7301). Its number is the major version.
const ALPN = "xfer/1"

// ClockSkew is by how much a certificate's validity is stretched at both ends, for clocks that differ.
const ClockSkew = 5 * time.Minute

// Verifier says whether a peer is somebody. It is called during the handshake, when the certificate is known to
// be in order but before the peer has proven that it holds the key: it must leave nothing behind that a
// handshake which fails afterwards would make wrong. Called concurrently.
type Verifier interface {
	// VerifyPeer returns nil where id may go on. certs holds the one leaf. The error stays on this side: the
	// peer sees a TLS alert.
	VerifyPeer(id PeerID, certs []*x509.Certificate) error
}

// VerifierFunc is a function as a Verifier.
type VerifierFunc func(PeerID, []*x509.Certificate) error

// VerifyPeer calls f.
func (f VerifierFunc) VerifyPeer(id PeerID, certs []*x509.Certificate) error { return f(id, certs) }

// ServerTLS returns the configuration of a listener, over TCP and QUIC alike. A client without a certificate is
// refused; with one, v decides, and nil accepts any key (who it is, [PeerIDOf] says afterwards).
//
// The clock is the Time field of the returned Config, which the caller may set on it before its first use, not
// on a clone: nil is time.Now.
func ServerTLS(id *Identity, v Verifier) *tls.Config {
	c := baseTLS(id)
	c.ClientAuth = tls.RequireAnyClientCert
	c.VerifyConnection = func(cs tls.ConnectionState) error { return verify(c, cs, v) }
	return c
}

// ClientTLS returns the configuration to dial the server whose key is want, over TCP and QUIC alike. Any other
// key fails the handshake with a *PinError. Time as in ServerTLS.
//
// In TLS 1.3 the client's handshake succeeds before the server has judged the client's certificate: a refusal
// comes with the first read. Send nothing that matters before the server has spoken.
func ClientTLS(id *Identity, want PeerID) *tls.Config {
	return clientTLS(id, VerifierFunc(func(got PeerID, _ []*x509.Certificate) error {
		if got != want {
			return &PinError{Want: want, Got: got}
		}
		return nil
	}))
}

// ClientTLSAny returns a configuration to dial a server whose key is not known yet: for enrolment, where a [Code]
// proves the channel, and for showing a key to a person. seen, unless nil, is told the key that the server
// claims; it counts only once the handshake is complete.
func ClientTLSAny(id *Identity, seen func(PeerID)) *tls.Config {
	return clientTLS(id, VerifierFunc(func(got PeerID, _ []*x509.Certificate) error {
		if seen != nil {
			seen(got)
		}
		return nil
	}))
}

func clientTLS(id *Identity, v Verifier) *tls.Config {
	c := baseTLS(id)
	// No chain and no name are checked: the key is, by verify.
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(cs tls.ConnectionState) error { return verify(c, cs, v) }
	return c
}

// baseTLS is what both sides share. CurvePreferences stays nil: Go's default begins with X25519MLKEM768.
// Tickets are off since a resumed session would outlive a revocation, and saves less than a millisecond.
func baseTLS(id *Identity) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		MaxVersion:             tls.VersionTLS13,
		NextProtos:             []string{ALPN},
		SessionTicketsDisabled: true,
		// A frame is of use when it is whole: there is nothing to gain from small records at the beginning.
		DynamicRecordSizingDisabled: true,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return id.cert.Load(), nil
		},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return id.cert.Load(), nil
		},
	}
}

// verify is called for every handshake, on both sides and both transports.
func verify(c *tls.Config, cs tls.ConnectionState, v Verifier) error {
	if cs.Version != tls.VersionTLS13 || cs.NegotiatedProtocol != ALPN {
		return &VersionError{TLS: cs.Version, ALPN: cs.NegotiatedProtocol}
	}
	if len(cs.PeerCertificates) != 1 {
		return &CertError{Reason: CertWrongKind, Detail: "not exactly one certificate"}
	}
	now := time.Now
	if c.Time != nil {
		now = c.Time
	}
	leaf := cs.PeerCertificates[0]
	if err := CheckCertificate(leaf, now()); err != nil {
		return err
	}
	if v == nil {
		return nil
	}
	return v.VerifyPeer(PeerIDOf(leaf), cs.PeerCertificates)
}

// CheckCertificate tells whether leaf is a certificate as peers show it and valid at now, give or take ClockSkew:
// one Ed25519 key that signed it itself. It says nothing about whose key it is. The error is a *CertError. The
// handshake does this by itself; a daemon does it again for connections that live on.
func CheckCertificate(leaf *x509.Certificate, now time.Time) error {
	if err := checkLeaf(leaf); err != nil {
		return err
	}
	e := &CertError{ID: PeerIDOf(leaf), NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter, Now: now}
	switch {
	case now.After(leaf.NotAfter.Add(ClockSkew)):
		e.Reason = CertExpired
	case now.Before(leaf.NotBefore.Add(-ClockSkew)):
		e.Reason = CertNotYetValid
	default:
		return nil
	}
	return e
}

// checkLeaf checks all but the clock.
func checkLeaf(leaf *x509.Certificate) error {
	fail := func(r CertReason, detail string) error {
		return &CertError{Reason: r, ID: PeerIDOf(leaf), Detail: detail, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}
	}
	pub, ok := leaf.PublicKey.(ed25519.PublicKey)
	if !ok {
		return fail(CertWrongKind, "its key is "+leaf.PublicKeyAlgorithm.String()+", not Ed25519")
	}
	// One key, one id: the hash is of the encoding, so there may be only one.
	if der, err := x509.MarshalPKIXPublicKey(pub); err != nil || !bytes.Equal(der, leaf.RawSubjectPublicKeyInfo) {
		return fail(CertWrongKind, "its key is encoded in an unusual way")
	}
	if leaf.SignatureAlgorithm != x509.PureEd25519 ||
		leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) != nil {
		return fail(CertBadSignature, "")
	}
	return nil
}
