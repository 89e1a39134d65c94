package main

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// made is a module whose tests pass, fail and are skipped.
func made(failing bool) map[string]string {
	files := map[string]string{
		"go.mod":  "module made\n\ngo 1.26\n",
		"a/a.go":  "// Package a is made up.\npackage a\n",
		"a/doc.x": "",
		"a/a_test.go": `package a
import "testing"
func TestPass(t *testing.T) {}
func TestSkip(t *testing.T) { t.Skip("no device here") }
func TestSub(t *testing.T) {
	t.Run("one", func(t *testing.T) {})
	t.Run("two", func(t *testing.T) { t.Skipf("needs %d", 2) })
}
func FuzzOne(f *testing.F) { f.Fuzz(func(t *testing.T, b []byte) {}) }
`,
	}
	if failing {
		files["b/b_test.go"] = "package b\nimport \"testing\"\nfunc TestFail(t *testing.T) { t.Run(\"x\", func(t *testing.T) { t.Error(\"what is wrong\") }) }\n"
		files["c/c_test.go"] = "package c\nfunc x() { undefined() }\n"
	}
	return files
}

func runMade(t *testing.T, failing bool, names string) (code int, out string) {
	t.Helper()
	var buf bytes.Buffer
	c := &checker{root: mustTree(t, made(failing)), out: &buf, packages: []string{"./..."}, fuzzTime: 10 * time.Millisecond, fuzzAll: time.Minute}
	chosen, err := choose(names, "")
	if err != nil {
		t.Fatal(err)
	}
	code = c.runSteps(t.Context(), chosen)
	return code, buf.String()
}

func lastLine(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

func mustContain(t *testing.T, out string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(out, p) {
			t.Errorf("%q is not in:\n%s", p, out)
		}
	}
}

func TestCheckOfAGoodModule(t *testing.T) {
	code, out := runMade(t, false, "vet,test")
	if code != 0 {
		t.Errorf("exit code %d:\n%s", code, out)
	}
	mustContain(t, out, "$ go vet ./...", "SKIP  made/a TestSkip: a_test.go:4: no device here", "SKIP  made/a TestSub/two: a_test.go:7: needs 2")
	// TestPass, TestSub/one, FuzzOne (its seeds).
	if got, want := lastLine(out), "3 passed, 0 failed, 2 skipped"; got != want {
		t.Errorf("last line %q, want %q", got, want)
	}
}

func TestCheckOfABadModule(t *testing.T) {
	code, out := runMade(t, true, "vet,test")
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	mustContain(t, out, "--- FAIL: made/b TestFail/x", "what is wrong", "undefined: undefined", "test         FAILED ", "vet          FAILED ")
	// TestFail/x, and the package that does not compile.
	if got, want := lastLine(out), "3 passed, 2 failed, 2 skipped"; got != want {
		t.Errorf("last line %q, want %q\n%s", got, want, out)
	}
}

func TestFuzzStep(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles with instrumentation")
	}
	code, out := runMade(t, false, "fuzz")
	mustContain(t, out, "-fuzz=^FuzzOne$ -fuzztime=10ms ./a")
	if got := lastLine(out); code != 0 || got != "1 passed, 0 failed, 0 skipped" {
		t.Errorf("exit code %d, last line %q\n%s", code, got, out)
	}
}

func TestFuzzTargetsBeyondTheTimeAreSkippedAloud(t *testing.T) {
	var buf bytes.Buffer
	c := &checker{root: mustTree(t, made(false)), out: &buf}
	if !c.fuzz(t.Context()) || c.tests.skipped != 1 {
		t.Errorf("%+v", c.tests)
	}
	mustContain(t, buf.String(), "SKIP  ./a FuzzOne: no time left")
}

func TestFormat(t *testing.T) {
	var buf bytes.Buffer
	c := &checker{out: &buf, root: mustTree(t, map[string]string{"a.go": "package a\n", "b.go": "package  b\n", "c.go": "package\n"})}
	if c.format(t.Context()) {
		t.Error("nothing found")
	}
	if got, want := buf.String(), "$ gofmt -l .\nb.go\nc.go\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A panic ends the process in the middle of a test: no test has failed, but its package has.
func TestResultsOfAPanic(t *testing.T) {
	r := newResults(io.Discard)
	in := `{"Action":"run","Package":"p","Test":"T"}
{"Action":"output","Package":"p","Test":"T","Output":"panic: x\n"}
{"Action":"fail","Package":"p"}
not json
`
	if err := r.read(strings.NewReader(in)); err != nil {
		t.Fatal(err)
	}
	if got, want := r.report(), (count{failed: 1}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// What ran elsewhere is told as what runs here: each skip with its reason, what a failed test said, and that nothing ran.
func TestReadTests(t *testing.T) {
	line := func(action, test, output string) string {
		return `{"Action":"` + action + `","Package":"p","Test":"` + test + `","Output":"` + output + `"}` + "\n"
	}
	skip := line("output", "A", "    a_test.go:1: no device here\\n") + line("skip", "A", "")
	for name, c := range map[string]struct {
		in   string
		code int
		says string
	}{
		"good":    {skip + line("pass", "B", "") + line("pass", "", ""), 0, "SKIP  p A: a_test.go:1: no device here"},
		"bad":     {line("output", "B", "what is wrong\\n") + line("fail", "B", "") + line("pass", "C", "") + line("fail", "", ""), 1, "what is wrong"},
		"broken":  {"./x.go:1: syntax error\n" + line("fail", "", ""), 1, "syntax error"},
		"nothing": {"", 1, "0 passed"},
	} {
		var out strings.Builder
		if code := (&checker{out: &out}).readTests(strings.NewReader(c.in)); code != c.code || !strings.Contains(out.String(), c.says) {
			t.Errorf("%s: exit %d: %s", name, code, out.String())
		}
	}
}

func TestUnreachable(t *testing.T) {
	for output, want := range map[string]bool{
		"govulncheck: fetching vulnerabilities: Get \"https://vuln.go.dev/index/db.json\": dial tcp: lookup": true,
		"=== Symbol Results ===\n\nVulnerability #1: GO-2025-0001\n  More info: https://pkg.go.dev/vuln":     false,
		"loading packages: ./x.go:1:1: expected 'package'":                                                   false,
	} {
		if got := unreachable(output); got != want {
			t.Errorf("%q: %v, want %v", output, got, want)
		}
	}
}

// A step that could not run is not "ok", and not a failure of the code.
func TestStepThatCouldNotRun(t *testing.T) {
	var buf bytes.Buffer
	c := &checker{out: &buf}
	code := c.runSteps(t.Context(), []step{{"vuln", func(c *checker, _ context.Context) bool {
		c.loud = append(c.loud, "it did NOT run")
		return true
	}}})
	if code != 0 {
		t.Errorf("exit code %d", code)
	}
	mustContain(t, buf.String(), "vuln         NOT RUN", "NOTE: it did NOT run")
}

func TestChoose(t *testing.T) {
	names := func(only, skip string) string {
		chosen, err := choose(only, skip)
		if err != nil {
			return err.Error()
		}
		var all []string
		for _, s := range chosen {
			all = append(all, s.name)
		}
		return strings.Join(all, " ")
	}
	if got := names("", ""); got != strings.ReplaceAll(stepNames(), ",", " ") {
		t.Errorf("all: %s", got)
	}
	if got := names("test,fmt", ""); got != "fmt test" {
		t.Errorf("only: %s", got)
	}
	if got := names("", "vuln, fuzz"); strings.Contains(got, "vuln") || !strings.Contains(got, "cross") {
		t.Errorf("skip: %s", got)
	}
	for _, bad := range [][2]string{{"tset", ""}, {"", "tset"}} {
		if got := names(bad[0], bad[1]); !strings.Contains(got, `no step "tset"`) {
			t.Errorf("%q: %s", bad, got)
		}
	}
}

func TestRunRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, args := range [][]string{{"-only", "nothing"}, {"-unknown"}} {
		if code := run(t.Context(), args, io.Discard); code != 2 {
			t.Errorf("%q: exit code %d, want 2", args, code)
		}
	}
}

func TestFuzzTargetsOfThisModule(t *testing.T) {
	targets, err := fuzzTargets("../..")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(targets, func(g target) bool { return g.dir == "transfer/wire" }) {
		t.Errorf("none of transfer/wire in %v", targets)
	}
}
