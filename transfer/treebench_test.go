package transfer

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// benchTree makes a directory of n files of size bytes, a hundred to a directory.
func benchTree(b *testing.B, n, size int) string {
	b.Helper()
	dir := b.TempDir()
	for i := range n {
		name := filepath.Join(dir, fmt.Sprintf("%03d", i/100), fmt.Sprintf("file%06d", i))
		if i%100 == 0 {
			if err := os.Mkdir(filepath.Dir(name), 0o755); err != nil {
				b.Fatal(err)
			}
		}
		if err := os.WriteFile(name, randomBytes(uint64(i), size), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	return dir
}

// A tree of small files over loopback TCP, both sides in this process; TMPDIR says on which file system.
func BenchmarkSendTree(b *testing.B) {
	h := newHost(b, kinds[0])
	src := benchTree(b, 5000, 4<<10)
	c := h.newClient(Options{Durability: "none"})
	b.SetBytes(5000 * 4 << 10)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, err := c.Send(context.Background(), []Source{{Path: src}}, addrOf(fmt.Sprintf("t%d", i))); err != nil {
			b.Fatal(err)
		}
		i++
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/5000, "us/file")
}

// The same tree again and again: nothing is to be done.
func BenchmarkUnchangedTree(b *testing.B) {
	h := newHost(b, kinds[0])
	src := benchTree(b, 5000, 10)
	c := h.newClient(Options{})
	send := func() {
		if _, err := c.Send(context.Background(), []Source{{Path: src + "/"}}, addrOf("t")); err != nil {
			b.Fatal(err)
		}
	}
	send()
	b.ReportAllocs()
	for b.Loop() {
		send()
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/5000, "us/file")
}
