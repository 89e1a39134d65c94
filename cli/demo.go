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
		if err != nil {
			return err
		}
		if f.ipv4 && f.ipv6 {
			return usagef("-4 and -6 exclude each other")
		}
		a.job.patient = true
		return nil
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
}

type jsonStep struct {
	Event    string         `json:"event"`
	Time     string         `json:"time"`
	Step     string         `json:"step"`
	Text     string         `json:"text"`
	Manifest *string        `json:"manifest,omitempty"`
	Files    []jsonReceived `json:"files,omitempty"`
}

// jsonReceived is what a receipt says of a file.
type jsonReceived struct {
	jsonPath
	Hash  string `json:"hash"`
	Bytes int64  `json:"bytes"`
}

func (d *demo) tell(step, format string, args ...any) {
	d.tellStep(jsonStep{Step: step, Text: fmt.Sprintf(format, args...)})
}

func (d *demo) tellStep(s jsonStep) {
	s.Event, s.Time, s.Text = "step", stamp(time.Now()), clean(s.Text)
	if d.o.json() {
		d.o.start()
		d.o.emit(s)
		return
	}
	d.step++
	d.print(fmt.Sprintf("%2d  %-8s %s\n", d.step, s.Step, s.Text))
}

// print is for people who want to read along. That it fails is seen where there is something to save: see story.
func (d *demo) print(text string) {
	if !d.o.json() && !d.o.conn.quiet {
		d.o.print(text)
	}
}

func (d *demo) run(ctx context.Context) error {
	// A closed stdout must end the story, not the process: there is something to clean up.
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, syscall.SIGPIPE)
	defer signal.Stop(pipe)
	dir, err := os.MkdirTemp("", demoPrefix+"*")
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return &cliError{code: exitLocalIO, err: err, hint: "set TMPDIR to a folder that can be written to", local: true}
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
			return &cliError{code: exitInterrupted, err: errors.New("stopped"), hint: "nothing was left behind", local: true}
		}
		if d.o.broke() == nil && d.daemon != nil && exitCodeOf(err) != exitNotFound {
			d.tellLog(d.daemon)
		}
		return err
	}
	return nil
}

// broke returns why stdout could not be written, nil where it could.
func (o *output) broke() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.broken
}

func (d *demo) tellLog(dd *demoDaemon) {
	lines := dd.logTail()
	if len(lines) > 0 {
		d.o.say("the daemon's log ends with:")
	}
	for _, line := range lines {
		d.o.say("  %s", line)
	}
}

// demoSource is what is sent.
type demoSource struct {
	paths []string // absolute, with names of their own
	what  string
	size  int64
	count int64
}

func (d *demo) story(ctx context.Context) error {
	if d.source != "" {
		if err := checkSources([]transfer.Source{{Path: d.source}}); err != nil {
			return err
		}
	}
	d.print("Two sides on this machine, here and there, in " + quote(d.dir) + " (removed at the end).\n\n")
	var err error
	if d.daemon, err = d.startDaemon(ctx); err != nil { // before anything large is made: it removes that if we are killed
		return err
	}
	d.tell("daemon", "there: \"xfer daemon\" runs as process %d on %s, its key is %s", d.daemon.cmd.Process.Pid, d.daemon.listen, d.daemon.identity)
	if err := d.enrol(ctx); err != nil {
		return err
	}
	source, err := d.prepareSource(ctx)
	if err != nil {
		return err
	}
	d.tell("send", "\"xfer send\": %s", source.what)
	if err := d.o.broke(); err != nil {
		return &cliError{code: exitLocalIO, err: fmt.Errorf("write to stdout: %w", cause(err)), hint: "nothing was left behind", local: true}
	}
	res, cut, err := d.send(ctx, source)
	if err != nil {
		return err
	}
	how := "sent, cut half-way, resumed and verified"
	if cut.sockets == 0 {
		how = "sent and verified"
		d.tell("cut", "it was through before the connection could be cut half-way; try a larger one")
	} else {
		d.tell("cut", "after %s the connection was cut: %d socket(s) closed without a word", byteText(cut.at), cut.sockets)
		d.tell("resume", "it connected again by itself and went on: %s of payload for %s of files, %s sent twice", byteText(res.BytesSent), byteText(source.size), byteText(max(0, res.BytesSent-source.size)))
	}
	var same int64
	for _, p := range source.paths {
		n, err := compareTrees(ctx, p, filepath.Join(d.files, filepath.Base(p)))
		if err != nil {
			return err
		}
		same += n
	}
	d.tell("verify", "compared on disk by BLAKE3, here and there: %s, all the same; over %s", fileCount(same), res.Transport)
	if err := d.receipt(res); err != nil {
		return err
	}
	d.o.setResult(res)
	d.print(`
On two real machines:
  there   xfer daemon                     serves a folder "inbox"; --root NAME=DIR for others
  there   xfer invite --name laptop       prints a one-time code
  here    xfer enroll HOST                asks for the code, once
  here    xfer send FILE HOST:            and from then on no question ever

`)
	if d.o.json() {
		return nil
	}
	return d.o.print(fmt.Sprintf("all is well: %s, %s, %s over %s\n", fileCount(same), byteText(source.size), how, res.Transport))
}

// enoughToCut is what takes long enough to be cut half-way on any machine.
const enoughToCut = 16 << 20

// prepareSource finds what to send, or makes it. Beside what is too small to be cut half-way goes a file that is not.
func (d *demo) prepareSource(ctx context.Context) (demoSource, error) {
	var s demoSource
	var err error
	here := filepath.Join(d.dir, "here")
	if d.source == "" {
		s.paths = []string{filepath.Join(here, "sample")}
		if err = makeSample(s.paths[0]); err != nil {
			return s, err
		}
		s.size, s.count, err = measureTree(ctx, s.paths[0])
		s.what = fmt.Sprintf("a sample tree with odd names and a large file (%s, %s)", fileCount(s.count), byteText(s.size))
		return s, err
	}
	path, err := filepath.Abs(d.source)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return s, localIO(err)
	}
	if within, err := filepath.EvalSymlinks(d.dir); err == nil && strings.HasPrefix(within+"/", strings.TrimSuffix(path, "/")+"/") {
		return s, failf(exitUsage, "take another PATH, or set TMPDIR to a folder outside of it", "%s has the demo's own folder in it", quote(path))
	}
	s.paths = []string{path}
	if s.size, s.count, err = measureTree(ctx, path); err != nil {
		return s, err
	}
	s.what = fmt.Sprintf("%s (%s, %s)", quote(path), fileCount(s.count), byteText(s.size))
	if s.size >= enoughToCut {
		return s, nil
	}
	name := "xfer demo sample"
	if filepath.Base(path) == name {
		name += " 2"
	}
	extra := filepath.Join(here, name)
	size := min(2*enoughToCut, quarterFree(d.dir))
	if err := os.MkdirAll(here, 0o755); err != nil {
		return s, localIO(err)
	}
	if err := writeSample(extra, sampleRandom(), size); err != nil {
		return s, err
	}
	s.paths = append(s.paths, extra)
	s.what += fmt.Sprintf(", and beside it a sample of %s, as that is too small to be cut half-way", byteText(size))
	s.size += size
	s.count++
	return s, nil
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
	if _, err := d.sub(ctx, "client", code, "enroll", bracketed(d.daemon.host), "-P", d.daemon.port, "--transport", d.f.transport.s); err != nil {
		return err
	}
	id, err := d.sub(ctx, "client", "", "id")
	if err != nil {
		return err
	}
	d.tell("enrol", "\"xfer invite\" there made a one-time code, \"xfer enroll\" here gave it back; both keep each other's key, ours is %s", strings.TrimSpace(id))
	return nil
}

// bracketed is a host as it stands in an address.
func bracketed(host string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// cutting is what became of the cut.
type cutting struct {
	at      int64
	sockets int
}

// send sends with the connection being cut when half of it is there.
func (d *demo) send(ctx context.Context, source demoSource) (transfer.Result, cutting, error) {
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
	size := source.size
	c.Observe = func(e transfer.Event) {
		if e.Kind == transfer.EventProgress && cut.sockets == 0 && e.Bytes >= size/2 && e.Bytes < size {
			cut.at, cut.sockets = e.Bytes, wires.cut()
		}
		expected := e.Kind == transfer.EventRetry && cut.sockets > 0 || e.Kind == transfer.EventFile && e.Err == nil
		if !expected || d.f.verbose {
			d.o.observe(e)
		}
	}
	rate := max(min(size, 96<<20), size/4, 1) // slow enough to be seen and cut
	c.Options.BWLimit = func(time.Time) (int64, int64) { return rate, rate }
	c.Options.Progress = 10 * time.Millisecond
	c.Options.Receipts = true
	var list []transfer.Source
	for _, p := range source.paths {
		list = append(list, transfer.Source{Path: p})
	}
	res, err := c.Send(ctx, list, transfer.Address{})
	d.o.setProgress(noProgress{})
	return res, cut, err
}

// receipt shows what the daemon signed, and checks it as "xfer receipt verify" does.
func (d *demo) receipt(res transfer.Result) error {
	name := filepath.Join(d.dir, "receipt")
	f := transfer.ReceiptFile{Receipts: res.Receipts, Trees: res.Trees, Tree: res.Tree}
	if err := keepFile(name, f.Encode()); err != nil {
		return err
	}
	if _, err := d.sub(context.Background(), "client", "", "receipt", "verify", name); err != nil {
		return err
	}
	step := jsonStep{Step: "receipt", Text: fmt.Sprintf("signed by the daemon for %s, and \"xfer receipt verify\" finds it good:", fileCount(int64(f.Len())))}
	for r := range f.All() {
		step.Files = append(step.Files, jsonReceived{pathJSON(r.Path), r.Root.String(), r.Size})
	}
	if f.Tree {
		hash := f.Manifest().String()
		step.Manifest = &hash
	}
	d.tellStep(step)
	shown := 0
	for r := range f.All() {
		if large := r.Size >= 1<<20; shown < 3 || large && shown < 6 {
			shown++
			d.print(fmt.Sprintf("            %s  %d  %s\n", r.Root, r.Size, quote(r.Path)))
		}
	}
	if rest := f.Len() - shown; rest > 0 {
		d.print(fmt.Sprintf("            and %d more\n", rest))
	}
	return nil
}

// errStopped ends the waiting for a daemon that does not come up.
var errStopped = errors.New("the daemon stopped before it was ready")
