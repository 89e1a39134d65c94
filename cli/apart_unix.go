//go:build unix

package cli

import "syscall"

// apartFromTerminal keeps Ctrl-C away from a child that we end ourselves.
func apartFromTerminal() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
