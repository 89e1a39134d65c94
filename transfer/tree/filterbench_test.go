package tree

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// benchNames are as those of a source tree.
var benchNames = []string{
	"main.go", "README.md", "some_longer_module_name_test.go", "index.html", "node_modules", "IMG_20240131_123456.jpg", "a", "libfoo.so.1.2.3",
	"core", ".gitattributes", "build.log", "Makefile",
}

// hundredRules are of all kinds that people write.
func hundredRules() []string {
	rules := []string{
		"*.o", "*.a", "*.so", "*.pyc", "*~", "*.sw[a-p]", ".DS_Store", "Thumbs.db", "node_modules/", "/build/", "/dist", "**/target/debug/**", "*.log",
		"tmp*", "core.[0-9]*", "cache/*", "/home/*/.cache/", "docs/**/*.pdf", "**/__pycache__", "vendor/***", "*_test.tmp", "#*#", "._*", "*.min.*", "?.bak",
	}
	for i := 0; len(rules) < 100; i++ {
		switch i % 5 {
		case 0:
			rules = append(rules, fmt.Sprintf("*.ext%d", i))
		case 1:
			rules = append(rules, fmt.Sprintf("name%d", i))
		case 2:
			rules = append(rules, fmt.Sprintf("/top%d/sub", i))
		case 3:
			rules = append(rules, fmt.Sprintf("pre%d*", i))
		case 4:
			rules = append(rules, fmt.Sprintf("dir%d/*.x[0-9]", i))
		}
	}
	return rules
}

// enterAll enters the directories of a path.
func enterAll(b *testing.B, f *Filter, path string, open Opener) *DirFilter {
	d, err := f.Root(open)
	for c := range strings.SplitSeq(path, "/") {
		if err == nil {
			d, err = d.Enter(c, open)
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	return d
}

// BenchmarkKeep is for one name, and 100 rules of which none matches most of them.
func BenchmarkKeep(b *testing.B) {
	d := enterAll(b, filterOf(b, hundredRules()...), "src/pkg/deep/er", nil)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		d.Keep(benchNames[i%len(benchNames)], false)
		i++
	}
}

// BenchmarkKeepGitignore has 100 rules in each of three directories.
func BenchmarkKeepGitignore(b *testing.B) {
	f := NewFilter()
	f.Gitignore(true)
	d := enterAll(b, f, "src/pkg", files{"": strings.Join(hundredRules(), "\n")}.in(""))
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		d.Keep(benchNames[i%len(benchNames)], false)
		i++
	}
}

func BenchmarkEnter(b *testing.B) {
	d := enterAll(b, filterOf(b, hundredRules()...), "src/pkg/deep/er", nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Enter("directory", nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	rules := hundredRules()
	b.ReportAllocs()
	for b.Loop() {
		filterOf(b, rules...)
	}
}

// BenchmarkKeepHostile is for one name of 255 bytes and one pattern, both as bad as can be: no end of the name tells that
// it does not match.
func BenchmarkKeepHostile(b *testing.B) {
	for i, pattern := range hostile {
		b.Run(fmt.Sprint(i), func(b *testing.B) {
			d := enterAll(b, filterOf(b, pattern+"*"), "a/a/a", nil)
			name := hostileTexts()[0]
			b.ReportAllocs()
			for b.Loop() {
				d.Keep(name, true)
			}
		})
	}
}

// BenchmarkKeepHostileRules is for one name of 255 bytes and as many rules as a peer may send.
func BenchmarkKeepHostileRules(b *testing.B) {
	for _, pattern := range []string{"*a*a*a*a*a*a*a*a*a*z*", "**a**a**a**a**az*", strings.Repeat("*a", 120) + "z*", strings.Repeat("**a", 1300) + "z*"} {
		n := min(MaxSentRules, MaxSentRuleBytes/(len(pattern)+2))
		if strings.Contains(pattern, "**") {
			n = min(n, MaxSentWildPaths)
		}
		b.Run(fmt.Sprintf("%dx%d", n, len(pattern)), func(b *testing.B) {
			f, err := ParseRules(slices.Repeat([]string{"- " + pattern}, n))
			if err != nil {
				b.Fatal(err)
			}
			d := enterAll(b, f, "a/a", nil)
			name := hostileTexts()[0]
			for b.Loop() {
				d.Keep(name, true)
			}
		})
	}
}

// BenchmarkFilesFrom reads a list of a million names, and finds them.
func BenchmarkFilesFrom(b *testing.B) {
	var text strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&text, "dir%04d/file%04d\n", i/1000, i%1000)
	}
	b.Run("read", func(b *testing.B) {
		b.SetBytes(int64(text.Len()))
		b.ReportAllocs()
		for b.Loop() {
			listOf(b, text.String())
		}
	})
	b.Run("keep", func(b *testing.B) {
		f := NewFilter()
		f.Files(listOf(b, text.String()), false)
		d := enterAll(b, f, "dir0500", nil)
		names := make([]string, 1000)
		for i := range names {
			names[i] = fmt.Sprintf("file%04d", i)
		}
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if !d.Keep(names[i%len(names)], false) {
				b.Fatal("left out")
			}
			i++
		}
	})
}
