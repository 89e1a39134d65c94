package main

import (
	"context"
	"errors"
)

// races runs the same race over a source on each file system.
func (b *bench) races(ctx context.Context, workload, src string, on []string, peers ...string) error {
	size, files, err := weigh(src)
	if err != nil {
		return err
	}
	// Twice for stages and old versions, and some for inodes.
	b.imageSize = 2*size + 64*kib*files + 512*mib
	var errs []error
	for _, fs := range on {
		res := &result{Workload: workload, FS: fs, Bytes: size, Files: files}
		if fs == ext4 {
			s, err := b.ext4Site(ctx, "try")
			if err == nil {
				err = s.end()
			}
			if err != nil {
				res.NA = err.Error()
				b.report.Results = append(b.report.Results, res)
				b.note("%s on ext4 is skipped: %v", workload, err)
				if !isMissing(err) {
					errs = append(errs, err)
				}
				continue
			}
		}
		errs = append(errs, b.race(ctx, race{res: res, field: b.field(peers...), src: src, rounds: b.Pairs}))
	}
	return errors.Join(errs...)
}
