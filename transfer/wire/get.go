package wire

// Get asks the server to send a file. It answers with OPEN on Handle, or with ERROR with Handle as the id.
type Get struct {
	Root         string `cbor:"1,keyasint" wire:"max=255"`
	Path         Path   `cbor:"3,keyasint"`
	Handle       uint32 `cbor:"5,keyasint"`               // odd: the client receives
	ChunkLog2Max uint8  `cbor:"7,keyasint" wire:"max=24"` // the largest chunks wanted, 0 = any
	Dense        bool   `cbor:"2,keyasint,omitempty"`     // no OpenSparse: the chunks are taken in order
	Exact        bool   `cbor:"4,keyasint,omitempty"`     // CapExact: the mode with all its bits, owner and attributes are wanted
}

// Type returns TGet.
func (Get) Type() Type { return TGet }

func (m Get) check() error {
	if m.Handle%2 == 0 {
		return errf(CodeProtocol, "handle %d is not odd", m.Handle)
	}
	if m.ChunkLog2Max != 0 && m.ChunkLog2Max < MinChunkLog2 {
		return errf(CodeProtocol, "chunks below the smallest")
	}
	return checkLabel(m.Root)
}
