package wire

// Symlink makes a symbolic link; answered by DONE. The target is stored, never followed.
type Symlink struct {
	Root     string
	Path     Path
	Target   string // bytes, 1 to MaxTarget, no NUL
	IfExists IfExists
	Meta     *Meta
}

// symlinkBody is the map that a Symlink is: the target is a byte string there.
type symlinkBody struct {
	Root     string   `cbor:"1,keyasint" wire:"max=255"`
	Path     Path     `cbor:"3,keyasint"`
	Target   []byte   `cbor:"5,keyasint" wire:"min=1,max=4095"`
	IfExists IfExists `cbor:"7,keyasint" wire:"enum=2"`
	Meta     *Meta    `cbor:"2,keyasint,omitzero"`
}

// MarshalCBOR encodes m as a map.
func (m Symlink) MarshalCBOR() ([]byte, error) {
	return encMode.Marshal(symlinkBody{m.Root, m.Path, []byte(m.Target), m.IfExists, m.Meta})
}

// UnmarshalCBOR decodes what MarshalCBOR encodes.
func (m *Symlink) UnmarshalCBOR(p []byte) error {
	var b symlinkBody
	if err := decMode.Unmarshal(p, &b); err != nil {
		return err
	}
	*m = Symlink{b.Root, b.Path, string(b.Target), b.IfExists, b.Meta}
	return nil
}

// Type returns TSymlink.
func (Symlink) Type() Type { return TSymlink }

func (m Symlink) check() error {
	if err := checkTarget(m.Target); err != nil {
		return err
	}
	return checkLabel(m.Root)
}

func (m *Symlink) normalize() { m.Meta = m.Meta.orNil() }
