package wire

import "slices"

// TreeSkip tells of entries with a verdict that asks for content that they are not sent. No entry is there twice.
type TreeSkip struct {
	Same []uint64 `cbor:"2,keyasint,omitempty" wire:"n=4096,min=1,max=0xffffffffff"` // what is there has the same content; the metadata is to be set
	Gone []uint64 `cbor:"4,keyasint,omitempty" wire:"n=4096,min=1,max=0xffffffffff"` // they vanished, or could not be read
}

// Type returns TTreeSkip.
func (TreeSkip) Type() Type { return TTreeSkip }

func (m TreeSkip) check() error {
	if len(m.Same)+len(m.Gone) == 0 {
		return errf(CodeProtocol, "an empty list")
	}
	for _, list := range [][]uint64{m.Same, m.Gone} {
		for i, no := range list {
			if i > 0 && no <= list[i-1] {
				return errf(CodeProtocol, "entries that are not sorted")
			}
		}
	}
	for _, no := range m.Gone {
		if _, both := slices.BinarySearch(m.Same, no); both {
			return errf(CodeProtocol, "entry %d is the same, and gone", no)
		}
	}
	return nil
}

// TreeAck tells what became of packs and of entries since the last one. An empty one says that the receiver is at work.
// The ranges are as long as the peer likes: whoever takes them compares borders and does not count through them.
type TreeAck struct {
	Packs     []Range       `cbor:"2,keyasint,omitempty" wire:"n=4096"`  // numbers of packs that are verified and written
	Published []Range       `cbor:"4,keyasint,omitempty" wire:"n=4096"`  // entries that have their final names
	Failed    []TreeFailure `cbor:"6,keyasint,omitempty" wire:"n=4096"`  // ascending, none of them in Published
	Unkept    uint64        `cbor:"8,keyasint,omitempty" wire:"max=255"` // as in Ack, of any entry
}

// Type returns TTreeAck.
func (TreeAck) Type() Type { return TTreeAck }

func (m TreeAck) check() error {
	if err := checkNumbers(m.Packs); err != nil {
		return err
	}
	if err := checkNumbers(m.Published); err != nil {
		return err
	}
	for _, f := range m.Failed {
		if Ranges(m.Published).Contains(f.No) {
			return errf(CodeProtocol, "entry %d is published, and failed", f.No)
		}
	}
	return checkFailures(m.Failed)
}

// checkNumbers is the check of Ranges for numbers that are not those of chunks.
func checkNumbers(list []Range) error {
	end := uint64(0)
	for i, e := range list {
		switch {
		case e.Count == 0:
			return errf(CodeProtocol, "an empty range")
		case e.Start >= MaxTreeEntries || e.Count > MaxTreeEntries-e.Start:
			return errf(CodeLimit, "a range beyond %d", uint64(MaxTreeEntries))
		case i > 0 && e.Start <= end:
			return errf(CodeProtocol, "ranges that touch, overlap or are not sorted")
		}
		end = e.Start + e.Count
	}
	return nil
}
