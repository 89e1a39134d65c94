//go:build unix

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// stagePlace is where the stages of a root lie on the disk.
type stagePlace struct {
	t   testing.TB
	dir string // ".xfer" of the root
}

// stages returns the directories of all stages, each with a journal and data.
func (p stagePlace) stages() []string {
	p.t.Helper()
	found, err := filepath.Glob(filepath.Join(p.dir, "stage", "*", "*", "journal"))
	must(p.t, err)
	for i := range found {
		found[i] = filepath.Dir(found[i])
	}
	slices.Sort(found)
	return found
}

// replaceBy makes something else of name.
func replaceBy(t testing.TB, name string, made func(name string) error) {
	t.Helper()
	must(t, os.RemoveAll(name))
	must(t, made(name))
}

func flipBit(t testing.TB, name string, at int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	must(t, err)
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	must(t, err)
	b[0] ^= 0x10
	_, err = f.WriteAt(b[:], at)
	must(t, err)
	must(t, f.Close())
}

// TestStateIsHostile: the daemon is killed with two stages on its disk, something happens to them, and the same two commands run again. They
// succeed with the right files, whatever it was; at worst all is sent again. Nothing beside the root is written.
func TestStateIsHostile(t *testing.T) {
	const size = 6<<20 + 777
	mkfifo := func(name string) error { return syscall.Mkfifo(name, 0o600) }
	mkdir := func(name string) error { return os.MkdirAll(filepath.Join(name, "in", "it"), 0o700) }
	// What is done to a stage with data (d) and journal (j), to another one beside it, and with a file outside to point at. again is
	// what has to be taken over nevertheless: all of it, some, or any amount.
	type damage struct {
		name  string
		again string
		do    func(t *testing.T, dir, other, early, outside string)
	}
	data := func(dir string) string { return filepath.Join(dir, "data") }
	journal := func(dir string) string { return filepath.Join(dir, "journal") }
	linkTo := func(to string) func(string) error {
		return func(name string) error { return os.Symlink(to, name) }
	}
	damages := []damage{
		{"nothing", "all", func(*testing.T, string, string, string, string) {}},
		{"data cut to a half", "any", func(t *testing.T, dir, _, _, _ string) { must(t, os.Truncate(data(dir), size/2)) }},
		{"data emptied", "any", func(t *testing.T, dir, _, _, _ string) { must(t, os.Truncate(data(dir), 0)) }},
		{"data longer", "any", func(t *testing.T, dir, _, _, _ string) { must(t, os.Truncate(data(dir), size+1)) }},
		{"data gone", "any", func(t *testing.T, dir, _, _, _ string) { must(t, os.Remove(data(dir))) }},
		{"a bit of data flipped", "some", func(t *testing.T, dir, _, _, _ string) { flipBit(t, data(dir), 300_000) }},
		{"a bit of each half chunk flipped", "any", func(t *testing.T, dir, _, _, _ string) {
			for at := int64(5); at < size; at += 128 << 10 {
				flipBit(t, data(dir), at)
			}
		}},
		{"data all zero", "any", func(t *testing.T, dir, _, _, _ string) {
			must(t, os.Truncate(data(dir), 0))
			must(t, os.Truncate(data(dir), size))
		}},
		{"data swapped", "any", func(t *testing.T, dir, other, _, _ string) {
			must(t, os.Rename(data(dir), data(dir)+".x"))
			must(t, os.Rename(data(other), data(dir)))
			must(t, os.Rename(data(dir)+".x", data(other)))
		}},
		{"journals swapped", "any", func(t *testing.T, dir, other, _, _ string) {
			must(t, os.Rename(journal(dir), journal(dir)+".x"))
			must(t, os.Rename(journal(other), journal(dir)))
			must(t, os.Rename(journal(dir)+".x", journal(other)))
		}},
		{"stages swapped", "any", func(t *testing.T, dir, other, _, _ string) {
			must(t, os.Rename(dir, dir+".x"))
			must(t, os.Rename(other, dir))
			must(t, os.Rename(dir+".x", other))
		}},
		{"data a link to outside", "any", func(t *testing.T, dir, _, _, outside string) { replaceBy(t, data(dir), linkTo(outside)) }},
		{"data a dangling link", "any", func(t *testing.T, dir, _, _, outside string) { replaceBy(t, data(dir), linkTo(outside+".made")) }},
		{"data another name of a file outside", "any", func(t *testing.T, dir, _, _, outside string) {
			replaceBy(t, data(dir), func(name string) error { return os.Link(outside, name) })
		}},
		{"data a link to the other", "any", func(t *testing.T, dir, other, _, _ string) { replaceBy(t, data(dir), linkTo(data(other))) }},
		{"data a FIFO", "any", func(t *testing.T, dir, _, _, _ string) { replaceBy(t, data(dir), mkfifo) }},
		{"data a directory", "any", func(t *testing.T, dir, _, _, _ string) { replaceBy(t, data(dir), mkdir) }},
		{"data without any right", "any", func(t *testing.T, dir, _, _, _ string) { must(t, os.Chmod(data(dir), 0)) }},
		{"journal emptied", "any", func(t *testing.T, dir, _, _, _ string) { must(t, os.Truncate(journal(dir), 0)) }},
		{"journal gone", "any", func(t *testing.T, dir, _, _, _ string) { must(t, os.Remove(journal(dir))) }},
		{"journal cut in a record", "some", func(t *testing.T, dir, _, _, _ string) {
			fi, err := os.Stat(journal(dir))
			must(t, err)
			must(t, os.Truncate(journal(dir), fi.Size()-7))
		}},
		{"journal with junk behind", "all", func(t *testing.T, dir, _, _, _ string) {
			must(t, os.WriteFile(journal(dir), append(mustRead(t, journal(dir)), junk(5000)...), 0o600))
		}},
		{"journal of junk", "any", func(t *testing.T, dir, _, _, _ string) { must(t, os.WriteFile(journal(dir), junk(100_000), 0o600)) }},
		{"journal much too long", "any", func(t *testing.T, dir, _, _, _ string) { must(t, os.Truncate(journal(dir), 1<<40)) }},
		{"a bit of the journal flipped", "any", func(t *testing.T, dir, _, _, _ string) {
			fi, err := os.Stat(journal(dir))
			must(t, err)
			flipBit(t, journal(dir), rand.Int64N(fi.Size()))
		}},
		{"an older journal", "any", func(t *testing.T, dir, _, early, _ string) {
			must(t, os.WriteFile(journal(dir), mustRead(t, early), 0o600))
		}},
		{"journal and data exchanged", "any", func(t *testing.T, dir, _, _, _ string) {
			must(t, os.Rename(journal(dir), dir+"/x"))
			must(t, os.Rename(data(dir), journal(dir)))
			must(t, os.Rename(dir+"/x", data(dir)))
		}},
		{"journal of a later version", "any", func(t *testing.T, dir, _, _, _ string) {
			b := mustRead(t, journal(dir))
			b[7]++
			must(t, os.WriteFile(journal(dir), b, 0o600))
		}},
		{"journal a link to outside", "any", func(t *testing.T, dir, _, _, outside string) { replaceBy(t, journal(dir), linkTo(outside)) }},
		{"journal a FIFO", "any", func(t *testing.T, dir, _, _, _ string) { replaceBy(t, journal(dir), mkfifo) }},
		{"journal a directory", "any", func(t *testing.T, dir, _, _, _ string) { replaceBy(t, journal(dir), mkdir) }},
		{"the stage a link to outside", "any", func(t *testing.T, dir, _, _, outside string) { replaceBy(t, dir, linkTo(filepath.Dir(outside))) }},
		{"the stage a file", "any", func(t *testing.T, dir, _, _, _ string) {
			replaceBy(t, dir, func(name string) error { return os.WriteFile(name, []byte("x"), 0o600) })
		}},
		{"the stage a FIFO", "any", func(t *testing.T, dir, _, _, _ string) { replaceBy(t, dir, mkfifo) }},
		{"the lock a link to outside", "any", func(t *testing.T, dir, _, _, outside string) {
			replaceBy(t, filepath.Join(filepath.Dir(dir), "lock"), linkTo(outside))
		}},
		{"the lock a FIFO", "any", func(t *testing.T, dir, _, _, _ string) {
			replaceBy(t, filepath.Join(filepath.Dir(dir), "lock"), mkfifo)
		}},
		{"done.log of junk", "any", func(t *testing.T, dir, _, _, _ string) {
			ruinDoneLogs(t, dir, func(name string) error { return os.WriteFile(name, junk(5000), 0o600) })
		}},
		{"done.log a link to outside", "any", func(t *testing.T, dir, _, _, outside string) { ruinDoneLogs(t, dir, linkTo(outside)) }},
		{"done.log a FIFO", "any", func(t *testing.T, dir, _, _, _ string) { ruinDoneLogs(t, dir, mkfifo) }},
		{"all stages emptied", "any", func(t *testing.T, dir, other, _, _ string) {
			for _, name := range []string{data(dir), journal(dir), data(other), journal(other)} {
				must(t, os.Truncate(name, 0))
			}
		}},
	}
	over(t, func(t *testing.T, transport string) {
		base := t.TempDir()
		root := filepath.Join(base, "root")
		d := acceptDaemon(t, "--root", "inbox="+root)
		c := d.enrolled()
		place := stagePlace{t, filepath.Join(root, ".xfer")}
		sources := map[string][]byte{}
		send := func(name string) []string {
			return []string{"send", "--transport", transport, filepath.Join(base, "src", name), d.host(name)}
		}
		mustWrite(t, filepath.Join(base, "src", "done"), "done before", 0o644)
		c.want(t, 0, send("done")...)
		early := filepath.Join(base, "early")
		var first []string
		for i, name := range []string{"one", "two"} {
			sources[name] = mustRandomFile(t, filepath.Join(base, "src", name), uint64(40+i), size)
			stop := c.begun(t, 1<<20, append(send(name), "--bwlimit", "2M")...)
			at := slices.DeleteFunc(place.stages(), func(dir string) bool { return len(first) > 0 && dir == first[0] })
			if i == 0 {
				first = at
				must(t, os.WriteFile(early, mustRead(t, journal(at[0])), 0o600))
			}
			eventually(t, "a journal of 14 chunks", func() bool { return len(mustRead(t, journal(at[0]))) > 15*48 })
			stop(syscall.SIGKILL)
		}
		d.kill(syscall.SIGKILL)
		all := place.stages()
		if len(all) != 2 {
			t.Fatalf("stages: %q", all)
		}
		template := filepath.Join(base, "template")
		must(t, os.CopyFS(template, os.DirFS(place.dir)))
		outside := filepath.Join(base, "outside", "file")
		mustWrite(t, outside, strings.Repeat("outside ", 1000), 0o644)
		before := takePicture(t, filepath.Dir(outside))
		for n, m := range damages {
			for i, dir := range all {
				if count(1) == 1 && i != n%2 { // one of the two by itself, both when there is time
					continue
				}
				what := fmt.Sprintf("%s (%d)", m.name, i)
				must(t, os.RemoveAll(root))
				must(t, os.CopyFS(place.dir, os.DirFS(template)))
				must(t, os.Chmod(place.dir, 0o700))
				must(t, os.WriteFile(filepath.Join(root, "one"), []byte("the old version"), 0o644))
				m.do(t, dir, all[1-i], early, outside)
				d.restart()
				for name, want := range sources {
					o := c.want(t, 0, append(send(name), "--json")...)
					if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || !bytes.Equal(got, want) {
						t.Fatalf("%s: %s: exit %d, and the file is wrong: %d bytes, %v\n%s", what, name, o.code, len(got), err, o.stderr)
					}
					r := o.result(t)
					// The rest of a chunk whose beginning turns out to be bad is sent for nothing.
					twice := r.BytesResumed + r.BytesSent - size
					if twice < 0 || twice > 1<<20 || m.again == "all" && twice > 0 || r.BytesResumed == 0 && m.again != "any" || r.BytesResumed < 2<<20 && m.again == "all" {
						t.Errorf("%s: %s: %d resumed, %d sent of %d", what, name, r.BytesResumed, r.BytesSent, size)
					}
				}
				before.mustEqual(t, what+": outside", takePicture(t, filepath.Dir(outside)))
				d.mustBeSound(t)
				if t.Failed() {
					t.Fatalf("%s:\n%s", what, d.logs)
				}
				d.kill(syscall.SIGKILL)
			}
		}
	})
}

func junk(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// ruinDoneLogs makes something else of the logs of what was published.
func ruinDoneLogs(t testing.TB, stage string, made func(string) error) {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(stage, "..", "..", "..", "done*"))
	must(t, err)
	if len(logs) == 0 {
		t.Fatal("there is no done.log")
	}
	for _, name := range logs {
		replaceBy(t, name, made)
	}
}
