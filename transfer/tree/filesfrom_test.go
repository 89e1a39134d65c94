package tree

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

func listOf(t testing.TB, text string) *FileList {
	t.Helper()
	l, err := ReadFilesFrom(strings.NewReader(text), false)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestReadFilesFrom(t *testing.T) {
	for _, c := range []struct {
		text  string
		from0 bool
		want  string // separated by commas
	}{
		{"", false, ""},
		{"\n\r\n# a\n;b\n", false, ""},
		{"b\na\nb\n", false, "a,b"},
		{"a\r\nb\rc", false, "a,b,c"},
		{"/a\n./b\n//c\n././d\n.//e/f", false, "a,b,c,d,e/f"},
		{"a/\na\n", false, "a/"}, {"a\na/\na\n", false, "a/"},
		{"a//b///c//\n", false, "a/b/c/"},
		{"a/.\n", false, "a/"},
		{".\n", false, "."}, {"/\n", false, "."}, {"./\n./\n", false, "."}, {"a\n.\n", false, ".,a"},
		{" a \n a#\n", false, " a , a#"},
		{"...\n..a\na..\n.a\na.\n", false, "...,..a,.a,a.,a.."},
		// A directory stands before what is in it, and that before its neighbours.
		{"a.c\na/b\na\na-\na/b/c\na b\n", false, "a,a/b,a/b/c,a b,a-,a.c"},
		{"\xff\n\x01\n", false, "\x01,\xff"},
		// Nothing is a comment here, and a line feed is part of a name.
		{"#a\x00;b\x00\x00c\nd\r\x00", true, "#a,;b,c\nd\r"},
		{"a\x00b", true, "a,b"},
	} {
		l, err := ReadFilesFrom(strings.NewReader(c.text), c.from0)
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		got := slices.Collect(l.All())
		if strings.Join(got, ",") != c.want || l.Len() != len(got) {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
	}
	long := strings.Repeat("a/", maxListPath/2)
	listOf(t, long+"a")
	for text, why := range map[string]string{
		"a\n..\n":         "line 2",
		"../a":            "..",
		"a/../b":          "..",
		"a/..":            "..",
		"/../a":           "..",
		"./..//a":         "..",
		"a/./b":           `"."`,
		"a/.//./b/":       `"."`,
		"\n\na\x00b":      "line 3: it has a NUL",
		long + "ab":       "longer",
		long + long + "a": "line 1",
	} {
		if _, err := ReadFilesFrom(strings.NewReader(text), false); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%.30q: got error %v, want one of %s", text, err, why)
		}
	}
	if _, err := ReadFilesFrom(strings.NewReader("a\x00..\x00"), true); err == nil || !strings.Contains(err.Error(), "record 2") {
		t.Errorf("got error %v, want one of record 2", err)
	}
	read := errors.New("cannot be read")
	if _, err := ReadFilesFrom(failing{read}, false); !errors.Is(err, read) {
		t.Errorf("got error %v, want %v", err, read)
	}
	if _, err := readFilesFrom(strings.NewReader("abcd\nefgh\n"), false, 2*(4+entryCost)-1); !errors.Is(err, ErrListTooLong) {
		t.Errorf("got error %v, want %v", err, ErrListTooLong)
	}
	if _, err := readFilesFrom(strings.NewReader("abcd\nefgh\n"), false, 2*(4+entryCost)); err != nil {
		t.Error(err)
	}
}

func TestFilesFrom(t *testing.T) {
	dir := t.TempDir()
	for _, p := range []string{"a/b/c", "a/b/d", "a/x", "a.c", "e/f", "e/g/h", "i", "j/k"} {
		if i := strings.LastIndexByte(p, '/'); i > 0 {
			must(t, os.MkdirAll(dir+"/"+p[:i], 0o755))
		}
		must(t, os.WriteFile(dir+"/"+p, nil, 0o644))
	}
	for _, c := range []struct {
		list, rules   string
		recurse       bool
		want, missing string // separated by spaces
	}{
		{"", "", true, "", ""},
		{"a", "", false, "a/", ""},
		{"a", "", true, "a/ a/b/ a/b/c a/b/d a/x", ""},
		{"a/", "", false, "a/ a/b/ a/x", ""},
		{"a/b/c\na.c", "", false, "a.c a/ a/b/ a/b/c", ""},
		{"a\na/b/c", "", false, "a/ a/b/ a/b/c", ""},
		{".", "", false, "a.c a/ e/ i j/", ""},
		{".\ne/g", "", false, "a.c a/ e/ e/g/ i j/", ""},
		{".", "", true, "a.c a/ a/b/ a/b/c a/b/d a/x e/ e/f e/g/ e/g/h i j/ j/k", ""},
		{"a/b\na/z\nz/a\ni/x\ni", "", false, "a/ a/b/ i", "a/z i/x z/a"},
		{"i/", "", false, "i", ""}, {"i/x", "", false, "", "i/x"},
		// Rules leave out what is listed, but no directory that leads to it.
		{"a/b/c\na/x", "- a/,- b,- x", false, "a/ a/b/ a/b/c", ""},
		{"a\na/b/d", "- /a", true, "a/ a/b/ a/b/d", ""},
		{"a", "- b", true, "a/ a/x", ""},
		{"a\nnone", "- a,- none", true, "", "none"},
	} {
		f := NewFilter()
		for rule := range strings.SplitSeq(c.rules, ",") {
			must(t, f.Exclude(rule))
		}
		list := listOf(t, c.list)
		f.Files(list, c.recurse)
		got := walkFiltered(t, dir, f)
		slices.Sort(got)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%q (-r: %v) with %q: got %q, want %q", c.list, c.recurse, c.rules, got, c.want)
		}
		if got := slices.Collect(list.Missing()); strings.Join(got, " ") != c.missing {
			t.Errorf("%q: missing are %q, want %q", c.list, got, c.missing)
		}
	}
	// A walk begins anew.
	f, list := NewFilter(), listOf(t, "i\nj/k")
	f.Files(list, false)
	for _, want := range []string{"", "i"} {
		if walkFiltered(t, dir, f); strings.Join(slices.Collect(list.Missing()), " ") != want {
			t.Errorf("missing are %q, want %q", slices.Collect(list.Missing()), want)
		}
		must(t, os.RemoveAll(dir+"/i"))
	}
}

func TestFilesOfNamedSource(t *testing.T) {
	f := filterOf(t, "- /src/b")
	list := listOf(t, "a\nb\nc")
	f.Files(list, false)
	above := f.Above()
	if !above.Keep("src", true) || above.Keep("x", true) != true {
		t.Error("the list is taken for that of names above the source")
	}
	if _, only := above.Names(); only {
		t.Error("names above the source are those of the list")
	}
	d, err := above.Enter("src", nil)
	must(t, err)
	for name, want := range map[string]bool{"a": true, "b": false, "src": false} {
		if d.Keep(name, false) != want {
			t.Errorf("%q is kept: %v", name, !want)
		}
	}
	if got := slices.Collect(list.Missing()); !slices.Equal(got, []string{"c"}) {
		t.Errorf("missing are %q", got)
	}
}

// TestFileListLookup asks for names in any order, and compares with a map.
func TestFileListLookup(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range repeat(300) {
		var text strings.Builder
		on := map[string]bool{}
		for range rng.IntN(60) {
			path := ""
			for range 1 + rng.IntN(3) {
				path += "/" + string("abcx-\x01"[rng.IntN(6)]) + []string{"", "-", "."}[rng.IntN(3)]
			}
			on[path] = true
			text.WriteString(path[1:] + "\n")
		}
		list := listOf(t, text.String())
		var check func(d listed, path string, depth int)
		check = func(d listed, path string, depth int) {
			for range 4 {
				name := string("abcx-\x01"[rng.IntN(6)]) + []string{"", "-", "."}[rng.IntN(3)]
				below := path + "/" + name
				gotOn, gotUnder := d.find(name)
				wantUnder := false
				for p := range on {
					wantUnder = wantUnder || strings.HasPrefix(p, below+"/")
				}
				if gotOn != on[below] || gotUnder != wantUnder {
					t.Fatalf("%q: %q: got %v and %v, want %v and %v", text.String(), below, gotOn, gotUnder, on[below], wantUnder)
				}
				if _, _, l := d.enter(name); depth < 3 {
					if (l.lo < l.hi) != wantUnder {
						t.Fatalf("%q: beneath %q: got %v, want %v", text.String(), below, l.lo < l.hi, wantUnder)
					}
					check(l, below, depth+1)
				}
			}
		}
		check(list.root(false), "", 0)
	}
}

func TestManyListedFiles(t *testing.T) {
	const dirs, each = 50, 1000
	var text strings.Builder
	for i := range dirs * each {
		i = i * 7919 % (dirs * each) // in no order
		fmt.Fprintf(&text, "dir%04d/file%04d\n", i/each, i%each)
	}
	list := listOf(t, text.String())
	if list.Len() != dirs*each {
		t.Fatalf("got %d names", list.Len())
	}
	f := NewFilter()
	f.Files(list, false)
	top, err := f.Root(nil)
	must(t, err)
	n := 0
	names, _ := top.Names()
	for dir := range names {
		if !top.Keep(dir, true) {
			t.Fatalf("%s is left out", dir)
		}
		d, err := top.Enter(dir, nil)
		must(t, err)
		names, only := d.Names()
		if !only {
			t.Fatalf("%s is to be listed", dir)
		}
		for name := range names {
			if name != "file0500" && !d.Keep(name, false) {
				t.Fatalf("%s/%s is left out", dir, name)
			}
			n++
		}
	}
	missing := slices.Collect(list.Missing())
	if n != dirs*each || len(missing) != dirs || missing[1] != "dir0001/file0500" {
		t.Errorf("got %d names, %d are missing", n, len(missing))
	}
}
