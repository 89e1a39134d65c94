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
		r := Record{Name: fmt.Sprintf("file%06d.go", i), Kind: File, Size: int64(i * 7 % 20_000), Mode: 0o644, MTime: 1_700_000_000_000_000_000 + int64(i)*1_234_567}
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

// BenchmarkManifestOfGoRoot walks the Go tree and tells how long its manifest is. XFER_TREE names another one.
func BenchmarkManifestOfGoRoot(b *testing.B) {
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
	defer fsys.Close()
	n, size := 0, 0
	b.ReportAllocs()
	for b.Loop() {
		e := NewEncoder()
		var buf []byte
		for at, err := range Walk(context.Background(), fsys, ".", Options{}) {
			if err != nil {
				b.Fatal(err)
			}
			if at.Err != nil || at.Kind == Other {
				continue
			}
			r := Record{Kind: at.Kind, Mode: uint32(at.Info.Mode().Perm()), MTime: at.Info.ModTime().UnixNano(), Target: at.Target}
			if depth := len(at.Path); depth > 0 {
				r.Up, r.Name = e.Up(depth), at.Path[depth-1]
			}
			if at.Kind == File {
				r.Size = at.Info.Size()
			}
			if buf, err = e.Append(buf, &r); err != nil {
				b.Fatal(err)
			}
		}
		n, size = int(e.Count()), len(buf)
	}
	report(b, n, size)
}
