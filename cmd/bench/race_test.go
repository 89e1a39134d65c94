package main

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// testBench is one without an xfer.
func testBench(t *testing.T) *bench {
	t.Helper()
	b, err := newBench(options{Pairs: 3, Transport: "both", dir: t.TempDir(), xfer: "none"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// scripted is a contender that runs a line of shell with $1 the source and $2 the directory.
func scripted(name, line string, runs *[]string) *contender {
	return &contender{name: name, why: installed("sh", "cp"), open: func(context.Context, *site) (receiver, error) {
		return script{name, line, runs}, nil
	}}
}

type script struct {
	name, line string
	runs       *[]string
}

func (s script) command(ctx context.Context, t task) pipeline {
	*s.runs = append(*s.runs, s.name)
	return pipeline{exec.CommandContext(ctx, "sh", "-c", s.line, "sh", t.src, t.dir)}
}

func (script) servers() []int { return nil }
func (script) close()         {}

func TestRaceInterleavesAndDropsWhoFails(t *testing.T) {
	b := testBench(t)
	src := filepath.Join(b.scratch, "file")
	if err := randomFile(src, 100_000, 1); err != nil {
		t.Fatal(err)
	}
	const copies = `cp -p "$1" "$2"`
	var runs []string
	ours := scripted("notbuilt", `echo "xfer: it is not built yet" >&2; exit 2`, &runs)
	ours.ours = true
	field := []*contender{
		scripted("one", copies, &runs), scripted("two", copies, &runs), ours,
		scripted("wrong", copies+`; if [ "$(wc -c <"$1")" -gt 1 ]; then printf x | dd of="$2/file" bs=1 seek=70000 conv=notrunc 2>"$2/../dd"; touch -r "$1" "$2/file"; fi`, &runs),
		scripted("absent", "exit 1", &runs),
	}
	field[4].why = "no such program"
	if field[0].why != "" {
		t.Skip(field[0].why)
	}
	res := &result{Workload: "test", FS: tmpfs, Bytes: 100_000, Files: 1}
	err := b.race(t.Context(), race{res: res, field: field, src: src, rounds: 3})
	if err == nil || !strings.Contains(err.Error(), "wrong: WRONG CONTENT ARRIVED") || strings.Contains(err.Error(), "not built") {
		t.Errorf("the error is %v", err)
	}
	for name, want := range map[string]string{
		"one": "", "two": "", "notbuilt": "not built yet", "wrong": "WRONG CONTENT", "absent": "no such program",
	} {
		r := res.row(name)
		if want == "" && (r.NA != "" || len(r.Samples) != 3) || !strings.Contains(r.NA, want) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	want := []string{"one", "two", "notbuilt", "wrong", "one", "two", "wrong", "two", "one", "one", "two"}
	if !slices.Equal(runs, want) {
		t.Errorf("the order is %v, want %v", runs, want)
	}
	if res.row("one").TimeOver["two"] <= 0 {
		t.Errorf("no ratio: %+v", res.row("one"))
	}
}

func TestPipelineTellsWhatFailed(t *testing.T) {
	if why := installed("sh", "cat"); why != "" {
		t.Skip(why)
	}
	b := testBench(t)
	e, err := b.run(pipeline{exec.Command("sh", "-c", "echo through"), exec.Command("cat")})
	if err != nil || string(e.stdout) != "through\n" {
		t.Errorf("got %q, %v", e.stdout, err)
	}
	_, err = b.run(pipeline{exec.Command("sh", "-c", "echo first >&2; echo last >&2; exit 7"), exec.Command("cat")})
	if err == nil || exitCode(err) != 7 || !strings.HasSuffix(err.Error(), ": last") {
		t.Errorf("got %v", err)
	}
	if _, err = b.run(pipeline{exec.Command("cat"), exec.Command("/no/such/program")}); err == nil {
		t.Error("a program that is not there is no error")
	}
}

func TestIsMissing(t *testing.T) {
	m, bad := missingf("gone"), fmt.Errorf("broken")
	for _, c := range []struct {
		err  error
		want bool
	}{
		{m, true}, {bad, false}, {fmt.Errorf("x: %w", m), true}, {joined(m, m), true}, {joined(m, bad), false},
		{joined(joined(m, bad), m), false},
	} {
		if got := isMissing(c.err); got != c.want {
			t.Errorf("%v: %v, want %v", c.err, got, c.want)
		}
	}
}
