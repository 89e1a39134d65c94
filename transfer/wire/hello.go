package wire

// Hello is the first frame of a client on a new control stream. Nothing that the client wants is in it: names and sizes
// come after WELCOME, when the server has shown who it is.
type Hello struct {
	Versions []uint64 `cbor:"1,keyasint" wire:"n=64,max=0xffff"`             // minor versions, ascending, at least one
	Agent    string   `cbor:"2,keyasint,omitempty" wire:"max=512"`           // program and version
	Caps     []string `cbor:"4,keyasint,omitempty" wire:"n=64,min=1,max=64"` // capabilities: CapTree and the others, the preferred first
	TimeNS   int64    `cbor:"6,keyasint,omitempty"`                          // the client's clock, Unix ns
}

// Type returns THello.
func (Hello) Type() Type { return THello }

func (m Hello) check() error {
	if len(m.Versions) == 0 {
		return errf(CodeProtocol, "no version")
	}
	for i, v := range m.Versions[1:] {
		if v <= m.Versions[i] {
			return errf(CodeProtocol, "versions do not ascend")
		}
	}
	return checkTokens(m.Caps)
}

// checkTokens checks a list of capabilities or rights: visible ASCII, none twice.
func checkTokens(list []string) error {
	for i, s := range list {
		for _, c := range []byte(s) {
			if c <= ' ' || c >= 0x7f {
				return errf(CodeProtocol, "a word with byte %#02x", c)
			}
		}
		for _, other := range list[:i] {
			if s == other {
				return errf(CodeProtocol, "%q twice in a list", s)
			}
		}
	}
	return nil
}

// checkLabel checks the name of a root or a client: no '/' and no control characters. Its length and UTF-8 are checked
// elsewhere. "" is good where a name may be left out.
func checkLabel(s string) error {
	for _, c := range s {
		if c == '/' || c < ' ' || c >= 0x7f && c < 0xa0 {
			return errf(CodeBadPath, "a name with %q in it", c)
		}
	}
	return nil
}
