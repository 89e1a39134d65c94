package cli

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// quote returns a name as it may be shown: unchanged where every character is printable and nothing could be mistaken, else
// in double quotes with Go's escapes. Control, C1, bidirectional and other format characters and bytes that are not UTF-8 are
// always escaped.
func quote(name string) string {
	if name != "" && isPlain(name) {
		return name
	}
	return strconv.Quote(name)
}

func isPlain(name string) bool {
	if strings.HasPrefix(name, " ") || strings.HasSuffix(name, " ") {
		return false
	}
	for _, r := range name {
		if r == '"' || r == '\\' || r == utf8.RuneError || !strconv.IsPrint(r) {
			return false
		}
	}
	return true
}

// clean makes text of any origin fit for one line of a terminal or log: what isPlain would not pass is escaped, quotes and
// backslashes stay.
func clean(text string) string {
	if utf8.ValidString(text) && strings.IndexFunc(text, unprintable) < 0 {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		if r == utf8.RuneError && n == 1 || unprintable(r) {
			q := strconv.Quote(text[:n])
			b.WriteString(q[1 : len(q)-1])
		} else {
			b.WriteString(text[:n])
		}
		text = text[n:]
	}
	return b.String()
}

func unprintable(r rune) bool { return !strconv.IsPrint(r) }

// sumLine is a line of b3sum's format without its end. Names with a newline or a backslash are escaped as b3sum does it, with a
// backslash before the hash; what else could harm a terminal is quoted, which b3sum --check does not read back.
func sumLine(hash, name string) string {
	if isPlain(name) {
		return hash + "  " + name
	}
	escaped := strings.NewReplacer(`\`, `\\`, "\n", `\n`, "\r", `\r`).Replace(name)
	if name != "" && strings.IndexFunc(escaped, unprintable) < 0 && utf8.ValidString(escaped) {
		if escaped != name {
			return `\` + hash + "  " + escaped
		}
		return hash + "  " + name
	}
	return hash + "  " + strconv.Quote(name)
}
