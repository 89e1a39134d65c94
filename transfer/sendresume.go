package transfer

import (
	"context"
	"fmt"
	"time"

	"xfer/crypto"
	"xfer/transfer/wire"
)

// resume takes the receiver's have-map: fetches the CVs of what is there, compares them with the source where that is
// asked for, and fills todo with the rest.
func (f *sendFile) resume(ctx context.Context, o wire.Opened) error {
	limit := f.total
	stream, pipe := f.src.(*pipeSource)
	if pipe {
		limit = stream.chunksRead()
	}
	var have chunkSet
	for _, r := range o.Have {
		if r.Count > uint64(limit) || r.Start > uint64(limit)-r.Count {
			return protocolError("OPENED claims chunks beyond the file")
		}
		have.addRange(int64(r.Start), int64(r.Count))
	}
	if pipe && !stream.covered(&have) {
		return errPipeLost
	}
	for _, p := range o.Parts {
		c := int64(p.Chunk)
		if p.Chunk >= uint64(limit) || have.has(c) || f.holes.has(c) || int64(min(p.Bytes, 1<<30)) >= f.lenOf(c) {
			continue // a part that makes no sense is sent again
		}
		f.parts[c] = int64(p.Bytes)
	}
	if err := f.learn(ctx, o.Have); err != nil {
		return err
	}
	if f.verify && have.count > 0 && !pipe {
		if err := f.compare(ctx, &have); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	resumed := int64(0)
	for _, r := range o.Have {
		for i := int64(r.Start); i < int64(r.Start+r.Count); i++ {
			if f.acked.add(i) && !pipe {
				resumed += chunkLen(f.src.Size(), f.log2, i)
			}
		}
	}
	for _, n := range f.parts {
		if !pipe {
			resumed += n
		}
	}
	if !pipe {
		start := int64(-1)
		for i := int64(0); i <= f.total; i++ {
			free := i < f.total && !f.acked.has(i) && !f.holes.has(i)
			if free && start < 0 {
				start = i
			}
			if !free && start >= 0 {
				f.todo = append(f.todo, int64span{start, i - start})
				start = -1
			}
		}
	}
	if resumed > 0 {
		f.onResumed(resumed)
	}
	return nil
}

// atWork is called while a source is read that is not being sent. A client has no other sign of life from us meanwhile.
func (f *sendFile) atWork() {
	f.s.alive()
	if f.s.server && time.Since(f.told) >= busyEvery {
		f.told = time.Now()
		f.s.send(f.id, wire.Ack{})
	}
}

// compare re-reads the chunks that the receiver has and compares their hashes.
func (f *sendFile) compare(ctx context.Context, have *chunkSet) error {
	h := crypto.NewChunkHasher()
	b := newSendBuffer()
	for i := int64(0); i < f.total; i++ {
		if !have.has(i) || f.holes.has(i) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		n := chunkLen(f.src.Size(), f.log2, i)
		h.Reset(uint64(i), f.log2)
		alike := true
		for off := int64(0); off < n; {
			f.atWork()
			p := b.payload(int(min(n-off, wire.MaxPayload)))
			if err := f.src.ReadAt(p, i<<f.log2+off); err != nil {
				return err
			}
			if f.zeros.has(i) {
				alike = alike && allZero(p)
			} else {
				_, _ = h.Write(p)
			}
			off += int64(len(p))
		}
		if !alike || !f.zeros.has(i) && f.chunkCV(h) != f.cvs.get(i) {
			return fmt.Errorf("what the receiver holds is of another version: %w", errSourceChanged)
		}
	}
	return nil
}

// chunkCV is the CV of the chunk in h, which for a file of one chunk is the root (PROTOCOL.md, "The hash tree").
func (f *sendFile) chunkCV(h *crypto.ChunkHasher) crypto.CV {
	if f.total == 1 && !f.isPipe() {
		return crypto.CV(h.Root())
	}
	return h.CV()
}

func (f *sendFile) isPipe() bool { _, ok := f.src.(*pipeSource); return ok }
