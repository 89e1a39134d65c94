package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// comparer tells whether one tree is like another.
type comparer struct {
	meta   bool // also modes, and times of files to the second
	follow bool // what is wanted is what symbolic links lead to

	x, y [128 * kib]byte
}

// same returns why got is not want: its name within the directory is not compared, but all else.
func (c *comparer) same(want, got string) error {
	stat := os.Lstat
	if c.follow {
		stat = os.Stat
	}
	a, err := stat(want)
	if err != nil {
		return err
	}
	g, err := os.Lstat(got)
	if err != nil {
		return err
	}
	if a.Mode().Type() != g.Mode().Type() {
		return fmt.Errorf("%s is %v, not %v", got, g.Mode(), a.Mode())
	}
	if c.meta && a.Mode().Type() != fs.ModeSymlink && a.Mode().Perm() != g.Mode().Perm() {
		return fmt.Errorf("%s has the mode %v, not %v", got, g.Mode(), a.Mode())
	}
	switch {
	case a.IsDir():
		return c.sameDir(want, got)
	case a.Mode().Type() == fs.ModeSymlink:
		x, err := os.Readlink(want)
		if err != nil {
			return err
		}
		if y, err := os.Readlink(got); err != nil || x != y {
			return fmt.Errorf("%s leads to %q, not to %q (%v)", got, y, x, err)
		}
		return nil
	}
	if c.meta && !a.ModTime().Truncate(time.Second).Equal(g.ModTime().Truncate(time.Second)) {
		return fmt.Errorf("%s is of %v, not of %v", got, g.ModTime(), a.ModTime())
	}
	if a.Size() != g.Size() {
		return fmt.Errorf("%s has %d bytes, not %d", got, g.Size(), a.Size())
	}
	if a.Size() == 0 {
		return nil
	}
	return c.sameBytes(want, got)
}

func (c *comparer) sameDir(want, got string) error {
	x, err := os.ReadDir(want)
	if err != nil {
		return err
	}
	y, err := os.ReadDir(got)
	if err != nil {
		return err
	}
	if len(x) != len(y) {
		return fmt.Errorf("%s has %d entries, not %d", got, len(y), len(x))
	}
	for i := range x {
		if x[i].Name() != y[i].Name() {
			return fmt.Errorf("%s has %q, not %q", got, y[i].Name(), x[i].Name())
		}
		if err := c.same(filepath.Join(want, x[i].Name()), filepath.Join(got, y[i].Name())); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparer) sameBytes(want, got string) error {
	f, err := os.Open(want)
	if err != nil {
		return err
	}
	defer f.Close()
	g, err := os.Open(got)
	if err != nil {
		return err
	}
	defer g.Close()
	for off := 0; ; {
		n, err := io.ReadFull(f, c.x[:])
		m, err2 := io.ReadFull(g, c.y[:])
		if !bytes.Equal(c.x[:n], c.y[:m]) {
			return fmt.Errorf("%s differs within %d bytes from %d", got, len(c.x), off)
		}
		if err != nil || err2 != nil {
			if end(err) && end(err2) {
				return nil
			}
			return errors.Join(err, err2)
		}
		off += n
	}
}

func end(err error) bool { return err == io.EOF || err == io.ErrUnexpectedEOF }

// alone tells whether dir has one entry.
func alone(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 1 {
		return err
	}
	return fmt.Errorf("%s has %d entries, not the one that was sent", dir, len(entries))
}
