package wire

// Meta is what is kept of a file besides its bytes.
type Meta struct {
	Mode              uint32 // Unix permission bits, with setuid, setgid and sticky: 12 bits
	MTimeNS           int64  // Unix ns
	HasMode, HasMTime bool   // whether Mode and MTimeNS are said
	// Archive is owner and extended attributes (CapExact), "" for not said: bytes of transfer/tree/MANIFEST.md, the record of
	// a top directory that has them, with the mode 0755 and the time 0. They are not looked at here.
	Archive string
}

// metaBody is the map that a Meta is: here the presence of a key has a meaning.
type metaBody struct {
	Mode    *uint32 `cbor:"1,keyasint,omitempty" wire:"max=0o7777"`
	MTimeNS *int64  `cbor:"2,keyasint,omitempty"`
	Archive []byte  `cbor:"4,keyasint,omitempty" wire:"max=73728"`
}

// IsZero tells whether m says nothing; it is then left out of a message.
func (m Meta) IsZero() bool { return !m.HasMode && !m.HasMTime && m.Archive == "" }

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
	if m.Archive != "" {
		b.Archive = []byte(m.Archive)
	}
	return encMode.Marshal(b)
}

// UnmarshalCBOR decodes what MarshalCBOR encodes.
func (m *Meta) UnmarshalCBOR(p []byte) error {
	var b metaBody
	if err := decMode.Unmarshal(p, &b); err != nil {
		return err
	}
	*m = Meta{Archive: string(b.Archive)}
	if b.Mode != nil {
		m.Mode, m.HasMode = *b.Mode, true
	}
	if b.MTimeNS != nil {
		m.MTimeNS, m.HasMTime = *b.MTimeNS, true
	}
	return nil
}
