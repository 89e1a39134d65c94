//go:build unix

package cli

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestReportToWhatIsNoFile(t *testing.T) {
	home := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(home, "fifo"), 0o600); err != nil {
		t.Skip(err)
	}
	got := make(chan []byte)
	go func() {
		data, _ := os.ReadFile(filepath.Join(home, "fifo"))
		got <- data
	}()
	command(t, home, "send", filepath.Join(home, "missing"), "nas:", "--report", filepath.Join(home, "fifo"))
	if r := lastResult(t, string(<-got)); r.Exit != 3 {
		t.Errorf("report %+v", r)
	}
	if info, err := os.Lstat(filepath.Join(home, "fifo")); err != nil || info.Mode().IsRegular() {
		t.Errorf("the FIFO was replaced: %v, %v", info, err)
	}
}
