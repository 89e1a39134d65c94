package control

import (
	"fmt"
	"os"
	"path/filepath"
)

// shorten returns another name of path that fits into a socket address: the directory through a descriptor. done
// ends the name's life. Where /proc is not mounted a symbolic link serves instead.
func shorten(path string) (short string, done func(), err error) {
	if len(path) <= maxName {
		return path, func() {}, nil
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	short = fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))
	if _, err := os.Stat(filepath.Dir(short)); err != nil || len(short) > maxName {
		dir.Close()
		return viaLink(path)
	}
	return short, func() { dir.Close() }, nil
}
