package transfer

import (
	"time"

	"xfer/crypto"
	"xfer/transfer/wire"
)

// sendBuffer holds one DATA frame: header, payload, CV.
type sendBuffer struct {
	b []byte
	h *crypto.ChunkHasher
	z []byte // the same, compressed; nil until it is needed
}

func newSendBuffer() *sendBuffer {
	return &sendBuffer{b: make([]byte, wire.DataHeaderLen+wire.MaxPayload+32), h: crypto.NewChunkHasher()}
}

func (b *sendBuffer) payload(n int) []byte { return b.b[wire.DataHeaderLen:][:n] }

// squeezed compresses the payload p, behind which the CV stands with last, into b.z, and returns how long it is then; ok is false
// where it goes as it is.
func (b *sendBuffer) squeezed(l *link, p []byte, last bool) (n int, ok bool) {
	if !l.wants(p) {
		return 0, false
	}
	if b.z == nil {
		b.z = make([]byte, wire.DataHeaderLen, len(b.b)+4096)
	}
	z := squeeze(b.z[:wire.DataHeaderLen], p)
	if n = len(z) - wire.DataHeaderLen; n >= len(p)*19/20 {
		return 0, false
	}
	if last {
		z = append(z, b.b[wire.DataHeaderLen+len(p):][:32]...)
	}
	b.z = z
	return n, true
}

// writeOut writes one frame with n bytes of content, as the bandwidth allows.
func (s *session) writeOut(st *stream, frame []byte, n int) error {
	began := time.Now()
	if s.limitOut != nil && n > 0 {
		if err := s.limitOut(s.ctx, n); err != nil {
			return err
		}
	}
	st.wmu.Lock()
	_, err := st.s.Write(frame)
	st.wmu.Unlock()
	if err != nil {
		return err
	}
	s.link.wrote(n, time.Since(began))
	s.alive() // as far as buffers go: one that does not take it in the end blocks the next
	s.bytesOut.Add(int64(n))
	return nil
}

// sendChunk reads, hashes and sends one chunk, piece by piece. An error is one of the stream; one of the source ends
// the transfer and leaves the stream whole.
func (f *sendFile) sendChunk(st *stream, w chunkWork, b *sendBuffer) error {
	s := f.s
	h := b.h
	h.Reset(uint64(w.chunk), f.log2)
	base := w.chunk << f.log2
	flags := uint8(wire.DataFirst)
	for off := int64(0); off < w.length; {
		piece := min(w.length-off, int64(s.pieceFor()))
		skip := off < w.offset // the receiver has these bytes: they are hashed, not sent
		if skip {
			piece = min(w.offset-off, wire.MaxPayload)
		}
		p := b.payload(int(piece))
		select {
		case <-f.failed:
			return nil
		default:
		}
		if f.isAcked(w.chunk) {
			return nil // what another stream carried arrived; a pipe has forgotten it
		}
		if err := f.src.ReadAt(p, base+off); err != nil {
			if !f.isAcked(w.chunk) {
				f.fail(err)
			}
			return nil
		}
		_, _ = h.Write(p)
		if skip {
			off += piece
			continue
		}
		last := off+piece == w.length
		if last {
			flags |= wire.DataLast
			cv := f.chunkCV(h)
			copy(b.b[wire.DataHeaderLen+piece:], cv[:])
			f.mu.Lock()
			f.setCV(w.chunk, cv)
			f.mu.Unlock()
		}
		frame, sent := b.b, piece
		if z, ok := b.squeezed(&s.link, p, last); ok {
			frame, sent = b.z, int64(z)
			flags |= wire.DataZstd
		}
		wire.AppendDataHeader(frame[:0], f.id, flags, uint64(w.chunk), uint32(off), uint32(w.length), uint32(sent))
		n := wire.DataHeaderLen + int(sent)
		if last {
			n += 32
		}
		if err := s.writeOut(st, frame[:n], int(sent)); err != nil {
			return err
		}
		f.onSent(sent)
		flags = 0
		off += piece
	}
	if f.one {
		f.sentOne()
	}
	return nil
}

func (f *sendFile) isAcked(chunk int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.acked.has(chunk)
}

// sentOne lets the COMMIT follow the only chunk at once: both are on the control stream, in this order.
func (f *sendFile) sentOne() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.isReady {
		f.isReady = true
		close(f.ready)
	}
}
