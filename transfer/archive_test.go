package transfer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xfer/transfer/durable"
	"xfer/transfer/sink"
	"xfer/transfer/tree"
)

// linkGroups are the names beneath root by the file that they are of; those of one name alone are left out.
func linkGroups(t *testing.T, root string) map[string]string {
	t.Helper()
	first := map[fileNumber]string{}
	out := map[string]string{}
	for _, name := range namesBeneath(t, root) {
		info, err := os.Lstat(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		id, ok := durable.IDOf(info)
		n, _ := durable.Links(info)
		if !ok || !info.Mode().IsRegular() || n < 2 {
			continue
		}
		key := fileNumber{id.Dev, id.Inode}
		if first[key] == "" {
			first[key] = name
		}
		out[name] = first[key]
	}
	return out
}

// makeLinks makes files of several sizes with several names each.
func makeLinks(t *testing.T, root string) {
	t.Helper()
	for i := range 60 {
		size := []int{0, 10, 3000, 40 << 10, 700 << 10}[i%5]
		name := filepath.Join(root, fmt.Sprintf("f%02d", i))
		mustWrite(t, name, randomBytes(uint64(i), size), 0o644)
		for k := range i % 4 {
			other := filepath.Join(root, fmt.Sprintf("d%d/%02d", k, i))
			if err := os.MkdirAll(filepath.Dir(other), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Link(name, other); err != nil {
				t.Skip(err)
			}
		}
	}
	if len(linkGroups(t, root)) == 0 {
		t.Skip("no numbers of files here")
	}
}

func mustHaveLinks(t *testing.T, got, want string) {
	t.Helper()
	have, wanted := linkGroups(t, got), linkGroups(t, want)
	for name := range wanted {
		if have[name] != wanted[name] {
			t.Errorf("%s is a name of %q, want %q", name, have[name], wanted[name])
		}
	}
	if len(have) != len(wanted) {
		t.Errorf("%d names, want %d", len(have), len(wanted))
	}
}

// Hard links are made whatever sessions are lost, and each file is counted once.
func TestLinksSurviveLostSessions(t *testing.T) {
	overOne(t, func(t *testing.T, h *host) {
		src := filepath.Join(t.TempDir(), "src")
		makeLinks(t, src)
		files := int64(0)
		for _, name := range namesBeneath(t, src) {
			if info, err := os.Stat(filepath.Join(src, name)); err == nil && info.Mode().IsRegular() {
				files++
			}
		}
		h.onDial = cutAfter(2<<20, 5)
		r := h.mustSend(Options{Archive: true}, "to", src+"/")
		if r.Files != files || r.Retries == 0 || r.ErrorCount != 0 {
			t.Errorf("sent: %d files of %d, %d retries, %d errors", r.Files, files, r.Retries, r.ErrorCount)
		}
		mustEqualTree(t, h.path("to"), src)
		mustHaveLinks(t, h.path("to"), src)
		back := filepath.Join(t.TempDir(), "back")
		h.onDial = cutAfter(2<<20, 5)
		if r = h.mustGet(Options{Archive: true}, back, "to"); r.Files != files || r.Retries == 0 || r.ErrorCount != 0 {
			t.Errorf("got: %d files of %d, %d retries, %d errors", r.Files, files, r.Retries, r.ErrorCount)
		}
		mustEqualTree(t, back, src)
		mustHaveLinks(t, back, src)
		h.onDial = nil
		for _, o := range []Options{{Archive: true}, {Archive: true, Checksum: true}} {
			if r := h.mustSend(o, "to", src+"/"); r.BytesSent != 0 || r.FilesSkipped != files && !o.Checksum { // what is compared first is joined at the end
				t.Errorf("again, %v: %d bytes, %d of %d files unchanged", o.Checksum, r.BytesSent, r.FilesSkipped, files)
			}
			mustHaveLinks(t, h.path("to"), src)
		}
		// Without an archive each name is a file.
		h.mustSend(Options{}, "plain", src+"/")
		if n := len(linkGroups(t, h.path("plain"))); n != 0 {
			t.Errorf("%d names are linked", n)
		}
	})
}

// What rules leave at the target, or leave out, hard links go by.
func TestLinksAndRules(t *testing.T) {
	h := newHost(t, kinds[0])
	src := filepath.Join(t.TempDir(), "src")
	mustWrite(t, filepath.Join(src, "a"), []byte("new"), 0o644)
	for _, n := range []string{"b", "c"} {
		if err := os.Link(filepath.Join(src, "a"), filepath.Join(src, n)); err != nil {
			t.Skip(err)
		}
	}
	read := func(name string) string {
		b, err := os.ReadFile(h.path(name))
		if err != nil {
			return "-"
		}
		return string(b)
	}
	for name, c := range map[string]struct {
		o     Options
		there map[string]string
		want  string // of a, b and c
	}{
		"ignore existing, the first":   {Options{IgnoreExisting: true}, map[string]string{"a": "old"}, "old new new"},
		"ignore existing, another":     {Options{IgnoreExisting: true}, map[string]string{"b": "old"}, "new old new"},
		"existing, not the first":      {Options{Existing: true}, map[string]string{"b": "older", "c": "older"}, "- new new"},
		"existing, the first":          {Options{Existing: true}, map[string]string{"a": "older", "c": "older"}, "new - new"},
		"update, another is newer":     {Options{Update: true}, map[string]string{"b": "newer"}, "new newer new"},
		"update, the first is newer":   {Options{Update: true}, map[string]string{"a": "newer", "b": "no"}, "newer new new"},
		"no clobber, the first":        {Options{NoClobber: true}, map[string]string{"a": "other"}, "other new new"},
		"no clobber, another":          {Options{NoClobber: true}, map[string]string{"c": "other"}, "new new other"},
		"no clobber, the same content": {Options{NoClobber: true}, map[string]string{"a": "new", "b": "new"}, "new new new"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := strings.ReplaceAll(name, " ", "_")
			for n, text := range c.there {
				mustWrite(t, h.path(dir+"/"+n), []byte(text), 0o644)
			}
			c.o.Archive = true
			_, err := h.send(c.o, dir, src+"/")
			if wantErr := strings.Contains(c.want, "other"); (err != nil) != wantErr {
				t.Errorf("%v", err)
			}
			if got := read(dir+"/a") + " " + read(dir+"/b") + " " + read(dir+"/c"); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

// A name that no manifest has is not the one that others are linked to.
func TestLinksToANameThatIsLeftOut(t *testing.T) {
	h := newHost(t, kinds[0])
	src := filepath.Join(t.TempDir(), "src")
	for _, n := range []string{".xfer-a", "b"} {
		mustWrite(t, filepath.Join(src, n), []byte(n), 0o644)
	}
	for from, to := range map[string]string{".xfer-a": "c", "b": "d"} {
		if err := os.Link(filepath.Join(src, from), filepath.Join(src, to)); err != nil {
			t.Skip(err)
		}
	}
	if err := os.Link(filepath.Join(src, ".xfer-a"), filepath.Join(src, "e")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.send(Options{Archive: true}, "to", src+"/"); KindOf(err) != KindPartial {
		t.Errorf("sent: %v", err)
	}
	if err := os.Remove(filepath.Join(src, ".xfer-a")); err != nil {
		t.Fatal(err)
	}
	mustEqualTree(t, h.path("to"), src)
	mustHaveLinks(t, h.path("to"), src)
}

// Holes of small files are kept, with an archive and without.
func TestSmallHolesAreKept(t *testing.T) {
	h := newHost(t, kinds[0])
	src := filepath.Join(t.TempDir(), "src")
	mustWrite(t, filepath.Join(src, "f"), []byte("x"), 0o644)
	if err := os.Truncate(filepath.Join(src, "f"), 300<<10); err != nil {
		t.Fatal(err)
	}
	blocks := func(name string) int64 {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		n, ok := durable.Blocks(info)
		if !ok {
			t.Skip("no blocks are told here")
		}
		return n
	}
	want := blocks(filepath.Join(src, "f"))
	if want >= 600 {
		t.Skip("the file system has no holes")
	}
	back := filepath.Join(t.TempDir(), "back")
	for _, o := range []Options{{}, {Archive: true}} {
		to := fmt.Sprint("to", o.Archive)
		h.mustSend(o, to, src+"/")
		h.mustGet(o, back+to, to)
		for _, name := range []string{h.path(to + "/f"), filepath.Join(back+to, "f")} {
			mustEqualFile(t, name, filepath.Join(src, "f"))
			if got := blocks(name); got > want+8 {
				t.Errorf("%s has %d blocks, the source %d", name, got, want)
			}
		}
	}
}

// Too many attributes, or an unreadable one, fail their entry, and say so.
func TestTooManyAttributes(t *testing.T) {
	dir := t.TempDir()
	fsys, err := durable.OpenOS(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	mustWrite(t, filepath.Join(dir, "many"), []byte("x"), 0o644)
	mustWrite(t, filepath.Join(dir, "few"), []byte("x"), 0o644)
	for i := range 129 {
		if err := fsys.LSetXAttr("many", fmt.Sprintf("user.%d", i), nil); err != nil {
			t.Skip(err)
		}
	}
	h := newHost(t, kinds[0])
	_, err = h.send(Options{Archive: true}, "to", dir+"/")
	if KindOf(err) != KindPartial || !strings.Contains(err.Error(), "extended attributes") {
		t.Errorf("sent: %v", err)
	}
	h.mustSend(Options{}, "to", dir+"/")
	if err := os.Rename(filepath.Join(dir, "many"), h.path("to/many")); err != nil {
		t.Skip(err)
	}
	back := filepath.Join(t.TempDir(), "back")
	if _, err := h.get(Options{Archive: true}, back, "to"); KindOf(err) != KindPartial || !strings.Contains(err.Error(), "extended attributes") {
		t.Errorf("got: %v", err)
	}
	if got := strings.Join(namesBeneath(t, back), " "); got != "few" {
		t.Errorf("arrived: %s", got)
	}
}

// A peer that knows nothing of archives gets none, and the user is told.
func TestArchiveWithAnOldPeer(t *testing.T) {
	h := newHost(t, kinds[0])
	caps := ourCaps
	ourCaps = []string{"h.blake3", "tree1"}
	defer func() { ourCaps = caps }()
	src := filepath.Join(t.TempDir(), "d")
	mustWrite(t, filepath.Join(src, "f"), []byte("x"), 0o644)
	for _, what := range []string{src, filepath.Join(src, "f")} {
		if _, err := h.send(Options{Archive: true}, "to", what); KindOf(err) != KindProtocol || !strings.Contains(err.Error(), "too old") {
			t.Errorf("send %s: %v", what, err)
		}
	}
	h.mustSend(Options{}, "to", src+"/")
	for _, what := range []string{"to", "to/f"} {
		if _, err := h.get(Options{Archive: true}, t.TempDir(), what); KindOf(err) != KindProtocol || !strings.Contains(err.Error(), "too old") {
			t.Errorf("get %s: %v", what, err)
		}
	}
}

// What is said of owner and attributes in one message is read as it was written.
func TestArchivedRoundTrip(t *testing.T) {
	for _, m := range []sink.Meta{
		{HasMode: true, Mode: 0o4755&0o777 | fs.ModeSetuid, HasMTime: true, MTime: time.Unix(-5, 7), HasOwner: true, UID: 1, GID: 2, User: "u", Group: "g", HasXAttrs: true},
		{HasXAttrs: true, XAttrs: []durable.XAttr{{Name: "user.a", Value: []byte("v")}, {Name: "user.b", Value: []byte{}}}},
	} {
		w, err := archived(m)
		if err != nil {
			t.Fatal(err)
		}
		got, err := sinkMetaOf(w)
		if m.XAttrs == nil {
			m.XAttrs = []durable.XAttr{}
		}
		if err != nil || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", m) {
			t.Errorf("%+v, %v\nwant %+v", got, err, m)
		}
	}
	for u := range sink.Unkept(64) {
		if got := unkeptOf(unkept(u) | 128); got != u {
			t.Errorf("%d is %d", u, got)
		}
	}
}

// Where a rule leaves the first name of a file as it is at the target the next one stands for it: all others are the file that the sender has, are
// linked with each other, and are in the receipt.
func TestLinksToWhatWasLeft(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := filepath.Join(t.TempDir(), "src")
		want := map[string][]byte{}
		for name, data := range map[string][]byte{"a": []byte("a"), "empty": nil, "large": randomBytes(1, 600<<10)} {
			mustWrite(t, filepath.Join(src, name+"1"), data, 0o644)
			for _, other := range []string{"2", "3", "4"} {
				if err := os.Link(filepath.Join(src, name+"1"), filepath.Join(src, name+other)); err != nil {
					t.Skip(err)
				}
				want[name+other] = data
			}
		}
		back := filepath.Join(t.TempDir(), "back")
		mustHave := func(dir string) {
			t.Helper()
			for _, name := range []string{"a", "empty", "large"} {
				if b, err := os.ReadFile(filepath.Join(dir, name+"1")); err != nil || string(b) != "other" {
					t.Errorf("%s1: %q, %v", name, b, err)
				}
				for _, n := range []string{"2", "3", "4"} {
					mustEqualFile(t, filepath.Join(dir, name+n), filepath.Join(src, name+n))
				}
			}
			groups := map[string]int{}
			for _, first := range linkGroups(t, dir) {
				groups[first]++
			}
			if fmt.Sprint(groups) != "map[a2:3 empty2:3 large2:3]" {
				t.Errorf("%v", groups)
			}
		}
		newer := time.Now()
		for _, name := range []string{"a1", "empty1", "large1"} {
			for _, dir := range []string{h.path("to"), h.path("plain"), back} {
				mustWrite(t, filepath.Join(dir, name), []byte("other"), 0o644)
				if err := os.Chtimes(filepath.Join(dir, name), newer, newer); err != nil {
					t.Fatal(err)
				}
			}
		}
		o := Options{Archive: true, Update: true}
		for range 2 {
			h.mustSend(o, "plain", src+"/")
			mustHave(h.path("plain"))
		}
		o.Receipts = true
		for range 2 { // the second time all of it is there
			wantList(t, h.mustSend(o, "to", src+"/"), h.server.ID(), "/inbox/to", want)
			mustHave(h.path("to"))
		}
		h.mustSend(Options{Archive: true}, "full", src+"/")
		for range 2 {
			wantList(t, h.mustGet(o, back, "full/"), h.client.ID(), "", want)
			mustHave(back)
		}
	})
}

// What the manifest says of a file is not given to another one that has its name by now.
func TestAnotherFileHasTheName(t *testing.T) {
	const same, other = true, false
	for name, c := range map[string]struct {
		was  func(t *testing.T, name string)
		now  func(name string) error
		want bool
	}{
		"content of another size": {nil, func(name string) error { return os.WriteFile(name, []byte("longer"), 0) }, same},
		"another file":            {nil, anotherFile, same},
		"another of two names": {func(t *testing.T, name string) {
			if err := os.Link(name, name+".2"); err != nil {
				t.Skip(err)
			}
		}, anotherFile, other},
		"content of two names": {func(t *testing.T, name string) {
			if err := os.Link(name, name+".2"); err != nil {
				t.Skip(err)
			}
		}, func(name string) error { return os.WriteFile(name, []byte("longer"), 0) }, same},
		"another owner": {nil, func(name string) error { return os.Lchown(name, 1234, -1) }, other},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			mustWrite(t, filepath.Join(dir, "f"), []byte("x"), 0o644)
			if c.was != nil {
				c.was(t, filepath.Join(dir, "f"))
			}
			e := entryIn(t, dir, "f")
			defer e.release()
			r := e.record()
			new(linkTable).find(e, &r, 1)
			e.shared = r.Shared
			if err := c.now(filepath.Join(dir, "f")); err != nil {
				t.Skip(err)
			}
			_, _, _, err := e.appendTo(nil, 100)
			src, err2 := e.open()
			if err2 == nil {
				_ = src.Close()
			}
			if errors.Is(err, errSourceChanged) == c.want || errors.Is(err2, errSourceChanged) == c.want {
				t.Errorf("in a pack: %v; alone: %v", err, err2)
			}
		})
	}
}

// anotherFile puts another file with the same size and time in the place of name.
func anotherFile(name string) error {
	info, err := os.Stat(name)
	if err == nil {
		err = os.WriteFile(name+".new", []byte("y"), info.Mode())
	}
	if err == nil {
		err = os.Chtimes(name+".new", info.ModTime(), info.ModTime())
	}
	if err == nil {
		err = os.Rename(name+".new", name)
	}
	return err
}

// entryIn is the entry of a name in an archive of dir.
func entryIn(t *testing.T, dir, name string) (found *treeEntry) {
	t.Helper()
	fsys, err := durable.OpenOS(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fsys.Close() })
	for it, err := range treeItems(t.Context(), fsys, ".", tree.WalkOptions{}) {
		if err != nil {
			t.Fatal(err)
		}
		e, err := entryOf(it, sink.Keep{Archive: true})
		if err != nil {
			t.Fatal(err)
		}
		if e.at == name {
			found = e
		} else {
			e.release()
		}
	}
	return found
}
