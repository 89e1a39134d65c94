package cli

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"xfer/transfer"
)

func (a *app) getCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "get HOST:PATH... DST",
		Aliases: []string{"pull"},
		Short:   "fetch files and directories",
		Long: `get copies files and directories from a host. A directory arrives under its own name, "dir/" brings its contents. DST is the
new name, or a directory to put things into where it is one, ends in "/" or several sources are given. "-" is stdout.`,
		Args: operands(2, -1, "HOST:PATH... DST"),
	}
	f := transferFlags(cmd)
	addLaterFlags(cmd.Flags(), laterTransferFlags()...)
	refuseSyncFlags(cmd.Flags())
	compressShort(cmd, f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		dst := args[len(args)-1]
		if dst == "" {
			return usagef("a destination without a name")
		}
		if isRemote(dst) {
			return usagef("%s looks like a remote destination: a local name with a colon is written ./NAME", quote(dst))
		}
		src, err := sameHost(args[:len(args)-1])
		if err != nil {
			return err
		}
		if dst == "-" && len(src) > 1 {
			return usagef("one file alone goes to stdout")
		}
		if dst == "-" && src[0].at.TrailSlash {
			return usagef("%s: a directory does not go to stdout", quote(src[0].text))
		}
		var places []transfer.Address
		lock := []string{"get"}
		for _, s := range src {
			places = append(places, s.at)
			lock = append(lock, "/"+s.at.Root+"/"+strings.Join(s.at.Path, "/"))
		}
		if abs, err := filepath.Abs(dst); err == nil {
			lock = append(lock, abs)
		}
		err = a.prepareRun(cmd, f, &run{
			addr: src[0], lock: lock, did: "received", where: "in " + quote(dst), passing: passesOn(dst),
			do: func(ctx context.Context, c *transfer.Client) (transfer.Result, error) {
				return c.Get(ctx, places, dst, a.env.Stdout)
			},
		})
		if err == nil && dst == "-" {
			a.job.dataOnStdout = true
		}
		return err
	}
	return cmd
}

// passesOn tells whether what is written to dst is kept nowhere: stdout, a FIFO, a terminal.
func passesOn(dst string) bool {
	info, err := os.Stat(dst)
	return dst == "-" || err == nil && info.Mode()&(fs.ModeNamedPipe|fs.ModeCharDevice|fs.ModeSocket) != 0
}

// sameHost parses remote operands, which must all be of one host.
func sameHost(args []string) ([]address, error) {
	var all []address
	for _, s := range args {
		if strings.HasPrefix(s, "./") || strings.HasPrefix(s, "/") || s == "-" {
			return nil, usagef("%s is no remote source: write HOST:PATH", quote(s))
		}
		a, err := parseAddress(s)
		if err != nil {
			return nil, err
		}
		if err := a.place(); err != nil {
			return nil, err
		}
		if len(all) > 0 && (a.host != all[0].host || a.port != all[0].port) {
			return nil, usagef("%s: all sources must be of one host", quote(s))
		}
		all = append(all, a)
	}
	return all, nil
}
