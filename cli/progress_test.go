package cli

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"xfer/transfer"
)

func TestProgressText(t *testing.T) {
	for _, c := range []struct {
		e    transfer.Event
		want string
	}{
		{transfer.Event{}, "0 B"},
		{transfer.Event{Bytes: 512, BytesTotal: 1024, FilesTotal: 1}, "50%, 512 B of 1.0 KiB"},
		{transfer.Event{Bytes: 1 << 20, BytesTotal: 3 << 20, Files: 2, FilesTotal: 5, Rate: 1 << 19}, "33%, 1.0 MiB of 3.0 MiB, 2 of 5 files, 512.0 KiB/s, 4s left"},
		{transfer.Event{Bytes: 5 << 30, Files: 7, Rate: 1}, "5.0 GiB, 7 files, 1 B/s"},
		{transfer.Event{Bytes: 20, BytesTotal: 10, Rate: 1}, "100%, 20 B of 10 B, 1 B/s"}, // a file that grew
		{transfer.Event{Bytes: 1, BytesTotal: 1 << 40, Rate: 1e6}, "0%, 1 B of 1.0 TiB, 976.6 KiB/s, 305h25m left"},
		{transfer.Event{Bytes: 1, BytesTotal: 1 << 60, Rate: 1e-9}, "0%, 1 B of 1024.0 PiB, 0 B/s, long left"},
	} {
		if got := progressText(c.e); got != c.want {
			t.Errorf("progress %+v is %q, want %q", c.e, got, c.want)
		}
	}
}

func TestBarOnlyOnATerminal(t *testing.T) {
	env := func(terminal bool, term string) *Env {
		return &Env{Stderr: new(bytes.Buffer), StderrTerminal: terminal, Getenv: func(string) string { return term }}
	}
	for _, c := range []struct {
		name         string
		env          *Env
		how          string
		batch, quiet bool
		bar, lines   bool
	}{
		{name: "terminal", env: env(true, "xterm"), how: "auto", bar: true},
		{name: "bar asked for without a terminal", env: env(false, ""), how: "bar", lines: true},
		{name: "pipe", env: env(false, ""), how: "auto", lines: true},
		{name: "batch on a terminal", env: env(true, "xterm"), how: "auto", batch: true, lines: true},
		{name: "lines on a terminal", env: env(true, "xterm"), how: "line", lines: true},
		{name: "dumb terminal", env: env(true, "dumb"), how: "auto", lines: true},
		{name: "none", env: env(true, "xterm"), how: "none"},
		{name: "quiet", env: env(true, "xterm"), how: "auto", quiet: true},
	} {
		p := newProgress(c.env, c.how, c.batch, c.quiet, time.Minute)
		_, bar := p.(*barProgress)
		_, lines := p.(*lineProgress)
		if bar != c.bar || lines != c.lines {
			t.Errorf("%s: %T", c.name, p)
		}
	}
}

func TestLinesEachStats(t *testing.T) {
	var b bytes.Buffer
	begin := time.Now()
	p := &lineProgress{w: &b, every: time.Minute, last: begin}
	for i := range 600 {
		p.update(transfer.Event{Time: begin.Add(time.Duration(i) * time.Second), Bytes: int64(i), BytesTotal: 600})
	}
	if n := strings.Count(b.String(), "\n"); n != 9 {
		t.Errorf("%d lines in ten minutes:\n%s", n, &b)
	}
	if strings.ContainsAny(b.String(), "\r\x1b") {
		t.Errorf("control characters in %q", &b)
	}
}

// What the library stumbles over: nothing to do, more than expected, a total that comes late or shrinks.
func TestBarSurvivesOddTotals(t *testing.T) {
	var b bytes.Buffer
	p := &barProgress{w: &b, width: func() int { return 120 }}
	p.clear()
	for _, e := range []transfer.Event{
		{}, {Bytes: 5}, {Bytes: 5, BytesTotal: 10}, {Bytes: 10, BytesTotal: 10}, {Bytes: 50, BytesTotal: 10}, {Bytes: 5, BytesTotal: 10},
		{Bytes: 1, BytesTotal: 1}, {Bytes: 0, BytesTotal: 0}, {Bytes: -1, BytesTotal: 7},
	} {
		b.Reset()
		p.update(e)
		if e.BytesTotal > 0 && !strings.Contains(b.String(), amountText(e)) {
			t.Errorf("%+v shows %q", e, &b)
		}
		if strings.Contains(b.String(), "\n") {
			t.Errorf("%+v leaves a line standing: %q", e, &b)
		}
	}
	p.clear()
	if !strings.HasSuffix(b.String(), "\r\x1b[K") {
		t.Errorf("the end is %q", &b)
	}
}

// A line as wide as the terminal wraps, and then each painting leaves one behind.
func TestBarFitsTheTerminal(t *testing.T) {
	escape := regexp.MustCompile("\x1b\\[[0-9;]*[a-zA-Z]")
	var b bytes.Buffer
	width := 0
	p := &barProgress{w: &b, width: func() int { return width }}
	whole := 0
	for width = range 130 { // resized all the time
		for _, e := range []transfer.Event{
			{}, {Bytes: 5 << 40, Files: 123456, Rate: 1e9}, {Bytes: 1 << 30, BytesTotal: 3 << 30, FilesTotal: 1, Rate: 1e8},
			{Bytes: 1000 << 30, BytesTotal: 1023 << 30, Files: 123456, FilesTotal: 234567, Rate: 1e3}, {Bytes: 9, BytesTotal: 9},
		} {
			b.Reset()
			p.update(e)
			for line := range strings.SplitSeq(escape.ReplaceAllString(b.String(), ""), "\r") {
				if n := utf8.RuneCountInString(line); n >= max(width, 1) || strings.Contains(line, "\n") {
					t.Errorf("%d columns of %d for %+v: %q", n, width, e, line)
				}
			}
			if strings.Contains(b.String(), "|") && strings.Contains(b.String(), amountText(e)) {
				whole++
			}
		}
	}
	if whole == 0 {
		t.Error("there was never a bar")
	}
	e := transfer.Event{Bytes: 1 << 30, BytesTotal: 3 << 30, Files: 1, FilesTotal: 2, Rate: 1e8}
	for columns, want := range map[int]string{
		60: "33%, 1.0 GiB of 3.0 GiB, 1 of 2 files, 95.4 MiB/s, 21s left", 55: "33%, 1.0 GiB of 3.0 GiB, 1 of 2 files, 95.4 MiB/s",
		40: "33%, 1.0 GiB of 3.0 GiB, 1 of 2 files", 30: "33%, 1.0 GiB of 3.0 GiB", 10: "33%", 2: "33", 0: "", -1: "",
	} {
		if got := fitText(e, columns); got != want {
			t.Errorf("in %d columns: %q, want %q", columns, got, want)
		}
	}
}

func TestNothingSharesALineWithTheBar(t *testing.T) {
	for name, say := range map[string]func(o *output){
		"print":       func(o *output) { o.print("text\n") },
		"say":         func(o *output) { o.say("text") },
		"setProgress": func(o *output) { o.setProgress(noProgress{}) },
		"stopped":     func(o *output) { o.stopProgress() },
		"plan":        func(o *output) { o.observe(transfer.Event{Kind: transfer.EventPlan, Action: "new", Path: "p"}) },
		"differs":     func(o *output) { o.observe(transfer.Event{Kind: transfer.EventFile, Action: "differs", Path: "p"}) },
	} {
		o, _, _ := testOutput(outFlags{})
		var both bytes.Buffer
		o.env.Stdout, o.env.Stderr = &both, &both
		o.setProgress(&barProgress{w: &both, width: func() int { return 80 }})
		o.observe(transfer.Event{Kind: transfer.EventProgress, Bytes: 5, BytesTotal: 10})
		before := both.Len()
		say(o)
		if after := both.String()[before:]; !strings.HasPrefix(after, "\r\x1b[K") || strings.Count(after, "\x1b") != 1 {
			t.Errorf("%s: %q", name, after)
		}
	}
}

// What the engine tells last after a signal may be less than before.
func TestNoBarAfterASignal(t *testing.T) {
	o, _, stderr := testOutput(outFlags{})
	o.setProgress(&barProgress{w: stderr, width: func() int { return 80 }})
	o.observe(transfer.Event{Kind: transfer.EventProgress, Bytes: 5, BytesTotal: 10})
	o.stopProgress()
	before := stderr.Len()
	o.observe(transfer.Event{Kind: transfer.EventProgress, Bytes: 0, BytesTotal: 10})
	if stderr.Len() != before {
		t.Errorf("painted %q", stderr.String()[before:])
	}
}
