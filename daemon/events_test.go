package daemon

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"xfer/transfer"
)

// Anybody can be refused as often as he likes; the log does not grow with that.
func TestRefusalsDoNotFloodTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &buffer{}
		o := &observer{log: slog.New(slog.NewTextHandler(log, nil)), counts: &counts{}}
		refused := transfer.ServerEvent{Kind: "refused", Remote: "192.0.2.1:1", Err: errors.New("who are you")}
		for range 1000 {
			o.observe(refused)
		}
		if n := strings.Count(log.String(), "msg=refused"); n != floodLines {
			t.Errorf("%d lines of 1000 refusals, want %d", n, floodLines)
		}
		time.Sleep(time.Second)
		o.observe(refused)
		if want := fmt.Sprintf("dropped=%d", 1000-floodLines); !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %s", want)
		}
		if n := o.counts.refused.Load(); n != 1001 {
			t.Errorf("%d refusals counted, want 1001", n)
		}
	})
}

func TestEvents(t *testing.T) {
	log := &buffer{}
	lg := slog.New(quoting{slog.NewJSONHandler(log, nil)})
	o := &observer{log: lg, counts: &counts{}}
	o.observe(transfer.ServerEvent{Kind: "session-start", Client: "a\u202eb", Session: "s1", Transport: "tcp"})
	o.observe(transfer.ServerEvent{Kind: "session-end", Client: "a", Session: "s1", Bytes: 7, Err: errors.New("cut\x1b[0m")})
	o.observe(transfer.ServerEvent{Kind: "published", Path: "/data/\u009b\xff", Bytes: 3})
	o.observe(transfer.ServerEvent{Kind: "refused", Err: errCode()})
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 { // published is for debugging, a refused code is logged where it is decided
		t.Fatalf("%d lines:\n%s", len(lines), log)
	}
	for i, want := range []string{`"client":"a\\u202eb"`, `"err":"cut\\x1b[0m","bytes":7`} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d does not have %s: %s", i, want, lines[i])
		}
	}
	c := o.counts
	if c.sessions.Load() != 1 || c.published.Load() != 1 || c.refused.Load() != 1 {
		t.Error("not all is counted")
	}
}
