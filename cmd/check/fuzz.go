package main

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// target is a fuzz target.
type target struct{ dir, name string }

// fuzz runs each target for a while, and those for which there is no time left not at all, which it says.
func (c *checker) fuzz(ctx context.Context) bool {
	targets, err := fuzzTargets(c.root)
	if err != nil {
		fmt.Fprintln(c.out, "FAILED:", err)
		return false
	}
	ok, start := true, time.Now()
	for _, t := range targets {
		if left(c.fuzzAll, start) == 0 {
			fmt.Fprintf(c.out, "SKIP  ./%s %s: no time left of -fuzztotal %v\n", t.dir, t.name, c.fuzzAll)
			c.tests.skipped++
			continue
		}
		if c.fuzzFor(ctx, t, c.fuzzTime.String()) {
			c.tests.passed++
			continue
		}
		// A worker that is busy when the time is over can make go test say "context deadline exceeded" and fail, though
		// nothing was found. What is found is in testdata then, and fails again.
		fmt.Fprintln(c.out, "# once more, by count: it fails again if an input was found")
		if c.fuzzFor(ctx, t, "200x") {
			c.tests.passed++
			continue
		}
		c.tests.failed++
		ok = false
	}
	return ok
}

func (c *checker) fuzzFor(ctx context.Context, t target, time string) bool {
	return c.do(ctx, nil, "go", "test", "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+time, "./"+t.dir)
}

// fuzzTargets finds the functions FuzzXxx(*testing.F) in the test files of the module. Files for other systems count
// too: go test then says that there is nothing to fuzz, which is no failure.
func fuzzTargets(root string) ([]target, error) {
	var targets []target
	err := goFiles(root, func(name string) error {
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, filepath.FromSlash(name)), nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, d := range file.Decls {
			if f, is := d.(*ast.FuncDecl); is && f.Recv == nil && isFuzz(f) {
				targets = append(targets, target{path.Dir(name), f.Name.Name})
			}
		}
		return nil
	})
	slices.SortFunc(targets, func(a, b target) int { return strings.Compare(a.dir+" "+a.name, b.dir+" "+b.name) })
	return targets, err
}

func isFuzz(f *ast.FuncDecl) bool {
	if !strings.HasPrefix(f.Name.Name, "Fuzz") || f.Type.Params.NumFields() != 1 {
		return false
	}
	star, is := f.Type.Params.List[0].Type.(*ast.StarExpr)
	if !is {
		return false
	}
	sel, is := star.X.(*ast.SelectorExpr)
	return is && sel.Sel.Name == "F"
}
