package wire

import (
	"bytes"
	"io"
	"reflect"
	"testing"
)

// stable checks that m, which was decoded, encodes, decodes to itself, and encodes to the same bytes.
func stable(t *testing.T, m Message) []byte {
	t.Helper()
	b, err := appendBody(nil, m)
	if err != nil {
		t.Fatalf("%+v was decoded but does not encode: %v", m, err)
	}
	m2, err := Decode(m.Type(), b)
	if err != nil || !reflect.DeepEqual(m, m2) {
		t.Fatalf("%x: %+v became %+v, %v", b, m, m2, err)
	}
	b2, err := appendBody(nil, m2)
	if err != nil || !bytes.Equal(b, b2) {
		t.Fatalf("%x became %x, %v", b, b2, err)
	}
	return b
}

// bounded runs f and checks that it allocates no more than a multiple of n, the bytes that came in.
func bounded(t *testing.T, n int, f func()) {
	t.Helper()
	if got, limit := allocated(f), uint64(256*n+1<<20); got > limit {
		t.Fatalf("%d bytes allocated for %d, want at most %d", got, n, limit)
	}
}

// FuzzDecode: the first byte is the type of the message.
func FuzzDecode(f *testing.F) {
	for _, m := range samples(f) {
		f.Add(append([]byte{byte(m.Type())}, mustEncode(f, m)...))
	}
	for _, v := range readVectors(f) {
		if v.isControl() && len(v.hex) < 1000 {
			f.Add(append([]byte{byte(typeByName(f, v.typ))}, v.hex...))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		typ, body := Type(in[0]), in[1:]
		var m Message
		var err error
		bounded(t, len(in), func() { m, err = Decode(typ, body) })
		if outcome(t, err) != "ok" {
			return
		}
		if m.Type() != typ {
			t.Fatalf("%v decoded as %v", typ, m.Type())
		}
		b := stable(t, m)
		if len(b) > len(body) || len(b) == len(body) && !bytes.Equal(b, body) {
			t.Fatalf("%x is the same message as %x", body, b)
		}
	})
}

func FuzzReader(f *testing.F) {
	var all []byte
	for _, m := range samples(f) {
		all = mustFrame(f, all, m)
		f.Add(mustFrame(f, nil, m))
	}
	f.Add(all)
	f.Add(dataFrame(3, Data{Flags: DataFirst | DataLast, RawLen: 2, Payload: []byte("xy")}))
	f.Add(packFrame(3, samplePack()))
	f.Add(packFrame(3, compressedPack()))
	for _, v := range readVectors(f) {
		if v.typ == "stream" {
			f.Add(v.hex)
		}
	}
	buf := make([]byte, MaxPack)
	f.Fuzz(func(t *testing.T, in []byte) {
		src := bytes.NewReader(in)
		r := NewReader(src, MaxControl)
		bounded(t, len(in), func() {
			for {
				at := len(in) - src.Len()
				h, err := r.Next()
				if err != nil {
					if err != io.EOF {
						outcome(t, err)
					}
					if _, again := r.Next(); again != err {
						t.Fatalf("%v, then %v", err, again)
					}
					return
				}
				switch h.Type {
				case TData:
					var d Data
					if d, err = r.Data(h, buf); err == nil && !bytes.Equal(dataFrame(h.ID, d), in[at:len(in)-src.Len()]) {
						t.Fatalf("DATA became %x", dataFrame(h.ID, d))
					}
				case TPack:
					var p packValue
					if p, err = allFiles(r.Pack(h, buf)); err == nil && !bytes.Equal(packFrame(h.ID, p), in[at:len(in)-src.Len()]) {
						t.Fatalf("PACK became %x", packFrame(h.ID, p))
					}
				default:
					var m Message
					if m, err = r.Message(h); err == nil {
						if _, err := AppendFrame(nil, h.ID, m); err != nil {
							t.Fatalf("%+v was read but is not sent: %v", m, err)
						}
					}
				}
				outcome(t, err)
			}
		})
	})
}

func FuzzData(f *testing.F) {
	for _, v := range readVectors(f) {
		if v.typ == "DATA" && len(v.hex) < 1000 {
			f.Add(v.flags, v.hex)
		}
	}
	f.Fuzz(func(t *testing.T, flags uint8, body []byte) {
		var d Data
		var err error
		bounded(t, 0, func() { d, err = DecodeData(flags, body) })
		if outcome(t, err) != "ok" {
			return
		}
		if got := dataFrame(1, d)[HeaderLen:]; !bytes.Equal(got, body) {
			t.Fatalf("%x became %x", body, got)
		}
		if d.Flags&DataZstd != 0 {
			raw, err := unzstd(d.Payload, MaxPayload)
			if err != nil {
				return
			}
			if d, err = d.Expanded(raw); outcome(t, err) != "ok" {
				return
			}
			if again, err := DecodeData(d.Flags, dataFrame(1, d)[HeaderLen:]); err != nil || text(again) != text(d) {
				t.Fatalf("%+v, uncompressed %+v, %v", d, again, err)
			}
		}
		if d.Flags&DataZero != 0 {
			if d.Flags != dataZero || d.Offset != 0 || len(d.Payload) > 0 {
				t.Fatalf("zeros with more than zeros: %+v", d)
			}
			return
		}
		if (len(d.Payload) == 0 || uint64(d.Offset)+uint64(len(d.Payload)) == uint64(d.RawLen)) != (d.Flags&DataLast != 0) {
			t.Fatalf("LAST: %+v", d)
		}
		end := uint64(d.Offset) + uint64(len(d.Payload))
		if end > uint64(d.RawLen) || d.RawLen > 1<<MaxChunkLog2 || d.Chunk >= MaxChunks || len(d.Payload) > MaxPayload {
			t.Fatalf("beyond the limits: %+v", d)
		}
	})
}

func FuzzPack(f *testing.F) {
	f.Add(uint8(0), packFrame(1, samplePack())[HeaderLen:])
	f.Add(uint8(PackZstd), packFrame(1, compressedPack())[HeaderLen:])
	for _, v := range readVectors(f) {
		if v.typ == "PACK" && len(v.hex) < 1000 {
			f.Add(v.flags, v.hex)
		}
	}
	f.Fuzz(func(t *testing.T, flags uint8, body []byte) {
		var head Pack
		var err error
		bounded(t, 0, func() { head, err = DecodePack(flags, body) })
		if outcome(t, err) != "ok" {
			return
		}
		files, end := body, packFixed // where the next one begins
		whole := packValue{Number: head.Number, Zstd: head.Compressed()}
		if whole.Zstd != nil {
			if files, err = unzstd(whole.Zstd, MaxPack); err != nil {
				return
			}
			end = 0
			if err := head.Expand(files); outcome(t, err) != "ok" {
				return
			}
		}
		var p packValue
		bounded(t, len(files), func() { p, err = allFiles(head, nil) })
		for _, file := range p.Files { // also those before an error
			if file.No == 0 || file.No >= MaxTreeEntries || file.Meta.Mode > maxMode || file.Meta.HasMode != file.Meta.HasMTime {
				t.Fatalf("beyond the limits: %+v", file)
			}
			at := end + packEntry
			if file.Meta.HasMode {
				at += packMeta
			}
			n := len(file.Content)
			if cap(file.Content) != n || n > 0 && &file.Content[0] != &files[at] {
				t.Fatalf("entry %d is not at byte %d of the files, or may grow into what follows", file.No, at)
			}
			end = at + n + cvLen
		}
		if p.Number >= MaxTreeEntries || len(p.Files) > MaxPart || len(p.Files) > 0 && end > len(files) {
			t.Fatalf("beyond the limits: pack %d, %d files up to byte %d of %d", p.Number, len(p.Files), end, len(files))
		}
		if outcome(t, err) != "ok" {
			return
		}
		p.Zstd = whole.Zstd
		if got := packFrame(1, p)[HeaderLen:]; !bytes.Equal(got, body) {
			t.Fatalf("%x became %x", body, got)
		}
	})
}

func FuzzReceipt(f *testing.F) {
	for _, m := range samples(f) {
		if r, ok := m.(Receipt); ok {
			f.Add(EncodeReceipt(r))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r Receipt
		var err error
		bounded(t, len(b), func() { r, err = DecodeReceipt(b) })
		if outcome(t, err) != "ok" {
			return
		}
		if got := stable(t, r); !bytes.Equal(got, EncodeReceipt(r)) {
			t.Fatalf("EncodeReceipt gives %x, the frame has %x", EncodeReceipt(r), got)
		}
		signed := ReceiptBytes(r)
		if r.Signature[0]++; !bytes.Equal(signed, ReceiptBytes(r)) || len(signed) >= len(b) {
			t.Fatalf("signed: %x of %x", signed, b)
		}
	})
}

// FuzzPath: the input is the components with '/' between them, and the same bytes as CBOR.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"", "a", "a/b\xff", "..", "a/../b", ".xfer/x", ".xfer-1", "a/.xfer", "\x00", "\x81\x41a", "\x82\x41a\x42.."} {
		f.Add([]byte(s))
	}
	check := func(t *testing.T, p Path) {
		size := max(p.Len()-1, 0)
		for i, c := range p.Parts() {
			size += len(c)
			if c == "" || c == "." || c == ".." || len(c) > MaxName || bytes.ContainsAny([]byte(c), "/\x00") ||
				i == 0 && (c == ".xfer" || bytes.HasPrefix([]byte(c), []byte(".xfer-"))) {
				t.Fatalf("component %q", c)
			}
		}
		if size > MaxPath || p.Len() > MaxDepth {
			t.Fatalf("%d bytes, %d components", size, p.Len())
		}
		b, err := p.MarshalCBOR()
		if err != nil {
			t.Fatal(err)
		}
		var back Path
		if err := back.UnmarshalCBOR(b); err != nil || !back.Equal(p) {
			t.Fatalf("%q became %q, %v", p, back, err)
		}
		if rest, err := checkPath(b); err != nil || len(rest) > 0 {
			t.Fatalf("%q: %v", p, err)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var parts []string
		for part := range bytes.SplitSeq(b, []byte("/")) {
			parts = append(parts, string(part))
		}
		if p, err := NewPath(parts...); outcome(t, err) == "ok" {
			check(t, p)
		}
		if wellFormed(b) != nil || b[0]>>5 != majorArray {
			return
		}
		var p Path
		_, passErr := checkPath(b)
		if err := p.UnmarshalCBOR(b); (err == nil) != (passErr == nil) {
			t.Fatalf("%x: the pass says %v, decoding %v", b, passErr, err)
		} else if err == nil {
			check(t, p)
		}
	})
}

// FuzzRanges: the body of an ACK behind two bytes, so that all of the input is about ranges.
func FuzzRanges(f *testing.F) {
	for _, v := range readVectors(f) {
		if v.typ == "ACK" && len(v.hex) > 2 && len(v.hex) < 1000 {
			f.Add(v.hex[2:])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		body := append([]byte{0xa1, 0x01}, b...)
		m, err := Decode(TAck, body)
		if outcome(t, err) != "ok" {
			return
		}
		if got := stable(t, m); !bytes.Equal(got, body) {
			t.Fatalf("%x became %x", body, got)
		}
		end, n := uint64(0), uint64(0)
		for i, r := range m.(Ack).Received {
			if r.Count == 0 || i > 0 && r.Start <= end || r.Start+r.Count > MaxChunks {
				t.Fatalf("ranges %v", m)
			}
			end = r.Start + r.Count
			n += r.Count
		}
		if m.(Ack).Received.Chunks() != n {
			t.Fatalf("%d chunks, want %d", m.(Ack).Received.Chunks(), n)
		}
	})
}

func FuzzTreeReceipt(f *testing.F) {
	f.Add(EncodeTreeReceipt(treeReceipt(f)))
	f.Add(EncodeTreeReceipt(TreeReceipt{Entries: 1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r TreeReceipt
		var err error
		bounded(t, len(b), func() { r, err = DecodeTreeReceipt(b) })
		if outcome(t, err) != "ok" {
			return
		}
		if got := stable(t, r); !bytes.Equal(got, EncodeTreeReceipt(r)) {
			t.Fatalf("EncodeTreeReceipt gives %x, the frame has %x", EncodeTreeReceipt(r), got)
		}
		signed := TreeReceiptBytes(r)
		if r.Signature[0]++; !bytes.Equal(signed, TreeReceiptBytes(r)) || len(signed) >= len(b) {
			t.Fatalf("signed: %x of %x", signed, b)
		}
	})
}

// FuzzTreeVerdicts: the body of a TREE_VERDICTS behind two bytes.
func FuzzTreeVerdicts(f *testing.F) {
	for _, v := range readVectors(f) {
		if v.typ == "TREE_VERDICTS" && len(v.hex) > 2 && len(v.hex) < 1000 {
			f.Add(v.hex[2:])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		body := append([]byte{0xa4, 0x01}, b...)
		msg, err := Decode(TTreeVerdicts, body)
		if outcome(t, err) != "ok" {
			return
		}
		if got := stable(t, msg); !bytes.Equal(got, body) && len(got) >= len(body) {
			t.Fatalf("%x became %x", body, got)
		}
		m := msg.(TreeVerdicts)
		no, hashes, failed := m.First, 0, 0
		for _, run := range m.Runs {
			if run.Count == 0 || run.Count > MaxPart || run.Code > uint64(VerdictHash) {
				t.Fatalf("runs %v", m)
			}
			for range run.Count {
				switch VerdictCode(run.Code) {
				case VerdictHash:
					hashes++
				case VerdictFailed:
					if m.Failed[failed].No != no {
						t.Fatalf("entry %d failed: %v", no, m.Failed)
					}
					failed++
				}
				no++
			}
		}
		if no != m.First+m.Entries() || m.Entries() > MaxPart || no >= MaxTreeEntries || failed != len(m.Failed) || hashes*cvLen != len(m.Hashes) {
			t.Fatalf("%d entries of %+v", m.Entries(), m)
		}
	})
}
