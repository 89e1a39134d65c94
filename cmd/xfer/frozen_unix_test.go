//go:build unix

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestDaemonThatFreezes: connected, and then nothing moves any more, though the port still takes connections. That is 30, within
// what --retry-for allows, and the same command goes on once the daemon does.
func TestDaemonThatFreezes(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			d := startDaemon(t)
			c := d.enrolled()
			src := filepath.Join(t.TempDir(), "file")
			data := mustRandomFile(t, src, 11, 32<<20)
			thaw := func() { _ = d.cmd.Process.Signal(syscall.SIGCONT) }
			defer thaw() // or it would not end
			freeze := time.AfterFunc(time.Second, func() { _ = d.cmd.Process.Signal(syscall.SIGSTOP) })
			defer freeze.Stop()
			began := time.Now()
			o := c.run("", "send", "--json", "--transport", transport, "--bwlimit", "4M", "--timeout", "2s", "--retry-for", "3s", src, d.host("file"))
			if res := o.result(t); o.code != 30 || res.Exit != 30 {
				t.Fatalf("exit %d after %v: %s", o.code, time.Since(began), o.stderr)
			}
			t.Logf("given up after %v", time.Since(began))
			thaw()
			if o := c.run("", "send", "--transport", transport, src, d.host("file")); o.code != 0 {
				t.Fatalf("afterwards: exit %d: %s", o.code, o.stderr)
			}
			if got, _ := os.ReadFile(d.inbox("file")); !bytes.Equal(got, data) {
				t.Fatal("a wrong file")
			}
		})
	}
}
