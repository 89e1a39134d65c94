package main

import (
	"context"
	"time"
)

// poll asks every so often until it is true, at most for limit, and returns whether it became so. It is for what other
// programs do and tell nobody about.
func poll(ctx context.Context, every, limit time.Duration, done func() bool) bool {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t := time.NewTicker(every)
	defer t.Stop()
	for !done() {
		select {
		case <-ctx.Done():
			return done()
		case <-t.C:
		}
	}
	return true
}
