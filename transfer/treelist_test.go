package transfer

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"xfer/crypto"
	"xfer/transfer/transport"
)

// listedTree makes a directory with files of all ways to go, and returns their content.
func listedTree(t *testing.T) (dir string, files map[string][]byte) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "top")
	files = map[string][]byte{
		"a": []byte("one"), "empty": nil, "sub/b": randomBytes(2, 70_000), "sub/large": randomBytes(3, 3<<20), "sub/deep/c\xff\n": []byte("odd name"),
		"zeros": make([]byte, 2<<20),
	}
	for name, data := range files {
		mustWrite(t, filepath.Join(dir, name), data, 0o644)
	}
	if err := os.Link(filepath.Join(dir, "sub/large"), filepath.Join(dir, "sub/other")); err == nil {
		files["sub/other"] = files["sub/large"]
	}
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "sub/too")); err == nil {
		files["sub/too"] = files["a"]
	}
	return dir, files
}

// wantList sees that a receipt is good, by signer, and has exactly these files.
func wantList(t *testing.T, res Result, signer crypto.PeerID, path string, files map[string][]byte) {
	t.Helper()
	if len(res.Trees) != 1 || len(res.Receipts) != 0 {
		t.Fatalf("%d receipts of directories, %d of files", len(res.Trees), len(res.Receipts))
	}
	kept, err := DecodeReceiptFile(ReceiptFile{Receipts: res.Receipts, Trees: res.Trees, Tree: res.Tree}.Encode())
	if err != nil {
		t.Fatal(err)
	}
	r := kept.Trees[0]
	if id, err := r.Verify(); err != nil || id != signer || r.Path != path {
		t.Fatalf("receipt of %q: %v", r.Path, err)
	}
	got := map[string]crypto.Digest{}
	for _, f := range r.Files {
		got[f.Path] = f.Root
		if f.Size != int64(len(files[f.Path])) {
			t.Errorf("%q has %d bytes, want %d", f.Path, f.Size, len(files[f.Path]))
		}
	}
	want := map[string]crypto.Digest{}
	for name, data := range files {
		want[name] = crypto.Sum(data)
	}
	if !maps.Equal(got, want) {
		t.Fatalf("the list has %q, want %q", slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)))
	}
}

// A tree has one receipt with the hashes of all of its files, whether they were sent or there.
func TestReceiptOfATree(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		for _, archive := range []bool{false, true} {
			dir, files := listedTree(t)
			to := "to"
			if archive {
				to = "archive"
			}
			o := Options{Receipts: true, Verify: true, Archive: archive}
			wantList(t, h.mustSend(o, to, dir+"/"), h.server.ID(), "/inbox/"+to, files)

			files["a"] = []byte("two")
			if files["sub/too"] != nil {
				files["sub/too"] = files["a"]
			}
			mustWrite(t, filepath.Join(dir, "a"), files["a"], 0o644) // one link group
			files["sub/large"] = bytes.Clone(files["sub/large"])
			files["sub/large"][5] ^= 1
			if files["sub/other"] != nil {
				files["sub/other"] = files["sub/large"]
			}
			mustWrite(t, filepath.Join(dir, "sub/large"), files["sub/large"], 0o644)
			res := h.mustSend(o, to, dir+"/")
			wantList(t, res, h.server.ID(), "/inbox/"+to, files)
			if res.BytesSkipped == 0 {
				t.Error("all was sent again")
			}

			back := filepath.Join(t.TempDir(), "back")
			o.Verify = archive // with and without
			wantList(t, h.mustGet(o, back, to), h.client.ID(), "", files)
			mustWrite(t, filepath.Join(back, "sub/b"), []byte("something else"), 0o644)
			wantList(t, h.mustGet(o, back+"/", to+"/"), h.client.ID(), "", files)
			mustEqualFile(t, filepath.Join(back, "sub/b"), filepath.Join(dir, "sub/b"))
		}
	})
}

// A receipt of a tree is for its files, all of them, and no others.
func TestReceiptOfATreeCoversItsFiles(t *testing.T) {
	h := newHost(t, transport.TCP)
	dir, _ := listedTree(t)
	res := h.mustSend(Options{Receipts: true}, "to", dir+"/")
	r := res.Trees[0]
	files := slices.SortedFunc(slices.Values(r.Files), func(a, b ListedFile) int { return strings.Compare(a.Path, b.Path) }) // the first two differ
	for what, change := range map[string]func(){
		"one less":     func() { r.Files = files[1:] },
		"one twice":    func() { r.Files = append(slices.Clone(files[1:]), files[1]) },
		"another name": func() { r.Files = slices.Clone(files); r.Files[0].Path += "x" },
		"another size": func() { r.Files = slices.Clone(files); r.Files[0].Size++ },
		"another hash": func() { r.Files = slices.Clone(files); r.Files[0].Root[3] ^= 1 },
		"swapped":      func() { r.Files = slices.Clone(files); r.Files[0].Root, r.Files[1].Root = files[1].Root, files[0].Root },
		"no list":      func() { r.Files, r.signed.List = files, nil },
		"another time": func() { r.Files, r.signed = files, res.Trees[0].signed; r.signed.TimeNS++ },
	} {
		r = res.Trees[0]
		change()
		if _, err := r.Verify(); err == nil {
			t.Errorf("%s: the receipt is good", what)
		}
	}
	if r = res.Trees[0]; !strings.HasPrefix(r.Path, "/") {
		t.Error(r.Path)
	}
	if _, err := r.Verify(); err != nil {
		t.Error(err)
	}
}

// What is read again and is not what was sent ends the run.
func TestVerifyOfATree(t *testing.T) {
	h := newHost(t, transport.TCP)
	dir, _ := listedTree(t)
	// Another program writes into what has arrived, before it is read again.
	spoil := func(e Event) {
		if e.Kind == EventFile && strings.HasSuffix(e.Path, "/sub/b") && e.Action == "sent" {
			f, err := os.OpenFile(h.path("to/sub/b"), os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("!"), 69_999)
				_ = f.Close()
			}
			if err != nil {
				t.Error(err)
			}
		}
	}
	c := h.newClient(Options{Verify: true})
	c.Observe = spoil
	if _, err := c.Send(t.Context(), []Source{{Path: dir + "/"}}, addrOf("to")); KindOf(err) != KindPartial || !strings.Contains(err.Error(), "sub/b\": read again") {
		t.Errorf("sent: %v", err)
	}
}

// A file that changes before it is sent once more, for its stream was lost, is not listed as what the receiver may not have.
func TestAFileThatIsSentTwiceIsListedAsOne(t *testing.T) {
	one, two := []crypto.Digest{crypto.Sum([]byte("1"))}, []crypto.Digest{crypto.Sum([]byte("2"))}
	for _, list := range []bool{true, false} {
		ts := (&session{}).newTreeSend(2, treeHooks{})
		ts.list = list
		e := []*treeEntry{{at: "a"}}
		ts.packed(e, one, []int64{1})
		ts.packed(e, one, []int64{1})
		if ts.err != nil {
			t.Errorf("sent twice: %v", ts.err)
		}
		ts.packed(e, two, []int64{1})
		if retryable(ts.err) != list {
			t.Errorf("another content, list %v: %v", list, ts.err)
		}
	}
}
