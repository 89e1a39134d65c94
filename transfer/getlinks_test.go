package transfer

import (
	"os"
	"path/filepath"
	"testing"
)

// TestGetFollowsNoLinkOutOfItsDestination: what a server sends under a name in the destination never goes through a link of that
// name, which an earlier get may have brought, to somewhere else.
func TestGetFollowsNoLinkOutOfItsDestination(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		base := t.TempDir()
		outside, dst := filepath.Join(base, "outside"), filepath.Join(base, "dst")
		for _, dir := range []string{outside, dst} {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Skip(err)
			}
		}
		if err := os.Symlink(outside, h.path("dir")); err != nil {
			t.Skip(err)
		}
		h.mustGet(Options{}, dst, "dir")
		if to, err := os.Readlink(filepath.Join(dst, "dir")); err != nil || to != outside {
			t.Fatalf("the link did not arrive: %q, %v", to, err)
		}
		if err := os.Remove(h.path("dir")); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, h.path("dir/file"), []byte("x"), 0o644)
		if _, err := h.get(Options{}, dst, "dir"); err == nil {
			t.Error("a directory arrives where a link leads out of the destination, and nobody says so")
		}
		if left, _ := os.ReadDir(outside); len(left) > 0 {
			t.Fatalf("it was followed: %v", left)
		}
	})
}

// TestGetOfContents: a trailing slash asks for what is in a directory, so a link to one is followed at the server, within the root, and never
// put in place of the destination.
func TestGetOfContents(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		base := t.TempDir()
		mustWrite(t, h.path("real/file"), []byte("x"), 0o644)
		for name, to := range map[string]string{"link": "real", "out": base, "dangling": "none"} {
			if err := os.Symlink(to, h.path(name)); err != nil {
				t.Skip(err)
			}
		}
		h.mustGet(Options{}, filepath.Join(base, "got"), "link/")
		mustEqualFile(t, filepath.Join(base, "got", "file"), h.path("real/file"))
		for _, name := range []string{"out/", "dangling/", "real/file/"} {
			got := filepath.Join(base, "got2")
			if _, err := h.get(Options{}, got, name); err == nil {
				t.Errorf("%s: no error", name)
			}
			if fi, err := os.Lstat(got); err == nil && !fi.IsDir() {
				t.Errorf("%s: made %v", name, fi.Mode())
			}
		}
		if _, err := h.get(Options{}, base, "real/file/"); KindOf(err) != KindNotFound {
			t.Errorf("the contents of a file: %v", err)
		}
	})
}

// A directory that the server does not send is told at once.
func TestGetOfARefusedDirectory(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		if err := os.Symlink("/etc", h.path("out")); err != nil {
			t.Fatal(err)
		}
		_, err := h.newClient(Options{}).Get(t.Context(), []Address{{Path: []string{"out"}, TrailSlash: true}}, filepath.Join(t.TempDir(), "d"), nil)
		if KindOf(err) != KindDenied {
			t.Errorf("a link that leads out: %v", err)
		}
	})
}
