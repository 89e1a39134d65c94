package wire

// ExtraEntry is a name at the target that the manifest does not have.
type ExtraEntry struct {
	Path Path   `cbor:"1,keyasint"` // beneath the top directory
	Kind Kind   `cbor:"3,keyasint" wire:"min=1,enum=4"`
	Size uint64 `cbor:"5,keyasint" wire:"max=0x7fffffffffffffff"`
}

// EncodedLen returns an upper bound of the bytes that e takes in TREE_EXTRA, for keeping one below MaxControl.
func (e ExtraEntry) EncodedLen() int { return 14 + e.Path.EncodedLen() }

// TreeExtra tells names that are there and not in the manifest, each directory before what is beneath it.
type TreeExtra struct {
	Entries []ExtraEntry `cbor:"1,keyasint" wire:"n=4096"`
	Last    bool         `cbor:"2,keyasint,omitempty"`
	Total   uint64       `cbor:"4,keyasint,omitempty" wire:"max=0xffffffffff"` // with Last: all that was beneath the top directory before
}

// Type returns TTreeExtra.
func (TreeExtra) Type() Type { return TTreeExtra }

func (m TreeExtra) check() error {
	if !m.Last && (len(m.Entries) == 0 || m.Total != 0) {
		return errf(CodeProtocol, "an empty list, or a total, that is not the last")
	}
	for _, e := range m.Entries {
		if e.Path.IsZero() {
			return errf(CodeProtocol, "the top directory itself")
		}
	}
	return nil
}

// TreeDelete removes names that TREE_EXTRA told, one after the other: what is beneath a directory comes before it.
type TreeDelete struct {
	Paths []Path `cbor:"1,keyasint" wire:"n=4096"` // beneath the top directory, at least one
}

// Type returns TTreeDelete.
func (TreeDelete) Type() Type { return TTreeDelete }

func (m TreeDelete) check() error {
	if len(m.Paths) == 0 {
		return errf(CodeProtocol, "an empty list")
	}
	for _, p := range m.Paths {
		if p.IsZero() {
			return errf(CodeProtocol, "the top directory itself")
		}
	}
	return nil
}

// TreeDeleted answers TREE_DELETE: all its paths are gone or in Failed, where No counts them from 0.
type TreeDeleted struct {
	Count  uint64        `cbor:"1,keyasint" wire:"max=4096"` // that are gone
	Failed []TreeFailure `cbor:"2,keyasint,omitempty" wire:"n=4096"`
}

// Type returns TTreeDeleted.
func (TreeDeleted) Type() Type { return TTreeDeleted }

func (m TreeDeleted) check() error {
	n := m.Count + uint64(len(m.Failed))
	switch {
	case m.Count > MaxPart || n > MaxPart:
		return errf(CodeLimit, "more than %d paths", MaxPart)
	case n == 0:
		return errf(CodeProtocol, "an empty list")
	}
	for _, f := range m.Failed {
		if f.No >= n {
			return errf(CodeProtocol, "path %d of %d", f.No, n)
		}
	}
	return checkFailures(m.Failed)
}

// TreeCommit ends a tree: every entry has been taken by the receiver, or given up.
type TreeCommit struct {
	Entries  uint64 `cbor:"1,keyasint" wire:"min=1,max=0xffffffffff"` // of the manifest, with the top directory
	Manifest Hash   `cbor:"3,keyasint"`                               // BLAKE3 of all its records
}

// Type returns TTreeCommit.
func (TreeCommit) Type() Type { return TTreeCommit }

func (TreeCommit) check() error { return nil }

// TreeReceipt is the receiver's signed statement that a tree is published as its manifest says, but for the entries that
// were told to have failed or to be left out, and as durable as it says. That of a dry run states nothing: it has no signature.
type TreeReceipt struct {
	Tree       TransferID `cbor:"1,keyasint"`
	Manifest   Hash       `cbor:"3,keyasint"`
	Entries    uint64     `cbor:"5,keyasint" wire:"min=1,max=0xffffffffff"`
	Path       Path       `cbor:"7,keyasint"` // of the top directory
	TimeNS     int64      `cbor:"9,keyasint"` // the receiver's clock, Unix ns
	Durability Durability `cbor:"11,keyasint" wire:"enum=2"`
	Signature  [64]byte   `cbor:"13,keyasint"` // Ed25519, over TreeReceiptBytes
	RootName   string     `cbor:"15,keyasint" wire:"max=255"`
	Signer     []byte     `cbor:"17,keyasint" wire:"max=128"`          // SubjectPublicKeyInfo, DER, of the receiver's key
	Files      uint64     `cbor:"19,keyasint" wire:"max=0xffffffffff"` // files among Entries that are there as the manifest says
	List       *Hash      `cbor:"2,keyasint,omitempty"`                // of the list of files, where TREE_OPEN asked for it
}

// signedTreeReceipt is a TreeReceipt without its signature.
type signedTreeReceipt struct {
	Tree       TransferID `cbor:"1,keyasint"`
	Manifest   Hash       `cbor:"3,keyasint"`
	Entries    uint64     `cbor:"5,keyasint"`
	Path       Path       `cbor:"7,keyasint"`
	TimeNS     int64      `cbor:"9,keyasint"`
	Durability Durability `cbor:"11,keyasint"`
	RootName   string     `cbor:"15,keyasint"`
	Signer     []byte     `cbor:"17,keyasint"`
	Files      uint64     `cbor:"19,keyasint"`
	List       *Hash      `cbor:"2,keyasint,omitempty"`
}

// Type returns TTreeReceipt.
func (TreeReceipt) Type() Type { return TTreeReceipt }

func (m TreeReceipt) check() error {
	if m.Files >= m.Entries { // the top directory is none of them
		return errf(CodeProtocol, "%d files among %d entries", m.Files, m.Entries)
	}
	return checkLabel(m.RootName)
}

// TreeReceiptBytes returns what is signed: the map of r without the signature (key 13), in deterministic CBOR. It is never
// what is signed of a Receipt, which has no key 19.
func TreeReceiptBytes(r TreeReceipt) []byte {
	return must(encMode.Marshal(signedTreeReceipt{
		Tree: r.Tree, Manifest: r.Manifest, Entries: r.Entries, Path: r.Path, TimeNS: r.TimeNS, Durability: r.Durability,
		RootName: r.RootName, Signer: r.Signer, Files: r.Files, List: r.List,
	}))
}

// EncodeTreeReceipt returns the body of a TREE_RECEIPT frame, for keeping. It checks nothing; what breaks the limits is
// refused by DecodeTreeReceipt.
func EncodeTreeReceipt(r TreeReceipt) []byte { return must(encMode.Marshal(r)) }

// DecodeTreeReceipt decodes what EncodeTreeReceipt encodes, as strictly as Decode. It does not check the signature.
func DecodeTreeReceipt(b []byte) (TreeReceipt, error) {
	m, err := Decode(TTreeReceipt, b)
	if err != nil {
		return TreeReceipt{}, err
	}
	return m.(TreeReceipt), nil
}

// TreeLeft tells of an entry that was left out of the manifest of a tree that a client asked for.
type TreeLeft struct {
	Path Path   `cbor:"1,keyasint"` // beneath the top directory
	Code Code   `cbor:"3,keyasint"` // UNSUPPORTED: it is none that a manifest has, as a device; else why it could not be read
	Text string `cbor:"2,keyasint,omitempty" wire:"max=512"`
}

// Type returns TTreeLeft.
func (TreeLeft) Type() Type { return TTreeLeft }

func (m TreeLeft) check() error {
	if m.Code.Class() == 0 {
		return errf(CodeProtocol, "code %v", m.Code)
	}
	return nil
}
