package transfer

import (
	"xfer/crypto"
	"xfer/transfer/wire"
)

// Delta: what did not change since the receiver's old version of the file is not sent. The receiver tells the CVs of that
// version; a chunk that has the same one is sent as a frame without payload. Of another chunk the CVs of its groups of 16 KiB are
// compared the same way, and only groups that differ are sent (PROTOCOL.md, "The old version").

const (
	deltaWindow = 2048 // chunks asked for at a time
	deltaGap    = 32   // chunks of no interest that may lie between two in one question
	deltaLeast  = 1 << 20
	deltaTries  = 32 // chunks that have nothing in common, before the old version is taken for another file
)

// delta is what a sendFile knows of the receiver's old version. The sendFile's lock guards it.
type delta struct {
	chunks int64               // of the old version that can be compared: whole ones, and the last where both files end there
	asked  int64               // chunks whose CVs were asked for
	wait   map[int64]int64     // of those, which questions were not answered: how many chunks by the first
	cvs    map[int64]crypto.CV // those that have come, and were not compared yet
	plain  map[int64]bool      // chunks that are sent as if there were no old version
	open   map[int64]oldGroups // chunks whose groups were asked for
	ready  []int64             // chunks whose groups have come, in open
	total  int64               // compared
	alike  int64               // of those, with something in common
}

// oldGroups is a chunk that is not as in the old version.
type oldGroups struct {
	cv     crypto.CV
	groups []crypto.CV
	send   []bool // by group; nil: the answer has not come
}

// newDelta prepares for an old version of size bytes; nil where comparing is not worth it.
func (f *sendFile) newDelta(size uint64) *delta {
	n := f.src.Size()
	if size == 0 || n < deltaLeast || f.one || f.isPipe() {
		return nil
	}
	common := min(int64(min(size, 1<<62)), n)
	d := &delta{chunks: common >> f.log2, cvs: map[int64]crypto.CV{}, plain: map[int64]bool{}, open: map[int64]oldGroups{}, wait: map[int64]int64{}}
	if int64(size) == n {
		d.chunks = f.total
	}
	if d.chunks == 0 {
		return nil
	}
	for i := range f.parts {
		d.plain[i] = true // a part that was kept is of the new version
	}
	return d
}

// ask asks for the CVs of the next chunks that are to be sent and were not asked for. f.mu is held.
func (d *delta) ask(f *sendFile) {
	for d.asked < d.chunks && !d.wants(f, d.asked) {
		d.asked++
	}
	if d.asked == d.chunks || len(d.cvs) >= deltaWindow {
		return
	}
	first, end := d.asked, d.asked
	for i := first; i < min(first+deltaWindow, d.chunks) && i-end < deltaGap; i++ {
		if d.wants(f, i) {
			end = i + 1
		}
	}
	f.s.send(f.id, wire.Hashes{Old: true, First: uint64(first), Count: uint64(end - first)})
	d.wait[first] = end - first
	d.asked = end
}

// wants tells whether chunk i is to be sent: what the receiver has, and what is a hole, is compared with nothing.
func (d *delta) wants(f *sendFile, i int64) bool { return !f.acked.has(i) && !f.holes.has(i) }

// popDelta gives the next chunk of which something is known; hold tells that others have to wait for an answer. f.mu is
// held.
func (f *sendFile) popDelta(st *stream, room int64, force bool) (w work, ok, hold bool) {
	d := f.delta
	if len(d.ready) > 0 {
		i := d.ready[0]
		n := f.lenOf(i)
		if n > room && !force {
			return work{}, false, true
		}
		d.ready = d.ready[1:]
		diff := d.open[i]
		delete(d.open, i)
		f.inflight[i] = flight{st, n}
		return work{from: &deltaWork{f: f, chunk: i, length: n, diff: diff}, length: n}, true, false
	}
	if len(f.todo) == 0 {
		return work{}, false, true
	}
	i := f.todo[0].start
	if i >= d.chunks || d.plain[i] {
		return work{}, false, false
	}
	cv, known := d.cvs[i]
	if !known {
		d.ask(f)
		return work{}, false, true
	}
	n := f.lenOf(i)
	if n > room && !force {
		return work{}, false, true
	}
	delete(d.cvs, i)
	d.ask(f)
	f.takeTodo()
	f.inflight[i] = flight{st, n}
	return work{from: &compareWork{f: f, chunk: i, length: n, old: cv}, length: n}, true, false
}

// takeOld takes an answer about the old version.
func (f *sendFile) takeOld(m wire.HashList) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.delta
	if d == nil {
		return nil
	}
	first := int64(m.First)
	if !m.Groups {
		n, ok := d.wait[first]
		if !ok {
			return nil // not asked for
		}
		if int64(len(m.CVs)) != n {
			return protocolError("HASHLIST of %d CVs, asked for %d", len(m.CVs), n)
		}
		delete(d.wait, first)
		for i, cv := range m.CVs {
			if c := first + int64(i); d.wants(f, c) {
				d.cvs[c] = crypto.CV(cv)
			}
		}
		return nil
	}
	diff, ok := d.open[first]
	if !ok || diff.send != nil {
		return nil // not asked for, or not any more
	}
	if len(m.CVs) != len(diff.groups) {
		return protocolError("HASHLIST of %d groups, asked for %d", len(m.CVs), len(diff.groups))
	}
	diff.send = make([]bool, len(diff.groups))
	n := 0
	for i, cv := range m.CVs {
		if diff.send[i] = crypto.CV(cv) != diff.groups[i]; diff.send[i] {
			n++
		}
	}
	diff.groups = nil
	d.open[first] = diff
	d.compared(f, n < len(diff.send))
	if n == len(diff.send) {
		delete(d.open, first)
		d.plain[first] = true
		f.todo = append([]int64span{{first, 1}}, f.todo...)
		return nil
	}
	d.ready = append(d.ready, first)
	return nil
}

// compared counts a chunk, and gives up where nothing is alike. f.mu is held.
func (d *delta) compared(f *sendFile, alike bool) {
	d.total++
	if alike {
		d.alike++
	}
	if d.total >= deltaTries && d.alike == 0 {
		for i := range d.open {
			if d.open[i].send == nil {
				f.todo = append(f.todo, int64span{i, 1})
			}
		}
		for _, i := range d.ready {
			f.todo = append(f.todo, int64span{i, 1})
		}
		f.delta = nil
	}
}

// compareWork is a chunk to be compared with the old version.
type compareWork struct {
	f      *sendFile
	chunk  int64
	length int64
	old    crypto.CV
}

// send hashes the chunk, and sends that it is the old one, or asks for its groups.
func (w *compareWork) send(st *stream, b *sendBuffer) error {
	f := w.f
	h := b.h
	h.KeepGroups(true)
	defer h.KeepGroups(false)
	h.Reset(uint64(w.chunk), f.log2)
	for off := int64(0); off < w.length; {
		select {
		case <-f.failed:
			return nil
		default:
		}
		p := b.payload(int(min(w.length-off, wire.MaxPayload)))
		if err := f.src.ReadAt(p, w.chunk<<f.log2+off); err != nil {
			f.fail(err)
			return nil
		}
		_, _ = h.Write(p)
		off += int64(len(p))
	}
	f.s.alive()
	if cv := h.CV(); cv != w.old {
		groups := append([]crypto.CV(nil), h.Groups()...)
		f.mu.Lock()
		delete(f.inflight, w.chunk)
		if f.delta == nil {
			f.todo = append(f.todo, int64span{w.chunk, 1})
		} else {
			f.delta.open[w.chunk] = oldGroups{cv: f.chunkCV(h), groups: groups}
			f.s.send(f.id, wire.Hashes{Old: true, Groups: true, First: uint64(w.chunk), Count: 1})
		}
		f.mu.Unlock()
		f.s.disp.release(w.length)
		return nil
	}
	f.mu.Lock()
	if f.delta != nil {
		f.delta.compared(f, true)
	}
	f.setCV(w.chunk, f.chunkCV(h))
	f.mu.Unlock()
	cv := f.chunkCV(h)
	return f.sendOld(st, b, w.chunk, w.length, wire.DataFirst|wire.DataLast, w.length, 0, &cv)
}

// deltaWork is a chunk of which some groups are sent.
type deltaWork struct {
	f      *sendFile
	chunk  int64
	length int64
	diff   oldGroups
}

func (w *deltaWork) send(st *stream, b *sendBuffer) error {
	f := w.f
	f.mu.Lock()
	f.setCV(w.chunk, w.diff.cv)
	f.mu.Unlock()
	flags := uint8(wire.DataFirst)
	most := int64(f.s.pieceFor()) &^ (crypto.GroupSize - 1)
	for g := 0; g < len(w.diff.send); {
		if !w.diff.send[g] {
			g++
			continue
		}
		off := int64(g) * crypto.GroupSize
		for g < len(w.diff.send) && w.diff.send[g] && (int64(g+1)*crypto.GroupSize-off <= max(most, crypto.GroupSize)) {
			g++
		}
		n := min(int64(g)*crypto.GroupSize, w.length) - off
		if err := f.src.ReadAt(b.payload(int(n)), w.chunk<<f.log2+off); err != nil {
			f.fail(err)
			return nil
		}
		var cv *crypto.CV
		if off+n == w.length {
			flags |= wire.DataLast
			cv = &w.diff.cv
		}
		if err := f.sendOld(st, b, w.chunk, w.length, flags, off, n, cv); err != nil {
			return err
		}
		if cv != nil {
			return nil
		}
		flags = 0
	}
	return f.sendOld(st, b, w.chunk, w.length, flags|wire.DataLast, w.length, 0, &w.diff.cv)
}

// sendOld sends one frame of a chunk of which the rest is in the old version: n bytes of the buffer's payload.
func (f *sendFile) sendOld(st *stream, b *sendBuffer, chunk, length int64, flags uint8, off, n int64, cv *crypto.CV) error {
	s := f.s
	wire.AppendDataHeader(b.b[:0], f.id, flags|wire.DataOld, uint64(chunk), uint32(off), uint32(length), uint32(n))
	end := wire.DataHeaderLen + int(n)
	if cv != nil {
		end += copy(b.b[end:], cv[:])
	}
	if err := s.writeOut(st, b.b[:end], int(n)); err != nil {
		return err
	}
	f.onSent(n)
	return nil
}
