package wire

// Rename gives a file or directory another name in the same root; answered by DONE.
type Rename struct {
	Root      string `cbor:"1,keyasint" wire:"max=255"`
	From      Path   `cbor:"3,keyasint"`
	To        Path   `cbor:"5,keyasint"`
	NoReplace bool   `cbor:"7,keyasint"` // fail when To is taken
}

// Type returns TRename.
func (Rename) Type() Type { return TRename }

func (m Rename) check() error { return checkLabel(m.Root) }
