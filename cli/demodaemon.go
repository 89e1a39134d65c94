package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"xfer/transfer/transport"
)

// demoDaemon is a daemon in a process of its own. It lives as long as its stdin, so it ends with us whatever happens to us.
type demoDaemon struct {
	cmd        *exec.Cmd
	stdin      io.Closer
	log        string
	listen     string
	host, port string
	portNumber int
	identity   string
	ended      chan struct{}
	once       sync.Once
}

// readyWithin is how long the daemon may take to come up.
const readyWithin = 20 * time.Second

func (d *demo) startDaemon(ctx context.Context) (*demoDaemon, error) {
	program, err := d.app.env.Executable()
	if err != nil {
		return nil, localIO(err)
	}
	if err := os.MkdirAll(d.files, 0o700); err != nil {
		return nil, localIO(err)
	}
	log, err := os.Create(filepath.Join(d.dir, "daemon.log"))
	if err != nil {
		return nil, localIO(err)
	}
	defer log.Close()
	args := []string{"daemon", "--listen", "127.0.0.1:0", "--root", "demo=" + d.files, "--until-eof"}
	cmd := exec.Command(program, args...)
	cmd.Env = []string{"XFER_HOME=" + filepath.Join(d.dir, "server")}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT", "GOCOVERDIR"} {
		if v := d.app.env.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	cmd.Stderr = log
	cmd.SysProcAttr = apartFromTerminal()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, localIO(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, localIO(err)
	}
	if err := cmd.Start(); err != nil {
		return nil, localIO(fmt.Errorf("start the daemon: %w", err))
	}
	dd := &demoDaemon{cmd: cmd, stdin: stdin, log: log.Name(), ended: make(chan struct{})}
	ready := make(chan string, 1)
	go func() {
		defer close(dd.ended)
		r := bufio.NewReader(io.LimitReader(stdout, 1<<16))
		line, _ := r.ReadString('\n')
		ready <- line
		io.Copy(io.Discard, stdout)
		cmd.Wait()
	}()
	timer := time.NewTimer(readyWithin)
	defer timer.Stop()
	select {
	case line := <-ready:
		err = dd.parse(line)
	case <-timer.C:
		err = fmt.Errorf("the daemon was not ready within %v", readyWithin)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		dd.stop()
		if tail := dd.logTail(); tail != "" {
			d.o.say("the daemon's log ends with:\n%s", tail)
		}
		return nil, err
	}
	return dd, nil
}

// parse reads the ready line.
func (dd *demoDaemon) parse(line string) error {
	rest, ok := strings.CutPrefix(strings.TrimSpace(line), "xfer daemon ready ")
	if !ok {
		return errStopped
	}
	for _, field := range strings.Fields(rest) {
		key, value, _ := strings.Cut(field, "=")
		switch key {
		case "listen":
			dd.listen = value
		case "identity":
			dd.identity = value
		}
	}
	var err error
	if dd.host, dd.port, err = net.SplitHostPort(dd.listen); err == nil {
		dd.portNumber, err = strconv.Atoi(dd.port)
	}
	if err != nil {
		return fmt.Errorf("the daemon's ready line is not understood: %s", quote(line))
	}
	return nil
}

// stop ends the daemon and waits for it: first its stdin ends, which it takes for SIGTERM. It may still wait for the connection
// that was cut, as it should; nobody else needs that here, so it is killed after a second.
func (dd *demoDaemon) stop() {
	dd.once.Do(func() {
		dd.stdin.Close()
		select {
		case <-dd.ended:
		case <-time.After(time.Second):
			dd.cmd.Process.Kill()
			<-dd.ended
		}
	})
}

// logTail is the end of what the daemon said.
func (dd *demoDaemon) logTail() string {
	data, err := os.ReadFile(dd.log)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return strings.Join(lines[max(0, len(lines)-5):], "\n")
}

// wireCutter knows all sockets beneath the connections of a client and closes them without a word, as a network that fails.
type wireCutter struct {
	mu      sync.Mutex
	sockets []io.Closer
}

func (w *wireCutter) options() transport.DialOptions {
	return transport.DialOptions{
		Conn: func(ctx context.Context, network, addr string) (net.Conn, error) {
			var dialer net.Dialer
			c, err := dialer.DialContext(ctx, network, addr)
			if err == nil {
				w.add(c)
			}
			return c, err
		},
		Packet: func(ctx context.Context, network string) (net.PacketConn, error) {
			var lc net.ListenConfig
			c, err := lc.ListenPacket(ctx, network, ":0")
			if err == nil {
				w.add(c)
			}
			return c, err
		},
	}
}

func (w *wireCutter) add(c io.Closer) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sockets = append(w.sockets, c)
}

// cut closes what is open and returns how many sockets that were.
func (w *wireCutter) cut() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, c := range w.sockets {
		if c.Close() == nil {
			n++
		}
	}
	w.sockets = nil
	return n
}
