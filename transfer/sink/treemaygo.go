package sink

import (
	"errors"
	"hash/maphash"
	"slices"
	"strings"
)

// maxMayGo bounds the names of a tree that may be removed; what comes behind stays.
const maxMayGo = 4 << 20

// mayGo is what of a tree may be removed: names that were told as extra, and those that are in the way of an entry, with all beneath.
// Of a name 64 bits are kept, under a key of their own. It belongs to the goroutine of Take.
type mayGo struct {
	seed   maphash.Seed
	extra  []uint64
	inWay  []uint64
	sorted bool
}

func newMayGo() mayGo { return mayGo{seed: maphash.MakeSeed()} }

// add notes a name.
func (m *mayGo) add(list *[]uint64, p Path) {
	if len(m.extra)+len(m.inWay) < maxMayGo {
		*list = append(*list, maphash.String(m.seed, p.String()))
		m.sorted = false
	}
}

func (m *mayGo) has(list []uint64, name string) bool {
	_, ok := slices.BinarySearch(list, maphash.String(m.seed, name))
	return ok
}

// allows tells whether p may be removed.
func (m *mayGo) allows(p Path) bool {
	if !m.sorted {
		slices.Sort(m.extra)
		slices.Sort(m.inWay)
		m.sorted = true
	}
	name := p.String()
	if m.has(m.extra, name) {
		return true
	}
	for end := len(name); end > 0; end = strings.LastIndexByte(name[:end], '/') {
		if m.has(m.inWay, name[:end]) {
			return true
		}
	}
	return false
}

// blocked notes an entry that failed because something else has its name.
func (t *Tree) blocked(l *level, e *TreeEntry, v Verdict) {
	if v.Code == VerdictFailed && t.spec.Extra != nil && (errors.Is(v.Err, ErrIsDir) || errors.Is(v.Err, ErrNotDir)) {
		t.mayGo.add(&t.mayGo.inWay, t.pathOf(l.dir, e.Name))
	}
}

// removable says why p may not be removed: it was not told, or a link leads to it.
func (t *Tree) removable(p Path) error {
	if !t.mayGo.allows(p) {
		return existError(p.String())
	}
	at, err := t.d.locate(p, 0)
	if err != nil {
		return err
	}
	want := Path{parts: p.parts[len(t.spec.Path.parts):]}.String()
	if t.topSpot.name != "." {
		want = t.topSpot.name + "/" + want
	}
	if at.name != want {
		return pathError("remove", p.String(), ErrNotDir)
	}
	return nil
}
