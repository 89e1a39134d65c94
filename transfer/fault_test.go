package transfer

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
	"xfer/transfer/sink"
)

// useDisk lets the server of h store on disk from its next session on.
func (h *host) useDisk(disk *crashfs.FS) {
	h.t.Helper()
	dir, err := sink.Open(disk, sink.Options{KeepDoneLog: true})
	if err != nil {
		h.t.Fatal(err)
	}
	if old := h.swapDir(dir); old != nil {
		_ = old.Close()
	}
}

// TestStorageFaults sends a file over an old version while the k-th operation of the receiver's disk fails, for k from 1 until
// nothing fails any more: with an I/O error, without space, with a short write, and with the power cut. The final name holds
// the old version or the new one, and the new one where the send succeeded; then the same send, on a disk that is well again,
// succeeds.
func TestStorageFaults(t *testing.T) {
	src := filepath.Join(t.TempDir(), "f")
	old, data := []byte("the old version"), randomBytes(21, 600<<10)
	mustWrite(t, src, data, 0o644)
	faults := map[string]func(d *crashfs.FS, k int){
		"EIO":    func(d *crashfs.FS, k int) { d.FailAt(k, syscall.EIO) },
		"ENOSPC": func(d *crashfs.FS, k int) { d.FailAt(k, syscall.ENOSPC) },
		"short":  func(d *crashfs.FS, k int) { d.ShortAt(k, syscall.ENOSPC) },
		"power":  func(d *crashfs.FS, k int) { d.CrashAt(k) },
	}
	overAll(t, func(t *testing.T, h *host) {
		for fault, set := range faults {
			for k := 1; ; k++ {
				if k > 2000 {
					t.Fatal("it never comes to an end")
				}
				if testing.Short() && k%7 != 0 {
					continue
				}
				disk := crashfs.New(uint64(k))
				if err := durable.WriteFile(disk, "f", old, 0o644); err != nil {
					t.Fatal(err)
				}
				h.useDisk(disk)
				before := disk.Ops()
				set(disk, k)
				res, err := h.send(Options{RetryFor: time.Nanosecond, Timeout: 5 * time.Second, Receipts: true}, "f", src)
				used := disk.Ops() - before
				what := fmt.Sprintf("%s at operation %d (send: %v)", fault, k, err)
				if err != nil && len(res.Receipts) > 0 {
					t.Fatalf("%s: a receipt of a send that failed", what)
				}
				disk.ClearFaults()
				if fault == "power" {
					disk = disk.Crash()
				} else {
					disk = disk.Kill()
				}
				now, rerr := durable.ReadFile(disk, "f", 1<<20)
				if rerr != nil {
					t.Fatalf("%s: %v", what, rerr)
				}
				if !bytes.Equal(now, data) && (err == nil || !bytes.Equal(now, old)) {
					t.Fatalf("%s: %d bytes under the final name\n%s", what, len(now), strings.Join(disk.Trace(), "\n"))
				}
				h.useDisk(disk)
				h.mustSend(Options{}, "f", src)
				if now, err := durable.ReadFile(disk, "f", 1<<20); err != nil || !bytes.Equal(now, data) {
					t.Fatalf("%s: sent again, %d bytes, %v", what, len(now), err)
				}
				if err == nil && used < k {
					t.Logf("%s: %d operations", fault, used)
					break
				}
			}
		}
	})
}

// TestDurableIsWhatWasSaid: what an ACK called durable is held after the power was cut (I2).
func TestDurableIsWhatWasSaid(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		disk := crashfs.New(5)
		h.useDisk(disk)
		src := filepath.Join(t.TempDir(), "f")
		const size = 8 << 20
		data := randomBytes(22, size)
		mustWrite(t, src, data, 0o644)
		c := h.newClient(Options{RetryFor: time.Nanosecond, BWLimit: func(time.Time) (int64, int64) { return 1 << 20, 0 }})
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var durableBytes int64
		c.onDurable = func(n int64) {
			if durableBytes += n; durableBytes >= 2<<20 {
				cancel()
			}
		}
		_, err := c.Send(ctx, []Source{{Path: src}}, addrOf("f"))
		if KindOf(err) != KindInterrupted {
			t.Fatalf("send: %v", err)
		}
		said := durableBytes
		disk = disk.Crash()
		h.useDisk(disk)
		res := h.mustSend(Options{}, "f", src)
		if res.BytesResumed < said {
			t.Errorf("%d bytes were called durable, %d were there after the power was cut", said, res.BytesResumed)
		}
		if now, err := durable.ReadFile(disk, "f", 1<<30); err != nil || !bytes.Equal(now, data) {
			t.Fatalf("%d bytes, %v", len(now), err)
		}
	})
}
