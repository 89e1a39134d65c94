package crypto

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"sync/atomic"
	"time"
)

// backdate is how long before its making a certificate begins to be valid: for peers whose clock is behind.
const backdate = time.Hour

// Identity is a private key with its current certificate. Safe for concurrent use: a renewed certificate takes
// effect for the handshakes that begin after SetCertificate.
type Identity struct {
	signer stdcrypto.Signer
	spki   []byte
	id     PeerID
	cert   atomic.Pointer[tls.Certificate]
}

// GenerateKey makes a new identity key.
func GenerateKey() (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(nil)
	return key, err
}

// SelfSigned makes a certificate for key that ends at now + life. It begins an hour before now, for peers whose
// clock is behind. It names nobody: what counts is the key.
func SelfSigned(key ed25519.PrivateKey, now time.Time, life time.Duration) (tls.Certificate, error) {
	if len(key) != ed25519.PrivateKeySize {
		return tls.Certificate{}, errors.New("certificate: not an Ed25519 private key")
	}
	if life <= 0 {
		return tls.Certificate{}, fmt.Errorf("certificate: a life of %v is none", life)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial.Add(serial, big.NewInt(1)),
		Subject:               pkix.Name{CommonName: "xfer"},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(life),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// NewIdentity returns the identity of cert: exactly one self-signed Ed25519 leaf and its private key, a
// crypto.Signer. It does not look at the clock: the peer refuses what is expired.
func NewIdentity(cert tls.Certificate) (*Identity, error) {
	signer, leaf, err := checkOwn(&cert)
	if err != nil {
		return nil, err
	}
	i := &Identity{
		signer: signer,
		spki:   bytes.Clone(leaf.RawSubjectPublicKeyInfo),
		id:     PeerIDOf(leaf),
	}
	i.cert.Store(&cert)
	return i, nil
}

// checkOwn checks a certificate of ours and sets its Leaf.
func checkOwn(cert *tls.Certificate) (stdcrypto.Signer, *x509.Certificate, error) {
	if len(cert.Certificate) != 1 {
		return nil, nil, fmt.Errorf("identity: %d certificates, want one", len(cert.Certificate))
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return nil, nil, fmt.Errorf("identity: %w", err)
	}
	if err := checkLeaf(leaf); err != nil {
		return nil, nil, fmt.Errorf("identity: %w", err)
	}
	signer, ok := cert.PrivateKey.(stdcrypto.Signer)
	if !ok {
		return nil, nil, errors.New("identity: the private key cannot sign")
	}
	pub, ok := signer.Public().(ed25519.PublicKey)
	if !ok || !pub.Equal(leaf.PublicKey) {
		return nil, nil, errors.New("identity: the private key is not that of the certificate")
	}
	cert.Leaf = leaf
	return signer, leaf, nil
}

// ID returns who this is.
func (i *Identity) ID() PeerID { return i.id }

// SPKI returns the public key as a DER SubjectPublicKeyInfo, 44 bytes. The caller may keep and change it.
func (i *Identity) SPKI() []byte { return bytes.Clone(i.spki) }

// Certificate returns the current certificate with its Leaf set. It is shared: do not change what it points to.
func (i *Identity) Certificate() tls.Certificate { return *i.cert.Load() }

// NotAfter returns when the current certificate ends.
func (i *Identity) NotAfter() time.Time { return i.cert.Load().Leaf.NotAfter }

// SetCertificate puts a renewed certificate in place. It must be of the same key, else nothing changes and an
// error is returned.
func (i *Identity) SetCertificate(cert tls.Certificate) error {
	_, leaf, err := checkOwn(&cert)
	if err != nil {
		return err
	}
	if PeerIDOf(leaf) != i.id {
		return errors.New("identity: the new certificate is of another key")
	}
	i.cert.Store(&cert)
	return nil
}
