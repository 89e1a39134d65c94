package durable

import "golang.org/x/sys/unix"

func (f *osFile) cloneRange(dst *osFile, srcOff, dstOff, n int64) error {
	return control(f.File, func(from int) error {
		return control(dst.File, func(to int) error {
			return unix.IoctlFileCloneRange(to, &unix.FileCloneRange{
				Src_fd: int64(from), Src_offset: uint64(srcOff), Src_length: uint64(n), Dest_offset: uint64(dstOff),
			})
		})
	})
}

func (f *osFile) copyRange(dst *osFile, srcOff, dstOff, n int64) (done int64, err error) {
	const most = 1 << 30 // of one call: the system's own limit is 2 GiB less a page
	err = control(f.File, func(from int) error {
		return control(dst.File, func(to int) error {
			k, err := unix.CopyFileRange(from, &srcOff, to, &dstOff, int(min(n, most)), 0)
			done = int64(k)
			return err
		})
	})
	return done, err
}
