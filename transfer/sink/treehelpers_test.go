package sink

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// node is what a test sends under a path.
type node struct {
	kind   Kind
	data   string
	mode   fs.FileMode
	mtime  time.Time
	target string // of a link
	link   string // the path that a file is a hard link to
	sparse bool
}

var noon = time.Date(2020, 2, 2, 12, 0, 0, 123456789, time.UTC)

func file(data string) node      { return node{kind: File, data: data, mode: 0o644, mtime: noon} }
func dir() node                  { return node{kind: Directory, mode: 0o755, mtime: noon} }
func symlink(target string) node { return node{kind: Link, target: target, mode: 0o777, mtime: noon} }
func hardlink(to string) node    { return node{kind: File, link: to, mode: 0o644, mtime: noon} }

func (n node) with(mode fs.FileMode) node { n.mode = mode; return n }
func (n node) at(t time.Time) node        { n.mtime = t; return n }

// source is a tree to be sent, by paths beneath the top. Directories above a path need not be named.
type source map[string]node

// entries makes a manifest of it.
func (s source) entries() []TreeEntry {
	all := maps.Clone(s)
	for p := range s {
		for i, c := range p {
			if c == '/' {
				if _, ok := all[p[:i]]; !ok {
					all[p[:i]] = dir()
				}
			}
		}
	}
	if _, ok := all[""]; !ok {
		all[""] = dir()
	}
	split := func(p string) []string {
		if p == "" {
			return nil
		}
		return strings.Split(p, "/")
	}
	paths := slices.SortedFunc(maps.Keys(all), func(a, b string) int { return slices.Compare(split(a), split(b)) })
	numbers := map[string]uint64{}
	shared := map[string]bool{}
	for i, p := range paths {
		numbers[p] = uint64(i)
		shared[all[p].link] = true
	}
	var es []TreeEntry
	open := 0
	for i, p := range paths {
		n := all[p]
		e := TreeEntry{No: uint64(i), Kind: n.kind, Target: n.target, Sparse: n.sparse, Shared: n.kind == File && shared[p]}
		if n.kind == File {
			e.Size = int64(len(n.data))
		}
		if n.link != "" {
			e.Link, e.Size = numbers[n.link], int64(len(all[n.link].data))
		}
		e.Meta = Meta{Mode: n.mode, HasMode: true, MTime: n.mtime, HasMTime: true}
		depth := 0
		if p != "" {
			parts := split(p)
			depth = len(parts)
			e.Name = parts[depth-1]
			e.Up = open - depth
		}
		open = depth
		if n.kind == Directory {
			open++
		}
		es = append(es, e)
	}
	return es
}

// path returns that of each entry.
func (s source) path(es []TreeEntry) map[uint64]string {
	paths := map[uint64]string{}
	var stack []string
	for _, e := range es {
		if e.No == 0 {
			continue
		}
		stack = stack[:len(stack)-e.Up]
		p := strings.Join(append(slices.Clone(stack), e.Name), "/")
		paths[e.No] = p
		if e.Kind == Directory {
			stack = append(stack, e.Name)
		}
	}
	return paths
}

// outcome is what a tree was answered.
type outcome struct {
	verdicts  map[string]Verdict
	published map[string]error
	result    TreeResult
	err       error // of Finish
}

// sending is a tree on its way, for a test that looks in between.
type sending struct {
	t     testing.TB
	tree  *Tree
	src   source
	es    []TreeEntry
	paths map[uint64]string

	mu sync.Mutex
	outcome
}

func begin(t testing.TB, v *View, spec TreeSpec, src source) *sending {
	t.Helper()
	s := &sending{t: t, src: src, es: src.entries()}
	s.paths = src.path(s.es)
	s.verdicts, s.published = map[string]Verdict{}, map[string]error{}
	inner := spec.Published
	spec.Published = func(no uint64, err error) {
		if inner != nil {
			inner(no, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		p := s.paths[no]
		if _, twice := s.published[p]; twice {
			t.Errorf("%q was told of twice", p)
		}
		s.published[p] = err
	}
	tree, err := v.BeginTree(context.Background(), spec)
	if err != nil {
		t.Fatal(err)
	}
	s.tree = tree
	return s
}

// take gives all entries to Take.
func (s *sending) take() {
	for _, e := range s.es {
		v := s.tree.Take(e)
		if v.Code == VerdictHash {
			v = s.tree.Decide(e.No, digest([]byte(s.src[s.paths[e.No]].data)) != v.Root)
		}
		s.verdicts[s.paths[e.No]] = v
	}
}

// wanted are the entries whose content is to be sent.
func (s *sending) wanted() []uint64 {
	var nos []uint64
	for _, e := range s.es {
		if v := s.verdicts[s.paths[e.No]]; v.Code == VerdictNew || v.Code == VerdictUpdate {
			nos = append(nos, e.No)
		}
	}
	return nos
}

func (s *sending) put() {
	for _, no := range s.wanted() {
		data := []byte(s.src[s.paths[no]].data)
		if err := s.tree.Put(no, data, digest(data), nil); err != nil {
			s.mu.Lock()
			s.published[s.paths[no]] = err
			s.mu.Unlock()
			s.tree.Drop(no)
		}
	}
}

func (s *sending) finish() outcome {
	s.result, s.err = s.tree.Finish(context.Background())
	if err := s.tree.Close(); err != nil && s.err == nil {
		s.err = err
	}
	return s.outcome
}

// send sends a whole tree.
func send(t testing.TB, v *View, spec TreeSpec, src source) outcome {
	t.Helper()
	s := begin(t, v, spec, src)
	s.take()
	if !spec.DryRun {
		s.put()
	}
	return s.finish()
}

// mustSend is send of a tree in which nothing fails.
func mustSend(t testing.TB, v *View, spec TreeSpec, src source) outcome {
	t.Helper()
	o := send(t, v, spec, src)
	if o.err != nil {
		t.Fatal("finish:", o.err)
	}
	for p, v := range o.verdicts {
		if v.Code == VerdictFailed {
			t.Fatalf("%q failed: %v", p, v.Err)
		}
	}
	for p, err := range o.published {
		if err != nil {
			t.Fatalf("%q is not published: %v", p, err)
		}
	}
	return o
}

// wantTree checks that beneath name there is what src says, and nothing else.
func wantTree(t testing.TB, fsys durable.FS, name string, src source) {
	t.Helper()
	wantTreeBut(t, fsys, name, src, func(Kind) bool { return false })
}

// wantTreeBut is wantTree for a case in which the time of some kinds may be any.
func wantTreeBut(t testing.TB, fsys durable.FS, name string, src source, anyTime func(Kind) bool) {
	t.Helper()
	es := src.entries()
	paths := src.path(es)
	want := map[string]bool{}
	for _, e := range es {
		p := paths[e.No]
		want[p] = true
		at := name
		if p != "" {
			at += "/" + p
		}
		fi, err := fsys.Lstat(at)
		if err != nil {
			t.Errorf("%q: %v", at, err)
			continue
		}
		if !fi.ModTime().Equal(e.Meta.MTime) && !anyTime(e.Kind) {
			t.Errorf("%q: time %v, want %v", at, fi.ModTime(), e.Meta.MTime)
		}
		if e.Kind != Link && e.Meta.Mode != 0 && fi.Mode().Perm() != e.Meta.Mode {
			t.Errorf("%q: mode %v, want %v", at, fi.Mode(), e.Meta.Mode)
		}
		switch e.Kind {
		case File:
			data := src[p].data
			if l := src[p].link; l != "" {
				data = src[l].data
				if other, err := fsys.Lstat(name + "/" + l); err != nil || !durable.SameFile(fi, other) {
					t.Errorf("%q is not the file %q: %v", at, l, err)
				}
			}
			got, err := readAll(fsys, at)
			if err != nil || string(got) != data {
				t.Errorf("%q: %d bytes, %v; want %d", at, len(got), err, len(data))
			}
		case Directory:
			if !fi.IsDir() {
				t.Errorf("%q: %v", at, fi.Mode())
			}
		case Link:
			if got, err := fsys.Readlink(at); err != nil || got != e.Target {
				t.Errorf("%q -> %q, %v", at, got, err)
			}
		}
	}
	for p := range snapshot(t, fsys, name) {
		p = strings.TrimPrefix(strings.TrimPrefix(p, name), "/")
		if !want[p] && !strings.HasPrefix(p, ".xfer") {
			t.Errorf("%q is there", p)
		}
	}
}

// snapshot describes all that is beneath name, by paths: kind, mode, times, inode.
func snapshot(t testing.TB, fsys durable.FS, name string) map[string]string {
	t.Helper()
	all := map[string]string{}
	var walk func(p string)
	walk = func(p string) {
		fi, err := fsys.Lstat(p)
		if err != nil {
			t.Fatal(err)
		}
		id, _ := durable.IDOf(fi)
		all[p] = fmt.Sprintf("%v %d %v %v", fi.Mode(), fi.Size(), fi.ModTime(), id)
		if !fi.IsDir() {
			return
		}
		entries, err := fsys.ReadDir(p)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if p == "." {
				walk(e.Name())
				continue
			}
			walk(p + "/" + e.Name())
		}
	}
	walk(name)
	return all
}

// differ returns what is not the same in both.
func differ(a, b map[string]string) (names []string) {
	all := maps.Clone(a)
	maps.Copy(all, b)
	for n := range all {
		if a[n] != b[n] {
			names = append(names, fmt.Sprintf("%q: %q, now %q", n, a[n], b[n]))
		}
	}
	return names
}

// overBoth runs a test over the system's file system and over the one in memory, with syncfs and without.
func overBoth(t *testing.T, f func(t *testing.T, d *Dir)) {
	t.Run("os", func(t *testing.T) { f(t, openDir(t, t.TempDir(), Options{})) })
	t.Run("memory", func(t *testing.T) { f(t, mustOpen(t, crashfs.New(1), Options{})) })
	t.Run("memory, no syncfs", func(t *testing.T) {
		fsys := crashfs.New(1)
		fsys.SetSyncFS(false)
		f(t, mustOpen(t, fsys, Options{}))
	})
	// Whatever has a limit reaches it.
	for _, syncs := range []bool{true, false} {
		t.Run(fmt.Sprint("memory, tiny limits, syncfs ", syncs), func(t *testing.T) {
			fsys := crashfs.New(1)
			fsys.SetSyncFS(syncs)
			d := mustOpen(t, fsys, Options{})
			d.trees.spool, d.trees.dirs, d.trees.groupFiles, d.trees.openFiles, d.trees.groupBytes = 10, 1, 2, 1, 1000
			f(t, d)
		})
	}
}
