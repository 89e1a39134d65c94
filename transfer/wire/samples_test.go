package wire

import (
	"bytes"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// samples returns messages of every type, small ones and full ones.
func samples(t testing.TB) []Message {
	p := mustPath(t, "a", "b \xff\n")
	hash := Hash{1, 2, 3, 31: 0xff}
	receipt := Receipt{
		Transfer: TransferID{7}, RootHash: hash, Size: MaxFileSize, Path: p, TimeNS: 1_700_000_000_000_000_001,
		Durability: DurabilityBatch, Signature: [64]byte{63: 9}, RootName: "backup", Signer: []byte{0x30, 0x2a},
		Replaced: mustPath(t, "versions", "b"),
	}
	roots := []RootInfo{{Name: "backup", Rights: []string{"put", "get"}, Default: true}, {Name: "größe"}}
	meta := Meta{Mode: 0o4755, MTimeNS: -1, HasMode: true, HasMTime: true, Archive: "\x41\x00"}
	return []Message{
		Hello{Versions: []uint64{0}},
		Hello{Versions: []uint64{0, 1, 65535}, Agent: "xfer/1", Caps: []string{CapZstd, CapBLAKE3}, TimeNS: -5},
		Welcome{Window: 1},
		Welcome{
			Minor: 3, Session: SessionID{1, 15: 2}, Limits: PeerLimits{Streams: 16, Open: 1024, Requests: 64}, Window: 256 << 20,
			Caps: []string{"x"}, Roots: roots, TimeNS: 1 << 60, Name: "laptop",
		},
		Join{Session: SessionID{3}, Counter: 1<<64 - 1},
		Join{Session: SessionID{3}, MAC: hash[:], Counter: 24},
		Joined{}, Joined{Stream: 256},
		Ping{}, Ping{Opaque: [8]byte{1, 2, 3}},
		Pong{}, Pong{Opaque: [8]byte{7: 255}},
		GoAway{}, GoAway{DeadlineMS: MaxMillis, Reason: "restart"},
		Bye{}, Bye{Reason: "done"},
		Error{Code: CodeBusy, Class: ClassLater},
		Error{Code: 0x04ff, Class: 4, Text: "no", RetryAfterMS: 500, Path: p},
		Open{Size: UnknownSize, ChunkLog2: 22, Alg: AlgBLAKE3},
		Open{
			Transfer: TransferID{1}, Root: "backup", Path: p, Size: MaxFileSize, ChunkLog2: 24, Alg: AlgBLAKE3, Fingerprint: make([]byte, 64),
			IfExists: IfExistsVersion, Durability: DurabilityNone, Compare: CompareRoot, Flags: openFlags, Meta: meta,
			RootHash: &hash, Priority: 9, JobID: make([]byte, 16),
		},
		Open{Size: 1 << 42, ChunkLog2: 18, Alg: AlgBLAKE3, Meta: Meta{HasMode: true}},
		Open{Size: 1, ChunkLog2: 18, Alg: AlgBLAKE3, Tree: 1<<32 - 1, Entry: MaxTreeEntries - 1},
		Opened{State: StateNew, Epoch: 1},
		Opened{State: StatePartial, Epoch: 2, Have: Ranges{{Start: 0, Count: 912}, {Start: 1000, Count: 1}}, Parts: []Part{{Chunk: 912, Bytes: 90112}}},
		Opened{State: StateChanged, Old: MaxFileSize},
		Opened{State: StateDone, Receipt: &receipt},
		Opened{State: StateSame},
		Ack{}, Ack{Unkept: UnkeptACL}, Ack{Durable: Ranges{{Start: 0, Count: MaxChunks}}},
		Ack{Received: Ranges{{Start: 3, Count: 2}, {Start: 6, Count: 1}}},
		Zeros{Chunks: Ranges{{Start: 0, Count: 1}}}, Zeros{Chunks: Ranges{{Start: 1, Count: 5}, {Start: 7, Count: MaxChunks - 7}}},
		Nack{Code: CodeChunkBad}, Nack{Chunk: MaxChunks - 1, Code: 0x0177},
		Commit{}, Commit{RootHash: hash, Size: MaxFileSize, Fingerprint: []byte("fp"), Meta: &meta},
		Receipt{}, receipt,
		Abort{}, Abort{Keep: true, Code: CodeSourceChanged},
		Get{Handle: 1}, Get{Root: "r", Path: p, Handle: 1<<32 - 1, ChunkLog2Max: 18, Exact: true},
		Get{Path: p, Handle: 1, Dense: true}, List{Depth: 1}, List{Root: "r", Path: p, Depth: 1, Cursor: []byte("b\xff")},
		Entries{},
		Entries{Entries: []Entry{
			{Name: "\x1b[2J", Kind: KindFile, Size: maxInt, Mode: 0o644, MTimeNS: -1 << 63},
			{Name: "a", Kind: KindSymlink, Target: "../\xff"},
			{Name: "dir", Kind: KindDir, Mode: 0o7777, MTimeNS: 1<<63 - 1},
			{Name: "tty", Kind: KindOther},
		}, Next: []byte("tty")},
		Stat{}, Stat{Root: "r", Path: p, WantRoot: true, Exact: true},
		Stated{Entry: Entry{Kind: KindDir}}, Stated{Entry: Entry{Name: "x", Kind: KindFile, Size: 5}, RootHash: &hash}, Stated{Entry: Entry{Name: "x", Kind: KindSymlink, Target: "y"}, Meta: meta},
		Mkdir{Path: p}, Mkdir{Root: "r", Path: p, ExistOK: true, Parents: true, Meta: &meta},
		Remove{Path: p}, Remove{Root: "r", Path: p, MissingOK: true, Recursive: true},
		Rename{From: p, To: mustPath(t, "c")}, Rename{Root: "r", From: p, To: mustPath(t, "c"), NoReplace: true},
		Done{},
		Space{}, Space{Root: "r"},
		Spaced{}, Spaced{Free: 1, Total: maxInt},
		Hashes{Count: 1}, Hashes{First: MaxChunks - MaxHashes, Count: MaxHashes},
		Hashes{Count: MaxHashes, Old: true}, Hashes{First: 1, Count: 512, Old: true, Groups: true},
		HashList{}, HashList{CVs: []Hash{hash, {}}}, HashList{CVs: []Hash{hash}, First: MaxChunks - 1, Old: true},
		HashList{CVs: []Hash{{}, hash}, First: MaxChunks - 1, Old: true, Groups: true},
		Symlink{Path: p, Target: "x"}, Symlink{Root: "r", Path: p, Target: "/\xff", IfExists: IfExistsFail, Meta: &Meta{HasMTime: true}},
		SetMeta{Path: p}, SetMeta{Root: "r", Path: p, Meta: meta},
		TreeOpen{}, TreeOpen{
			Tree: TransferID{1}, Root: "backup", Path: p, Durability: DurabilityNone, Compare: TreeByContent, Flags: treeFlags,
			Backup: mustPath(t, "old"),
		},
		TreeOpened{Ahead: 1}, TreeOpened{Ahead: MaxAhead, Small: MaxSmall, Held: true, Into: p},
		TreePart{Count: 1, Records: []byte{1}},
		TreePart{First: MaxTreeEntries - MaxPart - 1, Count: MaxPart, Records: make([]byte, MaxPart), Last: true},
		TreePart{First: 5, Last: true},
		TreeVerdicts{},
		TreeVerdicts{
			First: 1 << 32, Runs: []Verdicts{{Code: 6, Count: 1}, {Code: 7, Count: 2}, {Code: 0, Count: MaxPart - 4}, {Code: 6, Count: 1}},
			Failed: []TreeFailure{{No: 1 << 32, Code: CodeExists}, {No: 1<<32 + MaxPart - 1, Code: 0x0177, Text: "no"}}, Hashes: make([]byte, 64),
		},
		TreeSkip{Same: []uint64{1}}, TreeSkip{Same: []uint64{2, 4}, Gone: []uint64{1, 3, MaxTreeEntries - 1}},
		TreeAck{},
		TreeAck{
			Packs: []Range{{Start: 0, Count: 2}, {Start: 3, Count: MaxTreeEntries - 3}}, Published: []Range{{Start: 1, Count: 4}, {Start: 6, Count: 1}},
			Failed: []TreeFailure{{No: 5, Code: CodeChunkBad}, {No: 7, Code: CodeNoSpace, Text: "full"}}, Unkept: UnkeptOwner | UnkeptMode,
		},
		TreeExtra{Last: true}, TreeExtra{Entries: []ExtraEntry{{Path: p, Kind: KindDir}}},
		TreeExtra{Entries: []ExtraEntry{{Path: mustPath(t, "x"), Kind: KindFile, Size: maxInt}, {Path: p, Kind: KindOther}}, Last: true, Total: MaxTreeEntries - 1},
		TreeDelete{Paths: []Path{p}}, TreeDelete{Paths: []Path{p, mustPath(t, "a")}},
		TreeDeleted{Count: 1}, TreeDeleted{Count: MaxPart - 1, Failed: []TreeFailure{{No: MaxPart - 1, Code: CodeNotEmpty, Text: "not empty"}}},
		TreeCommit{Entries: 1}, TreeCommit{Entries: MaxTreeEntries - 1, Manifest: hash},
		TreeReceipt{Entries: 1}, treeReceipt(t),
		TreeGet{}, TreeGet{Root: "r", Path: p, Compare: TreeByContent, Flags: treeFlags, Walk: treeWalk, Rules: [][]byte{[]byte("- *.o"), []byte("+ größe\xff")}, Names: [][]byte{[]byte("a/b"), []byte("\xff/")}},
		TreeLeft{Code: CodeIOError}, TreeLeft{Path: p, Code: CodeUnsupported, Text: "a device"},
		Enroll{CodeID: []byte{1, 2}, MAC: hash[:]}, Enroll{CodeID: []byte{1, 2}, MAC: hash[:], Name: "laptop"},
		Enrolled{MAC: hash[:]}, Enrolled{MAC: hash[:], Name: "laptop-2", Roots: roots},
	}
}

func treeReceipt(t testing.TB) TreeReceipt {
	return TreeReceipt{
		Tree: TransferID{7}, Manifest: Hash{1, 31: 0xff}, Entries: 12345, Path: mustPath(t, "a", "b \xff\n"), TimeNS: 1_700_000_000_000_000_001,
		Durability: DurabilityBatch, Signature: [64]byte{63: 9}, RootName: "backup", Signer: []byte{0x30, 0x2a}, Files: 12344, List: &Hash{2},
	}
}

// packValue is a PACK as vectors and examples write it.
type packValue struct {
	Number uint64
	Zstd   []byte // what the files came in, where they were compressed
	Files  []PackFile
}

// allFiles takes a PACK apart. One that is compressed is expanded before, as far as unzstd can.
func allFiles(p Pack, err error) (packValue, error) {
	v := packValue{Number: p.Number, Zstd: p.Compressed()}
	if err == nil && v.Zstd != nil {
		var files []byte
		if files, err = unzstd(v.Zstd, MaxPack); err == errCompressed {
			err = errf(CodeProtocol, "a test that cannot expand")
		}
		if err == nil {
			err = p.Expand(files)
		}
	}
	for err == nil {
		f, ok, e := p.Next()
		if err = e; !ok {
			break
		}
		v.Files = append(v.Files, f)
	}
	return v, err
}

// packFrame is a PACK as a whole frame.
func packFrame(id uint32, v packValue) []byte {
	b := AppendPackHeader(nil)
	if v.Zstd != nil {
		b = append(b, v.Zstd...)
		PutPackHeader(b, id, PackZstd, v.Number, len(v.Files))
		return b
	}
	for i := range v.Files {
		f := &v.Files[i]
		m := &f.Meta
		if m.IsZero() {
			m = nil
		}
		b = AppendPackFile(b, f.No, m, len(f.Content))
		b = append(b, f.Content...)
		b = append(b, f.Root[:]...)
	}
	PutPackHeader(b, id, 0, v.Number, len(v.Files))
	return b
}

// samplePack is a PACK with files of all forms.
func samplePack() packValue {
	return packValue{Number: MaxTreeEntries - 1, Files: []PackFile{
		{No: 1, Root: Hash{1, 31: 2}, Content: []byte("content")},
		{No: MaxTreeEntries - 1, Root: Hash{3}, Content: []byte{}, Meta: Meta{HasMode: true, Mode: 0o7777, HasMTime: true, MTimeNS: -1}},
		{No: 2, Content: []byte{0}, Meta: Meta{HasMode: true, HasMTime: true}},
	}}
}

// compressedPack is samplePack with its files compressed.
func compressedPack() packValue {
	v := samplePack()
	v.Zstd = zstdOf(packFrame(3, v)[PackHeaderLen:])
	return v
}

// allTypes returns every control message.
func allTypes() []Type {
	var out []Type
	for i := range specs {
		if specs[i].decode != nil {
			out = append(out, Type(i))
		}
	}
	return out
}

func mustPath(t testing.TB, parts ...string) Path {
	t.Helper()
	p, err := NewPath(parts...)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func mustEncode(t testing.TB, m Message) []byte {
	t.Helper()
	b, err := appendBody(nil, m)
	if err != nil {
		t.Fatalf("encode %+v: %v", m, err)
	}
	return b
}

// text writes a message for people: the fields that are not zero, names as in CDDL, bytes as h'..', paths and other byte
// strings that name something as quoted strings with \xNN. Documents and vectors hold this form.
func text(v any) string { return textOf(reflect.ValueOf(v)) }

func textOf(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case Path:
		return textOf(reflect.ValueOf(x.Parts()))
	case string:
		return strconv.QuoteToASCII(x)
	case Range:
		return fmt.Sprintf("%d+%d", x.Start, x.Count)
	case Part:
		return fmt.Sprintf("%d:%d", x.Chunk, x.Bytes)
	case Verdicts:
		return fmt.Sprintf("%dx%d", x.Code, x.Count)
	case Code:
		return x.String()
	case Meta:
		var out []string
		if x.HasMode {
			out = append(out, fmt.Sprintf("Mode: 0o%o", x.Mode))
		}
		if x.HasMTime {
			out = append(out, fmt.Sprintf("MTimeNS: %d", x.MTimeNS))
		}
		if x.Archive != "" {
			out = append(out, fmt.Sprintf("Archive: h'%x'", x.Archive))
		}
		return "{" + strings.Join(out, ", ") + "}"
	}
	switch v.Kind() {
	case reflect.Pointer:
		return textOf(v.Elem())
	case reflect.Struct:
		var out []string
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if _, isMeta := v.Field(i).Interface().(Meta); !v.Field(i).IsZero() && !(v.Field(i).Kind() == reflect.Slice && v.Field(i).Len() == 0) &&
				!(isMeta && v.Field(i).Interface().(Meta).IsZero()) && !isEmptyPath(v.Field(i)) {
				out = append(out, f.Name+": "+textOf(v.Field(i)))
			}
		}
		return "{" + strings.Join(out, ", ") + "}"
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			if n := v.Len(); n > 100 && v.Kind() == reflect.Slice && bytes.Count(v.Bytes(), v.Bytes()[:1]) == n {
				return fmt.Sprintf("h'%02x'*%d", v.Bytes()[0], n)
			}
			return fmt.Sprintf("h'%x'", v.Interface())
		}
		var out []string
		for i := range v.Len() {
			out = append(out, textOf(v.Index(i)))
		}
		return "[" + strings.Join(out, ", ") + "]"
	}
	return fmt.Sprint(v.Interface())
}

func isEmptyPath(v reflect.Value) bool {
	p, ok := v.Interface().(Path)
	return ok && p.IsZero()
}

func TestSamplesHaveEveryType(t *testing.T) {
	n := map[Type]int{}
	for _, m := range samples(t) {
		n[m.Type()]++
	}
	for _, typ := range allTypes() {
		if n[typ] == 0 {
			t.Errorf("no sample of %v", typ)
		}
	}
	if len(n) != len(allTypes()) || len(n) != 47 {
		t.Errorf("%d types have samples, %d are decoded, want 47", len(n), len(allTypes()))
	}
}
