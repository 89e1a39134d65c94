package main

import (
	"context"
	"os"
	"path/filepath"
)

// small is many small files, all of one size.
func (b *bench) small(ctx context.Context) error {
	n, size := b.Files, int64(4*kib)
	if n == 0 {
		n = 20_000
	}
	if len(b.chosen) == 1 { // else --size is that of the big file
		size = b.sizeOr(size)
	}
	if err := b.fits(3 * int64(n) * max(size, 4*kib)); err != nil {
		return err
	}
	dir, err := b.fixture("small")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	src := filepath.Join(dir, "small")
	if err := smallFiles(src, n, size); err != nil {
		return err
	}
	return b.races(ctx, "small", src, b.fileSystems(tmpfs), treePeers...)
}
