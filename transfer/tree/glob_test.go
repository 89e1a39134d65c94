package tree

import (
	"regexp"
	"strings"
	"testing"
)

// matches compiles a pattern and matches a whole text.
func matches(pattern, text string, git bool) bool {
	g := compileGlob("", pattern, git)
	return g != nil && g.match(g.start, text, "")
}

func TestGlob(t *testing.T) {
	for _, c := range []struct {
		pattern   string
		yes, no   string // separated by spaces
		onlyRsync bool
	}{
		{"a", "a", "b aa A", false},
		{"*", "a .a a.b", "a/b", false},
		{"a*b*c", "abc aXbYc abcbc", "ab acb abcX a/bc", false},
		{"?", "a \xff", "ab /", false},
		{"a?c", "abc", "a/c ac", false},
		{"[a-c]", "a b c", "d - A", false},
		{"[!a-c]", "d -", "a b c /", false},
		{"[^a]", "b ^", "a", false},
		{"[]a]", "] a", "b []a]", false},
		{"[!]a]", "b !", "] a", false},
		{"[a-]", "a -", "b", false},
		{"[--0]", "- . 0", "1 /", false},
		{"[a-c-e]", "a b c - e", "d", false},
		{"[b-a]", "b", "a -", false},
		{`[\]]`, "]", `\`, false},
		{`[\a-\c]`, "a b c", `\ -`, false},
		{"[[:alpha:]]", "a Z", "0 _ \xe4", false},
		{"[[:digit:]_]", "0 _", "a :", false},
		{"[![:alnum:]]", "_ -", "a 0 /", false},
		{"[[:x]", "[ : x", "a", false},
		{"[[:]", "[ :", "]", false},
		{"[\x80-\xff]", "\x80 \xff", "a", false},
		{`\*`, "*", `a \*`, false},
		{`a\b*`, "ab abc", `a\b`, false},
		{"**", "a a/b", "", false},
		{"a**b", "ab aXb", "a/c", false},
		{"a**b", "a/b a/x/b", "", true},
		{"[a", "", "a [a", false},
		{"*[", "", "a [ a[", false},
		{"[[:bogus:]]", "", "b : ]", false},
		{"[[::]]", "", ": ]", false},
		{`a\`, "", `a a\`, false},
		{"[/]", "", "/", false},
		{"[!a]b", "xb", "/b", false},
	} {
		for _, git := range []bool{false, true} {
			if git && c.onlyRsync {
				continue
			}
			for _, text := range strings.Fields(c.yes) {
				if !matches(c.pattern, text, git) {
					t.Errorf("%q does not match %q (git: %v)", c.pattern, text, git)
				}
			}
			for _, text := range strings.Fields(c.no) {
				if matches(c.pattern, text, git) {
					t.Errorf("%q matches %q (git: %v)", c.pattern, text, git)
				}
			}
		}
	}
	for _, c := range []struct {
		pattern, text string
		want          bool
	}{
		{"**/a", "a", true}, {"**/a", "x/y/a", true}, {"**/a", "xa", false},
		{"a/**/b", "a/b", true}, {"a/**/b", "a/x/y/b", true}, {"a/**/b", "a/xb", false},
		{"a/**", "a/b/c", true}, {"a/**", "a", false},
		{"a**b", "a/b", false}, {"a**/b", "a/x/b", false},
		{"**/**/a/**/**/b", "a/b", true}, {"**/**/a/**/**/b", "x/a/y/b", true},
	} {
		if got := matches(c.pattern, c.text, true); got != c.want {
			t.Errorf("%q and %q for git: got %v, want %v", c.pattern, c.text, got, c.want)
		}
	}
}

// hostile are patterns for which a matcher that goes back needs time without end. None matches a text without 'z'.
var hostile = []string{
	strings.Repeat("*a", maxPattern/2-1) + "z",
	strings.Repeat("a*", maxPattern/2-1) + "z",
	strings.Repeat("**a", maxPattern/3-1) + "z",
	strings.Repeat("**/", maxPattern/3-1) + "z",
	strings.Repeat("**/a", maxPattern/4-1) + "/z",
	strings.Repeat("*/", maxPattern/2-2) + "**z",
	strings.Repeat("*", maxPattern-2) + "z",
	strings.Repeat("?*", maxPattern/2-1) + "z",
	strings.Repeat("*?", maxPattern/2-1) + "z",
	strings.Repeat("[ab]*", maxPattern/5-1) + "z",
	strings.Repeat("[!b]**", maxPattern/6-1) + "z",
	"a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*z",
	"**a**a**a**a**a**a**a**a**a**a**a**a**z",
	strings.Repeat("[", maxPattern-1),
	strings.Repeat("[[:", maxPattern/3-1),
}

// hostileTexts are what takes longest: a name, and paths.
func hostileTexts() []string {
	name := strings.Repeat("a", 255)
	return []string{name, strings.TrimSuffix(strings.Repeat(name+"/", 16), "/"), strings.Repeat("a/", 2000) + "a"}
}

// TestHostilePatterns does not end where a pattern takes exponential time.
func TestHostilePatterns(t *testing.T) {
	for _, pattern := range hostile {
		for _, text := range hostileTexts() {
			if matches(pattern, text, false) || matches(pattern, text, true) {
				t.Errorf("%.20q... matches %.20q...", pattern, text)
			}
		}
		match := strings.HasSuffix(pattern, "*z") && !strings.Contains(pattern, "/")
		if match && !strings.Contains(pattern, "b") && !matches(pattern, strings.Repeat("a", 4000)+"z", false) {
			t.Errorf("%.20q... does not match a long name", pattern)
		}
	}
}

// asRegexp says a pattern as a regular expression over runes that are bytes.
func asRegexp(t testing.TB, pattern string, git bool) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)\A`)
	set := func(s byteSet) {
		b.WriteString("(?:")
		for c := range 256 {
			if s.has(byte(c)) {
				b.WriteString(regexp.QuoteMeta(string(rune(c))) + "|")
			}
		}
		b.WriteString("[^\\x{0}-\\x{10FFFF}])")
	}
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '*':
			before := i == 0 || pattern[i-1] == '/'
			n := len(pattern[i:]) - len(strings.TrimLeft(pattern[i:], "*"))
			i += n - 1
			rest := pattern[i+1:]
			switch {
			case n == 1:
				b.WriteString("[^/]*")
			case !git:
				b.WriteString(".*")
			case before && strings.HasPrefix(rest, "/"):
				b.WriteString("(?:.*/)?")
				i++
			case before && (rest == "" || strings.HasPrefix(rest, `\/`)):
				b.WriteString(".*")
			default:
				b.WriteString("[^/]*")
			}
		case '?':
			b.WriteString("[^/]")
		case '[':
			s, end, ok := parseClass(pattern, i+1)
			if !ok {
				return nil
			}
			set(s)
			i = end
		case '\\':
			if i++; i == len(pattern) {
				return nil
			}
			b.WriteString(regexp.QuoteMeta(string(rune(pattern[i]))))
		default:
			b.WriteString(regexp.QuoteMeta(string(rune(c))))
		}
	}
	b.WriteString(`\z`)
	r, err := regexp.Compile(b.String())
	if err != nil {
		t.Skip(err) // too large
	}
	return r
}

func runes(s string) string {
	r := make([]rune, len(s))
	for i := range len(s) {
		r[i] = rune(s[i])
	}
	return string(r)
}

// FuzzGlob compares with regular expressions, in one step and in several as a walk takes them.
func FuzzGlob(f *testing.F) {
	for _, p := range []string{
		"a*b?c", "**/a/**", "[!a-c]*", `\**`, "a**b/**/c", "[[:alpha:]]", "**/**/a", "*a*a*a*b", "[a-", strings.Repeat("a*", 80), "[]-a]", "**/" + strings.Repeat("x", 62) + "/**/y",
	} {
		f.Add(p, "a/b/c", true)
		f.Add(p, "aXbYc", false)
	}
	f.Fuzz(func(t *testing.T, pattern, text string, git bool) {
		if len(pattern) > 300 || len(text) > 1000 {
			t.Skip("regular expressions are slow")
		}
		want := false
		if r := asRegexp(t, pattern, git); r != nil {
			want = r.MatchString(runes(text))
		}
		g := compileGlob("", pattern, git)
		if g == nil {
			if want {
				t.Fatalf("%q never matches, but it should %q", pattern, text)
			}
			return
		}
		if got := g.match(g.start, text, ""); got != want {
			t.Errorf("%q and %q (git: %v): got %v, want %v", pattern, text, git, got, want)
		}
		if !strings.Contains(pattern, "/") && !strings.Contains(text, "/") && !strings.Contains(pattern, "**") {
			if got := g.matchName(text); got != want {
				t.Errorf("%q and name %q: got %v, want %v", pattern, text, got, want)
			}
		}
		// What stands before the wildcards of git's patterns may be compared apart.
		if i := strings.IndexAny(pattern, `*?[\`); !git && i > 0 {
			if g := compileGlob(pattern[:i], pattern[i:], git); g.match(g.start, text, "") != want {
				t.Errorf("%q and %q in two parts: want %v", pattern, text, want)
			}
		}
	})
}
