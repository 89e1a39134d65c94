package transfer

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"xfer/transfer/wire"
)

// A piece of a chunk, and the files of a pack, may travel as one zstd frame (RFC 8878; PROTOCOL.md, "Compression"). Each is
// compressed by itself, so that a receiver needs no more memory than for one, and a part of a chunk can be kept at any piece.

// errBomb is a zstd frame that holds something else than what was announced.
var errBomb = errors.New("compressed content is damaged, or longer than what it stands for")

// maxExpanded is the most that a frame may hold, in bytes: a whole PACK.
const maxExpanded = wire.MaxPack

var (
	encoders = sync.Pool{New: func() any {
		// One that is not kept busy by goroutines of its own: streams are the parallelism.
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithWindowSize(256<<10), zstd.WithLowerEncoderMem(true))
		if err != nil {
			panic("transfer: " + err.Error()) // the options are constant
		}
		return e
	}}
	decoders = sync.Pool{New: func() any {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(2*maxExpanded), zstd.WithDecoderMaxWindow(2*maxExpanded), zstd.WithDecoderLowmem(true))
		if err != nil {
			panic("transfer: " + err.Error())
		}
		return d
	}}
)

// squeeze appends p to b as a zstd frame.
func squeeze(b, p []byte) []byte {
	e := encoders.Get().(*zstd.Encoder)
	defer encoders.Put(e)
	return e.EncodeAll(p, b)
}

// expand appends what the zstd frame p holds to b, at most limit bytes, which is at most maxExpanded.
func expand(b, p []byte, limit int) ([]byte, error) {
	d := decoders.Get().(*zstd.Decoder)
	defer decoders.Put(d)
	n := len(b)
	out, err := d.DecodeAll(p, b)
	if err != nil || len(out)-n > limit {
		return b, errBomb
	}
	return out, nil
}

// worthIt tells whether compressing p would save a tenth: by a sample, whose cost is a hundredth of that of compressing.
func worthIt(p []byte) bool {
	sample := p
	if len(sample) > 32<<10 {
		sample = p[len(p)/2-16<<10:][:32<<10]
	}
	if len(sample) < 512 {
		return false
	}
	n := s2.EstimateBlockSize(sample)
	return n > 0 && n < len(sample)*9/10
}

// link watches how fast a session sends, and whether it is the network that it waits for.
type link struct {
	mode    string // auto (also ""), on, off
	agreed  bool   // the peer takes it
	sent    atomic.Int64
	blocked atomic.Int64 // ns that streams have waited in writes, or for a limit
	streams func() int

	mu    sync.Mutex
	at    time.Time
	was   int64 // sent at at
	waits int64
	slow  atomic.Bool
}

// A link is slow when it carries less than a core compresses and the streams wait for it most of the time.
const (
	slowLink  = 64 << 20 // bytes a second
	linkEvery = 250 * time.Millisecond
)

// wants tells whether p is to be compressed.
func (l *link) wants(p []byte) bool {
	switch {
	case !l.agreed || l.mode == "off":
		return false
	case l.mode == "on":
		return worthIt(p)
	}
	return l.isSlow() && worthIt(p)
}

// wrote notes that n bytes went out in a write that took d.
func (l *link) wrote(n int, d time.Duration) {
	l.sent.Add(int64(n))
	l.blocked.Add(int64(d))
}

// isSlow looks every quarter of a second at what went out since the last look.
func (l *link) isSlow() bool {
	if !l.mu.TryLock() {
		return l.slow.Load()
	}
	defer l.mu.Unlock()
	now := time.Now()
	if l.at.IsZero() {
		l.at = now
		return false
	}
	dt := now.Sub(l.at)
	if dt < linkEvery {
		return l.slow.Load()
	}
	sent, waits := l.sent.Load(), l.blocked.Load()
	rate := float64(sent-l.was) / dt.Seconds()
	busy := float64(waits-l.waits) / float64(dt) / float64(max(l.streams(), 1))
	l.at, l.was, l.waits = now, sent, waits
	l.slow.Store(rate < slowLink && busy > 0.5)
	return l.slow.Load()
}

// expandData gives the piece of a compressed frame.
func (s *session) expandData(st *stream, d wire.Data) (wire.Data, error) {
	if d.Flags&wire.DataZstd == 0 {
		return d, nil
	}
	if !s.agreed(wire.CapZstd) {
		return d, notAgreed("compression")
	}
	raw, err := expand(st.raw[:0], d.Payload, wire.MaxPayload)
	if err != nil {
		return d, protocolError("DATA: %v", err)
	}
	st.raw = raw
	return d.Expanded(raw)
}

// expandPack gives the files of a compressed pack. shrunk is how much of them crossed the wire, at most 1.
func (s *session) expandPack(st *stream, p *wire.Pack) (shrunk float64, err error) {
	z := p.Compressed()
	if z == nil {
		return 1, nil
	}
	if !s.agreed(wire.CapZstd) {
		return 0, notAgreed("compression")
	}
	raw, err := expand(st.raw[:0], z, maxExpanded)
	if err != nil {
		return 0, protocolError("PACK: %v", err)
	}
	st.raw = raw
	return min(float64(len(z))/float64(max(len(raw), 1)), 1), p.Expand(raw)
}
