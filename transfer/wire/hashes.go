package wire

// Hashes asks the receiver of an open transfer for the CVs of chunks that it holds, or of the old version of the file; the
// frame's id is the handle.
type Hashes struct {
	First  uint64 `cbor:"1,keyasint" wire:"max=0xffffff"`
	Count  uint64 `cbor:"3,keyasint" wire:"min=1,max=8192"`
	Old    bool   `cbor:"2,keyasint,omitempty"` // of the old version
	Groups bool   `cbor:"4,keyasint,omitempty"` // not of chunks but of their groups of 1<<GroupLog2 bytes; only with Old
}

// Type returns THashes.
func (Hashes) Type() Type { return THashes }

func (m Hashes) check() error {
	if m.Groups && !m.Old {
		return errf(CodeProtocol, "groups of what is no old version")
	}
	if m.First > MaxChunks || m.Count > MaxChunks-m.First {
		return errf(CodeLimit, "chunks beyond %d", MaxChunks)
	}
	return m.checkGroups(MinChunkLog2)
}

func (m Hashes) checkGroups(chunkLog2 uint8) error {
	if n := m.Count << (chunkLog2 - GroupLog2); m.Groups && n > MaxHashes {
		return errf(CodeLimit, "groups of %d chunks of 2^%d bytes, at most %d groups", m.Count, chunkLog2, MaxHashes)
	}
	return nil
}

// Values returns how many CVs the answer to m has, in a transfer with chunks of 1<<chunkLog2 bytes (MinChunkLog2 to
// MaxChunkLog2) whose OPENED told an old version of old bytes. It refuses what asks for more than MaxHashes, with
// CodeLimit, or for more than the old version has, with CodeProtocol. Without Old it is Count.
func (m Hashes) Values(chunkLog2 uint8, old uint64) (int, error) {
	if !m.Old {
		return int(m.Count), nil
	}
	if err := m.checkGroups(chunkLog2); err != nil {
		return 0, err
	}
	if chunks := ceilShift(old, chunkLog2); m.First > chunks || m.Count > chunks-m.First {
		return 0, errf(CodeProtocol, "HASHES of chunks %d+%d of an old version of %d bytes", m.First, m.Count, old)
	}
	if !m.Groups {
		return int(m.Count), nil
	}
	begin, end := m.First<<chunkLog2, min((m.First+m.Count)<<chunkLog2, old)
	return int(ceilShift(end-begin, GroupLog2)), nil
}

// ceilShift divides n by 1<<log2 and rounds up.
func ceilShift(n uint64, log2 uint8) uint64 {
	q := n >> log2
	if q<<log2 != n {
		q++
	}
	return q
}

// HashList answers HASHES: one CV for each chunk or group asked for, all zero for one that is not held or not known.
type HashList struct {
	CVs    []Hash // at most MaxHashes
	First  uint64 // this and the others as in the HASHES that is answered
	Old    bool
	Groups bool
}

// hashListBody is the map that a HashList is: all CVs in one byte string.
type hashListBody struct {
	CVs    []byte `cbor:"1,keyasint" wire:"max=0x40000"`
	First  uint64 `cbor:"2,keyasint,omitempty" wire:"max=0xffffff"`
	Old    bool   `cbor:"4,keyasint,omitempty"`
	Groups bool   `cbor:"6,keyasint,omitempty"`
}

// MarshalCBOR encodes m as a map.
func (m HashList) MarshalCBOR() ([]byte, error) {
	b := hashListBody{CVs: make([]byte, 0, len(m.CVs)*cvLen), First: m.First, Old: m.Old, Groups: m.Groups}
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
	*m = HashList{CVs: make([]Hash, len(b.CVs)/cvLen), First: b.First, Old: b.Old, Groups: b.Groups}
	for i := range m.CVs {
		copy(m.CVs[i][:], b.CVs[i*cvLen:])
	}
	return nil
}

// Type returns THashList.
func (HashList) Type() Type { return THashList }

func (m HashList) check() error {
	switch n := uint64(len(m.CVs)); {
	case m.Groups && !m.Old:
		return errf(CodeProtocol, "groups of what is no old version")
	case m.First >= MaxChunks || !m.Groups && n > MaxChunks-m.First:
		return errf(CodeLimit, "chunks beyond %d", MaxChunks)
	}
	return nil
}
