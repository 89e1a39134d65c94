package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
)

// The baselines and proxies are parts of this program, each run in a process of its own: its CPU time and memory are
// then its own. Each is called as "bench NAME ARGS...". A part that serves prints "ready HOST:PORT" and lives until
// its stdin ends, which is when the bench ends, however that comes.
const (
	partBareServe  = "part-bare-serve"  // tls|quic CERT ROOT
	partBarePut    = "part-bare-put"    // tls|quic CERT ADDR FILE NAME
	partTLSServe   = "part-tls-serve"   // CERT TARGET
	partTLSConnect = "part-tls-connect" // CERT ADDR [what rsync adds]
)

// part is a function with its least number of arguments.
type part struct {
	args int
	run  func(args []string) error
}

var parts = map[string]part{
	partBareServe:  {3, bareServe},
	partBarePut:    {5, barePut},
	partTLSServe:   {2, tlsServe},
	partTLSConnect: {2, tlsConnect},
}

func runPart(p part, args []string) int {
	err := errors.New("too few arguments")
	if len(args) >= p.args {
		err = p.run(args)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return exitFailed
	}
	return 0
}

const readyMark = "ready "

// ready tells whoever started this part where it listens, and watches for the end.
func ready(addr net.Addr) {
	fmt.Println(readyMark + addr.String())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
}
