// Command check is the continuous integration of xfer, the same by hand and in a pipeline:
//
//	go run ./cmd/check [-short] [-only steps] [-skip steps] [-fuzztime 5s] [-fuzztotal 3m] [packages]
//
// It prints each command before it runs it, goes on after a failure, tells each test that was skipped with its
// reason, and ends with the line "N passed, N failed, N skipped", which counts tests and fuzz targets. It exits 1 if
// anything failed. The steps:
//
//	fmt          gofmt finds nothing to change
//	imports      who may import whom, and which modules there are (rules.go)
//	vet          go vet
//	staticcheck  at the version pinned below
//	test         go test -race -shuffle=on; -short is handed on
//	fuzz         each fuzz target for -fuzztime, all of them for -fuzztotal at most
//	cross        go vet and go build for the other systems
//	vuln         govulncheck at the version pinned below; skipped, loudly, where its database cannot be reached
//
// With -read it runs nothing, and tells the same of tests that ran elsewhere:
//
//	go test -json ./... | go run ./cmd/check -read
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	staticcheckTool = "honnef.co/go/tools/cmd/staticcheck@v0.8.2"
	// Later versions need a newer Go than this module.
	govulncheckTool = "golang.org/x/vuln/cmd/govulncheck@v1.1.4"
)

// checker is one run.
type checker struct {
	root     string // of the module
	out      io.Writer
	packages []string
	short    bool
	race     bool
	fuzzTime time.Duration
	fuzzAll  time.Duration
	vulnDB   string

	tests count
	loud  []string // of steps that could not run: what the reader must know although nothing failed
}

// count is of tests.
type count struct{ passed, failed, skipped int }

// step is one part of the check. It prints what it finds, and is false when something is wrong.
type step struct {
	name string
	run  func(*checker, context.Context) bool
}

var steps = []step{
	{"fmt", (*checker).format},
	{"imports", (*checker).imports},
	{"vet", (*checker).vet},
	{"staticcheck", (*checker).staticcheck},
	{"test", (*checker).test},
	{"fuzz", (*checker).fuzz},
	{"cross", (*checker).cross},
	{"vuln", (*checker).vuln},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout))
}

func run(ctx context.Context, args []string, out io.Writer) int {
	c := &checker{out: out}
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.BoolVar(&c.short, "short", false, "hand -short to the tests: without those that take long")
	flags.BoolVar(&c.race, "race", true, "run the tests with the race detector")
	flags.DurationVar(&c.fuzzTime, "fuzztime", 5*time.Second, "how long to run each fuzz target")
	flags.DurationVar(&c.fuzzAll, "fuzztotal", 3*time.Minute, "how long to run all fuzz targets; those beyond are skipped")
	flags.StringVar(&c.vulnDB, "vulndb", "", "database of govulncheck, as https://... or file://...; its own if empty")
	only := flags.String("only", "", "steps to run, with commas: "+stepNames())
	read := flags.Bool("read", false, "run nothing: tell what came of the tests that go test -json tells of on stdin")
	skip := flags.String("skip", "", "steps to leave out, with commas")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *read {
		return c.readTests(os.Stdin)
	}
	chosen, err := choose(*only, *skip)
	if err != nil {
		fmt.Fprintln(out, "check:", err)
		return 2
	}
	if c.packages = flags.Args(); len(c.packages) == 0 {
		c.packages = []string{"./..."}
	}
	wd, err := os.Getwd()
	if err == nil {
		c.root, err = moduleRoot(wd)
	}
	if err != nil {
		fmt.Fprintln(out, "check:", err)
		return 2
	}
	return c.runSteps(ctx, chosen)
}

// runSteps runs the steps and prints what came of them. It returns the exit code.
func (c *checker) runSteps(ctx context.Context, chosen []step) int {
	var summary []string
	failed := false
	for _, s := range chosen {
		fmt.Fprintf(c.out, "\n== %s\n", s.name)
		start := time.Now()
		word, notes := "ok", len(c.loud)
		switch {
		case !s.run(c, ctx) || ctx.Err() != nil:
			word, failed = "FAILED", true
		case len(c.loud) > notes:
			word = "NOT RUN"
		}
		line := fmt.Sprintf("%-12s %-7s %6.1f s", s.name, word, time.Since(start).Seconds())
		fmt.Fprintln(c.out, line)
		summary = append(summary, line)
	}
	fmt.Fprintf(c.out, "\n%s\n", strings.Join(summary, "\n"))
	for _, line := range c.loud {
		fmt.Fprintln(c.out, "NOTE:", line)
	}
	fmt.Fprintf(c.out, "%d passed, %d failed, %d skipped\n", c.tests.passed, c.tests.failed, c.tests.skipped)
	if failed || c.tests.failed > 0 {
		return 1
	}
	return 0
}

func stepNames() string {
	var names []string
	for _, s := range steps {
		names = append(names, s.name)
	}
	return strings.Join(names, ",")
}

// choose returns the steps in only (all if empty) that are not in skip.
func choose(only, skip string) ([]step, error) {
	var chosen []step
	list := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
	}
	for _, name := range append(list(only), list(skip)...) {
		if !slices.ContainsFunc(steps, func(s step) bool { return s.name == name }) {
			return nil, fmt.Errorf("there is no step %q, only %s", name, stepNames())
		}
	}
	for _, s := range steps {
		if (only == "" || slices.Contains(list(only), s.name)) && !slices.Contains(list(skip), s.name) {
			chosen = append(chosen, s)
		}
	}
	return chosen, nil
}

// moduleRoot is the directory with go.mod that dir is in.
func moduleRoot(dir string) (string, error) {
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no go.mod here or above")
		}
		dir = parent
	}
}

// command prepares a command in the module, and prints it.
func (c *checker) command(ctx context.Context, env []string, args ...string) *exec.Cmd {
	fmt.Fprintf(c.out, "$ %s\n", strings.Join(append(slices.Clone(env), args...), " "))
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	// Interrupted first, so that what it started ends with it.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Dir = c.root
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

// do runs a command whose success is the step's.
func (c *checker) do(ctx context.Context, env []string, args ...string) bool {
	cmd := c.command(ctx, env, args...)
	cmd.Stdout, cmd.Stderr = c.out, c.out
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(c.out, "FAILED:", err)
		return false
	}
	return true
}
