package tree

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sort"
	"strings"
)

// FileList is a list of names relative to the start of a tree, as --files-from takes it. It needs the bytes of the names
// and 8 for each. It is used by one goroutine at a time.
type FileList struct {
	chunks  [][]byte
	entries []listEntry // ascending, each name once
	seen    []uint64    // a bit for each entry that the walk found
	cost    int64
	maxCost int64
	scratch []byte
}

// listEntry says where a name is.
type listEntry struct {
	off   uint32 // chunkSize times the number of the chunk, and the place in it
	len   uint16 // 0 for the start itself
	slash bool   // it was written with a '/' at its end
}

const (
	chunkSize   = 1 << 20
	entryCost   = 8
	maxListCost = 1 << 30
	maxListPath = 4095
)

// ErrListTooLong is the error of a list that needs more than 1 GiB.
var ErrListTooLong = errors.New("the list needs more than 1 GiB")

// ReadFilesFrom reads a list of names, one a line: lines that begin with '#' or ';' and empty ones are left out. With
// from0 each name ends with a NUL, and nothing is a comment, since a list that a program made has names that begin so
// (rsync drops them). Names are bytes. A "./" or '/' at the begin is dropped, and repeated slashes are one. "a" is a file, a
// symbolic link, or a directory without what is in it; "a/" a directory with the names in it, but not what is in
// those; "." is the start, as "a/" is.
//
// "..", a "." between other components (where rsync cuts off what is before it), a name of more than 4095 bytes, and a
// NUL without from0 are errors that name the line.
func ReadFilesFrom(r io.Reader, from0 bool) (*FileList, error) {
	return readFilesFrom(r, from0, maxListCost)
}

func readFilesFrom(r io.Reader, from0 bool, maxCost int64) (*FileList, error) {
	l := &FileList{maxCost: maxCost}
	lines := newLineReader(r, from0, maxListPath+2)
	for {
		line, err := lines.next()
		if errors.Is(err, io.EOF) {
			l.sort()
			return l, nil
		}
		if err != nil {
			return nil, err
		}
		if !from0 && (line[0] == '#' || line[0] == ';') {
			continue
		}
		if err := l.add(line); err != nil {
			return nil, lines.fault(err)
		}
	}
}

// add adds the name at the end.
func (l *FileList) add(name []byte) error {
	if l.cost += int64(len(name)) + entryCost; l.cost > l.maxCost {
		return ErrListTooLong
	}
	path, slash := l.scratch[:0], false
	for rest, more := name, true; more; {
		var c []byte
		c, rest, more = bytes.Cut(rest, []byte("/"))
		switch {
		case string(c) == "..":
			return fmt.Errorf("%.60q has a \"..\": names are beneath the source", name)
		case len(c) == 0 || string(c) == ".":
			slash = !more || slash
			if len(c) == 1 && len(path) > 0 && len(bytes.Trim(rest, "/")) > 0 {
				return fmt.Errorf("%.60q has a \".\" between other names: write the path without it", name)
			}
		default:
			if len(path) > 0 {
				path = append(path, '/')
			}
			path = append(path, c...)
		}
	}
	l.scratch = path
	if len(path) > maxListPath {
		return fmt.Errorf("%.60q... is longer than %d bytes", path, maxListPath)
	}
	k := len(l.chunks) - 1
	if k < 0 || len(l.chunks[k])+len(path) > chunkSize {
		first := 0 // the first one grows as it needs
		if k >= 0 {
			first = chunkSize
		}
		l.chunks = append(l.chunks, make([]byte, 0, first))
		k++
	}
	l.entries = append(l.entries, listEntry{uint32(k*chunkSize + len(l.chunks[k])), uint16(len(path)), slash})
	l.chunks[k] = append(l.chunks[k], path...)
	return nil
}

// path returns the name of entry i.
func (l *FileList) path(i int) []byte { return l.pathOf(l.entries[i]) }

func (l *FileList) pathOf(e listEntry) []byte {
	at := e.off % chunkSize
	return l.chunks[e.off/chunkSize][at : at+uint32(e.len)]
}

// sort puts the entries in the order of a walk, and makes one of those that are equal.
func (l *FileList) sort() {
	byPath := func(a, b listEntry) int { return comparePaths(l.pathOf(a), l.pathOf(b)) }
	if !slices.IsSortedFunc(l.entries, byPath) {
		slices.SortFunc(l.entries, byPath)
	}
	n := 0
	for i, e := range l.entries {
		if i > 0 && byPath(l.entries[n-1], e) == 0 {
			l.entries[n-1].slash = l.entries[n-1].slash || e.slash
			continue
		}
		l.entries[n] = e
		n++
	}
	l.entries = l.entries[:n]
	l.seen = make([]uint64, (n+63)/64)
}

// comparePaths orders by components: '/' is less than any byte of a name.
func comparePaths(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		switch x, y := a[i], b[i]; {
		case x == y:
		case x == '/':
			return -1
		case y == '/':
			return 1
		default:
			return cmp.Compare(x, y)
		}
	}
	return cmp.Compare(len(a), len(b))
}

// Len returns how many names the list has.
func (l *FileList) Len() int { return len(l.entries) }

// All returns the names in the order of a walk, each once, as ReadFilesFrom takes them with from0.
func (l *FileList) All() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i, e := range l.entries {
			name := string(l.path(i))
			if e.len == 0 {
				name = "."
			} else if e.slash {
				name += "/"
			}
			if !yield(name) {
				return
			}
		}
	}
}

// Missing returns, in order, the names of the list that the last walk did not find: they are not there, or something
// before them is no directory or could not be read. A name that a rule leaves out is not missing.
func (l *FileList) Missing() iter.Seq[string] {
	return func(yield func(string) bool) {
		for i := range l.entries {
			if l.seen[i/64]>>(i%64)&1 == 0 && !yield(string(l.path(i))) {
				return
			}
		}
	}
}

// root begins a walk.
func (l *FileList) root(recurse bool) listed {
	clear(l.seen)
	d := listed{list: l, only: true, hi: len(l.entries)}
	if d.hi > 0 && l.entries[0].len == 0 {
		l.found(0)
		d.lo, d.all, d.shallow = 1, recurse, !recurse
	}
	d.at = d.lo
	return d
}

func (l *FileList) found(i int) { l.seen[i/64] |= 1 << (i % 64) }

// listed is a FileList in one directory: the entries that are beneath it.
type listed struct {
	list    *FileList
	only    bool // there is a list
	above   bool // it begins one directory deeper
	all     bool // everything beneath the directory is kept
	shallow bool // every name in it is kept
	lo, hi  int
	prefix  int // how many bytes the path of the directory has, and its '/'
	at      int // where the last name was: those of a walk ascend
}

// component compares the component of entry i in this directory with name.
func (d *listed) component(i int, name string) int {
	c := d.list.path(i)[d.prefix:]
	n := min(len(c), len(name))
	for k := range n {
		if c[k] != name[k] {
			if c[k] == '/' {
				return -1
			}
			return cmp.Compare(c[k], name[k])
		}
	}
	if len(c) > n && c[n] != '/' {
		return 1
	}
	return cmp.Compare(n, len(name))
}

// search returns the first entry from lo on whose component is not less than name or, with past, that is greater. It
// looks near lo first.
func (d *listed) search(lo int, name string, past bool) int {
	beyond := func(i int) bool {
		c := d.component(i, name)
		return c > 0 || c == 0 && !past
	}
	step := 1
	for lo+step < d.hi && !beyond(lo+step) {
		lo += step
		step *= 2
	}
	n := min(step+1, d.hi-lo)
	return lo + sort.Search(n, func(i int) bool { return beyond(lo + i) })
}

// locate returns where the entries of name begin, and whether the first is name itself, which it notes as found.
func (d *listed) locate(name string) (i int, on bool) {
	if d.lo == d.hi {
		return d.hi, false
	}
	if d.at == d.hi || d.component(d.at, name) > 0 {
		d.at = d.lo
	}
	d.at = d.search(d.at, name, false)
	on = d.at < d.hi && d.component(d.at, name) == 0 && int(d.list.entries[d.at].len) == d.prefix+len(name)
	if on {
		d.list.found(d.at)
	}
	return d.at, on
}

// find tells whether name is in the list, and whether names beneath it are.
func (d *listed) find(name string) (on, under bool) {
	i, on := d.locate(name)
	if on {
		i++
	}
	return on, i < d.hi && d.component(i, name) == 0
}

// enter returns what the list has beneath name, and whether it has name, and that with a '/' behind it.
func (d *listed) enter(name string) (on, slash bool, below listed) {
	i, on := d.locate(name)
	if on {
		slash = d.list.entries[i].slash
		i++
	}
	below = listed{list: d.list, only: true, lo: i, hi: i, at: i, prefix: d.prefix + len(name) + 1}
	if i < d.hi && d.component(i, name) == 0 {
		below.hi = d.search(i, name, true)
	}
	return on, slash, below
}

// names yields the names in the directory that the list has.
func (d *listed) names(yield func(string) bool) {
	for i := d.lo; i < d.hi; {
		name, _, _ := strings.Cut(string(d.list.path(i)[d.prefix:]), "/")
		if !yield(name) {
			return
		}
		i = d.search(i, name, true)
	}
}
