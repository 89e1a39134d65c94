package main

import (
	"context"
	"os"
)

// treePeers move trees.
var treePeers = []string{rsyncTLS, rsyncDaemon, rsyncSSH, rsyncSSHAES, tarSSH, scpAES, cpLocal}

// treeWork is a tree as people have them: many files of a few KiB, some larger ones.
func (b *bench) treeWork(ctx context.Context) error {
	dir, err := b.fixture("tree")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	src, err := b.sourceTree(ctx, dir)
	if err != nil {
		return err
	}
	return b.races(ctx, "tree", src, b.fileSystems(tmpfs, ext4), treePeers...)
}
