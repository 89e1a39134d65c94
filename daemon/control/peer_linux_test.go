package control

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// A daemon that is too busy to accept is a live one.
func TestASocketWithAFullQueueIsNotReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		c, err := net.Dial("unix", path)
		if errors.Is(err, syscall.EAGAIN) {
			if _, err := Listen(path); !errors.Is(err, ErrRunning) {
				t.Errorf("got %v, want ErrRunning", err)
			}
			if _, err := os.Lstat(path); err != nil {
				t.Errorf("the socket is gone: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	t.Fatal("the queue is never full")
}

func TestOnlyOurUserAndRootMayAsk(t *testing.T) {
	for _, c := range []struct {
		uid, self uint32
		ok        bool
	}{{0, 1000, true}, {1000, 1000, true}, {1001, 1000, false}, {1000, 0, false}} {
		if err := allowed(c.uid, c.self); (err == nil) != c.ok {
			t.Errorf("user %d at a daemon of %d: %v, want ok=%v", c.uid, c.self, err, c.ok)
		}
	}
}
