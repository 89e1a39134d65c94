package transfer

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"

	"xfer/crypto"
	"xfer/transfer/durable"
	"xfer/transfer/sink"
	"xfer/transfer/transport"
	"xfer/transfer/wire"
)

// overPipe makes connections in memory, TLS over net.Pipe, to h's server.
func (h *host) overPipe(ctx context.Context) (transport.Conn, error) {
	near, far := net.Pipe()
	srv := h.srv
	go func() {
		c, err := transport.NewTCPConn(context.Background(), far, crypto.ServerTLS(h.server, nil), true)
		if err == nil {
			_ = srv.Serve(context.Background(), c)
		}
	}()
	return transport.NewTCPConn(ctx, near, crypto.ClientTLS(h.client, h.server.ID()), false)
}

// BenchmarkSendFile sends a file of 64 MiB, a session for each; both ends in this process. The files are in TMPDIR, which is
// best in memory: what is durable takes the disk's time.
func BenchmarkSendFile(b *testing.B) {
	const size = 64 << 20
	src := filepath.Join(b.TempDir(), "src")
	mustWrite(b, src, randomBytes(1, size), 0o644)
	for _, kind := range []transport.Kind{transport.Memory, transport.TCP, transport.QUIC} {
		for _, streams := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/streams=%d", kind, streams), func(b *testing.B) {
				over := kind
				if over == transport.Memory {
					over = transport.TCP // that nobody dials
				}
				h := newHost(b, over)
				c := h.newClient(Options{Streams: streams})
				if kind == transport.Memory {
					c.Dial = h.overPipe
				}
				b.SetBytes(size)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := c.Send(b.Context(), []Source{{Path: src}}, addrOf("f")); err != nil {
						b.Fatal(err)
					}
					if err := os.Remove(h.path("f")); err != nil { // else there is nothing to do
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// discard is a stream that nobody reads.
type discard struct{ transport.Stream }

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkSendPiece reads, hashes and frames the pieces of chunks of 8 MiB.
func BenchmarkSendPiece(b *testing.B) {
	const log2, size = 23, 8 << 20
	name := filepath.Join(b.TempDir(), "src")
	mustWrite(b, name, randomBytes(1, size), 0o644)
	for _, piece := range []int{64 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("%dK", piece>>10), func(b *testing.B) {
			fsys, err := durable.OpenOS(filepath.Dir(name))
			if err != nil {
				b.Fatal(err)
			}
			defer fsys.Close()
			file, err := durable.OpenRegular(fsys, "src")
			if err != nil {
				b.Fatal(err)
			}
			src, err := newFileSource(file)
			if err != nil {
				b.Fatal(err)
			}
			defer src.Close()
			s := newSession(b.Context(), nil, nil, false, nil)
			s.pieceSize = func() int { return piece }
			f := s.newSendFile(2, src, log2)
			st, buf := newStream(discard{}, nil, 1), newSendBuffer()
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				if err := f.sendChunk(st, chunkWork{f: f, length: size}, buf); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReceivePiece takes pieces of 256 KiB of a chunk of 8 MiB that is begun again and again: hashed and written.
func BenchmarkReceivePiece(b *testing.B) {
	const log2, size, piece = 23, 8 << 20, 256 << 10
	dir, err := sink.OpenDir(b.TempDir(), sink.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer dir.Close()
	path, err := sink.NewPath("f")
	if err != nil {
		b.Fatal(err)
	}
	stage, _, err := dir.View("o", sink.All).Begin(b.Context(), sink.Spec{Path: path, Size: 2 * size, ChunkLog2: log2})
	if err != nil {
		b.Fatal(err)
	}
	defer stage.Discard()
	s := newSession(b.Context(), nil, discard{}, true, nil)
	s.recvs[2] = &recvFile{s: s, id: 2, land: stageLanding{stage}, total: 2, open: wire.Open{Size: 2 * size, ChunkLog2: log2}}
	st := newStream(discard{}, nil, 1)
	payload := randomBytes(1, piece)
	b.SetBytes(piece)
	b.ReportAllocs()
	at := uint32(0)
	for b.Loop() {
		d := wire.Data{Offset: at, RawLen: size, Payload: payload}
		if at == 0 {
			d.Flags = wire.DataFirst
		}
		if err := s.takeData(st, 2, d); err != nil {
			b.Fatal(err)
		}
		if at += piece; at == size-piece {
			at = 0
		}
	}
	st.cur.w.Park()
}
