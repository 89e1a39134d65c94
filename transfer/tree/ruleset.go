package tree

import (
	"math"
	"strings"
)

// ruleSet is a list of rules of which the first that matches decides. Rules without wildcards are found by the last
// component of the path, so that a list of many thousand names costs no more than one of ten.
type ruleSet struct {
	keep  []bool // of each rule, what it decides
	exact map[string][]exactRule
	names []nameRule
	paths []pathRule
}

// exactRule is a rule without wildcards.
type exactRule struct {
	no       int
	dirOnly  bool
	anchored bool   // above is the whole path, else its end
	above    string // what is before the last component, with slashes between, without one at its end
}

// nameRule is a rule with wildcards for the last component of the path alone.
type nameRule struct {
	no      int
	dirOnly bool
	glob    *glob
}

// pathRule is a rule with wildcards for the path.
type pathRule struct {
	no      int
	dirOnly bool
	glob    *glob
	start   []uint64 // the states before the path
	again   bool     // it may begin at each component
	within  bool     // "dir/***": a directory has a '/' at its end
	hot     int      // from this state on, a name without '/' can lead to the end
}

// add takes the place of the next rule.
func (s *ruleSet) add(keep bool) int {
	s.keep = append(s.keep, keep)
	return len(s.keep) - 1
}

// addExact adds r for path. No path of a tree begins with '/'.
func (s *ruleSet) addExact(path string, r exactRule) {
	if strings.HasPrefix(path, "/") {
		return
	}
	name := path
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		name, r.above = path[i+1:], path[:i]
	}
	if s.exact == nil {
		s.exact = map[string][]exactRule{}
	}
	s.exact[name] = append(s.exact[name], r)
}

// addPath adds r with what follows from its glob.
func (s *ruleSet) addPath(r pathRule) {
	if r.start == nil {
		r.start = r.glob.start
	}
	if !r.within {
		r.hot = r.glob.lastSlash + 1
	}
	s.paths = append(s.paths, r)
}

// rules are those of a ruleSet in one directory.
type rules struct {
	set  *ruleSet
	base *DirFilter // where anchored rules begin
	live []liveRule // the path rules that something in the directory or beneath it can match
}

// liveRule is a path rule behind the path of a directory and its '/'.
type liveRule struct {
	*pathRule
	states []uint64
	hot    bool
}

// begin returns the rules for the directory base, where paths begin.
func (s *ruleSet) begin(base *DirFilter) rules {
	r := rules{set: s, base: base}
	if len(s.paths) > 0 {
		r.live = make([]liveRule, 0, len(s.paths))
	}
	for i := range s.paths {
		p := &s.paths[i]
		r.live = append(r.live, liveRule{p, p.start, p.isHot(p.start)})
	}
	return r
}

// enter returns the rules for the directory name.
func (r rules) enter(name string) rules {
	if len(r.live) == 0 {
		return r
	}
	words := 0
	for i := range r.live {
		words += len(r.live[i].states)
	}
	live, free := make([]liveRule, 0, len(r.live)), make([]uint64, words)
	for _, l := range r.live {
		n := copy(free, l.states)
		states := free[:n:n]
		free = free[n:]
		l.glob.run(states, name)
		l.glob.run(states, "/")
		if l.again {
			for w, x := range l.glob.start {
				states[w] |= x
			}
		}
		if !zero(states) {
			live = append(live, liveRule{l.pathRule, states, l.isHot(states)})
		}
	}
	r.live = live
	return r
}

// isHot tells whether a name alone can lead from the states to the end.
func (r *pathRule) isHot(states []uint64) bool {
	w := r.hot / 64
	return states[w]>>(r.hot%64) != 0 || !zero(states[w+1:])
}

func zero(s []uint64) bool {
	for _, x := range s {
		if x != 0 {
			return false
		}
	}
	return true
}

// find returns what the first rule that matches the name in the directory d decides.
func (r *rules) find(d *DirFilter, name string, isDir bool) (keep, found bool) {
	first := math.MaxInt
	if len(r.set.exact) > 0 {
		for _, e := range r.set.exact[name] {
			if (isDir || !e.dirOnly) && e.is(d, r.base) {
				first = e.no
				break
			}
		}
	}
	for i := range r.live {
		l := &r.live[i]
		if l.no >= first {
			break
		}
		if !l.hot || l.dirOnly && !isDir || !l.within && !strings.HasSuffix(name, l.glob.tail) {
			continue
		}
		end := ""
		if l.within && isDir {
			end = "/"
		}
		if l.glob.match(l.states, name, end) {
			first = l.no
		}
	}
	for i := range r.set.names {
		n := &r.set.names[i]
		if n.no >= first {
			break
		}
		if (isDir || !n.dirOnly) && n.glob.matchName(name) {
			first = n.no
		}
	}
	if first == math.MaxInt {
		return false, false
	}
	return r.set.keep[first], true
}

// is tells whether above is the path, or its end, of the directory d, which begins at base.
func (r *exactRule) is(d, base *DirFilter) bool {
	above := r.above
	for ; above != "" && d != base; d = d.parent {
		rest, ok := strings.CutSuffix(above, d.name)
		if !ok {
			return false
		}
		if rest == "" {
			above = ""
			continue
		}
		if above, ok = strings.CutSuffix(rest, "/"); !ok {
			return false
		}
	}
	return above == "" && (!r.anchored || d == base)
}
