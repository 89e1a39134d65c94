package transfer

import (
	"xfer/crypto"
	"xfer/transfer/wire"
)

// sendBuffer holds one DATA frame: header, payload, CV.
type sendBuffer struct {
	b []byte
	h *crypto.ChunkHasher
}

func newSendBuffer() *sendBuffer {
	return &sendBuffer{b: make([]byte, wire.DataHeaderLen+wire.MaxPayload+32), h: crypto.NewChunkHasher()}
}

func (b *sendBuffer) payload(n int) []byte { return b.b[wire.DataHeaderLen:][:n] }

// sendChunk reads, hashes and sends one chunk, piece by piece. An error is one of the stream; one of the source ends
// the transfer and leaves the stream whole.
func (f *sendFile) sendChunk(st *stream, w work, b *sendBuffer) error {
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
		wire.AppendDataHeader(b.b[:0], f.id, flags, uint64(w.chunk), uint32(off), uint32(w.length), uint32(piece))
		n := wire.DataHeaderLen + int(piece)
		if last {
			n += 32
		}
		if s.limitOut != nil {
			if err := s.limitOut(s.ctx, int(piece)); err != nil {
				return err
			}
		}
		st.wmu.Lock()
		_, err := st.s.Write(b.b[:n])
		st.wmu.Unlock()
		if err != nil {
			return err
		}
		s.alive() // as far as buffers go: one that does not take it in the end blocks the next
		s.bytesOut.Add(piece)
		f.onSent(piece)
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
