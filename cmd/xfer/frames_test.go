//go:build unix

package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xfer/certs"
	"xfer/crypto"
	"xfer/transfer/transport"
	"xfer/transfer/wire"
)

// identity is who a side is: its key, which is made where there is none.
func (s *side) identity(t testing.TB) *crypto.Identity {
	t.Helper()
	store, err := certs.Open(filepath.Join(s.home, "trust"), certs.Options{})
	must(t, err)
	defer store.Close()
	id, err := store.Identity()
	must(t, err)
	return id
}

// dialAs connects to addr.
func dialAs(kind, addr string, cfg *tls.Config) (transport.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if kind == "quic" {
		return transport.DialQUIC(ctx, addr, cfg, transport.DialOptions{})
	}
	return transport.DialTCP(ctx, addr, cfg, transport.DialOptions{})
}

// framer speaks the protocol by hand, one frame at a time.
type framer struct {
	t  testing.TB
	c  transport.Conn
	st transport.Stream
	r  *wire.Reader
}

// framerOn opens the first stream of c. It fails where c has ended already.
func framerOn(t testing.TB, c transport.Conn) (*framer, error) {
	t.Helper()
	t.Cleanup(func() { _ = c.Close(0, "") })
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	st, err := c.OpenStream(ctx)
	if err != nil {
		return nil, err
	}
	_ = st.SetReadDeadline(time.Now().Add(30 * time.Second))
	_ = st.SetWriteDeadline(time.Now().Add(30 * time.Second))
	return &framer{t: t, c: c, st: st, r: wire.NewReader(st, wire.MaxControl)}, nil
}

// framerOf connects as id and begins no session yet.
func (s *server) framerOf(t testing.TB, kind string, id *crypto.Identity) *framer {
	t.Helper()
	c, err := dialAs(kind, s.addr, crypto.ClientTLS(id, s.identity(t).ID()))
	must(t, err)
	f, err := framerOn(t, c)
	must(t, err)
	return f
}

// hello begins a session.
func (f *framer) hello() {
	f.t.Helper()
	f.send(0, wire.Hello{Versions: []uint64{0}, Agent: "by hand"})
	if m, err := f.next(); err != nil {
		f.t.Fatalf("no WELCOME: %v", err)
	} else if _, ok := m.(wire.Welcome); !ok {
		f.t.Fatalf("%T in place of WELCOME", m)
	}
}

func frameOf(t testing.TB, id uint32, m wire.Message) []byte {
	t.Helper()
	b, err := wire.AppendFrame(nil, id, m)
	must(t, err)
	return b
}

func (f *framer) send(id uint32, m wire.Message) {
	f.t.Helper()
	_, err := f.st.Write(frameOf(f.t, id, m))
	must(f.t, err)
}

// next returns the next message that is no keep-alive.
func (f *framer) next() (wire.Message, error) {
	for {
		h, err := f.r.Next()
		if err != nil {
			return nil, err
		}
		m, err := f.r.Message(h)
		if err != nil {
			return nil, err
		}
		switch m.(type) {
		case wire.Ping, wire.Pong:
			continue
		}
		return m, nil
	}
}

// refusal reads until there is an ERROR or the end, and returns the code of the former. Anything that is no refusal fails the
// test.
func (f *framer) refusal(what string) wire.Code {
	f.t.Helper()
	for {
		m, err := f.next()
		var pe *wire.ProtocolError
		switch m := m.(type) {
		case wire.Error:
			return m.Code
		case nil:
			if errors.As(err, &pe) || strings.Contains(err.Error(), "deadline") || strings.Contains(err.Error(), "timeout") {
				f.t.Errorf("%s: %v", what, err)
			}
			return 0
		case wire.Bye, wire.GoAway:
		default:
			f.t.Errorf("%s: answered by %T %+v", what, m, m)
			return 0
		}
	}
}

// placeholder is a path that withPath replaces.
func placeholder(t testing.TB) wire.Path {
	t.Helper()
	p, err := wire.NewPath("Q7Q7Q")
	must(t, err)
	return p
}

// withPath puts any components in place of the placeholder, also those that no path may have.
func withPath(t testing.TB, frame []byte, parts ...string) []byte {
	t.Helper()
	head := func(major byte, n int) []byte {
		if n < 24 {
			return []byte{major | byte(n)}
		}
		return binary.BigEndian.AppendUint16([]byte{major | 25}, uint16(n))
	}
	list := head(0x80, len(parts))
	for _, p := range parts {
		list = append(append(list, head(0x40, len(p))...), p...)
	}
	before, after, ok := strings.Cut(string(frame), "\x81\x45Q7Q7Q")
	if !ok {
		t.Fatal("no placeholder in the frame")
	}
	out := append(append([]byte(before), list...), after...)
	binary.BigEndian.PutUint32(out[4:], uint32(len(out)-wire.HeaderLen))
	return out
}
