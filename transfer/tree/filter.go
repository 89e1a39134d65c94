package tree

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// Filter says which names of a tree are left out: by rules in the order the user gave them, of which the first that
// matches decides, then by the .gitignore files of the tree, the last line that matches in the nearest file first. What
// nothing matches is kept, and what is beneath a directory that is left out is left out too.
//
// Rules mean what they mean to rsync (its manual, "FILTER RULES" and "PATTERN MATCHING RULES"), byte by byte: a name is
// bytes, not text. Lines of a .gitignore mean what they mean to git (gitignore(5)). No pattern costs more than its length
// times that of the name, however it is written.
//
// The zero value keeps everything. A Filter is changed before the first walk only, by one goroutine.
type Filter struct {
	set     ruleSet
	text    []string // of the rules in set
	bytes   int
	ignore  bool
	files   *FileList
	recurse bool
}

// The most that a Filter takes: rules, and bytes of their text.
const (
	maxRules     = 200_000
	maxRuleBytes = 16 << 20
)

// The most that ParseRules takes, which has its lines from a peer. Those that have both a '/', or "**", and a wildcard need
// memory in each directory that leads to where a walk is.
const (
	MaxSentRules     = 10_000
	MaxSentRuleBytes = 256 << 10
	MaxSentWildPaths = 1000
)

// ErrManyRules is the error of more rules, or longer ones, than a filter takes.
var ErrManyRules = errors.New("too many rules")

// NewFilter returns a filter that keeps everything.
func NewFilter() *Filter { return &Filter{} }

// Exclude adds a rule as --exclude does. As with rsync "+ P" is an include all the same, "- P" an exclude, "!" drops all
// rules so far, and "" is nothing. A pattern has at most 4095 bytes and no NUL.
func (f *Filter) Exclude(pattern string) error { return f.rule(pattern, false) }

// Include adds a rule as --include does. Prefixes are those of Exclude.
func (f *Filter) Include(pattern string) error { return f.rule(pattern, true) }

// ExcludeFrom adds the rules of a file as --exclude-from does: one a line, those that begin with '#' or ';' left out.
// With from0 they end with a NUL. An error names the line; rules before it are added.
func (f *Filter) ExcludeFrom(r io.Reader, from0 bool) error {
	lines := newLineReader(r, from0, maxPattern+2)
	for {
		line, err := lines.next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case line[0] == '#' || line[0] == ';':
			continue
		}
		if err := f.Exclude(string(line)); err != nil {
			return lines.fault(err)
		}
	}
}

// Gitignore says whether the .gitignore files of the tree count: each for its directory and what is beneath, but none of
// directories above the tree, nor .git/info/exclude, nor the user's own file.
//
// ".git", and what is in it, is never left out by a .gitignore, whatever matches: to git its own directory is no content
// that could be ignored, and a copy of a work tree with half of its repository, or without it, is a loss that nobody
// sees. Who wants that says --exclude=.git.
func (f *Filter) Gitignore(on bool) { f.ignore = on }

// Files keeps of a tree only what the list has: its names, the directories that lead to them, and with recurse all that
// is beneath them. As with rsync rules do not leave out a directory that leads to a name of the list; they may leave out
// that name, and what is beneath it. Other than with rsync such a directory is kept although the only names it leads to
// are missing or left out. One list serves one walk at a time.
func (f *Filter) Files(list *FileList, recurse bool) { f.files, f.recurse = list, recurse }

// Rules returns the rules as lines for ParseRules. The list of Files is not among them.
func (f *Filter) Rules() []string {
	lines := append([]string(nil), f.text...)
	if f.ignore {
		lines = append(lines, ignoreRule)
	}
	return lines
}

// ignoreRule is the line that stands for Gitignore.
const ignoreRule = "gitignore"

// ParseRules makes a filter of the lines that Rules returned elsewhere: "- PATTERN", "+ PATTERN", and as the last one
// "gitignore". The lines may be hostile. Errors are ErrManyRules and those that name a line.
func ParseRules(lines []string) (*Filter, error) {
	n := 0
	for _, line := range lines {
		n += len(line)
	}
	if len(lines) > MaxSentRules || n > MaxSentRuleBytes {
		return nil, fmt.Errorf("%w: at most %d of together %d bytes", ErrManyRules, MaxSentRules, MaxSentRuleBytes)
	}
	f := NewFilter()
	for i, line := range lines {
		if line == ignoreRule && i == len(lines)-1 {
			f.ignore = true
			continue
		}
		if len(line) < 3 || line[:2] != "- " && line[:2] != "+ " {
			return nil, fmt.Errorf("rule %d is none: %.40q", i+1, line)
		}
		if err := f.rule(line, false); err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
		if len(f.set.paths) > MaxSentWildPaths {
			return nil, fmt.Errorf("%w: at most %d with wildcards for a path", ErrManyRules, MaxSentWildPaths)
		}
	}
	return f, nil
}

// rule adds a rule in the syntax of rsync's --include and --exclude, which is keep or not where it has no prefix.
func (f *Filter) rule(text string, keep bool) error {
	pattern, prefixed := strings.CutPrefix(text, "- ")
	if prefixed {
		keep = false
	} else if pattern, prefixed = strings.CutPrefix(text, "+ "); prefixed {
		keep = true
	}
	switch {
	case text == "":
		return nil
	case text == "!":
		f.set, f.text, f.bytes = ruleSet{}, nil, 0
		return nil
	case pattern == "":
		return fmt.Errorf("there is no pattern behind %q", text)
	case len(pattern) > maxPattern:
		return fmt.Errorf("the pattern %.40q... is longer than %d bytes", pattern, maxPattern)
	case strings.IndexByte(pattern, 0) >= 0:
		return fmt.Errorf("the pattern %.40q has a NUL, as no name has", pattern)
	case len(f.text) == maxRules || f.bytes+len(pattern) > maxRuleBytes:
		return fmt.Errorf("%w: at most %d of together %d bytes", ErrManyRules, maxRules, maxRuleBytes)
	}
	f.set.addRsync(pattern, keep)
	f.bytes += len(pattern)
	sign := "- "
	if keep {
		sign = "+ "
	}
	f.text = append(f.text, sign+pattern)
	return nil
}

// addRsync adds a rule of rsync. What its manual does not say is said by rsync's exclude.c (add_rule, rule_matches):
// whether "**", "***" and '/' are in a pattern goes by its bytes, wherever they stand.
func (s *ruleSet) addRsync(pattern string, keep bool) {
	no := s.add(keep)
	pattern, dirOnly := strings.CutSuffix(pattern, "/")
	slashes := strings.Count(pattern, "/")
	deep := strings.Contains(pattern, "**")
	open := strings.HasPrefix(pattern, "**")
	path, anchored := strings.CutPrefix(pattern, "/")

	if !strings.ContainsAny(pattern, "*[?") {
		s.addExact(path, exactRule{no: no, dirOnly: dirOnly, anchored: anchored})
		return
	}
	glob := compileGlob("", path, false)
	switch {
	case glob == nil:
	case slashes == 0 && !deep:
		s.names = append(s.names, nameRule{no, dirOnly, glob})
	case anchored:
		s.addPath(pathRule{no: no, dirOnly: dirOnly, glob: glob, within: strings.HasSuffix(pattern, "***")})
	case open:
		// The path has a '/' before it, so that "**/a" matches "a".
		start := append([]uint64(nil), glob.start...)
		glob.run(start, "/")
		s.addPath(pathRule{no: no, dirOnly: dirOnly, glob: glob, start: start, within: strings.HasSuffix(pattern, "***")})
	case deep:
		s.addPath(pathRule{no: no, dirOnly: dirOnly, glob: glob, again: true, within: strings.HasSuffix(pattern, "***")})
	case glob.slashes == slashes:
		// As many components as the pattern has slashes, and one, up to the end of the path.
		s.addPath(pathRule{no: no, dirOnly: dirOnly, glob: glob, again: true})
	}
}
