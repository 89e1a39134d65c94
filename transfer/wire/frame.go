package wire

import (
	"encoding/binary"
	"fmt"
)

const (
	// HeaderLen is the size of the header before every body.
	HeaderLen = 12
	// DataHeaderLen is the size of all that stands before the payload of a DATA frame.
	DataHeaderLen = HeaderLen + dataFixed

	dataFixed = 16
	cvLen     = 32
)

// Header is the 12 bytes before every frame, big-endian: type u8, flags u8, reserved u16 (0), length u32, id u32.
type Header struct {
	Type   Type
	Flags  uint8  // only DATA and PACK have flags
	Length uint32 // of the body
	ID     uint32 // of the request or the transfer's handle; 0 for what concerns the session
}

func (h Header) append(b []byte) []byte {
	b = append(b, byte(h.Type), h.Flags, 0, 0)
	b = binary.BigEndian.AppendUint32(b, h.Length)
	return binary.BigEndian.AppendUint32(b, h.ID)
}

// parseHeader checks everything in a header but the limit of control frames.
func parseHeader(b *[HeaderLen]byte) (Header, error) {
	h := Header{
		Type: Type(b[0]), Flags: b[1],
		Length: binary.BigEndian.Uint32(b[4:]), ID: binary.BigEndian.Uint32(b[8:]),
	}
	if b[2] != 0 || b[3] != 0 {
		return h, errf(CodeProtocol, "%v: reserved bytes of the frame header are not zero", h.Type)
	}
	switch h.Type {
	case TData:
		return h, h.checkData()
	case TPack:
		return h, h.checkPack()
	}
	if !h.Type.Known() {
		return h, nil // skipped and answered UNSUPPORTED
	}
	if h.Flags != 0 {
		return h, errf(CodeProtocol, "%v with flags %#02x", h.Type, h.Flags)
	}
	return h, checkID(h.Type, h.ID)
}

func (h Header) checkData() error {
	if h.Flags&^dataFlags != 0 {
		return errf(CodeProtocol, "DATA with unknown flags %#02x", h.Flags&^dataFlags)
	}
	if h.Length > MaxDataFrame {
		return errf(CodeLimit, "DATA of %d bytes, the limit is %d", h.Length, MaxDataFrame)
	}
	least := uint32(dataFixed)
	if h.Flags&DataLast != 0 {
		least += cvLen
	}
	if h.Flags&DataZstd != 0 {
		least += zstdLeast
	}
	if h.Length < least {
		return errf(CodeProtocol, "DATA of %d bytes is too short", h.Length)
	}
	if h.Flags&DataZero != 0 && (h.Flags != dataZero || h.Length != least) {
		return errf(CodeProtocol, "DATA of zeros with flags %#02x and %d bytes", h.Flags, h.Length)
	}
	return checkID(TData, h.ID)
}

func (h Header) checkPack() error {
	if h.Flags&^PackZstd != 0 {
		return errf(CodeProtocol, "PACK with unknown flags %#02x", h.Flags&^PackZstd)
	}
	if h.Length > MaxPack {
		return errf(CodeLimit, "PACK of %d bytes, the limit is %d", h.Length, MaxPack)
	}
	least := uint32(packFixed + packLeast)
	if h.Flags&PackZstd != 0 {
		least = packFixed + zstdLeast
	}
	if h.Length < least {
		return errf(CodeProtocol, "PACK of %d bytes is too short", h.Length)
	}
	return checkID(TPack, h.ID)
}

// checkID holds the rule for the id of a frame: 0 is the session, so a request or a transfer has another.
func checkID(t Type, id uint32) error {
	switch t {
	case TPing, TPong, TError:
		return nil
	case THello, TWelcome, TJoin, TJoined, TGoAway, TBye:
		if id != 0 {
			return errf(CodeProtocol, "%v with id %d, must be 0", t, id)
		}
		return nil
	}
	if id == 0 {
		return errf(CodeProtocol, "%v with id 0", t)
	}
	return nil
}

// AppendFrame appends m as one frame, header and body, to b. It refuses with an error what a peer would refuse: a
// message beyond its limits, an id that must or must not be 0, a body above MaxControl. b is then returned unchanged.
func AppendFrame(b []byte, id uint32, m Message) ([]byte, error) {
	if m == nil {
		return b, fmt.Errorf("wire: append frame: no message")
	}
	t := m.Type()
	if err := checkID(t, id); err != nil {
		return b, err
	}
	start := len(b)
	out, err := appendBody(Header{Type: t, ID: id}.append(b), m)
	if err != nil {
		return b, err
	}
	n := len(out) - start - HeaderLen
	if n > MaxControl {
		return b, errf(CodeLimit, "%v of %d bytes, the limit is %d", t, n, MaxControl)
	}
	binary.BigEndian.PutUint32(out[start+4:], uint32(n))
	return out, nil
}
