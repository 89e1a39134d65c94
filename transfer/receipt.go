package transfer

import (
	"encoding/binary"
	"errors"
	"fmt"
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

// A receipt file is this line, then for each receipt its length as four bytes, big-endian, and the receipt as in
// PROTOCOL.md (RECEIPT); then a length of 0 and the BLAKE3 hash of all that is before the hash. Each receipt is signed, the list
// is not: the hash tells that it was cut or damaged, not that somebody made another list of true receipts.
const receiptMagic = "xfer receipts 1\n"

// maxReceipt bounds one receipt in a file, in bytes.
const maxReceipt = 16 << 10

// EncodeReceipts makes the content of a receipt file.
func EncodeReceipts(list []Receipt) ([]byte, error) {
	b := []byte(receiptMagic)
	for _, r := range list {
		one := wire.EncodeReceipt(r.signed)
		b = binary.BigEndian.AppendUint32(b, uint32(len(one)))
		b = append(b, one...)
	}
	b = append(b, 0, 0, 0, 0)
	sum := sumOf(b)
	return append(b, sum[:]...), nil
}

func sumOf(b []byte) crypto.Digest {
	h := crypto.NewHasher()
	_, _ = h.Write(b)
	return h.Sum()
}

// DecodeReceipts reads the content of a receipt file. It does not verify the signatures.
func DecodeReceipts(b []byte) ([]Receipt, error) {
	if len(b) < len(receiptMagic) || string(b[:len(receiptMagic)]) != receiptMagic {
		return nil, errors.New("not a receipt file")
	}
	all := b
	b = b[len(receiptMagic):]
	var out []Receipt
	for {
		if len(b) < 4 {
			return nil, errors.New("the receipt file is cut off")
		}
		n := binary.BigEndian.Uint32(b)
		if n == 0 {
			break
		}
		if n > maxReceipt || int(n) > len(b)-4 {
			return nil, fmt.Errorf("receipt %d is cut off", len(out)+1)
		}
		w, err := wire.DecodeReceipt(b[4 : 4+n])
		if err != nil {
			return nil, fmt.Errorf("receipt %d: %w", len(out)+1, err)
		}
		out = append(out, receiptOf(w))
		b = b[4+n:]
	}
	sum := sumOf(all[:len(all)-len(b)+4])
	if string(b[4:]) != string(sum[:]) {
		return nil, errors.New("the receipt file is cut off or was altered")
	}
	return out, nil
}
