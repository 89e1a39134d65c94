//go:build unix

package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"xfer/transfer/wire"
)

// outside is a directory that nobody may touch or look into, with the same names as there are inside.
type outside struct {
	dir    string
	was    picture
	leaks  []string // what is nowhere but there
	secret string
}

// makeOutside makes it beside the root, so that "../outside" leads there.
func makeOutside(t testing.TB, dir string, names ...string) *outside {
	t.Helper()
	o := &outside{dir: dir, secret: "TOP-SECRET " + strings.Repeat("x", 31337-11)}
	for _, n := range append(names, "secret", "zz-unlisted-name", "sub/secret", "sub/deep/secret") {
		mustWrite(t, filepath.Join(dir, n), o.secret, 0o644)
	}
	sum := referenceBLAKE3([]byte(o.secret))
	o.leaks = []string{"TOP-SECRET", "zz-unlisted-name", hex.EncodeToString(sum[:]), "31337"}
	o.was = o.look(t)
	return o
}

// look is a picture with the times of directories.
func (o *outside) look(t testing.TB) picture {
	t.Helper()
	p := takePicture(t, o.dir)
	for name := range p {
		fi, err := os.Lstat(filepath.Join(o.dir, name))
		must(t, err)
		p[name] += " " + strconv.FormatInt(fi.ModTime().UnixNano(), 10)
	}
	return p
}

func (o *outside) mustBeUntouched(t testing.TB, what string) {
	t.Helper()
	now := o.look(t)
	if len(now) != len(o.was) || fmt.Sprint(now) != fmt.Sprint(o.was) {
		o.was.mustEqual(t, what+": the directory outside", now)
		t.FailNow()
	}
}

// leaked returns what of the directory outside is in text.
func (o *outside) leaked(text string) string {
	for _, l := range o.leaks {
		if strings.Contains(text, l) {
			return l
		}
	}
	return ""
}

// leakedInto returns the first regular file in dir that has the secret. Links are not followed.
func (o *outside) leakedInto(t testing.TB, dir string) (found string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || found != "" {
			if os.IsNotExist(err) {
				return nil
			}
			return err
		}
		data, err := os.ReadFile(name)
		if bytes.Contains(data, []byte("TOP-SECRET")) {
			found = name
		}
		if os.IsNotExist(err) {
			return nil
		}
		return err
	})
	must(t, err)
	return found
}

// TestPathsOfPeers: components that no path may have, in every message that has a path.
func TestPathsOfPeers(t *testing.T) {
	over(t, func(t *testing.T, transport string) {
		base := t.TempDir()
		root := filepath.Join(base, "root")
		o := makeOutside(t, filepath.Join(base, "outside"))
		mustWrite(t, filepath.Join(root, "a/file"), "inside", 0o644)
		d := acceptDaemon(t, "--root", "inbox="+root)
		c := d.enrolled()
		before := takePicture(t, root, ".xfer")
		id := c.identity(t)
		p := placeholder(t)
		good, err := wire.NewPath("a", "file")
		must(t, err)
		messages := map[string]wire.Message{
			"OPEN":        wire.Open{Path: p, Size: 4, ChunkLog2: 18, Alg: wire.AlgBLAKE3, Fingerprint: []byte("f")},
			"GET":         wire.Get{Path: p, Handle: 1},
			"LIST":        wire.List{Path: p, Depth: 1},
			"STAT":        wire.Stat{Path: p, WantRoot: true},
			"MKDIR":       wire.Mkdir{Path: p, Parents: true},
			"REMOVE":      wire.Remove{Path: p, Recursive: true},
			"RENAME from": wire.Rename{From: p, To: good},
			"RENAME to":   wire.Rename{From: good, To: p},
			"SYMLINK":     wire.Symlink{Path: p, Target: "x"},
			"SETMETA":     wire.SetMeta{Path: p, Meta: wire.Meta{Mode: 0o777, HasMode: true}},
		}
		paths := [][]string{
			{".."}, {"."}, {""}, {"..", "outside", "secret"}, {"a", "..", "..", "outside", "secret"}, {"a", ".", "file"}, {"", "etc", "passwd"},
			{"/etc/passwd"}, {"/"}, {"a/file"}, {"a/../../outside/secret"}, {"../outside/secret"}, {o.dir + "/secret"}, {"a", "file", ""}, {"a", ""},
			{"a\x00"}, {"\x00"}, {"a", "file\x00.txt"}, {".xfer"}, {".xfer", "stage"}, {strings.Repeat("n", 256)}, slices.Repeat([]string{"d"}, 257),
			slices.Repeat([]string{strings.Repeat("d", 250)}, 17),
		}
		for name, m := range messages {
			for _, parts := range paths {
				what := fmt.Sprintf("%s %.60q", name, parts)
				f := d.framerOf(t, transport, id)
				f.hello()
				_, err := f.st.Write(withPath(t, frameOf(t, 2, m), parts...))
				must(t, err)
				if code := f.refusal(what); code != 0 && code != wire.CodeBadPath && code != wire.CodeProtocol && code != wire.CodeLimit {
					t.Errorf("%s: refused as %v", what, code)
				}
				_ = f.c.Close(0, "")
			}
		}
		o.mustBeUntouched(t, "after all of them")
		before.mustEqual(t, "the root", takePicture(t, root, ".xfer"))
		// The same by the command, which refuses by itself what it can.
		file := filepath.Join(base, "file")
		mustWrite(t, file, "new", 0o644)
		for to, code := range map[string]int{
			"..": 2, "../x": 2, "a/../../x": 2, "a/..": 2, "/inbox/../x": 2, "/..": 2, "/../outside/x": 2, "a/../../outside/secret": 2,
			o.dir + "/secret": 3, "/etc/passwd": 3, "/nosuch/x": 3, ".xfer/x": 2, "a/file/": 4, "a/file/x": 4,
		} {
			for _, args := range [][]string{
				{"send", file, d.host(to)}, {"get", d.host(to), filepath.Join(base, "got")}, {"ls", d.host(to)}, {"cat", d.host(to)}, {"hash", d.host(to)},
				{"stat", d.host(to)}, {"rm", "-r", d.host(to)}, {"mv", d.host(to), d.host("moved")}, {"mv", d.host("a/file"), d.host(to)}, {"mkdir", "-p", d.host(to)},
			} {
				run := c.run("", append(args, "--transport", transport)...)
				if leak := o.leaked(run.stdout + run.stderr); leak != "" {
					t.Errorf("%q: %s", args, leak)
				}
				if run.code != code && (code == 2 || run.code == 0) && !strings.HasPrefix(to, "a/file") {
					t.Errorf("%q: exit %d, want %d: %s", args, run.code, code, run.stderr)
				}
			}
		}
		o.mustBeUntouched(t, "after the commands")
		if leak := o.leakedInto(t, root); leak != "" {
			t.Errorf("the secret is in %s", leak)
		}
	})
}

// TestLinksInTheRoot: symbolic links that somebody has put into the root lead nobody out of it, whatever the verb.
func TestLinksInTheRoot(t *testing.T) {
	over(t, func(t *testing.T, transport string) {
		base := t.TempDir()
		root := filepath.Join(base, "root")
		o := makeOutside(t, filepath.Join(base, "outside"), "new", "file", "good")
		plant := func() {
			for name, to := range map[string]string{
				"abs": o.dir, "rel": "../outside", "chain": "in/chain2", "in/chain2": "../chain3", "chain3": "in/chain4", "in/chain4": o.dir,
				"file": o.dir + "/secret", "loop": "in/loop2", "in/loop2": "../loop", "self": "self", "dangling": o.dir + "/created", "in/up": "../..", "top": "/",
				"danglingdir": "../outside/made",
			} {
				name = filepath.Join(root, name)
				must(t, os.MkdirAll(filepath.Dir(name), 0o755))
				if at, err := os.Readlink(name); err == nil && at == to {
					continue
				}
				must(t, os.RemoveAll(name))
				must(t, os.Symlink(to, name))
			}
			mustWrite(t, filepath.Join(root, "good"), "good", 0o644)
		}
		plant()
		d := acceptDaemon(t, "--root", "inbox="+root)
		c := d.enrolled()
		src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
		mustWrite(t, filepath.Join(src, "new"), "new content", 0o644)
		mustWrite(t, filepath.Join(src, "secret"), "new content", 0o644)
		mustWrite(t, filepath.Join(src, "sub/secret"), "new content", 0o644)
		one := filepath.Join(src, "new")
		paths := []string{
			"abs", "abs/secret", "abs/fresh", "abs/sub", "rel/secret", "rel/sub/deep/secret", "chain", "chain/secret", "file", "loop", "loop/x", "self", "dangling",
			"danglingdir", "danglingdir/x", "in/up/outside/secret", "in/up/fresh", "top" + o.dir + "/secret",
		}
		for _, p := range paths {
			at := d.host(p)
			for _, args := range [][]string{
				{"send", one, at}, {"send", one, at + "/"}, {"send", "-c", src + "/", at}, {"send", "--no-clobber", one, at}, {"get", at, dst}, {"get", at + "/", dst},
				{"ls", "-l", at}, {"ls", at + "/"}, {"cat", at}, {"hash", at}, {"stat", at}, {"mkdir", at}, {"mkdir", "-p", at + "/a/b"}, {"mv", d.host("good"), at},
				{"mv", at, d.host("moved")}, {"rm", at}, {"rm", "-r", at}, {"rm", "-r", at + "/"}, {"check", src + "/", at},
			} {
				plant()
				must(t, os.RemoveAll(dst))
				must(t, os.Mkdir(dst, 0o755))
				run := c.run("", append(args, "--transport", transport)...)
				o.mustBeUntouched(t, fmt.Sprintf("%q (exit %d: %s)", args, run.code, run.stderr))
				if leak := o.leaked(run.stdout + run.stderr); leak != "" {
					t.Errorf("%q shows %s: %s%s", args, leak, run.stdout, run.stderr)
				}
				for _, dir := range []string{dst, root} {
					if leak := o.leakedInto(t, dir); leak != "" {
						t.Fatalf("%q: the secret is in %s", args, leak)
					}
				}
			}
		}
		// A link that is got is a link here, and what comes next does not follow it.
		plant()
		must(t, os.RemoveAll(dst))
		c.run("", "get", "--transport", transport, d.host("abs"), d.host("in"), d.host("rel"), dst+"/")
		for name := range map[string]bool{"abs": true, "rel": true} {
			must(t, os.RemoveAll(filepath.Join(root, name)))
			mustWrite(t, filepath.Join(root, name, "secret"), "from the server", 0o644)
			mustWrite(t, filepath.Join(root, name, "sub/secret"), "from the server", 0o644)
		}
		must(t, os.MkdirAll(dst, 0o755))
		_ = os.Remove(filepath.Join(dst, "abs"))
		must(t, os.Symlink(o.dir, filepath.Join(dst, "abs")))
		for _, args := range [][]string{{"get", d.host("abs"), dst}, {"get", d.host("abs"), d.host("rel"), dst + "/"}, {"get", d.host(""), dst}} {
			run := c.run("", append(args, "--transport", transport)...)
			o.mustBeUntouched(t, fmt.Sprintf("%q (exit %d: %s)", args, run.code, run.stderr))
		}
	})
}

// swapper exchanges the directory dir and a link to somewhere else as fast as it can, until stop is called.
type swapper struct {
	n    atomic.Int64
	quit chan struct{}
	wg   sync.WaitGroup
}

func startSwapping(t testing.TB, dir, to string) *swapper {
	t.Helper()
	link, aside := dir+".link", dir+".aside"
	must(t, os.Symlink(to, link))
	s := &swapper{quit: make(chan struct{})}
	s.wg.Go(func() {
		for {
			select {
			case <-s.quit:
				return
			default:
			}
			for _, step := range [][2]string{{dir, aside}, {link, dir}, {dir, link}, {aside, dir}} {
				err := os.Rename(step[0], step[1])
				for try := 0; err != nil && try < 1000; try++ { // a peer has made a directory where for a moment there was none
					_ = os.RemoveAll(step[1])
					err = os.Rename(step[0], step[1])
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
			s.n.Add(1)
		}
	})
	return s
}

func (s *swapper) stop() { close(s.quit); s.wg.Wait() }

// A directory is swapped so many times while commands run, unless that takes too long.
const (
	wantSwaps = 100_000
	atMost    = time.Minute
)

// until runs each of jobs again and again, side by side, until the directory was swapped often enough and each has run some times.
func (s *swapper) until(t *testing.T, jobs ...func()) {
	began := time.Now()
	var runs atomic.Int64
	var wg sync.WaitGroup
	for _, job := range jobs {
		wg.Go(func() {
			for n := 0; (n < 4 || s.n.Load() < wantSwaps) && time.Since(began) < atMost && !t.Failed(); n++ {
				job()
				runs.Add(1)
			}
		})
	}
	wg.Wait()
	s.stop()
	t.Logf("%d swaps during %d commands in %v", s.n.Load(), runs.Load(), time.Since(began).Round(time.Millisecond))
	if s.n.Load() < wantSwaps/20 {
		t.Errorf("only %d swaps", s.n.Load())
	}
}

// TestDirectorySwappedInTheRoot: while files arrive at a directory in the root, are read from it and removed, somebody on the server exchanges it
// with a link to the outside.
func TestDirectorySwappedInTheRoot(t *testing.T) {
	over(t, func(t *testing.T, transport string) {
		base := t.TempDir()
		root := filepath.Join(base, "root")
		names := []string{"new/sub/f"}
		for i := range 20 {
			names = append(names, fmt.Sprintf("f%d", i))
		}
		o := makeOutside(t, filepath.Join(base, "outside"), names...)
		src := filepath.Join(base, "src")
		for _, n := range append(names, "secret", "sub/secret") {
			mustWrite(t, filepath.Join(root, "p/d", n), "inside", 0o644)
			mustWrite(t, filepath.Join(src, n), "from the client", 0o644)
		}
		d := acceptDaemon(t, "--root", "inbox="+root)
		c := d.enrolled()
		var seen atomic.Int64 // commands that got through
		run := func(args ...string) {
			out := c.run("", append(args, "--transport", transport)...)
			if out.code == 0 {
				seen.Add(1)
			}
			if leak := o.leaked(out.stdout + out.stderr); leak != "" {
				t.Errorf("%q shows %s: %.500s%.500s", args, leak, out.stdout, out.stderr)
			}
		}
		swap := startSwapping(t, filepath.Join(root, "p/d"), o.dir)
		swap.until(t,
			func() { run("send", "-c", src+"/", d.host("p/d")) },
			func() {
				touch := filepath.Join(src, "f1")
				_ = os.Chtimes(touch, time.Now(), time.Now())
				run("send", touch, d.host("p/d/f1"))
				run("rm", d.host("p/d/f1"))
				run("rm", "-r", d.host("p/d/new"))
				run("mkdir", "-p", d.host("p/d/new/sub"))
				run("mv", d.host("p/d/f2"), d.host("p/d/f3"))
				run("mv", d.host("p/d/secret"), d.host("p/taken"))
			},
			func() {
				got := filepath.Join(base, "got")
				run("get", "-c", d.host("p/d/"), got)
				if leak := o.leakedInto(t, got); leak != "" {
					t.Errorf("the secret is in %s", leak)
				}
				for _, verb := range []string{"cat", "hash", "stat"} {
					run(verb, d.host("p/d/secret"))
				}
				run("ls", "-l", d.host("p/d"))
			},
		)
		o.mustBeUntouched(t, "after all")
		if leak := o.leakedInto(t, root); leak != "" {
			t.Errorf("the secret is in %s", leak)
		}
		if seen.Load() == 0 {
			t.Error("no command got through at all")
		}
	})
}

// TestDirectorySwappedHere: the same on the client's side, in what is sent and where it is got to.
func TestDirectorySwappedHere(t *testing.T) {
	over(t, func(t *testing.T, transport string) {
		base := t.TempDir()
		var names []string
		for i := range 20 {
			names = append(names, fmt.Sprintf("f%d", i))
		}
		o := makeOutside(t, filepath.Join(base, "outside"), names...)
		d := acceptDaemon(t)
		c := d.enrolled()
		src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
		for _, n := range append(names, "secret", "sub/secret") {
			mustWrite(t, filepath.Join(src, "d", n), "from the client", 0o644)
			mustWrite(t, filepath.Join(dst, "d", n), "older", 0o600)
			mustWrite(t, d.inbox("tree/d/"+n), "from the server", 0o644)
		}
		run := func(args ...string) {
			out := c.run("", append(args, "--transport", transport)...)
			if leak := o.leaked(out.stdout + out.stderr); leak != "" {
				t.Errorf("%q shows %s: %.500s%.500s", args, leak, out.stdout, out.stderr)
			}
		}
		there := startSwapping(t, filepath.Join(dst, "d"), o.dir)
		here := startSwapping(t, filepath.Join(src, "d"), o.dir)
		there.until(t,
			func() { run("send", "-c", src+"/", d.host("sent")); run("check", src+"/", d.host("sent")) },
			func() {
				when := time.Now()
				for _, n := range names {
					_ = os.Chtimes(d.inbox("tree/d/"+n), when, when)
				}
				run("get", d.host("tree/"), dst)
			},
		)
		here.stop()
		o.mustBeUntouched(t, "after all")
		for _, dir := range []string{d.inbox(""), dst} {
			if leak := o.leakedInto(t, dir); leak != "" {
				t.Errorf("the secret is in %s", leak)
			}
		}
	})
}
