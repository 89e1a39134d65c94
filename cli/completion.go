package cli

import (
	"bytes"
	"context"

	"github.com/spf13/cobra"
)

func (a *app) completionCommand() *cobra.Command {
	shells := map[string]func(root *cobra.Command, to *bytes.Buffer) error{
		"bash":       func(root *cobra.Command, to *bytes.Buffer) error { return root.GenBashCompletionV2(to, true) },
		"zsh":        func(root *cobra.Command, to *bytes.Buffer) error { return root.GenZshCompletion(to) },
		"fish":       func(root *cobra.Command, to *bytes.Buffer) error { return root.GenFishCompletion(to, true) },
		"powershell": func(root *cobra.Command, to *bytes.Buffer) error { return root.GenPowerShellCompletionWithDesc(to) },
	}
	const known = "bash, zsh, fish or powershell"
	cmd := &cobra.Command{
		Use:   "completion SHELL",
		Short: "a script that makes the shell complete our verbs and flags",
		Long: `completion prints the script for bash, zsh, fish or powershell:
  bash         source <(xfer completion bash)
  zsh          xfer completion zsh > "${fpath[1]}/_xfer"
  fish         xfer completion fish | source
  powershell   xfer completion powershell | Out-String | Invoke-Expression`,
		Args:      operands(1, 1, "the shell: "+known),
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
	}
	f := &connFlags{set: cmd.Flags(), origin: map[string]string{}}
	f.outFlags.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		generate := shells[args[0]]
		if generate == nil {
			return usagef("%s is no shell that we know: want %s", quote(args[0]), known)
		}
		return a.prepare(cmd, f, "", func(ctx context.Context, o *output) error {
			var script bytes.Buffer
			if err := generate(cmd.Root(), &script); err != nil {
				return err
			}
			if f.json {
				return o.result(map[string]any{"shell": args[0], "script": script.String()})
			}
			return o.print(script.String())
		})
	}
	return cmd
}
