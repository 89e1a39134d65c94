package sink

import (
	"encoding/binary"
	"hash/crc32"

	"xfer/crypto"
)

// refRecord is a journal record as the simplest possible reader of FORMAT.md sees it.
type refRecord struct {
	kind  byte
	index uint64
	body  [32]byte
}

// referenceRecords is a journal reader of its own, in as few lines as possible.
func referenceRecords(b []byte) (rs []refRecord, ok bool) {
	sum := func(p []byte) uint32 { return crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)) }
	if len(b) < 12 || string(b[:8]) != "XFERJNL1" && string(b[:8]) != "XFERJNL2" {
		return nil, false
	}
	n := int(binary.BigEndian.Uint32(b[8:]))
	if n > 16<<10 || len(b) < 12+n+4 || binary.BigEndian.Uint32(b[12+n:]) != sum(b[:12+n]) {
		return nil, false
	}
	for b = b[12+n+4:]; len(b) >= 48; b = b[48:] {
		if binary.BigEndian.Uint32(b) != sum(b[4:48]) || b[5] != 0 || b[6] != 0 || b[7] != 0 {
			break
		}
		rs = append(rs, refRecord{b[4], binary.BigEndian.Uint64(b[8:]), [32]byte(b[16:48])})
	}
	return rs, true
}

// referenceMarked returns the chunks that MARKs cover and nothing has taken back.
func referenceMarked(b []byte) (header, map[int64]crypto.CV) {
	h, _, err := parseHeader(b)
	rs, ok := referenceRecords(b)
	if err != nil || !ok {
		return h, nil
	}
	covered := uint64(0)
	for _, r := range rs {
		if r.kind == 2 {
			covered = max(covered, r.index)
		}
	}
	m := map[int64]crypto.CV{}
	for i, r := range rs {
		switch {
		case r.kind == 1 && uint64(i) < covered:
			m[int64(r.index)] = r.body
		case r.kind == 5:
			for c := int64(r.index); c < int64(r.index+binary.BigEndian.Uint64(r.body[:])); c++ {
				delete(m, c)
				if uint64(i) < covered {
					n := min(h.size-c<<h.chunkLog2, 1<<h.chunkLog2)
					m[c], _ = chunkCV(make([]byte, c<<h.chunkLog2+n), c, h.chunkLog2, h.size > 1<<h.chunkLog2)
				}
			}
		case r.kind == 1 || r.kind == 7:
			delete(m, int64(r.index))
		}
	}
	return h, m
}
