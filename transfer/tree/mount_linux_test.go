package tree

import (
	"path/filepath"
	"syscall"
	"testing"

	"xfer/transfer/durable"
)

func TestOneFileSystemOverAMount(t *testing.T) {
	top := t.TempDir()
	fsys, err := durable.OpenOS(top)
	must(t, err)
	defer fsys.Close()
	plant(t, fsys, "a/f", "mnt/", "z/f")
	if err := syscall.Mount("xfer-test", filepath.Join(top, "mnt"), "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("needs the right to mount tmpfs: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(filepath.Join(top, "mnt"), 0); err != nil {
			_ = syscall.Unmount(filepath.Join(top, "mnt"), 2) // MNT_DETACH
			t.Error(err)
		}
	}()
	plant(t, fsys, "mnt/f", "mnt/d/g")
	want(t, items(t, fsys, ".", WalkOptions{OneFileSystem: true}),
		`directory []`,
		`directory ["a"]`,
		`file ["a" "f"]`,
		`directory ["mnt"] (mount)`,
		`directory ["z"]`,
		`file ["z" "f"]`)
	if got := items(t, fsys, ".", WalkOptions{}); len(got) != 9 {
		t.Errorf("without the option: %q", got)
	}
}
