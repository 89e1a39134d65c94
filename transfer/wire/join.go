package wire

// Join is the first frame on each further stream of a session.
type Join struct {
	Session SessionID `cbor:"1,keyasint"`
	MAC     []byte    `cbor:"3,keyasint" wire:"max=32"` // proof for a connection of its own, 32 bytes; empty on the control connection
	Counter uint64    `cbor:"5,keyasint"`               // of the client's JOINs in this session, in the proof
}

// Type returns TJoin.
func (Join) Type() Type { return TJoin }

func (m Join) check() error {
	if n := len(m.MAC); n != 0 && n != 32 {
		return errf(CodeProtocol, "a proof of %d bytes", n)
	}
	return nil
}

// Joined answers JOIN: the stream is a data stream of the session.
type Joined struct {
	Stream uint64 `cbor:"1,keyasint"` // its number, for logs
}

// Type returns TJoined.
func (Joined) Type() Type { return TJoined }

func (Joined) check() error { return nil }
