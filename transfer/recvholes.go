package transfer

import (
	"errors"

	"xfer/transfer/sink"
	"xfer/transfer/wire"
)

// takeZeros makes holes of the chunks that the sender says are zeros, in a handler: the disk may have to be waited for.
func (f *recvFile) takeZeros(m wire.Zeros) error {
	if !f.s.agreed(wire.CapZero) {
		return notAgreed("ZEROS")
	}
	f.mu.Lock()
	land, total, commit, sparse := f.land, f.total, f.commit, f.open.Flags&wire.OpenSparse != 0
	f.mu.Unlock()
	if land == nil || commit {
		return nil // before OPENED, or late
	}
	last := m.Chunks[len(m.Chunks)-1]
	if !sparse || total < 0 || last.Start+last.Count > uint64(total) {
		return protocolError("ZEROS outside of the transfer")
	}
	return f.s.handler(func() {
		defer f.s.worksOn(f.id)()
		for _, r := range m.Chunks {
			n, err := land.Zero(f.s.ctx, int64(r.Start), int64(r.Count))
			if f.onZeros != nil && n > 0 {
				f.onZeros(n)
			}
			if errors.Is(err, sink.ErrTaken) {
				err = protocolError("ZEROS of chunks that come as data, too")
			}
			if err != nil {
				f.refuse(err)
				return
			}
		}
		f.flushAck()
		f.s.send(f.id, wire.Ack{Received: m.Chunks})
	})
}

// putZeros writes n zeros, a chunk of them.
func putZeros(w chunkWriter, _ *recvFile, n int64, _ []byte) error {
	for n > 0 {
		p := zeroPiece[:min(n, int64(len(zeroPiece)))]
		if err := w.Write(p); err != nil {
			return err
		}
		n -= int64(len(p))
	}
	return nil
}
