package tree

import "strings"

// glob is a compiled pattern. It matches as a set of states that goes on with each byte, all states at once as the
// bits of words, so that the time is that of the text times the words of the pattern, whatever the pattern is: at most
// 64 words of 64 states. Nothing is tried twice, and a state after a directory's path is kept for all names in it.
//
// State i waits for token i, which takes one byte; state n accepts. A '*' before token i makes state i stay.
// The idea is the bit-parallel simulation of Baeza-Yates and Gonnet ("shift and").
type glob struct {
	n     int
	words int
	class [256]uint8 // of each byte: bytes that no token tells apart have the same
	mask  []uint64   // words for each class: the tokens that take it
	star  []uint64   // states that stay for any byte but '/'
	deep  []uint64   // states that stay for any byte
	skip  []uint64   // states that, where they are entered, enter the next one too: "**/" matches nothing as well
	start []uint64   // states before the first byte

	head, tail string // a text that matches begins and ends so; neither has a '/' that a name would lack
	plain      bool   // it is head, one '*' and tail
	fixed      bool   // there is no '*': a text that matches has n bytes
	lastSlash  int    // the last token that takes '/' alone; -1 without
	slashes    int    // how many such tokens there are
}

// maxPattern is the longest pattern in bytes: the longest of rsync, and of a path.
const maxPattern = 4095

// globToken takes one byte of a set. Before it is what the state that waits for it does.
type globToken struct {
	before globState
	set    byteSet
	lit    bool // the set has one byte
	c      byte // it
}

// globState is how a state differs from one that only waits.
type globState uint8

const (
	starState globState = 1 << iota // stays for any byte but '/'
	deepState                       // stays for '/' too
	skipState                       // enters the next one where it is entered
)

// globParser makes the tokens of a pattern.
type globParser struct {
	tokens []globToken
	state  globState // the one behind the last token
}

// compileGlob compiles the text literal, and behind it pattern with its wildcards. git selects where "**" is more than
// '*': for git between slashes only (and at the start of pattern, even where literal stands before it), for rsync
// everywhere. It returns nil for a pattern that no text matches since it has no end: "[a", "[[:x:]]", "a\".
func compileGlob(literal, pattern string, git bool) *glob {
	p := globParser{tokens: make([]globToken, 0, len(literal)+len(pattern))}
	for i := range len(literal) {
		p.literal(literal[i])
	}
	if !p.parse(pattern, git) {
		return nil
	}
	return p.compile()
}

func (p *globParser) literal(c byte) {
	t := globToken{lit: true, c: c}
	t.set.add(c)
	p.token(t)
}

func (p *globParser) token(t globToken) {
	t.before = p.state
	p.tokens = append(p.tokens, t)
	p.state = 0
}

func (p *globParser) parse(pattern string, git bool) bool {
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; c {
		case '*':
			end := i + 1
			for end < len(pattern) && pattern[end] == '*' {
				end++
			}
			p.stars(pattern, i, end, git)
			i = end - 1
		case '?':
			var t globToken
			t.set.addRange(0, 255)
			t.set.remove('/')
			p.token(t)
		case '[':
			set, end, ok := parseClass(pattern, i+1)
			if !ok {
				return false
			}
			p.token(globToken{set: set})
			i = end
		case '\\':
			if i++; i == len(pattern) {
				return false
			}
			p.literal(pattern[i])
		default:
			p.literal(c)
		}
	}
	return true
}

// stars takes the stars pattern[i:end].
func (p *globParser) stars(pattern string, i, end int, git bool) {
	p.state = starState
	if end-i == 1 {
		return
	}
	if !git {
		p.state |= deepState
		return
	}
	rest := pattern[end:]
	if i > 0 && pattern[i-1] != '/' || rest != "" && rest[0] != '/' && !strings.HasPrefix(rest, `\/`) {
		return
	}
	p.state |= deepState
	if !strings.HasPrefix(rest, "/") {
		return
	}
	p.state |= skipState
	if last := len(p.tokens) - 1; last >= 0 && p.tokens[last].before&skipState != 0 {
		p.tokens = p.tokens[:last] // "**/**/" is "**/": no two skips follow each other
	}
}

func (p *globParser) compile() *glob {
	n := len(p.tokens)
	g := &glob{n: n, words: n/64 + 1, lastSlash: -1}
	classes := p.classify(&g.class)
	words := make([]uint64, (classes+4)*g.words) // all in one piece
	cut := func(k int) []uint64 {
		w := words[: k*g.words : k*g.words]
		words = words[k*g.words:]
		return w
	}
	g.mask, g.star, g.deep, g.skip, g.start = cut(classes), cut(1), cut(1), cut(1), cut(1)

	var member [256]byte // of each class, one
	for c, k := range g.class {
		member[k] = byte(c)
	}
	for i := range p.tokens {
		t := &p.tokens[i]
		g.state(i, t.before)
		if t.lit {
			g.mask[int(g.class[t.c])*g.words+i/64] |= 1 << (i % 64)
			if t.c == '/' {
				g.lastSlash = i
				g.slashes++
			}
			continue
		}
		for k := range classes {
			if t.set.has(member[k]) {
				g.mask[k*g.words+i/64] |= 1 << (i % 64)
			}
		}
	}
	g.state(n, p.state)
	g.start[0] = 1 | g.skip[0]&1<<1
	p.ends(g)
	return g
}

// state sets how state i behaves.
func (g *glob) state(i int, s globState) {
	word, bit := i/64, uint64(1)<<(i%64)
	if s&starState != 0 {
		g.star[word] |= bit
	}
	if s&deepState != 0 {
		g.deep[word] |= bit
	}
	if s&skipState != 0 {
		g.skip[word] |= bit
	}
}

// classify puts bytes that no token tells apart into one class, and returns how many classes there are.
func (p *globParser) classify(class *[256]uint8) int {
	classes := 1
	alone := func(c byte) {
		for other, k := range class {
			if k == class[c] && other != int(c) {
				class[c] = uint8(classes)
				classes++
				return
			}
		}
	}
	alone('/')
	var done byteSet
	for i := range p.tokens {
		t := &p.tokens[i]
		if t.lit {
			if !done.has(t.c) {
				done.add(t.c)
				alone(t.c)
			}
			continue
		}
		var inside [256]int // the class of those inside the set that were in class k; 0 = not split yet
		var in, out [256]bool
		for c, k := range class {
			if t.set.has(byte(c)) {
				in[k] = true
			} else {
				out[k] = true
			}
		}
		for c, k := range class {
			if !in[k] || !out[k] || !t.set.has(byte(c)) {
				continue
			}
			if inside[k] == 0 {
				inside[k] = classes
				classes++
			}
			class[c] = uint8(inside[k])
		}
	}
	return classes
}

// ends sets what can be compared without states.
func (p *globParser) ends(g *glob) {
	text := func(tokens []globToken) string {
		var b strings.Builder
		for _, t := range tokens {
			b.WriteByte(t.c)
		}
		return b.String()
	}
	n := len(p.tokens)
	stars := 0
	for _, t := range p.tokens {
		if t.before != 0 {
			stars++
		}
	}
	head := 0
	for head < n && p.tokens[head].before == 0 && p.tokens[head].lit && p.tokens[head].c != '/' {
		head++
	}
	tail := n
	if p.state == 0 {
		for tail > 0 && p.tokens[tail-1].lit && p.tokens[tail-1].c != '/' {
			tail--
			if p.tokens[tail].before != 0 {
				break
			}
		}
	} else {
		stars++
	}
	g.head, g.tail = text(p.tokens[:head]), text(p.tokens[tail:])
	g.fixed = stars == 0
	g.plain = stars == 1 && head == tail
}

// accepts tells whether the bit of the accepting state is set.
func (g *glob) accepts(s []uint64) bool { return s[g.n/64]>>(g.n%64)&1 != 0 }

// run goes on from the states s with the bytes of text, and puts the states behind it into s.
func (g *glob) run(s []uint64, text string) {
	if g.words == 1 {
		s[0] = g.run1(s[0], text)
		return
	}
	for i := range len(text) {
		c, stay := text[i], g.star
		if c == '/' {
			stay = g.deep
		}
		mask := g.mask[int(g.class[c])*g.words:]
		var carry, over, all uint64
		for w, x := range s {
			taken := x & mask[w]
			next := taken<<1 | carry
			carry = taken >> 63
			skip := next & g.skip[w]
			next |= skip<<1 | over
			over = skip >> 63
			next |= x & stay[w]
			s[w] = next
			all |= next
		}
		if all == 0 {
			return
		}
	}
}

// run1 is run for a glob of one word.
func (g *glob) run1(s uint64, text string) uint64 {
	star, deep, skip := g.star[0], g.deep[0], g.skip[0]
	for i := 0; i < len(text) && s != 0; i++ {
		c, stay := text[i], star
		if c == '/' {
			stay = deep
		}
		next := (s & g.mask[g.class[c]]) << 1
		next |= (next & skip) << 1
		s = next | s&stay
	}
	return s
}

// maxWords is the number of words of the longest pattern.
const maxWords = maxPattern/64 + 1

// match tells whether the text, and then end, lead from the states s to the accepting one.
func (g *glob) match(s []uint64, text, end string) bool {
	if g.words == 1 {
		return g.run1(g.run1(s[0], text), end)>>g.n&1 != 0
	}
	var buf [maxWords]uint64
	t := buf[:copy(buf[:], s)]
	g.run(t, text)
	g.run(t, end)
	return g.accepts(t)
}

// matchName tells whether the glob, which has no '/', matches a name.
func (g *glob) matchName(name string) bool {
	switch {
	case len(name) < g.n || g.fixed && len(name) > g.n:
		return false
	case !strings.HasPrefix(name, g.head) || !strings.HasSuffix(name, g.tail):
		return false
	}
	return g.plain || g.match(g.start, name, "")
}
