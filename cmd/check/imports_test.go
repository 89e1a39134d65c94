package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestImportRules(t *testing.T) {
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	root, err := moduleRoot(wd)
	if err != nil {
		t.Fatal(err)
	}
	problems, err := xferRules().check(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Error(p)
	}
}

// mustTree writes files, each "package comment and clause" made of its name unless it holds one, into a directory.
func mustTree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		full := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

// importing is a documented Go file with imports.
func importing(paths ...string) string {
	src := "// Package p is made up.\npackage p\n"
	for _, p := range paths {
		src += "import _ \"" + p + "\"\n"
	}
	return src
}

// goodTree keeps all rules, as far as the files of a test replace none.
func goodTree() map[string]string {
	return map[string]string{
		"go.mod":                  "module xfer\n\ngo 1.26.8\n\nrequire (\n\tgithub.com/quic-go/quic-go v0.65.0\n\tgo.uber.org/goleak v1.3.0 // indirect\n)\n",
		"cmd/xfer/main.go":        importing("xfer/cli", "os"),
		"cli/cli.go":              importing("xfer/daemon", "xfer/certs", "github.com/spf13/cobra", "github.com/schollz/progressbar/v3"),
		"daemon/daemon.go":        importing("xfer/daemon/control", "xfer/transfer", "xfer/certs", "github.com/pelletier/go-toml/v2"),
		"transfer/send.go":        importing("xfer/transfer/wire", "xfer/transfer/sink", "xfer/crypto", "github.com/cenkalti/backoff/v4"),
		"transfer/send_test.go":   importing("xfer/certs/certstest", "xfer/transfer", "go.uber.org/goleak"),
		"transfer/wire/wire.go":   importing("github.com/fxamacker/cbor/v2"),
		"transfer/sink/sink.go":   importing("xfer/crypto", "xfer/transfer/durable"),
		"transfer/sink/c_test.go": importing("xfer/transfer/durable/crashfs"),
		"transfer/transport/q.go": importing("github.com/quic-go/quic-go/quicvarint", "crypto/tls"),
		"crypto/crypto.go":        importing("github.com/zeebo/blake3", "lukechampine.com/blake3/guts", "crypto") + "func Sum() {}\n",
		"certs/certs.go":          importing("xfer/crypto", "xfer/transfer/durable"),
		"certs/certstest/c.go":    importing("xfer/certs"),
		// Not looked at.
		"transfer/testdata/x.go": importing("example.com/x"),
		".git/x.go":              importing("example.com/x"),
	}
}

func TestGoodTreeIsGreen(t *testing.T) {
	problems, err := xferRules().check(mustTree(t, goodTree()))
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %q", err, problems)
	}
}

// Each wrong file alone turns the check red, at that file.
func TestWrongImportTurnsRed(t *testing.T) {
	for _, c := range []struct{ name, file, content, want string }{
		{"transfer imports certs", "transfer/x.go", importing("xfer/certs"), "may import only"},
		{"transfer imports daemon", "transfer/x.go", importing("xfer/daemon"), "may import only"},
		{"transfer imports cli", "transfer/x.go", importing("xfer/cli"), "may import only"},
		{"a test of transfer imports daemon", "transfer/x_test.go", importing("xfer/daemon"), "may import only"},
		{"sideways", "transfer/sink/x.go", importing("xfer/transfer/wire"), "may import only"},
		{"upward", "transfer/wire/x.go", importing("xfer/transfer"), "imports none of ours"},
		{"crypto imports ours", "crypto/x.go", importing("xfer/transfer/durable"), "imports none of ours"},
		{"certs imports transfer", "certs/x.go", importing("xfer/transfer"), "may import only"},
		{"control imports daemon", "daemon/control/x.go", importing("xfer/daemon"), "may import only"},
		{"the command passes cli by", "cmd/xfer/x.go", importing("xfer/transfer"), "may import only"},
		{"a file for another system", "transfer/x_windows.go", importing("xfer/daemon"), "may import only"},
		{"a file behind a build tag", "transfer/x.go", "//go:build never\n\n" + importing("xfer/daemon"), "may import only"},
		{"a helper outside of tests", "transfer/sink/x.go", importing("xfer/transfer/durable/crashfs"), "for tests only"},
		{"certstest outside of tests", "daemon/x.go", importing("xfer/certs/certstest"), "for tests only"},
		{"quic-go elsewhere", "transfer/x.go", importing("github.com/quic-go/quic-go"), "only transfer/transport"},
		{"quic-go elsewhere in a test", "daemon/x_test.go", importing("github.com/quic-go/quic-go"), "only transfer/transport"},
		{"backoff elsewhere", "daemon/x.go", importing("github.com/cenkalti/backoff/v4"), "only transfer may"},
		{"cbor elsewhere", "transfer/sink/x.go", importing("github.com/fxamacker/cbor/v2"), "only transfer/wire"},
		{"cobra elsewhere", "cmd/xfer/x.go", importing("github.com/spf13/cobra"), "only cli"},
		{"progressbar elsewhere", "transfer/x.go", importing("github.com/schollz/progressbar/v3"), "only cli"},
		{"toml elsewhere", "transfer/x.go", importing("github.com/pelletier/go-toml/v2"), "only cli, certs, daemon"},
		{"blake3 elsewhere", "transfer/sink/x.go", importing("lukechampine.com/blake3"), "only crypto"},
		{"a library for tests", "transfer/x.go", importing("go.uber.org/goleak"), "only tests"},
		{"a stranger", "cli/x.go", importing("example.com/x"), "not among"},
		{"a name that only begins like a pin", "transfer/transport/x.go", importing("github.com/quic-go/quic-go-evil"), "not among"},
		{"a new package", "transfer/util/x.go", importing("xfer/crypto"), "not in the table"},
		{"no package comment", "transfer/tree/x.go", "package tree\n", "no package comment"},
		{"a package comment in a test only", "transfer/tree/x_test.go", "// Package tree is.\npackage tree\n", ""},
		{"a function of std crypto", "crypto/x.go", "package p\nfunc RegisterHash() {}\n", "exports RegisterHash too"},
		{"a type of std crypto", "crypto/x.go", "package p\ntype PublicKey struct{}\n", "exports PublicKey too"},
		{"a constant of std crypto", "crypto/x.go", "package p\nconst SHA256 = 1\n", "exports SHA256 too"},
		{"a method is no export", "crypto/x.go", "package p\ntype t int\nfunc (t) Hash() {}\n", ""},
		{"a file that is no Go", "cli/x.go", "package\n", "expected"},
		{"a module", "go.mod", "module xfer\nrequire example.com/x v1.0.0\n", "not among"},
		{"a module in a block", "go.mod", "module xfer\nrequire (\n\texample.com/x v1.0.0 // indirect\n)\n", "not among"},
		{"a replaced module", "go.mod", "module xfer\nreplace (\n\ta => ../a\n)\n", "no replace"},
	} {
		t.Run(c.name, func(t *testing.T) {
			files := goodTree()
			files[c.file] = c.content
			problems, err := xferRules().check(mustTree(t, files))
			if err != nil {
				t.Fatal(err)
			}
			if c.want == "" {
				if len(problems) > 0 {
					t.Errorf("%q", problems)
				}
				return
			}
			at := c.file
			if c.want == "no package comment" {
				at = "transfer/tree"
			}
			if len(problems) != 1 || !strings.HasPrefix(problems[0], at+":") || !strings.Contains(problems[0], c.want) {
				t.Errorf("got %q, want one problem at %s with %q", problems, at, c.want)
			}
		})
	}
}
