package crypto

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// CV is the BLAKE3 chaining value of one chunk of a file (transfer/wire/PROTOCOL.md, "The hash tree"). A file
// of one chunk has no join; there the field that holds a CV holds the root itself.
type CV [32]byte

// Digest is the BLAKE3 hash of a whole file: what b3sum prints for it.
type Digest [32]byte

// EmptyRoot is the digest of no bytes at all. A variable only since Go has no constant arrays: do not set it.
var EmptyRoot = Digest{
	0xaf, 0x13, 0x49, 0xb9, 0xf5, 0xf9, 0xa1, 0xa6, 0xa0, 0x40, 0x4d, 0xea, 0x36, 0xdc, 0xc9, 0x49,
	0x9b, 0xcb, 0x25, 0xc9, 0xad, 0xc1, 0x12, 0xb7, 0xcc, 0x9a, 0x93, 0xca, 0xe4, 0x1f, 0x32, 0x62,
}

// IsZero tells whether cv is the zero value: the CV of nothing.
func (cv CV) IsZero() bool { return cv == CV{} }

// IsZero tells whether d is the zero value, which is the digest of nothing known.
func (d Digest) IsZero() bool { return d == Digest{} }

// String returns d as 64 lower-case hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// String returns cv as 64 lower-case hexadecimal digits.
func (cv CV) String() string { return hex.EncodeToString(cv[:]) }

// MarshalText returns what String returns.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDigest.
func (d *Digest) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDigest(string(b))
	return err
}

// ParseDigest reads 64 lower-case hexadecimal digits, as String and b3sum write them, and nothing else.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if len(s) != 2*len(d) {
		return Digest{}, fmt.Errorf("digest: %d characters, want %d hexadecimal digits", len(s), 2*len(d))
	}
	if _, err := hex.Decode(d[:], []byte(s)); err != nil || d.String() != s {
		return Digest{}, errors.New("digest: only the characters 0-9 and a-f occur in one")
	}
	return d, nil
}
