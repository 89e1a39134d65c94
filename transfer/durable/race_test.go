//go:build unix

package durable_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"xfer/transfer/durable"
)

// A directory is swapped with a link to outside, again and again, while all methods work beneath it. Not a byte
// outside is read, written or made. Bounded by rounds and by time.
func TestDirectorySwappedWithALinkToOutside(t *testing.T) {
	rounds, limit := 100_000, 2*time.Second
	if testing.Short() {
		limit = time.Second / 2
	}
	c := newCanary(t)
	dir := t.TempDir()
	fsys := mustOpenOS(t, dir)
	must(t, fsys.Mkdir("d", 0o755))
	mustWrite(t, fsys, "d/secret", "inside")
	mustWrite(t, fsys, "file", "file")
	mustWrite(t, fsys, "other", "other")
	must(t, fsys.Symlink(c.outside, "link"))

	var swaps, hits atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			// Plain system calls: what an enemy in the directory would do.
			_ = os.Rename(dir+"/d", dir+"/away")
			_ = os.Rename(dir+"/link", dir+"/d")
			swaps.Add(1)
			_ = os.Rename(dir+"/d", dir+"/link")
			_ = os.Rename(dir+"/away", dir+"/d")
		}
	})
	end := time.Now().Add(limit)
	for i := 0; i < rounds && time.Now().Before(end); i++ {
		name := fmt.Sprintf("d/n%d", i%7)
		for _, try := range []func() error{
			func() error { return durable.WriteFile(fsys, name, []byte("x"), 0o600) },
			func() error { return fsys.Chmod("d/secret", 0o600) },
			func() error { return fsys.SetTimes("d/secret", time.Unix(1, 0)) },
			func() error { return fsys.RenameNoReplace("file", "d/file") },
			func() error { return fsys.RenameNoReplace("d/file", "file") },
			func() error {
				sub, err := fsys.OpenRoot("d")
				if err != nil {
					return err
				}
				defer sub.Close()
				if err := fsys.RenameTo("other", sub, "moved", i%2 == 0); err != nil {
					return err
				}
				return sub.RenameTo("moved", fsys, "other", i%2 == 0)
			},
			func() error { return fsys.RenameTo("other", fsys, "d/other", true) },
			func() error { return fsys.RenameTo("d/other", fsys, "other", false) },
			func() error { return fsys.Link("file", "d/linked") },
			func() error { return fsys.Remove("d/linked") },
			func() error {
				unlock, err := fsys.Lock("d/lock")
				if err == nil {
					err = unlock()
				}
				return err
			},
			func() error {
				data, err := durable.ReadFile(fsys, "d/secret", 100)
				if err == nil && string(data) != "inside" {
					t.Errorf("read %q from outside", data)
				}
				return err
			},
			func() error {
				sub, err := fsys.OpenRoot("d")
				if err != nil {
					return err
				}
				defer sub.Close()
				data, err := durable.ReadFile(sub, "secret", 100)
				if err == nil && string(data) != "inside" {
					t.Errorf("read %q from outside through OpenRoot", data)
				}
				return err
			},
		} {
			if try() == nil {
				hits.Add(1)
			}
		}
	}
	close(stop)
	wg.Wait()
	c.check(t, "the race")
	if swaps.Load() < 10 || hits.Load() < 10 {
		t.Errorf("%d swaps and %d operations that worked: the race was none", swaps.Load(), hits.Load())
	}
	t.Logf("%d swaps, %d operations worked", swaps.Load(), hits.Load())
}

// Without the Root the same race is lost: the test above can fail.
func TestDirectorySwappedIsADanger(t *testing.T) {
	c := newCanary(t)
	dir := t.TempDir()
	must(t, os.Mkdir(dir+"/d", 0o755))
	must(t, os.Rename(dir+"/d", dir+"/away"))
	must(t, os.Symlink(c.outside, dir+"/d"))
	data, err := os.ReadFile(dir + "/d/secret")
	if err != nil || string(data) != "secret" {
		t.Fatalf("%q, %v", data, err)
	}
	fsys := mustOpenOS(t, dir)
	if data, err := durable.ReadFile(fsys, "d/secret", 100); err == nil {
		t.Errorf("read %q", data)
	}
}

// Nothing that names a FIFO waits for its other end. A wait would end the test by its deadline.
func TestNothingWaitsForAFIFO(t *testing.T) {
	dir := t.TempDir()
	fsys := mustOpenOS(t, dir)
	fifo := func() {
		_ = os.RemoveAll(dir + "/p")
		must(t, syscall.Mkfifo(dir+"/p", 0o600))
	}
	mustWrite(t, fsys, "file", "")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, m := range methods {
			fifo()
			_ = m.do(fsys, "p")
			_ = m.do(fsys, "p/x")
			if _, err := fsys.Lstat("file"); err != nil {
				mustWrite(t, fsys, "file", "")
			}
		}
		fifo()
		for _, flag := range []int{os.O_RDONLY, os.O_WRONLY, os.O_RDWR} {
			if f, err := durable.OpenRegularFlag(fsys, "p", flag); !errors.Is(err, durable.ErrNotRegular) {
				t.Errorf("flag %d: %v, %v; want ErrNotRegular", flag, f, err)
			}
		}
		if _, err := durable.OpenOS(dir + "/p"); !errors.Is(err, syscall.ENOTDIR) {
			t.Errorf("OpenOS: %v, want ENOTDIR", err)
		}
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal("something waits for a FIFO")
	}
}

// A lock holds against another process too: flock is a matter of the open file, not of the process.
func TestLockHoldsAgainstOtherOpenings(t *testing.T) {
	dir := t.TempDir()
	a, b := mustOpenOS(t, dir), mustOpenOS(t, dir)
	unlock, err := a.Lock("lock")
	must(t, err)
	if _, err := b.Lock("lock"); !errors.Is(err, durable.ErrLocked) {
		t.Errorf("%v, want ErrLocked", err)
	}
	f, err := os.OpenFile(dir+"/lock", os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		t.Errorf("flock(2): %v, want EWOULDBLOCK", err)
	}
	must(t, unlock())
	must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB))
}

func TestFilesOfAClosedFS(t *testing.T) {
	fsys, err := durable.OpenOS(t.TempDir())
	must(t, err)
	f, err := fsys.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer f.Close()
	must(t, fsys.Close())
	if _, err := f.Write([]byte("x")); err != nil {
		t.Errorf("an open file died with its FS: %v", err)
	}
	if _, err := fsys.Stat("f"); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("%v, want fs.ErrClosed", err)
	}
}
