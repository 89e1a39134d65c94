package cli

import (
	"context"
	"os"
	"syscall"
)

// signalError is why a run was stopped.
type signalError struct{ sig os.Signal }

func (e *signalError) Error() string { return "stopped by signal (" + e.sig.String() + ")" }

// watchSignals returns a context that ends with the first signal that means stop, and a channel that is closed at the second
// one. SIGHUP goes to hangup where the verb wants it (the daemon reloads) and means stop elsewhere. The returned function ends
// the watching and waits for it.
func watchSignals(ctx context.Context, in <-chan os.Signal, hangup func()) (context.Context, <-chan struct{}, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	atOnce := make(chan struct{})
	quit := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		seen := 0
		for {
			select {
			case <-quit:
				return
			case s := <-in:
				if s == syscall.SIGHUP && hangup != nil {
					hangup()
					continue
				}
				seen++
				if seen == 1 {
					cancel(&signalError{sig: s})
				} else if seen == 2 {
					close(atOnce)
				}
			}
		}
	}()
	return ctx, atOnce, func() { close(quit); <-done; cancel(nil) }
}
