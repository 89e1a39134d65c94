package wire

// Remove removes a file, a link or a directory; answered by DONE.
type Remove struct {
	Root      string `cbor:"1,keyasint" wire:"max=255"`
	Path      Path   `cbor:"3,keyasint"`
	MissingOK bool   `cbor:"2,keyasint,omitempty"` // nothing there is success
	Recursive bool   `cbor:"5,keyasint"`           // a directory with all that is in it
}

// Type returns TRemove.
func (Remove) Type() Type { return TRemove }

func (m Remove) check() error { return checkLabel(m.Root) }
