package wire

// TreePart carries whole records of a manifest, in its order; entries are counted from 0 through the tree.
type TreePart struct {
	First   uint64 `cbor:"1,keyasint" wire:"max=0xffffffffff"`
	Count   uint64 `cbor:"3,keyasint" wire:"max=4096"`
	Records []byte `cbor:"5,keyasint" wire:"max=0x40000"` // transfer/tree/MANIFEST.md
	Last    bool   `cbor:"2,keyasint,omitempty"`          // the manifest ends with it
}

// Type returns TTreePart.
func (TreePart) Type() Type { return TTreePart }

func (m TreePart) check() error {
	if (m.Count == 0) != (len(m.Records) == 0) || m.Count > uint64(len(m.Records)) {
		return errf(CodeProtocol, "%d records in %d bytes", m.Count, len(m.Records))
	}
	if m.Count == 0 && (!m.Last || m.First == 0) {
		return errf(CodeProtocol, "an empty part")
	}
	return checkSpan(m.First, m.Count)
}

// checkSpan checks that count entries from first on lie below MaxTreeEntries-1, so that their number is below it too.
func checkSpan(first, count uint64) error {
	if first >= MaxTreeEntries || count >= MaxTreeEntries-first {
		return errf(CodeLimit, "entries beyond %d", uint64(MaxTreeEntries-1))
	}
	return nil
}

// VerdictCode is what becomes of an entry.
type VerdictCode uint8

// The verdicts.
const (
	VerdictSame   VerdictCode = 0 // it is there
	VerdictNew    VerdictCode = 1 // nothing is there: send it
	VerdictUpdate VerdictCode = 2 // another is there: send it
	VerdictMeta   VerdictCode = 3 // the content is there, its metadata was set
	VerdictMade   VerdictCode = 4 // a directory or a link that was made
	VerdictSkip   VerdictCode = 5 // left out by a rule of TREE_OPEN
	VerdictFailed VerdictCode = 6 // the next of Failed says why
	VerdictHash   VerdictCode = 7 // a file of this size is there; the next of Hashes is its root
)

// Verdicts is Count entries in a row with the same verdict. On the wire it is an array of the two.
type Verdicts struct {
	_     struct{} `cbor:",toarray"`
	Code  uint64   `wire:"enum=7"` // a VerdictCode
	Count uint64   `wire:"min=1,max=4096"`
}

// TreeFailure says why an entry failed. Text is the peer's: quote it before printing.
type TreeFailure struct {
	No   uint64 `cbor:"1,keyasint" wire:"max=0xffffffffff"`
	Code Code   `cbor:"3,keyasint"` // of a class from 1 to 5
	Text string `cbor:"2,keyasint,omitempty" wire:"max=512"`
	// Path is beneath the top directory. It is there where the entry had another verdict before, so that the sender need not
	// remember what has come to its end: of a directory or a hard link.
	Path Path `cbor:"4,keyasint,omitzero"`
}

// EncodedLen returns an upper bound of the bytes that f takes in a message, for keeping one below MaxControl.
func (f TreeFailure) EncodedLen() int { return 22 + len(f.Text) + f.Path.EncodedLen() }

// TreeVerdicts answers one TREE_PART: each of its entries has a verdict.
type TreeVerdicts struct {
	First  uint64        `cbor:"1,keyasint" wire:"max=0xffffffffff"`
	Runs   []Verdicts    `cbor:"3,keyasint" wire:"n=4096"`
	Failed []TreeFailure `cbor:"2,keyasint,omitempty" wire:"n=4096"`      // one for each VerdictFailed, in order
	Hashes []byte        `cbor:"4,keyasint,omitempty" wire:"max=0x20000"` // 32 bytes for each VerdictHash, in order
}

// Type returns TTreeVerdicts.
func (TreeVerdicts) Type() Type { return TTreeVerdicts }

func (m TreeVerdicts) check() error {
	n, hashes, failed := uint64(0), uint64(0), m.Failed
	for i, r := range m.Runs {
		switch {
		case r.Count == 0 || i > 0 && r.Code == m.Runs[i-1].Code:
			return errf(CodeProtocol, "runs that are empty or could be one")
		case r.Count > MaxPart || n+r.Count > MaxPart:
			return errf(CodeLimit, "verdicts on more than %d entries", MaxPart)
		}
		switch r.Code {
		case uint64(VerdictFailed):
			for k := range r.Count {
				if len(failed) == 0 || failed[0].No != m.First+n+k {
					return errf(CodeProtocol, "entry %d failed and nothing says why", m.First+n+k)
				}
				failed = failed[1:]
			}
		case uint64(VerdictHash):
			hashes += r.Count
		}
		n += r.Count
	}
	if len(failed) > 0 || hashes*cvLen != uint64(len(m.Hashes)) {
		return errf(CodeProtocol, "%d failures too many, %d bytes of hashes for %d verdicts", len(failed), len(m.Hashes), hashes)
	}
	if err := checkSpan(m.First, n); err != nil {
		return err
	}
	return checkFailures(m.Failed)
}

// Entries returns how many entries there are verdicts on.
func (m TreeVerdicts) Entries() uint64 {
	n := uint64(0)
	for _, r := range m.Runs {
		n += r.Count
	}
	return n
}

func checkFailures(list []TreeFailure) error {
	for i, f := range list {
		if f.Code.Class() == 0 {
			return errf(CodeProtocol, "code %v", f.Code)
		}
		if i > 0 && f.No <= list[i-1].No {
			return errf(CodeProtocol, "failures that are not sorted")
		}
	}
	return nil
}
