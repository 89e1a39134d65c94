package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"xfer": main})
}

// TestScript runs the stories in testdata/script. Each has a directory of its own, and XFER_HOME is $WORK/client in it. Besides
// testscript's commands there are:
//
//	exits CODE PROGRAM ARGS...      run it and want this exit code; stdout and stderr can be looked at afterwards
//	daemon NAME [FLAGS...]          start a daemon at home in $WORK/NAME; ADDR and XFER_PORT are where it listens, PORT6 on [::1]
//	halt NAME [SIGNAL]              end it (by SIGTERM), and want exit 0
//	hangup NAME                     send it SIGHUP
//	enrol NAME [INVITE FLAGS...]    make the client known to that daemon
//	result KEY=VALUE...             what the last line of stdout says; also KEY>N, KEY<N, and KEY=[] for an empty list
//	printable stdout|stderr         nothing there could harm a terminal
//	atprogress ACTION CODE ARGS...  run xfer --json and do something once data flows; see there
//	mkrandom FILE SIZE              a file of so many bytes
//	mkodd DIR                       a tree with names and kinds of files that tools stumble over
//	names DIR                       all names beneath it to stdout, sorted; directories end in a slash
//	stamps DIR                      the same with inode, mode, size and times, to see that nothing was touched
//	sametree A B                    names, kinds, contents, modes and times are equal
//	foreign                         a server that is no xfer; ADDR and XFER_PORT are where it listens
//	proxy LIMIT                     all connections through a proxy that goes silent after so many bytes each way
//	closed                          XFER_PORT is a port where nobody listens
//	smallfs DIR SIZE                a file system of so many bytes; where [mount] is true; again: another size
//	unmount DIR                     take it away
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("XFER_HOME", filepath.Join(e.WorkDir, "client"))
			e.Setenv("HOST", "127.0.0.1")
			e.Setenv("GORACE", os.Getenv("GORACE"))
			e.Values[daemonsKey{}] = map[string]*scriptDaemon{}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "mount":
				return canMount(t), nil
			case "ipv6":
				l, err := net.Listen("tcp", "[::1]:0")
				if err == nil {
					l.Close()
				}
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %s", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": cmdExits, "daemon": cmdDaemon, "halt": cmdStop, "hangup": cmdHangup, "enrol": cmdEnrol, "result": cmdResult,
			"printable": cmdPrintable, "atprogress": cmdAtProgress, "mkrandom": cmdMkrandom, "mkodd": cmdMkodd,
			"sametree": cmdSametree, "names": cmdNames, "stamps": cmdStamps, "unmount": cmdUnmount, "foreign": cmdForeign, "proxy": cmdProxy, "closed": cmdClosed, "smallfs": cmdSmallfs,
		},
	})
}

// wantArgs stops the story unless it was called right.
func wantArgs(ts *testscript.TestScript, neg bool, args []string, least int, usage string) {
	if neg || len(args) < least {
		ts.Fatalf("usage: %s", usage)
	}
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 2, "exits CODE PROGRAM ARGS...")
	code, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != code {
		ts.Fatalf("exit %d, want %d", got, code)
	}
}

func cmdResult(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, "result KEY=VALUE...")
	checkResult(ts, ts.ReadFile("stdout"), args)
}

// checkResult checks that text ends with a valid result object, and what is in it.
func checkResult(ts *testscript.TestScript, text string, args []string) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			ts.Fatalf("this line is not JSON: %q", line)
		}
	}
	var r map[string]any
	ts.Check(json.Unmarshal([]byte(lines[len(lines)-1]), &r))
	if r["event"] != "result" {
		ts.Fatalf("the last event is %v", r["event"])
	}
	for _, key := range []string{"exit", "class", "retryable", "files", "bytes", "bytes_sent", "bytes_resumed", "bytes_skipped", "retries", "transport", "duration_s", "errors", "skipped", "receipt"} {
		if _, ok := r[key]; !ok {
			ts.Fatalf("the result lacks %q", key)
		}
	}
	for _, arg := range args {
		at := strings.IndexAny(arg, "=<>")
		if at < 0 {
			ts.Fatalf("want KEY=VALUE: %s", arg)
		}
		key, op, value := arg[:at], arg[at], arg[at+1:]
		data, err := json.Marshal(r[key])
		ts.Check(err)
		got := strings.Trim(string(data), `"`)
		if op == '=' {
			if got != value {
				ts.Fatalf("%s is %s, want %s", key, got, value)
			}
			continue
		}
		n, err := strconv.ParseFloat(got, 64)
		ts.Check(err)
		bound, err := strconv.ParseFloat(value, 64)
		ts.Check(err)
		if op == '<' && n >= bound || op == '>' && n <= bound {
			ts.Fatalf("%s is %s, want %s", key, got, arg)
		}
	}
}

func cmdPrintable(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 1, "printable FILE")
	text := ts.ReadFile(args[0])
	if text == "" {
		ts.Fatalf("%s is empty", args[0])
	}
	for i, r := range text {
		if r != '\n' && (r < 0x20 || r >= 0x7f && r < 0xa0 || r == '\ufffd' || r >= 0x200b && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069) {
			ts.Fatalf("%s has %U at %d", args[0], r, i)
		}
	}
}

// scriptProgram makes a command with the story's environment. The caller starts it.
func scriptProgram(ts *testscript.TestScript, args ...string) *exec.Cmd {
	name, err := exec.LookPath(args[0])
	ts.Check(err)
	cmd := exec.Command(name, args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	for _, key := range []string{"PATH", "HOME", "TMPDIR", "WORK", "XFER_HOME", "XFER_PORT", "XFER_TRANSPORT", "SYSTEMROOT"} {
		if v := ts.Getenv(key); v != "" {
			cmd.Env = append(cmd.Env, key+"="+v)
		}
	}
	return cmd
}

// cmdAtProgress runs "xfer ARGS... --json", does ACTION when the first payload has arrived, and wants exit CODE, with a result
// that says so. ACTION is one of
//
//	signal=INT   send it this signal: it must end within 1.5 s
//	rm=FILE      remove a file
//	grow=FILE    add to a file from before the start until the end
//	run=PROGRAM  run "xfer ..." (words separated by commas) and want the exit code that stands first: run=75,send,a,b:
//	halt=NAME    end the daemon
func cmdAtProgress(ts *testscript.TestScript, neg bool, args []string) {
	wantArgs(ts, neg, args, 3, "atprogress ACTION CODE ARGS...")
	action, target, _ := strings.Cut(args[0], "=")
	code, err := strconv.Atoi(args[1])
	ts.Check(err)
	cmd := scriptProgram(ts, append([]string{"xfer"}, append(slices.Clone(args[2:]), "--json")...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	watch := &progressWatch{seen: make(chan struct{})}
	cmd.Stdout = watch
	if action == "grow" {
		stop := growing(ts, ts.MkAbs(target))
		defer stop()
	}
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ts.Defer(func() { cmd.Process.Kill() })
	fatal := func(format string, args ...any) {
		cmd.Process.Kill()
		ts.Fatalf("%s\nstdout:\n%s\nstderr:\n%s", fmt.Sprintf(format, args...), watch.text(), stderr.String())
	}
	select {
	case <-watch.seen:
	case <-ended:
		fatal("it ended before there was any progress: %v", cmd.ProcessState)
	case <-time.After(60 * time.Second):
		fatal("no progress")
	}
	patience := 60 * time.Second
	switch action {
	case "signal":
		ts.Check(cmd.Process.Signal(signalOf(target)))
		patience = 1500 * time.Millisecond
	case "rm":
		ts.Check(os.Remove(ts.MkAbs(target)))
	case "grow":
	case "halt":
		cmdStop(ts, false, []string{target})
	case "run":
		words := strings.Split(target, ",")
		out, _ := scriptProgram(ts, append([]string{"xfer"}, words[1:]...)...).CombinedOutput()
		second := scriptProgram(ts, append([]string{"xfer"}, words[1:]...)...)
		out2, _ := second.CombinedOutput()
		if got := strconv.Itoa(second.ProcessState.ExitCode()); got != words[0] {
			fatal("exit %s of %v, want %s: %s%s", got, words[1:], words[0], out, out2)
		}
	default:
		ts.Fatalf("unknown action %s", action)
	}
	began := time.Now()
	select {
	case <-ended:
	case <-time.After(patience):
		fatal("it has not ended after %v", patience)
	}
	ts.Logf("ended %v after the action", time.Since(began).Round(time.Millisecond))
	fmt.Fprint(ts.Stdout(), watch.text())
	fmt.Fprint(ts.Stderr(), stderr.String())
	if got := cmd.ProcessState.ExitCode(); got != code {
		fatal("exit %d, want %d", got, code)
	}
	checkResult(ts, watch.text(), []string{"exit=" + args[1]})
}

// growing adds to a file until the returned function is called.
func growing(ts *testscript.TestScript, name string) (stop func()) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	ts.Check(err)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(500 * time.Microsecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case <-tick.C:
				f.WriteString("more")
			}
		}
	}()
	return func() { close(quit); <-done; f.Close() }
}
