package transfer

import (
	"bytes"
	"path/filepath"
	"testing"

	"xfer/transfer/transport"
)

// Every cut of a receipt file, also between two receipts, and every changed byte is found.
func TestReceiptFileIsWhole(t *testing.T) {
	h := newHost(t, transport.TCP)
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "a"), []byte("one"), 0o600)
	mustWrite(t, filepath.Join(dir, "b"), []byte("two"), 0o600)
	res := h.mustSend(Options{Receipts: true}, "", filepath.Join(dir, "a"), filepath.Join(dir, "b"))
	file, err := EncodeReceipts(res.Receipts)
	if err != nil {
		t.Fatal(err)
	}
	list, err := DecodeReceipts(file)
	if err != nil || len(list) != 2 {
		t.Fatalf("%d receipts, %v", len(list), err)
	}
	for _, r := range list {
		if id, err := r.Verify(); err != nil || id != h.server.ID() {
			t.Errorf("%s: %v", r.Path, err)
		}
	}
	for n := range file {
		if _, err := DecodeReceipts(file[:n]); err == nil {
			t.Errorf("cut after %d of %d bytes", n, len(file))
		}
		bad := bytes.Clone(file)
		bad[n] ^= 1
		if _, err := DecodeReceipts(bad); err == nil {
			t.Errorf("byte %d of %d changed", n, len(file))
		}
	}
	if _, err := DecodeReceipts(append(file, 0)); err == nil {
		t.Error("a byte too many")
	}
	empty, _ := EncodeReceipts(nil)
	if list, err := DecodeReceipts(empty); err != nil || len(list) != 0 {
		t.Errorf("no receipts: %v", err)
	}
}
