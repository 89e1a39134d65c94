package crypto

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// Code is the secret of an invitation: 100 random bits, the last four bits are zero. Whoever proves to know it on
// a TLS channel is taken for whom the invitation was made, and the other way round.
type Code [13]byte

const (
	codeLetters = 20
	codeGroup   = 5
	codePadding = 0x0f // of the last byte
	codeMaxText = 64   // with separators; ParseCode looks at no more

	// Crockford's base32: no I, L, O, U.
	codeAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

	// codeInfo keeps the derived key apart from any other use of the code.
	codeInfo = "xfer enroll v1"
)

// NewCode returns a new random code.
func NewCode() (Code, error) {
	var c Code
	if _, err := rand.Read(c[:]); err != nil {
		return Code{}, fmt.Errorf("code: %w", err)
	}
	c[len(c)-1] &^= codePadding
	return c, nil
}

// String returns the code for people: XXXXX-XXXXX-XXXXX-XXXXX. It is a secret.
func (c Code) String() string {
	b := make([]byte, 0, codeLetters+3)
	for i := range codeLetters {
		if i > 0 && i%codeGroup == 0 {
			b = append(b, '-')
		}
		b = append(b, codeAlphabet[c.letter(i)])
	}
	return string(b)
}

// letter returns the i-th group of five bits.
func (c Code) letter(i int) byte {
	bit := 5 * i
	v := uint16(c[bit/8]) << 8
	if bit/8+1 < len(c) {
		v |= uint16(c[bit/8+1])
	}
	return byte(v >> (11 - bit%8) & 31)
}

// ParseCode reads a code as a person types it: in any case, dashes and spaces anywhere, O for 0, I or L for 1.
func ParseCode(s string) (Code, error) {
	if len(s) > codeMaxText {
		return Code{}, fmt.Errorf("code: %d characters are too many", len(s))
	}
	var c Code
	n := 0
	for i := 0; i < len(s); i++ {
		v, skip, ok := codeValue(s[i])
		if skip {
			continue
		}
		if !ok {
			return Code{}, errors.New("code: only letters but U, digits, '-' and spaces occur in one")
		}
		if n == codeLetters {
			return Code{}, fmt.Errorf("code: more than %d letters", codeLetters)
		}
		bit := 5 * n
		w := uint16(v) << (11 - bit%8)
		c[bit/8] |= byte(w >> 8)
		if bit/8+1 < len(c) {
			c[bit/8+1] |= byte(w)
		}
		n++
	}
	if n < codeLetters {
		return Code{}, fmt.Errorf("code: %d letters, want %d", n, codeLetters)
	}
	return c, nil
}

// codeValue returns what one typed byte stands for.
func codeValue(b byte) (v byte, skip, ok bool) {
	switch b {
	case '-', ' ', '\t', '\r', '\n':
		return 0, true, false
	case 'o', 'O':
		return 0, false, true
	case 'i', 'I', 'l', 'L':
		return 1, false, true
	}
	if 'a' <= b && b <= 'z' {
		b -= 'a' - 'A'
	}
	for i := range len(codeAlphabet) {
		if codeAlphabet[i] == b {
			return byte(i), false, true
		}
	}
	return 0, false, false
}

// ID returns the first 16 bits of the code: how a server finds the invitation. It is no secret; the other 84 bits are.
func (c Code) ID() [2]byte { return [2]byte{c[0], c[1]} }

// ClientProof is what a client sends: HMAC-SHA256(k, "client" || exporter of conn || client || server), where
// client and server are the SPKIs of both ends as this end of conn sees them and
// k = HKDF-SHA256(code, salt = ID, info = "xfer enroll v1"). Somebody in between has two channels, with
// two exporters and two other keys, and can pass on neither proof.
func (c Code) ClientProof(conn Exporter, client, server []byte) ([]byte, error) {
	return c.proof("client", conn, client, server)
}

// ServerProof is what a server answers: as ClientProof with "server" and the SPKIs in the other order.
func (c Code) ServerProof(conn Exporter, client, server []byte) ([]byte, error) {
	return c.proof("server", conn, server, client)
}

// VerifyClientProof tells whether mac is ClientProof's. It takes the same time for each wrong mac.
func (c Code) VerifyClientProof(conn Exporter, client, server, mac []byte) (bool, error) {
	want, err := c.ClientProof(conn, client, server)
	if err != nil {
		return false, err
	}
	return hmac.Equal(want, mac), nil
}

// VerifyServerProof tells whether mac is ServerProof's. It takes the same time for each wrong mac.
func (c Code) VerifyServerProof(conn Exporter, client, server, mac []byte) (bool, error) {
	want, err := c.ServerProof(conn, client, server)
	if err != nil {
		return false, err
	}
	return hmac.Equal(want, mac), nil
}

func (c Code) proof(role string, conn Exporter, first, second []byte) ([]byte, error) {
	// Both keys have one fixed length, so that no two pairs look alike when they are put together.
	if len(first) != spkiLen || len(second) != spkiLen {
		return nil, errors.New("code: a key is not an Ed25519 SubjectPublicKeyInfo")
	}
	x, err := export(conn, labelEnroll)
	if err != nil {
		return nil, err
	}
	id := c.ID()
	k, err := hkdf.Key(sha256.New, c[:], id[:], codeInfo, macLen)
	if err != nil {
		return nil, fmt.Errorf("code: %w", err)
	}
	m := hmac.New(sha256.New, k)
	m.Write([]byte(role))
	m.Write(x)
	m.Write(first)
	m.Write(second)
	return m.Sum(nil), nil
}
