package sink

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// A root that is no longer where it was neither takes nor gives anything: not a file that is begun, nor one that is on its way.
func TestRootThatMoved(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("windows: an open directory cannot be moved there")
	}
	root := filepath.Join(t.TempDir(), "root")
	for name, instead := range map[string]func(){
		"nothing":           func() {},
		"another directory": func() { must(t, os.Mkdir(root, 0o755)) },
		"a file":            func() { must(t, os.WriteFile(root, nil, 0o644)) },
	} {
		t.Run(name, func(t *testing.T) {
			must(t, os.RemoveAll(root))
			must(t, os.Mkdir(root, 0o755))
			d := openDir(t, root, Options{Path: root})
			v := d.View("alice", All)
			b := content(1, 700)
			if s, _ := mustBegin(t, v, specOf(t, b, "before")); s != nil {
				if _, err := sendRest(s, b); err != nil {
					t.Fatal("at its place:", err)
				}
			}
			s, _ := mustBegin(t, v, specOf(t, b, "f"))
			tree := begin(t, v, TreeSpec{Path: mustPath(t, "top")}, source{"f": file("x")})
			tree.take()
			must(t, os.Rename(root, root+".away"))
			defer os.RemoveAll(root + ".away")
			instead()
			if _, err := sendRest(s, b); !errors.Is(err, ErrMoved) {
				t.Error("publish:", err)
			}
			tree.put()
			if o := tree.finish(); !errors.Is(o.err, ErrMoved) || !errors.Is(o.published["f"], ErrMoved) {
				t.Error("tree:", o.err, o.published)
			}
			if _, _, err := v.Begin(context.Background(), specOf(t, b, "g")); !errors.Is(err, ErrMoved) {
				t.Error("begin:", err)
			}
			if _, err := v.Stat(mustPath(t, "f")); !errors.Is(err, ErrMoved) {
				t.Error("stat:", err)
			}
			if _, _, err := v.List(context.Background(), mustPath(t), "", 10); !errors.Is(err, ErrMoved) {
				t.Error("list:", err)
			}
			if err := v.Mkdir(mustPath(t, "d"), true, true, nil); !errors.Is(err, ErrMoved) {
				t.Error("mkdir:", err)
			}
			for _, where := range []string{root, root + ".away"} {
				if _, err := os.Stat(filepath.Join(where, "f")); err == nil {
					t.Errorf("%s/f is there", where)
				}
			}
		})
	}
}
