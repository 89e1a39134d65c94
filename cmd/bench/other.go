//go:build !linux

package main

import (
	"context"
	"io/fs"
	"os"
	"time"
)

// What is not known of other systems than Linux is left out of the report, or said where a workload is about it.

const linuxOnly = "only on Linux"

func isTmpfs(string) bool            { return false }
func freeSpace(string) (int64, bool) { return 0, false }

func serverCPU(pids []int) (time.Duration, bool) { return 0, len(pids) == 0 }
func machineCPU() (time.Duration, bool)          { return 0, false }
func settle(context.Context, []int)              {}
func peaks([]int) (int64, bool)                  { return 0, false }
func forgetPeak(int)                             {}
func commandPeak(*os.ProcessState) int64         { return 0 }
func hasRead(int) (int64, error) {
	return 0, missingf("what a process has read is known %s", linuxOnly)
}

func allocated(info fs.FileInfo) int64 { return info.Size() }
func changed(fs.FileInfo) (time.Time, error) {
	return time.Time{}, missingf("when a file was renamed is known %s", linuxOnly)
}

func nextData(*os.File, int64) (from, to int64, err error) {
	return 0, 0, missingf("holes are looked for %s", linuxOnly)
}

func (b *bench) ext4Site(context.Context, string) (*site, error) {
	return nil, missingf("ext4 in an image is mounted %s", linuxOnly)
}
