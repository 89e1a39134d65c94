package wire

// Commit says that all chunks are sent and what they must add up to.
type Commit struct {
	RootHash    Hash   `cbor:"1,keyasint"`
	Size        uint64 `cbor:"3,keyasint" wire:"max=0x1000000000000"`
	Fingerprint []byte `cbor:"5,keyasint" wire:"max=64"` // of the source after it was read
	Meta        *Meta  `cbor:"4,keyasint,omitzero"`      // final metadata; nil = as in OPEN
}

// Type returns TCommit.
func (Commit) Type() Type { return TCommit }

func (Commit) check() error { return nil }

func (m *Commit) normalize() { m.Meta = m.Meta.orNil() }
