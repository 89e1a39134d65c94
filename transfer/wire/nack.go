package wire

// Nack says that a chunk was not taken and is to be sent again.
type Nack struct {
	Chunk uint64 `cbor:"1,keyasint" wire:"max=0xffffff"`
	Code  Code   `cbor:"3,keyasint"` // why; CodeChunkBad
}

// Type returns TNack.
func (Nack) Type() Type { return TNack }

func (m Nack) check() error {
	if m.Code.Class() == 0 {
		return errf(CodeProtocol, "code %v", m.Code)
	}
	return nil
}
