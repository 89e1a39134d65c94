package sink

import (
	"io/fs"
	"time"

	"xfer/transfer/durable"
)

// lacking returns what of m the file, directory or link fi does not have.
func (t *Tree) lacking(fi fs.FileInfo, m Meta) Meta {
	if fi.Mode()&fs.ModeSymlink != 0 || fi.Mode().Perm() == m.Mode.Perm() {
		m.HasMode = false
	}
	if m.HasMTime && t.sameTime(fi.ModTime(), m.MTime) {
		m.HasMTime = false
	}
	return m
}

// isEmpty tells whether there is nothing in m to be set.
func (m Meta) isEmpty() bool { return !m.HasMode && !m.HasMTime }

// same answers for the file or link name, which is there as it should be but maybe for its metadata. That is set, unless
// what is there has to stay.
func (t *Tree) same(fsys durable.FS, name string, fi fs.FileInfo, m Meta) Verdict {
	if !t.noReplace { // guard of I11
		if lack := t.lacking(fi, m); !lack.isEmpty() {
			if t.spec.DryRun {
				return Verdict{Code: VerdictMeta}
			}
			if err := lack.applyTo(fsys, name, fi.Mode()&fs.ModeSymlink != 0); err != nil {
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
