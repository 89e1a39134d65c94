package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// bench is one run of the command.
type bench struct {
	options
	log     io.Writer // what goes on, for who waits
	scratch string    // ours, removed at the end
	self    string    // this program, whose parts are the baselines
	report  report
	seq     int // of names in scratch
	// imageSize is of the images of ext4: the workload says how much it stores.
	imageSize int64

	services
}

// safeName are the names that ssh, scp and rsync read as one word, on both sides.
var safeName = regexp.MustCompile(`^[A-Za-z0-9/._+@-]+$`)

func newBench(o options, log io.Writer) (*bench, error) {
	if o.dir == "" {
		o.dir = os.TempDir()
		if isTmpfs("/dev/shm") {
			o.dir = "/dev/shm"
		}
	}
	dir, err := filepath.Abs(o.dir)
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && !safeName.MatchString(dir) {
		return nil, fmt.Errorf("--dir %s: only letters, digits and / . _ + @ - go through all tools", dir)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp(dir, "xfer-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{options: o, log: log, scratch: scratch, self: self}
	b.report = newReport(o)
	if b.xfer != "" {
		b.xfer, err = filepath.Abs(b.xfer)
	} else {
		err = b.build()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(scratch))
	}
	if !isTmpfs(scratch) {
		b.note("%s is not on tmpfs: where the report says tmpfs, it was the file system of that", dir)
	}
	return b, nil
}

// build makes the xfer of the module that the working directory is in.
func (b *bench) build() error {
	b.xfer = filepath.Join(b.scratch, "xfer")
	if runtime.GOOS == "windows" {
		b.xfer += ".exe"
	}
	out, err := exec.Command("go", "build", "-o", b.xfer, "xfer/cmd/xfer").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go build xfer/cmd/xfer: %v: %s (or name a binary with --xfer)", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// measureAll runs the chosen workloads, each even if another failed.
func (b *bench) measureAll(ctx context.Context) error {
	var errs []error
	for _, w := range b.chosen {
		b.say("%s: %s", w.name, w.what)
		if err := w.run(b, ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", w.name, err))
			b.say("%s FAILED: %v", w.name, err)
		}
		if ctx.Err() != nil {
			errs = append(errs, errors.New("interrupted"))
			break
		}
	}
	b.report.Goals = b.report.judge()
	return errors.Join(errs...)
}

// close ends what runs and removes what lies about.
func (b *bench) close() error {
	b.services.stop()
	return os.RemoveAll(b.scratch)
}

// publish writes the report.
func (b *bench) publish(stdout, stderr io.Writer) error {
	table := stdout
	if b.json == "-" {
		table = stderr
	}
	if err := b.report.writeTable(table); err != nil {
		return err
	}
	switch b.json {
	case "":
		return nil
	case "-":
		return b.report.writeJSON(stdout)
	}
	f, err := os.Create(b.json)
	if err != nil {
		return err
	}
	return errors.Join(b.report.writeJSON(f), f.Close())
}

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.log, "%s  %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

// note is what the reader of the report has to know.
func (b *bench) note(format string, args ...any) {
	n := fmt.Sprintf(format, args...)
	b.say("NOTE: %s", n)
	b.report.Notes = append(b.report.Notes, n)
}

// path returns a new name in scratch.
func (b *bench) path(name string) string {
	b.seq++
	return filepath.Join(b.scratch, fmt.Sprintf("%03d-%s", b.seq, name))
}

// sizeOr is --size, or the workload's own size.
func (b *bench) sizeOr(own int64) int64 {
	if b.Size > 0 {
		return b.Size
	}
	return own
}

// bigSize is the size of the big file.
func (b *bench) bigSize() int64 { return b.sizeOr(gib) }

// env is the environment of all commands: no setting of the user's changes what is measured.
func (b *bench) env(more ...string) []string {
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "XFER_") && !strings.HasPrefix(e, "RSYNC_") && !strings.HasPrefix(e, "LC_") {
			env = append(env, e)
		}
	}
	return append(append(env, "LC_ALL=C"), more...)
}

// fits tells whether scratch has room for n bytes.
func (b *bench) fits(n int64) error {
	if free, ok := freeSpace(b.scratch); ok && free < n {
		return fmt.Errorf("this takes %s, and %s has %s free: give a smaller --size or another --dir", sizeText(n), b.scratch, sizeText(free))
	}
	return nil
}
