package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

func joined(errs ...error) error { return errors.Join(errs...) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same(want, got string, meta bool) error { return (&comparer{meta: meta}).same(want, got) }

func TestSameFindsEveryDifference(t *testing.T) {
	at := time.Unix(1_700_000_000, 0)
	make := func() string {
		dir := filepath.Join(t.TempDir(), "tree")
		must(t, os.MkdirAll(filepath.Join(dir, "sub", "empty"), 0o755))
		for _, name := range []string{"a", "sub/b"} {
			must(t, randomFile(filepath.Join(dir, name), 300_000, 1))
			must(t, os.Chtimes(filepath.Join(dir, name), at, at))
		}
		return dir
	}
	want := make()
	for name, change := range map[string]func(dir string) error{
		"a byte": func(dir string) error {
			f, err := os.OpenFile(filepath.Join(dir, "sub/b"), os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteAt([]byte("!"), 299_999)
			return errors.Join(err, f.Close(), os.Chtimes(f.Name(), at, at))
		},
		"the length": func(dir string) error {
			return errors.Join(os.Truncate(filepath.Join(dir, "a"), 299_999), os.Chtimes(filepath.Join(dir, "a"), at, at))
		},
		"the time": func(dir string) error { return os.Chtimes(filepath.Join(dir, "a"), at, at.Add(time.Second)) },
		"one less": func(dir string) error { return os.Remove(filepath.Join(dir, "sub/empty")) },
		"one more": func(dir string) error { return os.Mkdir(filepath.Join(dir, "more"), 0o755) },
		"the name": func(dir string) error { return os.Rename(filepath.Join(dir, "a"), filepath.Join(dir, "A2")) },
		"the kind": func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, "a")), os.Mkdir(filepath.Join(dir, "a"), 0o644))
		},
		"the mode":  func(dir string) error { return os.Chmod(filepath.Join(dir, "a"), 0o444) },
		"not there": os.RemoveAll,
	} {
		got := make()
		must(t, same(want, got, true))
		must(t, change(got))
		if err := same(want, got, true); err == nil {
			t.Errorf("%s differs and is not seen", name)
		}
		os.Chmod(filepath.Join(got, "a"), 0o644) // so that it can be removed everywhere
	}
	got := make()
	must(t, os.Chtimes(filepath.Join(got, "a"), at, at.Add(time.Hour)))
	if err := same(want, got, false); err != nil {
		t.Errorf("without meta: %v", err)
	}
}

func TestSameSparse(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("holes are looked for " + "only on Linux")
	}
	dir := t.TempDir()
	x, y := filepath.Join(dir, "x"), filepath.Join(dir, "y")
	must(t, sparseFile(x, 64*mib))
	must(t, sparseFile(y, 64*mib))
	must(t, sameSparse(x, y))
	for _, at := range []int64{5, 20 * mib, 64*mib - 1} { // in an island, in a hole, the last byte
		must(t, sparseFile(y, 64*mib))
		f, err := os.OpenFile(y, os.O_RDWR, 0)
		must(t, err)
		var b [1]byte
		_, err = f.ReadAt(b[:], at)
		must(t, err)
		b[0]++
		_, err = f.WriteAt(b[:], at)
		must(t, errors.Join(err, f.Close()))
		if sameSparse(x, y) == nil {
			t.Errorf("a changed byte at %d is not seen", at)
		}
	}
}

func TestEqualBlocks(t *testing.T) {
	dir := t.TempDir()
	x, y := filepath.Join(dir, "x"), filepath.Join(dir, "y")
	must(t, randomFile(x, 1_000_001, 1))
	must(t, os.WriteFile(y, nil, 0o644))
	must(t, os.Truncate(y, 1_000_001)) // as a stage: all of the size, little of the content
	whole, err := os.ReadFile(x)
	must(t, err)
	f, err := os.OpenFile(y, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(whole[:500_000], 0)
	must(t, err)
	_, err = f.WriteAt(whole[999_000:], 999_000)
	must(t, errors.Join(err, f.Close()))
	got, err := equalBlocks(y, x)
	// 122 whole blocks at the beginning; the last one, of 577 bytes, ends the file.
	if want := int64(122*4096 + 1_000_001%4096); err != nil || got != want {
		t.Errorf("got %d, %v, want %d", got, err, want)
	}
}
