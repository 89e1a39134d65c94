package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// acked returns what the receiver had taken at the last progress line of an --json run.
func acked(stdout string) (bytes int64) {
	for line := range strings.Lines(stdout) {
		var e struct {
			Event string
			Bytes int64
		}
		if json.Unmarshal([]byte(line), &e) == nil && e.Event == "progress" {
			bytes = e.Bytes
		}
	}
	return bytes
}

// TestKilledAtAnyMoment kills the sender or the daemon with SIGKILL while a file is on its way over an older version,
// and runs the same command again: before, the final name has the one version or the other; after, the new one;
// what had been received is not sent again.
func TestKilledAtAnyMoment(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts and kills many processes")
	}
	const size = 24 << 20
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			d := startDaemon(t)
			c := d.enrolled()
			src := filepath.Join(t.TempDir(), "file")
			old := mustRandomFile(t, d.inbox("file"), 0, 1<<20)
			killed, resumed := 0, 0
			for i := range count(8) {
				seed := rand.Uint64()
				data := mustRandomFile(t, src, seed, size)
				args := []string{"send", "--json", "--transport", transport, "--bwlimit", "40M", "--retry-for", "30s", src, d.host("file")}
				first := c.command(args...)
				var out, errs bytes.Buffer
				first.Stdout, first.Stderr = &out, &errs
				if err := first.Start(); err != nil {
					t.Fatal(err)
				}
				wait := time.Duration(rand.Int64N(int64(800 * time.Millisecond)))
				time.Sleep(wait)
				daemon := i%2 == 0
				if daemon {
					d.kill(syscall.SIGKILL)
				}
				_ = first.Process.Kill()
				_ = first.Wait()
				what := fmt.Sprintf("seed %d, killed after %v (daemon: %v)", seed, wait, daemon)
				if now, err := os.ReadFile(d.inbox("file")); err != nil || (!bytes.Equal(now, old) && !bytes.Equal(now, data)) {
					t.Fatalf("%s: the final name has neither the old version nor the new one: %v, %d bytes", what, err, len(now))
				}
				if daemon {
					d.restart()
				}
				again := c.run("", args...)
				if again.code != 0 {
					t.Fatalf("%s: exit %d: %s", what, again.code, again.stderr)
				}
				r := again.result(t)
				if now, err := os.ReadFile(d.inbox("file")); err != nil || !bytes.Equal(now, data) {
					t.Fatalf("%s: the second run exits 0 with a wrong file: %v", what, err)
				}
				if r.BytesSkipped == 0 {
					killed++
					if had := acked(out.String()); had > 0 {
						resumed++
						if r.BytesResumed < had-8<<20 {
							t.Errorf("%s: %d bytes had been received, %d were taken over", what, had, r.BytesResumed)
						}
					}
					if r.BytesResumed+r.BytesSent != size {
						t.Errorf("%s: %d bytes resumed and %d sent of %d", what, r.BytesResumed, r.BytesSent, size)
					}
				}
				old = data
			}
			t.Logf("%d runs were killed before their end, %d after something had been received", killed, resumed)
		})
	}
}

// TestStartWithManyAbandonedStages: look-ups of a stage need no scan, so ten thousand of them delay nobody.
func TestStartWithManyAbandonedStages(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: makes ten thousand directories")
	}
	d := startDaemon(t)
	c := d.enrolled()
	src := filepath.Join(t.TempDir(), "file")
	data := mustRandomFile(t, src, 1, 8<<20)
	// One real stage, of a stream that is cut off.
	r, w := io.Pipe()
	first := c.command("send", "-", d.host("cut"))
	first.Stdin = r
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(data)
	stages := d.inbox(".xfer/stage")
	var journal string
	for range 1000 {
		found, _ := filepath.Glob(filepath.Join(stages, "*", "*", "journal"))
		if len(found) > 0 {
			journal = found[0]
			break
		}
		time.Sleep(10 * time.Millisecond) // until the daemon has begun the stage
	}
	d.kill(syscall.SIGKILL)
	_ = first.Process.Kill()
	_ = w.Close()
	_ = first.Wait()
	if journal == "" {
		t.Fatal("no stage was made")
	}
	content, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10000 {
		dir := filepath.Join(stages, fmt.Sprintf("%032x", i+1), fmt.Sprintf("%032x", i))
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{"journal": content, "data": []byte("abandoned")} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	took := d.restart()
	t.Logf("ready after %v", took)
	if took > 10*time.Second {
		t.Errorf("the daemon took %v to start", took)
	}
	c.must("send", src, d.host("after"))
	if now, _ := os.ReadFile(d.inbox("after")); !bytes.Equal(now, data) {
		t.Error("a wrong file")
	}
}
