package wire

// Zeros says that all bytes of some chunks are zeros; the frame's id is the handle. Only with CapZero, and for an OPEN with
// OpenSparse.
type Zeros struct {
	Chunks Ranges `cbor:"1,keyasint" wire:"n=8192"` // at least one
}

// Type returns TZeros.
func (Zeros) Type() Type { return TZeros }

func (m Zeros) check() error {
	if len(m.Chunks) == 0 {
		return errf(CodeProtocol, "no chunks of zeros")
	}
	return m.Chunks.check()
}
