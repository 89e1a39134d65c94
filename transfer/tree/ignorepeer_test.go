package tree

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestGitignoreAsGit(t *testing.T) {
	groups(t, "git", 150, func(t *testing.T, g *gen, cases []uint64) {
		base := t.TempDir()
		src := filepath.Join(base, "src")
		must(t, os.Mkdir(src, 0o755))
		output(t, command(t, src, "git", "init", "-q", "--template="))
		paths := g.tree(t, src, 80)
		dirs := []string{""}
		for _, p := range paths {
			if strings.HasSuffix(p, "/") {
				dirs = append(dirs, p)
			}
		}
		for _, i := range cases {
			g := newGen(i)
			what := fmt.Sprintf("case %d", i)
			var files []string
			for range 1 + g.IntN(3) {
				dir := dirs[0]
				if len(files) > 0 {
					dir = dirs[g.IntN(len(dirs))]
				}
				file := filepath.Join(src, dir, ".gitignore")
				text := g.ignoreFile(paths, dir)
				must(t, os.WriteFile(file, []byte(text), 0o644))
				what += fmt.Sprintf(" %q: %q", dir, text)
				files = append(files, file)
			}
			cmd := command(t, src, "git", "check-ignore", "--no-index", "--stdin", "-z")
			all := walkFiltered(t, src, NewFilter())
			all = slices.DeleteFunc(all, func(p string) bool { return strings.HasPrefix(p, ".git/") })
			var in strings.Builder
			for _, p := range all {
				in.WriteString(strings.TrimSuffix(p, "/") + "\x00")
			}
			cmd.Stdin = strings.NewReader(in.String())
			ignored := strings.Split(string(output(t, cmd, 1)), "\x00")
			want := slices.DeleteFunc(all, func(p string) bool { return slices.Contains(ignored, strings.TrimSuffix(p, "/")) })

			f := NewFilter()
			f.Gitignore(true)
			got := slices.DeleteFunc(walkFiltered(t, src, f), func(p string) bool { return strings.HasPrefix(p, ".git/") })
			slices.Sort(want)
			mustKeepSame(t, what, got, want)
			for _, file := range files {
				must(t, os.RemoveAll(file))
			}
		}
	})
}

// ignoreFile makes the text of a .gitignore in dir.
func (g *gen) ignoreFile(paths []string, dir string) string {
	var below []string
	for _, p := range paths {
		if p, ok := strings.CutPrefix(p, dir); ok && p != "" {
			below = append(below, p)
		}
	}
	end := g.pick("\n", "\n", "\r\n")
	var b strings.Builder
	b.WriteString(g.pick("", "", "", "\xef\xbb\xbf"))
	for range 1 + g.IntN(6) {
		b.WriteString(g.pick("", "", "", "!", "!", `\`, "#", "!!", " ") + g.pattern(below) + g.pick("", "", "", " ", "  ", `\ `, `\`, "\t", "\x00x") + end)
		b.WriteString(g.pick("", "", "", end, "*"+end, "!*/"+end, "#"+end, "/*"+end, "!"+end, "\r"+end))
	}
	text := b.String()
	if g.IntN(3) == 0 {
		text = strings.TrimSuffix(text, end)
	}
	return text
}
