package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"xfer/crypto"
	"xfer/transfer"
	"xfer/transfer/durable"
)

// Sizes of the sample: large enough to be cut half-way, small enough for any machine.
const (
	sampleSmall = 200
	sampleLarge = 256 << 20
)

// oddNames are what file names can be on Unix, and what tools stumble over. Where the system refuses one it is left out.
func oddNames() []string {
	return []string{
		"-leading dash", "new\nline", "esc\x1b[31mred", "invalid \xff\xfe utf-8", "right\u202eto left", " spaces around ", "quote'\"quote",
		"back\\slash", "colon:name", "*star?", strings.Repeat("l", 255), "tab\there", "umlaut \u00e4\u00f6\u00fc", ".hidden",
	}
}

// makeSample makes the tree that demo sends when it is given none.
func makeSample(dir string) error {
	small := filepath.Join(dir, "small")
	if err := os.MkdirAll(small, 0o755); err != nil {
		return localIO(err)
	}
	source := sampleRandom()
	random := rand.New(source)
	made := 0
	for i := range sampleSmall {
		sub := filepath.Join(small, fmt.Sprintf("dir %d", i%7))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return localIO(err)
		}
		if err := writeSample(filepath.Join(sub, fmt.Sprintf("file-%03d", i)), source, random.Int64N(16<<10)); err != nil {
			return err
		}
	}
	for _, name := range oddNames() {
		if err := writeSample(filepath.Join(small, name), source, 100); err == nil {
			made++
		}
	}
	if made == 0 {
		return localIO(errors.New("no odd name could be made"))
	}
	if err := writeSample(filepath.Join(small, "empty file"), source, 0); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Join(small, "empty folder"), 0o750); err != nil {
		return localIO(err)
	}
	_ = os.Symlink("nowhere", filepath.Join(small, "dangling link")) // not everybody may on Windows
	return writeSample(filepath.Join(dir, "large file"), source, min(sampleLarge, quarterFree(dir)))
}

func sampleRandom() *rand.ChaCha8 {
	return rand.NewChaCha8([32]byte([]byte("xfer demo: the same in each run.")))
}

// quarterFree is a quarter of what is free where dir is: what is made here has to arrive there as well.
func quarterFree(dir string) int64 {
	fsys, err := durable.OpenOS(dir)
	if err != nil {
		return math.MaxInt64
	}
	defer fsys.Close()
	free, _, err := fsys.Space()
	if err != nil {
		return math.MaxInt64
	}
	return free / 4
}

func writeSample(name string, random io.Reader, size int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return localIO(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	_, err = io.CopyN(w, random, size)
	err = errors.Join(err, w.Flush(), f.Close())
	if err == nil {
		past := time.Now().Add(-time.Hour)
		err = os.Chtimes(name, past, past)
	}
	return localIO(err)
}

// measureTree counts the regular files of a tree and their bytes.
func measureTree(ctx context.Context, dir string) (size, count int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.Type().IsRegular() {
			info, err := e.Info()
			if err != nil {
				return err
			}
			size += info.Size()
			count++
		}
		return context.Cause(ctx)
	})
	if err != nil && ctx.Err() == nil {
		err = localIO(err)
	}
	return size, count, err
}

// compareTrees compares what is at two places by kind, target and BLAKE3 of the contents, reading both from disk.
func compareTrees(ctx context.Context, a, b string) (files int64, err error) {
	err = filepath.WalkDir(a, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return localIO(err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rel, err := filepath.Rel(a, name)
		if err != nil {
			return err
		}
		other := filepath.Join(b, rel)
		info, err := os.Lstat(other)
		if !e.Type().IsRegular() && !e.IsDir() && e.Type() != fs.ModeSymlink {
			return nil // special files are not sent
		}
		if err != nil {
			return differs(rel, err)
		}
		if info.Mode().Type() != e.Type() {
			return differs(rel, errors.New("of another kind"))
		}
		switch {
		case e.Type() == fs.ModeSymlink:
			t1, err1 := os.Readlink(name)
			t2, err2 := os.Readlink(other)
			if err := errors.Join(err1, err2); err != nil || t1 != t2 {
				return differs(rel, errors.New("another target"))
			}
		case e.Type().IsRegular():
			h1, err1 := hashLocal(name)
			h2, err2 := hashLocal(other)
			if err := errors.Join(err1, err2); err != nil {
				return differs(rel, err)
			}
			if h1 != h2 {
				return differs(rel, fmt.Errorf("hash %s there, %s here", h2, h1))
			}
			files++
		}
		return nil
	})
	return files, err
}

func differs(rel string, err error) error {
	return &transfer.Error{Op: "compare", Path: rel, Kind: transfer.KindVerify, Err: err}
}

func hashLocal(name string) (crypto.Digest, error) {
	f, err := os.Open(name)
	if err != nil {
		return crypto.Digest{}, err
	}
	defer f.Close()
	h := crypto.NewHasher()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, f, make([]byte, 1<<20)); err != nil {
		return crypto.Digest{}, err
	}
	return h.Sum(), nil
}

// removeTree removes what demo made, folders without rights for us included.
func removeTree(dir string) {
	if os.RemoveAll(dir) == nil {
		return
	}
	filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			os.Chmod(name, 0o700)
		}
		return nil
	})
	os.RemoveAll(dir)
}
