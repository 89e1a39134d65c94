package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// readmeBlocks returns the lines of README's code blocks whose fence says kind.
func readmeBlocks(t *testing.T) (blocks []readmeBlock) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	in := false
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case !in && strings.HasPrefix(line, "```"):
			in = true
			blocks = append(blocks, readmeBlock{kind: strings.TrimPrefix(line, "```")})
		case in && line == "```":
			in = false
		case in:
			last := &blocks[len(blocks)-1]
			last.lines = append(last.lines, line)
		}
	}
	return blocks
}

type readmeBlock struct {
	kind  string
	lines []string
}

// TestReadme runs each command of README.md as it stands there: "there" is the machine of the daemon, "here" the client's,
// and "nas" a host of the client's configuration.
func TestReadme(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: the demo moves much")
	}
	there, here := newSide(t), newSide(t)
	path := "PATH=" + filepath.Dir(builtProgram(t)) + string(os.PathListSeparator) + os.Getenv("PATH")
	work := map[*side]string{there: t.TempDir(), here: t.TempDir()}
	there.env = []string{path, "XFER_LISTEN=127.0.0.1:0"}
	here.env = []string{path}
	for name, n := range map[string]int{"holiday.iso": 3 << 20, "photos/a.jpg": 1000, "photos/b/c.jpg": 300 << 10} {
		mustRandomFile(t, filepath.Join(work[here], name), uint64(n), n)
	}
	d := &server{side: there, logs: &logBuffer{}}
	t.Cleanup(func() {
		if d.cmd != nil {
			_ = d.cmd.Process.Kill()
			_ = d.cmd.Wait()
		}
	})
	code, ran := "", 0
	shell := func(s *side, line, stdin string) string {
		t.Helper()
		c := exec.Command("sh", "-ec", line)
		c.Dir, c.Stdin = work[s], strings.NewReader(stdin)
		c.Env = append(append(os.Environ(), "XFER_HOME="+s.home), s.env...)
		var out, errs bytes.Buffer
		c.Stdout, c.Stderr = &out, &errs
		if err := c.Run(); err != nil {
			t.Errorf("%s: %v\n%s%s", line, err, out.String(), errs.String())
		}
		ran++
		return out.String()
	}
	for _, b := range readmeBlocks(t) {
		switch b.kind {
		case "sh":
			if strings.Join(b.lines, ";") != "go run ./cmd/xfer demo;go test ./..." {
				t.Errorf("a block that nobody runs: %q", b.lines)
			}
			demo := exec.Command("sh", "-ec", b.lines[0])
			demo.Dir = filepath.Join("..", "..")
			if out, err := demo.CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", b.lines[0], err, out)
			}
			ci, err := os.ReadFile(filepath.Join("..", "..", ".ci", "run"))
			if err != nil || !bytes.Contains(ci, []byte(b.lines[1])) && !bytes.Contains(ci, []byte("go test")) {
				t.Errorf(".ci/run does not run %q: %v", b.lines[1], err)
			}
		case "sh there":
			for _, line := range b.lines {
				if args, ok := strings.CutPrefix(line, "xfer daemon"); ok {
					if d.cmd != nil {
						d.kill(syscall.SIGTERM)
						there.env = []string{path, "XFER_LISTEN=" + d.addr}
					}
					d.dir, d.args = work[there], strings.Fields(args)
					d.start("")
					config := fmt.Sprintf("[host.nas]\naddr = \"127.0.0.1\"\nport = %s\n", d.port())
					writeConfig(t, here, config)
					continue
				}
				out := shell(there, line, "")
				if strings.HasPrefix(line, "xfer invite") {
					lines := strings.Split(strings.TrimSpace(out), "\n")
					code = lines[len(lines)-1]
				}
			}
		case "sh here":
			for _, line := range b.lines {
				stdin := ""
				if strings.HasPrefix(line, "xfer enroll") {
					stdin = code + "\n"
				}
				shell(here, line, stdin)
			}
		case "toml":
			writeConfig(t, newSide(t), strings.Join(b.lines, "\n"))
		default:
			t.Errorf("a block of kind %q", b.kind)
		}
	}
	if ran < 20 {
		t.Errorf("only %d commands were found", ran)
	}
	for _, name := range []string{"photos/a.jpg", "photos/b/c.jpg"} {
		want, _ := os.ReadFile(filepath.Join(work[here], name))
		got, err := os.ReadFile(filepath.Join(work[here], "restored", name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("restored/%s: %v", name, err)
		}
	}
}

// writeConfig gives a side a configuration, and wants it to be understood.
func writeConfig(t *testing.T, s *side, text string) {
	t.Helper()
	if err := os.MkdirAll(s.home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.home, "config.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.must("config", "show")
}
