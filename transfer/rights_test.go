package transfer

import (
	"os"
	"path/filepath"
	"testing"

	"xfer/transfer/sink"
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
