package sink

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"xfer/transfer/durable"
)

// The journal of a stage: FORMAT.md, "Journal".
const (
	journalMagic = "XFERJNL1"
	sparseMagic  = "XFERJNL2"            // of a sparse file: there may be ZERO records
	magicFamily  = len(journalMagic) - 1 // what all versions begin with
	recordLen    = 48
	maxHeaderLen = 16 << 10 // of the body
	maxOwnerLen  = 1024
	maxFPLen     = 64
)

// recordType is the kind of a journal record.
type recordType uint8

const (
	recChunk recordType = 1 // index: chunk; body: CV
	recMark  recordType = 2 // index: the number of records before it that are durable, and their bytes
	recPart  recordType = 3 // index: chunk; body: u64 bytes of its prefix that are there, 0 = none
	recEpoch recordType = 4 // index: attempt; body: time ns, random(16) of the process
	recZero  recordType = 5 // index: the first of so many chunks of zeros; body: u64 their number
	recSeal  recordType = 6 // body: root
	recDrop  recordType = 7 // index: chunk that is missing again
	recLast  recordType = 8 // index: the last chunk of a file of unknown size; body: u64 its bytes
)

// record is one entry of a journal.
type record struct {
	kind  recordType
	index uint64
	body  [32]byte
}

func bodyOf(n uint64) (b [32]byte) {
	binary.BigEndian.PutUint64(b[:], n)
	return b
}

// number is the u64 in the body, false where other bytes follow.
func (r record) number() (uint64, bool) {
	var zero [24]byte
	return binary.BigEndian.Uint64(r.body[:]), bytes.Equal(r.body[8:], zero[:])
}

func checksum(p []byte) uint32 { return crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)) }

func appendRecord(b []byte, r record) []byte {
	n := len(b)
	b = append(b, 0, 0, 0, 0, byte(r.kind), 0, 0, 0)
	b = binary.BigEndian.AppendUint64(b, r.index)
	b = append(b, r.body[:]...)
	binary.BigEndian.PutUint32(b[n:], checksum(b[n+4:]))
	return b
}

// parseRecord reads the record in b, which has recordLen bytes. It is false for a wrong checksum and for bits
// that must be zero.
func parseRecord(b []byte) (record, bool) {
	if binary.BigEndian.Uint32(b) != checksum(b[4:recordLen]) || b[5]|b[6]|b[7] != 0 {
		return record{}, false
	}
	return record{kind: recordType(b[4]), index: binary.BigEndian.Uint64(b[8:]), body: [32]byte(b[16:recordLen])}, true
}

// header is what a journal begins with: which file it is of.
type header struct {
	transfer    [16]byte
	owner       string
	path        []string
	size        int64 // -1 unknown
	chunkLog2   uint8
	fingerprint []byte
	sparse      bool
}

const algBLAKE3 = 1

// appendHeader writes h, which has been checked against the limits.
func appendHeader(b []byte, h header) []byte {
	if h.sparse {
		b = append(b, sparseMagic...)
	} else {
		b = append(b, journalMagic...)
	}
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = append(b, algBLAKE3, h.chunkLog2)
	b = binary.BigEndian.AppendUint64(b, uint64(h.size))
	b = append(b, h.transfer[:]...)
	b = append(b, byte(len(h.fingerprint)))
	b = append(b, h.fingerprint...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.owner)))
	b = append(b, h.owner...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(h.path)))
	for _, c := range h.path {
		b = append(b, byte(len(c)))
		b = append(b, c...)
	}
	binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
	return binary.BigEndian.AppendUint32(b, checksum(b[at-len(journalMagic):]))
}

var (
	errJournal = errors.New("journal is damaged")
	// errLater: written by a later version of xfer. It is left alone.
	errLater = errors.New("journal of a later version")
)

// parseHeader reads a header from the beginning of b and returns its length.
func parseHeader(b []byte) (h header, n int, err error) {
	const fixed = len(journalMagic) + 4
	switch {
	case len(b) < fixed || string(b[:magicFamily]) != journalMagic[:magicFamily]:
		return header{}, 0, errJournal
	case b[magicFamily] > sparseMagic[magicFamily]:
		return header{}, 0, errLater
	case b[magicFamily] < journalMagic[magicFamily]:
		return header{}, 0, errJournal
	}
	size := binary.BigEndian.Uint32(b[len(journalMagic):])
	if size > maxHeaderLen || int(size) > len(b)-fixed-4 {
		return header{}, 0, errJournal
	}
	n = fixed + int(size)
	if checksum(b[:n]) != binary.BigEndian.Uint32(b[n:]) {
		return header{}, 0, errJournal
	}
	h, err = parseHeaderBody(b[fixed:n])
	h.sparse = b[magicFamily] == sparseMagic[magicFamily]
	if h.sparse && h.size < 0 {
		err = errJournal
	}
	return h, n + 4, err
}

func parseHeaderBody(b []byte) (h header, err error) {
	take := func(n int) []byte {
		if n > len(b) {
			err = errJournal
			return make([]byte, n)
		}
		p := b[:n]
		b = b[n:]
		return p
	}
	alg := take(1)[0]
	h.chunkLog2 = take(1)[0]
	h.size = int64(binary.BigEndian.Uint64(take(8)))
	copy(h.transfer[:], take(16))
	h.fingerprint = bytes.Clone(take(int(take(1)[0])))
	h.owner = string(take(int(binary.BigEndian.Uint16(take(2)))))
	for range binary.BigEndian.Uint16(take(2)) {
		if err != nil {
			break
		}
		h.path = append(h.path, string(take(int(take(1)[0]))))
	}
	switch {
	case err != nil:
		return header{}, err
	case alg != algBLAKE3, len(b) != 0, h.size < -1, len(h.fingerprint) > maxFPLen:
		return header{}, errJournal
	}
	return h, nil
}

// equal tells whether h and o are of the same file; the transfer id may differ.
func (h header) equal(o header) bool {
	if h.sparse != o.sparse || h.owner != o.owner || h.size != o.size || h.chunkLog2 != o.chunkLog2 ||
		!bytes.Equal(h.fingerprint, o.fingerprint) || len(h.path) != len(o.path) {
		return false
	}
	for i := range h.path {
		if h.path[i] != o.path[i] {
			return false
		}
	}
	return true
}

// readHeader reads the header of the journal f.
func readHeader(f io.ReaderAt) (header, int, error) {
	b := make([]byte, len(journalMagic)+4+maxHeaderLen+4)
	n, err := f.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return header{}, 0, err
	}
	return parseHeader(b[:n])
}

// scanRecords calls visit for each valid record from offset start on, and returns how many there were: it
// stops, without an error, at the end, at the first record that is torn or damaged, after limit, and at one that
// visit refuses. It reads 64 KiB at a time.
func scanRecords(f io.ReaderAt, start int64, limit int64, visit func(i int64, r record) bool) (n int64, err error) {
	buf := make([]byte, 64<<10/recordLen*recordLen)
	for n < limit {
		k, err := f.ReadAt(buf, start+n*recordLen)
		if err != nil && err != io.EOF {
			return n, err
		}
		p := buf[:k]
		for ; len(p) >= recordLen && n < limit; p = p[recordLen:] {
			r, ok := parseRecord(p)
			if !ok || !visit(n, r) {
				return n, nil
			}
			n++
		}
		if k < len(buf) {
			return n, nil
		}
	}
	return n, nil
}

// journal is an open journal that is appended to. Not for concurrent use.
type journal struct {
	f       durable.File
	start   int64 // of the first record
	records int64
	zeros   int64 // chunks that all ZERO records together speak of
	buf     []byte
}

// append writes rs behind the last record. After an error the journal is not to be appended to again: what is on
// the disk there is unknown, and only reading it again tells.
func (j *journal) append(rs ...record) error {
	j.buf = j.buf[:0]
	for _, r := range rs {
		j.buf = appendRecord(j.buf, r)
		if r.kind == recZero {
			n, _ := r.number()
			j.zeros += int64(n)
		}
	}
	if err := writeAt(j.f, j.buf, j.start+j.records*recordLen); err != nil {
		return fmt.Errorf("append to journal: %w", err)
	}
	j.records += int64(len(rs))
	return nil
}

// writeAt writes all of p or fails.
func writeAt(f io.WriterAt, p []byte, off int64) error {
	n, err := f.WriteAt(p, off)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return err
}

// read returns record number n again.
func (j *journal) read(n int64) (record, error) {
	var b [recordLen]byte
	if _, err := j.f.ReadAt(b[:], j.start+n*recordLen); err != nil {
		return record{}, err
	}
	r, ok := parseRecord(b[:])
	if !ok {
		return record{}, errJournal
	}
	return r, nil
}
