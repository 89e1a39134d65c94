package control

import (
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// checkPeer lets only our own user and root in (unix(7), SO_PEERCRED): a second look beside the socket's mode.
func checkPeer(c net.Conn) error {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return nil // a test's pipe
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if credErr != nil {
		return credErr
	}
	return allowed(cred.Uid, uint32(os.Geteuid()))
}

// allowed says whether a process of user uid may ask a daemon of user self.
func allowed(uid, self uint32) error {
	if uid != 0 && uid != self {
		return fmt.Errorf("user %d may not ask a daemon of user %d", uid, self)
	}
	return nil
}
