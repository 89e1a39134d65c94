//go:build !unix

package cli

import "syscall"

// apartFromTerminal has nothing to do here: the child ends with its stdin.
func apartFromTerminal() *syscall.SysProcAttr { return nil }
