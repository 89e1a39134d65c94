package main

import (
	"context"
	"os"
	"path/filepath"
)

// big is one file of random data.
func (b *bench) big(ctx context.Context) error {
	size := b.bigSize()
	if err := b.fits(3 * size); err != nil {
		return err
	}
	dir, err := b.fixture("big")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	src := filepath.Join(dir, "big.bin")
	if err := randomFile(src, size, 1); err != nil {
		return err
	}
	return b.races(ctx, "big", src, b.fileSystems(tmpfs),
		bareTLS, bareQUIC, scpAES, scpOwn, rsyncSSHAES, rsyncSSH, rsyncDaemon, rsyncTLS, tarSSH, cpLocal)
}
