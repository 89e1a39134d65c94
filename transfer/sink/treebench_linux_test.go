package sink

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"xfer/crypto"
)

// benchTree is n files of size bytes, 100 in a directory.
func benchTree(n, size int) (es []TreeEntry, data []byte, root crypto.Digest) {
	data = content(1, size)
	src := source{}
	for i := range n {
		src[fmt.Sprintf("d%03d/f%05d", i/100, i)] = file(string(data))
	}
	return src.entries(), data, digest(data)
}

// sendBench sends a tree with two writers, as an engine does.
func sendBench(b *testing.B, v *View, spec TreeSpec, es []TreeEntry, data []byte, root crypto.Digest) {
	tree, err := v.BeginTree(context.Background(), spec)
	if err != nil {
		b.Fatal(err)
	}
	defer tree.Close()
	wanted := make(chan uint64, 4096)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for no := range wanted {
				if err := tree.Put(no, data, root, nil); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for _, e := range es {
		if tree.Room() <= 0 {
			_ = tree.Wait(context.Background())
		}
		switch v := tree.Take(e); v.Code {
		case VerdictNew, VerdictUpdate:
			wanted <- e.No
		case VerdictFailed:
			b.Fatal(v.Err)
		}
	}
	close(wanted)
	wg.Wait()
	if r, err := tree.Finish(context.Background()); err != nil || r.Failed+r.Missing > 0 {
		b.Error(r, err)
	}
}

// BenchmarkTree receives 20,000 files of 4 KiB: new, and again with nothing changed.
func BenchmarkTree(b *testing.B) {
	es, data, root := benchTree(20_000, 4096)
	for _, where := range []string{"tmpfs", "ext4"} {
		dir := func(b *testing.B) string {
			if where == "ext4" {
				return freshExt4(b, "16G")
			}
			dir, err := os.MkdirTemp("/dev/shm", "sink")
			if err != nil {
				b.Skip(err)
			}
			b.Cleanup(func() { os.RemoveAll(dir) })
			return dir
		}
		for _, dur := range []Durability{Batch, None} {
			b.Run(fmt.Sprintf("%s/new/durability %d", where, dur), func(b *testing.B) {
				b.ReportAllocs()
				n := 0
				d := openDir(b, dir(b), Options{})
				perEntry := cpuOf(b)
				for b.Loop() { // each time elsewhere: what it costs to remove a tree is not its price
					n++
					p, _ := NewPath(fmt.Sprint("top", n))
					sendBench(b, d.View("alice", All), TreeSpec{Path: p, Durability: dur}, es, data, root)
				}
				perEntry(b, len(es))
			})
		}
		b.Run(where+"/unchanged", func(b *testing.B) {
			b.ReportAllocs()
			d := openDir(b, dir(b), Options{})
			spec := TreeSpec{Path: mustPath(b, "top")}
			sendBench(b, d.View("alice", All), spec, es, data, root)
			d.trees.young = 0
			perEntry := cpuOf(b)
			for b.Loop() {
				sendBench(b, d.View("alice", All), spec, es, data, root)
			}
			perEntry(b, len(es))
		})
	}
}

// cpuOf begins to measure; the function it returns reports what an entry has cost since, on all cores.
func cpuOf(b *testing.B) func(b *testing.B, entries int) {
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := cpu()
	return func(b *testing.B, entries int) {
		n := float64(entries * b.N)
		b.ReportMetric(n/b.Elapsed().Seconds(), "entries/s")
		b.ReportMetric(float64((cpu()-before).Nanoseconds())/n, "cpu-ns/entry")
	}
}
