//go:build !linux

package main

import "github.com/rogpeppe/go-internal/testscript"

func cmdSmallfs(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, "smallfs DIR SIZE")
	ts.Setenv("NOMOUNT", "not on this system")
}
