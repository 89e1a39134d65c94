package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xfer/transfer"
	"xfer/transfer/sink"
)

// remoteVerb makes a verb that works on remote places over one connection.
func (a *app) remoteVerb(cmd *cobra.Command, f *connFlags, wantPlace bool, run func(ctx context.Context, o *output, r *transfer.Remote, at []address) error) *cobra.Command {
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		at, err := remoteOperands(args, wantPlace)
		if err != nil {
			return err
		}
		return a.prepare(cmd, f, at[0].host, func(ctx context.Context, o *output) error {
			p, t, err := a.locate(f, &at[0])
			if err != nil {
				return err
			}
			for i := range at {
				o.noteUser(at[i])
			}
			c, err := a.newClient(o, f, p, t)
			if err != nil {
				return err
			}
			r, err := c.Remote(ctx)
			if err != nil {
				return err
			}
			defer r.Close()
			err = run(ctx, o, r, at)
			res := transfer.Result{Transport: r.Transport(), Peer: r.Peer().String()}
			o.addResult(res)
			return err
		})
	}
	return cmd
}

// remoteOperands parses operands that are all remote and of one host.
func remoteOperands(args []string, wantPlace bool) ([]address, error) {
	var all []address
	for _, s := range args {
		a, err := parseAddress(s)
		if err != nil {
			return nil, err
		}
		if wantPlace {
			if err := a.place(); err != nil {
				return nil, err
			}
		}
		if len(all) > 0 && (a.host != all[0].host || a.port != all[0].port) {
			return nil, usagef("%s: all operands must be of one host", quote(s))
		}
		all = append(all, a)
	}
	return all, nil
}

// addResult fills in what a single operation knows of its run.
func (o *output) addResult(res transfer.Result) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.res.Transport, o.res.Peer, o.hasRes = res.Transport, res.Peer, true
}

func (o *output) count(bytes int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.res.Files++
	o.res.Bytes += bytes
	o.hasRes = true
}

// eachPlace runs do for every operand. Where there are several, one that fails does not keep the others from being done.
func eachPlace(o *output, at []address, do func(address) error) error {
	failed := 0
	for _, p := range at {
		err := named(do(p), p.text)
		var te *transfer.Error
		if err == nil {
			continue
		}
		if len(at) == 1 || !errors.As(err, &te) || !isOfOnePlace(te.Kind) {
			return err
		}
		failed++
		o.fail(te)
	}
	if failed > 0 {
		return &transfer.Error{Kind: transfer.KindPartial, Err: fmt.Errorf("%d of %d failed", failed, len(at))}
	}
	return nil
}

// named gives an error of the engine the place that it is about, where it has none.
func named(err error, place string) error {
	var te *transfer.Error
	if !errors.As(err, &te) || te.Path != "" {
		return err
	}
	withPlace := *te
	withPlace.Path = place
	return &withPlace
}

func isOfOnePlace(k transfer.Kind) bool {
	switch k {
	case transfer.KindNotFound, transfer.KindDenied, transfer.KindExists, transfer.KindOther, transfer.KindRemoteIO, transfer.KindUsage:
		return true
	}
	return false
}

// fail reports the failure of one operand of several.
func (o *output) fail(e *transfer.Error) {
	o.observe(transfer.Event{Kind: transfer.EventFile, Path: e.Path, Action: "failed", Err: e})
	o.mu.Lock()
	defer o.mu.Unlock()
	o.res.ErrorCount++
	if len(o.res.Errors) < 1000 {
		o.res.Errors = append(o.res.Errors, e)
	}
}

type jsonEntry struct {
	Event string `json:"event"`
	Time  string `json:"time"`
	jsonPath
	Kind   string    `json:"kind"`
	Bytes  int64     `json:"bytes"`
	Mode   string    `json:"mode,omitempty"`
	MTime  string    `json:"mtime,omitempty"`
	Target *jsonPath `json:"target,omitempty"`
	Hash   string    `json:"hash,omitempty"`
	Rights []string  `json:"rights,omitempty"`
}

func entryJSON(path string, e transfer.RemoteEntry) jsonEntry {
	j := jsonEntry{Event: "file", Time: stamp(time.Now()), jsonPath: pathJSON(path), Kind: kindWord(e.Kind), Bytes: e.Size,
		Mode: fmt.Sprintf("%04o", e.Mode)}
	if !e.MTime.IsZero() {
		j.MTime = stamp(e.MTime)
	}
	if e.Kind == sink.Link {
		t := pathJSON(e.Target)
		j.Target = &t
	}
	return j
}

func kindWord(k sink.Kind) string {
	switch k {
	case sink.File:
		return "file"
	case sink.Directory:
		return "directory"
	case sink.Link:
		return "symlink"
	}
	return "other"
}

func (a *app) lsCommand() *cobra.Command {
	var long, print0 bool
	cmd := &cobra.Command{Use: "ls HOST:PATH...", Short: "list a directory, or the roots with HOST:/", Args: operands(1, -1, "HOST:PATH")}
	f := dialFlags(cmd)
	cmd.Flags().BoolVarP(&long, "long", "l", false, "kind, mode, size and time as well")
	cmd.Flags().BoolVarP(&print0, "print0", "0", false, "raw names, each followed by a NUL byte")
	return a.remoteVerb(cmd, f, false, func(ctx context.Context, o *output, r *transfer.Remote, at []address) error {
		l := lister{o: o, long: long, print0: print0}
		return eachPlace(o, at, func(p address) error {
			if len(at) > 1 && !print0 && !o.json() {
				if err := o.print(quote(p.text) + ":\n"); err != nil {
					return err
				}
			}
			if p.top {
				return l.roots(r.Roots())
			}
			return l.place(ctx, r, p)
		})
	})
}

// lister prints entries. Up to maxSorted of a directory come in the order of their names, more as the server gives them.
type lister struct {
	o            *output
	long, print0 bool
	batch        []transfer.RemoteEntry
}

const maxSorted = 1 << 16

func (l *lister) place(ctx context.Context, r *transfer.Remote, p address) error {
	e, err := r.Stat(ctx, p.at)
	switch {
	case transfer.KindOf(err) == transfer.KindDenied: // there may be the right to list without that to stat
	case err != nil:
		return err
	case e.Kind == sink.Link && p.at.TrailSlash: // what it leads to is meant, as for ls(1)
	case e.Kind != sink.Directory && p.at.TrailSlash:
		return &transfer.Error{Op: "list", Path: p.path, Kind: transfer.KindNotFound, Err: errors.New("is no directory")}
	case e.Kind != sink.Directory:
		return l.entry(p.path, e)
	}
	err = r.List(ctx, p.at, func(e transfer.RemoteEntry) error {
		l.batch = append(l.batch, e)
		if len(l.batch) >= maxSorted {
			return l.flush()
		}
		return nil
	})
	if ferr := l.flush(); err == nil {
		err = ferr
	}
	return err
}

func (l *lister) flush() error {
	slices.SortFunc(l.batch, func(a, b transfer.RemoteEntry) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range l.batch {
		if err := l.entry(e.Name, e); err != nil {
			return err
		}
	}
	l.batch = l.batch[:0]
	return nil
}

func (l *lister) entry(name string, e transfer.RemoteEntry) error {
	if l.o.json() {
		l.o.emit(entryJSON(name, e))
		return nil
	}
	line := ""
	if l.long {
		line = fmt.Sprintf("%s %14d %s ", modeText(e), e.Size, timeText(e.MTime))
	}
	if l.print0 {
		return l.o.print(line + name + "\x00")
	}
	line += quote(name)
	if l.long && e.Kind == sink.Link {
		line += " -> " + quote(e.Target)
	}
	return l.o.print(line + "\n")
}

func (l *lister) roots(roots []transfer.RootInfo) error {
	for _, r := range roots {
		if l.o.json() {
			l.o.emit(jsonEntry{Event: "file", Time: stamp(time.Now()), jsonPath: pathJSON("/" + r.Name), Kind: "root", Rights: r.Rights})
			continue
		}
		line, end := quote(r.Name), "\n"
		if l.print0 {
			line, end = r.Name, "\x00"
		}
		if l.long {
			line = fmt.Sprintf("%s  %s", line, strings.Join(r.Rights, ","))
			if r.Default {
				line += "  (default)"
			}
			line = clean(line)
		}
		if err := l.o.print(line + end); err != nil {
			return err
		}
	}
	return nil
}

func modeText(e transfer.RemoteEntry) string {
	letter := map[sink.Kind]byte{sink.File: '-', sink.Directory: 'd', sink.Link: 'l'}[e.Kind]
	if letter == 0 {
		letter = '?'
	}
	text := []byte{letter, '-', '-', '-', '-', '-', '-', '-', '-', '-'}
	for i, c := range "rwxrwxrwx" {
		if e.Mode&(1<<(8-i)) != 0 {
			text[1+i] = byte(c)
		}
	}
	for i, s := range []struct {
		bit   uint32
		place int
		with  byte
	}{{04000, 3, 's'}, {02000, 6, 's'}, {01000, 9, 't'}} {
		_ = i
		if e.Mode&s.bit != 0 {
			if text[s.place] == '-' {
				s.with -= 'a' - 'A'
			}
			text[s.place] = s.with
		}
	}
	return string(text)
}

func timeText(t time.Time) string {
	if t.IsZero() {
		return "-                  "
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

func (a *app) statCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "stat HOST:PATH...", Short: "what is at a place", Args: operands(1, -1, "HOST:PATH")}
	f := dialFlags(cmd)
	return a.remoteVerb(cmd, f, true, func(ctx context.Context, o *output, r *transfer.Remote, at []address) error {
		return eachPlace(o, at, func(p address) error {
			e, err := r.Stat(ctx, p.at)
			if err != nil {
				return err
			}
			if o.json() {
				o.emit(entryJSON(p.path, e))
				return nil
			}
			text := fmt.Sprintf("name   %s\nkind   %s\nsize   %d\nmode   %04o\nmtime  %s\n", quote(p.path), kindWord(e.Kind), e.Size,
				e.Mode, e.MTime.Local().Format("2006-01-02 15:04:05.000000000 -0700"))
			if e.Kind == sink.Link {
				text += "target " + quote(e.Target) + "\n"
			}
			return o.print(text)
		})
	})
}

func (a *app) hashCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "hash HOST:PATH...", Short: "BLAKE3 of remote files, as b3sum prints it", Args: operands(1, -1, "HOST:PATH")}
	f := dialFlags(cmd)
	return a.remoteVerb(cmd, f, true, func(ctx context.Context, o *output, r *transfer.Remote, at []address) error {
		return eachPlace(o, at, func(p address) error {
			sum, size, err := r.Hash(ctx, p.at)
			if err != nil {
				return err
			}
			o.count(size)
			if o.json() {
				o.emit(jsonEntry{Event: "file", Time: stamp(time.Now()), jsonPath: pathJSON(p.path), Kind: "file", Bytes: size, Hash: sum.String()})
				return nil
			}
			return o.print(sumLine(sum.String(), p.path) + "\n")
		})
	})
}

func (a *app) catCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "cat HOST:PATH...", Short: "remote files to stdout, verified on the way", Args: operands(1, -1, "HOST:PATH"),
		Long: "cat writes remote files to stdout. With --json the events go to stderr, since stdout is taken."}
	f := dialFlags(cmd)
	a.remoteVerb(cmd, f, true, func(ctx context.Context, o *output, r *transfer.Remote, at []address) error {
		return eachPlace(o, at, func(p address) error {
			n, err := r.Cat(ctx, p.at, a.env.Stdout)
			o.mu.Lock()
			o.res.BytesSent += n
			o.mu.Unlock()
			if err != nil {
				return err
			}
			o.count(n)
			return nil
		})
	})
	inner := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := inner(cmd, args)
		if err == nil {
			a.job.dataOnStdout = true
		}
		return err
	}
	return cmd
}

func (a *app) mkdirCommand() *cobra.Command {
	var parents bool
	cmd := &cobra.Command{Use: "mkdir HOST:PATH...", Short: "make remote directories", Args: operands(1, -1, "HOST:PATH")}
	f := dialFlags(cmd)
	cmd.Flags().BoolVarP(&parents, "parents", "p", false, "make missing parents too, and be content where it is there")
	return a.remoteVerb(cmd, f, true, func(ctx context.Context, o *output, r *transfer.Remote, at []address) error {
		return eachPlace(o, at, func(p address) error {
			return r.Mkdir(ctx, p.at, parents)
		})
	})
}

func (a *app) mvCommand() *cobra.Command {
	var noClobber bool
	cmd := &cobra.Command{Use: "mv HOST:FROM HOST:TO", Short: "rename a remote file or directory", Args: operands(2, 2, "HOST:FROM HOST:TO"),
		Long: "mv renames within one root. Where TO is a directory, or ends in \"/\", it moves into it."}
	f := dialFlags(cmd)
	cmd.Flags().BoolVarP(&noClobber, "no-clobber", "n", false, "never replace")
	return a.remoteVerb(cmd, f, true, func(ctx context.Context, o *output, r *transfer.Remote, at []address) error {
		from, to := at[0].at, at[1].at
		if len(from.Path) == 0 {
			return usagef("%s: a root cannot be moved", quote(at[0].text))
		}
		into := len(to.Path) == 0 || to.TrailSlash
		if !into {
			if e, err := r.Stat(ctx, to); err == nil && e.Kind == sink.Directory {
				into = true
			}
		}
		if into {
			to.Path = append(slices.Clone(to.Path), from.Path[len(from.Path)-1])
			to.TrailSlash = false
		}
		return named(r.Rename(ctx, from, to, noClobber), at[0].text)
	})
}

func (a *app) rmCommand() *cobra.Command {
	var recursive, force bool
	cmd := &cobra.Command{Use: "rm HOST:PATH...", Short: "remove remote files", Args: operands(1, -1, "HOST:PATH")}
	f := dialFlags(cmd)
	cmd.Flags().BoolVarP(&recursive, "recursive", "r", false, "directories with all that is in them")
	cmd.Flags().BoolVarP(&force, "force", "f", false, "what is not there is no error")
	return a.remoteVerb(cmd, f, true, func(ctx context.Context, o *output, r *transfer.Remote, at []address) error {
		return eachPlace(o, at, func(p address) error {
			if len(p.at.Path) == 0 {
				return usagef("%s: a root cannot be removed", quote(p.text))
			}
			return r.Remove(ctx, p.at, recursive, force)
		})
	})
}
