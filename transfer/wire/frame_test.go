package wire

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestAppendFrameLayout(t *testing.T) {
	b, err := AppendFrame([]byte("before"), 0x01020304, Space{Root: "r"})
	if err != nil {
		t.Fatal(err)
	}
	if want := "before\x29\x00\x00\x00\x00\x00\x00\x04\x01\x02\x03\x04\xa1\x01\x61r"; string(b) != want {
		t.Errorf("got %q, want %q", b, want)
	}
	b = AppendDataHeader([]byte("x"), 6, DataFirst, 1, 2, 3, 1)
	if want := "x\x14\x01\x00\x00\x00\x00\x00\x11\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03"; string(b) != want {
		t.Errorf("got %q, want %q", b, want)
	}
	if b = AppendDataHeader(nil, 6, DataLast, 1, 2, 3, 1); b[7] != 16+1+32 {
		t.Errorf("with LAST the length is %d, want 49", b[7])
	}
	if len(b) != DataHeaderLen {
		t.Errorf("%d bytes, want DataHeaderLen %d", len(b), DataHeaderLen)
	}
	b = AppendPackHeader(nil)
	if len(b) != PackHeaderLen {
		t.Errorf("%d bytes, want PackHeaderLen %d", len(b), PackHeaderLen)
	}
	b = AppendPackFile(b, 5, &Meta{HasMode: true, Mode: 0o644, HasMTime: true, MTimeNS: -2}, 1)
	b = append(b, "x"...)
	b = append(b, make([]byte, cvLen)...)
	PutPackHeader(b, 6, 0, 7, 1)
	if want := "\x12\x00\x00\x00\x00\x00\x00\x44\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x01" +
		"\x00\x00\x00\x00\x00\x00\x00\x05\x01\x00\x00\x00\x01\x01\xa4\xff\xff\xff\xff\xff\xff\xff\xfex" + strings.Repeat("\x00", cvLen); string(b) != want {
		t.Errorf("got %q, want %q", b, want)
	}
	PutPackHeader(b, 6, PackZstd, 7, 1)
	if want := "\x12\x04\x00\x00\x00\x00\x00\x44"; string(b[:8]) != want {
		t.Errorf("compressed: %q, want %q", b[:8], want)
	}
	if len(b) != PackHeaderLen+PackSize(1) {
		t.Errorf("%d bytes, PackSize says %d", len(b), PackHeaderLen+PackSize(1))
	}
	if n := PackHeaderLen - HeaderLen + PackSize(MaxSmall); n != MaxPack {
		t.Errorf("the largest small file makes a PACK of %d bytes, want %d", n, MaxPack)
	}
}

// What a peer would refuse is not sent, and the buffer stays as it was.
func TestAppendFrameRefuses(t *testing.T) {
	entries := make([]Entry, MaxEntries)
	for i := range entries {
		entries[i] = Entry{Name: fmt.Sprintf("%04d%s", i, strings.Repeat("n", 250)), Kind: KindSymlink, Target: "t"}
	}
	many := make(Ranges, MaxRanges+1)
	for i := range many {
		many[i] = Range{Start: uint64(2 * i), Count: 1}
	}
	invalid := Path{[]string{"a", ".."}} // cannot be made from outside
	for name, c := range map[string]struct {
		id   uint32
		m    Message
		want Code
	}{
		"a request with id 0":             {0, Space{}, CodeProtocol},
		"a HELLO with an id":              {1, Hello{Versions: []uint64{0}}, CodeProtocol},
		"no versions":                     {0, Hello{}, CodeProtocol},
		"an agent that is too long":       {0, Hello{Versions: []uint64{0}, Agent: strings.Repeat("x", 513)}, CodeLimit},
		"an agent that is not UTF-8":      {0, Hello{Versions: []uint64{0}, Agent: "\xff"}, CodeProtocol},
		"a reason that is too long":       {0, Bye{Reason: strings.Repeat("x", 513)}, CodeLimit},
		"the wrong class":                 {2, Error{Code: CodeBusy}, CodeProtocol},
		"too many ranges":                 {2, Ack{Received: many}, CodeLimit},
		"ranges that are not sorted":      {2, Ack{Durable: Ranges{{Start: 1, Count: 1}, {Start: 0, Count: 1}}}, CodeProtocol},
		"a path with two dots":            {2, Stat{Path: invalid}, CodeBadPath},
		"a file that is too large":        {2, Open{Size: 1 << 50, ChunkLog2: 24, Alg: 1}, CodeLimit},
		"no chunk size":                   {2, Open{Alg: 1}, CodeProtocol},
		"ENTRIES above 1 MiB":             {2, Entries{Entries: entries}, CodeLimit},
		"too many hashes":                 {2, HashList{CVs: make([]Hash, MaxHashes+1)}, CodeLimit},
		"groups of held chunks":           {2, Hashes{Count: 1, Groups: true}, CodeProtocol},
		"too many groups":                 {2, Hashes{Count: 513, Old: true, Groups: true}, CodeLimit},
		"hashes beyond all chunks":        {2, HashList{CVs: make([]Hash, 2), First: MaxChunks - 1}, CodeLimit},
		"hashes from beyond all chunks":   {2, HashList{First: MaxChunks, Old: true, Groups: true}, CodeLimit},
		"same, with an old version":       {2, Opened{State: StateSame, Old: 1}, CodeProtocol},
		"a flag of OPEN that is not one":  {2, Open{ChunkLog2: 18, Alg: 1, Flags: openFlags + 1}, CodeUnsupported},
		"an empty target":                 {2, Symlink{}, CodeProtocol},
		"a receipt with a bad root name":  {2, Receipt{RootName: "a/b"}, CodeBadPath},
		"new, with a receipt":             {2, Opened{State: StateNew, Receipt: &Receipt{}}, CodeProtocol},
		"a proof of a wrong length":       {0, Join{MAC: []byte{1}}, CodeProtocol},
		"a mode with the type of a file":  {2, SetMeta{Meta: Meta{Mode: 0o100644, HasMode: true}}, CodeLimit},
		"an even handle":                  {2, Get{Handle: 2}, CodeProtocol},
		"a right that is not one word":    {2, Enrolled{MAC: make([]byte, 32), Roots: []RootInfo{{Name: "r", Rights: []string{"a b"}}}}, CodeProtocol},
		"a verdict that is none":          {2, TreeVerdicts{Runs: []Verdicts{{Code: 8, Count: 1}}}, CodeUnsupported},
		"verdicts whose sum overflows":    {2, TreeVerdicts{Runs: []Verdicts{{Code: 0, Count: 1}, {Code: 1, Count: 1<<64 - 1}}}, CodeLimit},
		"a failure of another entry":      {2, TreeVerdicts{Runs: []Verdicts{{Code: 6, Count: 1}}, Failed: []TreeFailure{{No: 1, Code: CodeExists}}}, CodeProtocol},
		"a failure without a reason":      {2, TreeAck{Failed: []TreeFailure{{No: 1}}}, CodeProtocol},
		"a part beyond all entries":       {2, TreePart{First: MaxTreeEntries - 2, Count: 2, Records: make([]byte, 2)}, CodeLimit},
		"an unknown flag of a tree":       {2, TreeOpen{Flags: treeFlags + 1}, CodeUnsupported},
		"an unknown flag of a walk":       {2, TreeGet{Walk: treeWalk + 1}, CodeUnsupported},
		"a part of too many records":      {2, TreePart{Count: MaxPart + 1, Records: make([]byte, MaxPart+1)}, CodeLimit},
		"a part of too many bytes":        {2, TreePart{Count: 1, Records: make([]byte, MaxRecords+1)}, CodeLimit},
		"nothing to delete":               {2, TreeDelete{}, CodeProtocol},
		"TREE_ACK above 1 MiB":            {2, TreeAck{Failed: failures(MaxPart, MaxText)}, CodeLimit},
		"a client name with control code": {2, Enroll{CodeID: make([]byte, 2), MAC: make([]byte, 32), Name: "\x7f"}, CodeBadPath},
	} {
		before := []byte("before")
		b, err := AppendFrame(before, c.id, c.m)
		var p *ProtocolError
		if !errors.As(err, &p) || p.Code != c.want {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if !bytes.Equal(b, before) {
			t.Errorf("%s: the buffer grew to %d bytes", name, len(b))
		}
	}
}

// failures makes n of them with texts of size bytes.
func failures(n, size int) []TreeFailure {
	list := make([]TreeFailure, n)
	for i := range list {
		list[i] = TreeFailure{No: MaxTreeEntries - 1 - uint64(n-i), Code: CodeIOError, Text: strings.Repeat("t", size)}
	}
	return list
}

type stranger struct{}

func (stranger) Type() Type { return TDone }

func TestAppendFrameRefusesWhatIsNoMessage(t *testing.T) {
	for _, m := range []Message{nil, stranger{}, &Done{}, (*Hello)(nil)} {
		func() {
			defer func() {
				if v := recover(); v != nil && reflect.ValueOf(m).Kind() != reflect.Pointer {
					t.Errorf("%T: panic %v", m, v)
				}
			}()
			if b, err := AppendFrame(nil, 2, m); err == nil {
				t.Errorf("%T: %x", m, b)
			}
		}()
	}
}

// Metadata that says nothing is the same as none.
func TestEmptyMetaIsLeftOut(t *testing.T) {
	with, without := mustEncode(t, Commit{Meta: &Meta{Mode: 0o644}}), mustEncode(t, Commit{})
	if !bytes.Equal(with, without) {
		t.Errorf("%x and %x", with, without)
	}
}

// The largest messages that the limits of their parts allow fit into a frame, but for ENTRIES, TREE_EXTRA and TREE_DELETE and
// the texts of failures, which are cut by EncodedLen.
func TestLargestMessagesFit(t *testing.T) {
	name := strings.Repeat("n", MaxName)
	parts := make([]string, 16)
	for i := range parts {
		parts[i] = name
	}
	p := mustPath(t, parts...)
	ranges, kept := make(Ranges, MaxRanges), make([]Part, MaxRanges)
	for i := range ranges {
		at := MaxChunks - uint64(3*(MaxRanges-i))
		ranges[i], kept[i] = Range{Start: at, Count: 1}, Part{Chunk: at + 1, Bytes: 1 << 24}
	}
	numbers := make([]Range, MaxPart)
	for i := range numbers {
		numbers[i] = Range{Start: MaxTreeEntries - uint64(3*(2*MaxPart-i)), Count: 1}
	}
	deleted := failures(MaxPart, 200)
	for i := range deleted {
		deleted[i].No = uint64(i)
	}
	roots := make([]RootInfo, MaxRoots)
	for i := range roots {
		roots[i] = RootInfo{Name: fmt.Sprintf("%0255d", i)}
		for j := range MaxCaps {
			roots[i].Rights = append(roots[i].Rights, fmt.Sprintf("%032d", j))
		}
	}
	for _, m := range []Message{
		Ack{Received: ranges, Durable: ranges},
		Opened{State: StatePartial, Have: ranges, Parts: kept},
		HashList{CVs: make([]Hash, MaxHashes), First: MaxChunks - 1, Old: true, Groups: true},
		Welcome{Window: 1, Roots: roots},
		Rename{From: p, To: p},
		Error{Code: CodeBusy, Class: 2, Text: strings.Repeat("t", MaxText), Path: p},
		Opened{State: StateDone, Receipt: &Receipt{Path: p, Replaced: p, Signer: make([]byte, MaxSigner)}},
		TreePart{Count: MaxPart, Records: make([]byte, MaxRecords)},
		TreeVerdicts{First: MaxTreeEntries - 1 - MaxPart, Runs: []Verdicts{{Code: 6, Count: MaxPart}}, Failed: failures(MaxPart, 200)},
		TreeVerdicts{First: MaxTreeEntries - 1 - MaxPart, Runs: []Verdicts{{Code: 7, Count: MaxPart}}, Hashes: make([]byte, MaxPart*cvLen)},
		TreeAck{Packs: numbers, Published: numbers, Failed: failures(MaxPart, 100)},
		TreeDeleted{Failed: deleted},
		TreeGet{Rules: [][]byte{bytes.Repeat([]byte("r"), MaxRule)}, Names: [][]byte{bytes.Repeat([]byte("n"), MaxListed)}},
		TreeReceipt{Entries: 1, Path: p, Signer: make([]byte, MaxSigner), List: &Hash{}},
	} {
		frame := mustFrame(t, nil, m)
		if _, err := Decode(m.Type(), frame[HeaderLen:]); err != nil {
			t.Errorf("%v: %v", m.Type(), err)
		}
	}
}

func TestEntryEncodedLen(t *testing.T) {
	for _, e := range []Entry{
		{Name: "a", Kind: KindFile},
		{Name: strings.Repeat("n", MaxName), Kind: KindSymlink, Size: maxInt, Mode: maxMode, MTimeNS: -1 << 63, Target: strings.Repeat("t", MaxTarget)},
	} {
		got := len(mustEncode(t, Entries{Entries: []Entry{e}})) - len(mustEncode(t, Entries{}))
		if got > e.EncodedLen() {
			t.Errorf("%d bytes, EncodedLen says at most %d", got, e.EncodedLen())
		}
	}
}

// EncodedLen of what else is cut to fit into a message is an upper bound, and a close one.
func TestEncodedLenOfTreeMessages(t *testing.T) {
	close := func(what string, got, bound int) {
		t.Helper()
		if got > bound || bound > got+16+2*MaxDepth {
			t.Errorf("%s: %d bytes, EncodedLen says at most %d", what, got, bound)
		}
	}
	deep := make([]string, MaxDepth)
	for i := range deep {
		deep[i] = "n"
	}
	n255 := strings.Repeat("n", MaxName)
	for _, p := range []Path{mustPath(t, "a"), mustPath(t, deep...), mustPath(t, n255, n255, n255[:24], n255[:23])} {
		b, err := p.MarshalCBOR()
		if err != nil {
			t.Fatal(err)
		}
		close("a path", len(b), p.EncodedLen())
		one := ExtraEntry{Path: p, Kind: KindFile, Size: maxInt}
		with, without := mustEncode(t, TreeExtra{Entries: []ExtraEntry{one}, Last: true}), mustEncode(t, TreeExtra{Last: true})
		close("TREE_EXTRA", len(with)-len(without), one.EncodedLen())
	}
	for _, f := range append(failures(1, MaxText), failures(1, 0)...) {
		with, without := mustEncode(t, TreeAck{Failed: []TreeFailure{f, {No: f.No + 1, Code: 0x0100}}}), mustEncode(t, TreeAck{Failed: []TreeFailure{{No: f.No + 1, Code: 0x0100}}})
		close("a failure", len(with)-len(without), f.EncodedLen())
	}
}

func TestCodes(t *testing.T) {
	n := 0
	for class, names := range codeNames {
		for i, name := range names {
			n++
			c, ok := CodeByName(name)
			if !ok || c != Code(class<<8+i+1) || c.Class() != uint8(class) || c.String() != name {
				t.Errorf("%s: code %#x, class %d, name %s", name, uint16(c), c.Class(), c)
			}
		}
	}
	for c, want := range map[Code]string{
		CodeStreamLost: "STREAM_LOST", CodeTimeout: "TIMEOUT", CodeBusy: "BUSY", CodeDraining: "DRAINING", CodeSourceChanged: "SOURCE_CHANGED",
		CodeStageLost: "STAGE_LOST", CodeDenied: "DENIED", CodeInternal: "INTERNAL", CodeProtocol: "PROTOCOL", CodeExpired: "EXPIRED",
		0: "0x0000", 0x0105 + 1: "0x0106", 0x0100: "0x0100", 0x0677: "0x0677", 0xffff: "0xffff",
	} {
		if c.String() != want {
			t.Errorf("%#04x is %s, want %s", uint16(c), c, want)
		}
	}
	for c, want := range map[Code]uint8{0: 0, 0xff: 0, 0x0177: 1, 0x05ff: 5, 0x0600: 0, 0xffff: 0} {
		if c.Class() != want {
			t.Errorf("class of %#04x is %d, want %d", uint16(c), c.Class(), want)
		}
	}
	if _, ok := CodeByName("nothing"); ok || n != 32 {
		t.Errorf("%d codes, want 32; unknown name found: %v", n, ok)
	}
}

func TestTypeNames(t *testing.T) {
	for typ, want := range map[Type]string{THello: "HELLO", TData: "DATA", TSpaced: "SPACED", TEnrolled: "ENROLLED", TPack: "PACK", TTreeGet: "TREE_GET", 0: "type 0x00", 0x13: "type 0x13", 0xff: "type 0xff"} {
		if typ.String() != want || typ.Known() != !strings.HasPrefix(want, "type") {
			t.Errorf("%#x: %s, known %v", uint8(typ), typ, typ.Known())
		}
	}
	for _, typ := range []Type{0, TData, TPack, 0x13, 0x3d, 0xff} {
		if _, err := Decode(typ, []byte{0xa0}); outcome(t, err) != "UNSUPPORTED" {
			t.Errorf("Decode %v: %v", typ, err)
		}
	}
}

func TestReceiptBytes(t *testing.T) {
	for _, m := range samples(t) {
		r, ok := m.(Receipt)
		if !ok {
			continue
		}
		whole := EncodeReceipt(r)
		if !bytes.Equal(whole, mustEncode(t, r)) {
			t.Error("EncodeReceipt is not the body of the frame")
		}
		// What is signed is the same map without key 13 and its 64 bytes.
		key := append([]byte{13, 0x58, 64}, r.Signature[:]...)
		want := bytes.Replace(whole, key, nil, 1)
		want[0]--
		signed := ReceiptBytes(r)
		if !bytes.Equal(signed, want) {
			t.Errorf("signed %x\nwant %x", signed, want)
		}
		other := r
		other.Signature[0] ^= 1
		if !bytes.Equal(ReceiptBytes(other), signed) {
			t.Error("the signature signs itself")
		}
		back, err := DecodeReceipt(whole)
		if err != nil || text(back) != text(r) {
			t.Errorf("%+v, %v", back, err)
		}
		if _, err := DecodeReceipt(append(whole, 0)); err == nil {
			t.Error("a byte behind a receipt")
		}
	}
}

// Each field of a receipt but the signature is signed.
func TestReceiptBytesCoverEveryField(t *testing.T) {
	base := ReceiptBytes(Receipt{})
	v := reflect.TypeFor[Receipt]()
	if v.NumField() != 10 {
		t.Fatalf("%d fields; add the new one", v.NumField())
	}
	for i, r := range []Receipt{
		{Transfer: TransferID{1}}, {RootHash: Hash{1}}, {Size: 1}, {Path: mustPath(t, "a")}, {TimeNS: 1}, {Durability: 1},
		{RootName: "r"}, {Signer: []byte{1}}, {Replaced: mustPath(t, "a")},
	} {
		if bytes.Equal(ReceiptBytes(r), base) {
			t.Errorf("receipt %d: %+v is signed as an empty one", i, r)
		}
	}
	if a, b := ReceiptBytes(Receipt{Path: mustPath(t, "a", "b")}), ReceiptBytes(Receipt{Path: mustPath(t, "a"), Replaced: mustPath(t, "b")}); bytes.Equal(a, b) {
		t.Error("two paths are signed alike")
	}
}

// EncodeReceipt and ReceiptBytes take whatever there is; Decode is who refuses.
func TestReceiptBytesOfNonsense(t *testing.T) {
	r := Receipt{Path: Path{[]string{"..", ""}}, RootName: "\xff", Signer: make([]byte, 1000), Durability: 200}
	if len(ReceiptBytes(r)) == 0 {
		t.Error("nothing to sign")
	}
	if _, err := DecodeReceipt(EncodeReceipt(r)); err == nil {
		t.Error("nonsense was taken")
	}
}

func TestTreeReceiptBytes(t *testing.T) {
	r := treeReceipt(t)
	whole := EncodeTreeReceipt(r)
	if !bytes.Equal(whole, mustEncode(t, r)) {
		t.Error("EncodeTreeReceipt is not the body of the frame")
	}
	key := append([]byte{13, 0x58, 64}, r.Signature[:]...)
	want := bytes.Replace(whole, key, nil, 1)
	want[0]--
	signed := TreeReceiptBytes(r)
	if !bytes.Equal(signed, want) {
		t.Errorf("signed %x\nwant %x", signed, want)
	}
	r.Signature[0] ^= 1
	if !bytes.Equal(TreeReceiptBytes(r), signed) {
		t.Error("the signature signs itself")
	}
	back, err := DecodeTreeReceipt(EncodeTreeReceipt(r))
	if err != nil || text(back) != text(r) {
		t.Errorf("%+v, %v", back, err)
	}
	if _, err := DecodeTreeReceipt(append(whole, 0)); err == nil {
		t.Error("a byte behind a receipt")
	}
}

// Each field of a tree's receipt but the signature is signed.
func TestTreeReceiptBytesCoverEveryField(t *testing.T) {
	base := TreeReceiptBytes(TreeReceipt{})
	v := reflect.TypeFor[TreeReceipt]()
	fields := []TreeReceipt{
		{Tree: TransferID{1}}, {Manifest: Hash{1}}, {Entries: 1}, {Path: mustPath(t, "a")}, {TimeNS: 1}, {Durability: 1},
		{RootName: "r"}, {Signer: []byte{1}}, {Files: 1}, {List: &Hash{}},
	}
	if v.NumField() != len(fields)+1 {
		t.Fatalf("%d fields; add the new one", v.NumField())
	}
	for i, r := range fields {
		if bytes.Equal(TreeReceiptBytes(r), base) {
			t.Errorf("receipt %d: %+v is signed as an empty one", i, r)
		}
	}
}

// What was signed as the receipt of a file is never the receipt of a tree, nor the other way round.
func TestReceiptsAreNotMixedUp(t *testing.T) {
	for _, r := range []TreeReceipt{{Entries: 1}, treeReceipt(t)} {
		if m, err := DecodeReceipt(EncodeTreeReceipt(r)); err == nil {
			t.Errorf("a tree became %+v", m)
		}
	}
	for _, m := range samples(t) {
		if r, ok := m.(Receipt); ok {
			if m, err := DecodeTreeReceipt(EncodeReceipt(r)); err == nil {
				t.Errorf("a file became %+v", m)
			}
		}
	}
}
