package daemon

import (
	"context"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"xfer/crypto"
	"xfer/transfer/transport"
)

// quicWindows bounds what all QUIC connections together may have sent before it is read, in bytes.
const quicWindows = 64 << 20

// served is one listener with its transport.
type served struct {
	transport.Listener
	kind transport.Kind
}

// splitListen checks ADDR:PORT. ADDR may be empty for all addresses of this machine.
func splitListen(addr string) (host, port string, err error) {
	host, port, err = net.SplitHostPort(addr)
	if err != nil {
		return "", "", fmt.Errorf("listen address %q: want ADDR:PORT or :PORT", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "", "", fmt.Errorf("listen address %q: %q is no port number from 0 to 65535", addr, port)
	}
	return host, port, nil
}

// listenAll opens all that c says, or takes what it was given. It owns the given sockets, also when it fails.
func listenAll(c Config, id *crypto.Identity) (all []served, err error) {
	defer func() {
		if err != nil {
			closeAll(all)
			all = nil
		}
	}()
	tlsConf := crypto.ServerTLS(id, nil) // any key may knock; the policy decides
	o := transport.ListenOptions{
		HandshakeTimeout: c.Limits.HandshakeTimeout,
		PerAddress:       c.Limits.PerAddress,
		Handshakes:       c.Limits.Handshakes,
		Windows:          transport.NewBudget(quicWindows),
		ResetKey:         resetKey(id),
		Log:              c.Log,
	}
	if len(c.Listeners)+len(c.PacketConns) == 0 {
		for _, addr := range c.Listen {
			ls, err := transport.Listen(addr, c.Transports, tlsConf, o)
			if err != nil {
				return all, err
			}
			for i, l := range ls {
				all = append(all, served{l, c.Transports[i]})
			}
		}
		return all, nil
	}
	var errs []error
	for _, l := range c.Listeners {
		if !slices.Contains(c.Transports, transport.TCP) {
			errs = append(errs, l.Close())
			continue
		}
		t, err := transport.ListenTCP(l, tlsConf, o)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, served{t, transport.TCP})
	}
	for _, p := range c.PacketConns {
		if !slices.Contains(c.Transports, transport.QUIC) {
			errs = append(errs, p.Close())
			continue
		}
		q, err := transport.ListenQUIC(p, tlsConf, o)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, served{q, transport.QUIC})
	}
	if err := errors.Join(errs...); err != nil {
		return all, err
	}
	if len(all) == 0 {
		return all, errors.New("none of the sockets that were passed is of a transport to be served")
	}
	return all, nil
}

func closeAll(all []served) error {
	var errs []error
	for _, l := range all {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// resetKey is a secret that is the same in each run, for QUIC's stateless resets (RFC 9000 10.3): a client of a daemon
// that was killed hears from the next one at once that its connection is no more. Without a key in a file there is
// none.
func resetKey(id *crypto.Identity) (key [32]byte) {
	private, ok := id.Certificate().PrivateKey.(ed25519.PrivateKey)
	if !ok {
		return key
	}
	b, err := hkdf.Key(sha256.New, private.Seed(), nil, "xfer quic stateless reset v1", len(key))
	if err != nil {
		return key
	}
	copy(key[:], b)
	return key
}

// addresses are those that are served, each once.
func addresses(all []served) (list []string) {
	for _, l := range all {
		if a := l.Addr().String(); !slices.Contains(list, a) {
			list = append(list, a)
		}
	}
	return list
}

// acceptFrom hands l's connections to serve until ctx ends or l breaks. room holds it back while there are too many.
func acceptFrom(ctx context.Context, l served, room chan struct{}, serve func(transport.Conn)) error {
	for {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		c, err := l.Accept(ctx)
		if err == nil {
			serve(c) // gives the room back
			continue
		}
		<-room
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("listener %s %s: %w", l.kind, l.Addr(), err)
		}
		select { // whatever it is, it must not become a busy loop
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}
