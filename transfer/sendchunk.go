package transfer

import (
	"bytes"
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

// spare is an empty buffer for a frame beside b.b, with room for its header.
func (b *sendBuffer) spare() []byte {
	if b.z == nil {
		b.z = make([]byte, wire.DataHeaderLen, len(b.b)+4096)
	}
	return b.z[:wire.DataHeaderLen]
}

// squeezed compresses the payload p, behind which the CV stands with last, into b.z, and returns how long it is then; ok is false
// where it goes as it is. zero: p is all zeros, which are compressed whatever the link carries.
func (b *sendBuffer) squeezed(l *link, p []byte, zero, last bool) (n int, ok bool) {
	if !l.wants(p) && !(zero && len(p) >= 512 && l.agreed && l.mode != "off") {
		return 0, false
	}
	z := squeeze(b.spare(), p)
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
	in := newHoleFinder(f.src)
	// Zeros that the chunk begins with wait for what follows: when nothing does, one frame says it all.
	held, holds := int64(0), w.offset == 0 && s.agreed(wire.CapZero)
	for off := int64(0); off < w.length; {
		piece := min(w.length-off, int64(s.pieceFor()))
		skip := off < w.offset // the receiver has these bytes: they are hashed, not sent
		if skip {
			piece = min(w.offset-off, wire.MaxPayload)
		}
		select {
		case <-f.failed:
			return nil
		default:
		}
		if f.isAcked(w.chunk) {
			return nil // what another stream carried arrived; a pipe has forgotten it
		}
		piece, zero, err := in.next(base+off, piece)
		p := b.payload(int(piece))
		if zero {
			clear(p)
		} else if err == nil {
			err = f.src.ReadAt(p, base+off)
		}
		if err != nil {
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
		zero = zero || holds && held == off && allZero(p)
		last := off+piece == w.length
		if zero && holds && held == off && !last {
			held += piece
			off += piece
			continue
		}
		var cv crypto.CV
		if last {
			flags |= wire.DataLast
			cv = f.chunkCV(h)
			copy(b.b[wire.DataHeaderLen+piece:], cv[:])
			f.mu.Lock()
			f.setCV(w.chunk, cv)
			f.mu.Unlock()
		}
		if zero && last && holds && held == off {
			frame := wire.AppendDataHeader(b.b[:0], f.id, flags|wire.DataZero, uint64(w.chunk), 0, uint32(w.length), 0)
			if err := s.writeOut(st, append(frame, cv[:]...), 0); err != nil {
				return err
			}
			break
		}
		if held > 0 {
			if err := f.sendZeros(st, w, b, held); err != nil {
				return err
			}
			flags &^= wire.DataFirst
			held = 0
		}
		holds = false
		frame, sent := b.b, piece
		if z, ok := b.squeezed(&s.link, p, zero, last); ok {
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

// sendZeros sends the n zeros that a chunk begins with, and that more follows. It leaves the payload of b as it is.
func (f *sendFile) sendZeros(st *stream, w chunkWork, b *sendBuffer, n int64) error {
	flags := uint8(wire.DataFirst)
	for off := int64(0); off < n; {
		p := zeroPiece[:min(n-off, int64(f.s.pieceFor()))]
		sent, ok := b.squeezed(&f.s.link, p, true, false)
		if ok {
			flags |= wire.DataZstd
		} else {
			b.z = append(b.spare(), p...)
			sent = len(p)
		}
		wire.AppendDataHeader(b.z[:0], f.id, flags, uint64(w.chunk), uint32(off), uint32(w.length), uint32(sent))
		if err := f.s.writeOut(st, b.z[:wire.DataHeaderLen+sent], sent); err != nil {
			return err
		}
		f.onSent(int64(sent))
		flags = 0
		off += int64(len(p))
	}
	return nil
}

// zeroPiece is a piece of zeros.
var zeroPiece [wire.MaxPayload]byte

// allZero tells whether p, at most a piece, has nothing but zeros.
func allZero(p []byte) bool { return bytes.Equal(p, zeroPiece[:len(p)]) }

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
