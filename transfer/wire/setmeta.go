package wire

// SetMeta sets mode and modification time of what is there; answered by DONE.
type SetMeta struct {
	Root string `cbor:"1,keyasint" wire:"max=255"`
	Path Path   `cbor:"3,keyasint"`
	Meta Meta   `cbor:"5,keyasint"`
}

// Type returns TSetMeta.
func (SetMeta) Type() Type { return TSetMeta }

func (m SetMeta) check() error { return checkLabel(m.Root) }
