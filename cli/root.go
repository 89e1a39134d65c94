package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
)

const rootHelp = `xfer moves files and directory trees between two machines: always encrypted, always verified, always resumable.

  xfer demo                          see it work on this machine, nothing to prepare
  xfer daemon                        serve this machine (port 7419, TCP and UDP)
  xfer invite --name laptop          there: a one-time code for one client
  xfer enroll HOST                   here: type the code, once
  xfer send FILE... HOST[:PATH]      then send
  xfer get HOST:PATH... DST          and fetch
  xfer sync DIR HOST:PATH            or make PATH the same as DIR

Places are written HOST:PATH in the default root, HOST:/ROOT/PATH in another; "xfer ls HOST:/" lists the roots.`

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "xfer",
		Short:         "move files between two machines, encrypted, verified, resumable",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return usagef("%s is no verb", quote(args[0]))
		},
	}
	root.SetHelpCommand(&cobra.Command{Use: "help [VERB]", Short: "help about a verb", Hidden: true, RunE: func(cmd *cobra.Command, args []string) error {
		target, _, err := root.Find(args)
		if err != nil || target == nil {
			return usagef("no help for %s", quote(args[0]))
		}
		return target.Help()
	}})
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return flagError(err) })
	root.AddGroup(
		&cobra.Group{ID: "transfer", Title: "Transfers:"},
		&cobra.Group{ID: "remote", Title: "Remote files:"},
		&cobra.Group{ID: "trust", Title: "Daemon and trust:"},
		&cobra.Group{ID: "help", Title: "Help:"},
	)
	add := func(group string, list ...*cobra.Command) {
		for _, c := range list {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("transfer", a.demoCommand(), a.sendCommand(), a.getCommand(), a.syncCommand(), a.checkCommand(), a.receiptCommand())
	add("remote", a.lsCommand(), a.statCommand(), a.hashCommand(), a.catCommand(), a.mkdirCommand(), a.mvCommand(), a.rmCommand())
	add("trust", a.daemonCommand(), a.inviteCommand(), a.enrollCommand(), a.statusCommand(), a.trustCommand(), a.idCommand())
	add("help", a.doctorCommand(), a.explainCommand(), a.configCommand(), a.completionCommand(), a.versionCommand())
	for _, c := range a.laterCommands() {
		root.AddCommand(c)
	}
	return root
}

// prepare settles environment and flags of a verb and keeps it to be run after parsing. Nothing is printed before.
func (a *app) prepare(cmd *cobra.Command, f *connFlags, host string, run func(context.Context, *output) error) error {
	if err := f.environment(&a.env); err != nil {
		return err
	}
	a.job = &job{verb: strings.TrimPrefix(cmd.CommandPath(), "xfer "), conn: f, host: host, local: host == "", run: run}
	return nil
}

// noOperands and operands are cobra argument checks with texts of ours.
func noOperands(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("takes no operand, got %s", quote(args[0]))
	}
	return nil
}

func operands(min, max int, want string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < min || max >= 0 && len(args) > max {
			return usagef("want %s", want)
		}
		return nil
	}
}

// laterCommands are the verbs that are known and not built yet. They take anything.
func (a *app) laterCommands() []*cobra.Command {
	var all []*cobra.Command
	for _, name := range []string{"jobs", "watch", "key", "ca"} {
		all = append(all, &cobra.Command{
			Use: name, Hidden: true, Short: "not built yet", DisableFlagParsing: true,
			RunE: func(cmd *cobra.Command, args []string) error {
				return notBuilt(cmd.Name())
			},
		})
	}
	return all
}
