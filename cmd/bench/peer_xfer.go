package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// xferReceiver is an xfer daemon, and the homes of those who send to it.
type xferReceiver struct {
	b         *bench
	transport string
	site      *site
	there     *server
	port      string
	clients   int
	here      string            // the home of the client
	relayed   map[string]string // homes of clients that know the daemon by another port
}

func (b *bench) xferContender(transport string) *contender {
	return &contender{
		name: "xfer-" + transport, ours: true, durable: true,
		open: func(ctx context.Context, s *site) (receiver, error) {
			x := &xferReceiver{b: b, transport: transport, site: s, relayed: map[string]string{}}
			if err := x.listen(ctx, "0"); err != nil {
				return nil, err
			}
			var err error
			if x.here, err = x.enrol(ctx, x.port); err != nil {
				x.close()
				return nil, err
			}
			return x, nil
		},
	}
}

// listen starts the daemon on a port, "0" = a free one.
func (x *xferReceiver) listen(ctx context.Context, port string) error {
	cmd := exec.Command(x.b.xfer, "daemon", "--listen", "127.0.0.1:"+port, "--root", "bench="+x.site.root)
	cmd.Env = x.b.env("XFER_HOME=" + x.serverHome())
	s, line, err := startServer(ctx, cmd, false, "xfer daemon ready ")
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(line, "listen=127.0.0.1:")
	x.there, x.port = s, strings.FieldsFunc(rest+" ", func(r rune) bool { return r == ',' || r == ' ' })[0]
	return nil
}

func (x *xferReceiver) serverHome() string { return filepath.Join(x.site.home, "there") }

// enrol makes a new client that knows the daemon at a port, and returns its home.
func (x *xferReceiver) enrol(ctx context.Context, port string) (home string, err error) {
	x.clients++
	name := fmt.Sprintf("here%d", x.clients)
	home = filepath.Join(x.site.home, name)
	invite := exec.CommandContext(ctx, x.b.xfer, "invite", "--name", name)
	invite.Env = x.b.env("XFER_HOME=" + x.serverHome())
	out, err := x.b.run(pipeline{invite})
	if err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimSpace(string(out.stdout)), "\n")
	enroll := exec.CommandContext(ctx, x.b.xfer, "enroll", "127.0.0.1")
	enroll.Env = x.b.env("XFER_HOME="+home, "XFER_PORT="+port)
	enroll.Stdin = strings.NewReader(lines[len(lines)-1] + "\n")
	_, err = x.b.run(pipeline{enroll})
	return home, err
}

// relay makes a client that reaches the daemon through a relay on a port.
func (x *xferReceiver) relay(ctx context.Context, port string) (err error) {
	x.relayed[port], err = x.enrol(ctx, port)
	return err
}

func (x *xferReceiver) command(ctx context.Context, t task) pipeline {
	home, port := x.here, x.port
	if t.port != "" {
		home, port = x.relayed[t.port], t.port
	}
	return pipeline{x.send(ctx, home, port, t)}
}

// send is what a user types, from a home.
func (x *xferReceiver) send(ctx context.Context, home, port string, t task) *exec.Cmd {
	rel, err := filepath.Rel(x.site.root, t.dir)
	if err != nil {
		panic("bench: a task outside of the receiver's root: " + err.Error())
	}
	args := []string{"send", "--transport", x.transport, t.src, "127.0.0.1:" + filepath.ToSlash(rel) + "/"}
	if t.tell {
		args = append(args, "--json")
	}
	cmd := exec.CommandContext(ctx, x.b.xfer, args...)
	cmd.Env = x.b.env("XFER_HOME="+home, "XFER_PORT="+port)
	return cmd
}

func (x *xferReceiver) servers() []int { return []int{x.there.pid()} }
func (x *xferReceiver) close()         { x.there.stop() }

// xferTold is what the last line of --json tells.
type xferTold struct {
	Event        string `json:"event"`
	Bytes        *int64 `json:"bytes"`
	BytesSent    *int64 `json:"bytes_sent"`
	BytesResumed *int64 `json:"bytes_resumed"`
}

func parseTold(stdout []byte) (t xferTold, err error) {
	lines := bytes.Split(bytes.TrimSpace(stdout), []byte("\n"))
	if json.Unmarshal(lines[len(lines)-1], &t) != nil || t.Event != "result" {
		return t, missingf("xfer --json ends with no result")
	}
	if t.BytesSent == nil || t.BytesResumed == nil {
		return t, missingf("the result of xfer --json has no bytes_sent or bytes_resumed")
	}
	return t, nil
}

// notBuilt makes of a failure of xfer that says that something is not built yet (exit 2) a missing.
func notBuilt(err error) error {
	if err != nil && exitCode(err) == 2 && !isMissing(err) {
		return &missing{err.Error()}
	}
	return err
}
