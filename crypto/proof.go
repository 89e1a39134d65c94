package crypto

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Labels of the exporters (RFC 8446 7.5).
const (
	labelSession = "EXPORTER-xfer-session"
	labelJoin    = "EXPORTER-xfer-join"
	labelEnroll  = "EXPORTER-xfer-enroll"
)

// macLen is the length of keys, exports and macs here: that of SHA-256.
const macLen = sha256.Size

// Exporter is one TLS channel that can derive keys bound to it: both ends get the same bytes for a label, and no
// other channel does.
type Exporter interface {
	Export(label string, n int) ([]byte, error)
}

// SessionKey derives the key of the session that the control connection carries. 32 bytes.
func SessionKey(control Exporter) ([]byte, error) { return export(control, labelSession) }

func export(conn Exporter, label string) ([]byte, error) {
	x, err := conn.Export(label, macLen)
	if err != nil {
		return nil, fmt.Errorf("export %s: %w", label, err)
	}
	if len(x) != macLen {
		return nil, fmt.Errorf("export %s: %d bytes, want %d", label, len(x), macLen)
	}
	return x, nil
}

// JoinProof proves on conn that whoever speaks there holds the session's key:
// HMAC-SHA256(sessionKey, "join" || exporter of conn || counter, 8 bytes big-endian). It is worth nothing on
// another connection, nor with another counter.
func JoinProof(sessionKey []byte, conn Exporter, counter uint64) ([]byte, error) {
	if len(sessionKey) != macLen {
		return nil, errors.New("join proof: the session key has the wrong length")
	}
	x, err := export(conn, labelJoin)
	if err != nil {
		return nil, err
	}
	m := hmac.New(sha256.New, sessionKey)
	m.Write([]byte("join"))
	m.Write(x)
	m.Write(binary.BigEndian.AppendUint64(nil, counter))
	return m.Sum(nil), nil
}

// VerifyJoinProof tells whether mac is what JoinProof gives here. It takes the same time for each wrong mac. That
// the peer is the session's principal as well the caller checks.
func VerifyJoinProof(sessionKey []byte, conn Exporter, counter uint64, mac []byte) (bool, error) {
	want, err := JoinProof(sessionKey, conn, counter)
	if err != nil {
		return false, err
	}
	return hmac.Equal(want, mac), nil
}
