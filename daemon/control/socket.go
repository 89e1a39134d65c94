package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// maxName is the longest path that every system's socket address takes as it is (macOS has 104 bytes with the
// final NUL, Linux 108).
const maxName = 100

// Listen takes the socket at path, which may be of any length, and makes its directory (0700) where it is missing.
// A socket that a killed daemon left behind is replaced; where a live one has it the error is ErrRunning (by
// errors.Is). Two that start at once are told apart by a lock on path + ".lock", which stays there when all is over.
// Closing the listener removes the socket.
func Listen(path string) (net.Listener, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	unlock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, err
	}
	l, err := listenLocked(path)
	if err != nil {
		unlock()
		return nil, err
	}
	return &listener{UnixListener: l, path: path, unlock: unlock}, nil
}

func listenLocked(path string) (*net.UnixListener, error) {
	switch info, err := os.Lstat(path); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("%q is there and is no socket", path)
	default:
		if err := removeStale(path); err != nil {
			return nil, err
		}
	}
	short, done, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listen on %q: %w", path, err)
	}
	l.SetUnlinkOnClose(false) // its name is the short one, which is gone by then
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		os.Remove(path)
		return nil, err
	}
	return l, nil
}

// removeStale removes a socket that nobody answers at. The caller holds the lock, so nobody of ours does; but
// another program might.
func removeStale(path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c, err := connect(ctx, path)
	if err == nil {
		c.Close()
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return os.Remove(path)
	}
	return fmt.Errorf("%w (socket %q)", ErrRunning, path) // also with a queue that is full, or no right to connect
}

// connect dials the socket at path, of any length.
func connect(ctx context.Context, path string) (net.Conn, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	short, done, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer done()
	var d net.Dialer
	for {
		c, err := d.DialContext(ctx, "unix", short)
		if !errors.Is(err, syscall.EAGAIN) {
			return c, err
		}
		// The listener's queue is full: unix(7) says so at once and does not wait.
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// viaLink is shorten by a symbolic link to the directory in a private temporary folder.
func viaLink(path string) (short string, done func(), err error) {
	tmp, err := os.MkdirTemp("", "xfer") // 0700
	if err != nil {
		return "", nil, err
	}
	done = func() { os.RemoveAll(tmp) }
	link := filepath.Join(tmp, "d")
	if err := os.Symlink(filepath.Dir(path), link); err != nil {
		done()
		return "", nil, fmt.Errorf("the path of the socket %q is too long for this system: %w", path, err)
	}
	short = filepath.Join(link, filepath.Base(path))
	if len(short) > maxName {
		done()
		return "", nil, fmt.Errorf("the name of the socket %q is too long for this system", path)
	}
	return short, done, nil
}

// listener removes the socket and gives the lock back when it is closed.
type listener struct {
	*net.UnixListener
	path   string
	once   sync.Once
	err    error
	unlock func()
}

// Addr is the path as it was asked for.
func (l *listener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

func (l *listener) Close() error {
	l.once.Do(func() {
		l.err = l.UnixListener.Close()
		os.Remove(l.path) // ours: we hold the lock
		l.unlock()
	})
	return l.err
}
