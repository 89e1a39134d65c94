package sink

import (
	"context"
	"io"
	"math"
	"time"

	"xfer/crypto"
	"xfer/transfer/durable"
)

// hashFile hashes f from its beginning to its end. Its holes are not read.
func hashFile(ctx context.Context, f durable.File, busy func()) (crypto.Digest, int64, error) {
	return hashPrefix(ctx, f, math.MaxInt64, busy)
}

// hashPrefix is hashFile of at most limit bytes.
func hashPrefix(ctx context.Context, f durable.File, limit int64, busy func()) (crypto.Digest, int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return crypto.Digest{}, 0, err
	}
	// Where nothing is missing nobody looks for holes.
	blocks, ok := durable.Blocks(fi)
	holes := ok && blocks < fi.Size()/512
	h := crypto.NewHasher()
	buf := make([]byte, min(fi.Size()+1, readSize))
	tick := ticker(ctx, busy)
	for off := int64(0); off < limit; {
		stop := limit
		if holes {
			data, err := f.NextData(off)
			if err != nil {
				return crypto.Digest{}, 0, err
			}
			data = min(data, limit)
			if err := h.WriteZeros(data-off, tick); err != nil {
				return crypto.Digest{}, 0, err
			}
			off = data
			if stop, err = f.NextHole(off); err != nil {
				return crypto.Digest{}, 0, err
			}
			if stop = min(stop, limit); stop <= off {
				stop = limit // the end, unless it grows
			}
		}
		for off < stop {
			if err := tick(); err != nil {
				return crypto.Digest{}, 0, err
			}
			n, err := f.ReadAt(buf[:min(int64(len(buf)), stop-off)], off)
			h.Write(buf[:n])
			off += int64(n)
			if err == io.EOF {
				return h.Sum(), off, nil
			}
			if err != nil {
				return crypto.Digest{}, 0, err
			}
		}
	}
	return h.Sum(), limit, nil
}

// ticker returns a function that is called in long work: it fails when the context is done, and calls busy, if that is
// not nil, about once a second.
func ticker(ctx context.Context, busy func()) func() error {
	last := time.Now()
	return func() error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if busy != nil && time.Since(last) >= time.Second {
			busy()
			last = time.Now()
		}
		return nil
	}
}
