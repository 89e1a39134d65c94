package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"xfer/certs"
	"xfer/crypto"
	"xfer/daemon/control"
	"xfer/transfer"
)

func (a *app) inviteCommand() *cobra.Command {
	var name, rights string
	var roots []string
	expires := durationValue{time.Hour}
	cmd := &cobra.Command{
		Use:   "invite --name NAME",
		Short: "on the server: a one-time code that lets one client in",
		Long: `invite makes a one-time code and prints it as the last line of stdout. On the client, "xfer enroll HOST" asks for it. It works
with or without a running daemon.

RIGHTS is a comma list of get put list stat mkdir delete rename, or one of: all (default), append (new names only, nothing is
replaced or removed), write-only (append, and nothing can be read or listed). Besides any of them special-modes: setuid and
setgid of files, and capabilities, are kept of an archive.`,
		Args: noOperands,
	}
	f := localFlags(cmd)
	cmd.Flags().StringVar(&name, "name", "", "what the client will be called here (required)")
	cmd.Flags().StringArrayVar(&roots, "root", nil, "the root it may use, may be repeated; default: the default root")
	cmd.Flags().StringVar(&rights, "rights", "all", "what it may do there")
	cmd.Flags().Var(&expires, "expires", "how long the code is good")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := a.prepare(cmd, f, "", func(ctx context.Context, o *output) error {
			return a.invite(ctx, o, f, name, roots, splitWords(rights), expires.d)
		})
		if err != nil {
			return err
		}
		if name == "" {
			return usagef("--name is missing: what shall the client be called here?")
		}
		if err := certs.CheckName(name); err != nil {
			return usagef("--name: %v", err)
		}
		if err := checkRights(splitWords(rights)); err != nil {
			return usagef("--rights: %v", err)
		}
		if !cmd.Flags().Changed("root") { // XFER_ROOT is also the daemon's NAME=DIR
			for i, r := range roots {
				roots[i], _, _ = strings.Cut(r, "=")
			}
		}
		for _, r := range roots {
			if err := certs.CheckName(r); err != nil {
				return usagef("--root: %v", err)
			}
		}
		if expires.d <= 0 {
			return usagef("--expires: want a length of time such as 1h")
		}
		return nil
	}
	return cmd
}

func splitWords(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func (a *app) invite(ctx context.Context, o *output, f *connFlags, name string, roots, rights []string, life time.Duration) error {
	p, err := findPlaces(&a.env)
	if err != nil {
		return err
	}
	known, source, err := a.knownRoots(ctx, f, p)
	if err != nil {
		return err
	}
	for _, r := range roots {
		if len(known) > 0 && !slices.Contains(known, r) {
			return failf(exitNotFound, "it has "+strings.Join(known, ", "), "%s has no root %s", source, quote(r))
		}
	}
	s, err := openStore(p)
	if err != nil {
		return err
	}
	defer s.Close()
	if len(roots) == 0 {
		roots = []string{defaultRootName(known)}
	}
	var grants []certs.Grant
	for _, r := range roots {
		grants = append(grants, certs.Grant{Root: r, Rights: rights})
	}
	code, err := s.NewInvite(name, grants, life)
	if clientExists(err) {
		return failf(exitRefused, "take another name, or end its access first: xfer trust rm "+quote(name), "there is a client called %s already", quote(name))
	}
	if err != nil {
		return storeError(err)
	}
	until := time.Now().Add(life).Local().Format("2006-01-02 15:04")
	if f.json {
		return o.result(map[string]any{"code": code.String(), "name": name, "roots": rightsOf(grants), "expires": stamp(time.Now().Add(life))})
	}
	o.say("On the client run \"xfer enroll HOST\" and give it this code. It is good once, until %s.", until)
	return o.print(code.String() + "\n")
}

// knownRoots returns the names of the roots, the default first, of the running daemon, else of the configuration; none where
// neither tells, since a daemon may be started with others.
func (a *app) knownRoots(ctx context.Context, f *connFlags, p places) (names []string, source string, err error) {
	if c, err := control.Dial(p.socket); err == nil {
		defer c.Close()
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if st, err := c.Status(ctx); err == nil {
			for _, r := range st.Roots {
				names = append(names, r.Name)
			}
			return names, "the running daemon", nil
		}
	}
	configs, err := f.configs(p)
	if err != nil {
		return nil, "", err
	}
	for _, c := range configs {
		if len(c.order) > 0 {
			return c.order, quote(c.file), nil
		}
	}
	return nil, "", nil
}

// defaultRootName is the root of an invitation that names none: the first one, or the daemon's default root, whatever it
// will be called.
func defaultRootName(known []string) string {
	if len(known) > 0 {
		return known[0]
	}
	return certs.DefaultRoot
}

func (a *app) enrollCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "enroll HOST",
		Short: "on the client: give the code of an invitation, once",
		Long: `enroll asks for the code that "xfer invite" printed on HOST: on a terminal by a prompt, else it reads the first line of stdin.
Both sides prove to each other that they know it, and keep each other's key; from then on there is no prompt.`,
		Args: operands(1, 1, "one HOST"),
	}
	f := dialFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		addr, err := parseAddress(args[0])
		if err != nil {
			return err
		}
		if len(addr.at.Path) > 0 || addr.at.Root != "" {
			return usagef("%s: want a host without a path; a port goes in -P", quote(args[0]))
		}
		return a.prepare(cmd, f, addr.host, func(ctx context.Context, o *output) error {
			return a.enroll(ctx, o, f, &addr)
		})
	}
	return cmd
}

func (a *app) enroll(ctx context.Context, o *output, f *connFlags, addr *address) error {
	p, t, err := a.locate(f, addr)
	if err != nil {
		return err
	}
	o.noteUser(*addr)
	s, err := openStore(p)
	if err != nil {
		return err
	}
	defer s.Close()
	id, err := a.identityOf(f, s)
	if err != nil {
		return err
	}
	code, err := a.askCode(ctx, t)
	if err != nil {
		return err
	}
	cfg := crypto.ClientTLSAny(id, nil)
	if err := a.keyLog(f, o, cfg); err != nil {
		return err
	}
	c := &transfer.Client{
		Dial: dialer(o, f, t, cfg), Identity: id, Agent: agent(), Observe: o.observe,
		Options: transfer.Options{RetryFor: f.retryFor.d, Timeout: f.timeout.d},
	}
	hostname, err := os.Hostname()
	if err != nil {
		hostname = ""
	}
	e, err := c.Enroll(ctx, code, hostname)
	if err != nil {
		return err
	}
	if err := s.Pin(t.hostPort(), e.Peer, e.Name); err != nil {
		return storeError(fmt.Errorf("enrolled, but the key could not be kept: %w", err))
	}
	var roots []string
	for _, r := range e.Roots {
		roots = append(roots, r.Name+" ("+strings.Join(r.Rights, ",")+")")
	}
	o.mu.Lock()
	o.summary = fmt.Sprintf("xfer: enrolled with %s as %s; its key is %s; roots: %s", quote(t.name), quote(e.Name), e.Peer.Grouped(), strings.Join(roots, ", "))
	o.res.Peer, o.hasRes = e.Peer.String(), true
	o.mu.Unlock()
	if f.json {
		return o.result(map[string]any{"name": e.Name, "peer": e.Peer.String(), "address": t.hostPort(), "roots": roots})
	}
	return nil
}

// askCode reads the code: from a prompt on a terminal, else the first line of stdin.
func (a *app) askCode(ctx context.Context, t target) (crypto.Code, error) {
	if a.env.StdinTerminal {
		fmt.Fprintf(a.env.Stderr, "Code from \"xfer invite\" on %s: ", quote(t.name))
	}
	line, err := readLine(ctx, a.env.Stdin)
	if err != nil {
		return crypto.Code{}, err
	}
	if strings.TrimSpace(line) == "" {
		return crypto.Code{}, failf(exitTrust, "run \"xfer invite --name NAME\" there and give its code on stdin", "no code was given")
	}
	code, err := crypto.ParseCode(line)
	if err != nil {
		return code, failf(exitTrust, "nothing was tried: type it again", "that is no code: %v", err)
	}
	return code, nil
}

// maxLine bounds what is read for a code.
const maxLine = 1024

// readLine reads one line, or fails when ctx ends first: then the reader is left to the end of the process.
func readLine(ctx context.Context, r io.Reader) (string, error) {
	type answer struct {
		line string
		err  error
	}
	got := make(chan answer, 1)
	go func() {
		line, err := bufio.NewReader(io.LimitReader(r, maxLine)).ReadString('\n')
		if errors.Is(err, io.EOF) {
			err = nil
		}
		got <- answer{strings.TrimRight(line, "\r\n"), err}
	}()
	select {
	case a := <-got:
		return a.line, localIO(a.err)
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
