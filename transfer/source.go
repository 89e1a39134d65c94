package transfer

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"sync"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// source is what a sendFile reads. ReadAt may be called concurrently; a read that comes up short is
// errSourceChanged.
type source interface {
	ReadAt(p []byte, off int64) error
	Size() int64         // -1 = not known yet
	Fingerprint() []byte // what tells this version from any other
	Fresh() bool         // modified so recently that an equal fingerprint proves little (git's "racy" rule)
	Changed() error      // errSourceChanged where it is no longer what was opened
	Acked(chunk int64)   // the receiver has it
	Close() error
}

// fileSource is a regular file, checked by fstat when it is opened and again before COMMIT.
type fileSource struct {
	f     durable.File
	info  fs.FileInfo
	fresh bool
	holes bool // it has some
}

func newFileSource(f durable.File) (*fileSource, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: f.Name(), Err: errors.New("not a regular file")}
	}
	s := &fileSource{f: f, info: info, fresh: time.Since(info.ModTime()) < 2*time.Second}
	if n, ok := durable.Blocks(info); ok && n < info.Size()/512 { // or it is stored compressed
		hole, err := f.NextHole(0)
		if err != nil {
			return nil, err
		}
		s.holes = hole < info.Size()
	}
	return s, nil
}

func (s *fileSource) ReadAt(p []byte, off int64) error {
	n, err := s.f.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return errSourceChanged
	}
	return err
}

func (s *fileSource) Size() int64         { return s.info.Size() }
func (s *fileSource) Fingerprint() []byte { return fingerprint(s.info) }
func (s *fileSource) Fresh() bool         { return s.fresh }
func (s *fileSource) Acked(int64)         {}
func (s *fileSource) Close() error        { return s.f.Close() }

func (s *fileSource) Changed() error {
	now, err := s.f.Stat()
	if err != nil {
		return err
	}
	if string(fingerprint(now)) != string(fingerprint(s.info)) {
		return errSourceChanged
	}
	return nil
}

// hashSource reads the whole source once, but for its holes.
func hashSource(s source, stop func() error) (crypto.Digest, error) {
	h := crypto.NewHasher()
	buf := make([]byte, 256<<10)
	for off := int64(0); off < s.Size(); {
		data, end, err := extentOf(s, off)
		if err == nil {
			err = h.WriteZeros(data-off, stop)
		}
		if err != nil {
			return crypto.Digest{}, err
		}
		for off = data; off < end; {
			if err := stop(); err != nil {
				return crypto.Digest{}, err
			}
			n := min(int64(len(buf)), end-off)
			if err := s.ReadAt(buf[:n], off); err != nil {
				return crypto.Digest{}, err
			}
			_, _ = h.Write(buf[:n])
			off += n
		}
	}
	return h.Sum(), nil
}

// fingerprint is (size, mtime, ctime, device, inode) of a file, opaque to the peer.
func fingerprint(info fs.FileInfo) []byte {
	b := make([]byte, 0, 41)
	b = append(b, 1)
	b = binary.BigEndian.AppendUint64(b, uint64(info.Size()))
	b = binary.BigEndian.AppendUint64(b, uint64(unixNano(info.ModTime())))
	if id, ok := durable.IDOf(info); ok {
		b = binary.BigEndian.AppendUint64(b, uint64(id.CTime))
		b = binary.BigEndian.AppendUint64(b, id.Dev)
		b = binary.BigEndian.AppendUint64(b, id.Inode)
	}
	return b
}

// sameVersion tells whether two looks at a file, which an FS gave, have the same fingerprint.
func sameVersion(a, b fs.FileInfo) bool {
	x, okX := durable.IDOf(a)
	y, okY := durable.IDOf(b)
	return okX == okY && x == y && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// pipeSource is a stream without an end known before, such as standard input. A chunk is kept in memory from its
// reading until the receiver has it, so that a lost connection costs nothing.
type pipeSource struct {
	r    io.Reader
	log2 uint8
	id   []byte
	max  int // chunks in memory

	mu     sync.Mutex
	cond   *sync.Cond
	chunks map[int64][]byte
	size   int64 // -1 until the end was read
	closed bool
	grow   func(chunk int64, end bool) // tells the sendFile of the attempt
	next   int64
	root   crypto.Digest // of the first chunk alone: the stream's, if it has no other
	err    error
}

func newPipeSource(r io.Reader, id []byte) *pipeSource {
	p := &pipeSource{r: r, log2: chunking(-1), id: id, max: 8, chunks: map[int64][]byte{}, size: -1}
	p.cond = sync.NewCond(&p.mu)
	return p
}

// read fills chunks until the end of the stream; it is the one goroutine that reads r.
func (p *pipeSource) read() {
	total := int64(0)
	for {
		p.mu.Lock()
		for len(p.chunks) >= p.max && !p.closed {
			p.cond.Wait()
		}
		closed, i := p.closed, p.next
		p.mu.Unlock()
		if closed {
			return
		}
		buf := make([]byte, 1<<p.log2)
		n, err := io.ReadFull(p.r, buf)
		total += int64(n)
		end := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		var root crypto.Digest
		if i == 0 {
			h := crypto.NewHasher()
			_, _ = h.Write(buf[:n])
			root = h.Sum()
		}
		p.mu.Lock()
		if i == 0 {
			p.root = root
		}
		if n > 0 {
			p.chunks[i] = buf[:n:n]
			p.next++
		}
		if end {
			p.size = total
		} else if err != nil {
			p.err = err
		}
		grow := p.grow
		p.mu.Unlock()
		if grow != nil {
			if n > 0 {
				grow(i, false)
			}
			if end || err != nil {
				grow(-1, true)
			}
		}
		if end || err != nil {
			return
		}
	}
}

// attach makes grow the one to be told of new chunks, and tells it of all that are there.
func (p *pipeSource) attach(grow func(chunk int64, end bool)) {
	p.mu.Lock()
	p.grow = grow
	var have []int64
	for i := range p.chunks {
		have = append(have, i)
	}
	end := p.size >= 0 || p.err != nil
	p.mu.Unlock()
	for _, i := range have {
		grow(i, false)
	}
	if end {
		grow(-1, true)
	}
}

func (p *pipeSource) detach() {
	p.mu.Lock()
	p.grow = nil
	p.mu.Unlock()
}

func (p *pipeSource) ReadAt(b []byte, off int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.chunks[off>>p.log2]
	in := off & (1<<p.log2 - 1)
	if !ok || in+int64(len(b)) > int64(len(c)) {
		return errPipeLost
	}
	copy(b, c[in:])
	return nil
}

// errPipeLost ends the transfer of a stream for good.
var errPipeLost = &Error{Op: "send", Path: "-", Kind: KindRemoteIO, Err: errors.New("the receiver lost a part of the stream that was sent and can not be read again")}

// chunksRead is how many chunks were read so far.
func (p *pipeSource) chunksRead() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next
}

// covered tells whether each chunk that was read is in have or still here: then the rest can be sent.
func (p *pipeSource) covered(have *chunkSet) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.next {
		if _, here := p.chunks[i]; !here && !have.has(i) {
			return false
		}
	}
	return true
}

// firstRoot is the hash of the stream, where it is one chunk.
func (p *pipeSource) firstRoot() crypto.Digest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.root
}

func (p *pipeSource) lenOf(chunk int64) int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int64(len(p.chunks[chunk]))
}

func (p *pipeSource) Size() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.size
}

func (p *pipeSource) Acked(chunk int64) {
	p.mu.Lock()
	delete(p.chunks, chunk)
	p.mu.Unlock()
	p.cond.Broadcast()
}

func (p *pipeSource) Changed() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

func (p *pipeSource) Fingerprint() []byte { return p.id }
func (p *pipeSource) Fresh() bool         { return false }

func (p *pipeSource) Close() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cond.Broadcast()
	return nil
}
