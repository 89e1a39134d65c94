package wire

// Space asks for the room in a root.
type Space struct {
	Root string `cbor:"1,keyasint" wire:"max=255"`
}

// Type returns TSpace.
func (Space) Type() Type { return TSpace }

func (m Space) check() error { return checkLabel(m.Root) }

// Spaced answers SPACE, in bytes.
type Spaced struct {
	Free  uint64 `cbor:"1,keyasint" wire:"max=0x7fffffffffffffff"`
	Total uint64 `cbor:"3,keyasint" wire:"max=0x7fffffffffffffff"`
}

// Type returns TSpaced.
func (Spaced) Type() Type { return TSpaced }

func (Spaced) check() error { return nil }
