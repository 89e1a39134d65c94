package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// image is a file system in a file, mounted by a loop device.
type image struct {
	t        *testing.T
	file, at string
	kind     string
}

func needRoot(t *testing.T, tools ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: mounts file systems")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount file systems")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s (Debian: e2fsprogs, xfsprogs)", tool)
		}
	}
}

func mustTool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

func newImage(t *testing.T, kind string, size int64) *image {
	t.Helper()
	dir := t.TempDir()
	im := &image{t: t, file: filepath.Join(dir, "image"), at: filepath.Join(dir, "mnt"), kind: kind}
	f, err := os.Create(im.file)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	mustTool(t, "mkfs."+kind, "-q", im.file)
	if err := os.Mkdir(im.at, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-o", "loop", im.file, im.at).CombinedOutput(); err != nil {
		t.Skipf("loop devices can not be mounted here: %s", out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", im.at).Run() })
	return im
}

// cut ends the file system as a power failure does: what was not synced is gone.
func (im *image) cut() { mustTool(im.t, "xfs_io", "-x", "-c", "shutdown", im.at) }

// remount unmounts and mounts again, which replays the log.
func (im *image) remount() {
	im.t.Helper()
	for i := 0; ; i++ {
		out, err := exec.Command("umount", im.at).CombinedOutput()
		if err == nil {
			break
		}
		if i == 100 {
			im.t.Fatalf("umount: %s", out)
		}
		time.Sleep(20 * time.Millisecond) // a process that was killed still lets go of its files
	}
	mustTool(im.t, "mount", "-o", "loop", im.file, im.at)
}

// ledger is what was sent under each name: the versions tried, and the last one whose send had exited 0.
type ledger struct {
	mu    sync.Mutex
	tried map[string][][]byte
	sure  map[string][]byte
}

// TestPowerCut cuts the power of the receiver's file system at random moments while files are sent, over ext4 and XFS: what a
// send that had exited 0 brought is there, and no final name holds anything but one whole version.
func TestPowerCut(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			needRoot(t, "mkfs."+kind, "xfs_io", "mount")
			im := newImage(t, kind, 400<<20)
			root := filepath.Join(im.at, "root")
			if err := os.Mkdir(root, 0o755); err != nil {
				t.Fatal(err)
			}
			mustTool(t, "sync", "-f", im.at)
			d := startDaemon(t, "--root", "data="+root)
			c := d.enrolled("--root", "data")
			book := &ledger{tried: map[string][][]byte{}, sure: map[string][]byte{}}
			work := t.TempDir()
			sent := 0
			for cut := range count(3) {
				ctx, stop := context.WithCancel(context.Background())
				var senders sync.WaitGroup
				for w := range 2 {
					senders.Go(func() { sendUntil(ctx, c, d, book, filepath.Join(work, fmt.Sprint(w)), w, cut) })
				}
				time.Sleep(200*time.Millisecond + time.Duration(rand.Int64N(int64(900*time.Millisecond))))
				im.cut()
				stop()
				d.kill(syscall.SIGKILL)
				senders.Wait()
				im.remount()
				sent += book.check(t, root, fmt.Sprintf("%s, cut %d", kind, cut))
				d.restart()
			}
			t.Logf("%d times a file of a send that had exited 0 was looked at", sent)
		})
	}
}

// sendUntil sends files, of which some replace an earlier version, until ctx ends.
func sendUntil(ctx context.Context, c *side, d *server, book *ledger, dir string, w, cut int) {
	for i := 0; ctx.Err() == nil; i++ {
		names := map[string][]byte{}
		src := filepath.Join(dir, fmt.Sprintf("%d-%d", cut, i), fmt.Sprintf("w%d", w))
		for f := range 1 + rand.IntN(4) {
			size := rand.IntN(40 << 10)
			if f == 0 {
				size = rand.IntN(3 << 20)
			}
			name := fmt.Sprintf("f%d", f)
			if rand.IntN(2) == 0 {
				name = fmt.Sprintf("new-%d-%d-%d", cut, i, f)
			}
			names[filepath.Join(fmt.Sprintf("w%d", w), name)] = mustRandomFile(c.t, filepath.Join(src, name), rand.Uint64(), size+1)
		}
		book.mu.Lock()
		for n, b := range names {
			book.tried[n] = append(book.tried[n], b)
		}
		book.mu.Unlock()
		cmd := c.command("send", "-q", "--checksum", "--retry-for", "1ms", "--transport", transports[w], src, d.host("/data/"))
		done := make(chan error, 1)
		if err := cmd.Start(); err != nil {
			return
		}
		go func() { done <- cmd.Wait() }()
		var err error
		select {
		case err = <-done:
		case <-ctx.Done():
			_ = cmd.Process.Kill()
			err = <-done
		}
		if err == nil {
			book.mu.Lock()
			for n, b := range names {
				book.sure[n] = b
			}
			book.mu.Unlock()
		}
		_ = os.RemoveAll(filepath.Dir(src))
	}
}

// check compares what is there with the ledger, and makes it the truth for the next round.
func (b *ledger) check(t *testing.T, root, when string) int {
	t.Helper()
	for name, want := range b.sure {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Errorf("%s: %s, whose send had exited 0, is missing: %v", when, name, err)
			continue
		}
		later := false // a version sent after it may have come through
		for i := len(b.tried[name]) - 1; i >= 0 && !later; i-- {
			later = bytes.Equal(got, b.tried[name][i])
			if bytes.Equal(b.tried[name][i], want) {
				break
			}
		}
		if !later {
			t.Errorf("%s: %s has %d bytes that are neither those of the send that exited 0 nor of a later one", when, name, len(got))
		}
	}
	n := len(b.sure)
	err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.Name() == ".xfer" {
			return filepath.SkipDir
		}
		if !e.Type().IsRegular() {
			return nil
		}
		rel, _ := filepath.Rel(root, p)
		got, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		for _, v := range b.tried[rel] {
			if bytes.Equal(got, v) {
				b.tried[rel], b.sure[rel] = [][]byte{got}, got
				return nil
			}
		}
		t.Errorf("%s: %s holds no version that was ever sent: %d bytes, %d of them zero", when, rel, len(got), bytes.Count(got, []byte{0}))
		return nil
	})
	if err != nil {
		t.Errorf("%s: %v", when, err)
	}
	for name := range b.tried {
		if _, err := os.Lstat(filepath.Join(root, name)); err != nil {
			delete(b.tried, name)
			delete(b.sure, name)
		}
	}
	return n
}

// TestFullDisk fills the root's file system: exit 28, no space kept that helps nobody, and the same command goes on when
// there is room again.
func TestFullDisk(t *testing.T) {
	needRoot(t, "mount")
	mnt := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	mustTool(t, "mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", mnt)
	t.Cleanup(func() { _ = exec.Command("umount", "-l", mnt).Run() })
	used := func() int64 {
		var st syscall.Statfs_t
		if err := syscall.Statfs(mnt, &st); err != nil {
			t.Fatal(err)
		}
		return int64(st.Blocks-st.Bfree) * st.Bsize
	}
	other := t.TempDir()
	d := startDaemon(t, "--root", "small="+mnt, "--root", "large="+other)
	c := d.enrolled("--root", "small", "--root", "large")
	src := filepath.Join(t.TempDir(), "file")
	for _, transport := range transports {
		data := mustRandomFile(t, src, 1, 100<<20)
		o := c.run("", "send", "--json", "--transport", transport, src, d.host("/small/f-"+transport))
		if o.code != 28 || o.result(t).Class != "no-space" {
			t.Fatalf("100 MiB into 64: exit %d %s", o.code, o.stderr)
		}
		if n := used(); n > 1<<20 {
			t.Errorf("%d bytes stay used", n)
		}
		c.must("send", src, d.host("/large/g"))
		mustTool(t, "mount", "-o", "remount,size=160m", mnt)
		c.must("send", "--transport", transport, src, d.host("/small/f-"+transport))
		if got, _ := os.ReadFile(filepath.Join(mnt, "f-"+transport)); !bytes.Equal(got, data) {
			t.Error("a wrong file")
		}
		c.must("rm", d.host("/small/f-"+transport))
		mustTool(t, "mount", "-o", "remount,size=64m", mnt)

		// Filled by somebody else half-way. The source comes through a pipe, so that nothing is allocated ahead.
		data = mustRandomFile(t, src, 2, 48<<20)
		name := d.host("/small/h-" + transport)
		feed := &slowReader{data: data, half: make(chan struct{}), full: make(chan struct{})}
		cmd := c.command("send", "--json", "--transport", transport, "-", name)
		cmd.Stdin = feed
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-feed.half
		filler := filepath.Join(mnt, "filler")
		mustFill(t, filler)
		close(feed.full)
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 28 {
			t.Errorf("filled half-way: exit %d %s", code, errs.String())
		}
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		c.must("send", "--transport", transport, src, name)
		if got, _ := os.ReadFile(filepath.Join(mnt, "h-"+transport)); !bytes.Equal(got, data) {
			t.Error("a wrong file")
		}
		c.must("rm", name)
	}
}

// slowReader stops in the middle until full is closed.
type slowReader struct {
	data       []byte
	off        int
	half, full chan struct{}
	waited     bool
}

func (r *slowReader) Read(p []byte) (int, error) {
	if !r.waited && r.off >= len(r.data)/2 {
		r.waited = true
		close(r.half)
		<-r.full
	}
	n := copy(p[:min(len(p), 64<<10)], r.data[r.off:])
	r.off += n
	if n == 0 {
		return 0, io.EOF
	}
	return n, nil
}

func mustFill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zero := make([]byte, 1<<20)
	for range 200 {
		if _, err := f.Write(zero); err != nil {
			if strings.Contains(err.Error(), "no space") {
				return
			}
			t.Fatal(err)
		}
	}
	t.Fatal("the file system is not small")
}
