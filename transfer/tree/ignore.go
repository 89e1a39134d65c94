package tree

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// ignoreName is the name of the files in which a tree says what to leave out of it.
const ignoreName = ".gitignore"

// The most that a .gitignore file may have, and the patterns of all that count in one directory. A tree may be hostile.
const (
	maxIgnoreBytes    = 256 << 10
	maxIgnoreLines    = 10_000
	maxIgnoreAllBytes = 1 << 20
	maxIgnoreAllLines = 20_000
	maxIgnoreAllPaths = 1000 // patterns with both a '/' and a wildcard
)

// ignoreCost is what the patterns of some files need.
type ignoreCost struct{ bytes, lines, paths int }

// readIgnore adds the .gitignore of the directory, if there is one and it counts.
func (d *DirFilter) readIgnore(dir Opener) error {
	if !d.filter.ignore || dir == nil {
		return nil
	}
	f, err := dir(ignoreName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxIgnoreBytes+1))
	if err != nil {
		return fmt.Errorf("%s: %w", ignoreName, err)
	}
	if len(b) > maxIgnoreBytes {
		return fmt.Errorf("%s: %w: it is longer than %d bytes", ignoreName, ErrManyRules, maxIgnoreBytes)
	}
	set, cost, err := parseIgnore(b)
	if err != nil {
		return fmt.Errorf("%s: %w", ignoreName, err)
	}
	d.cost.bytes += cost.bytes
	d.cost.lines += cost.lines
	d.cost.paths += cost.paths
	if d.cost.bytes > maxIgnoreAllBytes || d.cost.lines > maxIgnoreAllLines || d.cost.paths > maxIgnoreAllPaths {
		return fmt.Errorf("%s: %w: with those of the directories above at most %d patterns, %d of them with '/' and wildcards, of together %d bytes",
			ignoreName, ErrManyRules, maxIgnoreAllLines, maxIgnoreAllPaths, maxIgnoreAllBytes)
	}
	if cost.lines > 0 {
		d.ignores = append(d.ignores, set.begin(d))
	}
	return nil
}

// parseIgnore reads a .gitignore as git does (gitignore(5); what that does not say is said by git's dir.c: a NUL ends a
// line, and one '\r' before '\n' is none of it). cost is that of the lines with a pattern.
func parseIgnore(b []byte) (set *ruleSet, cost ignoreCost, err error) {
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))
	var patterns []string
	for no := 1; len(b) > 0; no++ {
		text, rest, _ := bytes.Cut(b, []byte("\n"))
		b = rest
		if len(text) == 0 || text[0] == '#' {
			continue
		}
		text = bytes.TrimSuffix(text, []byte("\r"))
		text, _, _ = bytes.Cut(text, []byte{0})
		if text = trimSpaces(text); len(text) == 0 {
			continue
		}
		if len(text) > maxPattern {
			return nil, cost, fmt.Errorf("line %d is longer than %d bytes", no, maxPattern)
		}
		cost.bytes += len(text)
		if cost.lines++; cost.lines > maxIgnoreLines {
			return nil, cost, fmt.Errorf("%w: more than %d lines", ErrManyRules, maxIgnoreLines)
		}
		patterns = append(patterns, string(text))
	}
	set = &ruleSet{}
	for _, p := range slices.Backward(patterns) { // the last one that matches decides
		set.addGit(p)
	}
	cost.paths = len(set.paths)
	return set, cost, nil
}

// trimSpaces takes the spaces off the end of a line, but for one behind a '\'.
func trimSpaces(line []byte) []byte {
	end := 0
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case ' ':
			continue
		case '\\':
			if i++; i == len(line) {
				return line
			}
		}
		end = i + 1
	}
	return line[:end]
}

// addGit adds a line of a .gitignore.
func (s *ruleSet) addGit(pattern string) {
	pattern, keep := strings.CutPrefix(pattern, "!")
	no := s.add(keep)
	pattern, dirOnly := strings.CutSuffix(pattern, "/")
	plain := pattern // up to the first wildcard
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		plain = pattern[:i]
	}
	if !strings.Contains(pattern, "/") {
		if plain == pattern {
			s.addExact(pattern, exactRule{no: no, dirOnly: dirOnly})
		} else if glob := compileGlob("", pattern, true); glob != nil {
			s.names = append(s.names, nameRule{no, dirOnly, glob})
		}
		return
	}
	if plain == pattern {
		s.addExact(strings.TrimPrefix(pattern, "/"), exactRule{no: no, dirOnly: dirOnly, anchored: true})
		return
	}
	pattern = pattern[len(plain):]
	if glob := compileGlob(strings.TrimPrefix(plain, "/"), pattern, true); glob != nil {
		s.addPath(pathRule{no: no, dirOnly: dirOnly, glob: glob})
	}
}
