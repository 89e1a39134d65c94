package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
)

// zstdOf is a zstd frame that holds raw as it is: this package does not compress, and its tests need not either.
func zstdOf(raw []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, zstdMagic)
	switch n := len(raw); {
	case n < 256:
		b = append(b, zstdSingle, byte(n))
	case n < 256+1<<16:
		b = binary.LittleEndian.AppendUint16(append(b, 1<<6|zstdSingle), uint16(n-256))
	default:
		b = binary.LittleEndian.AppendUint32(append(b, 2<<6|zstdSingle), uint32(n))
	}
	for {
		n := min(len(raw), zstdMaxBlock)
		h := uint32(n) << 3
		if n == len(raw) {
			h |= 1
		}
		b = append(b, byte(h), byte(h>>8), byte(h>>16))
		b = append(b, raw[:n]...)
		if raw = raw[n:]; len(raw) == 0 {
			return b
		}
	}
}

// errCompressed is what unzstd says of a frame that really is compressed.
var errCompressed = errors.New("a compressed block")

// unzstd expands a frame, which checkZstd has taken, of blocks that are stored or one byte many times. As whoever expands for
// us it stops at most bytes, and compares the size; of checksums it knows nothing.
func unzstd(b []byte, most int) ([]byte, error) {
	single, sizeLen := b[4]&zstdSingle != 0, [4]int{0, 2, 4, 8}[b[4]>>6]
	if b[4]&zstdChecksum != 0 {
		return nil, errCompressed
	}
	b = b[5:]
	if !single {
		b = b[1:]
	} else if sizeLen == 0 {
		sizeLen = 1
	}
	size := uint64(0)
	if sizeLen > 0 {
		size = zstdSize(b[:sizeLen])
	}
	b = b[sizeLen:]
	out := []byte{}
	for last := false; !last; {
		h := int(b[0]) | int(b[1])<<8 | int(b[2])<<16
		n := h >> 3
		last, b = h&1 != 0, b[3:]
		if h>>1&3 < 2 && len(out)+n > most {
			return nil, errf(CodeLimit, "more than %d bytes", most)
		}
		switch h >> 1 & 3 {
		case 0:
			out, b = append(out, b[:n]...), b[n:]
		case 1:
			out, b = append(out, bytes.Repeat(b[:1], n)...), b[1:]
		default:
			return nil, errCompressed
		}
	}
	if sizeLen > 0 && uint64(len(out)) != size {
		return nil, errf(CodeProtocol, "%d bytes of %d", len(out), size)
	}
	return out, nil
}

func TestZstdOf(t *testing.T) {
	for _, n := range []int{1, 255, 256, 256 + 1<<16 - 1, 256 + 1<<16, zstdMaxBlock, zstdMaxBlock + 1, MaxPack} {
		raw := bytes.Repeat([]byte("ab"), n)[:n]
		b := zstdOf(raw)
		if err := checkZstd(b, n); err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if err := checkZstd(b, n-1); outcome(t, err) != "LIMIT" && n > 1 {
			t.Errorf("%d bytes where one less is the limit: %v", n, err)
		}
		if back, err := unzstd(b, n); err != nil || !bytes.Equal(back, raw) {
			t.Errorf("%d bytes became %d, %v", n, len(back), err)
		}
	}
}

// Each bit of what stands before the blocks, and each way to end, means what RFC 8878 says.
func TestCheckZstd(t *testing.T) {
	frame := func(header, blocks string) []byte { return []byte("\x28\xb5\x2f\xfd" + header + blocks) }
	const (
		x     = "\x09\x00\x00x"               // the last block: x
		more  = "\x08\x00\x00x"               // x, and more follows
		xs    = "\x03\x00\x10x"               // 128 KiB of x
		win1K = "\x00\x00"                    // no size, the smallest window
		big   = "\x01\x00\x10"                // a stored block of 128 KiB
		bad   = "\x09\x00\x10"                // and one byte more
		comp  = "\x0d\x00\x00\x00"            // one byte of what would be compressed
		sum   = "\x04\x00" + x + "\x01\x02ab" // with a checksum
	)
	kib128 := string(bytes.Repeat([]byte("x"), zstdMaxBlock))
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"one byte", frame(win1K, x), "ok"},
		{"a size of one byte", frame("\x20\x01", x), "ok"},
		{"a size of two bytes", frame("\x60\x00\x00", xs), "ok"},
		{"a size of four bytes", frame("\xa0\x00\x00\x04\x00", xs), "ok"},
		{"a size of eight bytes", frame("\xe0\x00\x00\x04\x00\x00\x00\x00\x00", xs), "ok"},
		{"a window and a size", frame("\x80\x00\x00\x00\x04\x00", xs), "ok"},
		{"a window of 8 MiB", frame("\x00\x68", x), "ok"},
		{"the unused bit", frame("\x10\x00", x), "ok"},
		{"two blocks", frame(win1K, more+x), "ok"},
		{"an empty block", frame(win1K, "\x00\x00\x00"+x), "ok"},
		{"a compressed block", frame(win1K, comp), "ok"},
		{"the largest block", frame(win1K, big+kib128), "ok"},
		{"a checksum", frame("", sum), "ok"},

		{"empty", nil, "PROTOCOL"},
		{"only the magic", frame("", ""), "PROTOCOL"},
		{"another magic", []byte("\x27\xb5\x2f\xfd" + win1K + x), "PROTOCOL"},
		{"a skippable frame", []byte("\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"), "PROTOCOL"},
		{"a skippable frame behind", frame(win1K, x+"\x50\x2a\x4d\x18\x00\x00\x00\x00"), "PROTOCOL"},
		{"two frames", append(frame(win1K, x), frame(win1K, x)...), "PROTOCOL"},
		{"a byte behind", frame(win1K, x+"y"), "PROTOCOL"},
		{"no last block", frame(win1K, more+more), "PROTOCOL"},
		{"ends within a block", frame(win1K, "\x11\x00\x00x"), "PROTOCOL"},
		{"ends before the byte that is there many times", frame(win1K+"\x00\x00\x00", "\x03\x00\x10"), "PROTOCOL"},
		{"ends within the header of a block", frame(win1K, more+"\x09\x00"), "PROTOCOL"},
		{"ends within its size", frame("\xe0\x01\x00\x00\x00\x00\x00\x00", ""), "PROTOCOL"},
		{"a block of a reserved type", frame(win1K, "\x0f\x00\x00x"), "PROTOCOL"},
		{"a block of 128 KiB and one byte", frame(win1K, bad+kib128+"x"), "PROTOCOL"},
		{"128 KiB and one byte of the same", frame(win1K, "\x0b\x00\x10x"), "PROTOCOL"},
		{"a dictionary of one byte", frame("\x01\x00\x07", x), "PROTOCOL"},
		{"a dictionary of four bytes", frame("\x03\x00\x07\x00\x00\x00", x), "PROTOCOL"},
		{"a dictionary, and what would be a frame without it", frame("\x21\x01", x), "PROTOCOL"},
		{"the reserved bit", frame("\x08\x00", x), "PROTOCOL"},
		{"a checksum that is missing", frame("\x04\x00", x), "PROTOCOL"},
		{"a checksum that is not announced", frame(win1K, x+"\x01\x02ab"), "PROTOCOL"},
		{"a size of 0", frame("\x20\x00", "\x01\x00\x00\x00"), "PROTOCOL"},
		{"a size of 0 in eight bytes", frame("\xe0\x00\x00\x00\x00\x00\x00\x00\x00", x), "PROTOCOL"},

		{"one byte above the limit", frame("\xa0\x01\x00\x04\x00", xs), "LIMIT"},
		{"a size of 2^64-1", frame("\xe0\xff\xff\xff\xff\xff\xff\xff\xff", x), "LIMIT"},
		{"a window of 9 MiB", frame("\x00\x69", x), "LIMIT"},
		{"the largest window", frame("\x00\xff", x), "LIMIT"},
	} {
		var err error
		if n := allocated(func() { err = checkZstd(c.b, MaxPayload) }); n > 4<<10 {
			t.Errorf("%s: %d bytes allocated", c.name, n)
		}
		if got := outcome(t, err); got != c.want {
			t.Errorf("%s: got %s (%v), want %s", c.name, got, err, c.want)
		}
	}
}

// The rules for the bytes of a piece hold for what it expands to, as if it had come so.
func TestExpandedIsAsUncompressed(t *testing.T) {
	raw := []byte("hello")
	for _, flags := range []uint8{0, DataFirst, DataLast, DataFirst | DataLast, DataOld, DataOld | DataLast} {
		for _, offset := range []uint32{0, 1, 3, 4, 5, 9, 1<<32 - 1} {
			plain := Data{Flags: flags, Chunk: 7, Offset: offset, RawLen: 8, Payload: raw, CV: Hash{}}
			want, wantErr := DecodeData(flags, dataFrame(1, plain)[HeaderLen:])
			z := plain
			z.Flags, z.Payload = flags|DataZstd, zstdOf(raw)
			got, err := DecodeData(z.Flags, dataFrame(1, z)[HeaderLen:])
			if err == nil {
				if !bytes.Equal(got.Payload, z.Payload) {
					t.Fatalf("%+v", got)
				}
				got, err = got.Expanded(raw)
			}
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) || outcome(t, err) != outcome(t, wantErr) {
				t.Errorf("flags %#02x, offset %d: %+v, %v; uncompressed %+v, %v", flags, offset, got, err, want, wantErr)
			}
		}
	}
}

func TestExpandedRefuses(t *testing.T) {
	d := Data{Flags: DataFirst | DataZstd, RawLen: 1 << 24, Payload: zstdOf([]byte("x"))}
	for n, want := range map[int]string{0: "PROTOCOL", 1: "ok", MaxPayload: "ok", MaxPayload + 1: "LIMIT"} {
		got, err := d.Expanded(make([]byte, n))
		if outcome(t, err) != want || want == "ok" && (len(got.Payload) != n || got.Flags != DataFirst) {
			t.Errorf("%d bytes: %v, flags %#02x", n, err, got.Flags)
		}
	}
	end := Data{Flags: DataLast | DataZstd, Offset: 8, RawLen: 8, Payload: d.Payload}
	if _, err := DecodeData(end.Flags, dataFrame(1, end)[HeaderLen:]); outcome(t, err) != "PROTOCOL" {
		t.Errorf("before it is expanded: a piece at the end of its chunk: %v", err)
	}
	if _, err := end.Expanded(nil); outcome(t, err) != "PROTOCOL" {
		t.Errorf("nothing at the end of a chunk: %v", err)
	}
	var p *ProtocolError
	got, err := d.Expanded([]byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := got.Expanded([]byte("x")); err == nil || errors.As(err, &p) {
		t.Errorf("expanded twice: %v", err)
	}
}

func TestExpandOfPack(t *testing.T) {
	v := compressedPack()
	files := packFrame(3, samplePack())[PackHeaderLen:]
	body := packFrame(3, v)[HeaderLen:]
	begin := func() Pack {
		p, err := DecodePack(PackZstd, body)
		if err != nil || p.Count != len(v.Files) || !bytes.Equal(p.Compressed(), v.Zstd) {
			t.Fatalf("%+v, %v", p, err)
		}
		return p
	}
	var pe *ProtocolError
	p := begin()
	if _, ok, err := p.Next(); ok || err == nil || errors.As(err, &pe) {
		t.Errorf("Next before Expand: %v, %v", ok, err)
	}
	for name, c := range map[string]struct {
		files []byte
		want  string
	}{
		"nothing":                   {nil, "PROTOCOL"},
		"too few for so many files": {make([]byte, len(v.Files)*packLeast-1), "PROTOCOL"},
		"more than a PACK may have": {make([]byte, MaxPack-packFixed+1), "LIMIT"},
	} {
		if err := p.Expand(c.files); outcome(t, err) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, ok, err := p.Next(); ok || err == nil || errors.As(err, &pe) {
		t.Errorf("Next after an Expand that failed: %v, %v", ok, err)
	}
	if err := p.Expand(files); err != nil {
		t.Fatal(err)
	}
	if got, err := allFiles(p, nil); err != nil || text(got.Files) != text(v.Files) {
		t.Errorf("%s, %v", text(got.Files), err)
	}
	if err := p.Expand(files); err == nil || errors.As(err, &pe) || p.Compressed() != nil {
		t.Errorf("expanded twice: %v", err)
	}
	p = begin()
	if err := p.Expand(append(bytes.Clone(files), 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := allFiles(p, nil); outcome(t, err) != "PROTOCOL" {
		t.Errorf("a byte behind the files: %v", err)
	}
	v.Zstd = []byte("\x28\xb5\x2f\xfd\xa0\xf5\xff\x0f\x00\x03\x00\x10x") // says that it has 2^20-11 bytes
	if _, err := DecodePack(PackZstd, packFrame(3, v)[HeaderLen:]); outcome(t, err) != "LIMIT" {
		t.Errorf("before it is expanded: more than a PACK may have: %v", err)
	}
	p, err := DecodePack(0, packFrame(3, samplePack())[HeaderLen:])
	if err != nil || p.Compressed() != nil {
		t.Fatal(err)
	}
	if err := p.Expand(files); err == nil || errors.As(err, &pe) {
		t.Errorf("Expand of what is not compressed: %v", err)
	}
}

// FuzzZstd: what is one frame is not one any more with a byte less or more, and is never more than its bytes say.
func FuzzZstd(f *testing.F) {
	f.Add(zstdOf([]byte("hello")))
	f.Add(zstdOf(make([]byte, 300)))
	for _, v := range readVectors(f) {
		if (v.typ == "DATA" || v.typ == "PACK") && v.flags&DataZstd != 0 && len(v.hex) < 1000 {
			f.Add(v.hex[min(len(v.hex), packFixed):])
			f.Add(v.hex[min(len(v.hex), dataFixed):])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var err error
		bounded(t, 0, func() { err = checkZstd(b, MaxPayload) })
		if outcome(t, err) != "ok" {
			return
		}
		if checkZstd(b[:len(b)-1], MaxPayload) == nil || checkZstd(append(bytes.Clone(b), 0), MaxPayload) == nil {
			t.Fatalf("%x is one frame, and with a byte less or more as well", b)
		}
		raw, err := unzstd(b, MaxPayload)
		if err != nil {
			return
		}
		if back, err := unzstd(zstdOf(raw), len(raw)); err != nil || !bytes.Equal(back, raw) {
			t.Fatalf("%x became %x, %v", raw, back, err)
		}
	})
}
