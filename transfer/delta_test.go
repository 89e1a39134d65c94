package transfer

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"xfer/transfer/sink"
)

// changedCopy is b with extents of 4 KiB changed at random places.
func changedCopy(b []byte, extents int) []byte {
	c := bytes.Clone(b)
	r := rand.New(rand.NewPCG(1, 2))
	for range extents {
		at := r.IntN(len(c)-4096) &^ 4095
		copy(c[at:], randomBytes(r.Uint64(), 4096))
	}
	return c
}

// Of a file that changed in places only what is near those places is sent.
func TestOnlyWhatChangedIsSent(t *testing.T) {
	overOne(t, func(t *testing.T, h *host) {
		const size = 24<<20 + 777
		was := randomBytes(7, size)
		for name, c := range map[string]struct {
			now  []byte
			most int64
		}{
			"1 % in extents":        {changedCopy(was, 60), 60 * 2 * 16 << 10},
			"one byte":              {append(append(bytes.Clone(was[:5<<20]), was[5<<20]+1), was[5<<20+1:]...), 16 << 10},
			"appended":              {append(bytes.Clone(was), randomBytes(8, 1<<20)...), 2 << 20},
			"cut off":               {was[:20<<20+5], 1 << 20},
			"another time, no more": {was, 0},
			"nothing in common":     {randomBytes(9, size), size},
		} {
			src := filepath.Join(t.TempDir(), "f")
			mustWrite(t, h.path("f"), was, 0o644)
			mustWrite(t, src, c.now, 0o644)
			old := time.Now().Add(-time.Hour)
			if err := os.Chtimes(src, old, old); err != nil {
				t.Fatal(err)
			}
			res := h.mustSend(Options{}, "f", src)
			mustEqualFile(t, h.path("f"), src)
			if res.BytesSent > c.most {
				t.Errorf("%s: %d bytes were sent, want at most %d", name, res.BytesSent, c.most)
			}
			if name == "nothing in common" && res.BytesSent != size {
				t.Errorf("%s: %d bytes were sent", name, res.BytesSent)
			}
		}
	})
}

// Who may not read what is there learns nothing of it, and may not refer to it.
func TestOldVersionIsForReaders(t *testing.T) {
	h := newHost(t, kinds[0])
	was := randomBytes(7, 4<<20)
	mustWrite(t, h.path("f"), was, 0o644)
	src := filepath.Join(t.TempDir(), "f")
	mustWrite(t, src, changedCopy(was, 3), 0o644)
	if err := os.Chtimes(src, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	h.set(func() { h.rights = sink.Put })
	if res := h.mustSend(Options{}, "f", src); res.BytesSent != 4<<20 {
		t.Errorf("%d bytes were sent", res.BytesSent)
	}
}

// The old version changes while the new one is made of it: what arrives is the new one.
func TestOldVersionChangesMeanwhile(t *testing.T) {
	h := newHost(t, kinds[0])
	was := randomBytes(7, 48<<20)
	src := filepath.Join(t.TempDir(), "f")
	mustWrite(t, src, changedCopy(was, 100), 0o644)
	if err := os.Chtimes(src, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		mustWrite(t, h.path("f"), was, 0o644)
		f, err := os.OpenFile(h.path("f"), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer f.Close()
			for i := range 48 {
				_, _ = f.WriteAt([]byte("other"), int64(i)<<20)
			}
		}()
		if _, err := h.newClient(Options{}).Send(context.Background(), []Source{{Path: src}}, addrOf("f")); err != nil {
			t.Fatal(err)
		}
		<-done
		mustEqualFile(t, h.path("f"), src)
	}
}
