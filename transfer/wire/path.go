package wire

import (
	"slices"
	"strings"
)

// Path is a place beneath a root: a list of components, checked when made. Each has 1 to MaxName bytes, any but '/' and
// NUL (so not always UTF-8), and is neither "." nor ".."; the first is not ".xfer" and does not begin with ".xfer-",
// where the receiver keeps its own files; there are at most MaxDepth, and MaxPath bytes with a '/' between them.
// What the file system of the receiver makes of a name (case, reserved names) is not looked at here. The zero value
// is the root itself. A Path does not change.
type Path struct{ parts []string }

// NewPath returns the path of these components, or a *ProtocolError with CodeBadPath.
func NewPath(parts ...string) (Path, error) {
	size := len(parts) - 1
	for i, p := range parts {
		if err := checkName(p); err != nil {
			return Path{}, err
		}
		if i == 0 && reserved(p) {
			return Path{}, errf(CodeBadPath, "a path in .xfer")
		}
		size += len(p)
	}
	if len(parts) > MaxDepth {
		return Path{}, errf(CodeBadPath, "a path of %d components, the limit is %d", len(parts), MaxDepth)
	}
	if size > MaxPath {
		return Path{}, errf(CodeBadPath, "a path of %d bytes, the limit is %d", size, MaxPath)
	}
	return Path{slices.Clone(parts)}, nil
}

// Parts returns the components, in a slice of the caller's own.
func (p Path) Parts() []string { return slices.Clone(p.parts) }

// Len returns the number of components.
func (p Path) Len() int { return len(p.parts) }

// IsZero tells whether p is the root itself.
func (p Path) IsZero() bool { return len(p.parts) == 0 }

// Equal tells whether p and q have the same components.
func (p Path) Equal(q Path) bool { return slices.Equal(p.parts, q.parts) }

// String returns the components with '/' between them, "." for the root. The bytes are raw: not for a terminal.
func (p Path) String() string {
	if p.IsZero() {
		return "."
	}
	return strings.Join(p.parts, "/")
}

// EncodedLen returns an upper bound of the bytes that p takes in a message.
func (p Path) EncodedLen() int {
	n := 3 + 2*len(p.parts)
	for _, part := range p.parts {
		n += len(part)
	}
	return n
}

// MarshalCBOR encodes p as an array of byte strings.
func (p Path) MarshalCBOR() ([]byte, error) {
	list := make([][]byte, len(p.parts))
	for i, part := range p.parts {
		list[i] = []byte(part)
	}
	return encMode.Marshal(list)
}

// UnmarshalCBOR decodes and checks an array of byte strings.
func (p *Path) UnmarshalCBOR(b []byte) error {
	// The decoder takes an array of numbers for a byte string; the pass over the bytes does not.
	if err := wellFormed(b); err != nil {
		return err
	}
	if b[0]>>5 != majorArray {
		return errf(CodeProtocol, "a path that is no array")
	}
	if _, err := checkPath(b); err != nil {
		return err
	}
	h, err := readHead(b)
	if err != nil {
		return err
	}
	// One string for all: a message can have a lot of short components.
	parts, s := make([]string, h.arg), string(b)
	for i, at := 0, h.n; i < len(parts); i++ {
		e, err := readHead(b[at:])
		if err != nil {
			return err
		}
		at += e.n
		parts[i] = s[at : at+int(e.arg)]
		at += len(parts[i])
	}
	*p = Path{parts}
	return nil
}

// checkName holds the rules for one component.
func checkName[T string | []byte](s T) error {
	switch {
	case len(s) == 0:
		return errf(CodeBadPath, "an empty name")
	case len(s) > MaxName:
		return errf(CodeBadPath, "a name of %d bytes, the limit is %d", len(s), MaxName)
	case string(s) == "." || string(s) == "..":
		return errf(CodeBadPath, "a name that is %q", s)
	}
	for i := range len(s) {
		if s[i] == '/' || s[i] == 0 {
			return errf(CodeBadPath, "a name with %q in it", s[i])
		}
	}
	return nil
}

func reserved[T string | []byte](first T) bool {
	return string(first) == ".xfer" || strings.HasPrefix(string(first), ".xfer-")
}

// checkPath checks the path at the start of b, which is well-formed CBOR, without allocating, and returns what follows.
func checkPath(b []byte) ([]byte, error) {
	h, err := readHead(b)
	if err != nil {
		return nil, err
	}
	if h.arg > MaxDepth {
		return nil, errf(CodeBadPath, "a path of %d components, the limit is %d", h.arg, MaxDepth)
	}
	b = b[h.n:]
	size := uint64(0)
	for i := range h.arg {
		e, err := readHead(b)
		if err != nil {
			return nil, err
		}
		if e.major != majorBytes {
			return nil, errf(CodeProtocol, "a component that is no byte string")
		}
		part := b[e.n:][:e.arg]
		if err := checkName(part); err != nil {
			return nil, err
		}
		if i == 0 && reserved(part) {
			return nil, errf(CodeBadPath, "a path in .xfer")
		}
		if size += e.arg + min(i, 1); size > MaxPath {
			return nil, errf(CodeBadPath, "a path above %d bytes", MaxPath)
		}
		b = b[e.n+len(part):]
	}
	return b, nil
}
