package wire

// Ping asks for a PONG with the same bytes and the same frame id.
type Ping struct {
	Opaque [8]byte `cbor:"1,keyasint"`
}

// Type returns TPing.
func (Ping) Type() Type { return TPing }

func (Ping) check() error { return nil }

// Pong answers PING.
type Pong struct {
	Opaque [8]byte `cbor:"1,keyasint"`
}

// Type returns TPong.
func (Pong) Type() Type { return TPong }

func (Pong) check() error { return nil }
