package daemon

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"
)

// Systemd takes what a service manager gave this process into c: where to say that we are ready (NOTIFY_SOCKET), how
// often to say that we live (WATCHDOG_USEC), and sockets that it opened for us (LISTEN_FDS, which replace c.Listen
// and, where a unix socket is among them, c.Socket). Without one it changes nothing. It is to be called once in the
// life of a process, before it opens files of its own. See sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3).
func (c *Config) Systemd(getenv func(string) string) error {
	c.NotifySocket = getenv("NOTIFY_SOCKET")
	if s := getenv("WATCHDOG_USEC"); s != "" && isUs(getenv("WATCHDOG_PID"), true) {
		us, err := strconv.ParseInt(s, 10, 64)
		if err != nil || us <= 0 || us > int64(24*time.Hour/time.Microsecond) {
			return fmt.Errorf("WATCHDOG_USEC=%q is no number of microseconds", s)
		}
		c.Watchdog = time.Duration(us) * time.Microsecond
	}
	s := getenv("LISTEN_FDS")
	if s == "" || !isUs(getenv("LISTEN_PID"), false) {
		return nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > maxListen {
		return fmt.Errorf("LISTEN_FDS=%q is no number from 0 to %d", s, maxListen)
	}
	files, err := inherited(n)
	if err != nil {
		return err
	}
	return c.adopt(files)
}

// isUs tells whether pid, as the service manager wrote it, is this process.
func isUs(pid string, ifEmpty bool) bool {
	if pid == "" {
		return ifEmpty
	}
	return pid == strconv.Itoa(os.Getpid())
}

// adopt makes listeners of files and closes the files; net has copies of its own.
func (c *Config) adopt(files []*os.File) error {
	var first error
	for _, f := range files {
		if first == nil {
			first = c.adoptOne(f)
		}
		f.Close()
	}
	return first
}

func (c *Config) adoptOne(f *os.File) error {
	if l, err := net.FileListener(f); err == nil {
		if _, local := l.(*net.UnixListener); local {
			if c.Control != nil {
				l.Close()
				return fmt.Errorf("%s: a second control socket", f.Name())
			}
			l.(*net.UnixListener).SetUnlinkOnClose(false) // the service manager's
			c.Control = l
			return nil
		}
		c.Listeners = append(c.Listeners, l)
		return nil
	}
	p, err := net.FilePacketConn(f)
	if err != nil {
		return fmt.Errorf("%s is no socket that can be served: %w", f.Name(), err)
	}
	if _, ok := p.(*net.UDPConn); !ok {
		p.Close()
		return fmt.Errorf("%s is a %s socket, want TCP, UDP or a unix stream", f.Name(), p.LocalAddr().Network())
	}
	c.PacketConns = append(c.PacketConns, p)
	return nil
}

// notifier tells a service manager how we are; the zero value tells nobody. See sd_notify(3): one datagram of
// "NAME=value" lines to a unix socket, which is abstract where its name begins with "@".
type notifier struct{ socket string }

const (
	notifyReady     = "READY=1"
	notifyReloading = "RELOADING=1"
	notifyStopping  = "STOPPING=1"
	notifyAlive     = "WATCHDOG=1"
)

// send tells state. It never blocks for long, and a service manager that is gone is nobody's problem: the error is
// for the log.
func (n notifier) send(state string) error {
	if n.socket == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	_, err = c.Write([]byte(state))
	return err
}

// status is a line for "systemctl status".
func status(state, text string) string { return state + "\nSTATUS=" + quote(text) }
