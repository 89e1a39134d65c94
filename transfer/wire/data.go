package wire

import "encoding/binary"

// Flags of a DATA frame.
const (
	DataFirst = 0x01 // the first frame of this chunk on this stream
	DataLast  = 0x02 // the frame that ends the chunk; the CV follows the payload
	DataZstd  = 0x04 // reserved: answered UNSUPPORTED
	DataZero  = 0x08 // reserved: answered UNSUPPORTED
	DataPack  = 0x10 // reserved: answered UNSUPPORTED

	dataFlags    = DataFirst | DataLast | dataReserved
	dataReserved = DataZstd | DataZero | DataPack
)

// Data is a piece of a chunk. On the wire its body is chunk u64, offset u32, raw length u32, payload, and with
// DataLast the CV of the chunk.
type Data struct {
	Flags   uint8
	Chunk   uint64 // below MaxChunks
	Offset  uint32 // of the payload in the chunk
	RawLen  uint32 // of the whole chunk, 1 to 1<<24
	Payload []byte // at most MaxPayload; aliases the buffer given to the reader
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
// no other has; only a frame with DataLast may have no payload.
func DecodeData(flags uint8, body []byte) (Data, error) {
	h := Header{Type: TData, Flags: flags, Length: uint32(min(len(body), MaxDataFrame+1)), ID: 1}
	if err := h.checkData(); err != nil {
		return Data{}, err
	}
	if flags&dataReserved != 0 {
		return Data{}, errf(CodeUnsupported, "DATA with reserved flags %#02x", flags&dataReserved)
	}
	d := Data{
		Flags: flags, Chunk: binary.BigEndian.Uint64(body),
		Offset: binary.BigEndian.Uint32(body[8:]), RawLen: binary.BigEndian.Uint32(body[12:]),
	}
	d.Payload = body[dataFixed:]
	last := flags&DataLast != 0
	if last {
		n := len(d.Payload) - cvLen
		copy(d.CV[:], d.Payload[n:])
		d.Payload = d.Payload[:n:n]
	}
	end := uint64(d.Offset) + uint64(len(d.Payload))
	switch {
	case len(d.Payload) > MaxPayload:
		return Data{}, errf(CodeLimit, "DATA with a payload of %d bytes, the limit is %d", len(d.Payload), MaxPayload)
	case d.Chunk >= MaxChunks:
		return Data{}, errf(CodeLimit, "DATA of chunk %d, the limit is %d", d.Chunk, MaxChunks)
	case d.RawLen > 1<<MaxChunkLog2:
		return Data{}, errf(CodeLimit, "DATA of a chunk of %d bytes, the limit is %d", d.RawLen, 1<<MaxChunkLog2)
	case d.RawLen == 0:
		return Data{}, errf(CodeProtocol, "DATA of a chunk of no bytes")
	case end > uint64(d.RawLen):
		return Data{}, errf(CodeProtocol, "DATA up to byte %d of a chunk of %d", end, d.RawLen)
	case last != (end == uint64(d.RawLen)):
		return Data{}, errf(CodeProtocol, "DATA up to byte %d of %d with the flag LAST %v", end, d.RawLen, last)
	case len(d.Payload) == 0 && !last:
		return Data{}, errf(CodeProtocol, "DATA without payload")
	}
	return d, nil
}
