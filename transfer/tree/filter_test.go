package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"xfer/transfer/durable"
)

// files says what is in each .gitignore, by the path of its directory, which ends with '/' but for the start.
type files map[string]string

func (f files) in(path string) Opener {
	return func(name string) (io.ReadCloser, error) {
		text, ok := f[path]
		if !ok || name != ".gitignore" {
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		}
		return io.NopCloser(strings.NewReader(text)), nil
	}
}

// keeps tells whether a walk gets to path, a directory where it ends with '/'.
func keeps(t testing.TB, f *Filter, ignored files, path string) bool {
	t.Helper()
	d, err := f.Root(ignored.in(""))
	if err != nil {
		t.Fatal(err)
	}
	name, isDir := strings.CutSuffix(path, "/")
	for at := ""; ; {
		c, rest, more := strings.Cut(name, "/")
		if !d.Keep(c, more || isDir) {
			return false
		}
		if !more {
			return true
		}
		at += c + "/"
		if d, err = d.Enter(c, ignored.in(at)); err != nil {
			t.Fatal(err)
		}
		name = rest
	}
}

// filterOf makes a filter of rules with "+ " or "- ".
func filterOf(t testing.TB, rules ...string) *Filter {
	t.Helper()
	f := NewFilter()
	for _, r := range rules {
		if err := f.Exclude(r); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestFilterRules(t *testing.T) {
	for _, c := range []struct {
		rules    string // separated by commas
		kept, no string // separated by spaces
	}{
		{"", "a a/ a/b", ""},
		// The examples of rsync's manual.
		{"- *.o", "a.c x/a.oo", "a.o x/a.o x.o/"},
		{"- /foo", "x/foo", "foo foo/ foo/x"},
		{"- foo/", "foo x/foo", "foo/ x/foo/ x/foo/y"},
		{"- foo/*/bar", "foo/bar foo/x/y/bar x/foo/bar", "foo/x/bar x/foo/y/bar/"},
		{"- /foo/**/bar", "foo/bar x/foo/y/bar", "foo/x/bar foo/x/y/bar"},
		{"+ */,+ *.c,- *", "x/ x/a.c a.c x/y/", "a x/a.o"},
		{"+ foo/,+ foo/bar.c,- *", "foo/ foo/bar.c", "foo/x bar.c foo x/foo/"},
		{"- dir/***", "dir xdir/ dir_", "dir/ dir/x dir/x/y x/dir/y"},
		{"- /dir/***", "dir x/dir/", "dir/ dir/x"},
		{"- dir/**", "dir/ dir", "dir/x dir/x/y"},
		// The first that matches decides.
		{"+ a,- *", "a", "b"},
		{"- *,+ a", "", "a b"},
		{"- *,!,- b", "a", "b"},
		// A directory that is left out is not entered.
		{"- a/,+ a/b", "b", "a/ a/b"},
		{"+ /a/,+ /a/b,- *", "a/ a/b", "a/c b x/a/"},
		// Names are bytes, and nothing else folds them.
		{"- a?", "a\xc3\xa4", "a\xe4"},
		{"- A", "a", "A"},
		// Without wildcards a '\' is one.
		{`- a\b`, "ab", `a\b x/a\b`},
		{`- a\b*`, `a\b`, "ab abc"},
		{"- a//b,- //a,- //a/b,- //*,- a//*,- b//c/d", "a a/b b/c/d", ""},
		{"- a/b/c", "b/c x/b/c a/b", "a/b/c x/a/b/c"},
		{"- x/a/b/c", "a/b/c xx/a/b/c", "x/a/b/c y/x/a/b/c"},
		{"- /", "a a/", ""},
		// As many components as there are slashes, though a class takes none.
		{"- [/x]y,- a?[/]b", "y xy a/xy axb a/b", ""},
		{"- [a/", "[a/", ""},
	} {
		f := NewFilter()
		for rule := range strings.SplitSeq(c.rules, ",") {
			must(t, f.Exclude(rule))
		}
		for _, p := range strings.Fields(c.kept) {
			if !keeps(t, f, nil, p) {
				t.Errorf("%q leave out %q", c.rules, p)
			}
		}
		for _, p := range strings.Fields(c.no) {
			if keeps(t, f, nil, p) {
				t.Errorf("%q keep %q", c.rules, p)
			}
		}
	}
}

func TestFilterRefuses(t *testing.T) {
	long := strings.Repeat("a", maxPattern)
	f := NewFilter()
	must(t, f.Exclude(long))
	must(t, f.Include("- "+long))
	for _, bad := range []string{long + "a", "+ " + long + "a", "- ", "+ ", "a\x00b"} {
		if err := f.Exclude(bad); err == nil {
			t.Errorf("%.20q is taken", bad)
		}
	}
	for text, where := range map[string]string{
		"a\n# b\n\n- \n":                      "line 4",
		"a\r\nb\r\n" + long + "abc\r\nd":      "line 3",
		"a\nb\x00c\n":                         "line 2: it has a NUL",
		strings.Repeat("\n", 9) + long + long: "line 10",
	} {
		if err := NewFilter().ExcludeFrom(strings.NewReader(text), false); err == nil || !strings.Contains(err.Error(), where) {
			t.Errorf("%.40q: got error %v, want one of %s", text, err, where)
		}
	}
	if err := NewFilter().ExcludeFrom(strings.NewReader("a\x00- \x00"), true); err == nil || !strings.Contains(err.Error(), "record 2") {
		t.Errorf("got error %v, want one of record 2", err)
	}
	read := errors.New("cannot be read")
	if err := NewFilter().ExcludeFrom(failing{read}, false); !errors.Is(err, read) {
		t.Errorf("got error %v, want %v", err, read)
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestFilterBounds(t *testing.T) {
	rules := strings.Repeat("a\n", maxRules)
	f := NewFilter()
	must(t, f.ExcludeFrom(strings.NewReader(rules), false))
	if err := f.Exclude("b"); !errors.Is(err, ErrManyRules) {
		t.Errorf("got error %v after %d rules", err, maxRules)
	}
	must(t, f.Exclude("!"))
	must(t, f.Exclude("b"))

	long := strings.Repeat("x", 4000)
	f, n := NewFilter(), maxRuleBytes/4000
	for range n {
		must(t, f.Exclude(long))
	}
	if err := f.Exclude(long); !errors.Is(err, ErrManyRules) {
		t.Errorf("got error %v after %d rules of 4000 bytes", err, n)
	}

	if _, err := ParseRules(slices.Repeat([]string{"- a"}, MaxSentRules+1)); !errors.Is(err, ErrManyRules) {
		t.Errorf("got error %v of %d rules from a peer", err, MaxSentRules+1)
	}
	if _, err := ParseRules(slices.Repeat([]string{"- " + long}, MaxSentRuleBytes/4000+1)); !errors.Is(err, ErrManyRules) {
		t.Errorf("got error %v of too long rules from a peer", err)
	}
	if _, err := ParseRules(slices.Repeat([]string{"- a*b?c/d"}, MaxSentWildPaths+1)); !errors.Is(err, ErrManyRules) {
		t.Errorf("got error %v of %d rules with wildcards for paths from a peer", err, MaxSentWildPaths+1)
	}
	most := slices.Concat(slices.Repeat([]string{"- a*b?c/d"}, MaxSentWildPaths), slices.Repeat([]string{"+ a*b?c"}, MaxSentRules-MaxSentWildPaths))
	if _, err := ParseRules(most); err != nil {
		t.Error(err)
	}
}

func TestParseRules(t *testing.T) {
	f := NewFilter()
	for _, p := range []string{"a", "- b", "+ c", "# d", " ", "- + e", "two\nlines", "!!", "gitignore", "\xff"} {
		must(t, f.Exclude(p))
	}
	must(t, f.Include("!x"))
	must(t, f.Include("- - y"))
	f.Gitignore(true)
	want := []string{
		"- a", "- b", "+ c", "- # d", "-  ", "- + e", "- two\nlines", "- !!", "- gitignore", "- \xff", "+ !x", "- - y", "gitignore",
	}
	if got := f.Rules(); !slices.Equal(got, want) {
		t.Errorf("got rules %q, want %q", got, want)
	}
	again, err := ParseRules(want)
	must(t, err)
	if got := again.Rules(); !slices.Equal(got, want) {
		t.Errorf("parsed again: got rules %q, want %q", got, want)
	}
	for _, bad := range [][]string{
		{"a"}, {""}, {"!"}, {"- "}, {"-a"}, {"gitignore", "- a"}, {"gitignore "}, {": x"}, {"- a\x00"}, {"- " + strings.Repeat("a", maxPattern+1)},
	} {
		if _, err := ParseRules(bad); err == nil {
			t.Errorf("%.30q are taken", bad)
		}
	}
}

func TestGitignore(t *testing.T) {
	const rules = "//a.c\n//x/a.c\nx//a.c\n*.o\n/build\n!keep.o\ndoc/*.txt\n**/tmp/\n.*\n\\#x\n"
	ignored := files{"": rules, "sub/": "!a.o\n*.c\n/only\n", "sub/deep/": "!/x.c\n"}
	for _, c := range []struct {
		rules    string
		kept, no string
	}{
		{"", "a.c keep.o sub/build sub/a.o sub/keep.o doc/x/a.txt tmp #y sub/deep/x.c sub/deep/only sub/deep/a.o x/a.c",
			"a.o build/ build doc/a.txt tmp/ x/tmp/ .hid #x sub/a.c sub/only sub/deep/y.c sub/deep/y/x.c x/sub/b.o build/keep.o"},
		// The repository is nothing that a .gitignore could be about, wherever it is.
		{"", ".git .git/ .git/a.o .git/build .git/.x sub/.git/a.c", ".gitx .gitignore"},
		{"- .git", "a.c", ".git/ .git/x sub/.git"},
		// Rules decide before.
		{"+ a.o,- a.c", "a.o x/a.o", "a.c b.o"},
		{"+ build/", "build/ build/x", "build build/x.o"},
	} {
		f := NewFilter()
		f.Gitignore(true)
		for rule := range strings.SplitSeq(c.rules, ",") {
			must(t, f.Exclude(rule))
		}
		for _, p := range strings.Fields(c.kept) {
			if !keeps(t, f, ignored, p) {
				t.Errorf("%q leave out %q", c.rules, p)
			}
		}
		for _, p := range strings.Fields(c.no) {
			if keeps(t, f, ignored, p) {
				t.Errorf("%q keep %q", c.rules, p)
			}
		}
	}
	if !keeps(t, NewFilter(), ignored, "a.o") {
		t.Error("a .gitignore counts though nobody asked")
	}
}

func TestGitignoreOfNamedSource(t *testing.T) {
	f := filterOf(t, "- /src/x")
	f.Gitignore(true)
	above := f.Above()
	if !above.Keep("src", true) {
		t.Error("the source is left out")
	}
	d, err := above.Enter("src", files{"": "/a\nsrc\n"}.in(""))
	must(t, err)
	for name, want := range map[string]bool{"a": false, "b": true, "x": false, "src": false} {
		if d.Keep(name, false) != want {
			t.Errorf("%q is kept: %v", name, !want)
		}
	}
}

func TestGitignoreBounds(t *testing.T) {
	f := NewFilter()
	f.Gitignore(true)
	lines := func(n int, line string) string { return strings.Repeat(line+"\n", n) }
	for what, text := range map[string]string{
		"lines":       lines(maxIgnoreLines+1, "a"),
		"paths":       lines(maxIgnoreAllPaths+1, "a/*"),
		"bytes":       lines(maxIgnoreBytes/100+1, strings.Repeat("# ", 50)),
		"a long line": lines(1, strings.Repeat("a", maxPattern+1)),
	} {
		if _, err := f.Root(files{"": text}.in("")); err == nil || !strings.Contains(err.Error(), ".gitignore") {
			t.Errorf("too many %s: got error %v", what, err)
		}
	}
	if _, err := f.Root(files{"": lines(maxIgnoreLines, "a") + lines(1000, "#") + lines(1000, "")}.in("")); err != nil {
		t.Errorf("%d lines: %v", maxIgnoreLines, err)
	}
	// Together with those above.
	for _, text := range []string{lines(maxIgnoreLines, "a"), lines(50, strings.Repeat("x", 4000)), lines(maxIgnoreAllPaths/2, "a/*")} {
		d, err := f.Root(files{"": text}.in(""))
		for n := 1; err == nil; n++ {
			if n == 7 {
				t.Fatalf("%d files of %d bytes are taken", n, len(text))
			}
			d, err = d.Enter("x", files{"": text}.in(""))
		}
		if !errors.Is(err, ErrManyRules) {
			t.Error(err)
		}
	}
	read := errors.New("cannot be read")
	for _, dir := range []Opener{
		func(string) (io.ReadCloser, error) { return nil, read },
		func(string) (io.ReadCloser, error) { return io.NopCloser(failing{read}), nil },
	} {
		if _, err := f.Root(dir); !errors.Is(err, read) {
			t.Errorf("got error %v, want %v", err, read)
		}
		d, err := f.Root(nil)
		must(t, err)
		if _, err := d.Enter("a", dir); !errors.Is(err, read) {
			t.Errorf("got error %v, want %v", err, read)
		}
	}
}

func TestOpenIn(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		put(t, fsys, "file")
		must(t, fsys.Mkdir("dir", 0o755))
		must(t, fsys.Symlink("file", "link"))
		open := OpenIn(fsys)
		f, err := open("file")
		must(t, err)
		b, err := io.ReadAll(f)
		must(t, err)
		must(t, f.Close())
		if len(b) > 0 {
			t.Errorf("got %q", b)
		}
		for _, name := range []string{"dir", "link", "none"} {
			if _, err := open(name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s: got error %v, want %v", name, err, fs.ErrNotExist)
			}
		}
	})
}

// TestManyExactRules has rules that would take long if each were tried.
func TestManyExactRules(t *testing.T) {
	f := NewFilter()
	for i := range 50_000 {
		must(t, f.Exclude(fmt.Sprintf("/dir%d/sub/file%d", i%100, i)))
		must(t, f.Exclude(fmt.Sprintf("name%d", i)))
	}
	for path, want := range map[string]bool{
		"dir7/sub/file4207": false, "dir7/sub/file4208": true, "x/dir7/sub/file4207": true, "dir7/sub/name9": false, "dir7/sub/name50000": true,
	} {
		if keeps(t, f, nil, path) != want {
			t.Errorf("%q is kept: %v", path, !want)
		}
	}
}
