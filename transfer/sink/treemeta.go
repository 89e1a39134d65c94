package sink

import (
	"io/fs"
	"time"

	"xfer/transfer/durable"
)

// lacking returns what of m the file, directory or link name in fsys, which is fi, does not have. Of an archive that is all but the time where anything
// is missing: what is right already is not set again.
func (t *Tree) lacking(fsys durable.FS, name string, fi fs.FileInfo, m Meta) Meta {
	if m.HasMTime && t.sameTime(fi.ModTime(), m.MTime) {
		m.HasMTime = false
	}
	switch {
	case m.eff != nil:
		if same, err := m.same(fsys, name, fi); err == nil && same { // an error comes again when it is set
			return Meta{}
		}
	case fi.Mode()&fs.ModeSymlink != 0 || fi.Mode().Perm() == m.Mode.Perm():
		m.HasMode = false
	}
	return m
}

// isEmpty tells whether there is nothing in m to be set.
func (m Meta) isEmpty() bool { return !m.HasMode && !m.HasMTime && m.eff == nil }

// attrBytes is about how much memory the attributes of m take.
func (m Meta) attrBytes() int64 {
	n := 0
	for _, a := range m.XAttrs {
		n += len(a.Name) + len(a.Value) + 64
	}
	return int64(n)
}

// set sets m on name, of a symbolic link on the link, and notes what cannot be kept.
func (t *Tree) set(m Meta, fsys durable.FS, name string, link bool) error {
	var u Unkept
	m.Unkept = &u
	err := m.applyTo(fsys, name, link)
	t.noteUnkept(u)
	return err
}

// same answers for the file or link name, which is there as it should be but maybe for its metadata. That is set, unless
// what is there has to stay.
func (t *Tree) same(fsys durable.FS, name string, fi fs.FileInfo, m Meta) Verdict {
	if !t.noReplace { // guard of I11
		if lack := t.lacking(fsys, name, fi, m); !lack.isEmpty() {
			if t.spec.DryRun {
				return Verdict{Code: VerdictMeta}
			}
			if err := t.set(lack, fsys, name, fi.Mode()&fs.ModeSymlink != 0); err != nil {
				return t.failed(err)
			}
			t.changed.Store(true)
			return Verdict{Code: VerdictMeta}
		}
	}
	return Verdict{Code: VerdictSame}
}

// isYoung tells whether something that is there as it should be may not be durable: a run that ended early may have made it.
func (t *Tree) isYoung(fi fs.FileInfo) bool {
	if id, ok := durable.IDOf(fi); ok {
		return id.CTime > t.youngAfter
	}
	return fi.ModTime().UnixNano() > t.youngAfter
}

// grains are the units of time that file systems keep: NTFS, HFS+ and macOS' calls, ..., exFAT, ext3, FAT.
var grains = [...]time.Duration{100, time.Microsecond, time.Millisecond, 10 * time.Millisecond, time.Second, 2 * time.Second}

// sameTime tells whether have is what the file system makes of want.
func (t *Tree) sameTime(have, want time.Time) bool {
	if have.Equal(want) {
		return true
	}
	if have.After(want) || want.Sub(have) >= grains[len(grains)-1] || t.spec.DryRun {
		return false
	}
	for _, g := range grains {
		if have.Equal(want.Truncate(g)) {
			return have.Equal(want.Truncate(t.temp.timeGrain(t)))
		}
	}
	return false
}

// grainOf tells which unit made have of want, 1 ns where none of them did.
func grainOf(have, want time.Time) time.Duration {
	for _, g := range grains {
		if !have.Equal(want) && have.Equal(want.Truncate(g)) {
			return g
		}
	}
	return 1
}
