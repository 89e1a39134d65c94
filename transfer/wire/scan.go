package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// The strict pass over a body, before anything is allocated for it: well-formed, deterministic CBOR (RFC 8949 4.2.1) of
// the kinds that the protocol uses, one item and nothing behind it. So each meaning has one encoding, and the passes
// that follow need not look for any of this again.

// CBOR major types (RFC 8949 3.1).
const (
	majorUint = iota
	majorNegative
	majorBytes
	majorText
	majorArray
	majorMap
	majorTag
	majorSimple
)

const (
	cborFalse = 20
	cborTrue  = 21
)

// head is the first part of a CBOR item: major type and argument, in n bytes.
type head struct {
	major uint8
	arg   uint64
	n     int
}

// readHead reads the head at the start of b, which must have its shortest form.
func readHead(b []byte) (head, error) {
	if len(b) == 0 {
		return head{}, errf(CodeProtocol, "ends within an item")
	}
	h := head{major: b[0] >> 5, arg: uint64(b[0] & 0x1f), n: 1}
	if h.arg < 24 {
		return h, nil
	}
	if h.arg > 27 {
		return head{}, errf(CodeProtocol, "head %#02x: reserved, or an indefinite length", b[0])
	}
	size := 1 << (h.arg - 24)
	if len(b) < 1+size {
		return head{}, errf(CodeProtocol, "ends within a head")
	}
	var least uint64 // below this a shorter head would do
	switch size {
	case 1:
		h.arg, least = uint64(b[1]), 24
	case 2:
		h.arg, least = uint64(binary.BigEndian.Uint16(b[1:])), 1<<8
	case 4:
		h.arg, least = uint64(binary.BigEndian.Uint32(b[1:])), 1<<16
	case 8:
		h.arg, least = binary.BigEndian.Uint64(b[1:]), 1<<32
	}
	if h.arg < least {
		return head{}, errf(CodeProtocol, "a head that is not the shortest")
	}
	h.n += size
	return h, nil
}

// wellFormed checks that b is one item and nothing else.
func wellFormed(b []byte) error {
	rest, err := skipItem(b, maxNesting)
	if err == nil && len(rest) > 0 {
		err = errf(CodeProtocol, "%d bytes behind the body", len(rest))
	}
	return err
}

// skipItem checks the item at the start of b, with at most depth arrays and maps in each other, and returns what follows.
func skipItem(b []byte, depth int) ([]byte, error) {
	h, err := readHead(b)
	if err != nil {
		return nil, err
	}
	b = b[h.n:]
	switch h.major {
	case majorBytes, majorText:
		if h.arg > uint64(len(b)) {
			return nil, errf(CodeProtocol, "ends within a string")
		}
		if h.major == majorText && !utf8.Valid(b[:h.arg]) {
			return nil, errf(CodeProtocol, "a text that is not UTF-8")
		}
		return b[h.arg:], nil
	case majorArray, majorMap:
		if depth == 0 {
			return nil, errf(CodeLimit, "nested deeper than %d", maxNesting)
		}
		if h.major == majorMap {
			return skipMap(b, h.arg, depth-1)
		}
		if h.arg > maxElements {
			return nil, errf(CodeLimit, "an array of %d, the limit is %d", h.arg, maxElements)
		}
		for range h.arg {
			if b, err = skipItem(b, depth-1); err != nil {
				return nil, err
			}
		}
		return b, nil
	case majorTag:
		return nil, errf(CodeProtocol, "a tag")
	case majorSimple:
		if h.arg != cborFalse && h.arg != cborTrue {
			return nil, errf(CodeProtocol, "a float, or a simple value other than false and true")
		}
	}
	return b, nil
}

// skipMap checks n pairs: keys are unsigned and grow, so none is there twice.
func skipMap(b []byte, n uint64, depth int) ([]byte, error) {
	if n > maxPairs {
		return nil, errf(CodeLimit, "a map of %d, the limit is %d", n, maxPairs)
	}
	next := uint64(0) // the least key that may come
	for range n {
		h, err := readHead(b)
		if err != nil {
			return nil, err
		}
		if h.major != majorUint {
			return nil, errf(CodeProtocol, "a key that is no unsigned integer")
		}
		if h.arg > maxInt {
			return nil, errf(CodeProtocol, "a key above 2^63-1")
		}
		if h.arg < next {
			return nil, errf(CodeProtocol, "key %d twice or out of order", h.arg)
		}
		next = h.arg + 1
		if b, err = skipItem(b[h.n:], depth); err != nil {
			return nil, err
		}
	}
	return b, nil
}
