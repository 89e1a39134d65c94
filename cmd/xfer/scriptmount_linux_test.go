package main

import (
	"os"
	"syscall"

	"github.com/rogpeppe/go-internal/testscript"
)

func cmdSmallfs(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, "smallfs DIR SIZE")
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(dir, 0o755))
	if err := syscall.Mount("xfer-test", dir, "tmpfs", 0, "size="+args[1]); err != nil {
		ts.Setenv("NOMOUNT", err.Error())
		return
	}
	ts.Defer(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
}
