package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"xfer/transfer"
)

func (a *app) sendCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "send SRC... HOST[:PATH]",
		Aliases: []string{"put", "push"},
		Short:   "send files and directories",
		Long: `send copies files and directories to a host. A directory arrives under its own name, "dir/" sends its contents. PATH is the
new name, or a directory to put things into where it is one, ends in "/" or several sources are given. "-" is stdin.
A local name with a colon is written ./a:b. Run it again after any interruption: it goes on where it was.`,
		Args: operands(2, -1, "SRC... HOST[:PATH]"),
	}
	f := transferFlags(cmd)
	addLaterFlags(cmd.Flags(), laterTransferFlags()...)
	refuseSyncFlags(cmd.Flags())
	compressShort(cmd, f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dst, err := parseAddress(args[len(args)-1])
		if err != nil {
			return err
		}
		if err := dst.place(); err != nil {
			return err
		}
		var src []transfer.Source
		for _, s := range args[:len(args)-1] {
			switch {
			case s == "":
				return usagef("a source without a name")
			case s == "-":
				if len(args) > 2 {
					return usagef("stdin goes alone")
				}
				src = append(src, transfer.Source{Path: "-", Stdin: a.env.Stdin})
			case isRemote(s):
				return usagef("%s looks like a remote source: a local name with a colon is written ./NAME, and between two hosts nothing is sent", quote(s))
			default:
				src = append(src, transfer.Source{Path: s})
			}
		}
		if src[0].Stdin != nil && (len(dst.at.Path) == 0 || dst.at.TrailSlash) {
			return usagef("stdin has no name: write HOST:PATH/NAME")
		}
		return a.prepareRun(cmd, f, &run{
			addr: dst, lock: lockParts("send", args[:len(args)-1]), did: "sent", where: "at " + quote(dst.text),
			check: func() error { return checkSources(src) },
			do: func(ctx context.Context, c *transfer.Client) (transfer.Result, error) {
				return c.Send(ctx, src, dst.at)
			},
		})
	}
	return cmd
}

// compressShort makes -z what it is in the contract: --compress on.
func compressShort(cmd *cobra.Command, f *runFlags) {
	fl := cmd.Flags().VarPF(compressOn{f}, "compress-on", "z", "compress whatever is worth it: --compress on")
	fl.NoOptDefVal = "true"
}

// compressOn is the value of -z.
type compressOn struct{ f *runFlags }

func (compressOn) String() string { return "" }
func (compressOn) Type() string   { return "bool" }
func (v compressOn) Set(s string) error {
	switch s {
	case "true":
		return v.f.compress.Set("on")
	case "false":
		return nil
	}
	return fmt.Errorf("want nothing behind it")
}

// checkSources finds missing sources before anything is dialled. That they are missing is a fact; that they are there is not,
// the engine looks again.
func checkSources(src []transfer.Source) error {
	for _, s := range src {
		if s.Stdin != nil {
			continue
		}
		if _, err := os.Lstat(s.Path); err != nil {
			kind := transfer.KindLocalIO
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
				kind = transfer.KindNotFound
			}
			var pe *fs.PathError
			if errors.As(err, &pe) {
				err = pe.Err
			}
			return &cliError{code: codeOfKind(kind), err: &transfer.Error{Op: "open", Path: s.Path, Kind: kind, Err: err}, hint: "nothing was moved", local: true}
		}
		if systemLink(s.Path) {
			return &cliError{code: exitUsage, err: fmt.Errorf("%s is a link that the system makes, not a file, and would arrive as a link", quote(s.Path)),
				hint: "pipe it in: ... | xfer send - HOST:PATH", local: true}
		}
	}
	return nil
}

// systemLink tells whether name leads to an open file of a process, as /dev/stdin and the shell's <(...) do: as a link it is of no
// use elsewhere.
func systemLink(name string) bool {
	if strings.HasSuffix(name, "/") { // what is in the directory that it leads to
		return false
	}
	for range 10 {
		abs, err := filepath.Abs(name)
		if err != nil {
			return false
		}
		dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
		if err != nil {
			return false
		}
		at := filepath.Join(dir, filepath.Base(abs))
		target, err := os.Readlink(at)
		if err != nil {
			return false
		}
		if dir == "/proc" || strings.HasPrefix(dir, "/proc/") {
			return true
		}
		if dir != "/dev" { // a link of somebody's own, which is sent as such
			return false
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(dir, target)
		}
		name = target
	}
	return false
}

// lockParts names local operands for the lock: absolute, as one run is another's wherever it was started.
func lockParts(verb string, local []string) []string {
	parts := []string{verb}
	for _, s := range local {
		abs, err := filepath.Abs(s)
		if err != nil {
			abs = s
		}
		if strings.HasSuffix(s, "/") {
			abs += "/"
		}
		parts = append(parts, abs)
	}
	return parts
}

// run is a send, get or sync, ready to be done.
type run struct {
	addr       address
	lock       []string                   // what tells it from other runs, besides the host and addr
	check      func() error               // what can be known before anything is dialled; may be nil
	begin      func(places, target) error // reads what is kept of earlier runs; may be nil
	do         func(context.Context, *transfer.Client) (transfer.Result, error)
	did, where string // for the summary
	passing    bool   // what arrives is written on and not kept here, so nothing is said of a disk
}

// prepareRun keeps a send, get or sync to be run.
func (a *app) prepareRun(cmd *cobra.Command, f *runFlags, r *run) error {
	err := a.prepare(cmd, f.connFlags, r.addr.host, func(ctx context.Context, o *output) error {
		return a.runTransfer(ctx, o, f, r)
	})
	if err == nil {
		err = cmp.Or(noStdout(f.report, "--report"), noStdout(f.receipt, "--receipt"), f.modesAlone())
	}
	return err
}

// modesAlone refuses --special-modes without what it is a part of. In the environment it is there for the runs with both.
func (f *runFlags) modesAlone() error {
	if f.special && !f.archive && f.set.Changed("special-modes") {
		return usagef("--special-modes is for an archive: write -a as well")
	}
	return nil
}

// noStdout refuses "-", of which no file is meant.
func noStdout(name, flag string) error {
	if name == "-" {
		return usagef("%s -: want the name of a file (./- is one); with --json the result is the last line of stdout", flag)
	}
	return nil
}

// batchRetryFor is the patience of an explicit --batch.
const batchRetryFor = 24 * time.Hour

// settleBatch tells whether this run is a batch: asked for, or implied where nobody watches. Only who asks for it has the longer
// patience.
func (f *runFlags) settleBatch(env *Env) bool {
	if f.batch && !f.given("retry-for") {
		f.retryFor.d = batchRetryFor
	}
	return f.batch || !env.StdinTerminal && !env.StderrTerminal
}

// runTransfer does a send, get or sync: configuration, lock, client, result, receipt.
func (a *app) runTransfer(ctx context.Context, o *output, f *runFlags, r *run) error {
	o.setReport(f.report)
	p, err := findPlaces(&a.env)
	if err != nil {
		return err
	}
	configs, err := f.configs(p)
	if err != nil {
		return err
	}
	t, err := f.settle(configs, &r.addr)
	if err != nil {
		return err
	}
	batch := f.settleBatch(&a.env)
	o.noteUser(r.addr)
	if r.check != nil {
		if err := r.check(); err != nil {
			return err
		}
	}
	if err := keepable(f.receipt, "--receipt"); err != nil {
		return err
	}
	if err := keepable(f.report, "--report"); err != nil {
		return err
	}
	rules, err := f.rules(a.env.Stdin, f.given("recursive") && f.recursive)
	if err != nil {
		return err
	}
	if batch && !f.dryRun {
		unlock, err := lockRun(p, append(r.lock, t.hostPort(), "/"+r.addr.at.Root, strings.Join(r.addr.at.Path, "/"))...)
		if err != nil {
			return err
		}
		defer unlock()
	}
	if r.begin != nil {
		if err := r.begin(p, t); err != nil {
			return err
		}
	}
	if !o.json() {
		o.setProgress(newProgress(&a.env, f.progress.s, batch, f.quiet, f.stats.d))
	}
	c, err := a.newClient(o, f.connFlags, p, t)
	if err != nil {
		return err
	}
	c.Options.Rules = rules
	c.Options.Update, c.Options.Existing, c.Options.IgnoreExisting = f.update, f.existing, f.ignoreExisting
	c.Options.Streams = f.streams.n
	c.Options.Transfers = f.transfers.n
	c.Options.BWLimit = f.bwlimit.limit
	c.Options.Checksum = f.checksum
	c.Options.Archive, c.Options.SpecialModes = f.archive, f.special
	c.Options.NoClobber = f.noClobber
	c.Options.Resume = f.resume.s
	c.Options.Compress = f.compress.s
	c.Options.Durability = f.durability.s
	c.Options.Verify = f.verify
	c.Options.DryRun = f.dryRun
	c.Options.Receipts = f.receipt != ""
	res, err := r.do(ctx, c)
	o.setResult(res)
	noteUnkept(o, f, res)
	if f.receipt != "" && !f.dryRun && (err == nil || len(res.Receipts)+len(res.Trees) > 0) {
		if rerr := o.keepReceipts(f.receipt, res); rerr != nil && err == nil {
			err = rerr
		}
	}
	if err == nil {
		o.setSummary(summaryText(o.job.verb, r.did, r.where, f.durability.s != "none" && !r.passing, f, res))
	}
	return err
}

// noteUnkept tells in one line what of the metadata is not as it is at the source.
func noteUnkept(o *output, f *runFlags, res transfer.Result) {
	if len(res.Unkept) == 0 {
		return
	}
	why := ""
	if slices.Contains(res.Unkept, "special-modes") {
		why = " (setuid, setgid and capabilities need the right special-modes there, and the owner that they are of)"
		if !f.special {
			why = " (setuid, setgid and capabilities need --special-modes here and the right special-modes there)"
		}
	}
	o.note("not kept of some entries: %s%s", strings.Join(res.Unkept, ", "), why)
}

// keepable finds out before the run whether a file could be kept under name.
func keepable(name, flag string) error {
	if name == "" {
		return nil
	}
	info, err := os.Stat(filepath.Dir(name))
	if err == nil && !info.IsDir() {
		err = errors.New("not a directory")
	}
	if err != nil {
		return localIO(fmt.Errorf("%s %s: its directory: %w", flag, quote(name), cause(err)))
	}
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return localIO(fmt.Errorf("%s %s: is a directory", flag, quote(name)))
	}
	return nil
}

func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

func (o *output) keepReceipts(name string, res transfer.Result) error {
	f := transfer.ReceiptFile{Receipts: res.Receipts, Trees: res.Trees, Tree: res.Tree}
	if err := keepFile(name, f.Encode()); err != nil {
		return err
	}
	o.mu.Lock()
	o.receipt = name
	o.mu.Unlock()
	return nil
}

func (o *output) noteUser(addr address) {
	if addr.user != "" {
		o.note("the user name %s is ignored: who you are is the key (xfer id)", quote(addr.user))
	}
}

func (o *output) setProgress(p progress) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.progress.clear()
	if !o.stopping {
		o.progress = p
	}
}

// stopProgress ends the progress for good: after a signal the engine takes back what did not become whole, which is no news.
func (o *output) stopProgress() {
	o.setProgress(noProgress{})
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stopping = true
}

func summaryText(verb, did, where string, durable bool, f *runFlags, res transfer.Result) string {
	if f.dryRun {
		return "xfer: dry run, nothing was moved"
	}
	var b strings.Builder
	if res.Files > 0 && res.FilesSkipped == res.Files {
		fmt.Fprintf(&b, "xfer: nothing to %s: %s unchanged, %s", verb, fileCount(res.Files), byteText(res.Bytes))
	} else {
		fmt.Fprintf(&b, "xfer: %s %s, %s", did, fileCount(res.Files-res.FilesSkipped), byteText(res.Bytes-res.BytesSkipped))
		if res.BytesResumed > 0 {
			fmt.Fprintf(&b, " (%s of it was there already)", byteText(res.BytesResumed))
		}
		if res.FilesSkipped > 0 {
			fmt.Fprintf(&b, ", %s unchanged", fileCount(res.FilesSkipped))
		}
	}
	switch {
	case res.Deleted == 1:
		b.WriteString(", 1 entry deleted")
	case res.Deleted > 1:
		fmt.Fprintf(&b, ", %d entries deleted", res.Deleted)
	}
	if res.Duration >= 100*time.Millisecond && res.BytesSent > 0 { // less tells nothing of the rate
		fmt.Fprintf(&b, " in %s (%s/s)", res.Duration.Round(100*time.Millisecond), byteText(int64(float64(res.BytesSent)/res.Duration.Seconds())))
	}
	if res.Transport != "" {
		fmt.Fprintf(&b, " over %s", res.Transport)
	}
	if !durable {
		fmt.Fprintf(&b, "; verified %s", where)
	} else {
		fmt.Fprintf(&b, "; verified and durable %s", where)
	}
	return b.String()
}

func fileCount(n int64) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}
