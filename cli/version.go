package cli

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
)

// buildInfo is what a binary knows of its making.
type buildInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	OS       string `json:"os"`
	Arch     string `json:"arch"`
	Protocol string `json:"protocol"`
}

func readBuild() buildInfo {
	b := buildInfo{Version: "devel", Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH, Protocol: "xfer/1"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := strings.Trim(info.Main.Version, "()"); v != "" {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// agent is how we present ourselves to peers.
func agent() string { return "xfer " + readBuild().Version }

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "print the version",
		Args:  noOperands,
	}
	f := &connFlags{set: cmd.Flags(), origin: map[string]string{}}
	f.outFlags.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.prepare(cmd, f, "", func(ctx context.Context, o *output) error {
			b := readBuild()
			if f.json {
				return o.result(b)
			}
			text := "xfer " + b.Version
			if b.Revision != "" && !strings.Contains(b.Version, b.Revision[:min(12, len(b.Revision))]) {
				text += " (" + b.Revision[:min(12, len(b.Revision))] + ")"
			}
			return o.print(fmt.Sprintf("%s, protocol %s, %s, %s/%s\n", text, b.Protocol, b.Go, b.OS, b.Arch))
		})
	}
	return cmd
}
