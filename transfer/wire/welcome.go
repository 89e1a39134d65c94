package wire

// Welcome answers HELLO: the client is known, and this is the session.
type Welcome struct {
	Minor   uint64     `cbor:"1,keyasint" wire:"max=0xffff"` // the highest common version
	Session SessionID  `cbor:"3,keyasint"`
	Limits  PeerLimits `cbor:"5,keyasint"`
	Window  uint64     `cbor:"7,keyasint" wire:"min=1,max=0x7fffffffffffffff"` // bytes of payload sent and not yet ACKed, in the session
	Caps    []string   `cbor:"4,keyasint,omitempty" wire:"n=64,min=1,max=64"`
	Roots   []RootInfo `cbor:"8,keyasint,omitempty" wire:"n=256"`
	TimeNS  int64      `cbor:"12,keyasint,omitempty"`                // the server's clock, Unix ns
	Name    string     `cbor:"14,keyasint,omitempty" wire:"max=255"` // the client's name as the server knows it
}

// PeerLimits is what the server allows a session. 0 says nothing: the limit is then found by BUSY and SERVER_LIMIT.
type PeerLimits struct {
	Streams  uint64 `cbor:"1,keyasint" wire:"max=0xffffffff"`           // data streams
	Open     uint64 `cbor:"2,keyasint,omitempty" wire:"max=0xffffffff"` // open transfers
	Requests uint64 `cbor:"4,keyasint,omitempty" wire:"max=0xffffffff"` // requests in progress
}

// RootInfo is a named directory that the server offers to this client.
type RootInfo struct {
	Name    string   `cbor:"1,keyasint" wire:"min=1,max=255"`
	Rights  []string `cbor:"2,keyasint,omitempty" wire:"n=64,min=1,max=64"` // get, put, list, stat, mkdir, delete, rename, append, write-only
	Default bool     `cbor:"4,keyasint,omitempty"`                          // meant by an empty root name
}

// Type returns TWelcome.
func (Welcome) Type() Type { return TWelcome }

func (m Welcome) check() error {
	if err := checkTokens(m.Caps); err != nil {
		return err
	}
	if err := checkLabel(m.Name); err != nil {
		return err
	}
	return checkRoots(m.Roots)
}

// checkRoots checks that names are different and that at most one is the default.
func checkRoots(roots []RootInfo) error {
	names := make(map[string]bool, len(roots))
	hasDefault := false
	for _, r := range roots {
		if err := checkLabel(r.Name); err != nil {
			return err
		}
		if err := checkTokens(r.Rights); err != nil {
			return err
		}
		if names[r.Name] || r.Default && hasDefault {
			return errf(CodeProtocol, "root %q twice, or two defaults", r.Name)
		}
		names[r.Name] = true
		hasDefault = hasDefault || r.Default
	}
	return nil
}
