package wire

import (
	"errors"
	"fmt"
	"io"
)

const (
	// bodyStep is how much is allocated for a body before that much of it has arrived.
	bodyStep = 64 << 10
	// bodyKeep is how much a Reader keeps for the next body: with that a TREE_PART of 64 KiB of records fits as well.
	bodyKeep = 2 * bodyStep
)

// Reader takes frames from one stream. It reads no byte beyond the frame that was asked for, so the stream can be given
// to another reader between frames. It is not safe for concurrent use.
//
// An error of the stream, and every error of Next, is final: the Reader has lost its place, and each later call returns
// the same error. An error of Message, Data or Pack is final only when it is an error of the stream; otherwise the frame has
// been read and the next one can be, if the code of the ProtocolError lets the session go on.
type Reader struct {
	r          io.Reader
	maxControl uint32
	left       uint32 // of the body of the frame that Next returned
	pending    bool
	err        error
	head       [HeaderLen]byte
	body       []byte // reused; decoded messages do not alias it
}

// NewReader returns a Reader of r that takes control bodies of at most maxControl bytes; see SetMaxControl.
func NewReader(r io.Reader, maxControl int) *Reader {
	rd := &Reader{r: r}
	rd.SetMaxControl(maxControl)
	return rd
}

// SetMaxControl sets the limit for the control bodies to come: MaxControlPreAuth before the peer is known, then
// MaxControl. Values outside 0..MaxControl are brought into it.
func (r *Reader) SetMaxControl(n int) { r.maxControl = uint32(min(max(n, 0), MaxControl)) }

// Next reads the header of the next frame and checks type, flags, reserved bytes, id and length before anything is read
// or allocated for the body. What was not read of the former frame's body is skipped. io.EOF comes only at the border of
// a frame, io.ErrUnexpectedEOF within one.
//
// A type that is not known here is no error of Next: Message skips its body and says UNSUPPORTED, to be answered with
// an ERROR with the frame's id.
func (r *Reader) Next() (Header, error) {
	if r.err != nil {
		return Header{}, r.err
	}
	if err := r.skip(); err != nil {
		return Header{}, err
	}
	if _, err := io.ReadFull(r.r, r.head[:]); err != nil {
		return Header{}, r.fail(err)
	}
	h, err := parseHeader(&r.head)
	if err == nil && h.Type != TData && h.Type != TPack && h.Length > r.maxControl {
		err = errf(CodeLimit, "%v of %d bytes, the limit is %d", h.Type, h.Length, r.maxControl)
	}
	if err != nil {
		return Header{}, r.fail(err)
	}
	r.left, r.pending = h.Length, true
	return h, nil
}

// Message reads the body of the control frame h, which Next has just returned, and decodes it. The message does not
// alias memory of the Reader.
func (r *Reader) Message(h Header) (Message, error) {
	if err := r.take(h); err != nil {
		return nil, err
	}
	if !h.Type.Known() {
		if err := r.skip(); err != nil {
			return nil, err
		}
		return nil, errf(CodeUnsupported, "%v is not known", h.Type)
	}
	if h.Type == TData || h.Type == TPack {
		return nil, fmt.Errorf("wire: Message called for %v", h.Type) // the body is skipped by Next
	}
	body, err := r.readBody()
	if err != nil {
		return nil, err
	}
	m, err := Decode(h.Type, body)
	if cap(r.body) > bodyKeep {
		r.body = nil
	}
	return m, err
}

// Data reads the body of the DATA frame h, which Next has just returned, into buf. Payload aliases buf. A buf of
// MaxDataFrame bytes (MaxPayload+48) holds every frame; one that is too short for h is an error and nothing is read.
func (r *Reader) Data(h Header, buf []byte) (Data, error) {
	if err := r.take(h); err != nil {
		return Data{}, err
	}
	if h.Type != TData {
		return Data{}, fmt.Errorf("wire: Data called for %v", h.Type)
	}
	if uint64(h.Length) > uint64(len(buf)) {
		return Data{}, fmt.Errorf("wire: DATA of %d bytes, the buffer has %d", h.Length, len(buf))
	}
	body := buf[:h.Length]
	if err := r.fill(body); err != nil {
		return Data{}, err
	}
	return DecodeData(h.Flags, body)
}

// Pack reads the body of the PACK frame h, which Next has just returned, into buf, which its files alias. One of MaxPack
// bytes holds every frame; one that is too short for h is an error and nothing is read.
func (r *Reader) Pack(h Header, buf []byte) (Pack, error) {
	if err := r.take(h); err != nil {
		return Pack{}, err
	}
	if h.Type != TPack {
		return Pack{}, fmt.Errorf("wire: Pack called for %v", h.Type)
	}
	if uint64(h.Length) > uint64(len(buf)) {
		return Pack{}, fmt.Errorf("wire: PACK of %d bytes, the buffer has %d", h.Length, len(buf))
	}
	body := buf[:h.Length]
	if err := r.fill(body); err != nil {
		return Pack{}, err
	}
	return DecodePack(h.Flags, body)
}

// take sees that h is the frame whose body comes next.
func (r *Reader) take(h Header) error {
	if r.err != nil {
		return r.err
	}
	if !r.pending || r.left != h.Length {
		return errors.New("wire: the body of this frame was read already")
	}
	r.pending = false
	return nil
}

// readBody reads what is left of a control body, whose length was checked, step by step: memory follows what arrives,
// not what was declared.
func (r *Reader) readBody() ([]byte, error) {
	b := r.body[:0]
	for r.left > 0 {
		n := int(min(r.left, bodyStep))
		if cap(b)-len(b) < n {
			b = append(make([]byte, 0, min(2*len(b)+n, len(b)+int(r.left))), b...)
		}
		if err := r.fill(b[len(b) : len(b)+n]); err != nil {
			return nil, err
		}
		b = b[:len(b)+n]
	}
	r.body = b
	return b, nil
}

// fill reads all of b, which is within the body.
func (r *Reader) fill(b []byte) error {
	if _, err := io.ReadFull(r.r, b); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return r.fail(err)
	}
	r.left -= uint32(len(b))
	return nil
}

// skip reads over what is left of the body.
func (r *Reader) skip() error {
	r.pending = false
	for r.left > 0 {
		if r.body = r.body[:cap(r.body)]; len(r.body) < 512 {
			r.body = make([]byte, 4096)
		}
		if err := r.fill(r.body[:min(int(r.left), len(r.body))]); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reader) fail(err error) error {
	r.err = err
	return err
}
