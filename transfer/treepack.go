package transfer

import (
	"errors"
	"fmt"
	"io"

	"xfer/crypto"
	"xfer/transfer/wire"
)

// Bounds of a pack.
const (
	maxPacked  = 512 << 10 // of a file in a pack, bytes
	packTarget = 256 << 10 // a pack is sent when its content is as long as this
	packFiles  = 512
)

// pop takes files for one pack. Called with the dispatcher's lock.
func (t *treeSend) pop(st *stream, room int64, force bool) (work, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil || len(t.ready) == 0 {
		return work{}, false
	}
	target := min(int64(max(t.s.pieceFor(), 16<<10)), packTarget)
	f := &packFlight{st: st}
	n := 0
	for ; n < len(t.ready) && len(f.entries) < packFiles; n++ {
		e := t.ready[n]
		if t.wanted[e.no] != e {
			continue // it arrived on a stream that was given up
		}
		size := int64(wire.PackSize(int(e.info.Size())))
		first := len(f.entries) == 0
		if first && size > room && !force {
			return work{}, false
		}
		if !first && (f.room+size > target || f.room+size > room) {
			break
		}
		f.room += size
		f.entries = append(f.entries, e)
		e.taken = true
	}
	t.ready = t.ready[n:]
	if len(t.ready) == 0 {
		t.ready = nil // what was taken is not kept in memory
	}
	if len(f.entries) == 0 {
		t.changed.Broadcast()
		return work{}, false
	}
	number := t.packs
	t.packs++
	t.flights[number] = f
	t.packing++
	return work{from: &packWork{t: t, number: number, flight: f}, length: f.room}, true
}

// requeue puts what st carried back; it returns the bytes. Called with the dispatcher's lock.
func (t *treeSend) requeue(st *stream) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	bytes := int64(0)
	for n, f := range t.flights {
		if f.st != st {
			continue
		}
		delete(t.flights, n)
		bytes += f.room
		for _, e := range f.entries {
			if t.wanted[e.no] == e {
				t.ready = append(t.ready, e)
			}
		}
	}
	t.changed.Broadcast()
	return bytes
}

// packWork is a pack to be made and sent.
type packWork struct {
	t      *treeSend
	number uint64
	flight *packFlight
}

// send reads the files and sends them as one frame. An error is one of the stream.
func (w *packWork) send(st *stream, _ *sendBuffer) error {
	t := w.t
	b := wire.AppendPackHeader(st.pack[:0])
	content := int64(0)
	var packed, unread []*treeEntry
	var roots []crypto.Digest
	var sizes []int64
	var errs []error
	for _, e := range w.flight.entries {
		at, size, root := len(b), int64(0), crypto.Digest{}
		var err error
		for range sourceTries {
			if b, size, root, err = e.appendTo(b[:at], t.limit(len(b[:at]))); !errors.Is(err, errSourceChanged) {
				break
			}
		}
		switch {
		case errors.Is(err, errPackFull): // it grew
			b = b[:at]
			t.mu.Lock()
			t.large = append(t.large, e)
			t.start()
			t.mu.Unlock()
		case err != nil:
			b = b[:at]
			unread, errs = append(unread, e), append(errs, localOr(err, ""))
		default:
			packed = append(packed, e)
			roots = append(roots, root)
			sizes = append(sizes, size)
			content += size
		}
	}
	st.pack = b
	if len(unread) > 0 {
		t.unreadAll(unread, errs)
	}
	t.mu.Lock()
	_, there := t.flights[w.number]
	t.packed(packed, roots, sizes)
	w.flight.bytes, w.flight.entries = content, packed
	if len(packed) == 0 {
		delete(t.flights, w.number)
	}
	t.packing--
	t.changed.Broadcast()
	t.mu.Unlock()
	if len(packed) == 0 {
		if there {
			t.s.disp.release(w.flight.room)
		}
		return nil
	}
	flags := uint8(0)
	if files := b[wire.PackHeaderLen:]; t.s.link.wants(files) {
		z := squeeze(append(st.zpack[:0], b[:wire.PackHeaderLen]...), files)
		if st.zpack = z; len(z) < len(b)*19/20 {
			flags = wire.PackZstd
			content = content * int64(len(z)) / int64(len(b)) // what of it crossed the wire
			b = z
		}
	}
	wire.PutPackHeader(b, t.id, flags, w.number, len(packed))
	if err := t.s.writeOut(st, b, len(b)); err != nil {
		return err
	}
	t.hook.sent(content)
	return nil
}

// packed notes what is about to be sent of entries. Where a file was sent before, and has changed since, nobody knows which of both the receiver has
// taken; a receipt needs that, and so it is found out in another session. t.mu is held.
func (t *treeSend) packed(list []*treeEntry, roots []crypto.Digest, sizes []int64) {
	for i, e := range list {
		if t.list && e.packed && e.root != roots[i] {
			t.failLocked(&lostError{fmt.Errorf("%q changed before it was sent once more", e.at)})
		}
		e.root, e.length, e.packed = roots[i], sizes[i], true
	}
}

// limit is how large a file may be in a pack that has n bytes.
func (t *treeSend) limit(n int) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return min(t.packLimit(), int64(wire.MaxPack+wire.HeaderLen-n-wire.PackSize(0)))
}

var errPackFull = errors.New("the file does not fit into the pack")

// appendTo reads e and appends it, as it is now, to a pack, and returns its size. A file that changes while it is read is errSourceChanged, one of
// more than limit bytes errPackFull.
func (e *treeEntry) appendTo(b []byte, limit int64) (_ []byte, size int64, root crypto.Digest, _ error) {
	f, err := e.dir.Open(e.base)
	if err != nil {
		return b, 0, root, vanished(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return b, 0, root, err
	}
	if err := e.stands(info); err != nil {
		return b, 0, root, err
	}
	n := info.Size()
	if n > limit {
		return b, 0, root, errPackFull
	}
	var m *wire.Meta
	if n != e.info.Size() || !info.ModTime().Equal(e.info.ModTime()) || info.Mode() != e.info.Mode() {
		m = &wire.Meta{Mode: modeBits(info.Mode()) & e.bits, MTimeNS: unixNano(info.ModTime())}
	}
	b = wire.AppendPackFile(b, e.no, m, int(n))
	at := len(b)
	b = grow(b, int(n)+len(wire.Hash{}))[:at+int(n)]
	if _, err := io.ReadFull(f, b[at:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errSourceChanged
		}
		return b, 0, root, err
	}
	now, err := f.Stat()
	if err != nil {
		return b, 0, root, err
	}
	if !sameVersion(now, info) {
		return b, 0, root, errSourceChanged
	}
	root = crypto.Sum(b[at:])
	return append(b, root[:]...), n, root, nil
}

// grow makes room for n more bytes, in steps that are worth it.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b
	}
	c := max(2*cap(b), len(b)+n, packTarget+8<<10)
	return append(make([]byte, 0, c), b...)
}
