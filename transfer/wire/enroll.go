package wire

// Enroll asks to be known from now on, by proof of a one-time code.
type Enroll struct {
	CodeID []byte `cbor:"1,keyasint" wire:"min=2,max=2"`       // which code
	MAC    []byte `cbor:"3,keyasint" wire:"min=32,max=32"`     // the client's proof
	Name   string `cbor:"2,keyasint,omitempty" wire:"max=255"` // of the client's host, for the server's list
}

// Type returns TEnroll.
func (Enroll) Type() Type { return TEnroll }

func (m Enroll) check() error { return checkLabel(m.Name) }

// Enrolled answers ENROLL: the client is known, and the server knows the code as well.
type Enrolled struct {
	MAC   []byte     `cbor:"1,keyasint" wire:"min=32,max=32"`     // the server's proof
	Name  string     `cbor:"2,keyasint,omitempty" wire:"max=255"` // the client's name at the server
	Roots []RootInfo `cbor:"4,keyasint,omitempty" wire:"n=256"`
}

// Type returns TEnrolled.
func (Enrolled) Type() Type { return TEnrolled }

func (m Enrolled) check() error {
	if err := checkLabel(m.Name); err != nil {
		return err
	}
	return checkRoots(m.Roots)
}
