package transport

import (
	"context"
	"fmt"
	"io"
	"testing"
)

// BenchmarkWrite sends over the loopback to somebody who reads it, one stream on one connection.
func BenchmarkWrite(b *testing.B) {
	for _, kind := range []Kind{TCP, QUIC} {
		for _, size := range []int{16 << 10, 64 << 10, 256 << 10} {
			b.Run(fmt.Sprintf("%s/%dK", kind, size>>10), func(b *testing.B) { benchmarkWrite(b, kind, size) })
		}
	}
}

func benchmarkWrite(b *testing.B, kind Kind, size int) {
	client, server := ends(b, kind, nil)
	c, err := client.OpenStream(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := c.Write([]byte("h")); err != nil { // else nobody learns of a QUIC stream
		b.Fatal(err)
	}
	s, err := server.AcceptStream(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.CopyBuffer(io.Discard, struct{ io.Reader }{s}, make([]byte, 256<<10))
	}()
	p := make([]byte, size)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(p); err != nil {
			b.Fatal(err)
		}
	}
	if err := c.CloseWrite(); err != nil {
		b.Fatal(err)
	}
	<-drained
}
