//go:build !linux

package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func canMount(*testing.T) bool { return false }

func cmdSmallfs(ts *testscript.TestScript, neg bool, args []string) {
	ts.Fatalf("not on this system")
}

func cmdUnmount(ts *testscript.TestScript, neg bool, args []string) {
	ts.Fatalf("not on this system")
}
