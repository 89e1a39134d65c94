package wire

// Bye is the last frame of a session that ends as it should.
type Bye struct {
	Reason string `cbor:"2,keyasint,omitempty" wire:"max=512"`
}

// Type returns TBye.
func (Bye) Type() Type { return TBye }

func (Bye) check() error { return nil }
