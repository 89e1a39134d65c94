package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// rsyncService is an rsync daemon of our own, unencrypted, which serves all of scratch.
type rsyncService struct {
	server *server
	port   string
}

// rsyncFlags are those of all rsyncs.
func rsyncFlags(t task) []string {
	if t.tell {
		return []string{"-a", "--stats", "--no-human-readable"}
	}
	return []string{"-a"}
}

var rsyncSent = regexp.MustCompile(`(?m)^Total bytes sent: (\d+)$`)

// parseRsync returns what --stats says was sent: with all that frames it, and the sums of blocks.
func parseRsync(stdout []byte) (int64, error) {
	m := rsyncSent.FindSubmatch(stdout)
	if m == nil {
		return 0, missingf("rsync --stats does not say what was sent")
	}
	return strconv.ParseInt(string(m[1]), 10, 64)
}

// rsyncDaemon starts it when it is needed first.
func (b *bench) startRsyncd(ctx context.Context) (*rsyncService, error) {
	if b.rsyncd != nil {
		return b.rsyncd, nil
	}
	text := fmt.Sprintf("use chroot = no\nmax connections = 0\nlog file = %s\n[bench]\npath = %s\nread only = no\nmunge symlinks = no\n", b.path("rsyncd.log"), b.scratch)
	if os.Geteuid() == 0 { // else it would be nobody
		text += "uid = 0\ngid = 0\n"
	}
	config := b.path("rsyncd.conf")
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	var err error
	for range 3 { // the port may be taken in between
		var port string
		if port, err = freePort(); err != nil {
			break
		}
		cmd := exec.Command("rsync", "--daemon", "--no-detach", "--address=127.0.0.1", "--port="+port, "--config="+config)
		cmd.Env = b.env()
		var s *server
		if s, err = startListener(ctx, cmd, port); err == nil {
			b.rsyncd = &rsyncService{s, port}
			return b.rsyncd, nil
		}
	}
	return nil, err
}

// startListener starts a server that says nothing, and waits until it accepts at a port.
func startListener(ctx context.Context, cmd *exec.Cmd, port string) (*server, error) {
	s := &server{cmd: cmd, done: make(chan struct{})}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(s.done)
		_ = cmd.Wait()
	}()
	up := false
	poll(ctx, 10*time.Millisecond, readyLimit, func() bool {
		select {
		case <-s.done:
			return true
		default:
		}
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
		}
		up = err == nil
		return up
	})
	if !up {
		s.stop()
		return nil, fmt.Errorf("%s does not listen", cmd.Args[0])
	}
	return s, nil
}

// rsyncReceiver is the daemon, over TLS or not.
type rsyncReceiver struct {
	*rsyncService
	b    *bench
	tls  *server // the proxy at the receiving side; nil without TLS
	addr string  // of that
}

// rsyncDaemonContender is rsync against its daemon. Over TLS it is what rsync-ssl does: the client's side of the proxy is
// the remote shell.
func (b *bench) rsyncDaemonContender(overTLS bool) *contender {
	why := installed("rsync")
	if overTLS && !safeName.MatchString(b.self) {
		why = b.self + " is no name that rsync reads as one word"
	}
	return &contender{why: why, forks: true, open: func(ctx context.Context, _ *site) (receiver, error) {
		s, err := b.startRsyncd(ctx)
		if err != nil {
			return nil, err
		}
		r := &rsyncReceiver{rsyncService: s, b: b}
		if overTLS {
			if err := b.startTLSProxy(ctx, s.port); err != nil {
				return nil, err
			}
			r.tls, r.addr = b.tls, b.tlsAddr
		}
		return r, nil
	}}
}

func (r *rsyncReceiver) command(ctx context.Context, t task) pipeline {
	rel, err := filepath.Rel(r.b.scratch, t.dir)
	if err != nil {
		panic("bench: a task outside of scratch: " + err.Error())
	}
	args, port := rsyncFlags(t), r.port
	if r.tls != nil {
		addr := r.addr
		if t.port != "" {
			addr = "127.0.0.1:" + t.port
		}
		args = append(args, "-e", r.b.self+" "+partTLSConnect+" "+r.b.certFile()+" "+addr)
		args = append(args, t.src, "bench::bench/"+filepath.ToSlash(rel)+"/")
	} else {
		if t.port != "" {
			port = t.port
		}
		args = append(args, t.src, "rsync://127.0.0.1:"+port+"/bench/"+filepath.ToSlash(rel)+"/")
	}
	cmd := exec.CommandContext(ctx, "rsync", args...)
	cmd.Env = r.b.env()
	return pipeline{cmd}
}

func (r *rsyncReceiver) servers() []int {
	if r.tls != nil {
		return []int{r.server.pid(), r.tls.pid()}
	}
	return []int{r.server.pid()}
}

func (r *rsyncReceiver) close() {}
