package main

import (
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// Of statfs(2).
const tmpfsMagic = 0x01021994

func isTmpfs(dir string) bool {
	var s syscall.Statfs_t
	return syscall.Statfs(dir, &s) == nil && uint32(s.Type) == tmpfsMagic
}

func freeSpace(dir string) (int64, bool) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, false
	}
	return int64(s.Bavail) * s.Bsize, true
}

// allocated is how many bytes of a file are on disk.
func allocated(info fs.FileInfo) int64 {
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return s.Blocks * 512
	}
	return info.Size()
}

// changed is when a file was last renamed or otherwise changed but in its content: for one that was published by a
// rename, since when it is there.
func changed(info fs.FileInfo) (time.Time, error) {
	s := info.Sys().(*syscall.Stat_t)
	return time.Unix(s.Ctim.Unix()), nil
}

// Of lseek(2).
const (
	seekData = 3
	seekHole = 4
)

// nextData returns where the first data at or after off begins and ends; io.EOF when there is none.
func nextData(f *os.File, off int64) (from, to int64, err error) {
	if from, err = f.Seek(off, seekData); err != nil {
		if pe, ok := err.(*fs.PathError); ok && pe.Err == syscall.ENXIO {
			return 0, 0, io.EOF
		}
		return 0, 0, err
	}
	to, err = f.Seek(from, seekHole)
	return from, to, err
}
