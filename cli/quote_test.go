package cli

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"plain":            "plain",
		"with space":       "with space",
		"ümlaut 日本":        "ümlaut 日本",
		"-dash":            "-dash",
		"":                 `""`,
		" lead":            `" lead"`,
		"a\nb":             `"a\nb"`,
		"\x1b[31m":         `"\x1b[31m"`,
		"\xff":             `"\xff"`,
		"\u0085":           `"\u0085"`,
		"\u202eexe":        `"\u202eexe"`,
		"\u2066x":          `"\u2066x"`,
		"\u200bzero":       `"\u200bzero"`,
		"a\"b":             `"a\"b"`,
		"a\\b":             `"a\\b"`,
		"\x7f":             `"\x7f"`,
		"\u009b31m":        `"\u009b31m"`,
		"\ufffd":           `"�"`,
		"tab\there":        `"tab\there"`,
		"nbsp\u00a0":       `"nbsp\u00a0"`,
		"\U000e0001tag":    `"\U000e0001tag"`,
		"a\u2028b":         `"a\u2028b"`,
		"half\xed\xa0\x80": `"half\xed\xa0\x80"`,
	} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q) = %s, want %s", in, got, want)
		}
	}
}

func TestSumLine(t *testing.T) {
	for in, want := range map[string]string{
		"a b":       "H  a b",
		"a\"b":      `H  a"b`,
		"a\\b":      `\H  a\\b`,
		"a\nb":      `\H  a\nb`,
		"a\x1bb":    `H  "a\x1bb"`,
		"a\nb\x1bc": `H  "a\nb\x1bc"`,
		"\xff":      `H  "\xff"`,
	} {
		if got := sumLine("H", in); got != want {
			t.Errorf("sumLine(%q) = %q, want %q", in, got, want)
		}
	}
}

// printable is the promise in other words than the code's.
func printable(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		switch {
		case r < 0x20, r >= 0x7f && r < 0xa0, r >= 0x200b && r <= 0x200f, r >= 0x2028 && r <= 0x202e, r >= 0x2060 && r <= 0x2069, r == 0xfeff,
			r == 0x061c, r >= 0xe0000 && r <= 0xe007f:
			return false
		}
	}
	return true
}

func FuzzQuote(f *testing.F) {
	for _, s := range []string{"a", "\x1b]0;x\a", "\u202e", "\xff\xfe", "a\nb", "\u009b", `"\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for what, got := range map[string]string{"quote": quote(s), "clean": clean(s), "sumLine": sumLine("H", s)} {
			if !printable(got) {
				t.Errorf("%s(%q) = %q would reach the terminal", what, s, got)
			}
		}
		if clean(clean(s)) != clean(s) {
			t.Errorf("clean(%q) is not at rest", s)
		}
		if s != "" && printable(s) && !strings.ContainsAny(s, "\"\\") && strings.TrimSpace(s) == s && !strings.Contains(clean(s), `\`) && quote(s) != s && !strings.ContainsRune(s, utf8.RuneError) {
			t.Errorf("quote(%q) = %q changes a plain name", s, quote(s))
		}
	})
}
