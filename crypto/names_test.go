package crypto

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"testing"
)

// exported returns the names that a package in dir exports, of the files given.
func exported(t *testing.T, dir string, files []string) (names []string) {
	t.Helper()
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, file), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		add := func(id *ast.Ident) {
			if id.IsExported() {
				names = append(names, id.Name)
			}
		}
		for _, decl := range f.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					add(d.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						add(s.Name)
					case *ast.ValueSpec:
						for _, id := range s.Names {
							add(id)
						}
					}
				}
			}
		}
	}
	return names
}

// TestNoNameOfTheStandardPackage shows that a file that imports the wrong one of the two packages named crypto does not
// compile.
func TestNoNameOfTheStandardPackage(t *testing.T) {
	taken := []string{
		"Hash", "Signer", "SignerOpts", "MessageSigner", "SignMessage", "PublicKey", "PrivateKey", "Decrypter", "DecrypterOpts",
		"Encapsulator", "Decapsulator", "RegisterHash", "MD5", "SHA1", "SHA256", "SHA512",
	}
	if std, err := build.Default.Import("crypto", "", 0); err == nil {
		names := exported(t, std.Dir, std.GoFiles)
		if !slices.Contains(names, "Signer") {
			t.Errorf("the standard package exports %q", names)
		}
		taken = append(taken, names...)
	} else {
		t.Log("only the names known when this was written are checked:", err)
	}
	ours, err := build.Default.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	names := exported(t, ".", ours.GoFiles)
	if !slices.Contains(names, "PeerID") {
		t.Errorf("this package exports %q", names)
	}
	for _, name := range names {
		if slices.Contains(taken, name) {
			t.Errorf("%s is a name of the standard package", name)
		}
	}
}
