package durable_test

import (
	"os"
	"strconv"
	"testing"
	"time"

	"xfer/transfer/durable"
)

// benchDir is a directory in memory where the system has one: what is measured is the way to the file system.
func benchDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "durable")
	if err != nil {
		return b.TempDir()
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func mustB(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkOneComponent compares names of one component with the same through os.Root.
func BenchmarkOneComponent(b *testing.B) {
	dir := benchDir(b)
	fsys, err := durable.OpenOS(dir)
	mustB(b, err)
	defer fsys.Close()
	root, err := os.OpenRoot(dir)
	mustB(b, err)
	defer root.Close()
	mustB(b, fsys.Mkdir("dir", 0o755))
	mustB(b, fsys.Mkdir("other", 0o755))
	sub, err := fsys.OpenRoot("other")
	mustB(b, err)
	defer sub.Close()
	mustB(b, os.WriteFile(dir+"/file", nil, 0o644))
	mustB(b, os.WriteFile(dir+"/moved", nil, 0o644))
	when := time.Unix(1, 0)
	for _, c := range []struct {
		name     string
		ours, os func() error
	}{
		{"lstat", func() error { _, err := fsys.Lstat("file"); return err }, func() error { _, err := root.Lstat("file"); return err }},
		{"lstat of nothing", func() error { _, _ = fsys.Lstat("none"); return nil }, func() error { _, _ = root.Lstat("none"); return nil }},
		{
			"mkdir and remove",
			func() error { _ = fsys.Mkdir("d", 0o755); return fsys.Remove("d") },
			func() error { _ = root.Mkdir("d", 0o755); return root.Remove("d") },
		},
		{
			"create and remove",
			func() error { _ = closing(fsys.OpenFile("f", fresh, 0o600)); return fsys.Remove("f") },
			func() error { _ = closing(root.OpenFile("f", fresh, 0o600)); return root.Remove("f") },
		},
		{
			"rename",
			func() error {
				_ = fsys.RenameTo("moved", sub, "m", true)
				return sub.RenameTo("m", fsys, "moved", false)
			},
			func() error { _ = root.Rename("moved", "other/m"); return root.Rename("other/m", "moved") },
		},
		{"set times", func() error { return fsys.SetTimes("file", when) }, func() error { return root.Chtimes("file", when, when) }},
		{"open directory", func() error { return closing(fsys.OpenRoot("dir")) }, func() error { return closing(root.OpenRoot("dir")) }},
	} {
		for _, way := range []struct {
			name string
			do   func() error
		}{{"ours", c.ours}, {"Root", c.os}} {
			b.Run(c.name+"/"+way.name, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := way.do(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

const fresh = os.O_WRONLY | os.O_CREATE | os.O_EXCL | durable.NoFollow

// BenchmarkSmallFile is what a small file costs: made, written, given its time, closed, renamed to another directory.
func BenchmarkSmallFile(b *testing.B) {
	dir := benchDir(b)
	fsys, err := durable.OpenOS(dir)
	mustB(b, err)
	defer fsys.Close()
	mustB(b, fsys.Mkdir("d", 0o755))
	sub, err := fsys.OpenRoot("d")
	mustB(b, err)
	defer sub.Close()
	data := make([]byte, 4096)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	when := time.Unix(1, 0)
	for i := 0; b.Loop(); i++ {
		name := strconv.Itoa(i)
		f, err := fsys.OpenFile(name, fresh, 0o644)
		mustB(b, err)
		_, err = f.Write(data)
		mustB(b, err)
		mustB(b, f.SetTimes(when))
		mustB(b, f.Close())
		mustB(b, fsys.RenameTo(name, sub, name, true))
	}
}
