package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"xfer/transfer/transport"
)

// demoDaemon is a daemon in a process of its own. It lives as long as its stdin, so it ends with us whatever happens to us.
type demoDaemon struct {
	cmd        *exec.Cmd
	stdin      io.WriteCloser
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
	at := "127.0.0.1:0"
	if d.f.ipv6 {
		at = "[::1]:0"
		l, err := net.Listen("tcp", at)
		if err != nil {
			return nil, &cliError{code: exitUsage, err: fmt.Errorf("this machine has no IPv6: %w", err), hint: "run it without -6", local: true}
		}
		l.Close()
	}
	args := []string{"daemon", "--listen", at, "--root", "demo=" + d.files, "--until-eof", "--demo", d.dir}
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
		if ctx.Err() == nil {
			d.tellLog(dd)
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

// stop ends the daemon and waits for it: first its stdin ends, which it takes for SIGTERM, after a word that tells it that we
// tidy up ourselves. It may still wait for the connection
// that was cut, as it should; nobody else needs that here, so it is killed after a second.
func (dd *demoDaemon) stop() {
	dd.once.Do(func() {
		io.WriteString(dd.stdin, "stop\n")
		dd.stdin.Close()
		select {
		case <-dd.ended:
		case <-time.After(time.Second):
			dd.cmd.Process.Kill()
			<-dd.ended
		}
	})
}

// logTail is the end of what the daemon said, for people.
func (dd *demoDaemon) logTail() []string {
	data, err := os.ReadFile(dd.log)
	if err != nil || len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	lines = lines[max(0, len(lines)-5):]
	for i, line := range lines {
		lines[i] = logText(line)
	}
	return lines
}

// logText is a line of a JSON log in words.
func logText(line string) string {
	var record map[string]any
	if json.Unmarshal([]byte(line), &record) != nil {
		return line
	}
	text := fmt.Sprintf("%v: %v", record["level"], record["msg"])
	for _, key := range slices.Sorted(maps.Keys(record)) {
		if !slices.Contains([]string{"time", "level", "msg"}, key) {
			text += fmt.Sprintf(", %s %v", key, record[key])
		}
	}
	return text
}

// demoPrefix begins the name of the folder that a demo makes.
const demoPrefix = "xfer-demo-"

// demoFolder is the folder of a demo, as its daemon sees it: what is at dir is removed only if it is that very folder.
type demoFolder struct {
	dir  string
	info fs.FileInfo
}

// findDemoFolder wants dir to be what demo makes: a folder of that name that only we may enter, with the daemon's home in it.
func findDemoFolder(env *Env, dir string) (demoFolder, error) {
	info, err := os.Lstat(dir)
	switch {
	case err != nil:
		return demoFolder{}, localIO(err)
	case !filepath.IsAbs(dir), !strings.HasPrefix(filepath.Base(dir), demoPrefix), !info.IsDir(), env.Getenv("XFER_HOME") != filepath.Join(dir, "server"),
		runtime.GOOS != "windows" && info.Mode().Perm() != 0o700:
		return demoFolder{}, usagef("--demo %s: that is no folder of a demo", quote(dir))
	}
	return demoFolder{dir, info}, nil
}

func (f demoFolder) remove() {
	if info, err := os.Lstat(f.dir); err == nil && os.SameFile(info, f.info) {
		removeTree(f.dir)
	}
}

// serveUntilEOF serves until stdin ends. Where that ends without a word, the demo has died (SIGKILL), and what it left behind
// is removed.
func (a *app) serveUntilEOF(ctx context.Context, dir string, serve func(context.Context) error) error {
	var folder demoFolder
	if dir != "" {
		var err error
		if folder, err = findDemoFolder(&a.env, dir); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	died := make(chan bool, 1)
	go func() { // ends with the process at the latest
		n, _ := io.Copy(io.Discard, a.env.Stdin)
		died <- n == 0
		cancel()
	}()
	err := serve(ctx)
	select {
	case alone := <-died:
		if alone && folder.dir != "" {
			folder.remove()
		}
	default:
	}
	return err
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
