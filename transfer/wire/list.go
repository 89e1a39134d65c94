package wire

// List asks for the entries of a directory, in pages.
type List struct {
	Root   string `cbor:"1,keyasint" wire:"max=255"`
	Path   Path   `cbor:"3,keyasint"`
	Depth  uint64 `cbor:"5,keyasint" wire:"min=1,enum=1"`       // 1 = this directory; more is reserved
	Cursor []byte `cbor:"2,keyasint,omitempty" wire:"max=4096"` // Entries.Next of the page before; empty = from the start
}

// Type returns TList.
func (List) Type() Type { return TList }

func (m List) check() error { return checkLabel(m.Root) }
