package transfer

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"xfer/transfer/durable/crashfs"
	"xfer/transfer/tree"
	"xfer/transfer/wire"
)

// nowhere is a directory without a file.
var nowhere = crashfs.New(1)

// kept tells which of paths a filter keeps; a directory ends in "/".
func kept(t *testing.T, root tree.Selection, paths []string) string {
	t.Helper()
	var out []string
	for _, p := range paths {
		parts := strings.Split(strings.TrimSuffix(p, "/"), "/")
		d, ok := root, true
		for i, name := range parts {
			dir := i < len(parts)-1 || strings.HasSuffix(p, "/")
			if ok = d.Keep(name, dir); !ok {
				break
			}
			if i < len(parts)-1 {
				var err error
				if d, err = d.Enter(name, nowhere); err != nil {
					t.Fatal(err)
				}
			}
		}
		if ok {
			out = append(out, p)
		}
	}
	return strings.Join(out, " ")
}

func fileList(t *testing.T, names ...string) *tree.FileList {
	t.Helper()
	list, err := tree.ReadFilesFrom(strings.NewReader(strings.Join(names, "\x00")), true)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// What rules and a list of files keep of a directory at a server is what they keep of one that is here.
func TestRulesCrossTheWire(t *testing.T) {
	paths := []string{
		"a", "b/", "b/c", "b/d", "b/e/", "b/e/f", "b/e/g/", "b/e/g/h", "c/", "c/x.o", "c/y", "star*", "starry", `back\slash`, `wild\*`, "wildx",
		"q?/", "q?/in", "qq/", "qq/in", "[x]", "x", "**", "***", "b/b/", "b/b/c", "n\xffm", "z z", "+ z", "- z",
	}
	for _, names := range [][]string{
		{"a"}, {"b"}, {"b/"}, {"b/e"}, {"b/e/"}, {"b/e/g/h"}, {"b/e/g/h", "b/e/"}, {"b", "b/e/f"}, {"."}, {"a", "."}, {"star*", `back\slash`}, {`wild\*`},
		{"q?"}, {"q?/"}, {"q?/in"}, {"[x]"}, {"**"}, {"***"}, {"missing", "b/missing"}, {"c", "a"}, {"c/"}, {"c/x.o"}, {"n\xffm", "z z", "+ z", "- z"},
	} {
		for _, recurse := range []bool{false, true} {
			for _, rules := range [][]string{nil, {"*.o"}, {"b"}, {"/c/"}, {"e", "+ f"}} {
				name := fmt.Sprintf("%q recurse %v rules %q", names, recurse, rules)
				user := tree.NewFilter()
				for _, r := range rules {
					if err := user.Exclude(r); err != nil {
						t.Fatal(err)
					}
				}
				r := Rules{Filter: user, Files: fileList(t, names...), Recurse: recurse}
				asks, err := r.asks()
				if err != nil || len(asks) != 1 {
					t.Fatalf("%s: %d, %v", name, len(asks), err)
				}
				sel, err := selectionFor(wire.TreeGet{Rules: asks[0].rules, Names: asks[0].names, Walk: asks[0].walk}, "root", nil)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				got := kept(t, sel, paths)
				here, err := r.filter().Root(nothingThere)
				if err != nil {
					t.Fatal(err)
				}
				if want := kept(t, here.Selection(), paths); got != want {
					t.Errorf("%s:\nkeeps %q\nwant  %q", name, got, want)
				}
			}
		}
	}
}

// A long list is asked for in parts that a server takes, and none of its names is lost.
func TestLongListsAreSplit(t *testing.T) {
	user := tree.NewFilter()
	if err := user.Exclude("*.tmp"); err != nil {
		t.Fatal(err)
	}
	user.Gitignore(false)
	var names []string
	for i := range 20000 {
		names = append(names, fmt.Sprintf("d%d/e%d/%s%d", i%7, i%1000, strings.Repeat("n", i%60), i))
	}
	r := Rules{Filter: user, Files: fileList(t, names...), OneFileSystem: true}
	asks, err := r.asks()
	if err != nil || len(asks) < 4 {
		t.Fatalf("%d parts, %v", len(asks), err)
	}
	seen := map[string]bool{}
	for _, a := range asks {
		m := wire.TreeGet{Rules: a.rules, Names: a.names, Walk: a.walk}
		if a.walk != wire.TreeOneFileSystem || len(a.rules) != 1 {
			t.Errorf("%q, walk %d", a.rules, a.walk)
		}
		if b, err := wire.AppendFrame(nil, 1, m); err != nil || len(b) > wire.MaxControl {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
		if _, err := selectionFor(m, "root", nil); err != nil {
			t.Fatal(err)
		}
		for name := range a.unmet {
			if seen[name] {
				t.Errorf("%s is asked for twice", name)
			}
			seen[name] = true
		}
	}
	if len(seen) != len(names) {
		t.Errorf("%d names, want %d", len(seen), len(names))
	}
}

func TestRulesThatAServerDoesNotTake(t *testing.T) {
	many, long := tree.NewFilter(), tree.NewFilter()
	for i := range wire.MaxRules + 1 {
		_ = many.Exclude(fmt.Sprint(i))
		_ = long.Exclude(strings.Repeat("x", 100) + fmt.Sprint(i))
	}
	for name, r := range map[string]Rules{
		"too many": {Filter: many}, "too long": {Filter: long},
	} {
		if _, err := r.asks(); KindOf(err) != KindUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, m := range map[string]wire.TreeGet{
		"no sign": {Rules: [][]byte{[]byte("a")}}, "no pattern": {Rules: [][]byte{[]byte("- ")}},
		"another rule": {Rules: [][]byte{[]byte("! a")}}, "a NUL": {Rules: [][]byte{[]byte("- a\x00")}},
		"a name that leads out": {Names: [][]byte{[]byte("a/../../b")}}, "a name that is too long": {Names: [][]byte{bytes.Repeat([]byte("n"), 4096)}},
	} {
		_, err := selectionFor(m, "root", nil)
		if code, _ := codeOf(err); err == nil || code != wire.CodeUnsupported {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What links lead to comes instead of them, as far as it is in the root.
func TestGetFollowsLinks(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		outside := t.TempDir()
		mustWrite(t, filepath.Join(outside, "secret"), []byte("secret"), 0o644)
		large := randomBytes(4, 3<<20)
		mustWrite(t, h.path("else/large"), large, 0o644)
		mustWrite(t, h.path("else/small"), []byte("small"), 0o600)
		mustWrite(t, h.path("dir/plain"), []byte("plain"), 0o644)
		for name, to := range map[string]string{
			"dir/small": "../else/small", "dir/large": "../else/large", "dir/all": "../else", "dir/twice": "small", "top": "dir", "one": "else/small",
		} {
			if err := os.Symlink(to, h.path(name)); err != nil {
				t.Skip(err)
			}
		}
		o := Options{}
		o.Rules.FollowLinks = true
		o.Receipts = true
		base := t.TempDir()
		want := map[string][]byte{
			"plain": []byte("plain"), "small": []byte("small"), "twice": []byte("small"), "large": large, "all/small": []byte("small"), "all/large": large,
		}
		for _, from := range []string{"dir", "top", "top/"} {
			to := filepath.Join(base, strings.ReplaceAll(from, "/", "-"))
			h.mustGet(o, to, from)
			for name, data := range want {
				if fi, err := os.Lstat(filepath.Join(to, name)); err != nil || !fi.Mode().IsRegular() {
					t.Fatalf("%s: %s is no file: %v", from, name, err)
				}
				if got, err := os.ReadFile(filepath.Join(to, name)); err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s: %s has %d bytes, %v", from, name, len(got), err)
				}
			}
			if fi, err := os.Lstat(filepath.Join(to, "all")); err != nil || !fi.IsDir() {
				t.Errorf("%s: all is no directory: %v", from, err)
			}
		}
		h.mustGet(o, filepath.Join(base, "one"), "one")
		if got, err := os.ReadFile(filepath.Join(base, "one")); err != nil || string(got) != "small" {
			t.Errorf("a file by its link: %q, %v", got, err)
		}

		for name, to := range map[string]string{"out": outside, "up": "../../..", "state": "../.xfer", "self": ".", "none": "nothing"} {
			if err := os.Symlink(to, h.path(filepath.Join("bad", name))); err != nil {
				if err := os.MkdirAll(h.path("bad"), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(to, h.path(filepath.Join("bad", name))); err != nil {
					t.Fatal(err)
				}
			}
		}
		mustWrite(t, h.path("bad/good"), []byte("good"), 0o644)
		to := filepath.Join(base, "bad")
		res, err := h.get(o, to, "bad")
		if KindOf(err) != KindPartial || res.ErrorCount != 5 {
			t.Errorf("%d errors, %v", res.ErrorCount, err)
		}
		for _, e := range res.Errors {
			if !strings.Contains(e.Error(), "the symbolic link") {
				t.Error(e)
			}
		}
		entries, _ := os.ReadDir(to)
		if len(entries) != 1 || entries[0].Name() != "good" {
			t.Errorf("there are %v", entries)
		}
		for _, name := range []string{"bad/out", "bad/up", "bad/none"} {
			if _, err := h.get(o, filepath.Join(base, "x"), name); err == nil {
				t.Errorf("%s: no error", name)
			}
		}
	})
}
