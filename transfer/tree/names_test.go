package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"xfer/transfer/durable"
)

// vast is a file system of one directory with so many files, in an order that is not that of their names.
type vast struct {
	durable.FS // never asked
	n          int
}

func (v vast) name(i int) string { return fmt.Sprintf("IMG_%08d.jpeg", (i*7919)%v.n) }

type vastInfo struct {
	fs.FileInfo
	name string
	id   durable.ID
	mode fs.FileMode
}

func (i vastInfo) Name() string      { return i.name }
func (i vastInfo) Mode() fs.FileMode { return i.mode }
func (i vastInfo) IsDir() bool       { return i.mode.IsDir() }
func (i vastInfo) Sys() any          { return i.id }

func (v vast) Lstat(name string) (fs.FileInfo, error) {
	if name == "." {
		return vastInfo{mode: fs.ModeDir | 0o755, id: durable.ID{Inode: 1}}, nil
	}
	return vastInfo{name: name, mode: 0o644, id: durable.ID{Inode: 2}}, nil
}

func (v vast) Stat(name string) (fs.FileInfo, error)                   { return v.Lstat(name) }
func (v vast) OpenRoot(string) (durable.FS, error)                     { return v, nil }
func (v vast) Close() error                                            { return nil }
func (v vast) OpenFile(string, int, fs.FileMode) (durable.File, error) { return &vastDir{v: v}, nil }

type vastDir struct {
	durable.File // never asked
	v            vast
	next         int
}

func (d *vastDir) Close() error { return nil }

func (d *vastDir) Readdirnames(n int) ([]string, error) {
	if d.next == d.v.n {
		return nil, io.EOF
	}
	var list []string
	for len(list) < n && d.next < d.v.n {
		list = append(list, d.v.name(d.next))
		d.next++
	}
	return list, nil
}

// heap returns how many bytes are in use that are not garbage.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A directory of very many entries takes what its names take and a little.
func TestVastDirectoryTakesLittle(t *testing.T) {
	fsys := vast{n: 300_000}
	const perName = 17 + 2 + 4 // the name, its length, where it is
	before := heap()
	w, err := NewWalker(fsys, ".", WalkOptions{})
	must(t, err)
	if _, err := w.Next(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := heap() - before; got > uint64(fsys.n)*(perName+3) {
		t.Errorf("%d bytes for %d names, want about %d", got, fsys.n, fsys.n*perName)
	}
	last, n := "", 0
	for {
		it, err := w.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if it.Name <= last {
			t.Fatalf("%s behind %s", it.Name, last)
		}
		last = it.Name
		n++
	}
	if n != fsys.n {
		t.Errorf("%d entries, want %d", n, fsys.n)
	}
	must(t, w.Close())
	if got := heap() - min(before, heap()); got > 1<<20 {
		t.Errorf("%d bytes are kept after the walk", got)
	}
	runtime.KeepAlive(w)
}

func TestNames(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var n names
	for _, count := range []int{0, 1, 5, 5000, 3, 100} { // the same one again and again
		var list []string
		for range count {
			b := make([]byte, 1+rng.IntN(255))
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			list = append(list, string(b))
			if !n.add(list[len(list)-1]) {
				t.Fatal("there is no room")
			}
		}
		n.sort()
		slices.Sort(list)
		if n.len() != count {
			t.Fatalf("%d names, want %d", n.len(), count)
		}
		for i, name := range list {
			if string(n.get(i)) != name {
				t.Fatalf("name %d is %q, want %q", i, n.get(i), name)
			}
			if at := n.from(name); list[at] != name || at > 0 && list[at-1] == name {
				t.Fatalf("%q is found at %d", name, at)
			}
			if at := n.from(name + "\x00"); at < count && list[at] <= name {
				t.Fatalf("behind %q: %d", name, at)
			}
		}
		n.reset()
		if n.len() != 0 || cap(n.refs) > 1<<14 || len(n.blocks) > 1 {
			t.Fatalf("after reset: %d names, %d blocks", n.len(), len(n.blocks))
		}
	}
	if n.add(strings.Repeat("x", 1<<16)) {
		t.Error("a name of 64 KiB was taken")
	}
}

// With both ways of asking for names.
func TestNamesOfADirectory(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		var expect []string
		for i := range 2*batch + 3 {
			expect = append(expect, fmt.Sprint(i))
			put(t, fsys, expect[i])
		}
		slices.Sort(expect)
		var n names
		must(t, n.list(fsys))
		for i := range min(n.len(), len(expect)) {
			if got := string(n.get(i)); got != expect[i] {
				t.Fatalf("name %d is %q, want %q", i, got, expect[i])
			}
		}
		if n.len() != len(expect) {
			t.Errorf("%d names, want %d", n.len(), len(expect))
		}
		put(t, fsys, "file")
		f, err := fsys.OpenFile("file", 0, 0)
		must(t, err)
		defer f.Close()
		if err := n.read(f); err == nil {
			t.Error("a file was listed")
		}
	})
}

// Where no more names fit the listing says so, and those before are shown.
func TestNamesHaveAnEnd(t *testing.T) {
	n := names{blocks: make([][]byte, 1<<(32-blockBits))}
	n.blocks[len(n.blocks)-1] = make([]byte, 1<<blockBits-5, 1<<blockBits)
	if !n.add("abc") || n.add("d") {
		t.Fatal("room for 5 bytes: a name of 3 has room, no other behind it")
	}
	if got := string(n.get(0)); got != "abc" {
		t.Errorf("%q", got)
	}
	n.blocks[len(n.blocks)-1] = make([]byte, 1<<blockBits)
	if err := n.read(&vastDir{v: vast{n: 3}}); !errors.Is(err, errManyNames) {
		t.Errorf("%v, want errManyNames", err)
	}
}

// BenchmarkVastDirectory walks a directory of 100,000 entries, which costs no system calls here.
func BenchmarkVastDirectory(b *testing.B) {
	fsys := vast{n: 100_000}
	b.ReportAllocs()
	most := uint64(0)
	for b.Loop() {
		b.StopTimer()
		before := heap()
		b.StartTimer()
		w, err := NewWalker(fsys, ".", WalkOptions{})
		must(b, err)
		_, err = w.Next(context.Background())
		must(b, err)
		b.StopTimer()
		most = max(most, heap()-before)
		b.StartTimer()
		for err == nil {
			_, err = w.Next(context.Background())
		}
		if !errors.Is(err, io.EOF) {
			b.Fatal(err)
		}
		must(b, w.Close())
	}
	b.ReportMetric(float64(most)/float64(fsys.n), "kept-B/name")
	b.ReportMetric(float64(fsys.n)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}
