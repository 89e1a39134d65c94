package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// random is bytes that nothing compresses, the same for the same seed.
func random(seed uint64) *rand.ChaCha8 {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	return rand.NewChaCha8(key)
}

// fixture makes a directory in scratch for what is sent. The caller removes it when the workload is over.
func (b *bench) fixture(name string) (string, error) {
	dir := b.path(name)
	return dir, os.Mkdir(dir, 0o755)
}

// randomFile makes a file of n random bytes.
func randomFile(name string, n int64, seed uint64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, io.LimitReader(random(seed), n), make([]byte, mib))
	return errors.Join(err, f.Close())
}

// smallFiles makes n files of size random bytes, 200 in a directory.
func smallFiles(dir string, n int, size int64) error {
	content, r := make([]byte, size), random(2)
	for i := range n {
		sub := filepath.Join(dir, fmt.Sprintf("d%04d", i/200))
		if i%200 == 0 {
			if err := os.MkdirAll(sub, 0o755); err != nil {
				return err
			}
		}
		_, _ = r.Read(content)
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("f%06d", i)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// oneByte is a file of one byte.
func (b *bench) oneByte() (string, error) {
	if b.byte1 == "" {
		b.byte1 = b.path("byte")
		if err := os.WriteFile(b.byte1, []byte("x"), 0o644); err != nil {
			return "", err
		}
	}
	return b.byte1, nil
}

// sourceTree copies the tree to measure with into dir, so that it is where the receivers are: in memory.
func (b *bench) sourceTree(ctx context.Context, dir string) (string, error) {
	from := b.Tree
	if from == "" {
		out, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
		if from = strings.TrimSpace(string(out)); err != nil || from == "" {
			return "", fmt.Errorf("where GOROOT is: %v; name a tree with --tree", err)
		}
	}
	from, err := filepath.EvalSymlinks(from)
	if err != nil {
		return "", err
	}
	size, _, err := weigh(from)
	if err != nil {
		return "", err
	}
	if err := b.fits(4 * size); err != nil {
		return "", err
	}
	to := filepath.Join(dir, "tree")
	if runtime.GOOS == "windows" || installed("cp") != "" {
		return to, os.CopyFS(to, os.DirFS(from))
	}
	_, err = b.run(pipeline{exec.CommandContext(ctx, "cp", "-a", from, to)})
	return to, err
}

// weigh returns how many bytes and regular files are in a file or directory.
func weigh(name string) (size, files int64, err error) {
	err = filepath.WalkDir(name, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
			files++
		}
		return err
	})
	return size, files, err
}
