package tree

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// vector is one block of testdata/vectors/*.txt; README.md there tells the form.
type vector struct {
	name, expect string
	entry        uint64
	records      []string
	count        int // -1: it is that of records
	hex          []byte
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
		must(t, err)
		for _, block := range strings.Split(strings.TrimSpace(string(b)), "\n\n") {
			out = append(out, parseVector(t, f, block))
		}
	}
	return out
}

func parseVector(t testing.TB, file, block string) vector {
	t.Helper()
	v := vector{count: -1}
	for line := range strings.SplitSeq(strings.ReplaceAll(block, "\n ", " "), "\n") {
		key, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if !ok {
			t.Fatalf("%s: line %q", file, line)
		}
		var err error
		switch key {
		case "name":
			v.name = filepath.Base(file) + ": " + value
		case "expect":
			v.expect = value
		case "entry":
			v.entry, err = strconv.ParseUint(value, 10, 64)
		case "record":
			v.records = append(v.records, value)
		case "count":
			v.count, err = strconv.Atoi(value)
		case "hex":
			v.hex = mustHex(t, value)
		default:
			t.Fatalf("%s: key %q", file, key)
		}
		must(t, err)
	}
	if v.name == "" || v.expect == "" {
		t.Fatalf("%s: incomplete block %q", file, block)
	}
	return v
}

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

// text describes a record as vectors do.
func text(r Record) string {
	kind := map[Kind]string{File: "file", Directory: "directory", Symlink: "symlink"}[r.Kind]
	out := fmt.Sprintf("%s %q", kind, r.Name)
	add := func(is bool, format string, args ...any) {
		if is {
			out += " " + fmt.Sprintf(format, args...)
		}
	}
	add(r.Up != 0, "up=%d", r.Up)
	add(r.Size != 0, "size=%d", r.Size)
	add(r.NoMeta, "nometa")
	add(!r.NoMeta, "mode=0%o", r.Mode)
	add(r.MTime != 0, "mtime=%d", r.MTime)
	add(r.Target != "", "target=%q", r.Target)
	add(r.Sparse, "sparse")
	add(r.Shared, "shared")
	add(r.Link != 0, "link=%d", r.Link)
	if o := r.Owner; o != nil {
		add(true, "owner=%d:%d:%q:%q", o.UID, o.GID, o.User, o.Group)
	}
	for _, a := range r.XAttrs {
		add(true, "xattr=%q:%q", a.Name, a.Value)
	}
	return out
}

// decode returns all records of a manifest, or those before the error.
func decode(b []byte) (all []Record, err error) {
	d := NewDecoder()
	for len(b) > 0 {
		r, rest, err := d.Next(b)
		if err != nil {
			return all, err
		}
		if len(rest) >= len(b) {
			return all, errors.New("a record of no bytes")
		}
		all, b = append(all, r), rest
	}
	return all, nil
}

// encode returns the manifest of these records, and how long it is after each.
func encode(t testing.TB, all []Record) (b []byte, ends []int) {
	t.Helper()
	e := NewEncoder()
	for i := range all {
		var err error
		if b, err = e.Append(b, &all[i]); err != nil {
			t.Fatalf("%s does not encode: %v", text(all[i]), err)
		}
		ends = append(ends, len(b))
	}
	return b, ends
}

func TestVectors(t *testing.T) {
	for _, v := range readVectors(t) {
		t.Run(v.name, func(t *testing.T) {
			all, err := decode(v.hex)
			if v.expect != "ok" {
				var f *FormatError
				if !errors.As(err, &f) || f.Code.String() != v.expect || f.Entry != v.entry || uint64(len(all)) != v.entry {
					t.Fatalf("after %d entries %v, want %s at entry %d", len(all), err, v.expect, v.entry)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if v.count >= 0 {
				if len(all) != v.count {
					t.Errorf("%d records, want %d", len(all), v.count)
				}
			} else {
				var got []string
				for _, r := range all {
					got = append(got, text(r))
				}
				want(t, got, v.records...)
			}
			b, ends := encode(t, all)
			if !bytes.Equal(b, v.hex) {
				t.Fatalf("encodes to\n%x, not to\n%x", b, v.hex)
			}
			for cut := range b {
				all, err := decode(b[:cut])
				i, between := slices.BinarySearch(ends, cut)
				if between = between || cut == 0; between {
					if err != nil {
						t.Errorf("cut at %d, between records: %v", cut, err)
					}
					continue
				}
				var f *FormatError
				if !errors.As(err, &f) || f.Code != Malformed || len(all) != i {
					t.Errorf("cut at %d: %d records, %v; want %d and MALFORMED", cut, len(all), err, i)
				}
			}
		})
	}
}

// What the vectors refuse, the encoder refuses to write.
func TestEncoderRefuses(t *testing.T) {
	top := Record{Kind: Directory, Mode: 0o755}
	a := Record{Name: "a", Kind: Directory}
	long := func(n int) string { return strings.Repeat("n", n) }
	owner := func(o Owner) Record { return Record{Name: "f", Kind: File, Owner: &o} }
	attrs := func(list ...XAttr) Record { return Record{Name: "f", Kind: File, XAttrs: list} }
	many := make([]XAttr, MaxXAttrs+1)
	for i := range many {
		many[i].Name = fmt.Sprintf("%04d", i)
	}
	for _, c := range []struct {
		name   string
		before []Record
		r      Record
		code   FormatCode
	}{
		{"top file", nil, Record{Kind: File}, Malformed},
		{"top with a name", nil, a, BadName},
		{"top that leaves", nil, Record{Kind: Directory, Up: 1}, BadName},
		{"top without metadata, with a mode", nil, Record{Kind: Directory, NoMeta: true, Mode: 1}, Malformed},
		{"top without metadata, with a time", nil, Record{Kind: Directory, NoMeta: true, MTime: 1}, Malformed},
		{"top without metadata, with an owner", nil, Record{Kind: Directory, NoMeta: true, Owner: &Owner{}}, Malformed},
		{"top without metadata, with attributes", nil, Record{Kind: Directory, NoMeta: true, XAttrs: many[:1]}, Malformed},
		{"no metadata", []Record{top}, Record{Name: "f", Kind: File, NoMeta: true}, Malformed},
		{"kind unknown", []Record{top}, Record{Name: "f"}, Malformed},
		{"kind other", []Record{top}, Record{Name: "f", Kind: Other}, Malformed},
		{"empty name", []Record{top}, Record{Kind: File}, BadName},
		{"dot", []Record{top}, Record{Name: ".", Kind: File}, BadName},
		{"dots", []Record{top}, Record{Name: "..", Kind: File}, BadName},
		{"slash", []Record{top}, Record{Name: "a/b", Kind: File}, BadName},
		{"NUL", []Record{top}, Record{Name: "a\x00", Kind: File}, BadName},
		{"long name", []Record{top}, Record{Name: long(256), Kind: File}, BadName},
		{"state", []Record{top}, Record{Name: ".xFer", Kind: Directory}, BadName},
		{"state further down", []Record{top, a}, Record{Name: ".xfer-1", Kind: Directory}, BadName},
		{"twice", []Record{top, a}, Record{Up: 1, Name: "a", Kind: File}, Order},
		{"out of order", []Record{top, a}, Record{Up: 1, Name: "A", Kind: File}, Order},
		{"leaves the top", []Record{top, a}, Record{Up: 2, Name: "b", Kind: File}, Order},
		{"negative up", []Record{top, a}, Record{Up: -1, Name: "b", Kind: File}, Order},
		{"negative size", []Record{top}, Record{Name: "f", Kind: File, Size: -1}, Malformed},
		{"size", []Record{top}, Record{Name: "f", Kind: File, Size: MaxSize + 1}, Limit},
		{"mode", []Record{top}, Record{Name: "f", Kind: File, Mode: 0o10000}, Limit},
		{"directory with a size", []Record{top}, Record{Name: "f", Kind: Directory, Size: 1}, Malformed},
		{"directory with other names", []Record{top}, Record{Name: "f", Kind: Directory, Shared: true}, Malformed},
		{"directory with holes", []Record{top}, Record{Name: "f", Kind: Directory, Sparse: true}, Malformed},
		{"directory that is a hard link", []Record{top, a}, Record{Name: "f", Kind: Directory, Link: 1}, Malformed},
		{"file with a target", []Record{top}, Record{Name: "f", Kind: File, Target: "t"}, Malformed},
		{"no target", []Record{top}, Record{Name: "f", Kind: Symlink}, Malformed},
		{"target with NUL", []Record{top}, Record{Name: "f", Kind: Symlink, Target: "\x00"}, Malformed},
		{"long target", []Record{top}, Record{Name: "f", Kind: Symlink, Target: long(4096)}, Limit},
		{"link to itself", []Record{top}, Record{Name: "f", Kind: File, Link: 1}, Order},
		{"link to a later entry", []Record{top}, Record{Name: "f", Kind: File, Link: 2}, Order},
		{"no user", []Record{top}, owner(Owner{UID: noID}), Malformed},
		{"no group", []Record{top}, owner(Owner{GID: noID}), Malformed},
		{"long user name", []Record{top}, owner(Owner{User: long(256)}), Limit},
		{"long group name", []Record{top}, owner(Owner{Group: long(256)}), Limit},
		{"user name with NUL", []Record{top}, owner(Owner{User: "\x00"}), Malformed},
		{"many attributes", []Record{top}, attrs(many...), Limit},
		{"attributes out of order", []Record{top}, attrs(XAttr{Name: "b"}, XAttr{Name: "a"}), Order},
		{"attribute twice", []Record{top}, attrs(XAttr{Name: "b"}, XAttr{Name: "b"}), Order},
		{"attribute without a name", []Record{top}, attrs(XAttr{}), Malformed},
		{"attribute with NUL", []Record{top}, attrs(XAttr{Name: "\x00"}), Malformed},
		{"attribute with a long name", []Record{top}, attrs(XAttr{Name: long(256)}), Limit},
		{"attribute with a long value", []Record{top}, attrs(XAttr{Name: "a", Value: make([]byte, MaxXAttrBytes)}), Limit},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := NewEncoder()
			var b []byte
			for i := range c.before {
				var err error
				b, err = e.Append(b, &c.before[i])
				must(t, err)
			}
			was, n := bytes.Clone(b), e.Count()
			b, err := e.Append(b, &c.r)
			var f *FormatError
			if !errors.As(err, &f) || f.Code != c.code || f.Entry != n {
				t.Fatalf("%v, want %v at entry %d", err, c.code, n)
			}
			if !bytes.Equal(b, was) || e.Count() != n {
				t.Errorf("%x and %d entries after the refusal, %x and %d before", b, e.Count(), was, n)
			}
			// It goes on as if nobody had tried.
			next := Record{Up: max(0, e.Up(1)), Name: "z", Kind: File, Mode: 0o600, MTime: 5, Owner: &Owner{UID: 7}, XAttrs: many[:1]}
			if n == 0 {
				next = top
			}
			b, err = e.Append(b, &next)
			must(t, err)
			if plain, _ := encode(t, append(slices.Clone(c.before), next)); !bytes.Equal(b, plain) {
				t.Errorf("%x after a refusal, %x without", b, plain)
			}
		})
	}
}

// A decoder that has refused gives nothing more.
func TestDecoderEndsWithItsError(t *testing.T) {
	d := NewDecoder()
	_, rest, err := d.Next([]byte{1, 0, 1, '/', 0})
	must(t, err)
	_, _, first := d.Next(rest)
	if first == nil {
		t.Fatal("no error")
	}
	r, rest, err := d.Next([]byte{0, 1, 'a', 0})
	if err != first || text(r) != text(Record{}) || rest != nil {
		t.Errorf("%s, %x, %v; want nothing and %v", text(r), rest, err, first)
	}
}

func TestUp(t *testing.T) {
	e := NewEncoder()
	must2 := func(r Record) {
		t.Helper()
		_, err := e.Append(nil, &r)
		must(t, err)
	}
	check := func(want ...int) {
		t.Helper()
		for depth, up := range want {
			if got := e.Up(depth); got != up {
				t.Errorf("at depth %d: %d, want %d", depth, got, up)
			}
		}
	}
	check(-1, -1)
	must2(Record{Kind: Directory})
	check(-1, 0, -1)
	must2(Record{Name: "a", Kind: Directory})
	check(-1, 1, 0, -1)
	must2(Record{Name: "f", Kind: File})
	check(-1, 1, 0, -1)
	must2(Record{Up: e.Up(1), Name: "b", Kind: File})
	check(-1, 0, -1)
}

// The example in MANIFEST.md is a manifest.
func TestExample(t *testing.T) {
	doc, err := os.ReadFile("MANIFEST.md")
	must(t, err)
	_, example, ok := strings.Cut(string(doc), "## Example")
	if !ok {
		t.Fatal("no example")
	}
	var lines [][]byte
	for line := range strings.SplitSeq(example, "\n") {
		if bytes, ok := strings.CutPrefix(line, "| `"); ok {
			words, _, _ := strings.Cut(bytes, "`")
			lines = append(lines, mustHex(t, words))
		}
	}
	all, err := decode(bytes.Join(lines, nil))
	must(t, err)
	var got []string
	for _, r := range all {
		got = append(got, text(r))
	}
	const o = ` owner=1000:1000:"ann":"ann"`
	want(t, got,
		`directory "" mode=0755 mtime=1700000000000000000`+o,
		`file "one" size=5 mode=0644 mtime=1700000000000000000`+o,
		`directory "sub" mode=0755 mtime=1700000000000000135`+o,
		`symlink "l" mode=0777 mtime=1700000000000000135 target="../one"`+o,
		`file "two" up=1 size=300 mode=0755 mtime=1700000000000000000 link=1`+o,
		`file "two.x" mode=0644 mtime=1700000000000000000 sparse`+o)
	_, ends := encode(t, all)
	at := 0
	for i, line := range lines {
		if at += len(line); at != ends[i] {
			t.Errorf("line %d ends at %d, the record at %d", i, at, ends[i])
		}
	}
}
