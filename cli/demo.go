package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"xfer/transfer"
)

func (a *app) demoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo [PATH]",
		Short: "see the whole job on this machine; nothing to prepare, nothing left behind",
		Long: `demo starts a real daemon in a process of its own on a free loopback port, makes a fresh identity on each side, enrols one with
the other, sends PATH (or a sample tree and a large file that it makes), cuts the connection half-way, lets it go on, compares
everything, and shows the receipt. It leaves no process and no file behind.`,
		Args: operands(0, 1, "at most one PATH"),
	}
	f := dialFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		source := ""
		if len(args) == 1 {
			source = args[0]
			if source == "" || source == "-" {
				return usagef("want a file or directory")
			}
		}
		err := a.prepare(cmd, f, "demo", func(ctx context.Context, o *output) error {
			d := &demo{app: a, o: o, f: f, source: source}
			return d.run(ctx)
		})
		if err == nil {
			a.job.patient = true
		}
		return err
	}
	return cmd
}

// demo is one run of the demonstration.
type demo struct {
	app    *app
	o      *output
	f      *connFlags
	source string
	dir    string // everything is under it
	files  string // what the daemon serves
	step   int
	daemon *demoDaemon
	broken error // stdout is
}

type jsonStep struct {
	Event string `json:"event"`
	Time  string `json:"time"`
	Step  string `json:"step"`
	Text  string `json:"text"`
}

func (d *demo) tell(step, format string, args ...any) {
	text := clean(fmt.Sprintf(format, args...))
	if d.o.json() {
		d.o.emit(jsonStep{"step", stamp(time.Now()), step, text})
		return
	}
	d.step++
	d.o.clearProgress()
	if err := d.o.print(fmt.Sprintf("%2d  %-8s %s\n", d.step, step, text)); err != nil && d.broken == nil {
		d.broken = err
	}
}

func (o *output) clearProgress() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.progress.clear()
}

func (d *demo) run(ctx context.Context) error {
	// A closed stdout must end the story, not the process: there is something to clean up.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)
	dir, err := os.MkdirTemp("", "xfer-demo-")
	if err != nil {
		return localIO(err)
	}
	d.dir, d.files = dir, filepath.Join(dir, "there")
	cleanUp := sync.OnceFunc(func() {
		if d.daemon != nil {
			d.daemon.stop()
		}
		removeTree(dir)
	})
	d.o.onCleanUp(cleanUp)
	defer cleanUp()
	if err := d.story(ctx); err != nil {
		if ctx.Err() != nil && isInterrupt(context.Cause(ctx)) {
			return failf(exitInterrupted, "nothing was left behind", "stopped")
		}
		if d.daemon != nil && exitCodeOf(err) != exitNotFound {
			if log := d.daemon.logTail(); log != "" {
				d.o.say("the daemon's log ends with:\n%s", log)
			}
		}
		return err
	}
	return nil
}

func (d *demo) story(ctx context.Context) error {
	if !d.o.json() {
		d.o.print("Two sides on this machine, here and there, in " + quote(d.dir) + " (removed at the end).\n\n")
	}
	source, made, err := d.prepareSource()
	if err != nil {
		return err
	}
	size, count, err := measureTree(ctx, source)
	if err != nil {
		return err
	}
	if d.daemon, err = d.startDaemon(ctx); err != nil {
		return err
	}
	d.tell("daemon", "there: \"xfer daemon\" runs as process %d on %s, its key is %s", d.daemon.cmd.Process.Pid, d.daemon.listen, d.daemon.identity)
	if err := d.enrol(ctx); err != nil {
		return err
	}
	what := quote(source)
	if made {
		what = "a sample tree with odd names and a large file"
	}
	d.tell("send", "\"xfer send\": %s (%s, %s)", what, fileCount(count), byteText(size))
	if d.broken != nil {
		return d.broken
	}
	res, cut, err := d.send(ctx, source, size)
	if err != nil {
		return err
	}
	if cut.sockets == 0 {
		d.tell("cut", "it was through before the connection could be cut half-way; try a larger one")
	} else {
		d.tell("cut", "after %s the connection was cut: %d socket(s) closed without a word", byteText(cut.at), cut.sockets)
		d.tell("resume", "it connected again by itself and went on: %s of payload for %s of files, %s sent twice", byteText(res.BytesSent), byteText(size), byteText(max(0, res.BytesSent-size)))
	}
	same, err := compareTrees(ctx, source, filepath.Join(d.files, filepath.Base(source)))
	if err != nil {
		return err
	}
	d.tell("verify", "compared on disk by BLAKE3, here and there: %s, all the same; over %s", fileCount(same), res.Transport)
	if err := d.receipt(res, size); err != nil {
		return err
	}
	d.o.setResult(res)
	if d.o.json() {
		return nil
	}
	return d.o.print(`
On two real machines:
  there   xfer daemon                     serves a folder "inbox"; --root NAME=DIR for others
  there   xfer invite --name laptop       prints a one-time code
  here    xfer enroll HOST                asks for the code, once
  here    xfer send FILE HOST:            and from then on no question ever
`)
}

// prepareSource finds what to send, absolute, or makes it.
func (d *demo) prepareSource() (source string, made bool, err error) {
	if d.source == "" {
		source = filepath.Join(d.dir, "here", "sample")
		return source, true, makeSample(source)
	}
	if err := checkSources([]transfer.Source{{Path: d.source}}); err != nil {
		return "", false, err
	}
	source, err = filepath.Abs(d.source)
	if err == nil {
		source, err = filepath.EvalSymlinks(source)
	}
	return source, false, localIO(err)
}

// sub is a command line on one of the two sides.
func (d *demo) sub(ctx context.Context, home, stdin string, args ...string) (stdout string, err error) {
	var out, errs bytes.Buffer
	env := Env{
		Args: args, Stdin: strings.NewReader(stdin), Stdout: &out, Stderr: &errs,
		Getenv: d.getenv(home), Executable: d.app.env.Executable,
	}
	if code := Main(ctx, env); code != exitOK {
		return "", failf(code, noHint, "%s", strings.TrimSpace(strings.TrimPrefix(errs.String(), "xfer ")))
	}
	return out.String(), nil
}

// getenv is the environment of one side: nothing of ours but its home.
func (d *demo) getenv(home string) func(string) string {
	return func(name string) string {
		if name == "XFER_HOME" {
			return filepath.Join(d.dir, home)
		}
		return ""
	}
}

func (d *demo) enrol(ctx context.Context) error {
	code, err := d.sub(ctx, "server", "", "invite", "--name", "demo")
	if err != nil {
		return err
	}
	if _, err := d.sub(ctx, "client", code, "enroll", d.daemon.host, "-P", d.daemon.port, "--transport", d.f.transport.s); err != nil {
		return err
	}
	id, err := d.sub(ctx, "client", "", "id")
	if err != nil {
		return err
	}
	d.tell("enrol", "\"xfer invite\" there made a one-time code, \"xfer enroll\" here gave it back; both keep each other's key, ours is %s", strings.TrimSpace(id))
	return nil
}

// cutting is what became of the cut.
type cutting struct {
	at      int64
	sockets int
}

// send sends with the connection being cut when half of size is there.
func (d *demo) send(ctx context.Context, source string, size int64) (transfer.Result, cutting, error) {
	env := d.app.env
	env.Getenv = d.getenv("client")
	side := &app{env: env}
	p, err := findPlaces(&env)
	if err != nil {
		return transfer.Result{}, cutting{}, err
	}
	var wires wireCutter
	d.f.dial = wires.options()
	c, err := side.newClient(d.o, d.f, p, target{name: d.daemon.host, host: d.daemon.host, port: d.daemon.portNumber})
	if err != nil {
		return transfer.Result{}, cutting{}, err
	}
	if !d.o.json() {
		d.o.setProgress(newProgress(&env, "auto", false, d.f.quiet, time.Minute))
	}
	var cut cutting
	c.Observe = func(e transfer.Event) {
		if e.Kind == transfer.EventProgress && cut.sockets == 0 && e.Bytes >= size/2 && e.Bytes < size {
			cut.at, cut.sockets = e.Bytes, wires.cut()
		}
		expected := e.Kind == transfer.EventRetry && cut.sockets > 0 || e.Kind == transfer.EventFile && e.Err == nil
		if !expected || d.f.verbose {
			d.o.observe(e)
		}
	}
	rate := max(int64(96<<20), size/4) // slow enough to be seen and cut
	c.Options.BWLimit = func(time.Time) (int64, int64) { return rate, rate }
	c.Options.Progress = 10 * time.Millisecond
	c.Options.Receipts = true
	res, err := c.Send(ctx, []transfer.Source{{Path: source}}, transfer.Address{})
	d.o.setProgress(noProgress{})
	return res, cut, err
}

// receipt shows what the daemon signed, and checks it as "xfer receipt verify" does.
func (d *demo) receipt(res transfer.Result, size int64) error {
	name := filepath.Join(d.dir, "receipt")
	f := transfer.ReceiptFile{Receipts: res.Receipts, Tree: res.Tree}
	if err := keepFile(name, f.Encode()); err != nil {
		return err
	}
	if _, err := d.sub(context.Background(), "client", "", "receipt", "verify", name); err != nil {
		return err
	}
	d.tell("receipt", "signed by the daemon for %s, and \"xfer receipt verify\" finds it good:", fileCount(int64(len(res.Receipts))))
	shown := 0
	var rest int
	for _, r := range res.Receipts {
		if large := r.Size >= 1<<20; shown < 3 || large && shown < 6 {
			shown++
			if !d.o.json() {
				if err := d.o.print(fmt.Sprintf("            %s  %d  %s\n", r.Root, r.Size, quote(r.Path))); err != nil {
					return err
				}
			}
			continue
		}
		rest++
	}
	if rest > 0 && !d.o.json() {
		return d.o.print(fmt.Sprintf("            and %d more\n", rest))
	}
	return nil
}

// errStopped ends the waiting for a daemon that does not come up.
var errStopped = errors.New("the daemon stopped before it was ready")
