package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func (a *app) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "the configuration in force",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("want show, got %s", quote(args[0]))
			}
			return usagef("want show")
		},
	}
	cmd.AddCommand(a.configShowCommand())
	return cmd
}

func (a *app) configShowCommand() *cobra.Command {
	var origin bool
	cmd := &cobra.Command{
		Use:   "show [HOST]",
		Short: "settings of send, get and sync, for HOST where it is given, and where they come from",
		Args:  operands(0, 1, "at most one HOST"),
	}
	f := transferFlags(cmd)
	cmd.Flags().BoolVar(&origin, "origin", false, "say where each value comes from")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var addr *address
		if len(args) == 1 {
			parsed, err := parseAddress(args[0])
			if err != nil {
				return err
			}
			addr = &parsed
		}
		return a.prepare(cmd, f.connFlags, "", func(ctx context.Context, o *output) error {
			return a.showConfig(o, f, addr, origin)
		})
	}
	return cmd
}

func (a *app) showConfig(o *output, f *runFlags, addr *address, origin bool) error {
	p, err := findPlaces(&a.env)
	if err != nil {
		return err
	}
	configs, err := f.configs(p)
	if err != nil {
		return err
	}
	t, err := f.settle(configs, addr)
	if err != nil {
		return err
	}
	var b strings.Builder
	fields := map[string]any{"keys": p.trust, "state": p.state, "socket": p.socket}
	for _, name := range p.configs {
		read := "missing"
		if slices.ContainsFunc(configs, func(c *config) bool { return c.file == name }) {
			read = "read"
		}
		fmt.Fprintf(&b, "# configuration %s (%s)\n", quote(name), read)
	}
	fmt.Fprintf(&b, "# keys %s\n# state %s\n# socket %s\n", quote(p.trust), quote(p.state), quote(p.socket))
	if addr != nil {
		fmt.Fprintf(&b, "# %s is %s\n", quote(t.name), quote(t.hostPort()))
		fields["address"] = t.hostPort()
	}
	settings := map[string]any{}
	f.set.VisitAll(func(fl *pflag.Flag) {
		if fl.Hidden || slices.Contains([]string{"help", "origin", "json", "config"}, fl.Name) {
			return
		}
		from := f.origin[fl.Name]
		if from == "" {
			from = "default"
		}
		line := fmt.Sprintf("%s = %s", fl.Name, quote(fl.Value.String()))
		settings[fl.Name] = fl.Value.String()
		if origin {
			line = fmt.Sprintf("%-40s # %s", line, from)
			settings[fl.Name] = map[string]string{"value": fl.Value.String(), "origin": from}
		}
		b.WriteString(line + "\n")
	})
	if o.json() {
		fields["settings"] = settings
		return o.result(fields)
	}
	return o.print(b.String())
}
