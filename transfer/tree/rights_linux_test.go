package tree

import (
	"os"
	"runtime"
	"syscall"
	"testing"

	"xfer/transfer/durable"
)

// asNobody calls f without the rights of root: on a thread of its own, which ends with it (setfsuid(2)).
func asNobody(f func()) {
	if os.Geteuid() != 0 {
		f()
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		_, _, _ = syscall.RawSyscall(syscall.SYS_SETFSUID, 65534, 0, 0) // it tells no failure
		f()
	}()
	<-done
}

func TestWalkerGoesOnBehindWhatItMayNotRead(t *testing.T) {
	top := t.TempDir()
	must(t, os.Chmod(top, 0o755))
	fsys, err := durable.OpenOS(top)
	must(t, err)
	defer fsys.Close()
	plant(t, fsys, "a/f", "closed/f", "searched/f", "z", "zl -> closed/f")
	for dir, mode := range map[string]os.FileMode{"closed": 0, "searched": 0o111} {
		must(t, fsys.Chmod(dir, mode))
	}
	defer func() {
		for _, dir := range []string{"closed", "searched"} {
			must(t, fsys.Chmod(dir, 0o755))
		}
	}()
	const denied = ": permission denied"
	var got, linked []string
	asNobody(func() {
		got = items(t, fsys, ".", WalkOptions{})
		linked = items(t, fsys, ".", WalkOptions{CopyLinks: true})
	})
	expect := []string{
		`directory []`,
		`directory ["a"]`,
		`file ["a" "f"]`,
		`directory ["closed"]` + denied,
		`directory ["searched"]` + denied,
		`file ["z"]`,
	}
	want(t, got, append(expect, `symbolic link ["zl"] -> closed/f`)...)
	want(t, linked, append(expect, `symbolic link ["zl"] -> closed/f`+denied)...)
}
