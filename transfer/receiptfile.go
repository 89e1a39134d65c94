package transfer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"xfer/crypto"
	"xfer/transfer/wire"
)

// ReceiptFile is what "--receipt" keeps: the receipts of one run. Each is signed; that there are no more of them is not.
type ReceiptFile struct {
	Receipts []Receipt     // of files that were sent by themselves
	Trees    []TreeReceipt // of directories
	Tree     bool          // of whole directories: it has a manifest
}

// ReceivedFile is a file of a receipt file.
type ReceivedFile struct {
	Root       crypto.Digest
	Size       int64  // bytes
	Path       string // as in Receipt
	Time       time.Time
	Durability string
	Signer     []byte // DER SubjectPublicKeyInfo
}

// All returns all files, those of directories too.
func (f ReceiptFile) All() iter.Seq[ReceivedFile] {
	return func(yield func(ReceivedFile) bool) {
		for _, r := range f.Receipts {
			if !yield(ReceivedFile{r.Root, r.Size, r.Path, r.Time, r.Durability, r.Signer()}) {
				return
			}
		}
		for _, t := range f.Trees {
			for _, x := range t.Files {
				if !yield(ReceivedFile{x.Root, x.Size, t.in(x), t.Time, t.Durability, t.Signer()}) {
					return
				}
			}
		}
	}
}

// Len returns how many files there are.
func (f ReceiptFile) Len() int {
	n := len(f.Receipts)
	for _, t := range f.Trees {
		n += len(t.Files)
	}
	return n
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
	list := slices.SortedStableFunc(f.All(), func(a, b ReceivedFile) int { return strings.Compare(a.Path, b.Path) })
	h := crypto.NewHasher()
	write := func(b []byte) { _, _ = h.Write(b) } // it has no errors
	write([]byte(manifestMagic))
	var line []byte
	for _, r := range list {
		line = ListedFile{r.Root, r.Size, r.Path}.line(line[:0])
		write(line)
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
	for _, t := range f.Trees {
		one := wire.EncodeTreeReceipt(t.signed)
		b = binary.BigEndian.AppendUint32(b, uint32(len(one)))
		b = append(b, one...)
		for _, x := range slices.SortedFunc(slices.Values(t.Files), func(a, b ListedFile) int { return strings.Compare(a.Path, b.Path) }) {
			b = x.line(b)
		}
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
		one, after, err := cutReceipt(rest)
		if err != nil {
			return ReceiptFile{}, fmt.Errorf("receipt %d: %w", len(f.Receipts)+1, err)
		}
		if rest = after; one == nil {
			break
		}
		w, err := wire.DecodeReceipt(one)
		if err != nil {
			return ReceiptFile{}, fmt.Errorf("receipt %d: %w", len(f.Receipts)+1, err)
		}
		f.Receipts = append(f.Receipts, receiptOf(w))
	}
	for {
		one, after, err := cutReceipt(rest)
		if err != nil {
			return ReceiptFile{}, fmt.Errorf("directory %d: %w", len(f.Trees)+1, err)
		}
		if rest = after; one == nil {
			break
		}
		t, after, err := decodeTree(one, rest)
		if err != nil {
			return ReceiptFile{}, fmt.Errorf("directory %d: %w", len(f.Trees)+1, err)
		}
		f.Trees, rest = append(f.Trees, t), after
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

// cutReceipt cuts the next receipt off b; nil at the end of a list.
func cutReceipt(b []byte) (one, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, errors.New("the list of receipts has no end")
	}
	n := binary.BigEndian.Uint32(b)
	if b = b[4:]; n == 0 {
		return nil, b, nil
	}
	if n > maxReceipt || int(n) > len(b) {
		return nil, nil, errors.New("longer than a receipt, or than the file")
	}
	return b[:n], b[n:], nil
}

// decodeTree reads the receipt of a directory, and the lines of its files, which are at the beginning of b.
func decodeTree(receipt, b []byte) (t TreeReceipt, rest []byte, err error) {
	w, err := wire.DecodeTreeReceipt(receipt)
	if err != nil {
		return t, nil, err
	}
	if w.List == nil || w.Files > uint64(len(b)/lineHead) {
		return t, nil, errors.New("its files are not there")
	}
	files := make([]ListedFile, 0, w.Files)
	for range w.Files {
		if len(b) < lineHead {
			return t, nil, errors.New("a file is cut off")
		}
		x := ListedFile{Root: crypto.Digest(b[:32]), Size: int64(binary.BigEndian.Uint64(b[32:]))}
		n := binary.BigEndian.Uint32(b[40:])
		if b = b[lineHead:]; x.Size < 0 || n == 0 || uint64(n) > uint64(len(b)) {
			return t, nil, errors.New("a file is cut off")
		}
		x.Path, b = string(b[:n]), b[n:]
		if k := len(files); k > 0 && files[k-1].Path >= x.Path {
			return t, nil, errors.New("the files are not in order")
		}
		files = append(files, x)
	}
	return treeReceiptOf(w, files), b, nil
}

func sumOf(b []byte) crypto.Digest {
	h := crypto.NewHasher()
	_, _ = h.Write(b) // it has no errors
	return h.Sum()
}
