package sink

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// A tree with another file system in it, and with a part of its own mounted elsewhere, where the device number does not tell.
func TestTreeWithMounts(t *testing.T) {
	root := t.TempDir()
	must(t, os.MkdirAll(root+"/top/mnt", 0o755))
	must(t, os.MkdirAll(root+"/top/bound", 0o755))
	must(t, os.MkdirAll(root+"/real", 0o755))
	if err := syscall.Mount("xfer-test", root+"/top/mnt", "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("needs the right to mount: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(root+"/top/mnt", 2) })
	must(t, syscall.Mount(root+"/real", root+"/top/bound", "", syscall.MS_BIND, ""))
	t.Cleanup(func() { _ = syscall.Unmount(root+"/top/bound", 2) })
	d := openDir(t, root, Options{})
	d.trees.groupFiles, d.trees.openFiles = 3, 2
	src := source{}
	for _, in := range []string{"", "mnt/", "bound/", "mnt/d/", "bound/d/"} {
		src[in+"a"], src[in+"b"], src[in+"l"], src[in+"z"] = file(in+"1"), file(in+"2"), symlink("x"), hardlink(in+"a")
	}
	for i := range 2 {
		mustSend(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, src)
		wantTree(t, d.fs, "top", src)
		for p, n := range src {
			if n.kind == File && n.link == "" {
				n.data += "!"
			}
			src[p] = n.at(noon.AddDate(i+1, 0, 0))
		}
	}
	for p := range snapshot(t, d.fs, ".") {
		if strings.Contains(p, ".xfer-") || strings.HasPrefix(p, treesDir+"/") {
			t.Errorf("left: %s", p)
		}
	}
}

// freshExt4 mounts a new ext4 file system, or skips.
func freshExt4(t testing.TB, size string) string {
	t.Helper()
	image, dir := t.TempDir()+"/image", t.TempDir()
	for _, c := range [][]string{
		{"truncate", "-s", size, image}, {"mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", image}, {"mount", "-o", "loop", image, dir},
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
	return dir
}
