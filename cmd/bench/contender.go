package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// contender is one way to bring files from here to there.
type contender struct {
	name string
	why  string // it cannot be used here, "" where it can
	// traits
	ours    bool
	durable bool // what it calls done is on disk
	plain   bool // it keeps neither mode nor time
	follows bool // it sends what symbolic links lead to
	forks   bool // its servers work in processes that end with the run, so that their peak is not known
	// open starts what must run at the receiving side to store beneath the site's root.
	open func(context.Context, *site) (receiver, error)
}

// receiver is the receiving side of a contender, ready. It is used by one goroutine, unless it says otherwise.
type receiver interface {
	// command is what does t. The context ends it.
	command(ctx context.Context, t task) pipeline
	// servers are the processes that live longer than a command and work for it.
	servers() []int
	// close ends what open began.
	close()
}

// task is one transfer.
type task struct {
	src  string // a file or a directory, which arrives under its own name
	dir  string // in this one, which exists, beneath the root of the receiver
	tell bool   // have it told how much was sent: see told
	port string // of a counting relay that stands before the receiver, "" for none
}

// pipeline are commands, each of which reads what the one before it writes.
type pipeline []*exec.Cmd

// missing is an error that says what this machine, or this version of a tool, has not got. It is shown as n/a and is no
// failure.
type missing struct{ what string }

func (m *missing) Error() string { return m.what }

func missingf(format string, args ...any) error { return &missing{fmt.Sprintf(format, args...)} }

// reason is why there is no number, and whether that is no failure.
func reason(err error) (text string, harmless bool) { return err.Error(), isMissing(err) }

// isMissing tells whether err is a missing; of joined errors, whether all are.
func isMissing(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range joined.Unwrap() {
			if !isMissing(e) {
				return false
			}
		}
		return true
	}
	var m *missing
	return errors.As(err, &m)
}

// Names of contenders that the goals speak of.
const (
	xferTCP     = "xfer-tcp"
	xferQUIC    = "xfer-quic"
	bareTLS     = "bare-tls"
	bareQUIC    = "bare-quic"
	scpOwn      = "scp"
	scpAES      = "scp-aes"
	rsyncSSH    = "rsync-ssh"
	rsyncSSHAES = "rsync-ssh-aes"
	rsyncDaemon = "rsync-daemon"
	rsyncTLS    = "rsync-tls"
	tarSSH      = "tar-ssh"
	cpLocal     = "cp"
)

// peerNames are those that --with knows.
var peerNames = []string{bareTLS, bareQUIC, scpOwn, scpAES, rsyncSSH, rsyncSSHAES, rsyncDaemon, rsyncTLS, tarSSH, cpLocal}

func checkPeers(names []string) error {
	for _, n := range names {
		if n != "none" && !slices.ContainsFunc(peerNames, func(p string) bool { return isOf(p, n) }) {
			return fmt.Errorf("there is no peer %q, only %s", n, strings.Join(peerNames, ", "))
		}
	}
	return nil
}

// isOf tells whether --with WORD means the peer.
func isOf(peer, word string) bool { return peer == word || strings.HasPrefix(peer, word+"-") }

// field returns our own contenders and, of the given peers, those that --with lets run.
func (b *bench) field(peers ...string) []*contender {
	all := b.ours()
	for _, name := range peers {
		if len(b.With) == 0 || slices.ContainsFunc(b.With, func(w string) bool { return isOf(name, w) }) {
			all = append(all, b.peer(name))
		}
	}
	return all
}

// ours are xfer over the chosen transports.
func (b *bench) ours() []*contender {
	var ours []*contender
	for _, t := range []string{"tcp", "quic"} {
		if b.Transport == t || b.Transport == "both" {
			ours = append(ours, b.xferContender(t))
		}
	}
	return ours
}

// peer makes the contender of a name of peerNames.
func (b *bench) peer(name string) *contender {
	var c *contender
	switch name {
	case bareTLS, bareQUIC:
		c = b.bareContender(strings.TrimPrefix(name, "bare-"))
	case scpOwn, scpAES:
		c = b.scpContender(name == scpAES)
	case rsyncSSH, rsyncSSHAES:
		c = b.rsyncSSHContender(name == rsyncSSHAES)
	case rsyncDaemon, rsyncTLS:
		c = b.rsyncDaemonContender(name == rsyncTLS)
	case tarSSH:
		c = b.tarContender()
	default:
		c = b.cpContender()
	}
	c.name = name
	return c
}

// installed returns why, if one of the programs is not there.
func installed(programs ...string) string {
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			return p + " is not installed"
		}
	}
	return ""
}
