package wire

// Ack tells what the receiver holds since the last ACK: chunks whose CV matched, and chunks that survive a loss of
// power. An empty one says that it is still at work and resets the sender's stall timer.
type Ack struct {
	Received Ranges `cbor:"1,keyasint" wire:"n=8192"`
	Durable  Ranges `cbor:"2,keyasint,omitempty" wire:"n=8192"`
	Unkept   uint64 `cbor:"4,keyasint,omitempty" wire:"max=255"` // a sum of UnkeptMode and the others: what the receiver could not set
}

// What a receiver could not set of the metadata that it was told, in Ack.Unkept and TreeAck.Unkept. Other bits are ignored.
const (
	UnkeptMode    = 1 << iota // permission bits
	UnkeptTime                // the time of the last change
	UnkeptOwner               // user or group
	UnkeptSpecial             // setuid, setgid or capabilities
	UnkeptXAttrs              // extended attributes
	UnkeptACL                 // access control lists
)

// Type returns TAck.
func (Ack) Type() Type { return TAck }

func (m Ack) check() error {
	if err := m.Received.check(); err != nil {
		return err
	}
	return m.Durable.check()
}
