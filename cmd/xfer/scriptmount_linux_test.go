package main

import (
	"errors"
	"os"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func canMount(t *testing.T) bool {
	dir := t.TempDir()
	if syscall.Mount("xfer-test", dir, "tmpfs", 0, "size=64k") != nil {
		return false
	}
	return syscall.Unmount(dir, 0) == nil
}

func cmdSmallfs(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, "smallfs DIR SIZE")
	dir := ts.MkAbs(args[0])
	err := syscall.Mount("xfer-test", dir, "tmpfs", syscall.MS_REMOUNT, "size="+args[1])
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOENT) { // not there yet
		ts.Check(os.MkdirAll(dir, 0o755))
		err = syscall.Mount("xfer-test", dir, "tmpfs", 0, "size="+args[1])
		ts.Defer(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	}
	ts.Check(err)
}

func cmdUnmount(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, "unmount DIR")
	ts.Check(syscall.Unmount(ts.MkAbs(args[0]), 0))
}
