package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xfer/transfer/wire"
)

func (a *app) explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain [CODE]",
		Short: "what an exit code or a word of an error means",
		Long:  "explain tells what an exit code (23), its word (partial), or an error code of the protocol (0x0202, NO_SPACE) means and what to do. Without CODE it lists the exit codes.",
		Args:  operands(0, 1, "one code"),
	}
	f := &connFlags{set: cmd.Flags(), origin: map[string]string{}}
	f.outFlags.add(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var lines []exitInfo
		text := ""
		if len(args) == 0 {
			lines = exitTable()
		} else if e, ok := findExit(args[0]); ok {
			lines = []exitInfo{e}
		} else if text = explainWire(args[0]); text == "" {
			return usagef("%s is no code: xfer explain lists them", quote(args[0]))
		}
		return a.prepare(cmd, f, "", func(ctx context.Context, o *output) error {
			if f.json {
				type item struct {
					Event     string `json:"event"`
					Time      string `json:"time"`
					Code      int    `json:"code"`
					Class     string `json:"class"`
					Meaning   string `json:"meaning"`
					Retryable bool   `json:"retryable"`
					Next      string `json:"next"`
				}
				for _, e := range lines {
					o.emit(item{"code", stamp(time.Now()), e.code, e.class, e.meaning, e.retryable, e.next})
				}
				return nil
			}
			if text != "" {
				return o.print(text)
			}
			var b strings.Builder
			for _, e := range lines {
				b.WriteString(e.text())
			}
			return o.print(b.String())
		})
	}
	return cmd
}

func (e exitInfo) text() string {
	s := fmt.Sprintf("%-3d %-15s %s", e.code, e.class, e.meaning)
	if e.retryable {
		s += " (worth a retry)"
	}
	if e.next != "" {
		s += "\n                    " + e.next
	}
	return s + "\n"
}

func findExit(s string) (exitInfo, bool) {
	n, err := strconv.Atoi(s)
	for _, e := range exitTable() {
		if err == nil && e.code == n || strings.EqualFold(e.class, s) {
			return e, true
		}
	}
	return exitInfo{}, false
}

// explainWire tells of an error code of the protocol, by number or name.
func explainWire(s string) string {
	var code wire.Code
	if n, err := strconv.ParseUint(strings.ToLower(s), 0, 16); err == nil && n >= 0x100 {
		code = wire.Code(n)
	} else if c, ok := wire.CodeByName(strings.ToUpper(s)); ok {
		code = c
	} else {
		return ""
	}
	does := ""
	switch code.Class() {
	case 1:
		does = "the other side tries again at once"
	case 2:
		does = "the other side tries again later"
	case 3:
		does = "the transfer begins anew, at most five times"
	case 4:
		does = "permanent: trying again does not help"
	case 5:
		does = "the session is over"
	default:
		return ""
	}
	return fmt.Sprintf("%s (0x%04x) is an error code of the protocol, class %d: %s\n", code, uint16(code), code.Class(), does)
}
