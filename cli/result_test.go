package cli

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestJSONIsPrintable(t *testing.T) {
	for _, text := range []string{
		"plain", "caf\u00e9 \u65e5\u672c \U0001f600", "\x00\x1b[31m\x7f", "\u0080\u009b31m\u009f", "\u202egnp.exe\u2066\u2069\u200f\u061c", "\u2028\u2029\ufeff",
		"\U000e0001\U000e0041", "\ufffd", `back\slash "quoted" <b> &`,
	} {
		line := string(marshalLine(map[string]string{"path": text, text: "key"}))
		if i := strings.IndexFunc(strings.TrimSuffix(line, "\n"), unprintable); i >= 0 {
			t.Errorf("%q: %q at %d", text, line, i)
		}
		var back map[string]string
		if err := json.Unmarshal([]byte(line), &back); err != nil || back["path"] != text || back[text] != "key" {
			t.Errorf("%q comes back as %q, %v", text, back, err)
		}
	}
}
