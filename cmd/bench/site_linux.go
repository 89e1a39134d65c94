package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ext4Site makes an ext4 in an image and mounts it. It is new each time: where a tree was removed before, creating files
// stays slow for a while. What mkfs would leave to be done later is done at once, and the image is allocated, so
// that no run pays for it.
func (b *bench) ext4Site(ctx context.Context, name string) (*site, error) {
	if os.Geteuid() != 0 {
		return nil, missingf("ext4 in an image takes root to mount")
	}
	if why := installed("mkfs.ext4", "mount", "umount", "sync"); why != "" {
		return nil, &missing{why}
	}
	images := b.images
	if images == "" {
		images = os.TempDir()
	}
	f, err := os.CreateTemp(images, "xfer-bench-*.ext4")
	if err != nil {
		return nil, err
	}
	image, dir := f.Name(), b.path(name)
	err = errors.Join(allocate(f, b.imageSize), f.Close(), os.Mkdir(dir, 0o755))
	if err == nil {
		err = command(ctx, "mkfs.ext4", "-q", "-F", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0", image)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(image))
	}
	if err := command(ctx, "mount", "-o", "loop", image, dir); err != nil {
		return nil, errors.Join(missingf("ext4 cannot be mounted here: %v", err), os.Remove(image))
	}
	s := &site{end: func() error { return unmount(dir, image) }}
	err = s.fill(filepath.Join(dir, "bench"))
	if err == nil {
		err = command(ctx, "sync", "-f", dir)
	}
	if err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

// allocate makes f a file of n bytes, on disk where the file system can.
func allocate(f *os.File, n int64) error {
	err := syscall.Fallocate(int(f.Fd()), 0, 0, n)
	if errors.Is(err, syscall.EOPNOTSUPP) {
		return f.Truncate(n)
	}
	return err
}

// unmount is done to the end, whatever the context. Somebody may still hold a file: it tries for a while.
func unmount(dir, image string) error {
	var err error
	poll(context.Background(), 200*time.Millisecond, 10*time.Second, func() bool {
		err = command(context.Background(), "umount", dir)
		return err == nil
	})
	if err != nil {
		return fmt.Errorf("%s stays mounted at %s: %w", image, dir, err)
	}
	return errors.Join(os.Remove(image), os.Remove(dir))
}

func command(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
