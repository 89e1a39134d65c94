package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const readyLimit = 30 * time.Second

// server is a process that lives longer than a run.
type server struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	mu   sync.Mutex // guards the following
	last string     // line that it wrote
}

// startServer starts cmd and returns the first line that it writes (on stderr, or else on stdout) with the mark in it.
func startServer(ctx context.Context, cmd *exec.Cmd, stderr bool, mark string) (*server, string, error) {
	s := &server{cmd: cmd, done: make(chan struct{})}
	pipe := cmd.StdoutPipe
	if stderr {
		pipe = cmd.StderrPipe
	}
	out, err := pipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	ready := make(chan string, 1)
	go func() {
		defer close(s.done)
		s.read(out, mark, ready)
		_ = cmd.Wait()
	}()
	timer := time.NewTimer(readyLimit)
	defer timer.Stop()
	select {
	case line := <-ready:
		return s, line, nil
	case <-s.done:
		err = fmt.Errorf("it ended: %s", s.lastLine())
	case <-timer.C:
		err = fmt.Errorf("it is not ready after %v: %s", readyLimit, s.lastLine())
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.stop()
	return nil, "", fmt.Errorf("start %s: %w", cmd.Args[0], err)
}

// read reads to the end, so that the server is never blocked by what it writes.
func (s *server) read(out io.Reader, mark string, ready chan<- string) {
	lines := bufio.NewScanner(out)
	for told := false; lines.Scan(); {
		line := lines.Text()
		s.mu.Lock()
		s.last = line
		s.mu.Unlock()
		if !told && strings.Contains(line, mark) {
			ready <- line
			told = true
		}
	}
	_, _ = io.Copy(io.Discard, out)
}

func (s *server) lastLine() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

func (s *server) pid() int { return s.cmd.Process.Pid }

// stop ends the server and waits for it. It may be called twice.
func (s *server) stop() {
	if s.cmd.Process.Signal(syscall.SIGTERM) != nil {
		s.kill()
	}
	timer := time.NewTimer(10 * time.Second)
	defer timer.Stop()
	select {
	case <-s.done:
	case <-timer.C:
		s.kill()
	}
}

// kill ends it at once.
func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

// freePort is a port of loopback that nobody listens on now.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// services are the servers that several contenders share, each started when it is needed first.
type services struct {
	ssh     *sshService
	sshErr  error
	rsyncd  *rsyncService
	tls     *server // before rsyncd
	tlsAddr string
	bare    map[string]*bareService
	byte1   string
}

func (s *services) stop() {
	var all []*server
	if s.ssh != nil {
		all = append(all, s.ssh.server)
	}
	if s.tls != nil {
		all = append(all, s.tls)
	}
	if s.rsyncd != nil {
		all = append(all, s.rsyncd.server)
	}
	for _, b := range s.bare {
		all = append(all, b.server)
	}
	for _, p := range all {
		p.stop()
	}
}
