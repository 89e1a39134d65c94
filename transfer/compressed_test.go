package transfer

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// What gets smaller travels so where it was asked for, in both directions, chunks and packs, and arrives as it was.
func TestCompressedThereAndBack(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := filepath.Join(t.TempDir(), "tree")
		text := []byte(strings.Repeat("what is said again and again needs little room\n", 40000))
		mustWrite(t, filepath.Join(src, "large"), text, 0o644)
		mustWrite(t, filepath.Join(src, "noise"), randomBytes(5, 1<<20), 0o644)
		for _, n := range []string{"a", "b", "c"} {
			mustWrite(t, filepath.Join(src, n), append(bytes.Clone(text[:50000]), n...), 0o644)
		}
		most := int64(1<<20 + 200<<10)
		res := h.mustSend(Options{Compress: "on"}, "", src)
		if res.BytesSent > most || res.BytesSent < 1<<20 || res.Bytes != int64(len(text))+1<<20+3*50001 {
			t.Errorf("sent: %+v", res)
		}
		for _, n := range []string{"large", "noise", "a", "b", "c"} {
			mustEqualFile(t, h.path("tree/"+n), filepath.Join(src, n))
		}
		if res := h.mustSend(Options{Compress: "off"}, "plain", src); res.BytesSent != res.Bytes {
			t.Errorf("sent without: %+v", res)
		}
		back := filepath.Join(t.TempDir(), "back")
		if res := h.mustGet(Options{Compress: "on"}, back, "tree"); res.BytesSent > most {
			t.Errorf("fetched: %+v", res)
		}
		for _, n := range []string{"large", "noise", "a", "b", "c"} {
			mustEqualFile(t, filepath.Join(back, n), filepath.Join(src, n))
		}
	})
}
