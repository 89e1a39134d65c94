package wire

// IfExists says what happens when the name is taken at publication.
type IfExists uint8

// The ways.
const (
	IfExistsReplace IfExists = 0
	IfExistsFail    IfExists = 1
	IfExistsVersion IfExists = 2 // the old one is kept as a version
)

// Durability says what a receipt promises.
type Durability uint8

// The promises.
const (
	DurabilityFull  Durability = 0 // file and directory are on stable storage
	DurabilityBatch Durability = 1 // as full, synced with others
	DurabilityNone  Durability = 2 // nothing
)

// Compare says when an existing file at the name makes sending needless.
type Compare uint8

// The comparisons.
const (
	CompareNone  Compare = 0 // always send
	CompareMTime Compare = 1 // same size and modification time
	CompareRoot  Compare = 2 // same size and root; Open.RootHash is set
)

// Flags of Open.
const (
	OpenFresh  = 1 << 0 // discard what is held of this (principal, path); start over
	OpenSparse = 1 << 1 // CapZero: runs of zeros are kept as holes

	openFlags = OpenFresh | OpenSparse
)

// AlgBLAKE3 is the one hash algorithm of this version.
const AlgBLAKE3 = 1

// Open begins an attempt of a transfer; the frame's id is its handle.
type Open struct {
	Transfer    TransferID `cbor:"1,keyasint"`
	Root        string     `cbor:"3,keyasint" wire:"max=255"` // "" = the client's default; always "" in an OPEN that answers GET
	Path        Path       `cbor:"5,keyasint"`
	Size        uint64     `cbor:"7,keyasint"` // at most MaxFileSize, or UnknownSize
	ChunkLog2   uint8      `cbor:"9,keyasint" wire:"min=18,max=24"`
	Alg         uint8      `cbor:"11,keyasint" wire:"min=1,enum=1"` // AlgBLAKE3
	Fingerprint []byte     `cbor:"13,keyasint" wire:"max=64"`       // opaque to the receiver; other bytes mean another version of the source
	IfExists    IfExists   `cbor:"15,keyasint" wire:"enum=2"`
	Durability  Durability `cbor:"17,keyasint" wire:"enum=2"`
	Compare     Compare    `cbor:"19,keyasint" wire:"enum=2"`
	Flags       uint64     `cbor:"21,keyasint" wire:"enum=3"` // OpenFresh and the others
	Meta        Meta       `cbor:"4,keyasint,omitzero"`
	RootHash    *Hash      `cbor:"6,keyasint,omitempty"`              // needed for CompareRoot
	Priority    uint8      `cbor:"8,keyasint,omitempty" wire:"max=9"` // 0 is the usual one, 9 goes first
	JobID       []byte     `cbor:"12,keyasint,omitempty" wire:"min=16,max=16"`
	Tree        uint64     `cbor:"23,keyasint,omitempty" wire:"max=0xffffffff"`   // handle of the tree that the file is an entry of; Root and Path are empty then
	Entry       uint64     `cbor:"25,keyasint,omitempty" wire:"max=0xffffffffff"` // its number there
}

// Type returns TOpen.
func (Open) Type() Type { return TOpen }

func (m Open) check() error {
	if m.Compare == CompareRoot && m.RootHash == nil {
		return errf(CodeProtocol, "a comparison of roots without a root")
	}
	if m.Tree != 0 && (m.Root != "" || !m.Path.IsZero()) {
		return errf(CodeProtocol, "an entry of a tree with a path of its own")
	}
	if (m.Tree == 0) != (m.Entry == 0) {
		return errf(CodeProtocol, "a tree without an entry, or an entry without a tree")
	}
	// With the largest chunks this is MaxFileSize.
	if limit := uint64(MaxChunks) << min(m.ChunkLog2, MaxChunkLog2); m.Size != UnknownSize && m.Size > limit {
		return errf(CodeLimit, "a file of %d bytes with chunks of 2^%d, at most %d", m.Size, m.ChunkLog2, limit)
	}
	return checkLabel(m.Root)
}
