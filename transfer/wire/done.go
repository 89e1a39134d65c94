package wire

// Done answers a request that has nothing else to tell: it succeeded.
type Done struct{}

// Type returns TDone.
func (Done) Type() Type { return TDone }

func (Done) check() error { return nil }
