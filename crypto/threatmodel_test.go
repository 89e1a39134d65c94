package crypto

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// moduleRoot is the directory above the test's that holds go.mod.
func moduleRoot(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		t.Fatal("no go.mod above the test")
	}
}

// testFunctions returns all test and fuzz functions of the module as "folder.TestName" and "lastpart.TestName".
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	root := moduleRoot(t)
	found := make(map[string]bool)
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != root && (base == "testdata" || base == "vendor" || strings.HasPrefix(base, ".")) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		dir = filepath.ToSlash(dir)
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if f == nil {
			return err
		}
		for _, decl := range f.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil {
				found[dir+"."+fn.Name.Name] = true
				found[path.Base(dir)+"."+fn.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

var testName = regexp.MustCompile("`([a-z][a-z0-9_/]*\\.(?:Test|Fuzz)[A-Za-z0-9_]+)`")

// TestThreatModelNamesTests shows that each claim of THREATMODEL.md names tests, and that they exist. Only the section
// "Shown in other packages" may have rows without one.
func TestThreatModelNamesTests(t *testing.T) {
	data, err := os.ReadFile("THREATMODEL.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := testFunctions(t)
	section, table := "", ""
	claims, names := 0, 0
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimRight(line, "\r")
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section = title
		}
		for _, m := range testName.FindAllStringSubmatch(line, -1) {
			names++
			if !tests[m[1]] {
				t.Errorf("line %d: there is no test %s", i+1, m[1])
			}
		}
		if !strings.HasPrefix(line, "|") {
			table = ""
			continue
		}
		if table == "" {
			table = line
			continue
		}
		if !strings.Contains(table, "| shown by |") || strings.HasPrefix(line, "| ---") {
			continue
		}
		claims++
		if section != "Shown in other packages" && !testName.MatchString(line) {
			t.Errorf("line %d: the claim names no test: %s", i+1, line)
		}
	}
	if claims < 30 || names < 40 {
		t.Errorf("%d claims with %d names of tests: is the format another one now?", claims, names)
	}
}
