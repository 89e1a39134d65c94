package sink

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"sync"
	"syscall"

	"xfer/transfer/durable"
)

// spool is a list of bytes that grows at its end: in memory, and from some size on in a file of tree/K-ID. Safe for
// concurrent use.
type spool struct {
	t    *Tree
	name string

	mu   sync.Mutex
	f    durable.File // nil: all is in tail
	size int64        // of f
	tail []byte       // behind what is in f
}

func (t *Tree) newSpool(name string) *spool { return &spool{t: t, name: name} }

// append adds b and returns where it begins.
func (s *spool) append(b []byte) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.size + int64(len(s.tail))
	s.tail = append(s.tail, b...)
	if len(s.tail) <= s.t.max.spool {
		return at, nil
	}
	if s.f == nil {
		dir, err := s.t.temp.need(s.t)
		if err != nil {
			return 0, err
		}
		// Read and written: the flags of freshFile with both.
		if s.f, err = dir.OpenFile(s.name, freshFile&^syscall.O_WRONLY|syscall.O_RDWR, 0o600); err != nil {
			return 0, err
		}
	}
	if err := writeAt(s.f, s.tail, s.size); err != nil {
		return 0, err
	}
	s.size += int64(len(s.tail))
	s.tail = s.tail[:0]
	return at, nil
}

func (s *spool) len() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size + int64(len(s.tail))
}

// ReadAt is io.ReaderAt.
func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	if off < s.size && s.f == nil {
		return 0, ErrClosed
	}
	if off < s.size {
		var err error
		n, err = s.f.ReadAt(p[:min(int64(len(p)), s.size-off)], off)
		if err != nil {
			return n, err
		}
	}
	if n < len(p) && off+int64(n)-s.size < int64(len(s.tail)) {
		n += copy(p[n:], s.tail[off+int64(n)-s.size:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// set changes the bytes at off, which were appended together.
func (s *spool) set(off int64, b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case off >= s.size:
		copy(s.tail[off-s.size:], b)
		return nil
	case s.f == nil:
		return ErrClosed
	}
	return writeAt(s.f, b, off)
}

// reader reads it from its beginning to where its end is now.
func (s *spool) reader() *bufio.Reader {
	return bufio.NewReaderSize(io.NewSectionReader(s, 0, s.len()), 64<<10)
}

func (s *spool) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	s.f = nil
	return err
}

// appendTo appends e to the record of a directory.
func (e *effects) appendTo(b []byte) []byte {
	b = binary.AppendVarint(b, int64(e.uid))
	b = binary.AppendVarint(b, int64(e.gid))
	flags := byte(0)
	if e.special {
		flags |= 1
	}
	if e.admin {
		flags |= 2
	}
	b = append(b, flags, byte(e.unkept))
	b = binary.AppendUvarint(b, uint64(len(e.xattrs)))
	for _, a := range e.xattrs {
		b = append(binary.AppendUvarint(b, uint64(len(a.Name))), a.Name...)
		b = append(binary.AppendUvarint(b, uint64(len(a.Value))), a.Value...)
	}
	return b
}

// readEffects reads what appendTo has written.
func readEffects(r *bufio.Reader) (*effects, error) {
	uid, err := binary.ReadVarint(r)
	gid, err2 := binary.ReadVarint(r)
	flags, err3 := r.ReadByte()
	unkept, err4 := r.ReadByte()
	n, err5 := binary.ReadUvarint(r)
	if err = errors.Join(err, err2, err3, err4, err5); err != nil || n > durable.MaxXAttrs {
		return nil, errors.Join(errSpool, err)
	}
	e := &effects{uid: int(uid), gid: int(gid), special: flags&1 != 0, admin: flags&2 != 0, unkept: Unkept(unkept)}
	for range n {
		var part [2][]byte // name and value
		for i := range part {
			size, err := binary.ReadUvarint(r)
			if err != nil || size > durable.MaxXAttrBytes {
				return nil, errors.Join(errSpool, err)
			}
			part[i] = make([]byte, size)
			if _, err := io.ReadFull(r, part[i]); err != nil {
				return nil, noEOF(err)
			}
		}
		e.xattrs = append(e.xattrs, durable.XAttr{Name: string(part[0]), Value: part[1]})
	}
	return e, nil
}

// readString reads n bytes.
func readString(r io.Reader, n uint64) (string, error) {
	if n > maxPathBytes {
		return "", errSpool
	}
	var b strings.Builder
	_, err := io.CopyN(&b, r, int64(n))
	return b.String(), err
}
