package main

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/quic-go/quic-go"
)

// The baselines: io.Copy from a file to one TLS connection, or one QUIC stream, and from there to a file. Nothing is
// hashed, nothing resumed, nothing synced. The client says the length of the name (2 bytes) and the name, then all
// bytes, and ends its direction; the server answers one byte when the file is closed.

const bareDone = 'k'

// halfConn is what both transports give.
type halfConn interface {
	io.ReadWriter
	CloseWrite() error
}

// quicStream is a stream whose Close is that of the direction.
type quicStream struct{ *quic.Stream }

func (s quicStream) CloseWrite() error { return s.Close() }

func bareServe(args []string) error {
	kind, certFile, dir := args[0], args[1], args[2]
	cfg, err := tlsConfig(certFile)
	if err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if kind == "quic" {
		return bareServeQUIC(cfg, root)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		return err
	}
	ready(l.Addr())
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()
			complain(bareReceive(c.(*tls.Conn), root))
		}()
	}
}

func bareServeQUIC(cfg *tls.Config, root *os.Root) error {
	l, err := quic.ListenAddr("127.0.0.1:0", cfg, nil)
	if err != nil {
		return err
	}
	ready(l.Addr())
	for {
		c, err := l.Accept(context.Background())
		if err != nil {
			return err
		}
		go func() {
			s, err := c.AcceptStream(c.Context())
			if err == nil {
				err = bareReceive(quicStream{s}, root)
			}
			complain(err)
			<-c.Context().Done() // the client closes when it has the answer
		}()
	}
}

func complain(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench: baseline:", err)
	}
}

// bareReceive stores one file.
func bareReceive(c halfConn, root *os.Root) error {
	var head [2]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint16(head[:])
	if n > 4096 {
		return fmt.Errorf("a name of %d bytes", n)
	}
	name := make([]byte, n)
	if _, err := io.ReadFull(c, name); err != nil {
		return err
	}
	f, err := root.Create(string(name))
	if err != nil {
		return err
	}
	_, err = io.Copy(f, c)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if _, err := c.Write([]byte{bareDone}); err != nil {
		return err
	}
	return c.CloseWrite()
}

func barePut(args []string) error {
	kind, certFile, addr, src, name := args[0], args[1], args[2], args[3], args[4]
	cfg, err := tlsConfig(certFile)
	if err != nil {
		return err
	}
	f, err := os.Open(src)
	if err != nil {
		return err
	}
	defer f.Close()
	if kind == "quic" {
		return barePutQUIC(cfg, addr, f, name)
	}
	c, err := tls.Dial("tcp", addr, cfg)
	if err != nil {
		return err
	}
	defer c.Close()
	return bareSend(c, f, name)
}

func barePutQUIC(cfg *tls.Config, addr string, f *os.File, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	udp, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return err
	}
	conn, err := quic.DialAddr(ctx, udp.String(), cfg, nil)
	if err != nil {
		return err
	}
	defer conn.CloseWithError(0, "")
	s, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return err
	}
	return bareSend(quicStream{s}, f, name)
}

func bareSend(c halfConn, f *os.File, name string) error {
	head := binary.BigEndian.AppendUint16(nil, uint16(len(name)))
	if _, err := c.Write(append(head, name...)); err != nil {
		return err
	}
	if _, err := io.Copy(c, f); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := io.ReadFull(c, answer[:]); err != nil || answer[0] != bareDone {
		return fmt.Errorf("not stored: %v", err)
	}
	return nil
}

// bareService is the server of a baseline.
type bareService struct {
	server *server
	addr   string
}

// startPart starts one that serves.
func (b *bench) startPart(ctx context.Context, args ...string) (*server, string, error) {
	if err := b.makeCert(); err != nil {
		return nil, "", err
	}
	cmd := b.part(context.WithoutCancel(ctx), args...)
	if _, err := cmd.StdinPipe(); err != nil { // held open as long as we live
		return nil, "", err
	}
	s, line, err := startServer(ctx, cmd, false, readyMark)
	if err != nil {
		return nil, "", err
	}
	return s, line[len(readyMark):], nil
}

// bareContender is a baseline over tls or quic.
func (b *bench) bareContender(kind string) *contender {
	return &contender{plain: true, open: func(ctx context.Context, _ *site) (receiver, error) {
		if s := b.bare[kind]; s != nil {
			return &bareReceiver{s, b, kind}, nil
		}
		s, addr, err := b.startPart(ctx, partBareServe, kind, b.certFile(), b.scratch)
		if err != nil {
			return nil, err
		}
		if b.bare == nil {
			b.bare = map[string]*bareService{}
		}
		b.bare[kind] = &bareService{s, addr}
		return &bareReceiver{b.bare[kind], b, kind}, nil
	}}
}

type bareReceiver struct {
	*bareService
	b    *bench
	kind string
}

func (r *bareReceiver) command(ctx context.Context, t task) pipeline {
	name, err := filepath.Rel(r.b.scratch, filepath.Join(t.dir, filepath.Base(t.src)))
	if err != nil {
		panic("bench: a task outside of scratch: " + err.Error())
	}
	return pipeline{r.b.part(ctx, partBarePut, r.kind, r.b.certFile(), r.addr, t.src, filepath.ToSlash(name))}
}

func (r *bareReceiver) servers() []int { return []int{r.server.pid()} }
func (r *bareReceiver) close()         {}
