package wire

// Error says that the request or transfer with the frame's id failed; with id 0 it ends the session. It is a message,
// not a Go error. Text is the peer's: quote it before printing.
type Error struct {
	Code         Code   `cbor:"1,keyasint"`
	Class        uint8  `cbor:"3,keyasint"` // that of Code
	Text         string `cbor:"2,keyasint,omitempty" wire:"max=512"`
	RetryAfterMS uint64 `cbor:"4,keyasint,omitempty" wire:"max=0xffffffff"` // 0 says nothing
	Path         Path   `cbor:"6,keyasint,omitzero"`
}

// Type returns TError.
func (Error) Type() Type { return TError }

func (m Error) check() error {
	if m.Code.Class() == 0 || m.Code.Class() != m.Class {
		return errf(CodeProtocol, "code %v is not of class %d", m.Code, m.Class)
	}
	return nil
}
