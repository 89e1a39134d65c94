package wire

import (
	"errors"
	"strings"
	"testing"
)

func TestNewPath(t *testing.T) {
	n255 := strings.Repeat("n", 255)
	repeat := func(s string, n int) []string {
		out := make([]string, n)
		for i := range out {
			out[i] = s
		}
		return out
	}
	for _, c := range []struct {
		parts []string
		ok    bool
	}{
		{nil, true},
		{[]string{"a"}, true},
		{[]string{"a", "b\xff\n\x1b", "-rf", "...", " "}, true},
		{[]string{n255}, true},
		{[]string{n255 + "n"}, false},
		{repeat("d", 256), true},
		{repeat("d", 257), false},
		{append(repeat(n255, 15), n255), true}, // 4095 bytes
		{append(repeat(n255, 15), n255[1:], "x"), true},
		{append(repeat(n255, 16), "x"), false}, // 4097
		{[]string{""}, false},
		{[]string{"a", ""}, false},
		{[]string{"."}, false},
		{[]string{"a", "."}, false},
		{[]string{".."}, false},
		{[]string{"a", "..", "b"}, false},
		{[]string{"/"}, false},
		{[]string{"a/b"}, false},
		{[]string{"a", "/b"}, false},
		{[]string{"a\x00"}, false},
		{[]string{"\x00"}, false},
		{[]string{".xfer"}, false},
		{[]string{".xfer", "stage"}, false},
		{[]string{".xfer-"}, false},
		{[]string{".xfer-12345678", "a"}, false},
		{[]string{".xferx"}, true},
		{[]string{".xfe"}, true},
		{[]string{"a", ".xfer", ".xfer-1"}, true},
	} {
		p, err := NewPath(c.parts...)
		var pe *ProtocolError
		if (err == nil) != c.ok || err != nil && (!errors.As(err, &pe) || pe.Code != CodeBadPath || !p.IsZero()) {
			t.Errorf("%.60q: %v, %v; want ok %v", c.parts, p, err, c.ok)
			continue
		}
		// The pass over bytes agrees with it.
		b, encErr := (Path{c.parts}).MarshalCBOR()
		if encErr != nil {
			t.Fatal(encErr)
		}
		rest, passErr := checkPath(b)
		if (passErr == nil) != c.ok || c.ok && len(rest) != 0 {
			t.Errorf("%.60q: the pass over the bytes says %v", c.parts, passErr)
		}
		if !c.ok {
			continue
		}
		var back Path
		if err := back.UnmarshalCBOR(b); err != nil || !back.Equal(p) || back.Len() != len(c.parts) {
			t.Errorf("%.60q: decodes to %v, %v", c.parts, back, err)
		}
	}
}

// A Path is what it was when it was checked, whatever happens to the slices around it.
func TestPathDoesNotChange(t *testing.T) {
	in := []string{"a", "b"}
	p := mustPath(t, in...)
	in[1] = ".."
	p.Parts()[0] = ".."
	if p.String() != "a/b" {
		t.Errorf("the path became %q", p)
	}
	if q := mustPath(t, "a", "b"); !p.Equal(q) || p.Equal(mustPath(t, "a")) || p.Equal(mustPath(t, "a", "c")) {
		t.Error("Equal is wrong")
	}
	if (Path{}).String() != "." || !(Path{}).IsZero() || p.IsZero() {
		t.Error("the root is not known as such")
	}
}

// UnmarshalCBOR stands by itself: what is no array of byte strings is refused, not read as one.
func TestPathRefusesOtherForms(t *testing.T) {
	for _, s := range []string{"", "\x00", "\xa0", "\xf4", "\x42\x58\xff", "\x43\x41a\x41", "\x62\x41a", "\x81\x61a", "\x81\x81\x06", "\x81", "\x81\x42a", "\x80\x00", "\x9f\xff"} {
		var p Path
		if err := p.UnmarshalCBOR([]byte(s)); err == nil {
			t.Errorf("%x: %q", s, p)
		}
	}
}
