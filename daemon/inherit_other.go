//go:build !unix

package daemon

import (
	"errors"
	"os"
)

func inherited(n int) ([]*os.File, error) {
	if n == 0 {
		return nil, nil
	}
	return nil, errors.New("LISTEN_FDS: this system cannot pass sockets")
}
