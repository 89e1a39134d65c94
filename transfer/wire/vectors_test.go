package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

// vector is one block of testdata/vectors/*.txt; README.md there tells the form.
type vector struct {
	name, typ, expect, value string
	flags                    uint8
	ignored                  bool
	hex, expanded            []byte
}

func readVectors(t testing.TB) []vector {
	t.Helper()
	files, err := filepath.Glob("testdata/vectors/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("vectors: %v, %d files", err, len(files))
	}
	var out []vector
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range strings.Split(strings.TrimSpace(string(b)), "\n\n") {
			out = append(out, parseVector(t, f, block))
		}
	}
	return out
}

func parseVector(t testing.TB, file, block string) vector {
	t.Helper()
	var v vector
	for line := range strings.SplitSeq(strings.ReplaceAll(block, "\n ", " "), "\n") {
		key, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if !ok {
			t.Fatalf("%s: line %q", file, line)
		}
		switch key {
		case "name":
			v.name = filepath.Base(file) + ": " + value
		case "type":
			v.typ = value
		case "expect":
			v.expect = value
		case "value":
			v.value = value
		case "ignored":
			v.ignored = value == "yes"
		case "flags":
			v.flags = mustHex(t, value)[0]
		case "expanded":
			v.expanded = mustHex(t, value)
		case "hex":
			v.hex = mustHex(t, value)
		default:
			t.Fatalf("%s: key %q", file, key)
		}
	}
	if v.name == "" || v.typ == "" || v.expect == "" {
		t.Fatalf("%s: incomplete block %q", file, block)
	}
	return v
}

// isControl tells whether v is the body of a control message.
func (v vector) isControl() bool { return v.typ != "stream" && v.typ != "DATA" && v.typ != "PACK" }

// mustHex reads words of hex, each as it is or as (..)*n.
func mustHex(t testing.TB, s string) []byte {
	t.Helper()
	var out []byte
	for word := range strings.FieldsSeq(s) {
		n := 1
		if part, count, ok := strings.Cut(word, ")*"); ok {
			var err error
			if n, err = strconv.Atoi(count); err != nil || part[0] != '(' {
				t.Fatalf("hex %.40q", word)
			}
			word = part[1:]
		}
		b, err := hex.DecodeString(word)
		if err != nil {
			t.Fatalf("hex %.40q: %v", word, err)
		}
		out = append(out, bytes.Repeat(b, n)...)
	}
	return out
}

// outcome gives what became of an input the name it has in vectors.
func outcome(t testing.TB, err error) string {
	t.Helper()
	var p *ProtocolError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &p):
		return p.Code.String()
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "CUT"
	}
	t.Errorf("an error of another kind: %v", err)
	return "?"
}

func typeByName(t testing.TB, name string) Type {
	t.Helper()
	for i, n := range typeNames {
		if n == name {
			return Type(i)
		}
	}
	t.Fatalf("no message %q", name)
	return 0
}

func TestVectors(t *testing.T) {
	for _, v := range readVectors(t) {
		t.Run(v.name, func(t *testing.T) {
			switch v.typ {
			case "stream":
				v.testStream(t)
			case "DATA":
				v.testData(t)
			case "PACK":
				v.testPack(t)
			default:
				v.testMessage(t)
			}
		})
	}
}

func (v vector) testMessage(t *testing.T) {
	typ := typeByName(t, v.typ)
	m, err := Decode(typ, v.hex)
	if got := outcome(t, err); got != v.expect {
		t.Fatalf("got %s (%v), want %s", got, err, v.expect)
	}
	if err != nil {
		if !strings.HasPrefix(err.Error(), typ.String()+": ") {
			t.Errorf("error %q does not say in which message", err)
		}
		return
	}
	if got := text(m); got != v.value {
		t.Errorf("value\n got %s\nwant %s", got, v.value)
	}
	again := mustEncode(t, m)
	if bytes.Equal(again, v.hex) == v.ignored {
		t.Errorf("encodes again to %x", again)
	}
	if m2, err := Decode(typ, again); err != nil || !reflect.DeepEqual(m, m2) {
		t.Errorf("decodes again to %+v, %v", m2, err)
	}
}

// expand gives what the frame of a compressed vector holds. One that unzstd cannot expand is as the vector says, or bad.
func (v vector) expand(t *testing.T, b []byte, most int) ([]byte, error) {
	t.Helper()
	raw, err := unzstd(b, most)
	switch {
	case v.expanded == nil && v.expect == "ok":
		t.Error("the vector does not say what it expands to")
	case err == errCompressed && v.expanded == nil:
		err = errf(CodeProtocol, "cannot be expanded")
	case err == errCompressed:
		return v.expanded, nil
	case v.expanded != nil && (err != nil || !bytes.Equal(raw, v.expanded)):
		t.Errorf("expands to %.80x (%d bytes), %v, the vector says %.80x", raw, len(raw), err, v.expanded)
	}
	return raw, err
}

func (v vector) testData(t *testing.T) {
	coded, err := DecodeData(v.flags, v.hex)
	d := coded
	if err == nil && v.flags&DataZstd != 0 {
		var raw []byte
		if raw, err = v.expand(t, coded.Payload, MaxPayload); err == nil {
			d, err = coded.Expanded(raw)
		}
	}
	if got := outcome(t, err); got != v.expect {
		t.Fatalf("got %s (%v), want %s", got, err, v.expect)
	}
	if err != nil {
		return
	}
	if got := text(d); got != v.value {
		t.Errorf("value\n got %s\nwant %s", got, v.value)
	}
	if got := dataFrame(9, coded); !bytes.Equal(got[HeaderLen:], v.hex) {
		t.Errorf("encodes again to %x", got)
	}
}

func (v vector) testPack(t *testing.T) {
	coded, err := DecodePack(v.flags, v.hex)
	zstd := coded.Compressed()
	if err == nil && zstd != nil {
		var files []byte
		if files, err = v.expand(t, zstd, MaxPack); err == nil {
			err = coded.Expand(files)
		}
	}
	p, err := allFiles(coded, err)
	if got := outcome(t, err); got != v.expect {
		t.Fatalf("got %s (%v), want %s", got, err, v.expect)
	}
	if err != nil {
		return
	}
	if got := text(p); got != v.value {
		t.Errorf("value\n got %s\nwant %s", got, v.value)
	}
	p.Zstd = zstd
	if got := packFrame(9, p); !bytes.Equal(got[HeaderLen:], v.hex) {
		t.Errorf("encodes again to %x", got)
	}
}

// dataFrame is d as a whole frame.
func dataFrame(id uint32, d Data) []byte {
	b := AppendDataHeader(nil, id, d.Flags, d.Chunk, d.Offset, d.RawLen, uint32(len(d.Payload)))
	b = append(b, d.Payload...)
	if d.Flags&DataLast != 0 {
		b = append(b, d.CV[:]...)
	}
	return b
}

// testStream reads frames until the end, going on where the protocol does.
func (v vector) testStream(t *testing.T) {
	r := NewReader(bytes.NewReader(v.hex), MaxControl)
	buf := make([]byte, MaxPack)
	result, seen := "ok", []string{}
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		fatal := err != nil
		if err == nil {
			err = readFrame(r, h, buf)
		}
		name := h.Type.String()
		if err != nil {
			result = outcome(t, err)
			name = result
		}
		if fatal || result == "CUT" || result == "PROTOCOL" || result == "LIMIT" {
			break
		}
		seen = append(seen, fmt.Sprintf("%s %d", name, h.ID))
	}
	if result != v.expect {
		t.Fatalf("got %s, want %s", result, v.expect)
	}
	if got := strings.Join(seen, ", "); (v.value != "" || v.expect == "ok") && got != v.value {
		t.Errorf("frames %s, want %s", got, v.value)
	}
}

// readFrame reads the body of the frame h, of whatever type it is.
func readFrame(r *Reader, h Header, buf []byte) (err error) {
	switch h.Type {
	case TData:
		var d Data
		var raw []byte
		if d, err = r.Data(h, buf); err == nil && d.Flags&DataZstd != 0 {
			if raw, err = unzstd(d.Payload, MaxPayload); err == nil {
				_, err = d.Expanded(raw)
			}
		}
	case TPack:
		_, err = allFiles(r.Pack(h, buf))
	default:
		_, err = r.Message(h)
	}
	return err
}

// Each message has vectors of both kinds, and of each code that the general rules can give for it.
func TestVectorsCoverEachMessage(t *testing.T) {
	n := map[string]map[string]int{}
	total := 0
	for _, v := range readVectors(t) {
		if n[v.typ] == nil {
			n[v.typ] = map[string]int{}
		}
		n[v.typ][v.expect]++
		total++
	}
	if total < 1000 {
		t.Errorf("%d vectors; have files gone?", total)
	}
	for _, typ := range append(allTypes(), TData, TPack) {
		c := n[typ.String()]
		// A flag of DATA or PACK is known, or PROTOCOL.
		if c["ok"] < 2 || c["PROTOCOL"] < 3 || c["UNSUPPORTED"] < 1 && typ != TData && typ != TPack {
			t.Errorf("%v has vectors %v", typ, c)
		}
	}
	all := map[string]bool{}
	for _, c := range n {
		for k := range maps.Keys(c) {
			all[k] = true
		}
	}
	for _, want := range []string{"ok", "PROTOCOL", "LIMIT", "UNSUPPORTED", "BAD_PATH", "CUT"} {
		if !all[want] {
			t.Errorf("no vector expects %s", want)
		}
	}
}

// A body that ends early is never a message, nor is one with more behind it.
func TestPrefixesFail(t *testing.T) {
	fails := func(t *testing.T, typ Type, body []byte) {
		t.Helper()
		if m, err := Decode(typ, body); err == nil || outcome(t, err) != "PROTOCOL" {
			t.Errorf("%v: %x gives %+v, %v; want PROTOCOL", typ, body, m, err)
		}
	}
	whole := func(t *testing.T, typ Type, body []byte) {
		step := 1 + len(body)/2000 // the long ones are uniform
		for i := 0; i < len(body); i += step {
			fails(t, typ, body[:i])
		}
		for _, b := range []byte{0x00, 0x40, 0xa0, 0xf6, 0xff} {
			fails(t, typ, append(bytes.Clone(body), b))
		}
	}
	for _, v := range readVectors(t) {
		if v.expect == "ok" && v.isControl() {
			whole(t, typeByName(t, v.typ), v.hex)
		}
	}
	for _, m := range samples(t) {
		whole(t, m.Type(), mustEncode(t, m))
	}
}

func TestStreamPrefixesAreCut(t *testing.T) {
	var stream []byte
	border := map[int]bool{0: true}
	for _, m := range samples(t) {
		stream = mustFrame(t, stream, m)
		border[len(stream)] = true
	}
	stream = append(stream, dataFrame(3, Data{Flags: DataLast, RawLen: 2, Payload: []byte("xy")})...)
	border[len(stream)] = true
	stream = append(stream, packFrame(3, samplePack())...)
	border[len(stream)] = true
	buf := make([]byte, MaxDataFrame)
	for i := range len(stream) + 1 {
		r := NewReader(bytes.NewReader(stream[:i]), MaxControl)
		var err error
		for err == nil {
			var h Header
			if h, err = r.Next(); err != nil {
				break
			}
			err = readFrame(r, h, buf)
		}
		want := io.ErrUnexpectedEOF
		if border[i] {
			want = io.EOF
		}
		if err != want {
			t.Fatalf("%d of %d bytes: %v, want %v", i, len(stream), err, want)
		}
	}
}

func mustFrame(t testing.TB, b []byte, m Message) []byte {
	t.Helper()
	id := uint32(2)
	if checkID(m.Type(), id) != nil {
		id = 0
	}
	b, err := AppendFrame(b, id, m)
	if err != nil {
		t.Fatalf("%+v: %v", m, err)
	}
	return b
}
