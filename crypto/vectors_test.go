package crypto

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// vector is one case of a file in testdata/vectors: lines "key: value", cases apart by an empty line.
type vector struct {
	t      *testing.T
	fields map[string]string
}

func (v vector) has(key string) bool { _, ok := v.fields[key]; return ok }

// text returns a field, which must be there.
func (v vector) text(key string) string {
	v.t.Helper()
	s, ok := v.fields[key]
	if !ok {
		v.t.Fatalf("the vector has no %q", key)
	}
	return s
}

func (v vector) hex(key string) []byte {
	v.t.Helper()
	b, err := hex.DecodeString(v.text(key))
	if err != nil {
		v.t.Fatalf("%s: %v", key, err)
	}
	return b
}

func (v vector) number(key string) uint64 {
	v.t.Helper()
	n, err := strconv.ParseUint(v.text(key), 10, 64)
	if err != nil {
		v.t.Fatalf("%s: %v", key, err)
	}
	return n
}

// runVectors runs f over all cases of a file, of which there must be at least atLeast.
func runVectors(t *testing.T, name string, atLeast int, f func(t *testing.T, v vector)) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for block := range strings.SplitSeq(strings.ReplaceAll(string(data), "\r\n", "\n"), "\n\n") {
		fields := make(map[string]string)
		for line := range strings.SplitSeq(strings.TrimSpace(block), "\n") {
			if strings.HasPrefix(line, "#") {
				continue
			}
			key, value, ok := strings.Cut(line, ":")
			if !ok {
				t.Fatalf("%s: the line %q is no \"key: value\"", name, line)
			}
			value = strings.TrimPrefix(value, " ")
			if strings.HasPrefix(value, `"`) {
				if value, err = strconv.Unquote(value); err != nil {
					t.Fatalf("%s: the line %q: %v", name, line, err)
				}
			}
			fields[key] = value
		}
		if len(fields) == 0 {
			continue
		}
		count++
		t.Run(fields["name"], func(t *testing.T) { f(t, vector{t, fields}) })
	}
	if count < atLeast {
		t.Errorf("%s: %d cases, want at least %d", name, count, atLeast)
	}
}

func TestVectorsIDs(t *testing.T) {
	runVectors(t, "ids.txt", 20, func(t *testing.T, v vector) {
		if v.has("parse") {
			id, err := ParsePeerID(v.text("parse"))
			if v.text("expect") == "failure" {
				if err == nil || !id.IsZero() {
					t.Fatalf("got %v, %v, want a failure", id, err)
				}
				return
			}
			if err != nil || id.String() != v.text("expect") {
				t.Fatalf("got %v, %v, want %s", id, err, v.text("expect"))
			}
			return
		}
		id := PeerIDOfSPKI(v.hex("spki"))
		if id.String() != v.text("id") || id.Grouped() != v.text("grouped") {
			t.Errorf("got %v and %v", id, id.Grouped())
		}
		var back PeerID
		b, _ := id.MarshalText()
		if err := back.UnmarshalText(b); err != nil || back != id {
			t.Errorf("as text and back: %v, %v", back, err)
		}
	})
}

func TestVectorsDigests(t *testing.T) {
	h := NewChunkHasher()
	runVectors(t, "digests.txt", 30, func(t *testing.T, v vector) {
		if v.has("parse") {
			d, err := ParseDigest(v.text("parse"))
			if want := v.text("expect"); want == "failure" {
				if err == nil || !d.IsZero() {
					t.Fatalf("got %v, %v, want a failure", d, err)
				}
			} else if err != nil || d.String() != want {
				t.Fatalf("got %v, %v, want %s", d, err, want)
			}
			return
		}
		data := make([]byte, v.number("bytes"))
		for i := range data {
			data[i] = byte(i % 251)
		}
		log2 := uint8(v.number("log2"))
		if v.has("chunk") {
			h.Reset(v.number("chunk"), log2)
			h.Write(data)
			if got := h.CV().String(); got != v.text("cv") {
				t.Errorf("CV: got %s, want %s", got, v.text("cv"))
			}
			return
		}
		whole := NewHasher()
		whole.Write(data)
		if got := whole.Sum().String(); got != v.text("root") {
			t.Errorf("Hasher: got %s, want %s", got, v.text("root"))
		}
		size := 1 << log2
		n := (len(data) + size - 1) / size
		root := RootOf(uint64(n), func(i uint64) CV {
			h.Reset(i, log2)
			h.Write(data[int(i)*size : min((int(i)+1)*size, len(data))])
			if n == 1 {
				return CV(h.Root())
			}
			cv := h.CV()
			if want := v.text("cv-" + strconv.Itoa(int(i))); cv.String() != want {
				t.Errorf("CV of chunk %d: got %v, want %s", i, cv, want)
			}
			return cv
		})
		if root.String() != v.text("root") {
			t.Errorf("RootOf: got %v, want %s", root, v.text("root"))
		}
	})
}

func TestVectorsCodes(t *testing.T) {
	runVectors(t, "codes.txt", 18, func(t *testing.T, v vector) {
		if v.has("parse") {
			c, err := ParseCode(v.text("parse"))
			if v.text("expect") == "failure" {
				if err == nil || c != (Code{}) {
					t.Fatalf("got %v, %v, want a failure", c, err)
				}
				return
			}
			if err != nil || !bytes.Equal(c[:], v.hex("expect")) {
				t.Fatalf("got %x, %v, want %s", c, err, v.text("expect"))
			}
			return
		}
		c := Code(v.hex("bytes"))
		id := c.ID()
		if c.String() != v.text("text") || !bytes.Equal(id[:], v.hex("id")) {
			t.Errorf("got %v and %x, want %s and %s", c, id, v.text("text"), v.text("id"))
		}
	})
}

// fixedExporter gives one value, for one label.
type fixedExporter struct {
	t     *testing.T
	label string
	value []byte
}

func (e fixedExporter) Export(label string, n int) ([]byte, error) {
	if label != e.label || n != 32 {
		e.t.Errorf("Export(%q, %d), want label %q and 32 bytes", label, n, e.label)
	}
	return e.value, nil
}

func TestVectorsProofs(t *testing.T) {
	runVectors(t, "proofs.txt", 35, func(t *testing.T, v vector) {
		var made []byte
		var ok bool
		var err, err2 error
		kind, mac := v.text("kind"), v.hex("mac")
		if kind == "join" {
			x := fixedExporter{t, "EXPORTER-xfer-join", v.hex("exporter")}
			ok, err = VerifyJoinProof(v.hex("session-key"), x, v.number("counter"), mac)
			made, err2 = JoinProof(v.hex("session-key"), x, v.number("counter"))
		} else {
			x := fixedExporter{t, "EXPORTER-xfer-enroll", v.hex("exporter")}
			c, client, server := Code(v.hex("code")), v.hex("client"), v.hex("server")
			verify, make := c.VerifyClientProof, c.ClientProof
			if kind == "server" {
				verify, make = c.VerifyServerProof, c.ServerProof
			}
			ok, err = verify(x, client, server, mac)
			made, err2 = make(x, client, server)
		}
		outcome := "mismatch"
		switch {
		case err != nil:
			outcome = "failure"
		case ok:
			outcome = "success"
		}
		if outcome != v.text("expect") {
			t.Errorf("got %s (%v), want %s", outcome, err, v.text("expect"))
		}
		if ok && err != nil {
			t.Error("true with an error")
		}
		if (err == nil) != (err2 == nil) || ok != bytes.Equal(made, mac) && err == nil {
			t.Errorf("verifying says %v, %v; making gives %x, %v", ok, err, made, err2)
		}
	})
}

func TestVectorsReceipts(t *testing.T) {
	runVectors(t, "receipts.txt", 14, func(t *testing.T, v vector) {
		id, err := VerifyReceipt(v.hex("spki"), v.hex("msg"), [64]byte(v.hex("sig")))
		outcome := "success"
		switch {
		case errors.Is(err, ErrReceiptSignature):
			outcome = "mismatch"
		case err != nil:
			outcome = "failure"
		}
		if outcome != v.text("expect") {
			t.Fatalf("got %s (%v), want %s", outcome, err, v.text("expect"))
		}
		if err != nil && !id.IsZero() {
			t.Errorf("an id with an error: %v", id)
		}
		if err == nil && id != PeerIDOfSPKI(v.hex("spki")) {
			t.Errorf("got the id %v", id)
		}
		if !v.has("seed") {
			return
		}
		signer := mustIdentity(t, ed25519.NewKeyFromSeed(v.hex("seed")))
		if !bytes.Equal(signer.SPKI(), v.hex("spki")) || signer.ID() != id {
			t.Errorf("the seed's key is %x", signer.SPKI())
		}
		if sig, err := signer.SignReceipt(v.hex("msg")); err != nil || hex.EncodeToString(sig[:]) != v.text("sig") {
			t.Errorf("signed: %x, %v", sig, err)
		}
	})
}

func TestNewCode(t *testing.T) {
	seen := make(map[Code]bool)
	for range 100 {
		c, err := NewCode()
		if err != nil {
			t.Fatal(err)
		}
		if seen[c] {
			t.Fatalf("%v twice", c)
		}
		seen[c] = true
		if back, err := ParseCode(c.String()); err != nil || back != c {
			t.Errorf("%v read again is %v, %v", c, back, err)
		}
	}
}

func FuzzParsePeerID(f *testing.F) {
	id := PeerIDOfSPKI(nil)
	f.Add(id.String())
	f.Add(id.Grouped())
	f.Add(strings.ToLower(id.String())[:51] + "b")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParsePeerID(s)
		if err != nil {
			if !id.IsZero() {
				t.Error("an id with an error")
			}
			return
		}
		if u := strings.ToUpper(s); u != id.String() && u != id.Grouped() {
			t.Errorf("%q was read as %v", s, id)
		}
	})
}

func FuzzParseDigest(f *testing.F) {
	f.Add(EmptyRoot.String())
	f.Add(strings.Repeat("F", 64))
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDigest(s)
		if err != nil {
			if !d.IsZero() {
				t.Error("a digest with an error")
			}
			return
		}
		if d.String() != s {
			t.Errorf("%q was read as %v", s, d)
		}
		var back Digest
		if b, _ := d.MarshalText(); back.UnmarshalText(b) != nil || back != d {
			t.Errorf("as text and back: %v", back)
		}
	})
}

func FuzzParseCode(f *testing.F) {
	f.Add("0000o-iIlL1-ABCDE-vwxyz")
	f.Add(" - ")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCode(s)
		if err != nil {
			if c != (Code{}) {
				t.Error("a code with an error")
			}
			return
		}
		if c[12]&0x0f != 0 {
			t.Errorf("%q sets bits beyond the 100th", s)
		}
		if back, err := ParseCode(c.String()); err != nil || back != c {
			t.Errorf("%q was read as %v, that as %v, %v", s, c, back, err)
		}
		plain := strings.NewReplacer("-", "", " ", "", "\t", "", "\r", "", "\n", "", "O", "0", "I", "1", "L", "1").Replace(upperASCII(s))
		if plain != strings.ReplaceAll(c.String(), "-", "") {
			t.Errorf("%q was read as %v", s, c)
		}
	})
}
