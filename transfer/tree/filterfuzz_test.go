package tree

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
)

// verdicts are what a filter says of each directory that leads to path, and of it as a file and as a directory.
func verdicts(t *testing.T, f *Filter, path string, open Opener) []bool {
	d, err := f.Root(open)
	if err != nil {
		t.Skip(err)
	}
	var all []bool
	for c := range strings.SplitSeq(path, "/") {
		if c == "" {
			continue
		}
		all = append(all, d.Keep(c, false), d.Keep(c, true))
		if d, err = d.Enter(c, nil); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// FuzzFilter reads rules of a file, and sends them on.
func FuzzFilter(f *testing.F) {
	for _, text := range []string{
		"*.o\n+ keep\n- *\n", "!\na/**\n**/b/***\n", "[a-\n[[:alpha:]]?\n/x/y\n", "a/b/c\n*a*a*a*a*a*b\n/a//b\n//\n", "[/]a\na[/]b/c\n\\**\n",
	} {
		f.Add([]byte(text), "a/b/c", false)
		f.Add([]byte(text), "x/keep/b.o", true)
	}
	f.Fuzz(func(t *testing.T, text []byte, path string, from0 bool) {
		if len(text) > 2000 || len(path) > 1000 {
			t.Skip("long")
		}
		a := NewFilter()
		if a.ExcludeFrom(bytes.NewReader(text), from0) != nil {
			return
		}
		rules := a.Rules()
		b, err := ParseRules(rules)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.Rules(); !slices.Equal(got, rules) {
			t.Fatalf("got rules %q, want %q", got, rules)
		}
		got, want := verdicts(t, b, path, nil), verdicts(t, a, path, nil)
		if !slices.Equal(got, want) {
			t.Errorf("rules %q of %q say %v, parsed again %v", rules, path, want, got)
		}
		if len(rules) > 0 {
			return
		}
		if slices.Contains(want, false) {
			t.Errorf("no rule leaves out something of %q", path)
		}
	})
}

// FuzzParseRules reads rules of a peer.
func FuzzParseRules(f *testing.F) {
	f.Add("- a\n+ b*\ngitignore", "a/b")
	f.Add("- **/[a-z]/***\n- x", "a/b/c")
	f.Add("", "x")
	f.Fuzz(func(t *testing.T, text, path string) {
		if len(text) > 2000 || len(path) > 1000 {
			t.Skip("long")
		}
		a, err := ParseRules(strings.Split(text, "\n"))
		if err != nil {
			return
		}
		if got := strings.Join(a.Rules(), "\n"); got != text {
			t.Fatalf("got rules %q, want %q", got, text)
		}
		verdicts(t, a, path, nil)
	})
}

// FuzzGitignore reads a .gitignore.
func FuzzGitignore(f *testing.F) {
	for _, text := range []string{
		"*.o\n!keep.o\n/build/\n", "a/**/b\n**/c\nd/**\n", "\xef\xbb\xbfx\r\n\\#y\nz\\ \n", "foo**/bar\n*a*a*a*b\n", "!\n/\n//\n[\n\\\n",
	} {
		f.Add([]byte(text), "a/b/c")
		f.Add([]byte(text), "foo/x/bar/keep.o")
	}
	f.Fuzz(func(t *testing.T, text []byte, path string) {
		if len(text) > 2000 || len(path) > 1000 {
			t.Skip("long")
		}
		open := func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(text)), nil }
		a := NewFilter()
		a.Gitignore(true)
		got := verdicts(t, a, path, open)
		// A line that includes, before all others, changes nothing, nor does a comment.
		more := slices.Concat([]byte("!*\n# x\n"), bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")))
		open = func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(more)), nil }
		if again := verdicts(t, a, path, open); !slices.Equal(got, again) {
			t.Errorf("%q of %q: got %v, with a line that does nothing %v", text, path, got, again)
		}
	})
}

// FuzzFilesFrom reads a list of files.
func FuzzFilesFrom(f *testing.F) {
	f.Add([]byte("a/b\n./c/\n# d\n\n/e//f/.\n.\n"), false, "a/b")
	f.Add([]byte("a\x00b/c\n\x00#d\x00"), true, "b/c\n")
	f.Add([]byte("a.b\na/b\na\na-b\n"), false, "a")
	f.Fuzz(func(t *testing.T, text []byte, from0 bool, path string) {
		if len(text) > 2000 || len(path) > 1000 {
			t.Skip("long")
		}
		l, err := ReadFilesFrom(bytes.NewReader(text), from0)
		if err != nil {
			return
		}
		all := slices.Collect(l.All())
		again, err := ReadFilesFrom(strings.NewReader(strings.Join(all, "\x00")), true)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Collect(again.All()); !slices.Equal(got, all) {
			t.Fatalf("got names %q, want %q", got, all)
		}
		for i, name := range all {
			if name != "." && (name[0] == '/' || strings.Contains("/"+name+"/", "/../") || strings.Contains("/"+name+"/", "/./")) {
				t.Errorf("%q is in the list", name)
			}
			if i > 0 && comparePaths([]byte(strings.TrimSuffix(all[i-1], "/")), []byte(strings.TrimSuffix(name, "/"))) >= 0 && all[i-1] != "." {
				t.Errorf("%q is before %q", all[i-1], name)
			}
		}
		// A walk that finds everything misses nothing.
		flt := NewFilter()
		flt.Files(l, false)
		verdicts(t, flt, path, nil)
		d, err := flt.Root(nil)
		if err != nil {
			t.Fatal(err)
		}
		findAll(t, d)
		for name := range l.Missing() {
			t.Errorf("%q is missing", name)
		}
	})
}

// findAll enters all that a list has beneath d.
func findAll(t *testing.T, d *DirFilter) {
	before := ""
	for name := range d.listed.names {
		if name <= before {
			t.Fatalf("%q follows %q", name, before)
		}
		before = name
		if !d.Keep(name, true) {
			t.Fatalf("%q is left out", name)
		}
		below, err := d.Enter(name, nil)
		if err != nil {
			t.Fatal(err)
		}
		findAll(t, below)
	}
}
