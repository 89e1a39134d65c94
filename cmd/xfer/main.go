// Command xfer moves files between two machines: always encrypted, always verified, always resumable.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"xfer/cli"
)

func main() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signal.Notify(signals, syscall.SIGHUP)
	}
	os.Exit(cli.Main(context.Background(), cli.OSEnv(signals)))
}
