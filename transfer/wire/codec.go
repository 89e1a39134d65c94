package wire

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"

	"github.com/fxamacker/cbor/v2"
)

// checked is a message with rules that its tags do not hold.
type checked interface {
	Message
	check() error
}

// normalizer is a message that can be the same in two forms after decoding, when keys were ignored.
type normalizer interface{ normalize() }

// spec is how the body of one message is checked and decoded.
type spec struct {
	shape  *shape
	decode func(body []byte) (Message, error)
}

// specs has every message but DATA and PACK. It is never changed.
var specs = [len(typeNames)]spec{
	THello: specOf[Hello](), TWelcome: specOf[Welcome](), TJoin: specOf[Join](), TJoined: specOf[Joined](),
	TPing: specOf[Ping](), TPong: specOf[Pong](), TGoAway: specOf[GoAway](), TBye: specOf[Bye](), TError: specOf[Error](),
	TOpen: specOf[Open](), TOpened: specOf[Opened](), TAck: specOf[Ack](), TNack: specOf[Nack](),
	TCommit: specOf[Commit](), TReceipt: specOf[Receipt](), TAbort: specOf[Abort](), TZeros: specOf[Zeros](),
	TGet: specOf[Get](), TList: specOf[List](), TEntries: specOf[Entries](), TStat: specOf[Stat](),
	TStated: specOf[Stated](), TMkdir: specOf[Mkdir](), TRemove: specOf[Remove](), TRename: specOf[Rename](),
	TDone: specOf[Done](), TSpace: specOf[Space](), TSpaced: specOf[Spaced](), THashes: specOf[Hashes](),
	THashList: specOf[HashList](), TSymlink: specOf[Symlink](), TSetMeta: specOf[SetMeta](),
	TTreeOpen: specOf[TreeOpen](), TTreePart: specOf[TreePart](), TTreeCommit: specOf[TreeCommit](), TTreeReceipt: specOf[TreeReceipt](),
	TTreeOpened: specOf[TreeOpened](), TTreeVerdicts: specOf[TreeVerdicts](), TTreeSkip: specOf[TreeSkip](), TTreeAck: specOf[TreeAck](),
	TTreeExtra: specOf[TreeExtra](), TTreeDelete: specOf[TreeDelete](), TTreeDeleted: specOf[TreeDeleted](), TTreeGet: specOf[TreeGet](),
	TTreeLeft: specOf[TreeLeft](),
	TEnroll:   specOf[Enroll](), TEnrolled: specOf[Enrolled](),
}

var (
	encMode = must(encOptions().UserBufferEncMode())
	decMode = must(decOptions().DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic("wire: " + err.Error())
	}
	return v
}

func encOptions() cbor.EncOptions {
	o := cbor.CoreDetEncOptions()
	o.NilContainers = cbor.NilContainerAsEmpty
	o.IndefLength = cbor.IndefLengthForbidden
	o.TagsMd = cbor.TagsForbidden
	return o
}

// decOptions repeat what the passes before the decoder have made sure of.
func decOptions() cbor.DecOptions {
	return cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  maxNesting,
		MaxArrayElements: maxElements,
		MaxMapPairs:      maxPairs,
		UTF8:             cbor.UTF8RejectInvalid,
	}
}

func specOf[T checked]() spec {
	s := shapeOf(reflect.TypeFor[T](), "")
	return spec{shape: s, decode: func(body []byte) (Message, error) {
		var m T
		if err := decMode.Unmarshal(body, &m); err != nil {
			return nil, err
		}
		if n, ok := any(&m).(normalizer); ok {
			n.normalize()
		}
		return m, m.check()
	}}
}

// checkBody makes the passes that come before decoding.
func (s spec) checkBody(body []byte) error {
	if err := wellFormed(body); err != nil {
		return err
	}
	_, err := s.shape.check(body)
	return err
}

// Decode decodes the body of a control frame. The message does not alias body. The length of body is not checked: who
// reads frames holds the limit. Every error is a *ProtocolError; a type that is not known, and DATA and PACK, is
// CodeUnsupported.
func Decode(t Type, body []byte) (Message, error) {
	if !t.Known() || specs[t].decode == nil {
		return nil, errf(CodeUnsupported, "%v has no body to decode", t)
	}
	err := specs[t].checkBody(body)
	if err == nil {
		var m Message
		if m, err = specs[t].decode(body); err == nil {
			return m, nil
		}
	}
	return nil, within(t, err)
}

// appendBody appends the body of m to b. It goes through the same checks as a body from a peer. On an error what lies
// behind the length of b has no meaning.
func appendBody(b []byte, m Message) ([]byte, error) {
	t := m.Type()
	c, ok := m.(checked)
	if !ok || reflect.TypeOf(m).Kind() == reflect.Pointer || !t.Known() || specs[t].decode == nil {
		return nil, fmt.Errorf("wire: %T is no message", m)
	}
	if err := c.check(); err != nil {
		return nil, within(t, err)
	}
	buf := bytes.NewBuffer(b) // a large body is written once, where it is sent from
	if err := encMode.MarshalToBuffer(m, buf); err != nil {
		return nil, within(t, err)
	}
	out := buf.Bytes()
	if err := specs[t].checkBody(out[len(b):]); err != nil {
		return nil, within(t, err)
	}
	return out, nil
}

// within says in which message err came up.
func within(t Type, err error) error {
	var p *ProtocolError
	if !errors.As(err, &p) {
		return errf(CodeProtocol, "%v: %v", t, err)
	}
	return &ProtocolError{Code: p.Code, Msg: t.String() + ": " + p.Msg}
}
