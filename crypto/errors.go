package crypto

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// PinError says that a server shows another key than the one that is pinned for it: the server was set up anew, or
// somebody is in between.
type PinError struct{ Want, Got PeerID }

func (e *PinError) Error() string {
	return "the server's key changed: expected " + e.Want.Grouped() + ", got " + e.Got.Grouped()
}

// CertReason is what is wrong with a certificate.
type CertReason uint8

// The reasons.
const (
	CertWrongKind    CertReason = iota // not one self-signed Ed25519 leaf
	CertBadSignature                   // not signed by its own key
	CertExpired
	CertNotYetValid
)

// CertError says that the peer's certificate is not in order, whoever the peer is.
type CertError struct {
	Reason              CertReason
	ID                  PeerID    // of the certificate, zero where there is not one
	NotBefore, NotAfter time.Time // of the certificate, zero where there is not one
	Now                 time.Time // what the clock here said, for the reasons where it matters
	Detail              string    // of CertWrongKind
}

func (e *CertError) Error() string {
	const layout = "2006-01-02 15:04:05Z"
	at := func(t time.Time) string { return t.UTC().Format(layout) }
	switch e.Reason {
	case CertExpired:
		return fmt.Sprintf("the certificate of %s expired at %s (the clock here says %s)", e.ID.Grouped(), at(e.NotAfter), at(e.Now))
	case CertNotYetValid:
		return fmt.Sprintf("the certificate of %s is not valid before %s (the clock here says %s)", e.ID.Grouped(), at(e.NotBefore), at(e.Now))
	case CertBadSignature:
		return fmt.Sprintf("the certificate of %s is not signed by its own key", e.ID.Grouped())
	}
	return "the peer's certificate is of the wrong kind: " + e.Detail
}

// VersionError says that TLS 1.3 with our ALPN was not agreed on.
type VersionError struct {
	TLS  uint16
	ALPN string // "" where none was negotiated
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("the peer speaks %s with protocol %q, want TLS 1.3 with %q", tls.VersionName(e.TLS), e.ALPN, ALPN)
}

// IsTrustError tells whether err says that one side does not trust the other: a *PinError, a *CertError, or a TLS
// alert that a peer sends for a certificate it refuses. Trying again does not help. An alert is found as
// tls.AlertError, in whatever it is wrapped, or in the form that a tls.Conn returns it.
//
// Over QUIC an alert arrives as a transport error: whoever knows that type wraps tls.AlertError for us.
func IsTrustError(err error) bool {
	var pin *PinError
	var cert *CertError
	if errors.As(err, &pin) || errors.As(err, &cert) {
		return true
	}
	var version *VersionError
	if errors.As(err, &version) {
		return false // QUIC adds the alert of a bad certificate to it
	}
	return hasAlert(err,
		42,  // bad_certificate
		43,  // unsupported_certificate
		44,  // certificate_revoked
		45,  // certificate_expired
		46,  // certificate_unknown
		48,  // unknown_ca
		49,  // access_denied
		116, // certificate_required
	)
}

// IsVersionError tells whether err says that both sides have no protocol in common: a *VersionError, or the TLS
// alerts protocol_version and no_application_protocol. Alerts are found as IsTrustError finds them.
func IsVersionError(err error) bool {
	var version *VersionError
	if errors.As(err, &version) {
		return true
	}
	return hasAlert(err,
		70,  // protocol_version
		120, // no_application_protocol
	)
}

// hasAlert looks for one of the alerts (RFC 8446 6.2) in err.
func hasAlert(err error, alerts ...tls.AlertError) bool {
	var got tls.AlertError
	isAlert := errors.As(err, &got)
	// A tls.Conn returns alerts it got as an unexported type in a net.OpError; only the text tells which one.
	var op *net.OpError
	isRemote := errors.As(err, &op) && op.Op == "remote error" && op.Err != nil
	for _, a := range alerts {
		if isAlert && got == a || isRemote && op.Err.Error() == a.Error() {
			return true
		}
	}
	return false
}
