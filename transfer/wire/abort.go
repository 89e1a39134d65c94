package wire

// Abort ends an attempt from either side.
type Abort struct {
	Keep bool `cbor:"1,keyasint"` // what is held is kept for the next attempt
	Code Code `cbor:"3,keyasint"` // why; 0 = because somebody said so
}

// Type returns TAbort.
func (Abort) Type() Type { return TAbort }

func (m Abort) check() error {
	if m.Code != 0 && m.Code.Class() == 0 {
		return errf(CodeProtocol, "code %v", m.Code)
	}
	return nil
}
