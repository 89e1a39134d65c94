package sink

import (
	"context"
	"io"
	"runtime"
	"sync"
	"time"

	"xfer/crypto"
)

// verify reads every chunk that the journal claims again, and strikes out what does not match. A record is a claim:
// this is the guard for everything that may have happened to the files while nobody looked.
func (l *loader) verify(ctx context.Context) ([]record, error) {
	s := l.s
	if s.held.n == 0 {
		return nil, nil
	}
	// What a failed sync has left in the page cache only must not be taken for what is on the disk.
	_ = s.data.DropCache()
	bad, err := s.rehash(ctx)
	if err == nil && s.zeros.n > 0 {
		err = s.lookForData(ctx, &bad)
	}
	if err != nil {
		return nil, err
	}
	var drops []record
	for c := bad.next(0); c >= 0; c = bad.next(c + 1) {
		s.drop(c)
		drops = append(drops, record{kind: recDrop, index: uint64(c)})
	}
	return drops, nil
}

const readSize = 256 << 10

// rehash reads all held chunks but those of zeros, and returns those that do not have their CV or cannot be read.
func (s *Stage) rehash(ctx context.Context) (bad bitset, err error) {
	workers := min(runtime.GOMAXPROCS(0), 4, int(min(s.held.n, 4)))
	chunks := make(chan int64)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			h := s.d.pool.Get().(*crypto.ChunkHasher)
			defer s.d.pool.Put(h)
			buf := make([]byte, readSize)
			for c := range chunks {
				if !s.intact(c, h, buf) {
					mu.Lock()
					bad.add(c)
					mu.Unlock()
				}
			}
		})
	}
	step := func(c int64) int64 {
		for c = s.held.next(c); c >= 0 && s.zeros.has(c); {
			c = s.held.next(s.zeros.end(c))
		}
		return c
	}
	next := step(0)
	err = waiting(s.spec.Busy, func(tick <-chan time.Time) (bool, error) {
		for next >= 0 {
			select {
			case chunks <- next:
				next = step(next + 1)
			case <-ctx.Done():
				return true, context.Cause(ctx)
			case <-tick:
				return false, nil
			}
		}
		return true, nil
	})
	close(chunks)
	ended := make(chan struct{})
	go func() { wg.Wait(); close(ended) }()
	_ = busyWait(ended, s.spec.Busy)
	return bad, err
}

// intact tells whether chunk c on the disk has the CV that the journal claims.
func (s *Stage) intact(c int64, h *crypto.ChunkHasher, buf []byte) bool {
	want, err := s.cvs.get(c, s.journal)
	if err != nil {
		return false
	}
	got, err := s.hashChunk(c, h, buf)
	return err == nil && got == want
}

// hashChunk reads chunk c and returns its CV, of the only chunk of a file its root.
func (s *Stage) hashChunk(c int64, h *crypto.ChunkHasher, buf []byte) (crypto.CV, error) {
	h.Reset(uint64(c), s.spec.ChunkLog2)
	size := s.chunkLimit(c)
	r := io.NewSectionReader(s.data, c*s.chunkSize, size)
	for size > 0 {
		n, err := io.ReadFull(r, buf[:min(size, int64(len(buf)))])
		if err != nil {
			return crypto.CV{}, err
		}
		if _, err := h.Write(buf[:n]); err != nil {
			return crypto.CV{}, err
		}
		size -= int64(n)
	}
	if s.single() {
		return crypto.CV(h.Root()), nil
	}
	return h.CV(), nil
}
