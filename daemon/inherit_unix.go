//go:build unix

package daemon

import (
	"os"
	"strconv"
	"syscall"
)

// firstInherited is SD_LISTEN_FDS_START of sd_listen_fds(3).
const firstInherited = 3

// inherited returns the n sockets that a service manager passed, so that no child of ours gets them.
func inherited(n int) ([]*os.File, error) {
	files := make([]*os.File, n)
	for i := range files {
		syscall.CloseOnExec(firstInherited + i)
		files[i] = os.NewFile(uintptr(firstInherited+i), "LISTEN_FD_"+strconv.Itoa(firstInherited+i))
	}
	return files, nil
}
