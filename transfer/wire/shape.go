package wire

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// A shape is what the struct tags of a message say about its body. It is made once for each type, and checked against
// the bytes of a body before they are decoded, so that wrong types and lengths above the limits never reach the decoder.
type shape struct {
	kind     kind
	name     string // of the Go type of a map or tuple
	min, max uint64 // bytes of a string, value of an integer
	over     Code   // what is above max: CodeLimit, for an enumeration CodeUnsupported, for a name CodeBadPath
	count    uint64 // most elements of an array; with kindTuple exactly so many
	elem     *shape
	elems    []*shape // kindTuple
	fields   []field  // kindMap, ascending keys
}

type kind uint8

const (
	kindUint kind = iota + 1
	kindInt
	kindBool
	kindBytes
	kindText
	kindArray
	kindTuple
	kindMap
	kindPath
)

type field struct {
	key      uint64
	name     string
	optional bool // may be left out
	notZero  bool // must be left out when zero
	*shape
}

// substitutes has the types whose body is not read off themselves.
var substitutes = map[reflect.Type]reflect.Type{
	reflect.TypeFor[Meta]():     reflect.TypeFor[metaBody](),
	reflect.TypeFor[Entry]():    reflect.TypeFor[entryBody](),
	reflect.TypeFor[Symlink]():  reflect.TypeFor[symlinkBody](),
	reflect.TypeFor[HashList](): reflect.TypeFor[hashListBody](),
}

// shapeOf reads the shape of t off its tags. It panics on a type or a tag that is wrong: that is our own mistake, and no
// test would get as far as running.
func shapeOf(t reflect.Type, tag string) *shape {
	if s, ok := substitutes[t]; ok {
		t = s
	}
	if t.Kind() == reflect.Pointer {
		return shapeOf(t.Elem(), tag)
	}
	s := &shape{over: CodeLimit}
	switch {
	case t == reflect.TypeFor[Path]():
		s.kind = kindPath
		return s
	case t.Kind() == reflect.Bool:
		s.kind = kindBool
	case t.Kind() == reflect.Int64:
		s.kind = kindInt
	case t.Kind() >= reflect.Uint8 && t.Kind() <= reflect.Uint64:
		s.kind, s.max = kindUint, 1<<(t.Bits()-1)*2-1
	case t.Kind() == reflect.String:
		s.kind = kindText
	case t.Kind() == reflect.Array && t.Elem().Kind() == reflect.Uint8:
		s.kind, s.min, s.max = kindBytes, uint64(t.Len()), uint64(t.Len())
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		s.kind = kindBytes
	case t.Kind() == reflect.Slice:
		s.kind, s.elem = kindArray, shapeOf(t.Elem(), elemTag(tag))
	case t.Kind() == reflect.Struct:
		s.addFields(t)
	default:
		panic(fmt.Sprintf("wire: no shape for %v", t))
	}
	s.apply(t, tag)
	return s
}

// addFields reads the fields of a struct: a map with their keys, or an array when it is tagged so.
func (s *shape) addFields(t reflect.Type) {
	s.kind, s.name = kindMap, strings.TrimSuffix(t.Name(), "Body")
	for f := range t.Fields() {
		opts := strings.Split(f.Tag.Get("cbor"), ",")
		if f.Name == "_" && len(opts) == 2 && opts[1] == "toarray" {
			s.kind = kindTuple
			continue
		}
		sub := shapeOf(f.Type, f.Tag.Get("wire"))
		if s.kind == kindTuple {
			s.elems = append(s.elems, sub)
			continue
		}
		key, err := strconv.ParseUint(opts[0], 10, 64)
		if err != nil || len(opts) < 2 || opts[1] != "keyasint" || s.find(key) != nil {
			panic(fmt.Sprintf("wire: tag of %v.%s", t, f.Name))
		}
		fd := field{key: key, name: f.Name, shape: sub}
		if len(opts) > 2 {
			fd.optional, fd.notZero = true, f.Type.Kind() != reflect.Pointer || sub.kind == kindMap
		}
		i := 0
		for i < len(s.fields) && s.fields[i].key < key {
			i++
		}
		s.fields = append(s.fields[:i], append([]field{fd}, s.fields[i:]...)...)
	}
}

// elemTag leaves of a slice's tag what is about its elements.
func elemTag(tag string) string {
	var out []string
	for kv := range strings.SplitSeq(tag, ",") {
		if !strings.HasPrefix(kv, "n=") {
			out = append(out, kv)
		}
	}
	return strings.Join(out, ",")
}

// apply takes the limits out of a wire tag: n elements, min and max bytes or value, enum: the largest value known, name:
// the longest name. Of an array all but n is about its elements.
func (s *shape) apply(t reflect.Type, tag string) {
	for kv := range strings.SplitSeq(tag, ",") {
		k, v, _ := strings.Cut(kv, "=")
		n, err := strconv.ParseUint(v, 0, 64)
		switch {
		case kv == "":
		case err != nil:
			panic(fmt.Sprintf("wire: tag %q of %v", tag, t))
		case k == "n" && s.kind == kindArray:
			s.count = n
		case s.kind == kindArray:
		case k == "min":
			s.min = n
		case k == "max":
			s.max = n
		case k == "enum":
			s.max, s.over = n, CodeUnsupported
		case k == "name":
			s.max, s.over = n, CodeBadPath
		default:
			panic(fmt.Sprintf("wire: tag %q of %v", tag, t))
		}
	}
	if s.kind == kindBytes && s.min == s.max {
		s.over = CodeProtocol // one length, and this is another
	}
	if s.kind == kindArray && s.count == 0 || (s.kind == kindText || s.kind == kindBytes) && s.max == 0 {
		panic(fmt.Sprintf("wire: %v without a limit", t))
	}
}

func (s *shape) find(key uint64) *field {
	for i := range s.fields {
		if s.fields[i].key == key {
			return &s.fields[i]
		}
	}
	return nil
}

// check checks the item at the start of b, which is well-formed, and returns what follows.
func (s *shape) check(b []byte) ([]byte, error) {
	h, err := readHead(b)
	if err != nil {
		return nil, err
	}
	if !s.accepts(h) {
		return nil, errf(CodeProtocol, "wrong type")
	}
	switch s.kind {
	case kindUint:
		return b[h.n:], s.bounds(h.arg)
	case kindInt:
		if h.arg > maxInt {
			return nil, errf(CodeLimit, "beyond 64 bits")
		}
	case kindBytes, kindText:
		if err := s.bounds(h.arg); err != nil {
			return nil, err
		}
		return b[h.n+int(h.arg):], nil
	case kindArray:
		return s.checkArray(b[h.n:], h.arg)
	case kindTuple:
		return s.checkTuple(b[h.n:], h.arg)
	case kindMap:
		return s.checkMap(b[h.n:], h.arg)
	case kindPath:
		return checkPath(b)
	}
	return b[h.n:], nil
}

func (s *shape) accepts(h head) bool {
	switch s.kind {
	case kindUint:
		return h.major == majorUint
	case kindInt:
		return h.major == majorUint || h.major == majorNegative
	case kindBool:
		return h.major == majorSimple
	case kindBytes:
		return h.major == majorBytes
	case kindText:
		return h.major == majorText
	case kindMap:
		return h.major == majorMap
	}
	return h.major == majorArray
}

func (s *shape) bounds(n uint64) error {
	what := "a length"
	if s.kind == kindUint {
		what = "a value"
	}
	if n > s.max {
		return errf(s.over, "%s of %d, at most %d", what, n, s.max)
	}
	if n < s.min {
		return errf(CodeProtocol, "%s of %d, at least %d", what, n, s.min)
	}
	return nil
}

func (s *shape) checkArray(b []byte, n uint64) ([]byte, error) {
	if n > s.count {
		return nil, errf(CodeLimit, "%d elements, at most %d", n, s.count)
	}
	var err error
	for range n {
		if b, err = s.elem.check(b); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (s *shape) checkTuple(b []byte, n uint64) ([]byte, error) {
	if n != uint64(len(s.elems)) {
		return nil, errf(CodeProtocol, "a %s of %d elements instead of %d", s.name, n, len(s.elems))
	}
	var err error
	for _, e := range s.elems {
		if b, err = e.check(b); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// checkMap checks n pairs: all keys that must be there are, unknown odd ones are not, and unknown even ones are skipped.
func (s *shape) checkMap(b []byte, n uint64) ([]byte, error) {
	todo := s.fields
	for range n {
		h, err := readHead(b)
		if err != nil {
			return nil, err
		}
		b = b[h.n:]
		for len(todo) > 0 && todo[0].key < h.arg {
			if !todo[0].optional {
				return nil, errf(CodeProtocol, "without key %d (%s)", todo[0].key, todo[0].name)
			}
			todo = todo[1:]
		}
		if len(todo) == 0 || todo[0].key != h.arg {
			if h.arg%2 == 1 {
				return nil, errf(CodeUnsupported, "key %d is not known", h.arg)
			}
			if b, err = skipItem(b, maxNesting); err != nil {
				return nil, err
			}
			continue
		}
		if b, err = todo[0].check(b); err != nil {
			return nil, err
		}
		todo = todo[1:]
	}
	for _, f := range todo {
		if !f.optional {
			return nil, errf(CodeProtocol, "without key %d (%s)", f.key, f.name)
		}
	}
	return b, nil
}

func (f *field) check(b []byte) ([]byte, error) {
	rest, err := f.shape.check(b)
	if err == nil && f.notZero && isZero(b) {
		err = errf(CodeProtocol, "zero, so it must be left out")
	}
	if err != nil {
		if p, ok := err.(*ProtocolError); ok {
			return nil, &ProtocolError{Code: p.Code, Msg: fmt.Sprintf("key %d (%s): %s", f.key, f.name, p.Msg)}
		}
		return nil, err
	}
	return rest, nil
}

// isZero tells whether the item at the start of b is 0, false, or empty.
func isZero(b []byte) bool {
	switch b[0] {
	case 0x00, 0x40, 0x60, 0x80, 0xa0, 0xf4:
		return true
	}
	return false
}
