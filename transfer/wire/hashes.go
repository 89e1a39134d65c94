package wire

// Hashes asks the receiver of an open transfer for the CVs of chunks that it holds; the frame's id is the handle.
type Hashes struct {
	First uint64 `cbor:"1,keyasint" wire:"max=0xffffff"`
	Count uint64 `cbor:"3,keyasint" wire:"min=1,max=8192"`
}

// Type returns THashes.
func (Hashes) Type() Type { return THashes }

func (m Hashes) check() error {
	if m.First > MaxChunks || m.Count > MaxChunks-m.First {
		return errf(CodeLimit, "chunks beyond %d", MaxChunks)
	}
	return nil
}

// HashList answers HASHES: one CV for each chunk asked for, all zero for one that is not held.
type HashList struct {
	CVs []Hash // at most MaxHashes
}

// hashListBody is the map that a HashList is: all CVs in one byte string.
type hashListBody struct {
	CVs []byte `cbor:"1,keyasint" wire:"max=0x40000"`
}

// MarshalCBOR encodes m as a map.
func (m HashList) MarshalCBOR() ([]byte, error) {
	b := hashListBody{CVs: make([]byte, 0, len(m.CVs)*cvLen)}
	for i := range m.CVs {
		b.CVs = append(b.CVs, m.CVs[i][:]...)
	}
	return encMode.Marshal(b)
}

// UnmarshalCBOR decodes what MarshalCBOR encodes.
func (m *HashList) UnmarshalCBOR(p []byte) error {
	var b hashListBody
	if err := decMode.Unmarshal(p, &b); err != nil {
		return err
	}
	if len(b.CVs)%cvLen != 0 {
		return errf(CodeProtocol, "chaining values of %d bytes in all", len(b.CVs))
	}
	m.CVs = make([]Hash, len(b.CVs)/cvLen)
	for i := range m.CVs {
		copy(m.CVs[i][:], b.CVs[i*cvLen:])
	}
	return nil
}

// Type returns THashList.
func (HashList) Type() Type { return THashList }

func (HashList) check() error { return nil }
