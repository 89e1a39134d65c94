package wire

import (
	"encoding/binary"
	"errors"
)

// Flags of a DATA frame. The decoder knows them all; that those of a capability are agreed is for its caller to check.
const (
	DataFirst = 0x01 // the first frame of this chunk on this stream
	DataLast  = 0x02 // the frame that ends the chunk; the CV follows the payload
	DataZstd  = 0x04 // CapZstd: the payload is one zstd frame, see Expanded
	DataZero  = 0x08 // CapZero: the whole chunk is zeros; with FIRST and LAST, and without payload
	DataOld   = 0x10 // CapDelta: what no frame of the chunk carries is as in the old version of the file

	dataFlags = DataFirst | DataLast | DataZstd | DataZero | DataOld
	dataZero  = DataFirst | DataLast | DataZero // all that a frame of zeros has
)

// Data is a piece of a chunk. On the wire its body is chunk u64, offset u32, raw length u32, payload, and with
// DataLast the CV of the chunk.
type Data struct {
	Flags   uint8
	Chunk   uint64 // below MaxChunks
	Offset  uint32 // of the payload in the chunk
	RawLen  uint32 // of the whole chunk, 1 to 1<<24
	Payload []byte // at most MaxPayload; aliases the buffer given to the reader; with DataZstd compressed
	CV      Hash   // only with DataLast
}

// AppendDataHeader appends the frame header and the 16 fixed bytes of a DATA frame. The caller sends payloadLen bytes
// of payload behind it and, with DataLast, the 32 bytes of the CV. It checks nothing: the caller holds the rules of
// [DecodeData].
func AppendDataHeader(b []byte, id uint32, flags uint8, chunk uint64, offset, rawLen, payloadLen uint32) []byte {
	n := dataFixed + payloadLen
	if flags&DataLast != 0 {
		n += cvLen
	}
	b = Header{Type: TData, Flags: flags, Length: n, ID: id}.append(b)
	b = binary.BigEndian.AppendUint64(b, chunk)
	b = binary.BigEndian.AppendUint32(b, offset)
	return binary.BigEndian.AppendUint32(b, rawLen)
}

// DecodeData takes the body of a DATA frame apart; Payload aliases body. The rules: the chunk is below MaxChunks; the
// raw length is 1 to 1<<24; the payload lies within it; the frame that reaches the end of the chunk has DataLast and
// no other has; only a frame with DataLast may have no payload. With DataZstd the payload is one zstd frame, and what
// holds for the bytes in it is checked by Expanded. DataZero stands with DataFirst and DataLast alone, at offset 0.
func DecodeData(flags uint8, body []byte) (Data, error) {
	h := Header{Type: TData, Flags: flags, Length: uint32(min(len(body), MaxDataFrame+1)), ID: 1}
	if err := h.checkData(); err != nil {
		return Data{}, err
	}
	d := Data{
		Flags: flags, Chunk: binary.BigEndian.Uint64(body),
		Offset: binary.BigEndian.Uint32(body[8:]), RawLen: binary.BigEndian.Uint32(body[12:]),
	}
	d.Payload = body[dataFixed:]
	if flags&DataLast != 0 {
		n := len(d.Payload) - cvLen
		copy(d.CV[:], d.Payload[n:])
		d.Payload = d.Payload[:n:n]
	}
	if err := d.check(); err != nil {
		return Data{}, err
	}
	return d, nil
}

// Expanded returns d as it would have come without DataZstd: its payload is raw, which the caller has expanded Payload to.
// It holds the rules of DecodeData that are about those bytes; none at all are CodeProtocol, and more than MaxPayload
// CodeLimit. For a d without DataZstd it is an error.
func (d Data) Expanded(raw []byte) (Data, error) {
	switch {
	case d.Flags&DataZstd == 0:
		return Data{}, errors.New("wire: Expanded called for DATA that is not compressed")
	case len(raw) == 0:
		return Data{}, errf(CodeProtocol, "DATA that expands to nothing")
	}
	d.Flags &^= DataZstd
	d.Payload = raw
	if err := d.check(); err != nil {
		return Data{}, err
	}
	return d, nil
}

func (d Data) check() error {
	switch {
	case len(d.Payload) > MaxPayload:
		return errf(CodeLimit, "DATA with a payload of %d bytes, the limit is %d", len(d.Payload), MaxPayload)
	case d.Chunk >= MaxChunks:
		return errf(CodeLimit, "DATA of chunk %d, the limit is %d", d.Chunk, MaxChunks)
	case d.RawLen > 1<<MaxChunkLog2:
		return errf(CodeLimit, "DATA of a chunk of %d bytes, the limit is %d", d.RawLen, 1<<MaxChunkLog2)
	case d.RawLen == 0:
		return errf(CodeProtocol, "DATA of a chunk of no bytes")
	case d.Flags&DataZero != 0:
		if d.Offset != 0 {
			return errf(CodeProtocol, "DATA of zeros at offset %d", d.Offset)
		}
		return nil
	case d.Flags&DataZstd != 0:
		if d.Offset >= d.RawLen {
			return errf(CodeProtocol, "DATA at byte %d of a chunk of %d", d.Offset, d.RawLen)
		}
		return checkZstd(d.Payload, MaxPayload)
	}
	end := uint64(d.Offset) + uint64(len(d.Payload))
	last := d.Flags&DataLast != 0
	switch {
	case end > uint64(d.RawLen):
		return errf(CodeProtocol, "DATA up to byte %d of a chunk of %d", end, d.RawLen)
	case last != (end == uint64(d.RawLen)):
		return errf(CodeProtocol, "DATA up to byte %d of %d with the flag LAST %v", end, d.RawLen, last)
	case len(d.Payload) == 0 && !last:
		return errf(CodeProtocol, "DATA without payload")
	}
	return nil
}
