package wire

// Meta is what is kept of a file besides its bytes.
type Meta struct {
	Mode              uint32 // Unix permission bits, with setuid, setgid and sticky: 12 bits
	MTimeNS           int64  // Unix ns
	HasMode, HasMTime bool   // whether Mode and MTimeNS are said
}

// metaBody is the map that a Meta is: here the presence of a key has a meaning.
type metaBody struct {
	Mode    *uint32 `cbor:"1,keyasint,omitempty" wire:"max=0o7777"`
	MTimeNS *int64  `cbor:"2,keyasint,omitempty"`
}

// IsZero tells whether m says nothing; it is then left out of a message.
func (m Meta) IsZero() bool { return !m.HasMode && !m.HasMTime }

// orNil returns nil for metadata that says nothing, as when all its keys were ignored: so there is one form of it.
func (m *Meta) orNil() *Meta {
	if m == nil || m.IsZero() {
		return nil
	}
	return m
}

// MarshalCBOR encodes m as a map of what is said.
func (m Meta) MarshalCBOR() ([]byte, error) {
	var b metaBody
	if m.HasMode {
		b.Mode = &m.Mode
	}
	if m.HasMTime {
		b.MTimeNS = &m.MTimeNS
	}
	return encMode.Marshal(b)
}

// UnmarshalCBOR decodes what MarshalCBOR encodes.
func (m *Meta) UnmarshalCBOR(p []byte) error {
	var b metaBody
	if err := decMode.Unmarshal(p, &b); err != nil {
		return err
	}
	*m = Meta{}
	if b.Mode != nil {
		m.Mode, m.HasMode = *b.Mode, true
	}
	if b.MTimeNS != nil {
		m.MTimeNS, m.HasMTime = *b.MTimeNS, true
	}
	return nil
}
