package transfer

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xfer/crypto"
	"xfer/transfer/transport"
	"xfer/transfer/wire"
)

// Every cut of a receipt file, also between two receipts, and every changed byte is found.
func TestReceiptFileIsWhole(t *testing.T) {
	h := newHost(t, transport.TCP)
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "a"), []byte("one"), 0o600)
	mustWrite(t, filepath.Join(dir, "b"), []byte("two"), 0o600)
	res := h.mustSend(Options{Receipts: true}, "", filepath.Join(dir, "a"), filepath.Join(dir, "b"))
	want := ReceiptFile{Receipts: res.Receipts, Tree: true}
	file := want.Encode()
	got, err := DecodeReceiptFile(file)
	if err != nil || len(got.Receipts) != 2 || !got.Tree || got.Manifest() != want.Manifest() {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, r := range got.Receipts {
		if id, err := r.Verify(); err != nil || id != h.server.ID() {
			t.Errorf("%s: %v", r.Path, err)
		}
	}
	for n := range file {
		if _, err := DecodeReceiptFile(file[:n]); err == nil {
			t.Errorf("cut after %d of %d bytes", n, len(file))
		}
		bad := bytes.Clone(file)
		bad[n] ^= 1
		if _, err := DecodeReceiptFile(bad); err == nil {
			t.Errorf("byte %d of %d changed", n, len(file))
		}
	}
	if _, err := DecodeReceiptFile(append(file, 0)); err == nil {
		t.Error("a byte too many")
	}
	empty := ReceiptFile{}.Encode()
	if f, err := DecodeReceiptFile(empty); err != nil || len(f.Receipts) != 0 || f.Tree {
		t.Errorf("no receipts: %v", err)
	}
}

// The example of a receipt file in PROTOCOL.md is what is written and read.
func TestReceiptFileOfTheSpecification(t *testing.T) {
	must := func(p wire.Path, err error) wire.Path {
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	text, err := os.ReadFile("wire/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "```receiptfile\n")
	example, _, _ := strings.Cut(rest, "```")
	one := func(name, root string, size uint64) Receipt {
		return receiptOf(wire.Receipt{
			Transfer: wire.TransferID{1}, RootHash: wire.Hash{2}, Size: size, Path: must(wire.NewPath("tree", name)),
			RootName: root, TimeNS: 1700000000000000000, Durability: wire.DurabilityFull,
			Signature: [64]byte{3}, Signer: []byte{0x30, 0x2a},
		})
	}
	files := []ListedFile{{crypto.Digest{4}, 5, "x"}, {crypto.Digest{6}, 0, "sub/y"}}
	var sum listHash
	for _, x := range files {
		sum.add(x)
	}
	list, n := sum.sum()
	dir := treeReceiptOf(wire.TreeReceipt{
		Tree: wire.TransferID{7}, Manifest: wire.Hash{8}, Entries: 4, Path: must(wire.NewPath("more")), TimeNS: 1700000000000000000,
		Durability: wire.DurabilityBatch, Signature: [64]byte{9}, RootName: "inbox", Signer: []byte{0x30, 0x2a}, Files: n, List: &list,
	}, files)
	f := ReceiptFile{Receipts: []Receipt{one("b", "inbox", 4), one("a", "inbox", 300)}, Trees: []TreeReceipt{dir}, Tree: true}
	want := fmt.Sprintf("%smanifest %s\n", hexLines(f.Encode()), f.Manifest())
	if example != want {
		t.Fatalf("PROTOCOL.md has\n%s\nwant\n%s", example, want)
	}
	lines, _, _ := strings.Cut(example, "manifest")
	data, err := hex.DecodeString(strings.Join(strings.Fields(lines), ""))
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeReceiptFile(data)
	if err != nil || len(got.Receipts) != 2 || len(got.Trees) != 1 || got.Len() != 4 || got.Manifest() != f.Manifest() {
		t.Errorf("%+v, %v", got, err)
	}
	f.Receipts[0], f.Receipts[1] = f.Receipts[1], f.Receipts[0]
	if got.Manifest() != f.Manifest() {
		t.Error("the order of the receipts changes the manifest")
	}
	f.Receipts[0].Size++
	if got.Manifest() == f.Manifest() {
		t.Error("a size does not change the manifest")
	}
}

func hexLines(b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		n := min(len(b), 48)
		fmt.Fprintf(&s, "%x\n", b[:n])
		b = b[n:]
	}
	return s.String()
}

// FuzzReceiptFile is given what stands before the hash at the end, which a forger can make.
func FuzzReceiptFile(f *testing.F) {
	seal := func(b []byte) []byte {
		sum := sumOf(b)
		return append(bytes.Clone(b), sum[:]...)
	}
	path, err := wire.NewPath("a")
	if err != nil {
		f.Fatal(err)
	}
	file := ReceiptFile{Tree: true}.Encode()
	f.Add(file[:len(file)-32])
	file = ReceiptFile{Receipts: []Receipt{receiptOf(wire.Receipt{
		Path: path,
	})}}.Encode()
	f.Add(file[:len(file)-32])
	f.Add([]byte(receiptMagic + "\xff\xff\xff\xff"))
	var sum listHash
	sum.add(ListedFile{Size: 1, Path: "x"})
	list, n := sum.sum()
	file = ReceiptFile{Trees: []TreeReceipt{treeReceiptOf(wire.TreeReceipt{Entries: 2, Files: n, List: &list}, []ListedFile{{Size: 1, Path: "x"}})}}.Encode()
	f.Add(file[:len(file)-32])
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := DecodeReceiptFile(seal(b))
		if err != nil {
			return
		}
		again, err := DecodeReceiptFile(got.Encode())
		if err != nil || len(again.Receipts) != len(got.Receipts) || again.Len() != got.Len() || again.Tree != got.Tree || again.Manifest() != got.Manifest() {
			t.Fatalf("%+v was written and read as %+v, %v", got, again, err)
		}
	})
}
