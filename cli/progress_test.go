package cli

import (
	"bytes"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
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
		{transfer.Event{Bytes: 1 << 20, BytesFound: 3 << 20, Files: 2, FilesFound: 50, Rate: 1 << 19}, "1.0 MiB of 3.0 MiB found so far, 2 of 50 files, 512.0 KiB/s"},
		{transfer.Event{Files: 3, FilesFound: 9}, "0 B of 0 B found so far, 3 of 9 files"},
		{transfer.Event{Files: 3, FilesTotal: 9, FilesFound: 9}, "0 B, 3 of 9 files"},     // all of them empty
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
	p := &barProgress{w: &b, size: func() (int, int) { return 120, 24 }}
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
	p := &barProgress{w: &b, size: func() (int, int) { return width, 24 }}
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

// screen is what a terminal shows of what was written to it, as far as a bar writes it.
type screen struct {
	lines    []string
	row, col int
}

func (s *screen) write(t *testing.T, text string) {
	t.Helper()
	for text != "" {
		for s.row >= len(s.lines) {
			s.lines = append(s.lines, "")
		}
		line := []rune(s.lines[s.row])
		r, n := utf8.DecodeRuneInString(text)
		switch r {
		case '\r':
			s.col = 0
		case '\n':
			s.row++
			s.col = 0 // the terminal driver's doing
		case '\x1b':
			end := strings.IndexFunc(text[2:], unicode.IsLetter) + 2
			switch n = end + 1; text[:n] {
			case "\x1b[K", "\x1b[0K":
				s.lines[s.row] = string(line[:min(s.col, len(line))])
			case "\x1b[2K":
				s.lines[s.row] = ""
			case "\x1b[J":
				s.lines[s.row] = string(line[:min(s.col, len(line))])
				s.lines = s.lines[:s.row+1]
			default:
				up, err := strconv.Atoi(text[2:end])
				if err != nil || text[end] != 'F' {
					t.Fatalf("an escape that nobody knows: %q", text[:n])
				}
				if s.row -= up; s.row < 0 {
					t.Fatal("painted above where it began")
				}
				s.col = 0
			}
		default:
			for len(line) <= s.col {
				line = append(line, ' ')
			}
			line[s.col] = r
			s.col++
			s.lines[s.row] = string(line)
		}
		text = text[n:]
	}
}

// Beneath the bar is a row for each large file, and nothing of them stays when they are done or another line comes.
func TestLargeFilesHaveRows(t *testing.T) {
	var b bytes.Buffer
	var s screen
	size := [2]int{80, 24}
	p := &barProgress{w: &b, size: func() (int, int) { return size[0], size[1] }}
	file := func(name string, n int64) transfer.FileProgress {
		return transfer.FileProgress{Path: name, Bytes: n << 20, Size: 64 << 20}
	}
	show := func(e transfer.Event, want ...string) {
		t.Helper()
		b.Reset()
		p.update(e)
		s.write(t, b.String())
		if s.row != 0 {
			t.Errorf("the next painting begins in row %d", s.row)
		}
		var got []string
		for _, line := range s.lines[1:] {
			if line = strings.TrimRight(line, " "); line != "" {
				got = append(got, line)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("rows are %q, want %q", got, want)
		}
		if !strings.Contains(s.lines[0], byteText(e.Bytes)) {
			t.Errorf("the bar is %q", s.lines[0])
		}
	}
	e := transfer.Event{Bytes: 1 << 20, BytesTotal: 1 << 30, FilesTotal: 9}
	show(e)
	e.Large = []transfer.FileProgress{file("a", 16), file("b\x1b", 32)}
	show(e, "  25%   16.0 MiB of 64.0 MiB  a", `  50%   32.0 MiB of 64.0 MiB  "b\x1b"`)
	e.Large = []transfer.FileProgress{file("b", 64), file("dir/"+strings.Repeat("c", 100)+"/end", 1)}
	show(e, " 100%   64.0 MiB of 64.0 MiB  b", "   1%    1.0 MiB of 64.0 MiB  ..."+strings.Repeat("c", 42)+"/end")
	e.Large = e.Large[:1]
	show(e, " 100%   64.0 MiB of 64.0 MiB  b")
	b.Reset()
	p.clear()
	s.write(t, b.String())
	if s.row != 0 || strings.Join(s.lines, "") != "" {
		t.Errorf("cleared, there is %q", s.lines)
	}
	show(e, " 100%   64.0 MiB of 64.0 MiB  b")
	e.BytesTotal, e.FilesTotal, e.BytesFound, e.FilesFound = 0, 0, 1<<30, 3 // the walk goes on
	show(e, " 100%   64.0 MiB of 64.0 MiB  b")
	size[1] = 2 // no room beneath
	show(e)
	size[1] = 24
	show(e, " 100%   64.0 MiB of 64.0 MiB  b")
	size[0] = 30
	b.Reset()
	p.update(e)
	s.write(t, b.String())
	if text := strings.Join(s.lines, ""); strings.Contains(text, "64.0") {
		t.Errorf("in a narrow terminal there is %q", s.lines)
	}
	size[0] = 80
	e.BytesTotal, e.FilesTotal = 64<<20, 1 // the bar says it
	show(e)
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
		o.setProgress(&barProgress{w: &both, size: func() (int, int) { return 80, 24 }})
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
	o.setProgress(&barProgress{w: stderr, size: func() (int, int) { return 80, 24 }})
	o.observe(transfer.Event{Kind: transfer.EventProgress, Bytes: 5, BytesTotal: 10})
	o.stopProgress()
	before := stderr.Len()
	o.observe(transfer.Event{Kind: transfer.EventProgress, Bytes: 0, BytesTotal: 10})
	if stderr.Len() != before {
		t.Errorf("painted %q", stderr.String()[before:])
	}
}
