package durable_test

import (
	"errors"
	"math"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"xfer/transfer/durable"
)

// mustMount mounts a file system of its own, or skips where that is not allowed.
func mustMount(t *testing.T, kind, options string) durable.FS {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("xfer-test", dir, kind, 0, options); err != nil {
		t.Skipf("needs the right to mount %s: %v", kind, err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			_ = syscall.Unmount(dir, 2) // MNT_DETACH
			t.Error(err)
		}
	})
	return mustOpenOS(t, dir)
}

func TestAllocateOnAFullDisk(t *testing.T) {
	fsys := mustMount(t, "tmpfs", "size=1m")
	before, total, err := fsys.Space()
	must(t, err)
	if total != 1<<20 || before > total {
		t.Fatalf("Space: %d of %d", before, total)
	}
	f, err := fsys.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer f.Close()
	_, err = f.Write([]byte("content"))
	must(t, err)
	if err := f.Allocate(2 << 20); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("%v, want ENOSPC", err)
	}
	fi, err := f.Stat()
	must(t, err)
	free, _, err := fsys.Space()
	must(t, err)
	if fi.Size() != 7 || before-free > 4096 {
		t.Errorf("after the failure: size %d, %d bytes less free", fi.Size(), before-free)
	}
	must(t, f.Allocate(512<<10))
	if fi, err := f.Stat(); err != nil || fi.Size() != 512<<10 {
		t.Errorf("%v, %v", fi, err)
	}
}

// ext4 and XFS give blocks until there are no more; what a failed Allocate got must go back.
func TestAllocateOnAFullImage(t *testing.T) {
	for kind, size := range map[string]string{"ext4": "16M", "xfs": "300M"} {
		t.Run(kind, func(t *testing.T) {
			fsys := mustLoop(t, kind, size)
			f, err := fsys.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
			must(t, err)
			defer f.Close()
			must(t, f.Sync())
			before, total, err := fsys.Space()
			must(t, err)
			if err := f.Allocate(total * 2); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("%v, want ENOSPC", err)
			}
			fi, err := f.Stat()
			must(t, err)
			if blocks := fi.Sys().(*syscall.Stat_t).Blocks; fi.Size() != 0 || blocks != 0 {
				t.Errorf("after the failure: size %d, %d blocks", fi.Size(), blocks)
			}
			after, _, err := fsys.Space()
			if must(t, err); before-after > before/10 {
				t.Errorf("%d of %d free bytes are gone", before-after, before)
			}
			must(t, f.Allocate(before/2))
			must(t, f.Sync())
			free, _, err := fsys.Space()
			if must(t, err); after-free < before/2 {
				t.Errorf("Allocate of %d bytes took %d", before/2, after-free)
			}
		})
	}
}

// mustLoop mounts an image of its own, or skips where that cannot be done.
func mustLoop(t *testing.T, kind, size string) durable.FS {
	t.Helper()
	image, dir := t.TempDir()+"/image", t.TempDir()
	for _, c := range [][]string{
		{"truncate", "-s", size, image},
		{"mkfs." + kind, "-q", image},
		{"mount", "-o", "loop", image, dir},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Skipf("needs %s and the right to mount: %v\n%s", c[0], err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			_ = exec.Command("umount", "-l", dir).Run()
			t.Errorf("%v\n%s", err, out)
		}
	})
	return mustOpenOS(t, dir)
}

// ramfs has no fallocate, and tells no sizes.
func TestAllocateWhereThereIsNone(t *testing.T) {
	fsys := mustMount(t, "ramfs", "")
	if free, total, err := fsys.Space(); err != nil || free != math.MaxInt64 || total != math.MaxInt64 {
		t.Errorf("Space: %d of %d, %v", free, total, err)
	}
	f, err := fsys.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer f.Close()
	must(t, f.Allocate(1<<20))
	if fi, err := f.Stat(); err != nil || fi.Size() != 1<<20 {
		t.Errorf("%v, %v", fi, err)
	}
	must(t, f.Sync())
	must(t, fsys.SyncDir("."))
	mustWrite(t, fsys, "g", "g")
	if err := fsys.RenameNoReplace("g", "f"); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("%v, want EEXIST", err)
	}
}

func TestRenameBetweenFileSystems(t *testing.T) {
	fsys := mustOpenOS(t, t.TempDir())
	must(t, fsys.Mkdir("m", 0o755))
	dir := fsysPath(t, fsys)
	if err := syscall.Mount("xfer-test", dir+"/m", "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	defer syscall.Unmount(dir+"/m", 0)
	mustWrite(t, fsys, "f", "f")
	for name, err := range map[string]error{
		"Rename":          fsys.Rename("f", "m/f"),
		"RenameNoReplace": fsys.RenameNoReplace("f", "m/f"),
		"Link":            fsys.Link("f", "m/f"),
		"RenameTo":        fsys.RenameTo("f", fsys, "m/f", true),
		"RenameTo new":    fsys.RenameTo("f", fsys, "m/f", false),
	} {
		if !errors.Is(err, syscall.EXDEV) {
			t.Errorf("%s: %v, want EXDEV", name, err)
		}
	}
}

// fsysPath is where fsys is.
func fsysPath(t *testing.T, fsys durable.FS) string {
	t.Helper()
	f, err := fsys.OpenFile(".", os.O_RDONLY, 0)
	must(t, err)
	defer f.Close()
	return f.Name()
}

// A file system on a device that is smaller than it claims: writing succeeds, and the device has no space. SyncFS tells, also
// when the file was closed long before; it tells once.
func TestSyncFSTellsWhatWasLost(t *testing.T) {
	small := fsysPath(t, mustMount(t, "tmpfs", "size=6m"))
	dir := t.TempDir()
	for _, c := range [][]string{
		{"truncate", "-s", "64M", small + "/image"},
		{"mkfs.ext4", "-q", "-O", "^has_journal", small + "/image"},
		{"mount", "-o", "loop", small + "/image", dir},
	} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Skipf("needs %s and the right to mount: %v\n%s", c[0], err, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("umount", "-l", dir).Run() })
	fsys := mustOpenOS(t, dir)
	must(t, fsys.Mkdir("d", 0o755))
	sub, err := fsys.OpenRoot("d")
	must(t, err)
	defer sub.Close()
	must(t, sub.SyncFS())
	f, err := sub.OpenFile("f", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	must(t, err)
	_, err = f.Write(make([]byte, 16<<20))
	must(t, err)
	must(t, f.Close())
	if err := sub.SyncFS(); !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("SyncFS: %v, want EIO or ENOSPC", err)
	}
}

// An overlay does not hand on what the file system beneath it has lost: its syncfs is not to be trusted.
func TestSyncFSOfAnOverlay(t *testing.T) {
	below := fsysPath(t, mustMount(t, "tmpfs", ""))
	for _, d := range []string{"lower", "upper", "work"} {
		must(t, os.Mkdir(below+"/"+d, 0o755))
	}
	fsys := mustMount(t, "overlay", "lowerdir="+below+"/lower,upperdir="+below+"/upper,workdir="+below+"/work")
	mustWrite(t, fsys, "f", "f")
	if err := fsys.SyncFS(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v, want errors.ErrUnsupported", err)
	}
	tmpfs := mustMount(t, "tmpfs", "")
	mustWrite(t, tmpfs, "f", "f")
	must(t, tmpfs.SyncFS())
}
