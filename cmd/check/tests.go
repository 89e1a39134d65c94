package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// event is a line of go test -json (go doc cmd/test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

// test runs all tests, in random order, and tells those that failed with what they said.
func (c *checker) test(ctx context.Context) bool {
	args := []string{"go", "test", "-json", "-shuffle=on", "-timeout=20m"}
	var env []string
	if c.race {
		args = append(args, "-race")
		// The detector lets every process wait a second at its end, and the tests of the command start thousands.
		env = []string{"GORACE=atexit_sleep_ms=0"}
	}
	if c.short {
		args = append(args, "-short")
	}
	cmd := c.command(ctx, env, append(args, c.packages...)...)
	out := &lockedWriter{w: c.out}
	cmd.Stderr = out
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(c.out, "FAILED:", err)
		return false
	}
	r := newResults(out)
	readErr := r.read(stdout)
	err = cmd.Wait()
	got := r.report()
	c.tests.passed += got.passed
	c.tests.failed += got.failed
	c.tests.skipped += got.skipped
	switch {
	case readErr != nil:
		fmt.Fprintln(c.out, "FAILED: what go test printed could not be read:", readErr)
		return false
	case err != nil:
		fmt.Fprintln(c.out, "FAILED:", err)
		return false
	}
	return got.failed == 0
}

// readTests tells what came of the tests in, and returns the exit code. That nothing ran at all is a failure.
func (c *checker) readTests(in io.Reader) int {
	r := newResults(c.out)
	err := r.read(in)
	got := r.report()
	fmt.Fprintf(c.out, "%d passed, %d failed, %d skipped\n", got.passed, got.failed, got.skipped)
	switch {
	case err != nil:
		fmt.Fprintln(c.out, "FAILED: what go test printed could not be read:", err)
		return 1
	case got.failed > 0 || got.passed == 0:
		return 1
	}
	return 0
}

// testKey names a test; with an empty test, a package.
type testKey struct{ pkg, test string }

// results collects what go test -json tells.
type results struct {
	out     io.Writer
	output  map[testKey][]string
	outcome map[testKey]string
}

func newResults(out io.Writer) *results {
	return &results{out: out, output: map[testKey][]string{}, outcome: map[testKey]string{}}
}

// read takes all events, and prints a line for each package and the output of what fails.
func (r *results) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				fmt.Fprintf(r.out, "%s", line) // not every version wraps what the compiler says
			} else {
				r.take(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *results) take(e event) {
	key := testKey{e.Package, e.Test}
	switch e.Action {
	case "output":
		r.output[key] = append(r.output[key], e.Output)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "pass", "fail", "skip":
		r.outcome[key] = e.Action
		switch {
		case e.Action == "fail":
			fmt.Fprintf(r.out, "--- FAIL: %s %s\n%s", e.Package, e.Test, strings.Join(r.output[key], ""))
		case e.Test == "" && e.Action == "pass":
			fmt.Fprintf(r.out, "ok    %-32s %6.1f s\n", e.Package, e.Elapsed)
		}
		if e.Action != "skip" {
			delete(r.output, key) // only skipped tests are asked again
		}
	}
}

// report prints each skipped test with its reason and counts. A test that has subtests is not counted itself, unless
// it failed and none of them did. A package that failed without a failed test (it did not compile, it panicked) counts
// as one.
func (r *results) report() count {
	var n count
	parents := map[testKey]bool{}
	failedBelow := map[testKey]bool{}
	for key, outcome := range r.outcome {
		if key.test == "" {
			continue
		}
		for at, c := range key.test {
			if c != '/' {
				continue
			}
			parent := testKey{key.pkg, key.test[:at]}
			parents[parent] = true
			failedBelow[parent] = failedBelow[parent] || outcome == "fail"
		}
		pkg := testKey{pkg: key.pkg}
		failedBelow[pkg] = failedBelow[pkg] || outcome == "fail"
	}
	byName := func(a, b testKey) int {
		return strings.Compare(a.pkg+" "+a.test, b.pkg+" "+b.test)
	}
	for _, key := range slices.SortedFunc(maps.Keys(r.outcome), byName) {
		switch outcome := r.outcome[key]; {
		case outcome == "fail":
			if !failedBelow[key] {
				n.failed++
			}
		case key.test == "" || parents[key]:
		case outcome == "pass":
			n.passed++
		case outcome == "skip":
			n.skipped++
			fmt.Fprintf(r.out, "SKIP  %s %s: %s\n", key.pkg, key.test, reason(r.output[key]))
		}
	}
	return n
}

// reason is what a test said before it was skipped.
func reason(output []string) string {
	var said []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "=== ") && !strings.HasPrefix(line, "--- ") {
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		return "no reason given"
	}
	return strings.Join(said, " ")
}

// lockedWriter lets what go test says on stderr and what we say of its stdout share a writer.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// left is how much of a time is left after start, and never less than 0.
func left(all time.Duration, start time.Time) time.Duration {
	return max(0, all-time.Since(start))
}
