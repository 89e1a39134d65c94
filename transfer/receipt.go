package transfer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
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
	return Receipt{
		Root: crypto.Digest(w.RootHash), Size: int64(w.Size), Path: receiptPath(w.RootName, w.Path), Time: time.Unix(0, w.TimeNS),
		Durability: durabilityName(w.Durability), signed: w,
	}
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

// ListedFile is a file of a directory that was received.
type ListedFile struct {
	Root crypto.Digest
	Size int64  // bytes
	Path string // beneath the directory, with slashes; raw bytes
}

// line is what is hashed and kept of the file: PROTOCOL.md, TREE_RECEIPT.
func (f ListedFile) line(b []byte) []byte {
	b = append(b, f.Root[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(f.Size))
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.Path)))
	return append(b, f.Path...)
}

const lineHead = 44 // bytes of a line without its path

// listMagic stands before each line that is hashed.
const listMagic = "xfer list 1\n"

// listHash is the hash of the files of a tree that is sent or received. Safe for concurrent use.
type listHash struct {
	mu    sync.Mutex
	hash  crypto.LtHash
	count uint64
	line  []byte
}

func (l *listHash) add(f ListedFile) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.line = f.line(append(l.line[:0], listMagic...))
	l.hash.Add(l.line)
	l.count++
}

// sum returns the hash of the list, and how many files are in it.
func (l *listHash) sum() (wire.Hash, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return wire.Hash(l.hash.Sum()), l.count
}

// TreeReceipt is the signed statement of a receiver that the directory Path is there with Files, each of them whole.
type TreeReceipt struct {
	Path       string // "/NAME/a/b" beneath root NAME, or "a/b" beneath the directory of a get; raw bytes
	Files      []ListedFile
	Time       time.Time
	Durability string
	signed     wire.TreeReceipt
}

// Signer is the public key of the receiver, as a DER SubjectPublicKeyInfo.
func (r TreeReceipt) Signer() []byte { return r.signed.Signer }

// Verify checks the signature and that it is for these Files and no others, and returns whose it is. Whether that is somebody we
// know is the caller's question.
func (r TreeReceipt) Verify() (crypto.PeerID, error) {
	var list listHash
	seen := make(map[string]bool, len(r.Files))
	for _, f := range r.Files {
		if seen[f.Path] {
			return crypto.PeerID{}, fmt.Errorf("%q is in it twice", f.Path)
		}
		seen[f.Path] = true
		list.add(f)
	}
	if sum, n := list.sum(); r.signed.List == nil || *r.signed.List != sum || r.signed.Files != n {
		return crypto.PeerID{}, errors.New("it is for other files")
	}
	return crypto.VerifyReceipt(r.signed.Signer, wire.TreeReceiptBytes(r.signed), r.signed.Signature)
}

// in is the path of a file of r, as Receipt.Path is one.
func (r TreeReceipt) in(f ListedFile) string {
	if r.Path == "" || strings.HasSuffix(r.Path, "/") {
		return r.Path + f.Path
	}
	return r.Path + "/" + f.Path
}

func treeReceiptOf(w wire.TreeReceipt, files []ListedFile) TreeReceipt {
	return TreeReceipt{
		Path: receiptPath(w.RootName, w.Path), Files: files, Time: time.Unix(0, w.TimeNS), Durability: durabilityName(w.Durability), signed: w,
	}
}

func receiptPath(root string, p wire.Path) string {
	path := strings.Join(p.Parts(), "/")
	if root != "" {
		path = "/" + root + "/" + path
	}
	return path
}

func durabilityName(d wire.Durability) string {
	switch d {
	case wire.DurabilityFull:
		return "full"
	case wire.DurabilityBatch:
		return "batch"
	case wire.DurabilityNone:
		return "none"
	}
	return ""
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
