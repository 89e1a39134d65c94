package crashfs

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
)

// ErrCrashed is the error of every operation on a file system after its crash, or after its process was killed.
var ErrCrashed = errors.New("crashfs: the machine has crashed")

// ErrWouldHang is the error of opening a FIFO without durable.NonBlock: a real open would wait for a peer.
var ErrWouldHang = errors.New("crashfs: opening a FIFO without NonBlock waits for ever")

// traceMax bounds what Trace keeps.
const traceMax = 10_000

// faults decides what becomes of each operation.
type faults struct {
	ops        int
	countReads bool
	rules      []rule
	hook       func(n int, op, name string) error
	trace      []string
	dead       error // of every operation, once set
}

// rule fails operation number from, and up to to.
type rule struct {
	from, to int
	err      error
	short    bool
	crash    bool
}

// next counts an operation. The error is to be returned by it (as a cause), and short says that a write is to
// write half of its bytes first.
func (f *faults) next(op, name, detail string) (short bool, err error) {
	if f.dead != nil {
		return false, f.dead
	}
	f.ops++
	defer func() {
		line := fmt.Sprintf("%d %s %q%s", f.ops, op, name, detail)
		if err != nil {
			line += ": " + err.Error()
		}
		if len(f.trace) >= traceMax {
			f.trace = append(f.trace[:0], f.trace[traceMax/2:]...)
		}
		f.trace = append(f.trace, line)
	}()
	if f.hook != nil {
		if err := f.hook(f.ops, op, name); err != nil {
			if errors.Is(err, ErrCrashed) {
				f.dead = err
			}
			return false, err
		}
	}
	for _, r := range f.rules {
		if f.ops < r.from || f.ops > r.to {
			continue
		}
		if r.crash {
			f.dead = r.err
		}
		return r.short, r.err
	}
	return false, nil
}

func (f *FS) addRule(r rule) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	r.from += f.d.faults.ops
	if r.to < math.MaxInt {
		r.to += f.d.faults.ops
	}
	f.d.faults.rules = append(f.d.faults.rules, r)
}

// FailAt makes the k-th operation from now on (k = 1 is the next) fail with err and do nothing, once. Operations
// are all that open, make, change, lock or sync, through any handle; reading counts after CountReads. A Sync that
// fails loses what was dirty.
func (f *FS) FailAt(k int, err error) { f.addRule(rule{from: k, to: k, err: err}) }

// FailFrom is FailAt for the k-th operation and all after it.
func (f *FS) FailFrom(k int, err error) { f.addRule(rule{from: k, to: math.MaxInt, err: err}) }

// ShortAt is FailAt, but a Write or WriteAt writes half of its bytes before it fails.
func (f *FS) ShortAt(k int, err error) { f.addRule(rule{from: k, to: k, err: err, short: true}) }

// CrashAt makes the machine crash before the k-th operation: it and everything after it, reading too, fails
// with ErrCrashed. Crash then returns what is left.
func (f *FS) CrashAt(k int) { f.addRule(rule{from: k, to: math.MaxInt, err: ErrCrashed, crash: true}) }

// ClearFaults forgets all that FailAt and its kin were told, and the hook.
func (f *FS) ClearFaults() {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.faults.rules, f.d.faults.hook = nil, nil
}

// SetHook calls hook before each operation with its number, its name ("open", "write", "sync", "rename" and so on)
// and the file's name from the root. An error of it is the operation's; ErrCrashed crashes the machine there.
// It must not call the file system.
func (f *FS) SetHook(hook func(n int, op, name string) error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.faults.hook = hook
}

// CountReads makes reading (Read, ReadAt, Stat, Lstat, Readlink, ReadDir) count as operations, and fail.
func (f *FS) CountReads(on bool) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.faults.countReads = on
}

// Ops returns how many operations were counted so far.
func (f *FS) Ops() int {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return f.d.faults.ops
}

// Trace returns the operations so far (the last thousands of them), for messages of tests that fail.
func (f *FS) Trace() []string {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	return append([]string(nil), f.d.faults.trace...)
}

// SetSpace sets the size of the disk in bytes: what goes beyond it fails with ENOSPC. Only data takes space,
// in pages of 4096 bytes.
func (f *FS) SetSpace(total int64) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	f.d.total = total
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}
