package tree

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"xfer/transfer/durable"
)

// The filters are compared with the commands whose rules they follow, over random trees and rules.

// repeat is how many random cases a test tries: few by itself, more by XFER_TEST_REPEAT.
func repeat(few int) int {
	if n, err := strconv.Atoi(os.Getenv("XFER_TEST_REPEAT")); err == nil && n > 0 {
		return n
	}
	return few
}

// command returns the command name with an environment in which nothing of the user's changes what it does.
func command(t *testing.T, dir, name string, args ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "HOME=" + t.TempDir(),
		"GIT_CONFIG_GLOBAL=" + os.DevNull, "GIT_CONFIG_NOSYSTEM=1",
	}
	return cmd
}

// output runs a command that must succeed, or end with one of the codes.
func output(t *testing.T, cmd *exec.Cmd, codes ...int) []byte {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	if err != nil && !slices.Contains(codes, cmd.ProcessState.ExitCode()) {
		t.Fatalf("%q: %v: %s", cmd.Args, err, &stderr)
	}
	return b
}

// gen makes random names, trees and patterns.
type gen struct {
	*rand.Rand
	names []string
}

func newGen(seed uint64) *gen {
	return &gen{rand.New(rand.NewPCG(seed, 7)), []string{
		"a", "b", "c", "ab", "ba", "abc", "foo", "foo.o", "bar", "bar.c", ".hid", "x y", "-", "]", "[", "a*b", "a?", `a\b`, `\`, "**", "!x",
		"#x", "A", "Z9", "\xff", "\xc3\xa4", "a\tb", "tail ", "[a]", "^", "foo~", "+ a",
	}}
}

func (g *gen) pick(s ...string) string { return s[g.IntN(len(s))] }

func (g *gen) name() string { return g.names[g.IntN(len(g.names))] }

// tree makes a tree of up to n names in dir, and returns their paths, those of directories with a slash.
func (g *gen) tree(t *testing.T, dir string, n int) []string {
	t.Helper()
	dirs, paths := []string{""}, []string(nil)
	for range n {
		path := dirs[g.IntN(len(dirs))] + g.name()
		file := filepath.Join(dir, path)
		if _, err := os.Lstat(file); err == nil {
			continue
		}
		if strings.Count(path, "/") < 5 && g.IntN(3) > 0 {
			must(t, os.Mkdir(file, 0o755))
			path += "/"
			dirs = append(dirs, path)
		} else if g.IntN(12) == 0 {
			must(t, os.Symlink(".", file))
		} else {
			must(t, os.WriteFile(file, nil, 0o644))
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

// component makes a pattern for one component, often one that matches something.
func (g *gen) component() string {
	var b strings.Builder
	if g.IntN(3) > 0 {
		b.WriteString(g.name())
		s := []byte(b.String())
		b.Reset()
		for i, c := range s {
			switch g.IntN(8) {
			case 0:
				b.WriteString(g.pick("?", "*", "**", "***"))
			case 1:
				fmt.Fprintf(&b, "[%s%c%s]", g.pick("", "", "!", "^"), c, g.pick("", "a-c", "z", "-", "b-", `\-`))
			case 2:
				b.WriteByte('\\')
				b.WriteByte(c)
			case 3:
				if i > 0 {
					b.WriteString("*")
					break
				}
				fallthrough
			default:
				b.WriteByte(c)
			}
		}
		return b.String()
	}
	for range 1 + g.IntN(4) {
		b.WriteString(g.pick("*", "*", "**", "***", "?", "a", "b", "o", "foo", ".", `\*`, `\`, "[ab]", "[!a]", "[^a-f]", "[]a]", "[!]a]", "[a",
			"[[:alpha:]]", "[[:digit:][:upper:]]", "[![:space:]]", "[[:punct:]]", "[[:bogus:]]", "[[:x]", "[[:]", "[[::]]", "[a-]", "[--0]", "[a-c-e]",
			`[\]]`, `[\\]`, `[a\-c]`, "[b-a]", "[/]", "[a/b]", "[\x80-\xff]", "[[:cntrl:]]", "[[:alnum:]_]", "[*]", "[?]", "[**]"))
	}
	return b.String()
}

// pattern makes one for a path.
func (g *gen) pattern(paths []string) string {
	var parts []string
	if len(paths) > 0 && g.IntN(2) == 0 {
		// The end of a path, or all of it, with some components replaced.
		parts = strings.Split(strings.TrimSuffix(paths[g.IntN(len(paths))], "/"), "/")
		parts = slices.Clone(parts[g.IntN(len(parts)):])
		for i := range parts {
			switch g.IntN(5) {
			case 0:
				parts[i] = g.component()
			case 1:
				parts[i] = g.pick("*", "**", "?", "*", "**")
			}
		}
	} else {
		for range g.pick("x", "x", "x", "xx", "xx", "xxx") {
			parts = append(parts, g.component())
		}
	}
	if g.IntN(8) == 0 {
		parts = slices.Insert(parts, g.IntN(len(parts)+1), g.pick("**", "***", "", "*"))
	}
	return g.pick("", "", "", "/", "**/") + strings.Join(parts, "/") + g.pick("", "", "", "/", "/*", "/**", "/***")
}

// walkFiltered returns what a walk of dir keeps, directories with a slash, as a consumer of the package would do it.
func walkFiltered(t *testing.T, dir string, f *Filter) []string {
	t.Helper()
	fsys, err := durable.OpenOS(dir)
	must(t, err)
	defer fsys.Close()
	d, err := f.Root(OpenIn(fsys))
	must(t, err)
	return appendKept(t, nil, "", fsys, d)
}

func appendKept(t *testing.T, kept []string, path string, fsys durable.FS, d *DirFilter) []string {
	t.Helper()
	entries, err := fsys.ReadDir(".")
	must(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	slices.Sort(names)
	if few, only := d.Names(); only {
		names = slices.Collect(few)
	}
	for _, name := range names {
		fi, err := fsys.Lstat(name)
		if os.IsNotExist(err) {
			continue
		}
		must(t, err)
		if !d.Keep(name, fi.IsDir()) {
			continue
		}
		if !fi.IsDir() {
			kept = append(kept, path+name)
			continue
		}
		kept = append(kept, path+name+"/")
		sub, err := fsys.OpenRoot(name)
		must(t, err)
		below, err := d.Enter(name, OpenIn(sub))
		must(t, err)
		kept = appendKept(t, kept, path+name+"/", sub, below)
		must(t, sub.Close())
	}
	return kept
}

// rsyncNames runs rsync without doing anything, and returns the names it would send, directories with a slash.
func rsyncNames(t *testing.T, dir, src string, args []string, stdin string, codes ...int) []string {
	t.Helper()
	to := filepath.Join(dir, "to")
	must(t, os.MkdirAll(to, 0o755))
	args = append(slices.Clone(args), "-n", "-8", "--links", "--out-format=%n", "--", src, to+"/")
	cmd := command(t, dir, "rsync", args...)
	cmd.Stdin = strings.NewReader(stdin)
	var names []string
	for line := range strings.Lines(string(output(t, cmd, codes...))) {
		line = strings.TrimSuffix(line, "\n")
		if name := unescapeRsync(line); name != "./" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// unescapeRsync undoes "\#011", which rsync prints for what a terminal must not get.
func unescapeRsync(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if strings.HasPrefix(s[i:], `\#`) && i+5 <= len(s) {
			if n, err := strconv.ParseUint(s[i+2:i+5], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 4
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// mustKeepSame fails where the two lists differ, and says how.
func mustKeepSame(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	if slices.Equal(got, want) {
		return
	}
	for _, p := range got {
		if !slices.Contains(want, p) {
			t.Errorf("%s: %q is kept", what, p)
		}
	}
	for _, p := range want {
		if !slices.Contains(got, p) {
			t.Errorf("%s: %q is left out", what, p)
		}
	}
	t.FailNow()
}

// peer skips a test that cannot compare with the command name.
func peer(t *testing.T, name string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("makes names of any bytes, as other systems do not take them all")
	}
	version := string(output(t, command(t, "", name, "--version")))
	if name == "rsync" && !strings.HasPrefix(version, "rsync  version 3.") {
		t.Skipf("this is another rsync: %.40q", version)
	}
}

// groups runs f for random cases, 25 with the same tree, and some such groups at once: most of the time is spent waiting
// for the command to start. f gets the numbers of its cases.
func groups(t *testing.T, name string, few int, f func(t *testing.T, g *gen, cases []uint64)) {
	peer(t, name)
	for first, n := 0, repeat(few); first < n; first += 25 {
		t.Run(strconv.Itoa(first), func(t *testing.T) {
			t.Parallel()
			var cases []uint64
			for i := first; i < min(first+25, n); i++ {
				cases = append(cases, uint64(i))
			}
			f(t, newGen(uint64(first)), cases)
		})
	}
}

func TestFilterAsRsync(t *testing.T) {
	groups(t, "rsync", 200, func(t *testing.T, g *gen, cases []uint64) {
		base := t.TempDir()
		src := filepath.Join(base, "src")
		must(t, os.Mkdir(src, 0o755))
		paths := g.tree(t, src, 120)
		for _, i := range cases {
			g := newGen(i)
			f, args := g.rules(t, paths)
			want := rsyncNames(t, base, src+"/", append(args, "-r"), "")
			mustKeepSame(t, fmt.Sprintf("case %d: %q", i, args), walkFiltered(t, src, f), want)

			again, err := ParseRules(f.Rules())
			must(t, err)
			mustKeepSame(t, fmt.Sprintf("case %d, parsed again: %q", i, args), walkFiltered(t, src, again), want)
		}
	})
}

// rules makes rules, as a filter and as arguments of rsync.
func (g *gen) rules(t *testing.T, paths []string) (*Filter, []string) {
	t.Helper()
	f := NewFilter()
	var args []string
	for range 1 + g.IntN(6) {
		pattern := g.pattern(paths)
		switch g.IntN(12) {
		case 0:
			pattern = g.pick("+ ", "- ") + pattern
		case 1:
			pattern = g.pick("!", "*", "*/", "/*", "**", "/", "//", "/**", "!!")
		}
		if g.IntN(5) < 2 {
			must(t, f.Include(pattern))
			args = append(args, "--include="+pattern)
		} else {
			must(t, f.Exclude(pattern))
			args = append(args, "--exclude="+pattern)
		}
	}
	return f, args
}

func TestNamedSourceAsRsync(t *testing.T) {
	groups(t, "rsync", 50, func(t *testing.T, g *gen, cases []uint64) {
		base := t.TempDir()
		src := filepath.Join(base, "foo")
		must(t, os.Mkdir(src, 0o755))
		paths := g.tree(t, src, 60)
		for i := range paths {
			paths[i] = "foo/" + paths[i]
		}
		for _, i := range cases {
			f, args := newGen(i).rules(t, paths)
			want := rsyncNames(t, base, src, append(args, "-r"), "")
			fsys, err := durable.OpenOS(src)
			must(t, err)
			var got []string
			if above := f.Above(); above.Keep("foo", true) {
				d, err := above.Enter("foo", OpenIn(fsys))
				must(t, err)
				got = appendKept(t, []string{"foo/"}, "foo/", fsys, d)
			}
			must(t, fsys.Close())
			mustKeepSame(t, fmt.Sprintf("case %d: %q", i, args), got, want)
		}
	})
}

func TestExcludeFromAsRsync(t *testing.T) {
	groups(t, "rsync", 50, func(t *testing.T, g *gen, cases []uint64) {
		base := t.TempDir()
		src := filepath.Join(base, "src")
		must(t, os.Mkdir(src, 0o755))
		paths := g.tree(t, src, 60)
		for _, i := range cases {
			g := newGen(i)
			end := g.pick("\n", "\r\n", "\r", "\x00")
			var b strings.Builder
			for range 1 + g.IntN(8) {
				b.WriteString(g.pick("", "", "", "+ ", "- ", "#", ";", " ") + g.pattern(paths))
				b.WriteString(end + g.pick("", "", "", end, "!"+end, "# x"+end, "+ */"+end, " "+end))
			}
			text := b.String()
			if g.IntN(3) == 0 {
				text = strings.TrimSuffix(text, end)
			}
			args := []string{"-r", "--exclude-from=-"}
			if end == "\x00" {
				args = []string{"-r", "--from0", "--exclude-from=-"} // rsync goes by the order
			}
			f := NewFilter()
			must(t, f.ExcludeFrom(strings.NewReader(text), end == "\x00"))
			want := rsyncNames(t, base, src+"/", args, text)
			mustKeepSame(t, fmt.Sprintf("case %d: %q", i, text), walkFiltered(t, src, f), want)
		}
	})
}

func TestFilesFromAsRsync(t *testing.T) {
	groups(t, "rsync", 100, func(t *testing.T, g *gen, cases []uint64) {
		base := t.TempDir()
		src := filepath.Join(base, "src")
		must(t, os.Mkdir(src, 0o755))
		paths := g.tree(t, src, 80)
		for _, i := range cases {
			g := newGen(i)
			f, args := NewFilter(), []string(nil)
			if g.IntN(3) == 0 {
				f, args = g.rules(t, paths)
			}
			text, missing, from0 := g.fileList(paths)
			list, err := ReadFilesFrom(strings.NewReader(text), from0)
			must(t, err)
			recurse := g.IntN(2) == 0
			f.Files(list, recurse)
			args = append(args, "--files-from=-")
			if recurse {
				args = append(args, "-r")
			}
			if from0 {
				args = append(args, "--from0")
			}
			what := fmt.Sprintf("case %d: %q %q", i, args, text)
			want := rsyncNames(t, base, src+"/", args, text, 23)
			got := walkFiltered(t, src, f)
			if not := slices.Collect(list.Missing()); !slices.Equal(not, missing) {
				t.Fatalf("%s: missing are %q, want %q", what, not, missing)
			}
			// rsync looks for a name, and what rules say of it, before it makes the directories that lead to it.
			var unsent []string
			for name := range list.All() {
				if name = strings.TrimSuffix(name, "/"); !slices.Contains(want, name) && !slices.Contains(want, name+"/") {
					unsent = append(unsent, name)
				}
			}
			got = slices.DeleteFunc(got, func(p string) bool {
				leads := func(name string) bool { return strings.HasPrefix(name, p) }
				return !slices.Contains(want, p) && slices.ContainsFunc(unsent, leads)
			})
			mustKeepSame(t, what, got, want)
		}
	})
}

// fileList makes a list of some of the paths and of names that are not there, which it returns too.
func (g *gen) fileList(paths []string) (text string, missing []string, from0 bool) {
	end := g.pick("\n", "\n", "\r\n", "\x00")
	var b strings.Builder
	for range g.IntN(8) {
		path := paths[g.IntN(len(paths))]
		name, dir := strings.CutSuffix(path, "/")
		switch {
		case g.IntN(6) == 0:
			name += g.pick("zz", "/zz", "zz/zz")
			missing = append(missing, name)
		case dir && g.IntN(3) == 0:
			name += g.pick("/", "//", "/.")
		case g.IntN(20) == 0:
			name = g.pick(".", "./", "/", ".//")
		}
		if name[0] == '#' || g.IntN(4) == 0 { // rsync drops such names of a list with NULs too
			name = g.pick("./", "/", "//", ".//") + name
		}
		b.WriteString(name + end)
		if g.IntN(6) == 0 && end != "\x00" {
			b.WriteString(g.pick("#", ";", "# ../x", "", "\r") + end)
		}
	}
	slices.SortFunc(missing, func(a, b string) int { return comparePaths([]byte(a), []byte(b)) })
	return b.String(), slices.Compact(missing), end == "\x00"
}
