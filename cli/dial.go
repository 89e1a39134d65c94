package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"xfer/certs"
	"xfer/crypto"
	"xfer/daemon"
	"xfer/transfer"
	"xfer/transfer/transport"
)

// openStore opens the directory of keys.
func openStore(p places) (*certs.Store, error) {
	s, err := certs.Open(p.trust, certs.Options{CheckRights: checkRights, CheckBWLimit: daemon.CheckBWLimit})
	if err != nil {
		return nil, storeError(err)
	}
	return s, nil
}

// storeError gives errors of the key store their exit code: what is wrong with keys is a matter of trust, what is wrong with a
// hand-written file one of configuration.
func storeError(err error) error {
	var perm *certs.PermError
	var file *certs.FileError
	var pe *fs.PathError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &perm):
		return &cliError{code: exitTrust, err: err, hint: noHint}
	case errors.As(err, &file):
		return &cliError{code: exitUsage, err: err, hint: noHint}
	case errors.As(err, &pe):
		return localIO(err)
	}
	return &cliError{code: exitTrust, err: err, hint: noHint}
}

// identityOf returns who we are: --identity, else a key that the service manager gave (CREDENTIALS_DIRECTORY), else our own,
// which is made at the first call.
func (a *app) identityOf(f *connFlags, s *certs.Store) (*crypto.Identity, error) {
	name := f.identity
	if name == "" {
		if dir := a.env.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
			credential := filepath.Join(dir, "identity.key")
			if _, err := os.Stat(credential); err == nil {
				name = credential
			}
		}
	}
	if name == "" {
		id, err := s.Identity()
		return id, storeError(err)
	}
	id, err := certs.LoadIdentityFile(name, time.Now())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, usagef("--identity %s: there is no such file", quote(name))
	}
	return id, storeError(err)
}

// newClient makes the engine's client for a host that we are enrolled with. Nothing is dialled yet.
func (a *app) newClient(o *output, f *connFlags, p places, t target) (*transfer.Client, error) {
	s, err := openStore(p)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	id, err := a.identityOf(f, s)
	if err != nil {
		return nil, err
	}
	peer, known, err := s.KnownPeer(t.hostPort())
	if err != nil {
		return nil, storeError(err)
	}
	if !known {
		return nil, failf(exitTrust, fmt.Sprintf("run \"xfer invite --name NAME\" there and \"xfer enroll %s%s\" here", quote(t.name), portFlag(t)),
			"not enrolled with %s (%s)", quote(t.name), quote(t.hostPort()))
	}
	cfg := crypto.ClientTLS(id, peer.ID)
	if err := a.keyLog(f, o, cfg); err != nil {
		return nil, err
	}
	return &transfer.Client{
		Dial:     dialer(o, f, t, cfg),
		Identity: id,
		Agent:    agent(),
		Observe:  o.observe,
		Options:  transfer.Options{RetryFor: f.retryFor.d, Timeout: f.timeout.d},
	}, nil
}

// portFlag is what to add to a command line for a port that is not the default.
func portFlag(t target) string {
	if t.port == defaultPort {
		return ""
	}
	return fmt.Sprintf(" -P %d", t.port)
}

// keyLog writes TLS secrets where SSLKEYLOGFILE says, only with --insecure-keylog.
func (a *app) keyLog(f *connFlags, o *output, cfg *tls.Config) error {
	name := a.env.Getenv("SSLKEYLOGFILE")
	if !f.keylog || name == "" {
		return nil
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return localIO(err)
	}
	o.note("TLS secrets are written to %s: whoever reads that file can read this connection", quote(name))
	cfg.KeyLogWriter = file // open until the process ends
	return nil
}

// dialer connects as the flags say. Its errors are *transfer.Error.
func dialer(o *output, f *connFlags, t target, cfg *tls.Config) func(context.Context) (transport.Conn, error) {
	var kinds []transport.Kind // auto: both
	if f.transport.s != "auto" {
		kinds = []transport.Kind{transport.Kind(f.transport.s)}
	}
	options := transport.RaceOptions{
		Kinds: kinds, IPv4: f.ipv4, IPv6: f.ipv6, Timeout: f.contimeout.d, Dial: f.dial,
		Note: func(text string) { o.note("%s", text) },
	}
	return func(ctx context.Context) (transport.Conn, error) {
		c, err := transport.Race(ctx, t.host, t.port, cfg, options)
		if err != nil {
			return nil, dialError(ctx, err)
		}
		return c, nil
	}
}

// dialError says of which kind a failed dial is.
func dialError(ctx context.Context, err error) error {
	var te *transfer.Error
	if errors.As(err, &te) {
		return err
	}
	return &transfer.Error{Op: "connect", Kind: dialKind(ctx, err), Err: err}
}

func dialKind(ctx context.Context, err error) transfer.Kind {
	var foreign *transport.TLSError
	switch {
	case ctx.Err() != nil && isInterrupt(context.Cause(ctx)):
		return transfer.KindInterrupted
	case crypto.IsTrustError(err):
		return transfer.KindTrust
	case crypto.IsVersionError(err), errors.As(err, &foreign):
		return transfer.KindProtocol
	}
	return transfer.KindUnreachable
}
