//go:build unix

package sink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// Modes are those of the source whatever the umask is, and the bits of a directory that are not told stay.
func TestModesOfATree(t *testing.T) {
	root := t.TempDir()
	must(t, os.Mkdir(root+"/top", 0o777))
	must(t, os.Chmod(root+"/top", os.ModeSetgid|0o777))
	for _, mask := range []int{0, 0o022, 0o077, 0o777} {
		old := syscall.Umask(mask)
		d := openDir(t, root, Options{})
		src := source{"": dir().with(0o770), "d": dir().with(0o751), "d/s": dir().with(0o500)}
		for i, mode := range []fs.FileMode{0o644, 0o600, 0o755, 0o777, 0o400, 0o444, 0} {
			src[fmt.Sprintf("d/f%d", i)] = file("x").with(mode)
			src[fmt.Sprintf("d/s/f%d", i)] = file(fmt.Sprint(mask)).with(mode).at(noon.Add(time.Duration(mask+1) * time.Second))
		}
		mustSend(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, src)
		syscall.Umask(old)
		if os.Geteuid() == 0 { // who is not may not read a file of mode 0
			wantTree(t, d.fs, "top", src)
		}
		fi := must2(os.Stat(root + "/top"))
		if fi.Mode()&os.ModeSetgid == 0 {
			t.Errorf("umask %o: the top has the mode %v", mask, fi.Mode())
		}
	}
}

// A directory of the target is swapped with a link to outside, again and again, while trees arrive. Not a byte outside is written,
// changed or removed.
func TestTreeWhileADirectoryIsSwapped(t *testing.T) {
	root, outside, check := world(t)
	d := openDir(t, root, Options{})
	d.trees.dirs, d.trees.groupFiles, d.trees.openFiles = 2, 4, 4
	must(t, os.MkdirAll(root+"/top/d/deep", 0o755))
	must(t, os.Symlink(outside, root+"/top/link"))
	limit := 2 * time.Second
	if testing.Short() {
		limit = time.Second / 2
	}
	stop := make(chan struct{})
	var swaps, done atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Rename(root+"/top/d", root+"/away")
			_ = os.Rename(root+"/top/link", root+"/top/d")
			swaps.Add(1)
			_ = os.Rename(root+"/top/d", root+"/top/link")
			_ = os.Rename(root+"/away", root+"/top/d")
			runtime.Gosched()
		}
	})
	end := time.Now().Add(limit)
	for i := 0; time.Now().Before(end); i++ {
		src := source{
			"d/secret": file(fmt.Sprint("s", i)), "d/new": file(fmt.Sprint("n", i)), "d/dir/secret": file(fmt.Sprint("d", i)),
			"d/deep/x": file(fmt.Sprint("x", i)), "d/l": symlink(fmt.Sprint(i)), "z": file(fmt.Sprint("z", i)),
		}
		for p, n := range src {
			src[p] = n.at(noon.Add(time.Duration(i) * time.Second))
		}
		src["d/h"] = hardlink("d/deep/x").at(noon.Add(time.Duration(i) * time.Second))
		spec := TreeSpec{Path: mustPath(t, "top")}
		if i%3 == 1 {
			spec.Backup = mustPath(t, "kept")
		}
		if i%3 == 2 {
			spec.Extra = func(Path, Kind, int64) {}
		}
		o := send(t, d.View("alice", All), spec, src)
		done.Add(int64(o.result.Published))
	}
	close(stop)
	wg.Wait()
	check()
	if swaps.Load() < 10 || done.Load() < 10 {
		t.Errorf("%d swaps, %d files were published: the race was none", swaps.Load(), done.Load())
	}
	t.Logf("%d swaps, %d files were published", swaps.Load(), done.Load())
}

// Whatever is in the way of our own directory is not written through.
func TestTreeWithSomethingInTheWayOfItsDirectory(t *testing.T) {
	root, outside, check := world(t)
	for _, plant := range []func(name string) error{
		func(name string) error { return os.Symlink(outside, name) },
		func(name string) error { return os.WriteFile(name, bystander, 0o644) },
		func(name string) error { return syscall.Mkfifo(name, 0o600) },
	} {
		d := openDir(t, root, Options{})
		must(t, os.MkdirAll(root+"/.xfer", 0o700))
		must(t, os.RemoveAll(root+"/.xfer/tree"))
		must(t, plant(root+"/.xfer/tree"))
		mustSend(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, sampleTree())
		wantTree(t, d.fs, "top", sampleTree())
		check()
		must(t, d.fs.RemoveAll("top"))
		dir := root + "/.xfer/tree/" + treeKey("alice", mustPath(t, "top")) + "-00000000000000000000000000000000"
		must(t, os.MkdirAll(root+"/.xfer/tree", 0o700))
		must(t, plant(dir))
		mustSend(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, sampleTree())
		must(t, os.MkdirAll(dir, 0o700))
		must(t, plant(dir+"/lock"))
		must(t, plant(dir+"/1"))
		must(t, plant(dir+"/probe"))
		must(t, plant(dir+"/dirs"))
		must(t, d.fs.RemoveAll("top"))
		d.trees.spool = 10
		mustSend(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, sampleTree())
		wantTree(t, d.fs, "top", sampleTree())
		check()
		must(t, d.fs.RemoveAll("top"))
		must(t, d.Close())
	}
	must(t, os.RemoveAll(root+"/.xfer"))
	must(t, os.Symlink(outside, root+"/.xfer"))
	d := openDir(t, root, Options{})
	s := begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, source{"f": file("x")})
	s.take()
	if err := s.tree.Put(1, []byte("x"), digest([]byte("x")), nil); !errors.Is(err, ErrNotDir) {
		t.Error(err)
	}
	must(t, s.tree.Close())
	check()
}
