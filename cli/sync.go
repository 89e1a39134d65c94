package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"xfer/transfer"
)

// syncFlags are those that only sync has.
type syncFlags struct {
	delete    bool
	maxDelete maxDeleteValue
	backup    belowValue
}

func (a *app) syncCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sync SRC HOST:PATH",
		Short: "make a remote directory the same as a local one",
		Long: `sync makes HOST:PATH itself the same as SRC, whatever the slashes: what differs is sent, what is the same is left alone. It removes
nothing, unless --delete is given: then what is only at PATH is removed at the end, after all else has arrived. What the rules leave
out (--exclude, --files-from, ...) is left alone at PATH too.

Nothing is removed where something looks wrong, and no flag changes that: when SRC is empty, when anything in it could not be read
(exit 23), when a file system that was mounted in it at the last sync is not there now (exit 23), and when it is more than
--max-delete allows (exit 25). -n shows what would be done: a line each, new, update, meta, delete or skip, with size and name.`,
		Args: operands(2, 2, "SRC HOST:PATH"),
	}
	f := transferFlags(cmd)
	addLaterFlags(cmd.Flags(), laterTransferFlags()...)
	compressShort(cmd, f)
	d := &syncFlags{maxDelete: maxDeleteValue{n: 50, percent: true}}
	s := cmd.Flags()
	s.BoolVar(&d.delete, "delete", false, "remove what is only at PATH")
	s.Var(&d.maxDelete, "max-delete", "remove nothing where it would be more than this: a number, or a part of what is at PATH")
	s.Var(&d.backup, "backup-dir", "keep what is replaced or removed in this directory below PATH")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		src := args[0]
		switch {
		case src == "":
			return usagef("a source without a name")
		case src == "-":
			return usagef("stdin is no directory: xfer send - HOST:PATH/NAME")
		case isRemote(src):
			return usagef("%s looks like a remote source: sync sends; a local name with a colon is written ./NAME", quote(src))
		}
		dst, err := parseAddress(args[1])
		if err != nil {
			return err
		}
		if err := dst.place(); err != nil {
			return err
		}
		var memory *mountMemory
		var was []string
		return a.prepareRun(cmd, f, &run{
			addr: dst, lock: lockParts("sync", []string{strings.TrimSuffix(src, "/")}), did: "sent", where: "at " + quote(dst.text),
			check: func() error { return checkSources([]transfer.Source{{Path: src}}) },
			begin: func(p places, t target) (err error) {
				memory = newMountMemory(p, src, t.hostPort(), "/"+dst.at.Root+"/"+strings.Join(dst.at.Path, "/"))
				was, err = memory.read()
				return err
			},
			do: func(ctx context.Context, c *transfer.Client) (transfer.Result, error) {
				o := transfer.SyncOptions{Delete: d.delete, MaxDelete: -1, MaxPercent: d.maxDelete.n, Mounts: was, Backup: d.backup.parts}
				if !d.maxDelete.percent {
					o.MaxDelete = d.maxDelete.n
				}
				res, err := c.Sync(ctx, src, dst.at, o)
				if err == nil && !c.Options.DryRun {
					err = memory.write(was, res.Mounts)
				}
				return res.Result, err
			},
		})
	}
	return cmd
}

// maxDeleteValue is a number of entries, or a part of them.
type maxDeleteValue struct {
	n       int64
	percent bool
}

func (v *maxDeleteValue) String() string {
	if v.percent {
		return strconv.FormatInt(v.n, 10) + "%"
	}
	return strconv.FormatInt(v.n, 10)
}
func (v *maxDeleteValue) Type() string { return "N|N%" }
func (v *maxDeleteValue) Set(s string) error {
	number, percent := strings.CutSuffix(s, "%")
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || percent && n > 100 || number[0] == '+' {
		return fmt.Errorf("want a number of entries, or a part from 0%% to 100%%")
	}
	v.n, v.percent = n, percent
	return nil
}

// belowValue is a directory below the destination.
type belowValue struct{ parts []string }

func (v *belowValue) String() string { return strings.Join(v.parts, "/") }
func (v *belowValue) Type() string   { return "DIR" }
func (v *belowValue) Set(s string) error {
	if strings.HasPrefix(s, "/") {
		return fmt.Errorf("want a directory below PATH, such as .old")
	}
	var a address
	if err := a.setPath(s); err != nil {
		return err
	}
	if len(a.at.Path) == 0 {
		return fmt.Errorf("want the name of a directory below PATH, such as .old")
	}
	v.parts = a.at.Path
	return nil
}
