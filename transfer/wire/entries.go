package wire

import "strings"

// Kind is what a directory entry is.
type Kind uint8

// The kinds.
const (
	KindFile    Kind = 1
	KindDir     Kind = 2
	KindSymlink Kind = 3
	KindOther   Kind = 4 // device, socket, pipe
)

// Entry is one name and what is there.
type Entry struct {
	Name    string // bytes, one component; quote before printing
	Kind    Kind
	Size    uint64
	Mode    uint32 // 12 bits, as in Meta
	MTimeNS int64  // Unix ns
	Target  string // bytes, of a symbolic link
}

// entryBody is the map that an Entry is: name and target are byte strings there.
type entryBody struct {
	Name    []byte `cbor:"1,keyasint" wire:"name=255"`
	Kind    Kind   `cbor:"3,keyasint" wire:"min=1,enum=4"`
	Size    uint64 `cbor:"5,keyasint" wire:"max=0x7fffffffffffffff"`
	Mode    uint32 `cbor:"7,keyasint" wire:"max=0o7777"`
	MTimeNS int64  `cbor:"9,keyasint"`
	Target  []byte `cbor:"4,keyasint,omitempty" wire:"max=4095"`
}

// MarshalCBOR encodes e as a map.
func (e Entry) MarshalCBOR() ([]byte, error) {
	return encMode.Marshal(entryBody{[]byte(e.Name), e.Kind, e.Size, e.Mode, e.MTimeNS, []byte(e.Target)})
}

// UnmarshalCBOR decodes what MarshalCBOR encodes.
func (e *Entry) UnmarshalCBOR(p []byte) error {
	var b entryBody
	if err := decMode.Unmarshal(p, &b); err != nil {
		return err
	}
	*e = Entry{string(b.Name), b.Kind, b.Size, b.Mode, b.MTimeNS, string(b.Target)}
	return nil
}

// EncodedLen returns an upper bound of the bytes that e takes in ENTRIES, for cutting a listing into pages of at most
// MaxControl.
func (e Entry) EncodedLen() int { return 40 + len(e.Name) + len(e.Target) }

func (e Entry) check() error {
	if e.Name != "" {
		if err := checkName(e.Name); err != nil {
			return err
		}
	}
	if e.Target == "" {
		return nil
	}
	if e.Kind != KindSymlink {
		return errf(CodeProtocol, "a target of what is no symbolic link")
	}
	return checkTarget(e.Target)
}

func checkTarget(s string) error {
	if strings.IndexByte(s, 0) >= 0 {
		return errf(CodeBadPath, "a target with NUL in it")
	}
	return nil
}

// Entries answers LIST: one page.
type Entries struct {
	Entries []Entry `cbor:"1,keyasint" wire:"n=4096"`             // ascending by the bytes of their names
	Next    []byte  `cbor:"2,keyasint,omitempty" wire:"max=4096"` // cursor of the next page; empty = this is the last
}

// Type returns TEntries.
func (Entries) Type() Type { return TEntries }

func (m Entries) check() error {
	for i, e := range m.Entries {
		if e.Name == "" {
			return errf(CodeBadPath, "an empty name")
		}
		if err := e.check(); err != nil {
			return err
		}
		if i > 0 && e.Name <= m.Entries[i-1].Name {
			return errf(CodeProtocol, "entries that are not sorted")
		}
	}
	return nil
}
