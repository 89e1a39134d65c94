//go:build unix

package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// bystander is a file of somebody else; nothing that is done to a stage may change it.
var bystander = bytes.Repeat([]byte("not yours "), 100)

// hostile is something done to a parked stage of a file of 4 chunks, of which 0, 1 and 3 are held and 2 has a part.
type hostile struct {
	name string
	do   func(t *testing.T, root, stage string)
	// most chunks that may be believed afterwards; less is always allowed. -1: the stage must be gone
	most int64
}

func flip(t *testing.T, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	must(t, err)
	b[0] ^= 4
	_, err = f.WriteAt(b, at)
	must(t, err)
}

func hostiles() []hostile {
	edit := func(file string, change func(b []byte) []byte) func(t *testing.T, root, stage string) {
		return func(t *testing.T, root, stage string) {
			name := filepath.Join(stage, file)
			b, err := os.ReadFile(name)
			must(t, err)
			must(t, os.WriteFile(name, change(b), 0o600))
		}
	}
	replace := func(file string, with func(t *testing.T, root, name string)) func(t *testing.T, root, stage string) {
		return func(t *testing.T, root, stage string) {
			name := filepath.Join(stage, file)
			must(t, os.RemoveAll(name))
			with(t, root, name)
		}
	}
	fifo := func(t *testing.T, _, name string) { must(t, syscall.Mkfifo(name, 0o600)) }
	toBystander := func(t *testing.T, root, name string) { must(t, os.Symlink(filepath.Join(root, "bystander"), name)) }
	relative := func(t *testing.T, root, name string) {
		rel, err := filepath.Rel(filepath.Dir(name), filepath.Join(root, "bystander"))
		must(t, err)
		must(t, os.Symlink(rel, name))
	}
	hardlink := func(t *testing.T, root, name string) { must(t, os.Link(filepath.Join(root, "bystander"), name)) }
	return []hostile{
		{"nothing", func(*testing.T, string, string) {}, 3},
		{"bit of a held chunk", func(t *testing.T, _, s string) { flip(t, s+"/data", chunk18+77) }, 2},
		{"bit of a part", func(t *testing.T, _, s string) { flip(t, s+"/data", 2*chunk18+77) }, 3},
		{"data truncated", func(t *testing.T, _, s string) { must(t, os.Truncate(s+"/data", chunk18+5)) }, 1},
		{"data emptied", func(t *testing.T, _, s string) { must(t, os.Truncate(s+"/data", 0)) }, 0},
		{"data longer", func(t *testing.T, _, s string) { must(t, os.Truncate(s+"/data", 40*chunk18)) }, 0},
		{"data gone", func(t *testing.T, _, s string) { must(t, os.Remove(s+"/data")) }, 0},
		{"data a link", replace("data", toBystander), 0},
		{"data a relative link", replace("data", relative), 0},
		{"data a link to itself", replace("data", func(t *testing.T, _, n string) { must(t, os.Symlink("data", n)) }), 0},
		{"data a FIFO", replace("data", fifo), 0},
		{"data a directory", replace("data", func(t *testing.T, _, n string) { must(t, os.MkdirAll(n+"/x", 0o700)) }), 0},
		{"data another's file", replace("data", hardlink), 0},
		{"data also elsewhere", func(t *testing.T, root, s string) { must(t, os.Link(s+"/data", root+"/stolen")) }, 0},
		{"data not readable", func(t *testing.T, _, s string) { must(t, os.Chmod(s+"/data", 0)) }, 3},
		{"data swapped", func(t *testing.T, root, s string) {
			must(t, os.WriteFile(s+"/data", content(99, 3*chunk18+500), 0o600))
		}, 0},
		{"journal emptied", func(t *testing.T, _, s string) { must(t, os.Truncate(s+"/journal", 0)) }, 0},
		{"journal gone", func(t *testing.T, _, s string) { must(t, os.Remove(s+"/journal")) }, 0},
		{"journal torn", edit("journal", func(b []byte) []byte { return b[:len(b)-20] }), 3},
		{"journal rolled back", edit("journal", func(b []byte) []byte { return b[:headerEnd(b)+2*recordLen] }), 1},
		{"journal junk", edit("journal", func(b []byte) []byte { return content(5, len(b)) }), 0},
		{"journal with junk behind", edit("journal", func(b []byte) []byte { return append(b, content(5, 5000)...) }), 3},
		{"journal bit of the header", func(t *testing.T, _, s string) { flip(t, s+"/journal", 20) }, 0},
		{"journal bit of a record", func(t *testing.T, _, s string) {
			b, err := os.ReadFile(s + "/journal")
			must(t, err)
			flip(t, s+"/journal", int64(headerEnd(b)+recordLen+30))
		}, 0},
		{"journal claims what is not there", edit("journal", func(b []byte) []byte {
			return appendRecord(appendRecord(b, record{kind: recChunk, index: 2, body: [32]byte{1}}), record{kind: recMark, index: 7})
		}), 3},
		{"journal claims chunks beyond the file", edit("journal", func(b []byte) []byte {
			return appendRecord(b, record{kind: recChunk, index: 1 << 63})
		}), 3},
		{"journal marks more than there is", edit("journal", func(b []byte) []byte {
			return appendRecord(b, record{kind: recMark, index: 1 << 40})
		}), 3},
		{"journal part longer than its chunk", edit("journal", func(b []byte) []byte {
			return appendRecord(b, record{kind: recPart, index: 2, body: bodyOf(1 << 62)})
		}), 3},
		{"journal of unknown records", edit("journal", func(b []byte) []byte {
			return appendRecord(b, record{kind: 200, index: 2})
		}), 3},
		{"journal of 1 GiB", func(t *testing.T, _, s string) { must(t, os.Truncate(s+"/journal", 1<<30)) }, 0},
		{"journal of endless records", edit("journal", func(b []byte) []byte {
			r := appendRecord(nil, record{kind: recEpoch, index: 1})
			return append(b, bytes.Repeat(r, 100_000)...)
		}), 0},
		{"journal of another file", edit("journal", func(b []byte) []byte {
			h, n, err := parseHeader(b)
			if err != nil {
				panic(err)
			}
			h.path = []string{"other"}
			return append(appendHeader(nil, h), b[n:]...)
		}), 0},
		{"journal a link", replace("journal", toBystander), 0},
		{"journal a relative link", replace("journal", relative), 0},
		{"journal a FIFO", replace("journal", fifo), 0},
		{"journal a directory", replace("journal", func(t *testing.T, _, n string) { must(t, os.Mkdir(n, 0o700)) }), 0},
		{"journal another's file", replace("journal", hardlink), 0},
		{"stage a link", func(t *testing.T, root, s string) {
			must(t, os.RemoveAll(s))
			must(t, os.Symlink(root+"/victim", s))
		}, 0},
		{"stage a relative link", func(t *testing.T, root, s string) {
			must(t, os.RemoveAll(s))
			must(t, os.Symlink("../../../victim", s))
		}, 0},
		{"stage a file", func(t *testing.T, _, s string) {
			must(t, os.RemoveAll(s))
			must(t, os.WriteFile(s, nil, 0o600))
		}, 0},
		{"key a relative link", func(t *testing.T, root, s string) {
			must(t, os.RemoveAll(filepath.Dir(s)))
			must(t, os.Symlink("../../victim", filepath.Dir(s)))
		}, 0},
		{"key a file", func(t *testing.T, root, s string) {
			must(t, os.RemoveAll(filepath.Dir(s)))
			must(t, os.WriteFile(filepath.Dir(s), nil, 0o600))
		}, 0},
		{"all stages a relative link", func(t *testing.T, root, s string) {
			must(t, os.RemoveAll(root+"/.xfer/stage"))
			must(t, os.Symlink("../victim", root+"/.xfer/stage"))
		}, 0},
		{"lock a FIFO", func(t *testing.T, root, s string) {
			must(t, os.RemoveAll(filepath.Dir(s)+"/lock"))
			must(t, syscall.Mkfifo(filepath.Dir(s)+"/lock", 0o600))
		}, 3},
		{"lock a link", func(t *testing.T, root, s string) {
			must(t, os.RemoveAll(filepath.Dir(s)+"/lock"))
			must(t, os.Symlink(root+"/bystander", filepath.Dir(s)+"/lock"))
		}, 3},
		{"done.log junk", func(t *testing.T, root, s string) {
			must(t, os.WriteFile(root+"/.xfer/done.log", content(4, 3000), 0o600))
		}, 3},
		{"done.log a FIFO", func(t *testing.T, root, s string) {
			must(t, os.RemoveAll(root+"/.xfer/done.log"))
			must(t, syscall.Mkfifo(root+"/.xfer/done.log", 0o600))
		}, 3},
		{"done.log a link", func(t *testing.T, root, s string) {
			must(t, os.RemoveAll(root+"/.xfer/done.log"))
			must(t, os.Symlink("../bystander", root+"/.xfer/done.log"))
		}, 3},
		{"done.lock a FIFO", func(t *testing.T, root, s string) {
			must(t, os.RemoveAll(root+"/.xfer/done.lock"))
			must(t, syscall.Mkfifo(root+"/.xfer/done.lock", 0o600))
		}, 3},
		{"done.lock a link", func(t *testing.T, root, s string) {
			must(t, os.RemoveAll(root+"/.xfer/done.lock"))
			must(t, os.Symlink(root+"/bystander", root+"/.xfer/done.lock"))
		}, 3},
		{"done.lock a directory", func(t *testing.T, root, s string) {
			must(t, os.RemoveAll(root+"/.xfer/done.lock"))
			must(t, os.MkdirAll(root+"/.xfer/done.lock/in", 0o700))
		}, 3},
	}
}

func headerEnd(b []byte) int {
	_, n, err := parseHeader(b)
	if err != nil {
		panic(err)
	}
	return n
}

// TestHostileState does each of the above between Park and Begin, in the same process and with another one. What is
// found must be true, nobody else's file be touched, and the file arrive.
// Guards: load.go openOwn, openData, take; verify.go; begin.go sweep; dir.go ensureDir.
func TestHostileState(t *testing.T) {
	b := content(1, 3*chunk18+500)
	for _, h := range hostiles() {
		for _, same := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, same process %v", h.name, same), func(t *testing.T) {
				root := t.TempDir()
				must(t, os.WriteFile(root+"/bystander", bystander, 0o644))
				must(t, os.Mkdir(root+"/victim", 0o755))
				must(t, os.WriteFile(root+"/victim/data", bystander, 0o644))
				must(t, os.WriteFile(root+"/victim/journal", bystander, 0o644))
				o := Options{KeepDoneLog: true}
				d := openDir(t, root, o)
				s, _ := mustBegin(t, d.View("alice", All), specOf(t, b, "file"))
				mustPut(t, s, b, 0, 1, 3)
				w, err := s.Claim(2, 0)
				must(t, err)
				must(t, w.Write(b[2*chunk18:2*chunk18+1000]))
				w.Park()
				must(t, s.Park())
				dir := filepath.Join(root, s.dir)
				if !same {
					must(t, d.Close())
				}
				if same { // the change must be seen even if the clock of the file system is slow
					old := time.Now().Add(-time.Hour)
					for _, n := range []string{"/data", "/journal"} {
						os.Chtimes(dir+n, old, old)
					}
				}
				h.do(t, root, dir)
				if !same {
					d = openDir(t, root, o)
				}
				s, found, err := d.View("alice", All).Begin(context.Background(), specOf(t, b, "file"))
				if err != nil {
					t.Fatal("begin:", err)
				}
				if n, _ := s.Held(); n > h.most {
					t.Errorf("%d chunks are believed: %+v", n, found)
				}
				data, err := os.ReadFile(filepath.Join(root, s.dataName))
				must(t, err)
				for _, r := range found.Have {
					for c := r.Start; c < r.Start+r.Count; c++ {
						lo, hi := c*chunk18, min((c+1)*chunk18, int64(len(b)))
						if int64(len(data)) < hi || !bytes.Equal(data[lo:hi], b[lo:hi]) {
							t.Errorf("chunk %d is said to be there, and is not", c)
						}
					}
				}
				for _, p := range found.Parts { // a bad part costs the chunk, no more
					w, err := s.Claim(p.Chunk, p.Bytes)
					must(t, err)
					cv, whole := chunkCV(b, p.Chunk, 18, false)
					must(t, w.Write(whole[p.Bytes:]))
					if _, err := w.Finish(cv); err != nil && !errors.Is(err, ErrChunkBad) {
						t.Error(err)
					}
				}
				if _, err := sendRest(s, b); err != nil {
					t.Fatal("send the rest:", err)
				}
				wantContent(t, d, "file", b)
				for _, n := range []string{"/bystander", "/victim/data", "/victim/journal"} {
					if got, err := os.ReadFile(root + n); err != nil || !bytes.Equal(got, bystander) {
						t.Errorf("%s was touched: %v", n, err)
					}
				}
				if fi, err := os.Lstat(root + "/file"); err != nil || !fi.Mode().IsRegular() || fi.Sys().(*syscall.Stat_t).Nlink != 1 {
					t.Errorf("the final name: %v %v", fi, err)
				}
			})
		}
	}
}

// TestLaterVersionIsLeftAlone: a stage that a later version of xfer wrote is neither used nor removed.
// Guard: begin.go sweep, isLater.
func TestLaterVersionIsLeftAlone(t *testing.T) {
	root := t.TempDir()
	d := openDir(t, root, Options{StageMaxAge: 1})
	b := content(1, 2*chunk18)
	s, _ := mustBegin(t, d.View("alice", All), specOf(t, b, "file"))
	mustPut(t, s, b, 0)
	must(t, s.Park())
	dir := filepath.Join(root, s.dir)
	j, err := os.ReadFile(dir + "/journal")
	must(t, err)
	j[7] = '3'
	must(t, os.WriteFile(dir+"/journal", j, 0o600))
	if n, err := d.CleanUp(context.Background()); n != 0 || err != nil {
		t.Error("clean-up:", n, err)
	}
	s, found := mustBegin(t, d.View("alice", All), specOf(t, b, "file"))
	if len(found.Have) != 0 {
		t.Errorf("found %+v", found)
	}
	if _, err := sendRest(s, b); err != nil {
		t.Fatal(err)
	}
	wantContent(t, d, "file", b)
	if got, err := os.ReadFile(dir + "/journal"); err != nil || !bytes.Equal(got, j) {
		t.Error("the later version's journal was touched", err)
	}
	if got, err := os.ReadFile(dir + "/data"); err != nil || !bytes.Equal(got[:chunk18], b[:chunk18]) {
		t.Error("the later version's data was touched", err)
	}
}

// TestStageTakenAwayUnderneath: what is done to a live stage is noticed before anything is published.
// Guard: publish.go rename "SameFile(own, now)", seal "fi.Size() != c.Size".
func TestStageTakenAwayUnderneath(t *testing.T) {
	b := content(1, 2*chunk18)
	for name, do := range map[string]func(dir string) error{
		"swapped": func(dir string) error {
			return errors.Join(os.Remove(dir+"/data"), os.WriteFile(dir+"/data", b[1:], 0o600))
		},
		"removed":   os.RemoveAll,
		"truncated": func(dir string) error { return os.Truncate(dir+"/data", 5) },
		"longer":    func(dir string) error { return os.Truncate(dir+"/data", 5*chunk18) },
		"a link": func(dir string) error {
			return errors.Join(os.Remove(dir+"/data"), os.Symlink("journal", dir+"/data"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			d := openDir(t, root, Options{})
			s, _ := mustBegin(t, d.View("alice", All), specOf(t, b, "file"))
			mustPut(t, s, b, 0, 1)
			must(t, do(filepath.Join(root, s.dir)))
			if _, err := s.Publish(context.Background(), commitOf(b)); !errors.Is(err, ErrStageLost) {
				t.Errorf("publish: %v", err)
			}
			if _, err := os.Lstat(root + "/file"); !errors.Is(err, fs.ErrNotExist) {
				t.Error("published all the same", err)
			}
			s.Park()
			s, _ = mustBegin(t, d.View("alice", All), specOf(t, b, "file"))
			if _, err := sendRest(s, b); err != nil {
				t.Fatal(err)
			}
			wantContent(t, d, "file", b)
		})
	}
}

// TestStateDirInTheWay: ".xfer" of somebody else is not ours to remove.
func TestStateDirInTheWay(t *testing.T) {
	root := t.TempDir()
	must(t, os.Mkdir(root+"/elsewhere", 0o755))
	must(t, os.Symlink("elsewhere", root+"/.xfer"))
	d := openDir(t, root, Options{})
	_, _, err := d.View("alice", All).Begin(context.Background(), specOf(t, []byte("x"), "file"))
	if !errors.Is(err, ErrNotDir) || !strings.Contains(err.Error(), ".xfer") {
		t.Errorf("begin: %v", err)
	}
}
