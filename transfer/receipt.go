package transfer

import (
	"errors"
	"strings"
	"time"

	"xfer/crypto"
	"xfer/transfer/wire"
)

// Receipt is the signed statement of a receiver that a file is published under Path, whole, with the hash Root.
type Receipt struct {
	Root       crypto.Digest
	Size       int64  // bytes
	Path       string // "/NAME/a/b" beneath root NAME, or "a/b" beneath the directory of a get; raw bytes
	Time       time.Time
	Durability string
	signed     wire.Receipt
}

// Signer is the public key of the receiver, as a DER SubjectPublicKeyInfo.
func (r Receipt) Signer() []byte { return r.signed.Signer }

// TransferID is the id of the transfer.
func (r Receipt) TransferID() [16]byte { return [16]byte(r.signed.Transfer) }

// Verify checks the signature and returns whose it is. Whether that is somebody we know is the caller's question.
func (r Receipt) Verify() (crypto.PeerID, error) {
	return crypto.VerifyReceipt(r.signed.Signer, wire.ReceiptBytes(r.signed), r.signed.Signature)
}

func receiptOf(w wire.Receipt) Receipt {
	r := Receipt{Root: crypto.Digest(w.RootHash), Size: int64(w.Size), Time: time.Unix(0, w.TimeNS), signed: w}
	r.Path = strings.Join(w.Path.Parts(), "/")
	if w.RootName != "" {
		r.Path = "/" + w.RootName + "/" + r.Path
	}
	switch w.Durability {
	case wire.DurabilityFull:
		r.Durability = "full"
	case wire.DurabilityBatch:
		r.Durability = "batch"
	case wire.DurabilityNone:
		r.Durability = "none"
	}
	return r
}

// checkReceipt verifies a receipt that has just come from the peer whose key is known.
func checkReceipt(w wire.Receipt, peer crypto.PeerID) error {
	id, err := receiptOf(w).Verify()
	if err == nil && id != peer {
		err = errors.New("it is signed by somebody else")
	}
	if err != nil {
		return &Error{Op: "check the receipt", Kind: KindVerify, Err: err}
	}
	return nil
}

func (s *session) peerKey() crypto.PeerID { return s.conn.Peer() }

// checkTreeReceipt is checkReceipt for a tree.
func checkTreeReceipt(w wire.TreeReceipt, peer crypto.PeerID) error {
	id, err := crypto.VerifyReceipt(w.Signer, wire.TreeReceiptBytes(w), w.Signature)
	if err == nil && id != peer {
		err = errors.New("it is signed by somebody else")
	}
	if err != nil {
		return &Error{Op: "check the receipt", Kind: KindVerify, Err: err}
	}
	return nil
}
