package tree

import (
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"

	"xfer/transfer/durable"
)

// Opener opens a file of a directory for reading. An error that is fs.ErrNotExist says that there is none.
type Opener func(name string) (io.ReadCloser, error)

// OpenIn returns an Opener of the regular files in dir, which must stay open as long as it is used. A name that is
// something else, such as a symbolic link, is as if it were not there.
func OpenIn(dir durable.FS) Opener {
	return func(name string) (io.ReadCloser, error) {
		none := &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		fi, err := dir.Lstat(name)
		if err != nil {
			return nil, err
		}
		if !fi.Mode().IsRegular() {
			return nil, none
		}
		f, err := dir.OpenFile(name, os.O_RDONLY|durable.NoFollow|durable.NonBlock, 0)
		if err != nil {
			return nil, err
		}
		if fi, err = f.Stat(); err != nil || !fi.Mode().IsRegular() {
			f.Close()
			return nil, errors.Join(err, none)
		}
		return f, nil
	}
}

// DirFilter is a Filter in one directory. It holds no file open. Those of one Filter may be used at once by several
// goroutines, unless the Filter has a list of files.
type DirFilter struct {
	parent  *DirFilter // nil where rules begin
	name    string     // in parent
	filter  *Filter
	rules   rules
	ignores []rules // of the .gitignore files, the nearest last
	cost    ignoreCost
	inGit   bool
	listed  listed
}

// Root begins a walk whose start is where paths begin, as rsync's with "SRC/": "/a" is a in it. dir opens what is in it,
// for .gitignore alone and before Root returns; it may be nil where Gitignore is off or there is no such name. An error
// says that the .gitignore could not be read or has more than a filter takes: what it would leave out is not known then.
func (f *Filter) Root(dir Opener) (*DirFilter, error) {
	d := f.above()
	if f.files != nil {
		d.listed = f.files.root(f.recurse)
	}
	if err := d.readIgnore(dir); err != nil {
		return nil, err
	}
	return d, nil
}

// Above begins a walk whose start has a name for the rules, as rsync's with "SRC": Keep(name) of what is returned says
// whether the start is left out itself, and Enter(name) enters it. "/name/a" is a in it. The list of Files begins at the
// start, and .gitignore files count from there on.
func (f *Filter) Above() *DirFilter {
	d := f.above()
	d.listed.above = f.files != nil
	return d
}

func (f *Filter) above() *DirFilter {
	d := &DirFilter{filter: f}
	d.rules = f.set.begin(d)
	return d
}

// Enter returns the filter of the directory name in d. dir and the error are those of Root. A name that Keep left out
// should not be entered.
func (d *DirFilter) Enter(name string, dir Opener) (*DirFilter, error) {
	below := &DirFilter{parent: d, name: name, filter: d.filter, rules: d.rules.enter(name), inGit: d.inGit || name == ".git"}
	below.listed = d.enterListed(name)
	if !d.filter.ignore || below.inGit {
		return below, nil
	}
	if len(d.ignores) > 0 {
		below.ignores = make([]rules, 0, len(d.ignores)+1)
		for i := range d.ignores {
			below.ignores = append(below.ignores, d.ignores[i].enter(name))
		}
		below.cost = d.cost
	}
	if err := below.readIgnore(dir); err != nil {
		return nil, err
	}
	return below, nil
}

// Keep tells whether the entry name of the directory is kept. isDir is false for a symbolic link. It is called for names
// that are there: that tells those of a list of files that are missing.
func (d *DirFilter) Keep(name string, isDir bool) bool {
	if !d.listed.only {
		return d.allows(name, isDir)
	}
	on, under := d.listed.find(name)
	return under && isDir || (on || d.listed.all || d.listed.shallow) && d.allows(name, isDir)
}

// Names returns the names in the directory that may be kept, in ascending order, where only those of a list are; the
// others need not be looked for. Otherwise only is false. A name need not be there.
func (d *DirFilter) Names() (names iter.Seq[string], only bool) {
	if !d.listed.only || d.listed.all || d.listed.shallow {
		return nil, false
	}
	return d.listed.names, true
}

// allows tells what rules say.
func (d *DirFilter) allows(name string, isDir bool) bool {
	if keep, found := d.rules.find(d, name, isDir); found {
		return keep
	}
	if d.inGit || name == ".git" {
		return true
	}
	for i := len(d.ignores) - 1; i >= 0; i-- {
		if keep, found := d.ignores[i].find(d, name, isDir); found {
			return keep
		}
	}
	return true
}

// enterListed returns what the list of files has of the directory name in d.
func (d *DirFilter) enterListed(name string) listed {
	l := &d.listed
	if l.above {
		return d.filter.files.root(d.filter.recurse)
	}
	if !l.only {
		return listed{}
	}
	on, slash, below := l.enter(name)
	// Where other names beneath it are listed it is entered although rules may leave it out.
	if (on || l.all || l.shallow) && (below.lo == below.hi || d.allows(name, true)) {
		below.all = l.all || on && d.filter.recurse
		below.shallow = slash && !below.all
	}
	return below
}
