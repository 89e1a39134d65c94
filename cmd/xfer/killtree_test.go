package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// killedTree is a tree that changes between runs, and what of it is at the target. Names are beneath the top.
type killedTree struct {
	t        *testing.T
	r        *rand.Rand
	src, dst string
	now      map[string][]byte
	was      map[string]map[[32]byte]bool // every content that a file ever had
	clock    time.Time                    // of the next file that is written
}

func newKilledTree(t *testing.T, r *rand.Rand, src, dst string) *killedTree {
	k := &killedTree{t: t, r: r, src: src, dst: dst, now: map[string][]byte{}, was: map[string]map[[32]byte]bool{}, clock: time.Unix(1_700_000_000, 0)}
	for i := range 400 {
		k.write(fmt.Sprintf("d%d/e%d/small%d", i%5, i%7, i), r.IntN(24<<10))
	}
	for i := range 12 {
		k.write(fmt.Sprintf("d%d/middle%d", i%5, i), 100<<10+r.IntN(300<<10))
	}
	for i := range 4 {
		k.write(fmt.Sprintf("large%d", i), 1<<20+r.IntN(2<<20))
	}
	return k
}

func (k *killedTree) write(name string, size int) {
	k.t.Helper()
	b := mustRandomFile(k.t, filepath.Join(k.src, name), k.r.Uint64(), size)
	k.clock = k.clock.Add(time.Second)
	if err := os.Chtimes(filepath.Join(k.src, name), k.clock, k.clock); err != nil {
		k.t.Fatal(err)
	}
	k.now[name] = b
	if k.was[name] == nil {
		k.was[name] = map[[32]byte]bool{}
	}
	k.was[name][sha256.Sum256(b)] = true
}

// change writes most files anew.
func (k *killedTree) change() {
	for _, name := range sortedKeys(k.now) {
		if k.r.IntN(4) > 0 {
			k.write(name, len(k.now[name])+k.r.IntN(100))
		}
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// arrived returns the files that are at the target as they are in the source, and how many bytes are not. Every file there must be a whole one, of
// now or of earlier.
func (k *killedTree) arrived(what string) (whole map[string]bool, missing int64) {
	k.t.Helper()
	whole = map[string]bool{}
	for name, data := range k.now {
		at := filepath.Join(k.dst, name)
		b, err := os.ReadFile(at)
		if err == nil && !k.was[name][sha256.Sum256(b)] {
			k.t.Fatalf("%s: %s is torn: %d bytes that the source never had", what, name, len(b))
		}
		from, _ := os.Stat(filepath.Join(k.src, name))
		to, terr := os.Stat(at)
		if err == nil && terr == nil && bytes.Equal(b, data) && to.ModTime().Equal(from.ModTime()) {
			whole[name] = true
		} else {
			missing += int64(len(data))
		}
	}
	return whole, missing
}

// crossed returns how often each file was sent, as the output of --json says.
func crossed(t *testing.T, stdout, top string) map[string]int {
	t.Helper()
	n := map[string]int{}
	for line := range strings.Lines(stdout) {
		var e struct{ Event, Path, Action string }
		if json.Unmarshal([]byte(line), &e) != nil || e.Event != "file" { // the last line of who was killed may be cut
			continue
		}
		if name, ok := strings.CutPrefix(e.Path, top+"/"); ok && (e.Action == "sent" || e.Action == "received") {
			n[name]++
		}
	}
	return n
}

// TestTreeKilledAtAnyMoment kills the client, the daemon or both with SIGKILL while a tree is on its way over older versions of its files, and
// runs the same command again. After each kill every file at the target is a whole one; what is there does not cross again; no run brings more
// bytes than what was missing when it began and, where the daemon was killed under it, then; at the end nothing is missing and nothing is left over.
func TestTreeKilledAtAnyMoment(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts and kills many processes")
	}
	for _, verb := range []string{"send", "sync", "get"} {
		t.Run(verb, func(t *testing.T) { t.Parallel(); killTree(t, verb, rand.Uint64()) })
	}
}

func killTree(t *testing.T, verb string, seed uint64) {
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	d, c, link := throughRelay(t)
	base := t.TempDir()
	src, dst, cross := filepath.Join(base, "tree"), d.inbox("tree"), &link.bytes
	top, args := src, []string{verb, src + "/", d.host("tree")}
	switch verb {
	case "sync":
		args = append(args, "--delete", "--max-delete", "100%")
	case "get":
		src, dst, cross = d.inbox("tree"), filepath.Join(base, "back"), &link.down
		top, args = "tree", []string{verb, d.host("tree/"), dst}
	}
	args = append(args, "--json", "--retry-for", "30s", "--timeout", "2s")
	k := newKilledTree(t, r, src, dst)
	written, moved, interrupted := int64(0), int64(0), 0
	for i := range count(4) {
		whole, missing := k.arrived("before")
		if missing == 0 {
			k.change()
			whole, missing = k.arrived("changed")
			written += missing
		} else if i == 0 {
			written = missing
		}
		if verb == "sync" {
			mustRandomFile(t, filepath.Join(dst, fmt.Sprint("d1/extra", i)), 1, 10)
		}
		who := r.IntN(3)
		wait := time.Duration(r.Int64N(int64(900 * time.Millisecond)))
		what := fmt.Sprintf("kill %d, after %v of %s", i, wait, []string{"the client", "the daemon", "both"}[who])
		over := transports[r.IntN(2)]
		if who == 0 {
			over = "tcp" // the end of a QUIC client is known after half a minute, and what it leaves goes then
		}
		run := append(slices.Clone(args), "--bwlimit", "6M", "--transport", over)
		first := c.command(run...)
		var out, errs bytes.Buffer
		first.Stdout, first.Stderr = &out, &errs
		before := cross.Load()
		if err := first.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(wait)
		if who != 0 {
			d.kill(syscall.SIGKILL)
		}
		if who != 1 {
			_ = first.Process.Kill()
		}
		if who == 1 {
			_, again := k.arrived(what)
			missing += again
			d.restart()
		}
		err := first.Wait()
		if who == 1 && err != nil {
			t.Fatalf("%s: the client did not go on: %v\n%s", what, err, &errs)
		}
		if who == 2 {
			d.restart()
		}
		sent := crossed(t, out.String(), top)
		for name, n := range sent {
			if whole[name] || n > 1 {
				t.Errorf("%s: %s crossed %d times, and it was there: %v", what, name, n, whole[name])
			}
		}
		bytes := cross.Load() - before
		t.Logf("%s: %d bytes crossed, %d were missing", what, bytes, missing)
		if most := missing + missing/20 + 128<<10; bytes > most {
			t.Errorf("%s: %d bytes crossed, of which %d were missing", what, bytes, missing)
		}
		moved += bytes
		if _, left := k.arrived(what); who == 1 || left > 0 && bytes > 64<<10 {
			interrupted++
		}
	}
	whole, missing := k.arrived("at the end")
	before := cross.Load()
	o := c.run("", args...)
	if o.code != 0 {
		t.Fatalf("the last run: exit %d\n%s", o.code, o.stderr)
	}
	for name, n := range crossed(t, o.stdout, top) {
		if whole[name] || n > 1 {
			t.Errorf("the last run: %s crossed %d times, and it was there: %v", name, n, whole[name])
		}
	}
	if res := o.result(t); res.BytesSent > missing || res.BytesSent+res.BytesResumed+res.BytesSkipped != res.Bytes || res.Files != int64(len(k.now)) {
		t.Errorf("the last run: %d bytes were missing: %+v", missing, res)
	}
	moved += cross.Load() - before
	t.Logf("%d runs were killed while content crossed; %d bytes crossed in all for %d of new content", interrupted, moved, written)
	if whole, _ := k.arrived("after"); len(whole) != len(k.now) {
		t.Errorf("%d files of %d are there", len(whole), len(k.now))
	}
	local, remote := src, "tree"
	if verb == "get" {
		local = dst
	}
	if o := c.run("", "check", local+"/", d.host(remote)); o.code != 0 {
		t.Errorf("check: exit %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	for _, top := range []string{dst, d.inbox("")} {
		mustHaveNoLeftovers(t, top)
	}
}

// mustHaveNoLeftovers wants no name of ours beneath dir, and nothing unfinished in the state there, once the daemon has tidied up:
// it does that after it has told the client of the end.
func mustHaveNoLeftovers(t *testing.T, dir string) {
	t.Helper()
	var left []string
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if left = leftovers(t, dir); len(left) == 0 {
			return
		}
	}
	t.Errorf("left over: %q", left)
}

func leftovers(t *testing.T, dir string) (left []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, name)
		switch parts := strings.Split(filepath.ToSlash(rel), "/"); {
		case errors.Is(err, fs.ErrNotExist): // gone meanwhile
		case err != nil:
			return err
		case parts[0] == ".xfer":
			if len(parts) > 2 && (parts[1] == "stage" || parts[1] == "tree") {
				left = append(left, rel)
			}
		case strings.HasPrefix(e.Name(), ".xfer"):
			left = append(left, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return left
}
