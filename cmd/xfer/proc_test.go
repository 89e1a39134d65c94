package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests here run the program as a user does: a process for the daemon, one for each command, a home for each side.

// builtProgram is the command: TestMain put it into PATH.
func builtProgram(t testing.TB) string {
	t.Helper()
	name, err := exec.LookPath("xfer")
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// side is one machine: a home and what runs there.
type side struct {
	t    testing.TB
	home string
	env  []string // more of the environment
}

func newSide(t testing.TB) *side { return &side{t: t, home: filepath.Join(t.TempDir(), "home")} }

func (s *side) command(args ...string) *exec.Cmd {
	c := exec.Command(builtProgram(s.t), args...)
	c.Env = append(append(os.Environ(), "XFER_HOME="+s.home), s.env...)
	return c
}

// outcome is what a command did.
type outcome struct {
	code           int
	stdout, stderr string
}

func (s *side) run(stdin string, args ...string) outcome {
	s.t.Helper()
	c := s.command(args...)
	c.Stdin = strings.NewReader(stdin)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return outcome{c.ProcessState.ExitCode(), out.String(), errs.String()}
}

// must runs a command that has to succeed.
func (s *side) must(args ...string) outcome {
	s.t.Helper()
	o := s.run("", args...)
	if o.code != 0 {
		s.t.Fatalf("xfer %q: exit %d\n%s%s", args, o.code, o.stdout, o.stderr)
	}
	return o
}

// result is the last line of --json.
type result struct {
	Event        string
	Exit         int
	Class        string
	Files, Bytes int64
	BytesSent    int64 `json:"bytes_sent"`
	BytesResumed int64 `json:"bytes_resumed"`
	BytesSkipped int64 `json:"bytes_skipped"`
	Retries      int64
	Transport    string
}

func (o outcome) result(t testing.TB) result {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	var r result
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &r); err != nil || r.Event != "result" || r.Exit != o.code {
		t.Fatalf("the last line is no result of exit %d: %v\n%s\n%s", o.code, err, lines[len(lines)-1], o.stderr)
	}
	return r
}

// server is a running daemon.
type server struct {
	*side
	cmd  *exec.Cmd
	addr string // HOST:PORT
	logs *logBuffer
	args []string
	dir  string // where it is started, "" = here
}

// logBuffer keeps what the daemon says.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// startDaemon starts a daemon on a free port; args are added.
func startDaemon(t testing.TB, args ...string) *server {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: starts a daemon and many commands")
	}
	s := &server{side: newSide(t), logs: &logBuffer{}, args: args}
	s.start("127.0.0.1:0")
	t.Cleanup(func() {
		s.kill(syscall.SIGKILL)
		if strings.Contains(s.logs.String(), "panic") {
			t.Errorf("the daemon panicked:\n%s", s.logs)
		}
	})
	return s
}

func (s *server) start(listen string) time.Duration {
	s.t.Helper()
	began := time.Now()
	args := append([]string{"daemon"}, s.args...)
	if listen != "" {
		args = append(args, "--listen", listen)
	}
	s.cmd = s.command(args...)
	s.cmd.Dir = s.dir
	s.cmd.Stderr = s.logs
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	took := time.Since(began)
	if err != nil {
		s.t.Fatalf("the daemon does not start: %v\n%s", err, s.logs)
	}
	go io.Copy(io.Discard, out)
	_, rest, ok := strings.Cut(line, "listen=")
	if !ok || !strings.HasPrefix(line, "xfer daemon ready ") {
		s.t.Fatalf("not a ready line: %q", line)
	}
	s.addr, _, _ = strings.Cut(rest, " ")
	s.addr, _, _ = strings.Cut(s.addr, ",")
	return took
}

// restart starts the daemon again on the port that it had.
func (s *server) restart() time.Duration {
	s.t.Helper()
	return s.start(s.addr)
}

// kill ends the daemon by a signal and waits for it.
func (s *server) kill(sig syscall.Signal) {
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Signal(sig)
		_ = s.cmd.Wait()
	}
}

func (s *server) port() string {
	_, port, _ := strings.Cut(s.addr, ":")
	return port
}

// host is how a client names the server, with a path.
func (s *server) host(path string) string { return "127.0.0.1:" + path }

// enrolled is a new client that the daemon knows, its port set by the environment.
func (s *server) enrolled(invite ...string) *side {
	s.t.Helper()
	name := "client-" + strconv.FormatUint(rand.Uint64(), 36)
	o := s.must(append([]string{"invite", "--name", name}, invite...)...)
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	c := newSide(s.t)
	c.env = []string{"XFER_PORT=" + s.port()}
	if e := c.run(lines[len(lines)-1]+"\n", "enroll", "127.0.0.1"); e.code != 0 {
		s.t.Fatalf("enroll: exit %d: %s", e.code, e.stderr)
	}
	return c
}

// inbox is where the default root lies.
func (s *server) inbox(name string) string { return filepath.Join(s.home, "state", "inbox", name) }

func mustRandomFile(t testing.TB, name string, seed uint64, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)}).Read(b)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return b
}

// count is how often a test repeats something: few times by itself, more by XFER_TEST_REPEAT.
func count(few int) int {
	if n, err := strconv.Atoi(os.Getenv("XFER_TEST_REPEAT")); err == nil && n > 0 {
		return n
	}
	return few
}

var transports = []string{"tcp", "quic"}
