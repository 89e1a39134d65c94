package transfer

import (
	"context"
	"errors"
	"path/filepath"
	"strings"

	"xfer/transfer/durable"
	"xfer/transfer/sink"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// Rules say what of the sources goes, and how they are walked. The zero value is all of it.
type Rules struct {
	// Filter is what of the sources is left out; nil for nothing. Its list of files is that of Files.
	Filter *tree.Filter
	// Files is, if not nil, what of the one source goes, which is a directory; with Recurse also all that is beneath its
	// directories. A Client with it does one run at a time.
	Files   *tree.FileList
	Recurse bool
	// OneFileSystem leaves out what is on file systems that are mounted beneath a source. Their mount points go, as empty directories.
	OneFileSystem bool
	// FollowLinks takes what symbolic links lead to, instead of the links.
	FollowLinks bool
}

// filter returns what is left out, nil for nothing.
func (r *Rules) filter() *tree.Filter {
	f := r.Filter
	if r.Files != nil {
		if f == nil {
			f = tree.NewFilter()
		}
		f.Files(r.Files, r.Recurse)
	}
	return f
}

// walk are the options of a walk by these rules.
func (r *Rules) walk() tree.WalkOptions {
	return tree.WalkOptions{OneFileSystem: r.OneFileSystem, CopyLinks: r.FollowLinks, AbsoluteLinks: r.FollowLinks}
}

// rootFilter begins a walk of top, which the rules see by this name; "" means that its contents are at their top, as with rsync's "dir/".
func rootFilter(f *tree.Filter, name string, top durable.FS) (*tree.DirFilter, error) {
	if name == "" {
		return f.Root(tree.OpenIn(top))
	}
	return f.Above().Enter(name, tree.OpenIn(top))
}

// leavesOut tells whether f leaves a source of this name out. f may be nil.
func leavesOut(f *tree.Filter, name string, dir bool) bool {
	return f != nil && name != "" && !f.Above().Keep(name, dir)
}

// linkRoot returns the file system's root, and where beneath it the directory is that path leads to: links are followed from
// there.
func linkRoot(path string) (durable.FS, string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, "", err
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return nil, "", err
	}
	top := filepath.VolumeName(abs) + string(filepath.Separator)
	fsys, err := durable.OpenOS(top)
	if err != nil {
		return nil, "", err
	}
	rel := filepath.ToSlash(strings.TrimPrefix(abs, top))
	if rel == "" {
		rel = "."
	}
	return fsys, rel, nil
}

var errNotListed = errors.New("is in the list of files, but not in the source")

// missingFiles tells the names of the list that the walk did not find.
func (s *sender) missingFiles(task *treeTask) {
	if s.rules.Files == nil {
		return
	}
	for name := range s.rules.Files.Missing() {
		if task.once(name) {
			s.m.failed(&Error{Op: "read", Path: task.shownPath(name), Kind: KindNotFound, Err: errNotListed})
		}
	}
}

// leavesAlone tells whether a file or link that goes by itself is left out for what is there: nothing, or a file that is newer, or
// something else.
func (o *Options) leavesAlone(there, file, newer bool) bool {
	if !there {
		return o.Existing
	}
	return o.IgnoreExisting || o.Update && file && newer
}

// leavesAlone looks at what is at the server.
func (s *sender) leavesAlone(ctx context.Context, cs *clientSession, t *sendTask) (bool, error) {
	if o := &s.c.Options; !o.Update && !o.Existing && !o.IgnoreExisting || t.entry != nil { // the tree has decided
		return false, nil
	}
	st, err := cs.stat(ctx, Address{Root: s.root, Path: t.dst}, false)
	switch {
	case KindOf(err) == KindNotFound && isPeer(err):
		return s.c.Options.leavesAlone(false, false, false), nil
	case err != nil:
		return false, err
	}
	file := t.kind == sink.File && t.info != nil && st.entry.Kind == wire.Kind(sink.File)
	return s.c.Options.leavesAlone(true, file, file && st.entry.MTimeNS > unixNano(t.info.ModTime())), nil
}

// leavesAlone looks at what is here.
func (g *getter) leavesAlone(t *getTask, p sink.Path) bool {
	o := &g.c.Options
	if !o.Update && !o.Existing && !o.IgnoreExisting {
		return false
	}
	if t.top.view == nil { // a plan for a directory that is not there
		return o.leavesAlone(false, false, false)
	}
	e, err := t.top.view.Existing(p)
	file := err == nil && t.kind == sink.File && e.Kind == sink.File
	return o.leavesAlone(err == nil, file, file && unixNano(e.MTime) > t.mtime)
}

// check refuses what makes no sense with the sources of a run.
func (r *Rules) check(op string, sources int, directory bool) error {
	if r.Files == nil || sources == 1 && directory {
		return nil
	}
	return &Error{Op: op, Kind: KindUsage, Err: errors.New("a list of files wants one source, which is a directory; nothing was moved")}
}
