package sink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// Old is the version of a file that is there before a new one is published. What did not change is taken from it instead of
// from the sender: FORMAT.md, "The old version". The caller closes it. Safe for concurrent use.
type Old struct {
	d    *Dir
	f    durable.File
	note fileNote // when it was opened
}

// Limits of what is asked of an Old.
const (
	minGroupLog2 = 14 // the smallest part of a chunk that is compared
	maxOldCVs    = 1 << 16
)

// ErrOldChanged: the old version is no longer what it was when it was opened.
var ErrOldChanged = errors.New("the old version changed meanwhile")

// OldVersion opens the regular file p as it is now. Its chaining values tell what is in it, so besides the right to put it
// needs the one to get. Errors: fs.ErrNotExist where there is none, durable.ErrNotRegular for anything but a file, a link
// too, ErrDenied, ErrIsDir, ErrBadPath, ErrNotDir, and of the disk.
func (v *View) OldVersion(ctx context.Context, p Path) (*Old, error) {
	if err := v.need("old version", Put|Get); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	f, err := v.d.openOld(p)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Old{d: v.d, f: f, note: noteOf(fi)}, nil
}

// openOld opens the file that a publication to p would replace.
func (d *Dir) openOld(p Path) (durable.File, error) {
	d.ns.RLock()
	defer d.ns.RUnlock()
	at, err := d.resolve(p, 0)
	switch {
	case err != nil:
		return nil, err
	case at.info == nil:
		return nil, pathError("old version", p.String(), fs.ErrNotExist)
	case at.info.IsDir():
		return nil, pathError("old version", p.String(), ErrIsDir)
	}
	return durable.OpenRegular(d.fs, at.name)
}

// Size returns how many bytes it had when it was opened.
func (o *Old) Size() int64 { return o.note.size }

// Close gives the file up.
func (o *Old) Close() error { return o.f.Close() }

// Unchanged returns ErrOldChanged where somebody has changed the file since it was opened.
func (o *Old) Unchanged() error {
	fi, err := o.f.Stat()
	if err != nil {
		return err
	}
	now := noteOf(fi)
	// The change time tells of a second name, too. Who changed the content and put the time back is found out by the
	// chaining values.
	if now.size != o.note.size || now.mtime != o.note.mtime {
		return ErrOldChanged
	}
	return nil
}

// CVs returns the non-root chaining values of the parts first, first+1 and so on, at most count, of those that a file of 2^log2
// bytes a part has; fewer where the file ends, whose last part may be shorter. log2 is that of the chunks, or less, down to
// 14, for parts of them; count is at most 65536. Errors: ErrRange, ErrOldChanged, and of the disk.
func (o *Old) CVs(ctx context.Context, first, count int64, log2 uint8) ([]crypto.CV, error) {
	if log2 < minGroupLog2 || log2 > maxChunkLog2 || first < 0 || count < 0 || count > maxOldCVs || first > maxChunks<<(maxChunkLog2-minGroupLog2) {
		return nil, fmt.Errorf("cvs of the old version: %w: %d from %d of 2^%d bytes", ErrRange, count, first, log2)
	}
	part := int64(1) << log2
	end := min(first+count, chunksOf(o.note.size, part))
	h := o.d.pool.Get().(*crypto.ChunkHasher)
	defer o.d.pool.Put(h)
	var cvs []crypto.CV
	buf := make([]byte, readSize)
	// Several small parts are read at once.
	for i := first; i < end; {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		h.Reset(uint64(i), log2)
		stop := min(end, i+max(1, readSize/part))
		for off := i * part; i < stop; {
			p := buf[:min(int64(len(buf)), min(stop*part, o.note.size)-off)]
			if err := o.read(p, off); err != nil {
				return nil, err
			}
			off += int64(len(p))
			for len(p) > 0 {
				n := min(int64(len(p)), part-h.Len())
				if _, err := h.Write(p[:n]); err != nil {
					return nil, err
				}
				p = p[n:]
				if h.Len() == part || off-int64(len(p)) == o.note.size {
					cvs = append(cvs, h.CV())
					i++
					h.Reset(uint64(i), log2)
				}
			}
		}
	}
	return cvs, o.Unchanged()
}

// Groups returns the chaining values of the groups of 16 KiB of a chunk of 2^log2 bytes: CVs with 14.
func (o *Old) Groups(ctx context.Context, chunk int64, log2 uint8) ([]crypto.CV, error) {
	if log2 < minGroupLog2 || log2 > maxChunkLog2 || chunk < 0 || chunk > maxChunks {
		return nil, fmt.Errorf("groups of the old version: %w: chunk %d of 2^%d bytes", ErrRange, chunk, log2)
	}
	n := int64(1) << (log2 - minGroupLog2)
	return o.CVs(ctx, chunk*n, n, minGroupLog2)
}

// read fills p from off on. What has become shorter has changed.
func (o *Old) read(p []byte, off int64) error {
	n, err := o.f.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF:
		return ErrOldChanged
	}
	return fmt.Errorf("read the old version: %w", err)
}

// minClone is from how many bytes on sharing the old version's place on the disk is worth its extents.
const minClone = 128 << 10

// Take puts the next n bytes of the chunk in their place as the old version has them at the same place. They are hashed
// like those of Write, so Finish tells whether they are what the sender has. Where they cannot be had the chunk is
// ErrChunkBad, and the writer has ended; other errors as of Write.
func (w *ChunkWriter) Take(o *Old, n int64) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone != nil {
		return w.gone
	}
	off := w.start + w.n
	switch {
	case n < 0 || n > w.limit-w.n:
		return w.leave(fmt.Errorf("chunk %d: %w: more than %d bytes", w.chunk, ErrRange, w.limit))
	case off+n > o.note.size:
		return w.bad(fmt.Errorf("chunk %d: the old version has only %d bytes: %w", w.chunk, o.note.size, ErrChunkBad))
	}
	if n >= minClone && !w.dup && w.clone(o, n) {
		if err := w.hashStored(n); err != nil {
			return w.leave(err)
		}
		return nil
	}
	buf := make([]byte, min(n, readSize))
	for n > 0 {
		p := buf[:min(n, int64(len(buf)))]
		if err := o.read(p, w.start+w.n); err != nil {
			// The sender's bytes will do, whatever it is.
			return w.bad(fmt.Errorf("chunk %d: %v: %w", w.chunk, err, ErrChunkBad))
		}
		if err := w.write(p); err != nil {
			return w.leave(err)
		}
		n -= int64(len(p))
	}
	return nil
}

// clone shares the place of the next n bytes with the old version, where the file system can. w.mu is held.
func (w *ChunkWriter) clone(o *Old, n int64) bool {
	off := w.start + w.n
	w.s.touch(w.chunk)
	w.s.watch.begin(w.s.data)
	err := o.f.CloneRange(w.s.data, off, off, n)
	w.s.watch.end()
	return err == nil
}

// hashStored hashes the next n bytes of the chunk as the stage has them. w.mu is held.
func (w *ChunkWriter) hashStored(n int64) error {
	buf := make([]byte, min(n, readSize))
	for n > 0 {
		p := buf[:min(n, int64(len(buf)))]
		k, err := w.s.data.ReadAt(p, w.start+w.n)
		if k < len(p) {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("read chunk %d again: %w", w.chunk, err)
		}
		if _, err := w.h.Write(p); err != nil {
			return err
		}
		w.some = w.some || w.s.sparse && !allZero(p)
		w.n += int64(len(p))
		n -= int64(len(p))
	}
	w.stored.Store(w.n)
	return nil
}

// Take makes chunk what the old version has at the same place, if that has the chaining value cv (of a file of one
// chunk: the root), and is Claim, ChunkWriter.Take of the whole chunk, and Finish. A chunk that is held already is only
// compared. Errors: ErrChunkBad, where the sender has to send the chunk; others as of Claim, Write and Finish.
func (s *Stage) Take(chunk int64, o *Old, cv crypto.CV) error {
	w, err := s.Claim(chunk, 0)
	if err != nil {
		return err
	}
	if w.dup {
		return w.compare(cv)
	}
	if err := w.Take(o, w.limit); err != nil {
		return err
	}
	_, err = w.Finish(cv)
	return err
}

// compare ends the writer of a held chunk, which must have the chaining value cv.
func (w *ChunkWriter) compare(cv crypto.CV) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gone != nil {
		return w.gone
	}
	s := w.s
	s.mu.Lock()
	was, err := s.cv(w.chunk)
	s.mu.Unlock()
	if err == nil && was != cv { // guard of I6
		err = fmt.Errorf("chunk %d: %w", w.chunk, ErrSourceChanged)
	}
	if err != nil {
		return w.leave(err)
	}
	_ = w.leave(ErrClosed)
	return nil
}
