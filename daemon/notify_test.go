package daemon

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// manager is a service manager's end of NOTIFY_SOCKET.
func manager(t *testing.T) (socket string, next func() string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Skip("no unix datagram sockets here:", err)
	}
	t.Cleanup(func() { c.Close() })
	return socket, func() string {
		t.Helper()
		b := make([]byte, 4096)
		c.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

func TestNotify(t *testing.T) {
	socket, next := manager(t)
	if err := (notifier{socket}).send(status(notifyReady, "line\nSTOPPING=1")); err != nil {
		t.Fatal(err)
	}
	if got := next(); got != "READY=1\nSTATUS=line\\nSTOPPING=1" {
		t.Errorf("got %q", got)
	}
	if err := (notifier{}).send(notifyReady); err != nil {
		t.Errorf("without a service manager: %v", err)
	}
	if err := (notifier{filepath.Join(t.TempDir(), "gone")}).send(notifyReady); err == nil {
		t.Error("a service manager that is gone is no error")
	}
}

func TestSystemdEnvironment(t *testing.T) {
	me := fmt.Sprint(os.Getpid())
	for _, c := range []struct {
		what string
		env  map[string]string
		dog  time.Duration
		ok   bool
	}{
		{"nothing", nil, 0, true},
		{"watchdog", map[string]string{"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": me}, 30 * time.Second, true},
		{"watchdog for any", map[string]string{"WATCHDOG_USEC": "1000000"}, time.Second, true},
		{"watchdog of another", map[string]string{"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0, true},
		{"watchdog of nonsense", map[string]string{"WATCHDOG_USEC": "soon", "WATCHDOG_PID": me}, 0, false},
		{"watchdog of zero", map[string]string{"WATCHDOG_USEC": "0", "WATCHDOG_PID": me}, 0, false},
		{"watchdog past all numbers", map[string]string{"WATCHDOG_USEC": "9223372036854775807", "WATCHDOG_PID": me}, 0, false},
		{"sockets of another", map[string]string{"LISTEN_FDS": "1", "LISTEN_PID": "1"}, 0, true},
		{"sockets of nobody", map[string]string{"LISTEN_FDS": "1"}, 0, true},
		{"no sockets", map[string]string{"LISTEN_FDS": "0", "LISTEN_PID": me}, 0, true},
		{"nonsense sockets", map[string]string{"LISTEN_FDS": "many", "LISTEN_PID": me}, 0, false},
		{"less than no sockets", map[string]string{"LISTEN_FDS": "-1", "LISTEN_PID": me}, 0, false},
		{"too many sockets", map[string]string{"LISTEN_FDS": "1000000000", "LISTEN_PID": me}, 0, false},
	} {
		var cfg Config
		err := cfg.Systemd(func(k string) string { return c.env[k] })
		if (err == nil) != c.ok || cfg.Watchdog != c.dog || len(cfg.Listeners)+len(cfg.PacketConns) != 0 || cfg.Control != nil {
			t.Errorf("%s: %v, %+v", c.what, err, cfg)
		}
	}
}

// file is a copy of a socket's descriptor, as a service manager passes it.
func file(t *testing.T, s any) *os.File {
	t.Helper()
	f, err := s.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Skip("descriptors of sockets cannot be had here:", err)
	}
	s.(interface{ Close() error }).Close()
	return f
}

func TestSocketsFromOutside(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "s")
	local, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	local.(*net.UnixListener).SetUnlinkOnClose(false)
	var cfg Config
	if err := cfg.adopt([]*os.File{file(t, tcp), file(t, udp), file(t, local)}); err != nil {
		t.Fatal(err)
	}
	defer closeSockets(cfg)
	if len(cfg.Listeners) != 1 || len(cfg.PacketConns) != 1 || cfg.Control == nil {
		t.Fatalf("got %+v", cfg)
	}
	if cfg.Listeners[0].Addr().String() != tcp.Addr().String() || cfg.PacketConns[0].LocalAddr().String() != udp.LocalAddr().String() {
		t.Error("not the sockets that were passed")
	}
	cfg.Control.Close()
	if _, err := os.Lstat(name); err != nil {
		t.Errorf("the service manager's socket was removed: %v", err)
	}

	plain, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	if err := new(Config).adopt([]*os.File{plain}); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file as a socket: %v", err)
	}
}
