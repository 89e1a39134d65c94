package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"xfer/transfer"
)

// command runs one command line in a home of its own.
func command(t *testing.T, home string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = Main(context.Background(), Env{
		Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs,
		Getenv: func(k string) string {
			if k == "XFER_HOME" {
				return home
			}
			return ""
		},
	})
	return code, out.String(), errs.String()
}

func TestMistakesAreExit2WithEmptyStdout(t *testing.T) {
	home := t.TempDir()
	for _, line := range []string{
		"frobnicate", "send", "send a", "send a nas: --frob", "send a nas:..", "send --streams 0 a nas:", "send --timeout soon a nas:",
		"send a:b nas:", "send - a nas:", "send - nas:", "send a nas:/", "send a --compress yes nas:", "send a dir/x",
		"get nas:a", "get a b:", "get nas:a other:b .", "get nas:a nas:b -", "get nas:d/ -", "get ./a b", "check a", "check - nas:", "check nas:a nas:b",
		"ls", "ls -- -x:", "stat nas:/", "mv nas:a", "mv nas:a other:b", "hash nas:../x", "enroll", "enroll nas:/root", "enroll nas:path",
		"invite", "invite --name", "invite --name a/b", "invite --name a --rights fly", "invite --name a --rights all,get", "invite --name a --rights ,",
		"invite --name a --expires 0", "invite --name a --root ../x", "daemon x", "daemon --root x", "daemon --root =x", "daemon --transport smoke",
		"explain nothing", "receipt", "receipt show", "receipt frob x", "trust", "trust rm", "trust frob", "config", "version x", "doctor a b",
		"jobs", "jobs ls", "watch a nas:b", "key rotate", "ca init", "send -Q a nas:", "send --queue a nas:", "send --special-modes a nas:", "get --special-modes nas:a b",
		"sync", "sync a", "sync a dir/b", "sync - nas:b", "sync nas:a nas:b", "sync nas:a b", "sync a b nas:c", "sync a nas:/", "sync a nas:b --max-delete many",
		"sync a nas:b --max-delete 101%", "sync a nas:b --max-delete -1", "sync a nas:b --backup-dir /old", "sync a nas:b --backup-dir ../old", "sync a nas:b --backup-dir .",
		"sync a nas:b --exclude=", "send a nas: --include=", "send a nas: --delete", "get nas:a b --max-delete 5", "get nas:a b --backup-dir old",
		"get --snapshot x nas:a b", "send --exec date nas:x",
		"send a nas: --report -", "send a nas: --receipt -", "get nas:a b --report -", "check a nas:b --report -", "completion", "completion nosh", "completion bash zsh",
		"id --quiet=yes", "demo -4 -6",
	} {
		for _, extra := range [][]string{nil, {"--json"}} {
			code, stdout, stderr := command(t, home, append(strings.Fields(line), extra...)...)
			if code != exitUsage || stdout != "" {
				t.Errorf("xfer %s %v: exit %d, stdout %q, stderr %q", line, extra, code, stdout, stderr)
			}
			if strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "xfer") || !printable(strings.TrimSuffix(stderr, "\n")) {
				t.Errorf("xfer %s %v: stderr %q", line, extra, stderr)
			}
		}
	}
	if entries, err := os.ReadDir(home); err != nil || len(entries) > 0 {
		t.Errorf("mistakes left %v behind, %v", entries, err)
	}
}

func TestNotBuiltYetSaysSo(t *testing.T) {
	for _, line := range []string{"jobs ls", "watch d nas:", "key rotate", "ca init", "send -Q a nas:", "sync --snapshot s a nas:b"} {
		_, _, stderr := command(t, t.TempDir(), strings.Fields(line)...)
		if !strings.HasSuffix(stderr, " is not built yet\n") {
			t.Errorf("xfer %s: %q", line, stderr)
		}
	}
}

// lastResult checks that the last line of stdout is a result object with all its fields.
func lastResult(t *testing.T, stdout string) jsonResult {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(stdout, "\n"), "\n")
	for _, line := range lines {
		var e struct{ Event, Time string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q is not JSON: %v", line, err)
		}
		if _, err := time.Parse(time.RFC3339Nano, e.Time); e.Event == "" || err != nil {
			t.Errorf("%s: event %q, %v", line, e.Event, err)
		}
	}
	last := lines[len(lines)-1]
	var fields map[string]any
	if err := json.Unmarshal([]byte(last), &fields); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"event", "time", "exit", "class", "retryable", "files", "bytes", "bytes_sent", "bytes_resumed", "bytes_skipped", "retries", "transport", "duration_s", "errors", "skipped", "receipt"} {
		if _, ok := fields[name]; !ok {
			t.Errorf("the result lacks %q: %s", name, last)
		}
	}
	if fields["event"] != "result" {
		t.Errorf("the last event is %v", fields["event"])
	}
	if _, err := time.Parse(time.RFC3339Nano, fields["time"].(string)); err != nil {
		t.Error(err)
	}
	var r jsonResult
	if err := json.Unmarshal([]byte(last), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestJSONEndsWithAResult(t *testing.T) {
	home := t.TempDir()
	file := filepath.Join(home, "a")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	typo := filepath.Join(home, "typo.toml")
	if err := os.WriteFile(typo, []byte("retri = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line string
		want int
	}{
		{"version", 0}, {"id", 0}, {"trust ls", 0}, {"explain", 0}, {"explain 20", 0}, {"completion bash", 0}, {"config show nas", 0}, {"doctor", 0}, {"invite --name a", 0},
		{"invite --name a2 --root r", 0},
		{"send " + file + " nas:", 5}, {"get nas:a .", 5}, {"check " + file + " nas:a", 5}, {"ls nas:", 5}, {"cat nas:a --json=false", 5}, {"rm nas:a", 5},
		{"send " + file + ".missing nas:", 3}, {"trust rm nobody", 3}, {"receipt show " + file + ".missing", 3}, {"status", 10},
		{"receipt show " + file, 26}, {"receipt verify " + file, 26}, {"send " + file + " nas: -F " + typo, 2}, {"send " + file + " nas: -F " + typo + ".missing", 2},
		{"send " + file + " nas: --receipt /no/such/dir/r", 11}, {"send " + file + " nas: --report " + home, 11},
		{"id -i /no/such/key", 2},
	} {
		code, stdout, stderr := command(t, home, append([]string{}, append(strings.Fields(c.line), "--json")...)...)
		if code != c.want {
			t.Errorf("xfer %s: exit %d, want %d; %s", c.line, code, c.want, stderr)
		}
		if strings.HasPrefix(c.line, "cat") {
			if stdout != "" {
				t.Errorf("xfer %s: JSON in the data: %q", c.line, stdout)
			}
			continue
		}
		r := lastResult(t, stdout)
		if r.Exit != c.want || r.Class != exitInfoOf(c.want).class || r.Retryable != exitInfoOf(c.want).retryable {
			t.Errorf("xfer %s: result %+v", c.line, r)
		}
		if (r.Exit == 0) != (len(r.Errors) == 0) {
			t.Errorf("xfer %s: exit %d with errors %+v", c.line, r.Exit, r.Errors)
		}
		if (code == 0) != (stderr == "") && !strings.HasPrefix(c.line, "invite") {
			t.Errorf("xfer %s: exit %d with stderr %q", c.line, code, stderr)
		}
	}
}

func TestReportIsWrittenOnFailureToo(t *testing.T) {
	home := t.TempDir()
	report := filepath.Join(home, "report.json")
	code, stdout, _ := command(t, home, "send", filepath.Join(home, "missing"), "nas:", "--report", report)
	if code != 3 || stdout != "" {
		t.Fatalf("exit %d, stdout %q", code, stdout)
	}
	data, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	if r := lastResult(t, string(data)); r.Exit != 3 {
		t.Errorf("report %+v", r)
	}
}

func TestPathsThatAreNotUTF8(t *testing.T) {
	r := resultJSON("send", "nas", transfer.Result{
		Errors:  []*transfer.Error{{Op: "read", Path: "a\xff", Err: errors.New("x\x1b")}, {Op: "read", Path: "ok", Err: errors.New("x")}},
		Skipped: []transfer.Skipped{{Path: "s\xfe", Reason: "FIFO"}},
	}, "", nil)
	data := string(marshalLine(r))
	for _, want := range []string{`"path_base64":"Yf8="`, `"path":"ok"`, `"path_base64":"c/4="`} {
		if !strings.Contains(data, want) {
			t.Errorf("%s lacks %s", data, want)
		}
	}
	if strings.Contains(data, "\ufffd") || strings.Contains(data, "\\ufffd") {
		t.Errorf("%s has replacement characters", data)
	}
}

// testOutput is an output into buffers.
func testOutput(f outFlags) (o *output, stdout, stderr *bytes.Buffer) {
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	env := &Env{Stdin: strings.NewReader(""), Stdout: stdout, Stderr: stderr, Getenv: func(string) string { return "" }}
	o = newOutput(env, &job{verb: "send", host: "nas", conn: &connFlags{outFlags: f}})
	return o, stdout, stderr
}

func TestEventsAsJSON(t *testing.T) {
	o, stdout, stderr := testOutput(outFlags{json: true})
	o.observe(transfer.Event{Kind: transfer.EventStart, Transport: "tcp", Peer: "P"})
	o.observe(transfer.Event{Kind: transfer.EventProgress, Bytes: 5, BytesTotal: 10, Files: 1, FilesTotal: 2, Rate: 3})
	o.observe(transfer.Event{Kind: transfer.EventFile, Path: "a\xff", Action: "sent", Size: 5})
	o.observe(transfer.Event{Kind: transfer.EventFile, Path: "b\x1b", Action: "failed", Err: &transfer.Error{Op: "read", Path: "b\x1b", Kind: transfer.KindLocalIO, Err: errors.New("x")}})
	o.observe(transfer.Event{Kind: transfer.EventRetry, Err: errors.New("lost"), Wait: time.Second, Attempt: 1})
	o.observe(transfer.Event{Kind: transfer.EventStart, Transport: "quic"})
	o.observe(transfer.Event{Kind: transfer.EventPlan, Action: "new", Path: "p", Size: 7})
	o.observe(transfer.Event{Kind: transfer.EventProgress, Time: time.Now(), Bytes: 10}) // too soon for a line of its own
	if code := o.finish(nil); code != 0 {
		t.Errorf("exit %d", code)
	}
	var events []string
	for line := range strings.Lines(stdout.String()) {
		var e struct{ Event, Time string }
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if _, err := time.Parse(time.RFC3339Nano, e.Time); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		events = append(events, e.Event)
	}
	if got, want := strings.Join(events, " "), "start progress file file retry plan progress result"; got != want {
		t.Errorf("events %s, want %s", got, want)
	}
	if !strings.Contains(stdout.String(), `"bytes":5,"bytes_total":10,"files":1,"files_total":2`) {
		t.Errorf("progress: %s", stdout)
	}
	if !printable(strings.ReplaceAll(stderr.String(), "\n", "")) {
		t.Errorf("stderr %q", stderr)
	}
}

// full is a stdout on a full disk, with room for so many lines.
type full struct{ lines int }

func (f *full) Write(p []byte) (int, error) {
	if f.lines--; f.lines >= 0 {
		return len(p), nil
	}
	return 0, &os.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.ENOSPC}
}

func TestStdoutThatCannotBeWrittenIsTold(t *testing.T) {
	for _, f := range []outFlags{{json: true}, {}} {
		for lines := range 3 {
			o, _, stderr := testOutput(f)
			o.env.Stdout = &full{lines}
			o.observe(transfer.Event{Kind: transfer.EventStart})
			o.observe(transfer.Event{Kind: transfer.EventPlan, Action: "new", Path: "a"})
			o.observe(transfer.Event{Kind: transfer.EventPlan, Action: "new", Path: "b"})
			want := exitLocalIO
			if lines == 2 && !f.json {
				want = exitOK
			}
			if code := o.finish(nil); code != want {
				t.Errorf("json %v, %d lines: exit %d", f.json, lines, code)
			}
			text := stderr.String()
			if want != exitOK && (strings.Count(text, "\n") != 1 || !strings.Contains(text, "xfer send: write to stdout: no space left")) {
				t.Errorf("json %v, %d lines: stderr %q", f.json, lines, text)
			}
		}
	}
	o, _, stderr := testOutput(outFlags{json: true})
	o.env.Stdout = &full{}
	if code := o.finish(failf(exitVerify, "", "it differs")); code != exitVerify || strings.Count(stderr.String(), "\n") != 1 {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
}

func TestNothingIsPrintedAfterTheResult(t *testing.T) {
	o, stdout, stderr := testOutput(outFlags{json: true, verbose: true})
	o.finish(nil)
	before := stdout.String() + stderr.String()
	o.observe(transfer.Event{Kind: transfer.EventFile, Path: "late", Action: "sent"})
	o.say("late")
	o.emit(map[string]string{"late": ""})
	if o.print("late") == nil {
		t.Error("print after the end succeeds")
	}
	if stdout.String()+stderr.String() != before {
		t.Errorf("printed %q", strings.TrimPrefix(stdout.String()+stderr.String(), before))
	}
}

func TestQuietIsQuiet(t *testing.T) {
	o, stdout, stderr := testOutput(outFlags{quiet: true})
	o.observe(transfer.Event{Kind: transfer.EventStart, Transport: "tcp"})
	o.observe(transfer.Event{Kind: transfer.EventNote, Reason: "fell back"})
	o.observe(transfer.Event{Kind: transfer.EventRetry, Err: errors.New("lost"), Attempt: 1})
	o.observe(transfer.Event{Kind: transfer.EventFile, Action: "skipped", Path: "fifo", Reason: "FIFO"})
	o.setSummary("done")
	if code := o.finish(nil); code != 0 || stdout.Len()+stderr.Len() > 0 {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// One environment for the daemon of a container and the commands beside it.
func TestEnvironmentThatIsAlsoTheDaemons(t *testing.T) {
	var out, errs bytes.Buffer
	env := map[string]string{"XFER_HOME": t.TempDir(), "XFER_ROOT": "data=/srv/data", "XFER_TRANSPORT": "tcp,quic", "XFER_QUEUE": "0"}
	run := func(args ...string) int {
		out.Reset()
		errs.Reset()
		return Main(context.Background(), Env{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(k string) string { return env[k] }})
	}
	if code := run("invite", "--name", "a"); code != 0 {
		t.Errorf("invite: exit %d, %s", code, &errs)
	}
	if code := run("trust", "ls"); code != 0 || !strings.Contains(out.String(), "data=all") {
		t.Errorf("trust ls: exit %d, %s", code, &out)
	}
	if code := run("send", os.Args[0], "nas:"); code != exitTrust {
		t.Errorf("send: exit %d, %s", code, &errs)
	}
	if code := run("send", os.Args[0], "nas:", "--transport", "tcp,quic"); code != exitUsage {
		t.Errorf("send --transport tcp,quic: exit %d, %s", code, &errs)
	}
}

// interrupted runs a verb that takes a while to stop, with signals at the given times.
func interrupted(t *testing.T, j *job, stopTakes time.Duration, at ...time.Duration) (code int, took time.Duration, stderr string) {
	t.Helper()
	var errs bytes.Buffer
	signals := make(chan os.Signal)
	a := &app{env: Env{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: &errs, Getenv: func(string) string { return "" }, Signals: signals}, job: j}
	j.verb, j.host, j.conn = "send", "nas", &connFlags{}
	if j.run == nil {
		j.run = func(ctx context.Context, o *output) error {
			<-ctx.Done()
			time.Sleep(stopTakes)
			return &transfer.Error{Op: "send", Kind: transfer.KindInterrupted, Err: context.Cause(ctx)}
		}
	}
	go func() {
		for _, d := range at {
			time.Sleep(d)
			signals <- os.Interrupt
		}
	}()
	began := time.Now()
	code = a.execute(context.Background())
	took = time.Since(began)
	time.Sleep(stopTakes) // let the verb end: the bubble must be empty
	return code, took, errs.String()
}

func TestFirstSignalStopsWithinASecond(t *testing.T) {
	for _, stopTakes := range []time.Duration{0, 300 * time.Millisecond, 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			code, took, stderr := interrupted(t, &job{}, stopTakes, time.Minute)
			if code != exitInterrupted || took > time.Minute+time.Second {
				t.Errorf("a verb that takes %v to stop: exit %d after %v", stopTakes, code, took)
			}
			if !strings.Contains(stderr, "the same command goes on") {
				t.Errorf("stderr %q does not say how to go on", stderr)
			}
		})
	}
}

func TestSecondSignalStopsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cleaned := false
		j := &job{patient: true}
		j.run = func(ctx context.Context, o *output) error {
			o.onCleanUp(func() { cleaned = true })
			<-ctx.Done()
			time.Sleep(time.Hour)
			return nil
		}
		code, took, _ := interrupted(t, j, time.Hour, time.Minute, 5*time.Second)
		if code != exitInterrupted || took != time.Minute+5*time.Second || !cleaned {
			t.Errorf("exit %d after %v, cleaned %v", code, took, cleaned)
		}
	})
}

func TestHangupReloadsOnlyWhereWanted(t *testing.T) {
	signals := make(chan os.Signal)
	reloads := 0
	ctx, _, stop := watchSignals(context.Background(), signals, func() { reloads++ })
	signals <- syscall.SIGHUP
	signals <- syscall.SIGHUP
	if ctx.Err() != nil {
		t.Error("SIGHUP stopped a verb that reloads")
	}
	stop()
	if reloads != 2 {
		t.Errorf("%d reloads", reloads)
	}
	ctx, _, stop = watchSignals(context.Background(), signals, nil)
	defer stop()
	signals <- syscall.SIGHUP
	<-ctx.Done()
	var se *signalError
	if !errors.As(context.Cause(ctx), &se) {
		t.Errorf("cause %v", context.Cause(ctx))
	}
}

func TestLockOfOneRun(t *testing.T) {
	p := places{state: t.TempDir()}
	unlock, err := lockRun(p, "send", "/a", "nas:1", "/x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockRun(p, "send", "/a", "nas:1", "/x"); exitCodeOf(err) != exitLocked {
		t.Errorf("the same run again: %v", err)
	}
	other, err := lockRun(p, "send", "/a", "nas:1", "/y")
	if err != nil {
		t.Errorf("another destination: %v", err)
	} else {
		other()
	}
	unlock()
	again, err := lockRun(p, "send", "/a", "nas:1", "/x")
	if err != nil {
		t.Fatalf("after the end: %v", err)
	}
	again()
}

// The daemon of a demo may remove the demo's folder and nothing else.
func TestFolderOfADemo(t *testing.T) {
	base := t.TempDir()
	make := func(name string, mode os.FileMode) string {
		t.Helper()
		dir := filepath.Join(base, name)
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "server"), 0o700), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	find := func(dir, home string) (demoFolder, error) {
		return findDemoFolder(&Env{Getenv: func(string) string { return home }}, dir)
	}
	dir := make("xfer-demo-1", 0o700)
	other, open := make("other", 0o700), make("xfer-demo-open", 0o755)
	link := filepath.Join(base, "xfer-demo-link")
	if err := os.Symlink(other, link); err != nil {
		t.Skip(err)
	}
	for dir, home := range map[string]string{
		other: filepath.Join(other, "server"), link: filepath.Join(link, "server"), dir: filepath.Join(other, "server"), dir + "/": filepath.Join(dir, "server") + "/",
		filepath.Join(base, "xfer-demo-none"): filepath.Join(base, "xfer-demo-none", "server"), "xfer-demo-1": "xfer-demo-1/server", open: filepath.Join(open, "server"),
	} {
		if _, err := find(dir, home); err == nil {
			t.Errorf("%s with home %s is taken for the folder of a demo", dir, home)
		}
	}
	f, err := find(dir, filepath.Join(dir, "server"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+"-moved"); err != nil {
		t.Fatal(err)
	}
	make("xfer-demo-1", 0o700)
	f.remove()
	if _, err := os.Lstat(dir); err != nil {
		t.Errorf("another folder of that name was removed: %v", err)
	}
	if err := errors.Join(os.RemoveAll(dir), os.Rename(dir+"-moved", dir)); err != nil {
		t.Fatal(err)
	}
	f.remove()
	if _, err := os.Lstat(dir); err == nil {
		t.Error("the folder is still there")
	}
}

func TestLogInWords(t *testing.T) {
	for line, want := range map[string]string{
		`{"time":"x","level":"ERROR","msg":"it broke","error":"disk","file":"a"}`: "ERROR: it broke, error disk, file a",
		"panic: x": "panic: x",
	} {
		if got := logText(line); got != want {
			t.Errorf("%s is %q, want %q", line, got, want)
		}
	}
}

func TestBooleansAreExplained(t *testing.T) {
	for _, c := range []struct{ args, env, want string }{
		{"id --quiet=yes", "", "xfer id: --quiet=yes: want true or false, or 1 or 0; "},
		{"id", "yes", "xfer id: XFER_QUIET=yes: want true or false, or 1 or 0; "},
	} {
		var out, errs bytes.Buffer
		env := map[string]string{"XFER_HOME": t.TempDir(), "XFER_QUIET": c.env}
		code := Main(context.Background(), Env{Args: strings.Fields(c.args), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &errs, Getenv: func(k string) string { return env[k] }})
		if code != exitUsage || !strings.HasPrefix(errs.String(), c.want) {
			t.Errorf("%q, %q: exit %d, %s", c.args, c.env, code, &errs)
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if code, stdout, stderr := command(t, t.TempDir(), "completion", shell); code != 0 || !strings.Contains(stdout, "xfer") || stderr != "" {
			t.Errorf("%s: exit %d, %d bytes, %s", shell, code, len(stdout), stderr)
		}
	}
	for _, line := range []string{"completion", "completion nosh"} {
		if _, _, stderr := command(t, t.TempDir(), strings.Fields(line)...); !strings.Contains(stderr, "bash, zsh, fish or powershell") {
			t.Errorf("%s: %s", line, stderr)
		}
	}
}

func TestDaemonThatDoesNotAnswer(t *testing.T) {
	late := fmt.Errorf("ask the daemon: %w", &url.Error{Op: "Get", URL: "http://daemon/v1/status", Err: context.DeadlineExceeded})
	got := message("status", "", noAnswer(places{socket: "/run/xfer.sock"}, late))
	want := "xfer status: the daemon here (/run/xfer.sock): it runs, but does not answer; it may be stopped or overloaded: look at its log, or end it and start it again"
	if got != want {
		t.Errorf("%q, want %q", got, want)
	}
	got = message("status", "", noAnswer(places{socket: "/s"}, fmt.Errorf("ask the daemon: %w", &url.Error{Op: "Get", URL: "http://daemon/v1/status", Err: syscall.ECONNRESET})))
	if want := "xfer status: the daemon here (/s): " + syscall.ECONNRESET.Error(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestSummary(t *testing.T) {
	f := &runFlags{}
	for _, c := range []struct {
		verb, did string
		res       transfer.Result
		want      string
	}{
		{"send", "sent", transfer.Result{Files: 1, Bytes: 3 << 20, BytesSent: 3 << 20, Transport: "tcp"}, "xfer: sent 1 file, 3.0 MiB over tcp; verified and durable at nas:"},
		{"send", "sent", transfer.Result{Files: 3, Bytes: 3 << 20, FilesSkipped: 1, BytesSkipped: 1 << 20}, "xfer: sent 2 files, 2.0 MiB, 1 file unchanged; verified and durable at nas:"},
		{"send", "sent", transfer.Result{Files: 1, Bytes: 3 << 20, FilesSkipped: 1, BytesSkipped: 3 << 20, Transport: "tcp"}, "xfer: nothing to send: 1 file unchanged, 3.0 MiB over tcp; verified and durable at nas:"},
		{"get", "received", transfer.Result{Files: 2, FilesSkipped: 2}, "xfer: nothing to get: 2 files unchanged, 0 B; verified and durable at nas:"},
		{"send", "sent", transfer.Result{Files: 1, Bytes: 4096, BytesSent: 1024, BytesResumed: 3072}, "xfer: sent 1 file, 4.0 KiB (3.0 KiB of it was there already); verified and durable at nas:"},
		{"send", "sent", transfer.Result{}, "xfer: sent 0 files, 0 B; verified and durable at nas:"},
	} {
		if got := summaryText(c.verb, c.did, "at nas:", true, f, c.res); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

func TestWhatDiffersIsInTheResult(t *testing.T) {
	differs := &transfer.Error{Op: "check", Kind: transfer.KindVerify, Err: errors.New("1003 entries differ")}
	result := func(n int, res transfer.Result, err error) jsonResult {
		o, stdout, _ := testOutput(outFlags{json: true})
		for i := range n {
			o.observe(transfer.Event{Kind: transfer.EventFile, Action: []string{"differs", "missing", "extra"}[i%3], Path: fmt.Sprintf("f%d\xff", i)})
		}
		o.setResult(res)
		o.finish(err)
		return lastResult(t, stdout.String())
	}
	r := result(2, transfer.Result{}, differs)
	if len(r.Errors) != 2 || r.ErrorCount != 2 || r.Exit != exitVerify || r.Errors[1].Message != "missing" || r.Errors[1].Code != exitVerify || *r.Errors[1].PathBase64 != "ZjH/" {
		t.Errorf("%+v", r)
	}
	if r := result(1003, transfer.Result{}, differs); len(r.Errors) != 1000 || r.ErrorCount != 1003 {
		t.Errorf("%d errors of %d", len(r.Errors), r.ErrorCount)
	}
	unread := &transfer.Error{Op: "read", Path: "a", Kind: transfer.KindLocalIO, Err: errors.New("no")}
	r = result(1, transfer.Result{Errors: []*transfer.Error{unread}, ErrorCount: 1}, &transfer.Error{Op: "check", Kind: transfer.KindPartial, Err: errors.New("1 file failed")})
	if len(r.Errors) != 2 || r.ErrorCount != 2 || r.Errors[0].Code != exitLocalIO || r.Errors[1].Message != "differs" {
		t.Errorf("%+v", r)
	}
}

func TestInviteToARootThatTheConfigurationHasNot(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "config.toml"), []byte("[root.data]\npath = \"data\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := command(t, home, "invite", "--name", "a", "--root", "nope"); code != exitNotFound || !strings.Contains(stderr, "it has data") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if code, _, stderr := command(t, home, "invite", "--name", "a", "--root", "data"); code != exitOK {
		t.Errorf("exit %d, %s", code, stderr)
	}
}
