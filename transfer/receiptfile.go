package transfer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"xfer/crypto"
	"xfer/transfer/wire"
)

// ReceiptFile is what "--receipt" keeps: the receipts of one run. Each is signed, the list is not.
type ReceiptFile struct {
	Receipts []Receipt
	Tree     bool // of whole directories: it has a manifest
}

// The parts of a receipt file and of a manifest: PROTOCOL.md, "Receipt file".
const (
	receiptMagic  = "xfer receipts 1\n"
	manifestMagic = "xfer manifest 1\n"
)

// maxReceipt bounds one receipt in a file, in bytes.
const maxReceipt = 16 << 10

// Manifest is the BLAKE3 hash of the list of all files with their sizes and hashes: equal for equal trees beneath the same
// name, whenever and by whomever they were received.
func (f ReceiptFile) Manifest() crypto.Digest {
	list := slices.SortedFunc(slices.Values(f.Receipts), func(a, b Receipt) int { return strings.Compare(a.Path, b.Path) })
	h := crypto.NewHasher()
	write := func(b []byte) { _, _ = h.Write(b) } // it has no errors
	write([]byte(manifestMagic))
	for _, r := range list {
		var line []byte
		line = append(line, r.Root[:]...)
		line = binary.BigEndian.AppendUint64(line, uint64(r.Size))
		line = binary.BigEndian.AppendUint32(line, uint32(len(r.Path)))
		write(append(line, r.Path...))
	}
	return h.Sum()
}

// Encode makes the content of a receipt file.
func (f ReceiptFile) Encode() []byte {
	b := []byte(receiptMagic)
	for _, r := range f.Receipts {
		one := wire.EncodeReceipt(r.signed)
		b = binary.BigEndian.AppendUint32(b, uint32(len(one)))
		b = append(b, one...)
	}
	b = append(b, 0, 0, 0, 0)
	if f.Tree {
		b = append(b, 1)
		m := f.Manifest()
		b = append(b, m[:]...)
	} else {
		b = append(b, 0)
	}
	sum := sumOf(b)
	return append(b, sum[:]...)
}

// DecodeReceiptFile reads the content of a receipt file. It does not verify the signatures.
func DecodeReceiptFile(b []byte) (ReceiptFile, error) {
	rest, ok := bytes.CutPrefix(b, []byte(receiptMagic))
	if !ok {
		return ReceiptFile{}, errors.New("not a receipt file")
	}
	n := len(b) - len(crypto.Digest{})
	if n < len(receiptMagic) || sumOf(b[:n]) != crypto.Digest(b[n:]) {
		return ReceiptFile{}, errors.New("the receipt file is cut off or was altered")
	}
	rest = rest[:len(rest)-len(crypto.Digest{})]
	var f ReceiptFile
	for {
		if len(rest) < 4 {
			return ReceiptFile{}, errors.New("the list of receipts has no end")
		}
		n := binary.BigEndian.Uint32(rest)
		rest = rest[4:]
		if n == 0 {
			break
		}
		if n > maxReceipt || int(n) > len(rest) {
			return ReceiptFile{}, fmt.Errorf("receipt %d is longer than a receipt, or than the file", len(f.Receipts)+1)
		}
		w, err := wire.DecodeReceipt(rest[:n])
		if err != nil {
			return ReceiptFile{}, fmt.Errorf("receipt %d: %w", len(f.Receipts)+1, err)
		}
		f.Receipts = append(f.Receipts, receiptOf(w))
		rest = rest[n:]
	}
	switch {
	case len(rest) == 1 && rest[0] == 0:
	case len(rest) == 1+len(crypto.Digest{}) && rest[0] == 1 && f.Manifest() == crypto.Digest(rest[1:]):
		f.Tree = true
	default:
		return ReceiptFile{}, errors.New("the receipt file has no manifest or one of other files")
	}
	return f, nil
}

func sumOf(b []byte) crypto.Digest {
	h := crypto.NewHasher()
	_, _ = h.Write(b) // it has no errors
	return h.Sum()
}
