package wire

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/bits"
	"os"
	"regexp"
	"strings"
	"testing"
)

// PROTOCOL.md is compared with the code here: its CDDL with the tags of the messages, its examples, its tables of
// limits, codes and types.

func readProtocol(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// fenced returns the code blocks of a kind.
func fenced(doc, kind string) []string {
	var out []string
	for _, m := range regexp.MustCompile("(?ms)^```"+kind+"\n(.*?)^```$").FindAllStringSubmatch(doc, -1) {
		out = append(out, m[1])
	}
	return out
}

// cddlName is the name of a Go type in CDDL: RootInfo is root-info.
func cddlName(s string) string {
	return strings.ToLower(regexp.MustCompile(`([a-z])([A-Z])`).ReplaceAllString(s, "$1-$2"))
}

// cddlRule writes the rule for a map or a tuple.
func cddlRule(s *shape) string {
	var b strings.Builder
	if s.kind == kindTuple {
		fmt.Fprintf(&b, "%s = [%s, %s]\n", cddlName(s.name), cddlType(s.elems[0], false), cddlType(s.elems[1], false))
		return b.String()
	}
	fmt.Fprintf(&b, "%s = {", cddlName(s.name))
	for _, f := range s.fields {
		opt := ""
		if f.optional {
			opt = "? "
		}
		line := fmt.Sprintf("  %s%d: %s,", opt, f.key, cddlType(f.shape, f.notZero))
		fmt.Fprintf(&b, "\n%-46s ; %s", line, f.name)
	}
	if len(s.fields) > 0 {
		b.WriteString("\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func cddlType(s *shape, notZero bool) string {
	low := s.min
	if notZero {
		low = max(low, 1)
	}
	switch s.kind {
	case kindUint:
		if s.max == 1<<64-1 {
			return "uint"
		}
		if low == s.max {
			return fmt.Sprint(low)
		}
		return fmt.Sprintf("%d..%d", low, s.max)
	case kindInt:
		return "int64"
	case kindBool:
		if notZero {
			return "true"
		}
		return "bool"
	case kindText, kindBytes:
		name := map[kind]string{kindText: "tstr", kindBytes: "bstr"}[s.kind]
		if low == s.max {
			return fmt.Sprintf("%s .size %d", name, low)
		}
		return fmt.Sprintf("%s .size (%d..%d)", name, low, s.max)
	case kindArray:
		return fmt.Sprintf("[%d*%d %s]", low, s.count, cddlType(s.elem, false))
	case kindPath:
		if notZero {
			return "place"
		}
		return "path"
	}
	return cddlName(s.name)
}

// Each rule that the code has is in the document, and the document has no other, but for the few by hand.
func TestProtocolCDDL(t *testing.T) {
	rules := map[string]string{}
	var collect func(s *shape)
	collect = func(s *shape) {
		if s.kind == kindMap || s.kind == kindTuple {
			rules[cddlName(s.name)] = cddlRule(s)
		}
		for _, f := range s.fields {
			collect(f.shape)
		}
		if s.elem != nil {
			collect(s.elem)
		}
	}
	for _, typ := range allTypes() {
		collect(specs[typ].shape)
	}
	var doc string
	for _, block := range fenced(readProtocol(t), "cddl") {
		doc += "\n" + block
	}
	names := regexp.MustCompile(`(?m)^([a-z0-9-]+) = `).FindAllStringSubmatch(doc, -1)
	seen := map[string]bool{"path": true, "place": true, "component": true, "int64": true}
	for _, m := range names {
		if rules[m[1]] == "" && !seen[m[1]] {
			t.Errorf("PROTOCOL.md has a rule %q that the code has not, or has it twice", m[1])
		}
		seen[m[1]] = true
	}
	for name, rule := range rules {
		if !strings.Contains(doc, "\n"+rule) {
			t.Errorf("PROTOCOL.md is without\n%s", rule)
		}
		if !seen[name] {
			t.Errorf("no rule %q", name)
		}
	}
}

// Each message has an example, which says what it says.
func TestProtocolExamples(t *testing.T) {
	seen := map[Type]bool{}
	for _, block := range fenced(readProtocol(t), "example") {
		hexText, want, ok := strings.Cut(strings.TrimSpace(block), "\n= ")
		if !ok {
			t.Errorf("no line with the meaning in\n%s", block)
			continue
		}
		b := mustHex(t, hexText)
		r := NewReader(bytes.NewReader(b), MaxControl)
		h, err := r.Next()
		if err != nil {
			t.Errorf("%v in\n%s", err, block)
			continue
		}
		seen[h.Type] = true
		var again []byte
		var got string
		switch h.Type {
		case TData:
			var d Data
			d, err = r.Data(h, make([]byte, MaxDataFrame))
			got, again = text(d), dataFrame(h.ID, d)
		case TPack:
			var p packValue
			p, err = allFiles(r.Pack(h, make([]byte, MaxPack)))
			got, again = text(p), packFrame(h.ID, p)
		default:
			var m Message
			if m, err = r.Message(h); err == nil {
				got = text(m)
				again, err = AppendFrame(nil, h.ID, m)
			}
		}
		if err != nil {
			t.Errorf("%v in\n%s", err, block)
			continue
		}
		if got = fmt.Sprintf("%v %d %s", h.Type, h.ID, got); got != want {
			t.Errorf("an example is\n%s\nbut says\n%s", got, want)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("an example encodes again to %x, not\n%s", again, block)
		}
		if _, err := r.Next(); err != io.EOF {
			t.Errorf("more than one frame in\n%s", block)
		}
	}
	for _, typ := range append(allTypes(), TData, TPack) {
		if !seen[typ] {
			t.Errorf("no example of %v", typ)
		}
	}
}

// rows returns the first cells of the rows of a table that look like pattern, and the second.
func rows(doc, heading, pattern string) map[string]string {
	_, doc, _ = strings.Cut(doc, "\n## "+heading+"\n")
	doc, _, _ = strings.Cut(doc, "\n## ")
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| (`+pattern+`) \| ([^|]*) \|`).FindAllStringSubmatch(doc, -1) {
		out[m[1]] = m[2]
	}
	return out
}

func TestProtocolTypes(t *testing.T) {
	doc := readProtocol(t)
	table := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([0-9A-F]{2}) \| ([A-Z_]+) \| (?:c→s|s→c|S→R|R→S|both) \|`).FindAllStringSubmatch(doc, -1) {
		table[m[1]] = m[2]
	}
	want := map[string]string{}
	for i, name := range typeNames {
		if name == "" {
			continue
		}
		want[fmt.Sprintf("%02X", i)] = name
		if !regexp.MustCompile(fmt.Sprintf(`(?m)^### .*\b%s \(%02X\)`, name, i)).MatchString(doc) {
			t.Errorf("%s has no heading", name)
		}
	}
	if !maps.Equal(table, want) {
		t.Errorf("types\n got %v\nwant %v", table, want)
	}
}

func TestProtocolCodes(t *testing.T) {
	table := rows(readProtocol(t), "Errors", "[0-9A-F]{4}")
	want := map[string]string{}
	for class, names := range codeNames {
		for i, name := range names {
			want[fmt.Sprintf("%04X", class<<8+i+1)] = name
		}
	}
	if !maps.Equal(table, want) {
		t.Errorf("codes\n got %v\nwant %v", table, want)
	}
}

func TestProtocolLimits(t *testing.T) {
	table := rows(readProtocol(t), "Limits", ".*?")
	delete(table, "thing")
	delete(table, "---")
	want := map[string]string{
		"body of a control frame": fmt.Sprint(MaxControl), "the same before WELCOME, JOINED and ENROLLED": fmt.Sprint(MaxControlPreAuth),
		"payload of DATA, compressed and expanded": fmt.Sprint(MaxPayload), "body of DATA": fmt.Sprint(MaxDataFrame), "chunk": fmt.Sprintf("2^%d to 2^%d", MinChunkLog2, MaxChunkLog2),
		"chunks of a file": power(MaxChunks), "file": power(MaxFileSize), "ranges, parts of a message": fmt.Sprint(MaxRanges),
		"body of PACK, compressed and expanded": fmt.Sprint(MaxPack), "file in a PACK": fmt.Sprint(MaxSmall), "entries of a TREE_PART, files of a PACK": fmt.Sprint(MaxPart),
		"records of a TREE_PART": fmt.Sprint(MaxRecords), "parts without verdicts": fmt.Sprint(MaxAhead), "entries of a tree": power(MaxTreeEntries) + "-1",
		"packs of a tree": power(MaxTreeEntries), "rules of a TREE_GET": fmt.Sprint(MaxRules), "rule": fmt.Sprint(MaxRule),
		"names in the list of a TREE_GET": fmt.Sprint(MaxNames), "name of such a list": fmt.Sprint(MaxListed),
		"CVs of a message": fmt.Sprint(MaxHashes), "entries of a page": fmt.Sprint(MaxEntries), "cursor": fmt.Sprint(MaxCursor), "path": fmt.Sprint(MaxPath),
		"component": fmt.Sprint(MaxName), "components": fmt.Sprint(MaxDepth), "target of a link": fmt.Sprint(MaxTarget),
		"agent, reason, text of an error": fmt.Sprint(MaxText), "name of a root or a client": fmt.Sprint(MaxLabel), "words of a list": fmt.Sprint(MaxCaps),
		"word": fmt.Sprint(MaxCap), "roots": fmt.Sprint(MaxRoots), "minor versions": fmt.Sprint(MaxVersions), "fingerprint": fmt.Sprint(MaxFingerprint),
		"public key": fmt.Sprint(MaxSigner), "span of time in ms": power(MaxMillis+1) + "-1", "nesting of a body": fmt.Sprint(maxNesting),
		"group": power(1 << GroupLog2), "window of a zstd frame": fmt.Sprint(MaxZstdWindow),
		"elements of an array": fmt.Sprint(maxElements), "pairs of a map": fmt.Sprint(maxPairs),
	}
	if !maps.Equal(table, want) {
		t.Errorf("limits\n got %v\nwant %v", table, want)
	}
}

func TestProtocolCapabilities(t *testing.T) {
	table := rows(readProtocol(t), "Versions and capabilities", "`.*?`")
	want := map[string]bool{}
	for _, c := range []string{CapBLAKE3, CapTree, CapZstd, CapZstdOn, CapZero, CapDelta, CapExact} {
		want["`"+c+"`"] = true
		if err := (Hello{Versions: []uint64{0}, Caps: []string{c}}).check(); err != nil {
			t.Error(err)
		}
	}
	for word := range table {
		if !want[word] {
			t.Errorf("PROTOCOL.md has a capability %s that the code has not", word)
		}
	}
	if len(table) != len(want) {
		t.Errorf("PROTOCOL.md has %d capabilities, the code %d", len(table), len(want))
	}
}

// The tables of flags in the document have the names and numbers of the code.
func TestProtocolFlags(t *testing.T) {
	doc := readProtocol(t)
	for heading, flags := range map[string]map[string]uint8{
		"DATA (14)": {"FIRST": DataFirst, "LAST": DataLast, "ZSTD": DataZstd, "ZERO": DataZero, "OLD": DataOld},
		"PACK (12)": {"META": packIsMeta, "ZSTD": PackZstd},
	} {
		_, part, _ := strings.Cut(doc, "\n### "+heading+"\n")
		part, _, _ = strings.Cut(part, "\n## ")
		part, _, _ = strings.Cut(part, "\n### ")
		rows := regexp.MustCompile(`(?m)^\| ([0-9a-f]{2}) \| ([A-Z]+) \|`).FindAllStringSubmatch(part, -1)
		for _, row := range rows {
			if want := fmt.Sprintf("%02x", flags[row[2]]); row[1] != want {
				t.Errorf("%s: %s is %s, want %s", heading, row[2], row[1], want)
			}
		}
		if len(rows) != len(flags) {
			t.Errorf("%s: %d flags, want %d", heading, len(rows), len(flags))
		}
	}
}

func power(n uint64) string { return fmt.Sprintf("2^%d", bits.TrailingZeros64(n)) }

// The limits in the tags of messages are those that have names.
func TestTagsHaveTheLimits(t *testing.T) {
	at := func(typ Type, keys ...uint64) *shape {
		s := specs[typ].shape
		for _, k := range keys {
			if s.kind == kindArray {
				s = s.elem
			}
			f := s.find(k)
			if f == nil {
				t.Fatalf("%v has no key %v", typ, keys)
			}
			s = f.shape
		}
		return s
	}
	for _, c := range []struct {
		what string
		got  uint64
		want uint64
	}{
		{"HELLO versions", at(THello, 1).count, MaxVersions},
		{"HELLO agent", at(THello, 2).max, MaxText},
		{"HELLO caps", at(THello, 4).count, MaxCaps},
		{"HELLO cap", at(THello, 4).elem.max, MaxCap},
		{"WELCOME roots", at(TWelcome, 8).count, MaxRoots},
		{"WELCOME root name", at(TWelcome, 8, 1).max, MaxLabel},
		{"WELCOME rights", at(TWelcome, 8, 2).count, MaxCaps},
		{"WELCOME right", at(TWelcome, 8, 2).elem.max, MaxCap},
		{"WELCOME caps", at(TWelcome, 4).count, MaxCaps},
		{"WELCOME name", at(TWelcome, 14).max, MaxLabel},
		{"GOAWAY deadline", at(TGoAway, 1).max, MaxMillis},
		{"GOAWAY reason", at(TGoAway, 2).max, MaxText},
		{"BYE reason", at(TBye, 2).max, MaxText},
		{"ERROR text", at(TError, 2).max, MaxText},
		{"ERROR retry", at(TError, 4).max, MaxMillis},
		{"OPEN root", at(TOpen, 3).max, MaxLabel},
		{"OPEN chunk, least", at(TOpen, 9).min, MinChunkLog2},
		{"OPEN chunk", at(TOpen, 9).max, MaxChunkLog2},
		{"OPEN fingerprint", at(TOpen, 13).max, MaxFingerprint},
		{"OPEN flags", at(TOpen, 21).max, openFlags},
		{"OPENED old", at(TOpened, 10).max, MaxFileSize},
		{"OPENED have", at(TOpened, 5).count, MaxRanges},
		{"OPENED parts", at(TOpened, 4).count, MaxRanges},
		{"ACK received", at(TAck, 1).count, MaxRanges},
		{"ACK durable", at(TAck, 2).count, MaxRanges},
		{"ZEROS chunks", at(TZeros, 1).count, MaxRanges},
		{"NACK chunk", at(TNack, 1).max, MaxChunks - 1},
		{"COMMIT size", at(TCommit, 3).max, MaxFileSize},
		{"COMMIT fingerprint", at(TCommit, 5).max, MaxFingerprint},
		{"RECEIPT size", at(TReceipt, 5).max, MaxFileSize},
		{"RECEIPT signer", at(TReceipt, 17).max, MaxSigner},
		{"GET chunk", at(TGet, 7).max, MaxChunkLog2},
		{"LIST cursor", at(TList, 2).max, MaxCursor},
		{"ENTRIES entries", at(TEntries, 1).count, MaxEntries},
		{"ENTRIES next", at(TEntries, 2).max, MaxCursor},
		{"ENTRIES name", at(TEntries, 1, 1).max, MaxName},
		{"ENTRIES target", at(TEntries, 1, 4).max, MaxTarget},
		{"ENTRIES mode", at(TEntries, 1, 7).max, maxMode},
		{"SETMETA mode", at(TSetMeta, 5, 1).max, maxMode},
		{"SYMLINK target", at(TSymlink, 5).max, MaxTarget},
		{"HASHES first", at(THashes, 1).max, MaxChunks - 1},
		{"HASHES count", at(THashes, 3).max, MaxHashes},
		{"HASHLIST", at(THashList, 1).max, MaxHashes * cvLen},
		{"HASHLIST first", at(THashList, 2).max, MaxChunks - 1},
		{"SPACED free", at(TSpaced, 1).max, maxInt},
		{"OPEN entry", at(TOpen, 25).max, MaxTreeEntries - 1},
		{"TREE_OPEN root", at(TTreeOpen, 3).max, MaxLabel},
		{"TREE_OPEN flags", at(TTreeOpen, 11).max, treeFlags},
		{"TREE_OPENED ahead", at(TTreeOpened, 1).max, MaxAhead},
		{"TREE_OPENED small", at(TTreeOpened, 3).max, MaxSmall},
		{"TREE_PART first", at(TTreePart, 1).max, MaxTreeEntries - 1},
		{"TREE_PART count", at(TTreePart, 3).max, MaxPart},
		{"TREE_PART records", at(TTreePart, 5).max, MaxRecords},
		{"TREE_VERDICTS first", at(TTreeVerdicts, 1).max, MaxTreeEntries - 1},
		{"TREE_VERDICTS runs", at(TTreeVerdicts, 3).count, MaxPart},
		{"TREE_VERDICTS code", at(TTreeVerdicts, 3).elem.elems[0].max, uint64(VerdictHash)},
		{"TREE_VERDICTS count", at(TTreeVerdicts, 3).elem.elems[1].max, MaxPart},
		{"TREE_VERDICTS failed", at(TTreeVerdicts, 2).count, MaxPart},
		{"TREE_VERDICTS failed entry", at(TTreeVerdicts, 2, 1).max, MaxTreeEntries - 1},
		{"TREE_VERDICTS failed text", at(TTreeVerdicts, 2, 2).max, MaxText},
		{"TREE_VERDICTS hashes", at(TTreeVerdicts, 4).max, MaxPart * cvLen},
		{"TREE_SKIP same", at(TTreeSkip, 2).count, MaxPart},
		{"TREE_SKIP same entry", at(TTreeSkip, 2).elem.max, MaxTreeEntries - 1},
		{"TREE_SKIP gone", at(TTreeSkip, 4).count, MaxPart},
		{"TREE_SKIP gone entry", at(TTreeSkip, 4).elem.max, MaxTreeEntries - 1},
		{"TREE_ACK packs", at(TTreeAck, 2).count, MaxPart},
		{"TREE_ACK published", at(TTreeAck, 4).count, MaxPart},
		{"TREE_ACK failed", at(TTreeAck, 6).count, MaxPart},
		{"TREE_EXTRA entries", at(TTreeExtra, 1).count, MaxPart},
		{"TREE_EXTRA size", at(TTreeExtra, 1, 5).max, maxInt},
		{"TREE_EXTRA total", at(TTreeExtra, 4).max, MaxTreeEntries - 1},
		{"TREE_DELETE paths", at(TTreeDelete, 1).count, MaxPart},
		{"TREE_DELETED count", at(TTreeDeleted, 1).max, MaxPart},
		{"TREE_DELETED failed", at(TTreeDeleted, 2).count, MaxPart},
		{"TREE_COMMIT entries", at(TTreeCommit, 1).max, MaxTreeEntries - 1},
		{"TREE_RECEIPT entries", at(TTreeReceipt, 5).max, MaxTreeEntries - 1},
		{"TREE_RECEIPT files", at(TTreeReceipt, 19).max, MaxTreeEntries - 1},
		{"TREE_RECEIPT root name", at(TTreeReceipt, 15).max, MaxLabel},
		{"TREE_RECEIPT signer", at(TTreeReceipt, 17).max, MaxSigner},
		{"TREE_GET root", at(TTreeGet, 1).max, MaxLabel},
		{"TREE_GET flags", at(TTreeGet, 7).max, treeFlags},
		{"TREE_GET walk", at(TTreeGet, 9).max, treeWalk},
		{"TREE_GET rules", at(TTreeGet, 2).count, MaxRules},
		{"TREE_GET rule", at(TTreeGet, 2).elem.max, MaxRule},
		{"TREE_GET names", at(TTreeGet, 11).count, MaxNames},
		{"TREE_GET name", at(TTreeGet, 11).elem.max, MaxListed},
		{"TREE_LEFT text", at(TTreeLeft, 2).max, MaxText},
		{"ENROLL name", at(TEnroll, 2).max, MaxLabel},
	} {
		if c.got != c.want {
			t.Errorf("%s: the tag has %d, the limit is %d", c.what, c.got, c.want)
		}
	}
}
