package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestMain is also the program's own parts: the bench starts itself.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if part, ok := parts[os.Args[1]]; ok {
			os.Exit(runPart(part, os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

// buildXfer makes the program to measure.
func buildXfer(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: builds xfer, starts daemons and many commands")
	}
	name := filepath.Join(t.TempDir(), "xfer")
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", name, "xfer/cmd/xfer").CombinedOutput(); err != nil {
		t.Skipf("xfer cannot be built here: %v\n%s", err, out)
	}
	return name
}

// mustRun runs the command and returns its report.
func mustRun(t *testing.T, args ...string) report {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	dir := t.TempDir()
	var table, log bytes.Buffer
	if code := run(t.Context(), append(args, "--json", file, "--dir", dir), &table, &log); code != 0 {
		t.Fatalf("exit %d\n%s%s", code, table.String(), log.String())
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r report
	if err := json.Unmarshal(data, &r); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	for _, res := range r.Results {
		if !strings.Contains(table.String(), res.Workload+" on "+res.FS) {
			t.Errorf("the table does not tell of %s:\n%s", res.Workload, table.String())
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return r
}

func TestBigEndToEnd(t *testing.T) {
	r := mustRun(t, "big", "--size", "1M", "--pairs", "2", "--with", "bare", "--xfer", buildXfer(t))
	res := r.find("big", tmpfs)
	if res == nil || len(res.Rows) != 4 || res.Bytes != mib {
		t.Fatalf("got %+v", res)
	}
	for _, name := range []string{xferTCP, xferQUIC, bareTLS, bareQUIC} {
		row := res.row(name)
		if row == nil || row.NA != "" || len(row.Samples) != 2 || row.Wall.Median <= 0 {
			t.Fatalf("%s: %+v", name, row)
		}
		if runtime.GOOS == "linux" && (row.CPU == nil || row.PeakHere == 0 || row.PeakThere == 0) {
			t.Errorf("%s has no CPU time or no peaks: %+v", name, row)
		}
	}
	x, y := res.row(xferTCP), res.row(bareTLS)
	want := median([]float64{y.Samples[0].Wall / x.Samples[0].Wall, y.Samples[1].Wall / x.Samples[1].Wall})
	if got := y.TimeOver[xferTCP]; !near(got, want) {
		t.Errorf("bare-tls / xfer-tcp is %v, want %v", got, want)
	}
	for _, v := range r.Goals {
		switch {
		case v.Goal == "one big file: speed / bare TLS copy":
			if v.Measured == nil || !near(*v.Measured, want) {
				t.Errorf("%+v, want %v", v, want)
			}
		case strings.Contains(v.Goal, "scp") && v.OK != "n/a":
			t.Errorf("scp did not run, and yet: %+v", v)
		}
	}
}

func TestSmallEndToEnd(t *testing.T) {
	r := mustRun(t, "small", "--files", "20", "--pairs", "1", "--transport", "tcp", "--with", "none", "--xfer", buildXfer(t))
	res := r.find("small", tmpfs)
	if res == nil || res.Files != 20 || res.Bytes != 20*4*kib || res.row(xferQUIC) != nil {
		t.Fatalf("got %+v", res)
	}
	if row := res.row(xferTCP); row == nil || row.NA != "" || row.Wall == nil {
		t.Errorf("xfer-tcp: %+v", row)
	}
}

// TestPeersEndToEnd runs whatever moves trees and is installed here.
func TestPeersEndToEnd(t *testing.T) {
	r := mustRun(t, "small", "--files", "3", "--pairs", "1", "--transport", "tcp", "--xfer", buildXfer(t))
	var missing []string
	for _, row := range r.find("small", tmpfs).Rows {
		switch {
		case row.NA != "":
			missing = append(missing, row.Name+": "+row.NA)
		case len(row.Samples) != 1:
			t.Errorf("%s ran %d times, want once", row.Name, len(row.Samples))
		}
	}
	if len(missing) > 0 {
		t.Skip(strings.Join(missing, "; "))
	}
}

func TestDeltaEndToEnd(t *testing.T) {
	r := mustRun(t, "delta", "--size", "1M", "--transport", "tcp", "--with", "rsync-daemon", "--xfer", buildXfer(t))
	res := r.find("delta", tmpfs)
	if sent, why := number(changedPayload)(res, xferTCP); why != "" || sent <= 0 || sent > 1 {
		t.Errorf("xfer sent %v of the size: %s", sent, why)
	}
	sent, why := number(changedPayload)(res, rsyncDaemon)
	if why != "" {
		t.Skip("rsync: " + why)
	}
	if sent <= 0 || sent > 0.2 { // 1 % is two extents of 4 KiB, a block of rsync 1 KiB
		t.Errorf("rsync sent %v of the size", sent)
	}
}

func TestUsage(t *testing.T) {
	var help bytes.Buffer
	if code := run(t.Context(), []string{"-h"}, io.Discard, &help); code != 0 {
		t.Fatalf("-h: exit %d", code)
	}
	for _, w := range workloads() {
		if !strings.Contains(help.String(), "  "+w.name+" ") || !strings.Contains(help.String(), w.what) {
			t.Errorf("-h says nothing of %s", w.name)
		}
	}
	for _, args := range [][]string{
		{}, {"--pairs", "3"}, {"nothing"}, {"big", "more"}, {"big", "--files", "3"}, {"latency", "--size", "1G"}, {"big", "--pairs", "0"},
		{"big", "--transport", "sctp"}, {"big", "--fs", "ntfs"}, {"big", "--with", "ftp"}, {"big", "--size", "many"}, {"sparse", "--with", "cp"},
	} {
		if code := run(t.Context(), args, io.Discard, io.Discard); code != exitUsage {
			t.Errorf("%q: exit %d, want %d", args, code, exitUsage)
		}
	}
}
