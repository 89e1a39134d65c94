//go:build unix

package cli

import (
	"os"
	"path/filepath"
	"strings"
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

func TestDirectoriesThatOthersCanWriteTo(t *testing.T) {
	home := t.TempDir()
	if err := os.Chmod(home, 0o777); err != nil {
		t.Fatal(err)
	}
	code, stdout, _ := command(t, home, "doctor")
	if code != 0 || strings.Count(stdout, "others can write to "+home+"\n") != 1 || !strings.Contains(stdout, "chmod o-w "+home+"\n") {
		t.Errorf("exit %d, %s", code, stdout)
	}
	// The daemon's stdin is empty here.
	code, _, stderr := command(t, home, "daemon", "--listen", "127.0.0.1:0", "--until-eof")
	if code != 0 || strings.Count(stderr, "others can write to") != 1 {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if err := os.Chmod(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, stdout, _ := command(t, home, "doctor"); strings.Contains(stdout, "others") {
		t.Error(stdout)
	}
}
