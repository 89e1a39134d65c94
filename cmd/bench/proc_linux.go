package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// CPU time of servers. /proc/PID/stat has the time of the process (utime, stime) and of all its descendants that were
// waited for (cutime, cstime); to that comes what its living descendants have used so far, found by their parents'
// ids. sshd and the rsync daemon wait for their children, so nothing is lost but what a process that detaches itself
// would use; settle waits until the children of a run have ended. Ticks are 10 ms: good for runs of a second, and no more
// than a hint for shorter ones. What the kernel does on its own threads (write-back, the loop device) is in no one's time.

// userHZ is the unit of times in /proc/PID/stat, the same on all architectures that Go runs on.
const userHZ = 100

// process is a line of /proc/PID/stat.
type process struct {
	pid, parent int
	cpu         time.Duration // with the children that it has waited for
}

// parseStat reads /proc/PID/stat; the name in parentheses may hold anything.
func parseStat(line []byte) (p process, err error) {
	open, shut := bytes.IndexByte(line, '('), bytes.LastIndexByte(line, ')')
	if open < 1 || shut < open {
		return p, fmt.Errorf("no process: %q", line)
	}
	if p.pid, err = strconv.Atoi(strings.TrimSpace(string(line[:open]))); err != nil {
		return p, err
	}
	f := strings.Fields(string(line[shut+1:])) // f[0], the state, is field 3 of proc_pid_stat(5)
	if len(f) < 15 {
		return p, fmt.Errorf("short: %q", line)
	}
	if p.parent, err = strconv.Atoi(f[1]); err != nil {
		return p, err
	}
	var ticks int64
	for _, s := range f[11:15] {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return p, err
		}
		ticks += n
	}
	p.cpu = time.Duration(ticks) * time.Second / userHZ
	return p, nil
}

// family returns the processes of pids and all their living descendants.
func family(pids []int) []process {
	names, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	all, children := map[int]process{}, map[int][]int{}
	for _, d := range names {
		if _, err := strconv.Atoi(d.Name()); err != nil {
			continue
		}
		line, err := os.ReadFile("/proc/" + d.Name() + "/stat")
		if err != nil {
			continue // it has ended
		}
		if p, err := parseStat(line); err == nil {
			all[p.pid] = p
			children[p.parent] = append(children[p.parent], p.pid)
		}
	}
	var found []process
	for todo := append([]int(nil), pids...); len(todo) > 0; todo = todo[1:] {
		if p, ok := all[todo[0]]; ok {
			found = append(found, p)
			todo = append(todo, children[p.pid]...)
		}
	}
	return found
}

// serverCPU is what the processes and their descendants, dead or alive, have used so far.
func serverCPU(pids []int) (time.Duration, bool) {
	var sum time.Duration
	for _, p := range family(pids) {
		sum += p.cpu
	}
	return sum, true
}

// machineCPU is what all CPUs have worked so far, stolen time of a virtual machine included.
func machineCPU() (time.Duration, bool) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	line, _, _ := strings.Cut(string(data), "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, false
	}
	var ticks int64
	for i, s := range f[1:9] {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return 0, false
		}
		if i != 3 && i != 4 { // idle, iowait
			ticks += n
		}
	}
	return time.Duration(ticks) * time.Second / userHZ, true
}

// settle waits until the processes have no descendants, two seconds at most.
func settle(ctx context.Context, pids []int) {
	if len(pids) == 0 {
		return
	}
	poll(ctx, 5*time.Millisecond, 2*time.Second, func() bool { return len(family(pids)) <= len(pids) })
}

// peaks returns the greatest VmHWM of the processes, in bytes.
func peaks(pids []int) (int64, bool) {
	var most int64
	for _, pid := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			continue
		}
		if _, rest, ok := strings.Cut(string(status), "VmHWM:"); ok {
			kb, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			if n, err := strconv.ParseInt(kb, 10, 64); err == nil {
				most = max(most, n*kib)
			}
		}
	}
	return most, most > 0
}

// forgetPeak makes VmHWM of a process what it uses now: proc_pid_clear_refs(5).
func forgetPeak(pid int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0)
}

// commandPeak is the greatest resident set of a command that has ended, or of one of its children, in bytes. A process
// inherits the peak of the one that started it, so it is never less than ours at that moment: see slim.
func commandPeak(s *os.ProcessState) int64 {
	if r, ok := s.SysUsage().(*syscall.Rusage); ok {
		return r.Maxrss * kib
	}
	return 0
}

// hasRead is how many bytes a process has read so far.
func hasRead(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(data), "rchar: ")
	line, _, _ := strings.Cut(rest, "\n")
	if !ok {
		return 0, fmt.Errorf("no rchar in /proc/%d/io", pid)
	}
	return strconv.ParseInt(line, 10, 64)
}
