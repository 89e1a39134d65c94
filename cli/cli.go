package cli

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// Env is all that a command line touches of its process. Main uses nothing else of it, but for the files that the verbs name.
type Env struct {
	Args   []string // without the program's name
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
	// Signals brings SIGINT, SIGTERM and SIGHUP. nil: none come.
	Signals <-chan os.Signal
	// StdinTerminal, StdoutTerminal and StderrTerminal tell which of the three are terminals.
	StdinTerminal, StdoutTerminal, StderrTerminal bool
	// Executable is how to start this program again (demo).
	Executable func() (string, error)
}

// OSEnv is the Env of this process. signals is what signal.Notify was told to fill.
func OSEnv(signals <-chan os.Signal) Env {
	return Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Getenv: os.Getenv, Signals: signals, Executable: os.Executable,
		StdinTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		StdoutTerminal: term.IsTerminal(int(os.Stdout.Fd())),
		StderrTerminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
}

// stopWithin is how long a verb may take to stop after the first signal.
const stopWithin = 900 * time.Millisecond

// job is a parsed command line, ready to run.
type job struct {
	verb string
	conn *connFlags // nil for verbs without output flags
	host string     // for messages
	// local verbs dial nobody, so they have no start event.
	local bool
	// dataOnStdout: a file's bytes go to stdout, so JSON lines go to stderr.
	dataOnStdout bool
	// patient verbs end by themselves after a signal (the daemon drains, demo cleans up).
	patient bool
	hangup  func()
	run     func(ctx context.Context, o *output) error
}

// app is one command line on its way.
type app struct {
	env Env
	job *job // set by the verb's RunE
}

// Main runs one command line and returns its exit code. It has no state but env, and leaves no goroutine that env's process
// would have to wait for.
func Main(ctx context.Context, env Env) int {
	a := &app{env: env}
	root := a.rootCommand()
	root.SetArgs(env.Args)
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil {
		return a.refuse(cmd, err)
	}
	if a.job == nil { // help, completion
		return exitOK
	}
	return a.execute(ctx)
}

// refuse reports a command line that does not parse. stdout stays empty.
func (a *app) refuse(cmd *cobra.Command, err error) int {
	name := "xfer"
	if cmd != nil {
		name = cmd.CommandPath()
	}
	code, text, detail := exitUsage, err.Error(), ""
	hint := "see " + name + " --help"
	var ce *cliError
	if errors.As(err, &ce) {
		code, text, detail = ce.code, ce.Error(), ce.detail
		if ce.hint != "" {
			hint = strings.TrimPrefix(ce.hint, noHint)
		}
	}
	if hint != "" {
		text += "; " + hint
	}
	io.WriteString(a.env.Stderr, name+": "+clean(text)+"\n")
	if detail != "" {
		io.WriteString(a.env.Stderr, detail+"\n")
	}
	return code
}

// noHint as a cliError's hint: the text says it all.
const noHint = "-"

// execute runs the job under the signals and prints its result.
func (a *app) execute(ctx context.Context) int {
	j := a.job
	ctx, atOnce, stop := watchSignals(ctx, a.env.Signals, j.hangup)
	defer stop()
	o := newOutput(&a.env, j)
	done := make(chan error, 1)
	go func() { done <- j.run(ctx, o) }()
	var late <-chan time.Time
	stopped := ctx.Done()
	for {
		select {
		case err := <-done:
			if err != nil && ctx.Err() != nil && exitCodeOf(err) != exitInterrupted && isInterrupt(err) {
				err = context.Cause(ctx)
			}
			return o.finish(err)
		case <-stopped:
			stopped = nil
			o.stopProgress()
			if !j.patient {
				late = time.After(stopWithin)
			}
		case <-late:
			return o.finish(context.Cause(ctx))
		case <-atOnce:
			o.cleanUp()
			return o.finish(context.Cause(ctx))
		}
	}
}
