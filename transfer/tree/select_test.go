package tree

import (
	"strings"
	"testing"

	"xfer/transfer/durable"
)

// filteredItems walks what a filter keeps of t.
func filteredItems(t *testing.T, fsys durable.FS, f *Filter) []string {
	t.Helper()
	top, err := fsys.OpenRoot("t")
	must(t, err)
	defer top.Close()
	d, err := f.Root(OpenIn(top))
	must(t, err)
	return items(t, fsys, "t", WalkOptions{Select: d.Selection()})
}

func TestWalkerKeepsToAFilter(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		plant(t, fsys, "t/a/f.o", "t/a/f.c", "t/b/out/f", "t/b/in/f", "t/keep.o", "t/out", "t/sub/x.tmp", "t/sub/y", "t/bad/f")
		ignore := func(dir, text string) {
			t.Helper()
			must(t, durable.WriteFile(fsys, dir+"/.gitignore", []byte(text), 0o644))
		}
		ignore("t", "*.tmp\n")
		ignore("t/sub", "y\n!x.tmp\n")
		ignore("t/bad", strings.Repeat("#", maxIgnoreBytes+1))
		f := NewFilter()
		must(t, f.Include("/keep.o"))
		must(t, f.Exclude("*.o"))
		must(t, f.Exclude("out/"))
		f.Gitignore(true)
		got := filteredItems(t, fsys, f)
		for i, line := range got {
			if dir, _, failed := strings.Cut(line, ": "); failed {
				got[i] = dir + ": an error"
			}
		}
		want(t, got,
			`directory []`,
			`file [".gitignore"]`,
			`directory ["a"]`,
			`file ["a" "f.c"]`,
			`directory ["b"]`,
			`directory ["b" "in"]`,
			`file ["b" "in" "f"]`,
			`directory ["bad"]: an error`,
			`file ["keep.o"]`,
			`file ["out"]`,
			`directory ["sub"]`,
			`file ["sub" ".gitignore"]`,
			`file ["sub" "x.tmp"]`)
	})
}

func TestWalkerKeepsToAList(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		plant(t, fsys, "t/a/f", "t/a/g", "t/b/c/f", "t/b/d", "t/z")
		f := NewFilter()
		f.Files(listOf(t, "a/g\nb\nmissing\nnone/x\n"), true)
		want(t, filteredItems(t, fsys, f),
			`directory []`,
			`directory ["a"]`,
			`file ["a" "g"]`,
			`directory ["b"]`,
			`directory ["b" "c"]`,
			`file ["b" "c" "f"]`,
			`file ["b" "d"]`)
	})
}
