package transfer

import (
	"os"
	"path/filepath"
	"testing"

	"xfer/transfer/sink"
	"xfer/transfer/wire"
)

// TestTreeWithTheRightToPut: the right to put makes missing parents, so a tree arrives with it; an empty folder is nobody's parent.
func TestTreeWithTheRightToPut(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := filepath.Join(t.TempDir(), "tree")
		mustWrite(t, filepath.Join(src, "a/b/file"), []byte("x"), 0o644)
		if err := os.Chmod(filepath.Join(src, "a/b"), 0o711); err != nil {
			t.Fatal(err)
		}
		h.set(func() { h.rights = sink.Put })
		res := h.mustSend(Options{}, "", src)
		mustEqualFile(t, h.path("tree/a/b/file"), filepath.Join(src, "a/b/file"))
		if fi, err := os.Stat(h.path("tree/a/b")); err != nil || fi.Mode().Perm() != 0o711 {
			t.Errorf("the directory: %v, %v", fi, err)
		}
		if res.ErrorCount != 0 {
			t.Errorf("%+v", res)
		}
		if err := os.Mkdir(filepath.Join(src, "empty"), 0o755); err != nil {
			t.Fatal(err)
		}
		res, err := h.send(Options{}, "", src)
		if KindOf(err) != KindPartial || res.ErrorCount != 1 || KindOf(res.Errors[0]) != KindDenied {
			t.Errorf("an empty folder without the right to make one: %v, %+v", err, res.Errors)
		}
	})
}

// Who may only put new files learns nothing of those that are there, whatever it asks: neither size, nor time, nor hash.
func TestWriteOnlyLearnsNothing(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		content := []byte("hello")
		mustWrite(t, h.path("f"), content, 0o644)
		h.set(func() { h.rights = sink.Put | sink.RMkdir | sink.NoReplace })
		info, err := os.Stat(h.path("f"))
		if err != nil {
			t.Fatal(err)
		}
		sum := wire.Hash(sumOf(content))
		id := uint32(2)
		p := h.raw()
		p.hello()
		for _, o := range []wire.Open{
			{Size: 5, Compare: wire.CompareMTime, Meta: wire.Meta{HasMTime: true, MTimeNS: info.ModTime().UnixNano()}},
			{Size: 5, Compare: wire.CompareMTime, Meta: wire.Meta{HasMTime: true, MTimeNS: 1}},
			{Size: 5, Compare: wire.CompareRoot, RootHash: &sum},
			{Size: 5, Compare: wire.CompareRoot, RootHash: &wire.Hash{}},
			{Size: 5},
			{Size: 6},
			{Size: 0},
			{Size: 1 << 30},
		} {
			base := openMessage(t, "f", o.Size)
			base.Compare, base.RootHash, base.Meta = o.Compare, o.RootHash, o.Meta
			base.Transfer[0] = byte(id)
			p.send(id, base)
			if a, ok := p.read().(wire.Opened); !ok || a.State != wire.StateExists || a.Receipt != nil {
				t.Errorf("%+v: %+v", o, a)
			}
			p.send(id, wire.Abort{})
			id += 2
		}
		// The content itself again is success, as sending it would be.
		src := filepath.Join(t.TempDir(), "f")
		mustWrite(t, src, content, 0o644)
		if res := h.mustSend(Options{}, "", src); res.BytesSent != 0 {
			t.Errorf("%+v", res)
		}
		mustWrite(t, src, []byte("world"), 0o644) // of the same size and time
		if _, err := h.send(Options{}, "", src); KindOf(err) != KindExists {
			t.Errorf("another content: %v", err)
		}
		if got, _ := os.ReadFile(h.path("f")); string(got) != "hello" {
			t.Errorf("it is %q now", got)
		}
	})
}
