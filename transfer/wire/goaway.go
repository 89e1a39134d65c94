package wire

// GoAway says that no new OPEN is taken; what is under way may go on until the deadline.
type GoAway struct {
	DeadlineMS uint64 `cbor:"1,keyasint" wire:"max=0xffffffff"` // from now, in ms
	Reason     string `cbor:"2,keyasint,omitempty" wire:"max=512"`
}

// Type returns TGoAway.
func (GoAway) Type() Type { return TGoAway }

func (GoAway) check() error { return nil }
