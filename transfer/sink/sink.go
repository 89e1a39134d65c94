package sink

import (
	"io/fs"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// IfExists says what Publish does when the final name is there.
type IfExists uint8

// The ways. Where Rights have NoReplace it is always Fail.
const (
	Replace IfExists = iota // the new file replaces it, atomically
	Fail                    // fs.ErrExist, unless the content is the same: that is success
	Version                 // it is kept as a version (FORMAT.md), then replaced
)

// Durability says what is synced.
type Durability uint8

// The degrees.
const (
	Full  Durability = iota // a receipt implies that the file is there after power loss
	Batch                   // the same; syncs of files that are published at once are shared where that is possible
	None                    // nothing is synced; Checkpoint calls nothing durable
)

// Spec is one file to come.
type Spec struct {
	Transfer    [16]byte
	Path        Path
	Size        int64 // bytes; -1 = unknown, then it comes with Publish
	ChunkLog2   uint8 // 18 to 24: a chunk has 1<<ChunkLog2 bytes
	Fingerprint []byte
	Fresh       bool // discard what is held of this (owner, path)
	IfExists    IfExists
	Durability  Durability
	Meta        Meta
	Sparse      bool // the file has holes: none is filled, and runs of zeros become some. Needs a Size, of at most 4 TiB and 2^19 chunks
	// Busy is called about once a second while Begin or Publish has to read what is on the disk. May be nil.
	Busy func()
}

// Meta is what is kept of a file besides its bytes. FORMAT.md, "Metadata", says what becomes of it. The zero value says nothing.
type Meta struct {
	Mode     fs.FileMode // permission bits; of an archive (HasOwner) also setuid, setgid and sticky
	MTime    time.Time
	HasMode  bool
	HasMTime bool

	HasOwner  bool // the sender archives
	HasXAttrs bool // XAttrs are all that the file has, of those that are kept
	UID, GID  uint32
	User      string // the names of UID and GID at the sender, "" where they have none
	Group     string
	XAttrs    []durable.XAttr // sorted by name, ACLs among them; not changed

	// Unkept, if not nil, is told what could not be kept. That is no error.
	Unkept *Unkept

	eff *effects // what View.allow has found out
}

// Range is Count chunks from Start.
type Range struct{ Start, Count int64 }

// Part is the prefix of a chunk that is kept. Its bytes are not verified.
type Part struct{ Chunk, Bytes int64 }

// State is what Begin found.
type State uint8

// The states.
const (
	StateNew     State = iota // nothing was there
	StatePartial              // Found.Have and Found.Parts are there
	StateChanged              // there was a stage with another fingerprint: gone, this one is fresh
	StateDone                 // published before under this transfer id: Found.Receipt, and the *Stage is nil
)

// Found is what Begin found.
type Found struct {
	State   State
	Epoch   uint64 // number of the attempt, from 1; grows as long as the stage lives
	Have    []Range
	Parts   []Part
	Receipt []byte
}

// Published says what Publish has done.
type Published struct {
	Path     Path
	Root     crypto.Digest
	Size     int64
	Time     time.Time
	Replaced Path // where the old version is kept, beneath ".xfer/versions"; the root: none was
}

// Commit is what Publish is to make of a stage.
type Commit struct {
	Root crypto.Digest
	Size int64
	Meta *Meta // final metadata, nil = as in Spec
	// Stop is asked now and then while the zeros of holes are hashed, which may take minutes: its error ends Publish, and
	// nothing was published. nil: no end.
	Stop func() error
	// Sign makes the receipt. It is called after the file is durable under its final name; what it returns is
	// written to done.log (durable) before Publish returns it. nil: an empty receipt.
	Sign func(Published) ([]byte, error)
}
