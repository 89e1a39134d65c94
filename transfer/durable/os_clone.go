package durable

import (
	"errors"
	"io"
	"syscall"
)

// CloneRange and CopyRange over two files of the system; over a file of somebody else, reading and writing serve.

func (f *osFile) CloneRange(dst File, srcOff, dstOff, n int64) error {
	to, ok := dst.(*osFile)
	switch {
	case srcOff < 0 || dstOff < 0 || n < 0:
		return f.wrap("clone", syscall.EINVAL)
	case !ok:
		return f.wrap("clone", errors.ErrUnsupported)
	case n == 0: // which would be all that there is
		return nil
	}
	return f.wrap("clone", f.cloneRange(to, srcOff, dstOff, n))
}

func (f *osFile) CopyRange(dst File, srcOff, dstOff, n int64) error {
	if srcOff < 0 || dstOff < 0 || n < 0 {
		return f.wrap("copy", syscall.EINVAL)
	}
	to, ok := dst.(*osFile)
	for ok && n > 0 {
		k, err := f.copyRange(to, srcOff, dstOff, n)
		switch {
		case err == nil && k > 0:
			srcOff, dstOff, n = srcOff+k, dstOff+k, n-k
		case err == nil, noCopyRange(err): // some file systems copy nothing and say nothing
			ok = false
		default:
			return f.wrap("copy", err)
		}
	}
	return f.wrap("copy", CopyBuffered(f, dst, srcOff, dstOff, n))
}

// noCopyRange tells whether err of copy_file_range(2) means that these two files do not take it.
func noCopyRange(err error) bool {
	return unsupported(err) || errors.Is(err, syscall.EXDEV) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EIO)
}

// CopyBuffered is File.CopyRange through a buffer, over any two files.
func CopyBuffered(src io.ReaderAt, dst io.WriterAt, srcOff, dstOff, n int64) error {
	buf := make([]byte, min(n, 256<<10))
	for n > 0 {
		p := buf[:min(n, int64(len(buf)))]
		k, err := src.ReadAt(p, srcOff)
		if k < len(p) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if _, err := dst.WriteAt(p, dstOff); err != nil {
			return err
		}
		srcOff, dstOff, n = srcOff+int64(k), dstOff+int64(k), n-int64(k)
	}
	return nil
}
