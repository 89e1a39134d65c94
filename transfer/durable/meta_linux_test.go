package durable_test

import (
	"os"
	"os/exec"
	"reflect"
	"syscall"
	"testing"

	"xfer/transfer/durable"
)

func TestCloneOfTheSystem(t *testing.T) { testClone(t, mustLoop(t, "xfs", "300M")) }

// Attributes of links, and those of namespaces that only root has.
func TestXAttrsOfRoot(t *testing.T) {
	fsys := mustMount(t, "tmpfs", "size=1m")
	mustWrite(t, fsys, "f", "")
	must(t, fsys.Symlink("f", "link"))
	for _, name := range []string{"f", "link"} {
		must(t, fsys.LSetXAttr(name, "trusted.x", []byte(name)))
		attrs, err := fsys.LXAttrs(name)
		if err != nil || !reflect.DeepEqual(names(attrs), []string{"trusted.x=" + name}) {
			t.Errorf("%s: %v, %v", name, names(attrs), err)
		}
	}
	must(t, fsys.LRemoveXAttr("link", "trusted.x"))
	if attrs, err := fsys.LXAttrs("f"); err != nil || len(attrs) != 1 {
		t.Errorf("the file lost what the link had: %v, %v", attrs, err)
	}
}

// No link in the way of a name is followed out of the root, and none at its end at all.
func TestXAttrsStayInTheRoot(t *testing.T) {
	c := newCanary(t)
	fsys := mustOpenOS(t, t.TempDir())
	hasXAttrs(t, fsys)
	must(t, fsys.Symlink(c.outside, "dir"))
	must(t, fsys.Symlink(c.outside+"/secret", "file"))
	for _, name := range []string{"dir/secret", "dir/d", "file", "dir", "../" + c.outside + "/secret"} {
		if err := fsys.LSetXAttr(name, "user.x", nil); err == nil {
			t.Errorf("set on %s", name)
		}
	}
	for _, name := range []string{"secret", "d", "."} {
		outside := mustOpenOS(t, c.outside)
		if attrs, err := outside.LXAttrs(name); err != nil || len(attrs) != 0 {
			t.Errorf("outside, %s has %v, %v", name, attrs, err)
		}
	}
}

// Without /proc the names of files and directories are opened. The test runs itself again where /proc is empty.
func TestXAttrsWithoutProc(t *testing.T) {
	const here = "DURABLE_TEST_DIR"
	if dir := os.Getenv(here); dir != "" {
		if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
			t.Skip("mount:", err)
		}
		must(t, syscall.Mount("xfer-test", "/proc", "tmpfs", 0, ""))
		fsys, err := durable.OpenOS(dir)
		must(t, err)
		for _, name := range []string{"f", "d", "d/f", "."} {
			must(t, fsys.LSetXAttr(name, "user.x", []byte(name)))
			attrs, err := fsys.LXAttrs(name)
			if err != nil || !reflect.DeepEqual(names(attrs), []string{"user.x=" + name}) {
				t.Errorf("%s: %v, %v", name, names(attrs), err)
			}
			must(t, fsys.LRemoveXAttr(name, "user.x"))
		}
		for _, name := range []string{"missing", "link"} {
			if _, err := fsys.LXAttrs(name); err == nil {
				t.Errorf("%s has attributes", name)
			}
		}
		return
	}
	fsys := mustOpenOS(t, t.TempDir())
	hasXAttrs(t, fsys)
	must(t, fsys.Mkdir("d", 0o755))
	must(t, fsys.Symlink("f", "link"))
	mustWrite(t, fsys, "f", "")
	mustWrite(t, fsys, "d/f", "")
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestXAttrsWithoutProc$", "-test.v")
	cmd.Env = append(os.Environ(), here+"="+fsysPath(t, fsys))
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		t.Skip("needs the right to make a mount namespace:", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
