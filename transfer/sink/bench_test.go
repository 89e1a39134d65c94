package sink

import (
	"context"
	"fmt"
	"sync"
	"testing"
)

// BenchmarkReceive writes one file of 64 chunks of 1 MiB, with a checkpoint at its end; as a sparse file, too.
func BenchmarkReceive(b *testing.B) {
	for _, sparse := range []bool{false, true} {
		b.Run(fmt.Sprint("sparse ", sparse), func(b *testing.B) {
			d := openDir(b, b.TempDir(), Options{})
			const log2 = 20
			data := content(1, 64<<log2)
			sp := specOf(b, data, "file")
			sp.ChunkLog2, sp.Sparse = log2, sparse
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				s, _ := mustBegin(b, d.View("alice", All), sp)
				if _, err := sendRest(s, data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSmallFiles publishes files of 4 KiB, 16 at a time.
func BenchmarkSmallFiles(b *testing.B) {
	for _, dur := range []Durability{Full, None} {
		b.Run(fmt.Sprint("durability ", dur), func(b *testing.B) {
			d := openDir(b, b.TempDir(), Options{KeepDoneLog: true})
			data := content(1, 4096)
			c := commitOf(data)
			n := 0
			for b.Loop() {
				var wg sync.WaitGroup
				for range 16 {
					n++
					sp := specOf(b, data, "dir", fmt.Sprint(n))
					sp.Durability = dur
					sp.Transfer = [16]byte{byte(n), byte(n >> 8), byte(n >> 16)}
					wg.Go(func() {
						s, _, err := d.View("alice", All).Begin(context.Background(), sp)
						if err == nil {
							_, err = sendAll(s, data, c)
						}
						if err != nil {
							b.Error(err)
						}
					})
				}
				wg.Wait()
			}
			b.ReportMetric(float64(b.N*16)/b.Elapsed().Seconds(), "files/s")
		})
	}
}
