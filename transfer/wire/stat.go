package wire

// Stat asks what is at a path.
type Stat struct {
	Root     string `cbor:"1,keyasint" wire:"max=255"`
	Path     Path   `cbor:"3,keyasint"`
	WantRoot bool   `cbor:"2,keyasint,omitempty"` // also the root hash of the content; the server reads the file
	Exact    bool   `cbor:"4,keyasint,omitempty"` // CapExact: of a symbolic link also Stated.Meta
}

// Type returns TStat.
func (Stat) Type() Type { return TStat }

func (m Stat) check() error { return checkLabel(m.Root) }

// Stated answers STAT.
type Stated struct {
	Entry    Entry `cbor:"1,keyasint"` // Name may be empty for a root
	RootHash *Hash `cbor:"2,keyasint,omitempty"`
	Meta     Meta  `cbor:"4,keyasint,omitzero"` // of a symbolic link, for Stat.Exact
}

// Type returns TStated.
func (Stated) Type() Type { return TStated }

func (m Stated) check() error { return m.Entry.check() }
