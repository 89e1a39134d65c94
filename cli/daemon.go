package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"xfer/certs"
	"xfer/daemon"
	"xfer/daemon/control"
	"xfer/transfer"
	"xfer/transfer/transport"
)

// inboxRoot is the root of a daemon that was told of none: a directory under the state folder.
const inboxRoot = "inbox"

// daemonFlags are those of the daemon verb.
type daemonFlags struct {
	*connFlags
	listen    []string
	roots     []string
	transport string
	untilEOF  bool
	demo      string
}

func (a *app) daemonCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "daemon",
		Short: "serve this machine until SIGTERM",
		Long: `daemon serves its roots in the foreground, on one port number for TCP and UDP, until SIGTERM or SIGINT (exit 0). SIGHUP reads
the configuration again. Its first run makes the identity. When it is ready it prints one line to stdout:
  xfer daemon ready listen=HOST:PORT[,HOST:PORT] transports=tcp,quic identity=ID`,
		Args: noOperands,
	}
	f := &daemonFlags{connFlags: localFlags(cmd)}
	s := cmd.Flags()
	s.StringArrayVar(&f.listen, "listen", nil, "ADDR:PORT to serve, may be repeated (default :7419; port 0 picks a free one)")
	s.StringArrayVar(&f.roots, "root", nil, "NAME=DIR to serve, may be repeated; the first is the default root (default: inbox under the state folder)")
	s.StringVar(&f.transport, "transport", "", "tcp,quic (default both)")
	s.StringVarP(&f.identity, "identity", "i", "", "use this key file instead of our own")
	s.BoolVar(&f.untilEOF, "until-eof", false, "stop when stdin ends")
	s.StringVar(&f.demo, "demo", "", "the folder of the demo that started this: remove it if stdin ends without a word")
	must(s.MarkHidden("until-eof"))
	must(s.MarkHidden("demo"))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		hangup := make(chan struct{}, 1)
		err := a.prepare(cmd, f.connFlags, "", func(ctx context.Context, o *output) error {
			serve := func(ctx context.Context) error { return a.serve(ctx, o, f, hangup) }
			if f.untilEOF {
				return a.serveUntilEOF(ctx, f.demo, serve)
			}
			return serve(ctx)
		})
		if err != nil {
			return err
		}
		for _, r := range f.roots {
			if _, err := parseRoot(r); err != nil {
				return err
			}
		}
		if _, err := parseTransports(splitWords(f.transport)); err != nil {
			return usagef("--transport: %v", err)
		}
		a.job.patient = true
		a.job.hangup = func() {
			select {
			case hangup <- struct{}{}:
			default: // one is pending
			}
		}
		return nil
	}
	return cmd
}

// parseRoot reads NAME=DIR.
func parseRoot(s string) (daemon.RootConfig, error) {
	name, dir, ok := strings.Cut(s, "=")
	if !ok || name == "" || dir == "" {
		return daemon.RootConfig{}, usagef("--root %s: want NAME=DIR", quote(s))
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return daemon.RootConfig{}, usagef("--root %s: %v", quote(s), err)
	}
	return daemon.RootConfig{Name: name, Path: abs}, nil
}

func parseTransports(words []string) ([]transport.Kind, error) {
	var kinds []transport.Kind
	for _, w := range words {
		switch k := transport.Kind(w); k {
		case transport.TCP, transport.QUIC:
			if !slices.Contains(kinds, k) {
				kinds = append(kinds, k)
			}
		case "auto": // XFER_TRANSPORT is for clients as well
			return []transport.Kind{transport.TCP, transport.QUIC}, nil
		default:
			return nil, fmt.Errorf("%s: want tcp, quic or both", quote(w))
		}
	}
	return kinds, nil
}

// daemonConfig puts flags and configuration together. It is called again at SIGHUP.
func (a *app) daemonConfig(f *daemonFlags, p places, log *slog.Logger) (daemon.Config, error) {
	configs, err := f.configs(p)
	if err != nil {
		return daemon.Config{}, err
	}
	c := daemon.Config{Listen: f.listen, Socket: p.socket, Version: readBuild().Version, Log: log}
	if c.Transports, err = parseTransports(splitWords(f.transport)); err != nil {
		return c, usagef("--transport: %v", err)
	}
	for _, r := range f.roots {
		root, err := parseRoot(r)
		if err != nil {
			return c, err
		}
		c.Roots = append(c.Roots, root)
	}
	for _, file := range configs {
		if err := file.daemonInto(&c); err != nil {
			return c, err
		}
	}
	if len(c.Roots) == 0 {
		c.Roots = []daemon.RootConfig{{Name: inboxRoot, Path: filepath.Join(p.state, inboxRoot)}}
	}
	return c, nil
}

// daemonInto fills in what nothing stronger has set.
func (c *config) daemonInto(d *daemon.Config) error {
	listen, err := texts(c.Listen)
	if err != nil {
		return usagef("%s: listen: %v", quote(c.file), err)
	}
	if len(d.Listen) == 0 {
		d.Listen = listen
	}
	words, err := texts(c.Transports)
	if err != nil {
		return usagef("%s: transports: %v", quote(c.file), err)
	}
	kinds, err := parseTransports(words)
	if err != nil {
		return usagef("%s: transports: %v", quote(c.file), err)
	}
	if len(d.Transports) == 0 {
		d.Transports = kinds
	}
	if d.BWLimit, err = c.limit("daemon", c.Daemon.BWLimit, d.BWLimit); err != nil {
		return err
	}
	for name, block := range c.Client {
		if d.ClientBWLimit == nil {
			d.ClientBWLimit = map[string]transfer.Limit{}
		}
		if d.ClientBWLimit[name], err = c.limit("client."+name, block.BWLimit, d.ClientBWLimit[name]); err != nil {
			return err
		}
	}
	if len(d.Roots) > 0 {
		return nil
	}
	for _, name := range c.order {
		dir := c.Root[name].Path
		if !filepath.IsAbs(dir) {
			abs, err := filepath.Abs(c.file)
			if err != nil {
				return usagef("%s: %v", quote(c.file), err)
			}
			dir = filepath.Join(filepath.Dir(abs), dir)
		}
		d.Roots = append(d.Roots, daemon.RootConfig{Name: name, Path: dir})
	}
	return nil
}

// limit reads the bwlimit of a block, unless something stronger has set it.
func (c *config) limit(block, text string, stronger transfer.Limit) (transfer.Limit, error) {
	if text == "" || stronger != nil {
		return stronger, nil
	}
	l, err := transfer.ParseLimit(text)
	if err != nil {
		return nil, usagef("%s: [%s] bwlimit: %v", quote(c.file), quote(block), err)
	}
	if l == nil { // "off" is an answer as well: nothing weaker counts
		l = func(time.Time) (int64, int64) { return 0, 0 }
	}
	return l, nil
}

func (a *app) logger(f *connFlags) *slog.Logger {
	level := slog.LevelInfo
	if f.verbose {
		level = slog.LevelDebug
	}
	if f.quiet {
		level = slog.LevelError
	}
	options := &slog.HandlerOptions{Level: level}
	if a.env.StderrTerminal {
		return slog.New(slog.NewTextHandler(a.env.Stderr, options))
	}
	return slog.New(slog.NewJSONHandler(a.env.Stderr, options))
}

func (a *app) serve(ctx context.Context, o *output, f *daemonFlags, hangup <-chan struct{}) error {
	p, err := findPlaces(&a.env)
	if err != nil {
		return err
	}
	log := a.logger(f.connFlags)
	c, err := a.daemonConfig(f, p, log)
	if err != nil {
		return err
	}
	dirs := []string{p.state, filepath.Dir(p.socket)}
	if inbox := filepath.Join(p.state, inboxRoot); c.Roots[0].Path == inbox {
		dirs = append(dirs, inbox) // other roots that are missing are worth a warning: their disk may be
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return localIO(err)
		}
	}
	for _, dir := range p.openToOthers() {
		log.Warn("others can write to a directory of ours", "dir", dir, "run", "chmod o-w "+quote(dir))
	}
	s, err := openStore(p)
	if err != nil {
		return err
	}
	defer s.Close()
	c.Ready = func(r daemon.ReadyInfo) { o.print(readyLine(r)) }
	c.Reread = func() (daemon.Config, error) { return a.daemonConfig(f, p, log) }
	if err := c.Systemd(a.env.Getenv); err != nil {
		return usagef("%v", err)
	}
	server, err := daemon.New(c, s)
	if err != nil {
		return newDaemonError(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reloading := make(chan struct{})
	go func() {
		defer close(reloading)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hangup:
				a.reload(server, f, p, log)
			}
		}
	}()
	err = server.Run(ctx)
	cancel()
	<-reloading
	if err != nil && !errors.Is(err, context.Canceled) && !isInterrupt(err) {
		return daemonError(err)
	}
	return nil
}

func (a *app) reload(server *daemon.Server, f *daemonFlags, p places, log *slog.Logger) {
	c, err := a.daemonConfig(f, p, log)
	if err == nil {
		err = server.Reload(c)
	}
	if err != nil {
		log.Error("reload: the old configuration stays in force", "error", clean(err.Error()))
	}
}

// newDaemonError gives what is wrong with a daemon's configuration, keys or roots its exit code.
func newDaemonError(err error) error {
	var perm *certs.PermError
	var file *certs.FileError
	var errno syscall.Errno
	switch {
	case errors.As(err, &perm), errors.As(err, &file):
		return storeError(err)
	case errors.As(err, &errno), errors.Is(err, os.ErrPermission), errors.Is(err, os.ErrNotExist):
		return localIO(err)
	}
	return &cliError{code: exitUsage, err: err}
}

// daemonError gives what ended a daemon its exit code.
func daemonError(err error) error {
	if errors.Is(err, control.ErrRunning) {
		return failf(exitLocked, "stop it first, or set XFER_HOME to a directory for this one", "%v", err)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return failf(exitError, "another program has that port, maybe another xfer: see xfer status, or take another one with --listen ADDR:PORT", "%v", err)
	}
	return err
}

func readyLine(r daemon.ReadyInfo) string {
	kinds := make([]string, len(r.Transports))
	for i, k := range r.Transports {
		kinds[i] = string(k)
	}
	return fmt.Sprintf("xfer daemon ready listen=%s transports=%s identity=%s\n", strings.Join(r.Listen, ","), strings.Join(kinds, ","), r.Identity)
}
