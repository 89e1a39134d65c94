// Package certstest makes identities and key stores for tests: fresh ones in each test, in memory or in the test's
// own directory, so that no key and no end date is ever checked in.
package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"xfer/certs"
	"xfer/crypto"
)

const day = 24 * time.Hour

// New returns a new identity whose certificate is valid for a day from now on, by time.Now (which a synctest bubble
// fakes).
func New(t testing.TB) *crypto.Identity {
	t.Helper()
	return At(t, time.Now(), day)
}

// Pair returns two new identities, as a client and a server need them.
func Pair(t testing.TB) (client, server *crypto.Identity) {
	t.Helper()
	return New(t), New(t)
}

// At returns a new identity whose certificate was made at now and ends life later.
func At(t testing.TB, now time.Time, life time.Duration) *crypto.Identity {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := crypto.SelfSigned(key, now, life)
	if err != nil {
		t.Fatal(err)
	}
	id, err := crypto.NewIdentity(cert)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Expired returns an identity whose certificate ended yesterday.
func Expired(t testing.TB) *crypto.Identity {
	t.Helper()
	return At(t, time.Now().Add(-2*day), day)
}

// NotYetValid returns an identity whose certificate begins tomorrow.
func NotYetValid(t testing.TB) *crypto.Identity {
	t.Helper()
	return At(t, time.Now().Add(2*day), day)
}

// WrongKeyType returns a valid self-signed certificate with an ECDSA key, of which no Identity can be made.
func WrongKeyType(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "xfer"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(day),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// Store returns an empty key store beneath the test's own directory, closed when the test ends.
func Store(t testing.TB) *certs.Store {
	t.Helper()
	s, err := certs.Open(filepath.Join(t.TempDir(), "keys"), certs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
