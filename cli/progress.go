package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"xfer/transfer"
)

// progress shows how far a run is. Its methods are called under the output's lock.
type progress interface {
	update(transfer.Event)
	clear() // before another line is printed, and at the end
}

type noProgress struct{}

func (noProgress) update(transfer.Event) {}
func (noProgress) clear()                {}

// newProgress chooses: a bar only on a terminal, lines elsewhere. batch never has a bar.
func newProgress(env *Env, how string, batch, quiet bool, every time.Duration) progress {
	if quiet || how == "none" {
		return noProgress{}
	}
	if how == "line" || batch || !env.StderrTerminal || env.Getenv("TERM") == "dumb" {
		return &lineProgress{w: env.Stderr, every: every, last: time.Now()}
	}
	return &barProgress{w: env.Stderr, size: func() (int, int) { return terminalSize(env.Stderr) }}
}

// terminalSize is asked for at each painting, since a terminal can be resized.
func terminalSize(w io.Writer) (width, height int) {
	if f, ok := w.(*os.File); ok {
		if width, height, err := term.GetSize(int(f.Fd())); err == nil && width > 0 && height > 0 {
			return width, height
		}
	}
	return 80, 24
}

// lineProgress prints a line each so often.
type lineProgress struct {
	w     io.Writer
	every time.Duration
	last  time.Time
}

func (p *lineProgress) clear() {}

func (p *lineProgress) update(e transfer.Event) {
	if p.every <= 0 || e.Time.Sub(p.last) < p.every {
		return
	}
	p.last = e.Time
	fmt.Fprintf(p.w, "xfer: %s\n", progressText(e))
}

// barProgress is one bar for the whole run, with a row beneath it for each large file under way. The rate and the time left are ours,
// since progressbar would take what was there before a resume for the speed of the network; and its Set fails on an empty or overshot
// total, so both are kept away from it.
type barProgress struct {
	w     io.Writer
	size  func() (width, height int) // of the terminal
	bar   *progressbar.ProgressBar
	paint bytes.Buffer // what the bar writes, on its way to w: one write a painting
	total int64
	rows  int  // beneath the bar, which was made for them
	shown bool // there is something to clear
}

// The columns that the library puts around our text: "  50% |", the bar, "|  " and a space at the end; or a spinner.
const (
	barColumns    = 20
	aroundBar     = 11 + barColumns
	aroundSpinner = 4
)

func (p *barProgress) update(e transfer.Event) {
	width, height := p.size()
	text, room := amountText(e), width-1 // in the last column some terminals wrap
	around := aroundBar
	if e.BytesTotal <= 0 {
		around = aroundSpinner
	}
	fits := len(text)+around <= room
	var rows []string
	if fits {
		rows = rowTexts(e, room, height-2)
	}
	if len(rows) != p.rows {
		p.clear()
		p.rows, p.bar = len(rows), nil
	}
	p.shown = true
	if !fits {
		// A line that wraps cannot be painted over.
		io.WriteString(p.w, "\r"+fitText(e, room)+"\x1b[K")
		return
	}
	total := e.BytesTotal
	if total <= 0 {
		total = -1 // a spinner
	}
	if p.bar == nil || total != p.total {
		p.total = total
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(&p.paint),
			progressbar.OptionSetWidth(barColumns),
			progressbar.OptionThrottle(0),
			progressbar.OptionSetSpinnerChangeInterval(0), // no goroutine that paints by itself
			progressbar.OptionSetPredictTime(false),
			progressbar.OptionSetElapsedTime(false),
			progressbar.OptionSetRenderBlankState(false),
			progressbar.OptionShowDescriptionAtLineEnd(),
			progressbar.OptionUseANSICodes(true),
			progressbar.OptionSetMaxDetailRow(len(rows)),
		)
	}
	p.paint.Reset()
	if total > 0 {
		// One short of the total: a full bar would be left standing by the library.
		p.bar.Set64(min(max(e.Bytes, 0), total-1))
	}
	p.bar.Describe(text) // paints
	for _, row := range rows {
		p.bar.AddDetail(row)
	}
	p.w.Write(p.paint.Bytes())
}

func (p *barProgress) clear() {
	if !p.shown {
		return
	}
	p.shown = false
	if p.rows > 0 {
		io.WriteString(p.w, "\r\x1b[J") // and what is beneath
		return
	}
	io.WriteString(p.w, "\r\x1b[K")
}

// rowTexts are the rows for large files: at most so many, none wider than columns. Where there is one file the bar says it all.
func rowTexts(e transfer.Event, columns, most int) []string {
	if e.FilesTotal == 1 {
		return nil
	}
	var rows []string
	for _, f := range e.Large[:min(len(e.Large), max(most, 0))] {
		head := fmt.Sprintf("%4d%% %10s of %s  ", percent(f.Bytes, f.Size), byteText(f.Bytes), byteText(f.Size))
		name := fitName(f.Path, columns-len(head))
		if name == "" {
			return nil
		}
		rows = append(rows, head+name)
	}
	return rows
}

// fitName is a name in so many columns, its end where it has more; "" where there is no room for one.
func fitName(name string, columns int) string {
	const gap = "..."
	text, width := quote(name), 0
	for _, r := range text {
		width += columnsOf(r)
	}
	if width <= columns {
		return text
	}
	for i, r := range text {
		if width <= columns-len(gap) {
			return gap + text[i:]
		}
		width -= columnsOf(r)
	}
	return ""
}

// columnsOf is how wide a character may be.
func columnsOf(r rune) int {
	if r < utf8.RuneSelf {
		return 1
	}
	return 2
}

// progressText is the state of a run in words: no names, so nothing to quote.
func progressText(e transfer.Event) string {
	if e.BytesTotal <= 0 {
		return amountText(e)
	}
	return percentText(e) + ", " + amountText(e)
}

// amountText is progressText without the percentage.
func amountText(e transfer.Event) string { return strings.Join(amountParts(e), ", ") }

// fitText is what of progressText fits into so many columns: the parts at the end go first.
func fitText(e transfer.Event, columns int) string {
	parts := amountParts(e)
	if e.BytesTotal > 0 {
		parts = append([]string{percentText(e)}, parts...)
	}
	for ; len(parts) > 1; parts = parts[:len(parts)-1] {
		if text := strings.Join(parts, ", "); len(text) <= columns {
			return text
		}
	}
	return parts[0][:max(0, min(len(parts[0]), columns))]
}

func percentText(e transfer.Event) string { return fmt.Sprintf("%d%%", percent(e.Bytes, e.BytesTotal)) }

func percent(n, of int64) int64 { return min(100, int64(float64(max(n, 0))*100/float64(max(of, 1)))) }

// amountParts are the most important one first. While the walk goes on they say what it has found so far.
func amountParts(e transfer.Event) []string {
	var parts []string
	walking := e.FilesTotal == 0 && e.BytesTotal == 0 && e.FilesFound > 0
	switch {
	case e.BytesTotal > 0:
		parts = append(parts, byteText(e.Bytes)+" of "+byteText(e.BytesTotal))
	case walking:
		parts = append(parts, byteText(e.Bytes)+" of "+byteText(e.BytesFound)+" found so far")
	default:
		parts = append(parts, byteText(e.Bytes))
	}
	if e.FilesTotal > 1 || e.Files > 1 || walking {
		switch {
		case e.FilesTotal > 0:
			parts = append(parts, fmt.Sprintf("%d of %d files", e.Files, e.FilesTotal))
		case walking:
			parts = append(parts, fmt.Sprintf("%d of %d files", e.Files, e.FilesFound))
		default:
			parts = append(parts, fmt.Sprintf("%d files", e.Files))
		}
	}
	if e.Rate > 0 {
		parts = append(parts, byteText(int64(e.Rate))+"/s")
		if left := e.BytesTotal - e.Bytes; left > 0 {
			parts = append(parts, timeLeft(float64(left)/e.Rate)+" left")
		}
	}
	return parts
}

func timeLeft(seconds float64) string {
	if seconds > 99*24*3600 {
		return "long"
	}
	d := time.Duration(seconds * float64(time.Second))
	if d >= time.Hour {
		return d.Round(time.Minute).String()[:len(d.Round(time.Minute).String())-2]
	}
	return d.Round(time.Second).String()
}

// byteText is a number of bytes for people, in powers of 1024.
func byteText(n int64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f := float64(n)
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		f /= 1024
		if f < 1024 {
			return fmt.Sprintf("%.1f %s", f, unit)
		}
	}
	return fmt.Sprintf("%.1f PiB", f/1024)
}
