package main

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// imports checks the rules of the module.
func (c *checker) imports(context.Context) bool {
	fmt.Fprintln(c.out, "# imports, modules, package comments (cmd/check/rules.go)")
	problems, err := xferRules().check(c.root)
	for _, p := range problems {
		fmt.Fprintln(c.out, p)
	}
	if err != nil {
		fmt.Fprintln(c.out, "FAILED:", err)
	}
	return err == nil && len(problems) == 0
}

// check reads the files of the module in root, for whatever system they are, and returns what breaks the rules. It
// asks no go command: the answer of one may come from a cache.
func (r rules) check(root string) (problems []string, err error) {
	documented := map[string]bool{}
	err = goFiles(root, func(name string) error {
		src, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			problems = append(problems, err.Error())
			return nil
		}
		dir, isTest := path.Dir(name), strings.HasSuffix(name, "_test.go")
		if !isTest {
			documented[dir] = documented[dir] || file.Doc.Text() != ""
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if why := r.imports(dir, imported, isTest); why != "" {
				problems = append(problems, fmt.Sprintf("%s: imports %s: %s", fset.Position(spec.Pos()), imported, why))
			}
		}
		if dir == "crypto" && !isTest {
			problems = append(problems, r.shadows(fset, file)...)
		}
		return nil
	})
	if err != nil {
		return problems, err
	}
	for dir, has := range documented {
		if !has {
			problems = append(problems, fmt.Sprintf("%s: no package comment", dir))
		}
	}
	more, err := r.goMod(root)
	problems = append(problems, more...)
	slices.Sort(problems)
	return problems, err
}

// imports tells why the package in dir may not import path, or "".
func (r rules) imports(dir, imported string, isTest bool) string {
	if ours, is := strings.CutPrefix(imported, r.module+"/"); is {
		return r.oursImports(dir, ours, isTest)
	}
	if first, _, _ := strings.Cut(imported, "/"); !strings.Contains(first, ".") {
		return "" // the standard library
	}
	pin, found := "", false
	for p := range r.pins {
		if (imported == p || strings.HasPrefix(imported, p+"/")) && len(p) >= len(pin) {
			pin, found = p, true
		}
	}
	switch {
	case !found:
		return "not among the third-party packages that may be imported"
	case slices.Contains(r.testOnly, pin):
		if !isTest && !slices.Contains(r.helpers, dir) {
			return "only tests import it"
		}
	case !slices.Contains(r.pins[pin], dir):
		return fmt.Sprintf("only %s may", strings.Join(r.pins[pin], ", "))
	}
	return ""
}

func (r rules) oursImports(dir, ours string, isTest bool) string {
	allowed, known := r.ours[dir]
	switch {
	case !known:
		return dir + " is not in the table of packages"
	case slices.Contains(allowed, ours) || isTest && ours == dir:
		return ""
	case slices.Contains(r.helpers, ours):
		if isTest || slices.Contains(r.helpers, dir) {
			return ""
		}
		return "a package for tests only"
	case isTest && strings.HasPrefix(dir, "cmd/"):
		return "" // above everything
	case len(allowed) == 0:
		return dir + " imports none of ours"
	}
	return fmt.Sprintf("%s may import only %s", dir, strings.Join(allowed, ", "))
}

// shadows returns the names that our package crypto and the standard one both export.
func (r rules) shadows(fset *token.FileSet, file *ast.File) []string {
	var problems []string
	note := func(id *ast.Ident) {
		if slices.Contains(r.std, id.Name) {
			problems = append(problems, fmt.Sprintf("%s: the standard package crypto exports %s too", fset.Position(id.Pos()), id.Name))
		}
	}
	for _, d := range file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil {
				note(d.Name)
			}
		case *ast.GenDecl:
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					note(s.Name)
				case *ast.ValueSpec:
					for _, id := range s.Names {
						note(id)
					}
				}
			}
		}
	}
	return problems
}

// goMod checks the modules that go.mod requires, and that it replaces none.
func (r rules) goMod(root string) (problems []string, err error) {
	data, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if errors.Is(err, fs.ErrNotExist) {
		return []string{"go.mod: missing"}, nil
	}
	if err != nil {
		return nil, err
	}
	block := ""
	for i, line := range strings.Split(string(data), "\n") {
		line, _, _ = strings.Cut(line, "//")
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
			continue
		case block != "" && words[0] == ")":
			block = ""
			continue
		case block != "":
			words = append([]string{block}, words...)
		case len(words) == 2 && words[1] == "(":
			block = words[0]
			continue
		}
		switch words[0] {
		case "require":
			if len(words) != 3 || !slices.Contains(r.modules, words[1]) {
				problems = append(problems, fmt.Sprintf("go.mod:%d: %q is not among the modules that may be required", i+1, words[1:]))
			}
		case "replace", "exclude":
			problems = append(problems, fmt.Sprintf("go.mod:%d: no %s", i+1, words[0]))
		}
	}
	return problems, nil
}
