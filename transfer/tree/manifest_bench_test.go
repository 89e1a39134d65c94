package tree

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"xfer/transfer/durable"
)

// sample returns records like those of a source tree: the names of files are numbers with a suffix.
func sample(n int) []Record {
	all := []Record{{Kind: Directory, Mode: 0o755, MTime: 1_700_000_000_000_000_000}}
	dir := 0
	for i := 1; i < n; i++ {
		r := Record{
			Name: fmt.Sprintf("file%06d.go", i), Kind: File, Size: int64(i * 7 % 20_000), Mode: 0o644,
			MTime: 1_700_000_000_000_000_000 + int64(i)*1_234_567,
		}
		if i%10 == 0 {
			r.Name, r.Kind, r.Size, r.Mode = fmt.Sprintf("package%06d", i), Directory, 0, 0o755
			r.Up = min(dir, 1)
			dir = 1
		}
		all = append(all, r)
	}
	return all
}

func BenchmarkEncode(b *testing.B) {
	all := sample(10_000)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		e := NewEncoder()
		buf = buf[:0]
		for i := range all {
			buf, _ = e.Append(buf, &all[i])
		}
	}
	report(b, len(all), len(buf))
}

func BenchmarkDecode(b *testing.B) {
	all := sample(10_000)
	buf, _ := encode(b, all)
	b.ReportAllocs()
	for b.Loop() {
		d := NewDecoder()
		for rest := buf; len(rest) > 0; {
			var err error
			if _, rest, err = d.Next(rest); err != nil {
				b.Fatal(err)
			}
		}
	}
	report(b, len(all), len(buf))
}

func report(b *testing.B, records, bytes int) {
	b.SetBytes(int64(bytes))
	b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(bytes)/float64(records), "B/record")
}

// goRoot returns the Go tree, or that which XFER_TREE names.
func goRoot(b *testing.B) durable.FS {
	b.Helper()
	top := os.Getenv("XFER_TREE")
	if top == "" {
		out, err := exec.Command("go", "env", "GOROOT").Output()
		if err != nil {
			b.Skipf("no tree to walk: %v", err)
		}
		top = strings.TrimSpace(string(out))
	}
	fsys, err := durable.OpenOS(top)
	if err != nil {
		b.Skipf("no tree to walk: %v", err)
	}
	b.Cleanup(func() { fsys.Close() })
	return fsys
}

// BenchmarkManifestOfGoRoot walks a source tree and tells how long its manifest is.
func BenchmarkManifestOfGoRoot(b *testing.B) {
	fsys := goRoot(b)
	n, size := 0, 0
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		e := NewEncoder()
		buf = buf[:0]
		each(b, fsys, ".", WalkOptions{}, func(_ *Walker, it *Item) {
			if it.Err != nil || it.Kind == Other {
				return
			}
			r := it.Record()
			if it.Depth > 0 {
				r.Up = e.Up(it.Depth)
			}
			var err error
			buf, err = e.Append(buf, &r)
			must(b, err)
		})
		n, size = int(e.Count()), len(buf)
	}
	report(b, n, size)
}

// BenchmarkWalkOfGoRoot is the old way, with a path for each entry.
func BenchmarkWalkOfGoRoot(b *testing.B) {
	fsys := goRoot(b)
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		n = 0
		for _, err := range Walk(context.Background(), fsys, ".", Options{}) {
			must(b, err)
			n++
		}
	}
	report(b, n, 0)
}
