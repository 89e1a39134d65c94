package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"xfer/transfer/durable"
)

// progressWatch keeps what a program prints and tells when a progress event with bytes came by.
type progressWatch struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	done bool
	seen chan struct{}
}

func (w *progressWatch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(p)
	if w.done {
		return len(p), nil
	}
	for line := range bytes.Lines(w.buf.Bytes()) {
		var e struct {
			Event string `json:"event"`
			Sent  int64  `json:"bytes_sent"`
		}
		if json.Unmarshal(line, &e) == nil && e.Event == "progress" && e.Sent > 0 {
			w.done = true
			close(w.seen)
			break
		}
	}
	return len(p), nil
}

func (w *progressWatch) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

func signalOf(name string) os.Signal {
	return map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}[name]
}

// scriptDaemon is a daemon of a story.
type scriptDaemon struct {
	cmd   *exec.Cmd
	ended chan struct{}
	log   *scriptLog
}

type scriptLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *scriptLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *scriptLog) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// daemonsKey is where a story keeps its daemons: a map of homes.
type daemonsKey struct{}

func cmdDaemon(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, "daemon NAME [FLAGS...]")
	home := ts.MkAbs(args[0])
	cmd := scriptProgram(ts, append([]string{"xfer", "daemon", "--listen", "127.0.0.1:0"}, args[1:]...)...)
	cmd.Env = append(cmd.Env, "XFER_HOME="+home)
	d := &scriptDaemon{cmd: cmd, ended: make(chan struct{}), log: &scriptLog{}}
	cmd.Stderr = d.log
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ready := make(chan string, 1)
	go func() {
		defer close(d.ended)
		r := bufio.NewReader(out)
		line, _ := r.ReadString('\n')
		ready <- line
		io.Copy(io.Discard, r)
		cmd.Wait()
	}()
	ts.Defer(func() {
		cmd.Process.Kill()
		<-d.ended
		if strings.Contains(d.log.String(), "panic") {
			ts.Logf("the daemon panicked: %s", d.log)
		}
	})
	var line string
	select {
	case line = <-ready:
	case <-time.After(20 * time.Second):
		ts.Fatalf("the daemon is not ready: %s", d.log)
	}
	rest, ok := strings.CutPrefix(line, "xfer daemon ready listen=")
	fields := strings.Fields(rest)
	if !ok || len(fields) != 3 || !strings.HasPrefix(fields[1], "transports=") || !strings.HasPrefix(fields[2], "identity=") || len(fields[2]) != len("identity=")+52 {
		ts.Fatalf("ready line %q; %s", line, d.log)
	}
	ts.Value(daemonsKey{}).(map[string]*scriptDaemon)[home] = d
	listen := strings.Split(fields[0], ",")
	for _, addr := range listen[1:] {
		if port, ok := strings.CutPrefix(addr, "[::1]:"); ok {
			ts.Setenv("PORT6", port)
		}
	}
	setAddr(ts, listen[0])
	fmt.Fprint(ts.Stdout(), line)
}

func setAddr(ts *testscript.TestScript, addr string) {
	_, port, err := net.SplitHostPort(addr)
	ts.Check(err)
	ts.Setenv("ADDR", addr)
	ts.Setenv("XFER_PORT", port)
}

func daemonOf(ts *testscript.TestScript, name string) *scriptDaemon {
	d := ts.Value(daemonsKey{}).(map[string]*scriptDaemon)[ts.MkAbs(name)]
	if d == nil {
		ts.Fatalf("there is no daemon %s", name)
	}
	return d
}

func cmdStop(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, "halt NAME [SIGNAL]")
	d := daemonOf(ts, args[0])
	sig := os.Signal(syscall.SIGTERM)
	if len(args) > 1 {
		sig = signalOf(args[1])
	}
	ts.Check(d.cmd.Process.Signal(sig))
	select {
	case <-d.ended:
	case <-time.After(20 * time.Second):
		ts.Fatalf("the daemon does not stop: %s", d.log)
	}
	if code := d.cmd.ProcessState.ExitCode(); code != 0 {
		ts.Fatalf("the daemon ended with %d: %s", code, d.log)
	}
}

func cmdHangup(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, "hangup NAME")
	d := daemonOf(ts, args[0])
	before := strings.Count(d.log.String(), "reload")
	ts.Check(d.cmd.Process.Signal(syscall.SIGHUP))
	for deadline := time.Now().Add(20 * time.Second); strings.Count(d.log.String(), "reload") == before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("no word of a reload: %s", d.log)
		}
	}
	fmt.Fprint(ts.Stderr(), d.log.String())
}

func cmdEnrol(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, "enrol NAME [INVITE FLAGS...]")
	if len(args) == 1 {
		args = append(args, "--name", "tester")
	}
	invite := scriptProgram(ts, append([]string{"xfer", "invite"}, args[1:]...)...)
	invite.Env = append(invite.Env, "XFER_HOME="+ts.MkAbs(args[0]))
	var errs bytes.Buffer
	invite.Stderr = &errs
	out, err := invite.Output()
	if err != nil {
		ts.Fatalf("invite: %v: %s", err, errs.String())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	enroll := scriptProgram(ts, "xfer", "enroll", "127.0.0.1")
	enroll.Stdin = strings.NewReader(lines[len(lines)-1] + "\n")
	if out, err := enroll.CombinedOutput(); err != nil {
		ts.Fatalf("enroll: %v: %s", err, out)
	}
}

func cmdMkrandom(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, "mkrandom FILE SIZE")
	size, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32.32s", args[0])))), size)
	ts.Check(errors.Join(err, f.Close()))
}

// mkodd leaves out what the system refuses, but for plain things.
func cmdMkodd(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, "mkodd DIR")
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Join(dir, "sub", "deeper"), 0o755))
	ts.Check(os.MkdirAll(filepath.Join(dir, "empty folder"), 0o710))
	ts.Check(os.WriteFile(filepath.Join(dir, "empty"), nil, 0o640))
	ts.Check(os.WriteFile(filepath.Join(dir, "sub", "deeper", "plain"), []byte("plain"), 0o755))
	for i, name := range []string{"new\nline", "esc\x1b[31m", "bad\xff\xfeutf8", "-dash", strings.Repeat("l", 255), "\u202ebidi", " ", "a:b", `back\slash`, "\u009bc1", "tab\t"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), fs.FileMode(0o600+i)); err != nil {
			ts.Logf("left out: %v", err)
		}
	}
	for name, to := range map[string]string{"dangling": "no/where", "link": "sub", "odd\x1blink": "odd\x1btarget"} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			ts.Logf("left out: %v", err)
		}
	}
	when := time.Unix(1700000000, 123456789)
	ts.Check(filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.Type() == fs.ModeSymlink || e.IsDir() {
			return err
		}
		return os.Chtimes(name, when, when)
	}))
}

func cmdSametree(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, "sametree A B")
	a, b := treeOf(ts, ts.MkAbs(args[0])), treeOf(ts, ts.MkAbs(args[1]))
	for name, x := range a {
		if b[name] != x {
			ts.Fatalf("%q is %q in %s and %q in %s", name, x, args[0], b[name], args[1])
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			ts.Fatalf("%q is only in %s", name, args[1])
		}
	}
}

// treeOf describes everything beneath dir; what is in .xfer at the top of a root is the daemon's own.
func treeOf(ts *testscript.TestScript, dir string) map[string]string {
	all := map[string]string{}
	ts.Check(filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if rel == ".xfer" {
			return fs.SkipDir
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case e.Type() == fs.ModeSymlink:
			to, err := os.Readlink(name)
			all[rel] = "-> " + to
			return err
		case e.IsDir():
			if rel != "." {
				all[rel] = info.Mode().String()
			}
		default:
			data, err := os.ReadFile(name)
			all[rel] = fmt.Sprintf("%v %v %q", info.Mode(), info.ModTime().UnixNano(), data)
			return err
		}
		return nil
	}))
	return all
}

func cmdNames(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, "names DIR")
	for _, name := range slices.Sorted(maps.Keys(treeOf(ts, ts.MkAbs(args[0])))) {
		if info, err := os.Lstat(filepath.Join(ts.MkAbs(args[0]), name)); err == nil && info.IsDir() {
			name += "/"
		}
		fmt.Fprintln(ts.Stdout(), filepath.ToSlash(name))
	}
}

func cmdStamps(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, "stamps DIR")
	dir := ts.MkAbs(args[0])
	for _, name := range append([]string{"."}, slices.Sorted(maps.Keys(treeOf(ts, dir)))...) {
		info, err := os.Lstat(filepath.Join(dir, name))
		ts.Check(err)
		id, _ := durable.IDOf(info)
		fmt.Fprintln(ts.Stdout(), name, id, info.Mode(), info.Size(), info.ModTime().UnixNano())
	}
}

// serveAll serves every connection of a free port in the background until the story ends.
func serveAll(ts *testscript.TestScript, serve func(net.Conn)) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var open []net.Conn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			wg.Go(func() { serve(c) })
		}
	})
	ts.Defer(func() {
		l.Close()
		mu.Lock()
		for _, c := range open {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	setAddr(ts, l.Addr().String())
}

func cmdForeign(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 0, "foreign")
	serveAll(ts, func(c net.Conn) {
		c.Read(make([]byte, 1))
		io.WriteString(c, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
		c.Close()
	})
}

func cmdProxy(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, "proxy LIMIT")
	limit, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	to := ts.Getenv("ADDR")
	serveAll(ts, func(c net.Conn) {
		s, err := net.Dial("tcp", to)
		if err != nil {
			c.Close()
			return
		}
		var wg sync.WaitGroup
		defer s.Close()
		pipe := func(dst, src net.Conn) {
			if _, err := io.CopyN(dst, src, limit); err != nil {
				dst.Close()
			}
			io.Copy(io.Discard, src) // silence, but the connection stays
		}
		wg.Go(func() { pipe(s, c); s.Close() })
		pipe(c, s)
		wg.Wait()
	})
}

func cmdClosed(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 0, "closed")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	setAddr(ts, l.Addr().String())
	ts.Check(l.Close())
}
