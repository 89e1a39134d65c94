// Command bench measures xfer beside other tools on one machine, over loopback:
//
//	go run ./cmd/bench WORKLOAD [flags]
//	go run ./cmd/bench -h
//
// Every tool runs as a user would run it: xfer as a daemon and a command with default flags, scp and rsync against an
// sshd that the bench starts for itself. In each round every contender runs once, the order turns round from one round
// to the next, and what is told are medians and the medians of the ratios within the rounds: absolute speeds of a
// shared machine mean little. What arrived is compared with what was sent, outside of the timed part.
//
// CPU time is that of both ends: of the commands by wait4, which counts their children, and of long-lived servers by the
// difference of /proc/PID/stat (proc_linux.go). Memory is the peak of the resident set.
//
// The bench serves its own baselines and proxies by processes of this same program: see parts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// workload is one thing to measure.
type workload struct {
	name  string
	what  string
	flags []string // of those in ownFlags, what it uses
	run   func(*bench, context.Context) error
}

// ownFlags are flags that not every workload has a use for.
var ownFlags = []string{"size", "files", "entries", "tree", "pairs", "fs", "with"}

func workloads() []workload {
	return []workload{
		{"big", "one file of random data (--size, 1G), against everything", []string{"size", "pairs", "fs", "with"}, (*bench).big},
		{"resume", "half of one file (--size, 1G), killed, resumed: bytes sent again, and the time", []string{"size", "pairs"}, (*bench).resume},
		{"tree", "a source tree (--tree, GOROOT); on tmpfs and on ext4", []string{"tree", "pairs", "fs", "with"}, (*bench).treeWork},
		{"small", "many small files (--files, 20000, of --size, 4k)", []string{"files", "size", "pairs", "fs", "with"}, (*bench).small},
		{"unchanged", "the tree again, nothing changed: time, and bytes on the wire", []string{"tree", "pairs", "with"}, (*bench).unchanged},
		{"delta", "one file (--size, 1G) of which 1 % changed, and one byte came in front: payload sent", []string{"size", "with"}, (*bench).delta},
		{"latency", "one byte, the whole command; four rounds a pair", []string{"pairs", "with"}, (*bench).latency},
		{"memory", "peak memory of both sides: one file (--size, 1G), a directory of empty files (--entries, 1000000)", []string{"size", "entries"}, (*bench).memory},
		{"sparse", "a sparse file (--size, 1T) with 3 islands of data: time, and bytes on the wire", []string{"size"}, (*bench).sparse},
		{"share", "two clients at once; a small file under a large one (--size, 1G); small files before a large one", []string{"size", "pairs"}, (*bench).share},
	}
}

func main() {
	if len(os.Args) > 1 {
		if part, ok := parts[os.Args[1]]; ok {
			os.Exit(runPart(part, os.Args[2:]))
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// Exit codes.
const (
	exitFailed = 1 // something was wrong, or could not be measured
	exitUsage  = 2
)

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "bench:", err)
		return exitUsage
	}
	b, err := newBench(o, stderr)
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return exitFailed
	}
	err = b.measureAll(ctx)
	err = errors.Join(err, b.close())
	if werr := b.publish(stdout, stderr); err == nil {
		err = werr
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return exitFailed
	}
	return 0
}

// options are what the command line says; zero sizes and counts are the workload's own.
type options struct {
	Workloads []string `json:"workloads"`
	Pairs     int      `json:"pairs"`
	Transport string   `json:"transport"`
	FS        string   `json:"fs,omitempty"`
	Size      int64    `json:"size,omitempty"`
	Files     int      `json:"files,omitempty"`
	Entries   int      `json:"entries,omitempty"`
	Tree      string   `json:"tree,omitempty"`
	With      []string `json:"with,omitempty"`

	dir, images, json, xfer string
	chosen                  []workload
}

// parse reads "WORKLOAD [flags]". With flag.ErrHelp the help has been printed to out.
func parse(args []string, out io.Writer) (options, error) {
	o := options{Pairs: 5, Transport: "both", Entries: 0}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.IntVar(&o.Pairs, "pairs", 5, "how often each contender runs")
	f.StringVar(&o.Transport, "transport", "both", "of xfer: tcp, quic or both")
	f.StringVar(&o.FS, "fs", "", "where the receiver stores: tmpfs, ext4 (a new one in a loop-mounted image for each run; needs root)\nor both; default: tmpfs, and for tree both")
	f.Func("size", "of the big file; with small of each file, with sparse of the sparse one; 100M, 1G, ...", func(s string) (err error) {
		o.Size, err = parseSize(s)
		return err
	})
	f.IntVar(&o.Files, "files", 0, "how many small files; default 20000")
	f.IntVar(&o.Entries, "entries", 0, "how many entries the directory of memory has; default 1000000")
	f.StringVar(&o.Tree, "tree", "", "the source tree; default GOROOT")
	f.Func("with", "only these peers, with commas: "+strings.Join(peerNames, ",")+"\n(scp and rsync also mean all of their kind, none means none); xfer always runs", func(s string) error {
		o.With = strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
		return checkPeers(o.With)
	})
	f.StringVar(&o.dir, "dir", "", "scratch space, on tmpfs; default /dev/shm where there is one")
	f.StringVar(&o.images, "images", "", "where the images of ext4 are made, on a disk; default "+os.TempDir())
	f.StringVar(&o.json, "json", "", "write the report as JSON to FILE, or with - to stdout; the table then goes to stderr")
	f.StringVar(&o.xfer, "xfer", "", "the xfer to measure; default: go build of ./cmd/xfer")

	if len(args) == 0 {
		return o, errors.New("which workload? -h lists them")
	}
	name, rest := args[0], args[1:]
	if strings.HasPrefix(name, "-") {
		name, rest = "", args
	}
	err := f.Parse(rest)
	switch {
	case errors.Is(err, flag.ErrHelp):
		usage(out, f)
		return o, err
	case err != nil:
		return o, err
	case name == "":
		return o, errors.New("the workload comes first; -h lists them")
	case f.NArg() > 0:
		return o, fmt.Errorf("what is %q for?", f.Arg(0))
	case o.Pairs < 1 || o.Files < 0 || o.Entries < 0:
		return o, errors.New("--pairs, --files and --entries are counts")
	case !slices.Contains([]string{"tcp", "quic", "both"}, o.Transport):
		return o, fmt.Errorf("--transport %q: want tcp, quic or both", o.Transport)
	case !slices.Contains([]string{"", tmpfs, ext4, "both"}, o.FS):
		return o, fmt.Errorf("--fs %q: want tmpfs, ext4 or both", o.FS)
	}
	return o, o.choose(name, f)
}

// choose finds the workloads and refuses flags that would do nothing with them.
func (o *options) choose(name string, f *flag.FlagSet) error {
	var names []string
	for _, w := range workloads() {
		names = append(names, w.name)
		if w.name == name || name == "all" {
			o.chosen = append(o.chosen, w)
			o.Workloads = append(o.Workloads, w.name)
		}
	}
	if len(o.chosen) == 0 {
		return fmt.Errorf("there is no workload %q, only %s and all", name, strings.Join(names, ", "))
	}
	var wrong error
	f.Visit(func(fl *flag.Flag) {
		used := slices.ContainsFunc(o.chosen, func(w workload) bool { return slices.Contains(w.flags, fl.Name) })
		if slices.Contains(ownFlags, fl.Name) && !used {
			wrong = fmt.Errorf("%s has no use for --%s", name, fl.Name)
		}
	})
	return wrong
}

func usage(out io.Writer, f *flag.FlagSet) {
	fmt.Fprintln(out, "bench WORKLOAD [flags] measures xfer beside other tools on this machine. The workloads:")
	for _, w := range workloads() {
		fmt.Fprintf(out, "  %-10s %s\n", w.name, w.what)
	}
	fmt.Fprintf(out, "  %-10s %s\n\n", "all", "all of them; --size is then of the big file")
	fmt.Fprintln(out, "The flags:")
	f.SetOutput(out)
	f.PrintDefaults()
}
