package wire

// Ack tells what the receiver holds since the last ACK: chunks whose CV matched, and chunks that survive a loss of
// power. An empty one says that it is still at work and resets the sender's stall timer.
type Ack struct {
	Received Ranges `cbor:"1,keyasint" wire:"n=8192"`
	Durable  Ranges `cbor:"2,keyasint,omitempty" wire:"n=8192"`
}

// Type returns TAck.
func (Ack) Type() Type { return TAck }

func (m Ack) check() error {
	if err := m.Received.check(); err != nil {
		return err
	}
	return m.Durable.check()
}
