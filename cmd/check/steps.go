package main

import (
	"bytes"
	"context"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// format is gofmt -l, by the library, so that no other version is taken by accident.
func (c *checker) format(context.Context) bool {
	fmt.Fprintln(c.out, "$ gofmt -l .")
	ok := true
	err := goFiles(c.root, func(name string) error {
		src, err := os.ReadFile(filepath.Join(c.root, filepath.FromSlash(name)))
		if err != nil {
			return err
		}
		formatted, err := format.Source(src)
		if err != nil || !bytes.Equal(src, formatted) {
			ok = false
			fmt.Fprintln(c.out, name)
		}
		return nil
	})
	if err != nil {
		fmt.Fprintln(c.out, err)
		return false
	}
	return ok
}

// goFiles calls f with the name from root, with slashes, of each Go file of the module, for whatever system it is.
func goFiles(root string, f func(name string) error) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			hidden := strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_")
			if path != root && (hidden || base == "testdata" || base == "vendor") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		return f(filepath.ToSlash(name))
	})
}

func (c *checker) vet(ctx context.Context) bool {
	return c.do(ctx, nil, append([]string{"go", "vet"}, c.packages...)...)
}

func (c *checker) staticcheck(ctx context.Context) bool {
	return c.do(ctx, nil, append([]string{"go", "run", staticcheckTool}, c.packages...)...)
}

// systems are those that xfer is built for besides this one.
var systems = []struct{ os, arch string }{
	{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}, {"windows", "amd64"},
}

// cross builds for all systems, and lets vet look at the tests of each operating system.
func (c *checker) cross(ctx context.Context) bool {
	ok, vetted := true, map[string]bool{}
	for _, s := range systems {
		env := []string{"CGO_ENABLED=0", "GOOS=" + s.os, "GOARCH=" + s.arch}
		ok = c.do(ctx, env, append([]string{"go", "build"}, c.packages...)...) && ok
		if !vetted[s.os] {
			vetted[s.os] = true
			ok = c.do(ctx, env, append([]string{"go", "vet"}, c.packages...)...) && ok
		}
	}
	return ok
}

// vuln asks for known vulnerabilities in what is called. Where the database is out of reach nothing is known, which
// is said and is no failure of the code.
func (c *checker) vuln(ctx context.Context) bool {
	args := []string{"go", "run", govulncheckTool}
	if c.vulnDB != "" {
		args = append(args, "-db", c.vulnDB)
	}
	cmd := c.command(ctx, nil, append(args, c.packages...)...)
	out, err := cmd.CombinedOutput()
	c.out.Write(out)
	switch {
	case err == nil:
		return true
	case c.vulnDB == "" && unreachable(string(out)):
		c.loud = append(c.loud, "govulncheck did NOT run: its database could not be reached. Known vulnerabilities were not looked for.")
		return true
	}
	fmt.Fprintln(c.out, "FAILED:", err)
	return false
}

// unreachable tells whether govulncheck failed for want of its database or of the module proxy, and found nothing.
func unreachable(output string) bool {
	if strings.Contains(output, "Vulnerability #1") {
		return false
	}
	for _, sign := range []string{
		"fetching vulnerabilities", "vuln.go.dev", "dial tcp", "no such host", "i/o timeout", "connection refused",
		"network is unreachable", "proxyconnect", "403 Forbidden",
	} {
		if strings.Contains(output, sign) {
			return true
		}
	}
	return false
}
