package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// runLimit ends a command that hangs.
const runLimit = 30 * time.Minute

// sample is what one run of a contender took.
type sample struct {
	Round int     `json:"round"`
	Wall  float64 `json:"wall_s"`
	// CPU of both ends; nil where that of the servers is not known.
	CPU *float64 `json:"cpu_s,omitempty"`
	// Others is how much CPU time the rest of the machine used meanwhile, in seconds, also the kernel for itself.
	Others float64 `json:"others_s"`
	// Peaks of the resident sets in bytes, of the greatest process of each side; 0 = not known.
	PeakHere  int64 `json:"peak_here,omitempty"`
	PeakThere int64 `json:"peak_there,omitempty"`
	// PeakFloor is our own resident set when the command started. A command inherits it as its peak: PeakHere is never
	// less, and where it is not more it is only known that the command needed no more.
	PeakFloor int64 `json:"peak_floor,omitempty"`

	stdout []byte // the end of what the last command wrote
}

// lane is a contender whose receiving side is up.
type lane struct {
	b    *bench
	c    *contender
	site *site
	recv receiver
	fs   string
	n    int // directories so far
}

// open makes a site for c and starts its receiving side there.
func (b *bench) open(ctx context.Context, c *contender, fs string) (*lane, error) {
	if c.why != "" {
		return nil, &missing{c.why}
	}
	s, err := b.newSite(ctx, fs, c.name)
	if err != nil {
		return nil, err
	}
	recv, err := c.open(ctx, s)
	if err != nil {
		return nil, errors.Join(err, s.end())
	}
	return &lane{b: b, c: c, site: s, recv: recv, fs: fs}, nil
}

func (l *lane) close() error {
	l.recv.close()
	return l.site.end()
}

// dir makes a new directory to send to.
func (l *lane) dir() (string, error) {
	l.n++
	dir := fmt.Sprintf("%s/in%03d", l.site.root, l.n)
	return dir, os.Mkdir(dir, 0o755)
}

// send runs t to its end and measures it. On a disk, what does not call its work durable is followed by a sync of that
// file system, within the time.
func (l *lane) send(ctx context.Context, t task) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	servers := l.recv.servers()
	settle(ctx, servers)
	for _, pid := range servers {
		forgetPeak(pid)
	}
	cmds := l.recv.command(ctx, t)
	floor := slim()
	cpu, known := serverCPU(servers)
	all, counted := machineCPU()
	start := time.Now()
	e, err := l.b.run(cmds)
	if err == nil && l.fs == ext4 && !l.c.durable {
		var synced ended
		synced, err = l.b.run(pipeline{exec.CommandContext(ctx, "sync", "-f", t.dir)})
		e.cpu += synced.cpu
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		err = missingf("it was not done after %v", runLimit)
	}
	s := sample{Wall: time.Since(start).Seconds(), PeakHere: e.peak, PeakFloor: floor, stdout: e.stdout}
	if err != nil {
		return s, err
	}
	allAfter, _ := machineCPU()
	settle(ctx, servers)
	if after, ok := serverCPU(servers); known && ok {
		sum := (after - cpu + e.cpu).Seconds()
		s.CPU = &sum
		if counted {
			s.Others = max(0, (allAfter-all).Seconds()-sum)
		}
	}
	if peak, ok := peaks(servers); ok && !l.c.forks {
		s.PeakThere = peak
	}
	return s, nil
}

// slim gives unused memory back, forgets our peak, and returns what is left.
func slim() int64 {
	debug.FreeOSMemory()
	forgetPeak(os.Getpid())
	floor, _ := peaks([]int{os.Getpid()})
	return floor
}

// running is a pipeline that was started.
type running struct {
	cmds   pipeline
	stdout *os.File
	stderr *os.File
}

// ended is what a pipeline took.
type ended struct {
	cpu    time.Duration // with the children of the commands
	peak   int64
	stdout []byte
}

func (b *bench) run(cmds pipeline) (ended, error) {
	r, err := b.start(cmds)
	if err != nil {
		return ended{}, err
	}
	return r.wait()
}

// start starts the commands, with pipes between them. What they write goes into files, so that nobody has to read
// along.
func (b *bench) start(cmds pipeline) (_ *running, err error) {
	r := &running{cmds: cmds}
	defer func() {
		if err != nil {
			r.kill()
			_, _ = r.wait()
		}
	}()
	if r.stdout, err = os.CreateTemp(b.scratch, "out-"); err != nil {
		return nil, err
	}
	if r.stderr, err = os.CreateTemp(b.scratch, "err-"); err != nil {
		return nil, err
	}
	var in *os.File
	for i, c := range cmds {
		var next *os.File
		c.Stderr, c.Stdout = r.stderr, r.stdout
		if in != nil {
			c.Stdin = in
		}
		if i < len(cmds)-1 {
			pr, pw, perr := os.Pipe()
			if perr != nil {
				return nil, perr
			}
			next, c.Stdout = pr, pw
			err = c.Start()
			pw.Close()
		} else {
			err = c.Start()
		}
		if in != nil {
			in.Close()
		}
		if in = next; err != nil {
			if in != nil {
				in.Close()
			}
			return nil, err
		}
	}
	return r, nil
}

// kill ends the commands at once.
func (r *running) kill() {
	for _, c := range r.cmds {
		if c.Process != nil {
			_ = c.Process.Kill()
		}
	}
}

// wait waits for all commands. The error is that of the first that failed, with the last line that it or another said.
func (r *running) wait() (e ended, err error) {
	for _, c := range r.cmds {
		if c.Process == nil {
			continue
		}
		werr := c.Wait()
		if s := c.ProcessState; s != nil {
			e.cpu += s.UserTime() + s.SystemTime()
			e.peak = max(e.peak, commandPeak(s))
		}
		if werr != nil && err == nil {
			err = fmt.Errorf("%s: %w", c.Args[0], werr)
		}
	}
	said := tailOf(r.stderr)
	if e.stdout = tailOf(r.stdout); err != nil {
		lines := strings.Split(strings.TrimSpace(string(said)), "\n")
		err = fmt.Errorf("%w: %s", err, lines[len(lines)-1])
	}
	return e, err
}

// tailOf returns the last 64 KiB of a file, which it closes and removes.
func tailOf(f *os.File) []byte {
	if f == nil {
		return nil
	}
	defer os.Remove(f.Name())
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	var tail bytes.Buffer
	off := max(0, info.Size()-64*kib)
	_, _ = io.Copy(&tail, io.NewSectionReader(f, off, info.Size()-off))
	return tail.Bytes()
}

// exitCode is that of a command that failed; -1 for a signal, or no command at all.
func exitCode(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return -1
}

// part is a command that runs a part of this program.
func (b *bench) part(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, b.self, args...)
	c.Env = b.env()
	return c
}

// machine is where the numbers are from.
type machine struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPUs int    `json:"cpus"`
	Go   string `json:"go"`
}

func thisMachine() machine {
	return machine{runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), runtime.Version()}
}
