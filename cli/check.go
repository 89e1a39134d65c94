package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xfer/transfer"
)

func (a *app) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check SRC HOST:PATH",
		Short: "compare by content hash, change nothing",
		Long: `check compares a local file or directory with a remote one by the hash of the contents. It changes nothing on either side.
Where they differ it lists "differs NAME", "missing NAME" (not there) and "extra NAME" (only there) and exits 26.`,
		Args: operands(2, 2, "SRC HOST:PATH"),
	}
	f := dialFlags(cmd)
	streams := countValue{max: 16}
	transfers := countValue{max: 64}
	progressHow := choiceValue{s: "auto", from: []string{"auto", "bar", "line", "none"}}
	stats := durationValue{time.Minute}
	report := ""
	cmd.Flags().Var(&streams, "streams", "streams in one file")
	cmd.Flags().VarP(&transfers, "transfers", "j", "files at once")
	cmd.Flags().Var(&progressHow, "progress", "auto is a bar on a terminal and lines elsewhere")
	cmd.Flags().Var(&stats, "stats", "time between progress lines")
	cmd.Flags().StringVar(&report, "report", "", "write the result object to this file")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == "" || args[0] == "-" {
			return usagef("want a local file or directory")
		}
		if isRemote(args[0]) {
			return usagef("%s looks like a remote source: a local name with a colon is written ./NAME", quote(args[0]))
		}
		dst, err := parseAddress(args[1])
		if err != nil {
			return err
		}
		if err := dst.place(); err != nil {
			return err
		}
		err = a.prepare(cmd, f, dst.host, func(ctx context.Context, o *output) error {
			o.setReport(report)
			p, t, err := a.locate(f, &dst)
			if err != nil {
				return err
			}
			o.noteUser(dst)
			if err := keepable(report, "--report"); err != nil {
				return err
			}
			if err := checkSources([]transfer.Source{{Path: args[0]}}); err != nil {
				return err
			}
			if !o.json() {
				o.setProgress(newProgress(&a.env, progressHow.s, false, f.quiet, stats.d))
			}
			c, err := a.newClient(o, f, p, t)
			if err != nil {
				return err
			}
			c.Options.Streams, c.Options.Transfers = streams.n, transfers.n
			res, err := c.Check(ctx, args[0], dst.at)
			o.setResult(res)
			if err == nil {
				o.setSummary(fmt.Sprintf("xfer: %s, %s: the same here and at %s", fileCount(res.Files), byteText(res.Bytes), quote(dst.text)))
			}
			if transfer.KindOf(err) == transfer.KindVerify && res.Files == 0 {
				if there := sentAs(args[0], dst); there != "" {
					return &cliError{code: exitVerify, err: err, hint: "nothing is the same; \"send\" puts a directory under its own name: xfer check " + quote(args[0]) + " " + quote(there)}
				}
			}
			return err
		})
		return cmp.Or(err, noStdout(report, "--report"))
	}
	return cmd
}

// sentAs is where "send SRC dst" has put a directory, if that is not dst; "" otherwise.
func sentAs(src string, dst address) string {
	info, err := os.Stat(src)
	abs, aerr := filepath.Abs(src)
	name := filepath.Base(abs)
	n := len(dst.at.Path)
	if err != nil || aerr != nil || !info.IsDir() || name == string(filepath.Separator) || n > 0 && dst.at.Path[n-1] == name {
		return ""
	}
	if dst.text == "" || strings.HasSuffix(dst.text, ":") || strings.HasSuffix(dst.text, "/") {
		return dst.text + name
	}
	return dst.text + "/" + name
}

// locate finds directories, configuration and host of a verb that dials.
func (a *app) locate(f *connFlags, addr *address) (places, target, error) {
	p, err := findPlaces(&a.env)
	if err != nil {
		return p, target{}, err
	}
	configs, err := f.configs(p)
	if err != nil {
		return p, target{}, err
	}
	t, err := f.settle(configs, addr)
	return p, t, err
}
