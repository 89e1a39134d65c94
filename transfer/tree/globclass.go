package tree

import "strings"

// byteSet is a set of bytes.
type byteSet [4]uint64

func (s *byteSet) add(c byte)      { s[c/64] |= 1 << (c % 64) }
func (s *byteSet) remove(c byte)   { s[c/64] &^= 1 << (c % 64) }
func (s *byteSet) has(c byte) bool { return s[c/64]>>(c%64)&1 != 0 }

// addRange adds the bytes from lo to hi; none where hi is the smaller.
func (s *byteSet) addRange(lo, hi byte) {
	for c := int(lo); c <= int(hi); c++ {
		s.add(byte(c))
	}
}

// parseClass reads the class behind the '[' that is before p[i]: "a-z]", "!a]", "^a]", "[:alpha:]_]", "]a]". end is where
// its ']' is. It is not ok where the class has no end, or a name that is none: rsync and git match nothing then.
// No class takes '/'. Names mean what they mean in the C locale.
func parseClass(p string, i int) (set byteSet, end int, ok bool) {
	negated := i < len(p) && (p[i] == '!' || p[i] == '^')
	if negated {
		i++
	}
	var before byte // what a '-' would begin its range with; 0 = nothing that can
	for first := true; ; first, i = false, i+1 {
		if i >= len(p) {
			return set, 0, false
		}
		c := p[i]
		switch {
		case c == ']' && !first:
			if negated {
				for w := range set {
					set[w] = ^set[w]
				}
			}
			set.remove('/')
			return set, i, true
		case c == '-' && before != 0 && i+1 < len(p) && p[i+1] != ']':
			i++
			if p[i] == '\\' {
				i++
			}
			if i >= len(p) {
				return set, 0, false
			}
			set.addRange(before, p[i])
			before = 0
			continue
		case c == '[' && strings.HasPrefix(p[i+1:], ":"):
			name, _, closed := strings.Cut(p[i+2:], "]")
			if !closed {
				return set, 0, false
			}
			if strings.HasSuffix(name, ":") {
				if !set.addNamed(name[:len(name)-1]) {
					return set, 0, false
				}
				i += 2 + len(name)
				before = 0
				continue
			}
		case c == '\\':
			i++
			if i >= len(p) {
				return set, 0, false
			}
			c = p[i]
		}
		set.add(c)
		before = c
	}
}

// addNamed adds the bytes of a class such as "alpha". It is false where there is no such class.
func (s *byteSet) addNamed(name string) bool {
	ranges, ok := map[string]string{
		"alnum":  "09AZaz",
		"alpha":  "AZaz",
		"blank":  "\t\t  ",
		"cntrl":  "\x00\x1f\x7f\x7f",
		"digit":  "09",
		"graph":  "!~",
		"lower":  "az",
		"print":  " ~",
		"punct":  "!/:@[`{~",
		"space":  "\t\r  ",
		"upper":  "AZ",
		"xdigit": "09AFaf",
	}[name]
	for i := 0; i < len(ranges); i += 2 {
		s.addRange(ranges[i], ranges[i+1])
	}
	return ok
}
