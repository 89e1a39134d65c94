package wire

// OpenState is what the receiver found when a transfer was opened.
type OpenState uint8

// The states; PROTOCOL.md says what the sender does.
const (
	StateNew     OpenState = 1 // nothing is held
	StatePartial OpenState = 2 // some is held: Have and Parts
	StateChanged OpenState = 3 // what was held had another fingerprint and is gone
	StateSame    OpenState = 4 // nothing to send; Receipt set where the content was compared
	StateDone    OpenState = 5 // this transfer id was published before; Receipt set
	StateExists  OpenState = 6 // a file of that size is there and may not be replaced: COMMIT its root, without data: equal = RECEIPT, else ERROR EXISTS
)

// Opened answers OPEN.
type Opened struct {
	State   OpenState `cbor:"1,keyasint" wire:"min=1,enum=6"`
	Epoch   uint64    `cbor:"3,keyasint"` // of this attempt; grows with each
	Have    Ranges    `cbor:"5,keyasint" wire:"n=8192"`
	Parts   []Part    `cbor:"4,keyasint,omitempty" wire:"n=8192"`
	Old     uint64    `cbor:"10,keyasint,omitempty" wire:"max=0x1000000000000"` // CapDelta: size of the old version; 0 = none that chunks may refer to
	Receipt *Receipt  `cbor:"8,keyasint,omitempty"`
}

// Type returns TOpened.
func (Opened) Type() Type { return TOpened }

func (m Opened) check() error {
	if m.State != StatePartial && len(m.Have)+len(m.Parts) > 0 {
		return errf(CodeProtocol, "chunks that are held in state %d", m.State)
	}
	if m.State > StateChanged && m.Old != 0 {
		return errf(CodeProtocol, "an old version in state %d", m.State)
	}
	if m.State == StateDone && m.Receipt == nil {
		return errf(CodeProtocol, "done, without a receipt")
	}
	if m.Receipt != nil {
		if m.State != StateDone && m.State != StateSame {
			return errf(CodeProtocol, "a receipt in state %d", m.State)
		}
		if err := m.Receipt.check(); err != nil {
			return err
		}
	}
	if err := m.Have.check(); err != nil {
		return err
	}
	return checkParts(m.Parts, m.Have)
}
