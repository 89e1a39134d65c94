package wire

// Receipt is the receiver's signed statement that a file is published with this content, as durable as it says.
type Receipt struct {
	Transfer   TransferID `cbor:"1,keyasint"`
	RootHash   Hash       `cbor:"3,keyasint"`
	Size       uint64     `cbor:"5,keyasint" wire:"max=0x1000000000000"`
	Path       Path       `cbor:"7,keyasint"` // as published
	TimeNS     int64      `cbor:"9,keyasint"` // the receiver's clock, Unix ns
	Durability Durability `cbor:"11,keyasint" wire:"enum=2"`
	Signature  [64]byte   `cbor:"13,keyasint"` // Ed25519, over ReceiptBytes
	RootName   string     `cbor:"15,keyasint" wire:"max=255"`
	Signer     []byte     `cbor:"17,keyasint" wire:"max=128"` // SubjectPublicKeyInfo, DER, of the receiver's key
	Replaced   Path       `cbor:"4,keyasint,omitzero"`        // where the old version was kept; the root itself = none
}

// signedReceipt is a Receipt without its signature.
type signedReceipt struct {
	Transfer   TransferID `cbor:"1,keyasint"`
	RootHash   Hash       `cbor:"3,keyasint"`
	Size       uint64     `cbor:"5,keyasint"`
	Path       Path       `cbor:"7,keyasint"`
	TimeNS     int64      `cbor:"9,keyasint"`
	Durability Durability `cbor:"11,keyasint"`
	RootName   string     `cbor:"15,keyasint"`
	Signer     []byte     `cbor:"17,keyasint"`
	Replaced   Path       `cbor:"4,keyasint,omitzero"`
}

// Type returns TReceipt.
func (Receipt) Type() Type { return TReceipt }

func (m Receipt) check() error { return checkLabel(m.RootName) }

// ReceiptBytes returns what is signed: the map of r without the signature (key 13), in deterministic CBOR. A key that r
// was decoded with and this version does not know is not in it, so such a receipt does not verify.
func ReceiptBytes(r Receipt) []byte {
	return must(encMode.Marshal(signedReceipt{
		Transfer: r.Transfer, RootHash: r.RootHash, Size: r.Size, Path: r.Path, TimeNS: r.TimeNS,
		Durability: r.Durability, RootName: r.RootName, Signer: r.Signer, Replaced: r.Replaced,
	}))
}

// EncodeReceipt returns the body of a RECEIPT frame, for keeping. It checks nothing; what breaks the limits is refused
// by DecodeReceipt.
func EncodeReceipt(r Receipt) []byte { return must(encMode.Marshal(r)) }

// DecodeReceipt decodes what EncodeReceipt encodes, as strictly as Decode. It does not check the signature.
func DecodeReceipt(b []byte) (Receipt, error) {
	m, err := Decode(TReceipt, b)
	if err != nil {
		return Receipt{}, err
	}
	return m.(Receipt), nil
}
