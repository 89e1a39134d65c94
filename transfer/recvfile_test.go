package transfer

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"xfer/transfer/sink"
)

// A file that changes at the server while it is fetched is fetched again.
func TestServerFileChangesWhileFetched(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		for _, times := range []int{1, 1000} {
			back := filepath.Join(t.TempDir(), "back")
			mustWrite(t, h.path("f"), randomBytes(1, 8<<20), 0o644)
			mustWrite(t, back, []byte("old"), 0o644)
			c := h.newClient(Options{Progress: time.Nanosecond})
			n := 0
			c.Observe = func(e Event) {
				if e.Kind != EventProgress || e.Bytes == 0 || n >= times {
					return
				}
				n++
				f, err := os.OpenFile(h.path("f"), os.O_WRONLY, 0)
				if err == nil {
					_, err = f.WriteAt([]byte{byte(n)}, 99)
					_ = f.Close()
				}
				if err != nil {
					t.Error(err)
				}
			}
			_, err := c.Get(t.Context(), []Address{addrOf("f")}, back, nil)
			if times == 1 {
				if err != nil {
					t.Fatal(err)
				}
				mustEqualFile(t, back, h.path("f"))
				continue
			}
			if KindOf(err) != KindSourceChanged {
				t.Errorf("kind %d, %v", KindOf(err), err)
			}
			if data, _ := os.ReadFile(back); string(data) != "old" {
				t.Error("the old version was replaced")
			}
		}
	})
}

// What a given-up stream still brings after COMMIT does not end a publication.
func TestLateDataDoesNotEndAPublication(t *testing.T) {
	s := bareSession(t, nil)
	f := &recvFile{s: s, id: 2, commit: true, busy: true, finished: func(_ outcome, err error) { t.Error(err) }}
	s.recvs[2] = f
	f.dataError(0, sink.ErrClosed)
	if len(s.ctl.queue) != 0 {
		t.Error("the sender is told of it")
	}
	f.commit = false
	f.finished = nil
	f.dataError(0, sink.ErrClosed)
	if len(s.ctl.queue) == 0 || s.recvOf(2) != nil {
		t.Error("an error before COMMIT has no effect")
	}
}
