package durable

import (
	"errors"
	"io/fs"
	"testing"
)

// linkAndUnlink is what RenameNoReplace does where the system cannot rename exclusively.
func TestRenameNoReplaceByLinks(t *testing.T) {
	fsys, err := OpenOS(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	o := fsys.(*osFS)
	for _, name := range []string{"old", "new"} {
		if err := WriteFile(o, name, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.linkAndUnlink("old", "new"); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("onto a file: %v, want fs.ErrExist", err)
	}
	for _, name := range []string{"old", "new"} {
		if data, err := ReadFile(o, name, 10); err != nil || string(data) != name {
			t.Fatalf("%s holds %q, %v", name, data, err)
		}
	}
	if err := o.linkAndUnlink("old", "newer"); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Lstat("old"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old name: %v", err)
	}
	if data, err := ReadFile(o, "newer", 10); err != nil || string(data) != "old" {
		t.Errorf("%q, %v", data, err)
	}
}
