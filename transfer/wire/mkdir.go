package wire

// Mkdir makes a directory; answered by DONE.
type Mkdir struct {
	Root    string `cbor:"1,keyasint" wire:"max=255"`
	Path    Path   `cbor:"3,keyasint"`
	ExistOK bool   `cbor:"2,keyasint,omitempty"` // a directory that is there is success
	Parents bool   `cbor:"4,keyasint,omitempty"` // make those above as well
	Meta    *Meta  `cbor:"6,keyasint,omitzero"`
}

// Type returns TMkdir.
func (Mkdir) Type() Type { return TMkdir }

func (m Mkdir) check() error { return checkLabel(m.Root) }

func (m *Mkdir) normalize() { m.Meta = m.Meta.orNil() }
