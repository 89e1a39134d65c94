package crypto

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

// PeerID is who a peer is: the SHA-256 of its public key as a DER SubjectPublicKeyInfo (RFC 5280 4.1.2.7). It
// outlives the renewal of certificates. The zero value is nobody.
type PeerID [32]byte

const (
	peerIDLetters = 52 // ceil(256/5)
	peerIDGroup   = 7
	// 52 letters in groups of seven: seven whole groups and one of three, seven dashes between.
	peerIDGrouped = peerIDLetters + (peerIDLetters-1)/peerIDGroup
)

// peerIDText is base32 of RFC 4648 without padding.
var peerIDText = base32.StdEncoding.WithPadding(base32.NoPadding)

// PeerIDOf returns the id of cert's public key.
func PeerIDOf(cert *x509.Certificate) PeerID { return PeerIDOfSPKI(cert.RawSubjectPublicKeyInfo) }

// PeerIDOfSPKI returns the id of a public key given as a DER SubjectPublicKeyInfo. It does not look into der.
func PeerIDOfSPKI(der []byte) PeerID { return sha256.Sum256(der) }

// String returns id as 52 upper-case base32 letters (RFC 4648, no padding).
func (id PeerID) String() string { return peerIDText.EncodeToString(id[:]) }

// Grouped returns id as String does, with a '-' after each seven letters: for people who compare two of them.
func (id PeerID) Grouped() string {
	s := id.String()
	b := make([]byte, 0, peerIDGrouped)
	for len(s) > peerIDGroup {
		b = append(b, s[:peerIDGroup]...)
		b = append(b, '-')
		s = s[peerIDGroup:]
	}
	return string(append(b, s...))
}

// IsZero tells whether id is the zero value, nobody.
func (id PeerID) IsZero() bool { return id == PeerID{} }

// MarshalText returns what String returns.
func (id PeerID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText is ParsePeerID.
func (id *PeerID) UnmarshalText(b []byte) (err error) {
	*id, err = ParsePeerID(string(b))
	return err
}

// ParsePeerID reads what String or Grouped wrote, in any case. Anything else is an error: another length, dashes
// at other places, bits set in the last letter that belong to no byte. One id has one spelling but for case
// and grouping.
func ParsePeerID(s string) (PeerID, error) {
	switch len(s) {
	case peerIDLetters:
	case peerIDGrouped:
		b := make([]byte, 0, peerIDLetters)
		for i := 0; i < len(s); i++ {
			if i%(peerIDGroup+1) != peerIDGroup {
				b = append(b, s[i])
			} else if s[i] != '-' {
				return PeerID{}, fmt.Errorf("peer id: a '-' is expected after each %d letters", peerIDGroup)
			}
		}
		s = string(b)
	default:
		return PeerID{}, fmt.Errorf("peer id: %d characters, want %d, or %d with dashes", len(s), peerIDLetters, peerIDGrouped)
	}
	s = upperASCII(s)
	var buf [peerIDLetters * 5 / 8]byte
	// The decoder ignores line breaks; they are no letters here.
	if strings.ContainsAny(s, "\r\n") {
		return PeerID{}, errPeerIDLetter
	}
	n, err := peerIDText.Decode(buf[:], []byte(s))
	if err != nil || n != len(PeerID{}) {
		return PeerID{}, errPeerIDLetter
	}
	id := PeerID(buf[:])
	if id.String() != s {
		return PeerID{}, errors.New("peer id: the last letter is impossible, something was mistyped")
	}
	return id, nil
}

var errPeerIDLetter = errors.New("peer id: only the letters A-Z and the digits 2-7 occur in one")

// upperASCII is strings.ToUpper for ASCII alone: no other letter may turn into one of ours.
func upperASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'a' <= c && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}
