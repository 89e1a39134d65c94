package wire

import "testing"

// The passes over a body refuse these by themselves: nothing is left to the decoder behind them, which might take them,
// and nothing is allocated for them.
func TestPassesStandAlone(t *testing.T) {
	for _, v := range readVectors(t) {
		if !v.isControl() || v.expect != "PROTOCOL" {
			continue
		}
		s := specs[typeByName(t, v.typ)]
		if s.checkBody(v.hex) != nil {
			continue
		}
		// What is left are rules of the message itself. They hold before sending as well.
		m, err := s.decode(v.hex)
		if err == nil {
			t.Errorf("%s: taken", v.name)
		}
		if m == nil && v.name != "hashlist.txt: 31 bytes" && v.name != "hashlist.txt: 65 bytes" {
			t.Errorf("%s: refused only by the decoder: %v", v.name, err)
		}
	}
}

// What a hostile body costs is bounded by its length, also when it declares much.
func TestRefusalAllocatesLittle(t *testing.T) {
	for _, v := range readVectors(t) {
		if !v.isControl() || v.expect == "ok" {
			continue
		}
		typ := typeByName(t, v.typ)
		if n, limit := allocated(func() { _, _ = Decode(typ, v.hex) }), uint64(16<<10+8*len(v.hex)); n > limit {
			t.Errorf("%s: %d bytes allocated for %d, want at most %d", v.name, n, len(v.hex), limit)
		}
	}
}

// The most that a body of the largest size can make us allocate.
func TestLargestBodiesAllocateBoundedly(t *testing.T) {
	entries := Entries{}
	for i := range MaxEntries {
		entries.Entries = append(entries.Entries, Entry{Name: string([]byte{'0' + byte(i>>9), '0' + byte(i>>6&7), '0' + byte(i>>3&7), '0' + byte(i&7)}), Kind: KindFile})
	}
	deep := make([]string, MaxDepth)
	for i := range deep {
		deep[i] = "n"
	}
	long, short, extra := TreeDelete{}, TreeDelete{}, TreeExtra{}
	for range MaxControl/(2*MaxDepth+3) - 1 {
		long.Paths = append(long.Paths, mustPath(t, deep...))
	}
	for range MaxPart {
		short.Paths = append(short.Paths, mustPath(t, "n"))
		extra.Entries = append(extra.Entries, ExtraEntry{Path: short.Paths[0], Kind: KindFile})
	}
	verdicts := TreeVerdicts{}
	for i := range uint64(MaxPart) {
		verdicts.Runs = append(verdicts.Runs, Verdicts{Code: i % 2, Count: 1})
	}
	for _, m := range []Message{entries, long, short, extra, verdicts, TreeAck{Failed: failures(MaxPart, 0)}} {
		body := mustEncode(t, m)
		if n := allocated(func() {
			if _, err := Decode(m.Type(), body); err != nil {
				t.Error(err)
			}
		}); n > uint64(30*len(body)) {
			t.Errorf("%v: %d bytes allocated for %d", m.Type(), n, len(body))
		}
	}
}

// An error says where it is.
func TestErrorsSayWhere(t *testing.T) {
	for want, body := range map[string]string{
		"HELLO: key 2 (Agent): zero, so it must be left out (PROTOCOL)": "\xa2\x01\x81\x00\x02\x60",
		"HELLO: without key 1 (Versions) (PROTOCOL)":                    "\xa1\x02\x61a",
		"HELLO: key 3 is not known (UNSUPPORTED)":                       "\xa2\x01\x81\x00\x03\x00",
		"HELLO: 1 bytes behind the body (PROTOCOL)":                     "\xa1\x01\x81\x00\x00",
		"HELLO: versions do not ascend (PROTOCOL)":                      "\xa1\x01\x82\x00\x00",
	} {
		if _, err := Decode(THello, []byte(body)); err == nil || err.Error() != want {
			t.Errorf("%x: got %v, want %s", body, err, want)
		}
	}
}
