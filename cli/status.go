package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xfer/daemon/control"
)

func (a *app) statusCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "what the local daemon is doing", Args: noOperands}
	f := localFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.prepare(cmd, f, "", func(ctx context.Context, o *output) error {
			p, err := findPlaces(&a.env)
			if err != nil {
				return err
			}
			c, err := control.Dial(p.socket)
			if errors.Is(err, control.ErrNotRunning) {
				return failf(exitUnreachable, "start it: xfer daemon", "no daemon is running here (%s)", quote(p.socket))
			}
			if err != nil {
				return noAnswer(p, err)
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			st, err := c.Status(ctx)
			if err != nil && context.Cause(ctx) != nil && isInterrupt(context.Cause(ctx)) {
				return context.Cause(ctx)
			}
			if err != nil {
				return noAnswer(p, err)
			}
			if !f.json {
				return o.print(statusText(st))
			}
			data, err := json.Marshal(st)
			if err != nil {
				return err
			}
			fields := map[string]any{}
			if err := json.Unmarshal(data, &fields); err != nil {
				return err
			}
			return o.result(fields)
		})
	}
	return cmd
}

func noAnswer(p places, err error) error {
	text, next := controlText(err), noHint
	if text == silent {
		next = "it may be stopped or overloaded: look at its log, or end it and start it again"
	}
	return failf(exitUnreachable, next, "the daemon here (%s): %s", quote(p.socket), text)
}

const silent = "it runs, but does not answer"

// controlText is why a daemon could not be asked, without the address that only our HTTP client knows.
func controlText(err error) string {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return silent
	}
	return causeText(err)
}

func statusText(st control.Status) string {
	var b strings.Builder
	state := "running"
	if st.Draining {
		state = "stopping"
	}
	fmt.Fprintf(&b, "daemon    %s for %s, pid %d, version %s\n", state, (time.Duration(st.UptimeS) * time.Second).String(), st.PID, clean(st.Version))
	fmt.Fprintf(&b, "identity  %s, certificate for %d more days\n", clean(st.Identity), st.CertificateDays)
	for _, l := range st.Listeners {
		fmt.Fprintf(&b, "listens   %s %s\n", clean(l.Transport), clean(l.Address))
	}
	for _, r := range st.Roots {
		space := byteText(r.Free) + " free of " + byteText(r.Total)
		if r.Error != "" {
			space = "space unknown: " + clean(r.Error)
		}
		fmt.Fprintf(&b, "root      %s  %s  %s\n", quote(r.Name), quote(r.Path), space)
	}
	fmt.Fprintf(&b, "clients   %d enrolled\n", st.Clients)
	fmt.Fprintf(&b, "now       %d sessions, %d waiting, %s/s in, %s/s out\n", len(st.Sessions), st.Waiting, byteText(int64(st.Rates.In)), byteText(int64(st.Rates.Out)))
	for _, s := range st.Sessions {
		fmt.Fprintf(&b, "session   %s from %s by %s, %d transfers on %d streams, %s in, %s out\n", quote(s.Client), clean(s.Remote), clean(s.Transport),
			s.Transfers, s.Streams, byteText(s.BytesIn), byteText(s.BytesOut))
	}
	fmt.Fprintf(&b, "so far    %d sessions, %d files published, %d refused, %s in, %s out\n", st.Totals.Sessions, st.Totals.Published, st.Totals.Refused,
		byteText(st.Totals.BytesIn), byteText(st.Totals.BytesOut))
	if st.Panics > 0 {
		fmt.Fprintf(&b, "PANICS    %d were caught: please report this, with the log\n", st.Panics)
	}
	return b.String()
}
