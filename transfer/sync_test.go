package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
	"xfer/transfer/tree"
)

// sync runs one Sync with everything allowed.
func (h *host) sync(o Options, so SyncOptions, src, dst string) (Synced, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	if so.MaxDelete == 0 {
		so.MaxDelete, so.MaxPercent = -1, 100
	}
	return h.newClient(o).Sync(ctx, src, addrOf(dst), so)
}

func (h *host) mustSync(o Options, so SyncOptions, src, dst string) Synced {
	h.t.Helper()
	res, err := h.sync(o, so, src, dst)
	if err != nil {
		h.t.Fatalf("sync: %v", err)
	}
	return res
}

// TestMovedFileIsNeverGone cuts the power at each operation of a receiver's disk while files that moved within the source are
// synced: the content is there by the old name or by the new one, whatever of the disk survives.
func TestMovedFileIsNeverGone(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: many files or messages")
	}
	src := t.TempDir()
	small, large := randomBytes(1, 3000), randomBytes(2, 600<<10)
	moved := map[string][]byte{"small": small, "large": large}
	for _, syncFS := range []bool{true, false} {
		for _, backup := range [][]string{nil, {"kept"}} {
			name := fmt.Sprintf("syncfs %v, backup %v", syncFS, backup)
			t.Run(name, func(t *testing.T) {
				h := newHost(t, kinds[0])
				base := filepath.Join(src, strings.ReplaceAll(name, " ", ""))
				for n, data := range moved {
					mustWrite(t, filepath.Join(base, "old", n), data, 0o644)
				}
				mustWrite(t, filepath.Join(base, "stays"), small, 0o644)
				now := filepath.Join(base+"-moved", "src")
				for n, data := range moved {
					mustWrite(t, filepath.Join(now, "z", n), data, 0o644)
				}
				mustWrite(t, filepath.Join(now, "stays"), small, 0o644)
				for k := 1; ; k++ {
					if k > 2000 {
						t.Fatal("it never comes to an end")
					}
					if testing.Short() && k%5 != 0 {
						continue
					}
					disk := crashfs.New(uint64(k))
					disk.SetSyncFS(syncFS)
					h.useDisk(disk)
					h.mustSync(Options{}, SyncOptions{}, base, "dst")
					disk.CrashAt(k)
					o := Options{RetryFor: time.Nanosecond, Timeout: 5 * time.Second}
					_, err := h.sync(o, SyncOptions{Delete: true, Backup: backup}, now, "dst")
					for seed := range uint64(3) {
						image := disk.Image(seed)
						for n, data := range moved {
							got := false
							for _, dir := range []string{"old", "z", "kept/old"} {
								b, rerr := durable.ReadFile(image, "dst/"+dir+"/"+n, 1<<20)
								got = got || rerr == nil && bytes.Equal(b, data)
							}
							if !got {
								t.Fatalf("power cut at operation %d (sync: %v): %s is gone\n%s", k, err, n, strings.Join(disk.Trace(), "\n"))
							}
						}
					}
					if err == nil {
						t.Logf("%d operations", k)
						return
					}
				}
			})
		}
	}
}

// What came and could not be given its name stops the deletions: it may have been moved from a name that would go.
func TestNothingIsDeletedWhereSomethingDidNotArrive(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := t.TempDir()
		mustWrite(t, filepath.Join(src, "old"), []byte("content"), 0o644)
		disk := crashfs.New(1)
		h.useDisk(disk)
		h.mustSync(Options{}, SyncOptions{}, src, "dst")
		if err := os.Rename(filepath.Join(src, "old"), filepath.Join(src, "new")); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, filepath.Join(src, "other"), []byte("other"), 0o644)
		disk.SetHook(func(_ int, op, name string) error {
			if op == "rename" && strings.HasPrefix(name, ".xfer/tree/") && strings.HasSuffix(name, "/1") { // "new" gets its name
				return syscall.EIO
			}
			return nil
		})
		res, err := h.sync(Options{}, SyncOptions{Delete: true}, src, "dst")
		if KindOf(err) != KindPartial || !strings.Contains(err.Error(), "nothing was deleted") || res.Deleted != 0 || res.ErrorCount != 1 {
			t.Fatalf("%v, %+v", err, res.Result)
		}
		if _, err := disk.Lstat("dst/old"); err != nil {
			t.Error(err)
		}
		if _, err := disk.Lstat("dst/other"); err != nil {
			t.Error(err)
		}
		disk.SetHook(nil)
		res = h.mustSync(Options{}, SyncOptions{Delete: true}, src, "dst")
		if _, err := disk.Lstat("dst/old"); err == nil || res.Deleted != 1 {
			t.Errorf("%v, %d deleted", err, res.Deleted)
		}
	})
}

// A sync goes on after lost connections, counts each file once, and its totals stay what they are.
func TestSyncOverLostConnections(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := t.TempDir()
		const files, extras = 400, 150
		total := int64(0)
		for i := range files {
			n := 100 + i*37%5000
			if i%50 == 0 {
				n = 1 << 20
			}
			total += int64(n)
			mustWrite(t, filepath.Join(src, fmt.Sprint("d", i%7), fmt.Sprint("f", i)), randomBytes(uint64(i), n), 0o644)
		}
		for i := range extras {
			mustWrite(t, h.path(filepath.Join("dst", fmt.Sprint("gone", i%5), fmt.Sprint("f", i))), []byte("x"), 0o644)
		}
		h.onDial = cutAfter(1<<20, 6)
		c := h.newClient(Options{Progress: time.Microsecond})
		var mu sync.Mutex
		var most Event
		deleted := map[string]int{}
		c.Observe = func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == EventProgress {
				most.FilesFound, most.BytesFound = max(most.FilesFound, e.FilesFound), max(most.BytesFound, e.BytesFound)
				most.FilesTotal, most.BytesTotal = max(most.FilesTotal, e.FilesTotal), max(most.BytesTotal, e.BytesTotal)
				most.Files, most.Bytes = max(most.Files, e.Files), max(most.Bytes, e.Bytes)
			}
			if e.Action == "deleted" {
				deleted[e.Path]++
			}
		}
		res, err := c.Sync(context.Background(), src, addrOf("dst"), SyncOptions{Delete: true, MaxDelete: -1, MaxPercent: 100})
		if err != nil {
			t.Fatal(err)
		}
		mustEqualTree(t, h.path("dst"), src)
		if res.Files != files || res.Bytes != total || res.Retries == 0 || res.Deleted > extras+5 {
			t.Errorf("result %+v, %d bytes in all", res.Result, total)
		}
		for name, n := range deleted {
			if n > 1 {
				t.Errorf("%s was deleted %d times", name, n)
			}
		}
		if most.FilesFound != files || most.BytesFound != total || most.FilesTotal != files || most.BytesTotal != total || most.Files > files || most.Bytes > total {
			t.Errorf("progress was up to %+v, want %d files of %d bytes", most, files, total)
		}
	})
}

// What is between the first and the second look at a target that had directories where files are now.
func TestSyncReplacesOtherKindsOverLostConnections(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := t.TempDir()
		for i := range 30 {
			mustWrite(t, filepath.Join(src, fmt.Sprint("file", i)), randomBytes(uint64(i), 50<<10), 0o644)
			mustWrite(t, filepath.Join(src, fmt.Sprint("dir", i), "in", "deep"), randomBytes(uint64(i), 20<<10), 0o644)
			mustWrite(t, h.path(filepath.Join("dst", fmt.Sprint("file", i), "a", "b")), []byte("x"), 0o644)
			mustWrite(t, h.path(filepath.Join("dst", fmt.Sprint("dir", i))), []byte("y"), 0o644)
		}
		h.onDial = cutAfter(400<<10, 8)
		res := h.mustSync(Options{}, SyncOptions{Delete: true}, src, "dst")
		mustEqualTree(t, h.path("dst"), src)
		if res.Files != 60 || res.ErrorCount != 0 {
			t.Errorf("%+v", res.Result)
		}
		if res = h.mustSync(Options{}, SyncOptions{Delete: true}, src, "dst"); res.BytesSent != 0 || res.Deleted != 0 {
			t.Errorf("once more: %+v", res.Result)
		}
	})
}

func TestSyncGuards(t *testing.T) {
	h := newHost(t, kinds[0])
	src := t.TempDir()
	mustWrite(t, filepath.Join(src, "a"), []byte("a"), 0o644)
	h.mustSync(Options{}, SyncOptions{}, src, "dst")
	for i := range 9 {
		mustWrite(t, h.path(fmt.Sprint("dst/extra", i)), []byte("x"), 0o644)
	}
	count := func() int {
		names, err := os.ReadDir(h.path("dst"))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	for name, c := range map[string]struct {
		o    SyncOptions
		kind Kind
		is   error
	}{
		"number":      {SyncOptions{Delete: true, MaxDelete: 8}, KindMaxDelete, nil},
		"part":        {SyncOptions{Delete: true, MaxDelete: -1, MaxPercent: 89}, KindMaxDelete, nil},
		"a lost disk": {SyncOptions{Delete: true, MaxDelete: -1, MaxPercent: 100, Mounts: []string{"disk"}}, KindPartial, ErrMountGone},
		"itself":      {SyncOptions{Delete: true, MaxDelete: -1, MaxPercent: 100, Mounts: []string{"."}}, KindPartial, ErrMountGone},
		"above":       {SyncOptions{Delete: true, MaxDelete: -1, MaxPercent: 100, Mounts: []string{src}}, KindPartial, ErrMountGone},
	} {
		res, err := h.newClient(Options{}).Sync(context.Background(), src, addrOf("dst"), c.o)
		if KindOf(err) != c.kind || c.is != nil && !errors.Is(err, c.is) || res.Deleted != 0 || count() != 10 {
			t.Errorf("%s: %v, %d deleted, %d left", name, err, res.Deleted, count())
		}
	}
	empty := t.TempDir()
	if _, err := h.sync(Options{}, SyncOptions{Delete: true}, empty, "dst"); KindOf(err) != KindPartial || !errors.Is(err, ErrSourceEmpty) || count() != 10 {
		t.Errorf("an empty source: %v, %d left", err, count())
	}
	// What is left out now was not removed, and is remembered still.
	f := tree.NewFilter()
	if err := f.Exclude("disk"); err != nil {
		t.Fatal(err)
	}
	res := h.mustSync(Options{Rules: Rules{Filter: f}}, SyncOptions{Delete: true, MaxDelete: -1, MaxPercent: 90, Mounts: []string{"disk"}}, src, "dst")
	if res.Deleted != 9 || count() != 1 || !strings.Contains(strings.Join(res.Mounts, " "), "disk") {
		t.Errorf("%d deleted, %d left, mounts %q", res.Deleted, count(), res.Mounts)
	}
}
