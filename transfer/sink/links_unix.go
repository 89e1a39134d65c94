//go:build unix

package sink

import (
	"io/fs"
	"syscall"
)

// links returns how many names a file has, 1 where that is not known.
func links(fi fs.FileInfo) uint64 {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Nlink)
	}
	return 1
}
