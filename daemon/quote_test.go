package daemon

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "",
		"plain name.txt":       "plain name.txt",
		"grüße-日本":             "grüße-日本",
		`back\slash and "q"`:   `back\slash and "q"`,
		"a\nb":                 `a\nb`,
		"esc\x1b[31m":          `esc\x1b[31m`,
		"c1\u009b31m":          `c1\u009b31m`,
		"del\x7f":              `del\x7f`,
		"bidi\u202egpj.exe":    `bidi\u202egpj.exe`,
		"isolate\u2066x\u2069": `isolate\u2066x\u2069`,
		"zero\u200bwidth":      `zero\u200bwidth`,
		"bad\xff\xfeutf8":      `bad\xff\xfeutf8`,
		"line\u2028sep":        `line\u2028sep`,
		"q\"\x00":              `q"\x00`,
	} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q) = %q, want %q", in, got, want)
		}
	}
	long := quote(strings.Repeat("ä", maxLogged))
	if len(long) > maxLogged+40 || !strings.HasSuffix(long, "(2048 bytes)") || !utf8.ValidString(long) {
		t.Errorf("a long text became %d bytes ending in %q", len(long), long[len(long)-20:])
	}
}

// Nothing hostile reaches a log, whichever of slog's handlers writes it.
func FuzzQuote(f *testing.F) {
	f.Add("a\u202eb\x1b\u0085\xff\n")
	f.Fuzz(func(t *testing.T, s string) {
		var text, js bytes.Buffer
		slog.New(slog.NewTextHandler(&text, nil)).Info("m", "name", quote(s))
		slog.New(slog.NewJSONHandler(&js, nil)).Info("m", "name", quote(s))
		for _, out := range []string{text.String(), js.String()} {
			out = strings.TrimSuffix(out, "\n")
			if i := strings.IndexFunc(out, func(r rune) bool { return !unicode.IsPrint(r) }); i >= 0 || !utf8.ValidString(out) {
				t.Errorf("%q came out as %q", s, out)
			}
		}
	})
}
