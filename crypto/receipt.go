package crypto

import (
	"bytes"
	stdcrypto "crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
)

// spkiLen is the length of an Ed25519 SubjectPublicKeyInfo (RFC 8410 4): 12 bytes and the key.
const spkiLen = 12 + ed25519.PublicKeySize

// receiptDomain keeps signatures of receipts apart from all else that the key signs (TLS, certificates).
const receiptDomain = "xfer receipt v1\x00"

// ErrReceiptSignature says that a receipt was changed or is of another key.
var ErrReceiptSignature = errors.New("receipt: the signature is wrong")

// SignReceipt signs msg, the bytes of a receipt without its signature, with the identity's key (Ed25519, RFC 8032)
// behind the words "xfer receipt v1" and a zero byte.
func (i *Identity) SignReceipt(msg []byte) ([64]byte, error) {
	sig, err := i.signer.Sign(rand.Reader, receiptInput(msg), stdcrypto.Hash(0))
	if err != nil {
		return [64]byte{}, fmt.Errorf("receipt: %w", err)
	}
	if len(sig) != ed25519.SignatureSize {
		return [64]byte{}, fmt.Errorf("receipt: a signature of %d bytes", len(sig))
	}
	return [64]byte(sig), nil
}

func receiptInput(msg []byte) []byte {
	return append(append(make([]byte, 0, len(receiptDomain)+len(msg)), receiptDomain...), msg...)
}

// VerifyReceipt checks sig over msg by the key spki, an Ed25519 SubjectPublicKeyInfo, and returns whose key that is.
// Whether that is somebody known the caller decides. A wrong signature is ErrReceiptSignature.
func VerifyReceipt(spki []byte, msg []byte, sig [64]byte) (PeerID, error) {
	pub, err := parseSPKI(spki)
	if err != nil {
		return PeerID{}, fmt.Errorf("receipt: %w", err)
	}
	if !ed25519.Verify(pub, receiptInput(msg), sig[:]) {
		return PeerID{}, ErrReceiptSignature
	}
	return PeerIDOfSPKI(spki), nil
}

// parseSPKI reads the one encoding that an Ed25519 key has.
func parseSPKI(der []byte) (ed25519.PublicKey, error) {
	if len(der) != spkiLen {
		return nil, fmt.Errorf("a key of %d bytes, want %d", len(der), spkiLen)
	}
	k, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errors.New("the key cannot be read")
	}
	pub, ok := k.(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("the key is not Ed25519")
	}
	if again, err := x509.MarshalPKIXPublicKey(pub); err != nil || !bytes.Equal(again, der) {
		return nil, errors.New("the key is encoded in an unusual way")
	}
	return pub, nil
}
