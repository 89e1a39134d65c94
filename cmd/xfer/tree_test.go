//go:build unix

package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"xfer/cli"
)

// oddNames are parts of names that tools stumble over. Each is within 60 bytes.
func oddNames() []string {
	return []string{
		"new\nline", "cr\rlf\r\n", "esc\x1b[31mred\x1b[0m", "title\x1b]0;x\a", "bad\xff\xfe\xc3utf8", "\xed\xa0\x80surrogate", "-rf", "--checksum",
		" ", "  both  ", "tab\t", "\u202egnp.exe", "\u2066isolate\u2069", "\u009b31mC1", "raw\x9bC1", "\u2028line", "zero\u200bwidth", "\ufeffbom",
		"a:b", "host:path", `back\slash`, `"quoted"`, "'single'", "`tick`", "$HOME", "*", "?", "[a-z]", "{a,b}", "~", "#hash#", "...", "..a", "a..",
		"NUL", "con.txt", "Case", "case", "e\u0301", "\u00e9", "\u65e5\u672c\u8a9e", "\U0001f600", "\x01", "\x7f", "%00", "%2e%2e", ".hidden", ".xferlike",
	}
}

// makeOddTree makes a tree of n files, and what else there is in trees. It returns the number of regular files. Modes of directories are
// set last, and put back at the end of the test.
func makeOddTree(t testing.TB, dir string, n int) (files int) {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	names := oddNames()
	modes := []fs.FileMode{0o644, 0o400, 0o755, 0o600, 0o444, 0o640, 0o666, 0o511}
	dirs := map[string]fs.FileMode{}
	sub := []string{"", "plain", "0555", "0700", "deep/er/and/deeper", "0777"}
	for _, name := range names[:12] {
		sub = append(sub, "in/"+name)
	}
	for i, s := range sub {
		must(t, os.MkdirAll(filepath.Join(dir, s), 0o755))
		dirs[s] = []fs.FileMode{0o755, 0o750, 0o711}[i%3]
	}
	dirs["0555"], dirs["0700"], dirs["0777"], dirs[""] = 0o555, 0o700, 0o777, 0o755
	for s, mode := range map[string]fs.FileMode{"empty": 0o755, "empty 0555": 0o555, "empty 0700": 0o700, "empty 0777": 0o777, "empty\n\x1b[2J\xff": 0o700, "-empty": 0o755} {
		must(t, os.Mkdir(filepath.Join(dir, s), 0o755))
		dirs[s] = mode
	}
	rng := rand.New(rand.NewPCG(2, 2))
	write := func(rel string, size int, mode fs.FileMode, when time.Time) {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		name := filepath.Join(dir, rel)
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Logf("left out: %v", err)
			return
		}
		must(t, os.Chmod(name, mode))
		must(t, os.Chtimes(name, when, when))
		files++
	}
	base := time.Date(2001, 9, 9, 1, 46, 40, 1, time.UTC)
	write("empty file", 0, 0o644, base)
	write(strings.Repeat("l", 255), 100, 0o644, base.Add(1))
	write(strings.Repeat("\xff", 255), 100, 0o600, base.Add(999_999_999))
	write("before 1970", 10, 0o644, time.Unix(-1000, 1))
	write("after 2038", 10, 0o644, time.Unix(1<<32+7, 123_456_789))
	write("several chunks", 700_001, 0o644, base.Add(12345))
	for i := 0; files < n; i++ {
		name := names[i%len(names)]
		if i >= len(names) {
			name = fmt.Sprintf("%s %d", name, i)
		}
		size := []int{0, 1, 17, 300, 1024, 1025, 4096, 9000}[i%8]
		write(filepath.Join(sub[i%len(sub)], name), size, modes[i%len(modes)], base.Add(time.Duration(i)*1_000_000_007))
	}
	for name, to := range map[string]string{
		"dangling": "no/where", "dangling absolute": "/nonexistent/\x1bplace", "loop": "loop", "to a file": "plain/-rf", "to a directory": "plain",
		"odd\x1b\n\xfflink": "odd\x1b\n\xfftarget", "-link": "-rf", "up": "../../../..", "plain/sideways": "../0700",
	} {
		must(t, os.Symlink(to, filepath.Join(dir, name)))
	}
	for s, mode := range dirs {
		must(t, os.Chmod(filepath.Join(dir, s), mode))
	}
	writableAtEnd(t, dir)
	return files
}

// writableAtEnd lets the clean-up of the test remove dir.
func writableAtEnd(t testing.TB, dir string) {
	t.Cleanup(func() {
		_ = filepath.WalkDir(dir, func(name string, e fs.DirEntry, _ error) error {
			if e != nil && e.IsDir() {
				_ = os.Chmod(name, 0o700)
			}
			return nil
		})
	})
}

// TestTreeOfOddities sends a tree of 2,000 files with odd names, modes and times, takes it back, and looks at every byte that was printed on the
// way.
func TestTreeOfOddities(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("other systems refuse some of these names")
	}
	n := 2000
	if testing.Short() {
		n = 300
	}
	over(t, func(t *testing.T, transport string) {
		d := acceptDaemon(t)
		c := d.enrolled()
		base := t.TempDir()
		src, back := filepath.Join(base, "src"), filepath.Join(base, "back")
		files := makeOddTree(t, src, n)
		writableAtEnd(t, d.inbox(""))
		writableAtEnd(t, back)
		want := takePicture(t, src)

		receipt := filepath.Join(base, "receipt")
		// A progress line each millisecond, each file by name, and JSON: all ways of printing.
		o := c.want(t, 0, "send", "-v", "--progress", "line", "--stats", "1ms", "--transport", transport, "--receipt", receipt, src+"/", d.host("tree/")).clean(t, "send -v")
		if !strings.Contains(o.stderr, "files") || strings.Count(o.stderr, "\n") < files {
			t.Errorf("-v and --progress line printed %d lines for %d files", strings.Count(o.stderr, "\n"), files)
		}
		want.mustEqual(t, "sent", takePicture(t, d.inbox("tree")))
		checkReceiptOf(t, c, receipt, src, "/inbox/tree/", files)

		o = c.want(t, 0, "get", "--json", "--transport", transport, d.host("tree/"), back+"/").clean(t, "get --json")
		mustBeJSONLines(t, o.stdout)
		if r := o.result(t); r.Files != int64(files) {
			t.Errorf("get says %d files of %d", r.Files, files)
		}
		want.mustEqual(t, "got back", takePicture(t, back))

		o = c.want(t, 0, "send", "--json", "--transport", transport, src+"/", d.host("tree")).clean(t, "send --json again")
		mustBeJSONLines(t, o.stdout)
		if r := o.result(t); r.BytesSent != 0 {
			t.Errorf("sent again: %d bytes crossed", r.BytesSent)
		}
		want.mustEqual(t, "sent again", takePicture(t, d.inbox("tree")))
		in := filepath.Join(src, "in")
		o = c.want(t, 0, "send", "--json", "--transport", transport, in, d.host("")).clean(t, "send --json")
		mustBeJSONLines(t, o.stdout)
		takePicture(t, in).mustEqual(t, "sent as a folder", takePicture(t, d.inbox("in")))
		for _, args := range [][]string{
			{"send", "-n", in, d.host("elsewhere")}, {"send", "-n", "--json", in, d.host("elsewhere")}, {"check", in, d.host("in")},
			{"check", "--json", in + "/", d.host("in")}, {"ls", d.host("tree")}, {"ls", "-l", d.host("tree")}, {"ls", "--json", d.host("tree")},
			{"ls", d.host("tree/in")}, {"stat", d.host("tree/in/esc\x1b[31mred\x1b[0m")}, {"stat", "--json", d.host("tree/" + strings.Repeat("\xff", 255))},
			{"stat", d.host("tree/odd\x1b\n\xfflink")}, {"mkdir", d.host("made\x1b[2J\u202e")}, {"mv", d.host("made\x1b[2J\u202e"), d.host("moved\x1b[2J\n")},
			{"receipt", "show", receipt}, {"receipt", "show", "--json", receipt}, {"rm", "-r", "-v", d.host("moved\x1b[2J\n")}, {"status"}, {"status", "--json"},
		} {
			who := c
			if args[0] == "status" {
				who = d.side
			}
			o := who.want(t, 0, append(args, map[bool][]string{true: {"--transport", transport}}[args[0] != "receipt" && args[0] != "status"]...)...)
			o.clean(t, fmt.Sprintf("%q", args))
		}
		// And when things go wrong.
		bad := filepath.Join(base, "bad\x1b[31m\n\u202e")
		must(t, os.Mkdir(bad, 0o755))
		must(t, syscall.Mkfifo(filepath.Join(bad, "fifo\x1b[31m\n\xff"), 0o644))
		mustWrite(t, filepath.Join(bad, "taken\x1b"), "x", 0o644)
		mustWrite(t, d.inbox(filepath.Base(bad)+"/taken\x1b/in"), "a directory where a file is to go", 0o644)
		for _, flags := range [][]string{{"-v"}, {"--json"}, {"-n"}, {"-q"}} {
			o := c.run("", append([]string{"send", "--transport", transport, bad, d.host("")}, flags...)...).clean(t, "send with failures")
			if o.code == 0 && flags[0] != "-n" {
				t.Errorf("a directory stands where a file is to go, and send %v exits 0: %s", flags, o.stderr)
			}
		}
		for _, args := range [][]string{
			{"send", filepath.Join(base, "no\x1b[31m\xffsuch"), d.host("")}, {"send", bad, "127.0.0.1:no\x1b/../x"}, {"get", d.host("no\x1b[31m\xffsuch"), base},
			{"cat", d.host("no\x1b[31m\xffsuch")}, {"ls", d.host("/no\x1b[31m\xffroot/x")}, {"\x1b[31mverb"}, {"send", "--\x1b[31mflag"}, {"receipt", "show", bad + "/taken\x1b"},
		} {
			if o := c.run("", args...).clean(t, fmt.Sprintf("%q", args)); o.code == 0 {
				t.Errorf("%q exits 0", args)
			}
		}
		mustBePrintable(t, "the daemon's log", d.logs.String())
	})
}

func mustBeJSONLines(t testing.TB, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %.200q", line)
			return
		}
	}
}

// checkReceiptOf compares a receipt, as it is shown, with the files in dir, by a BLAKE3 that is not the program's own.
func checkReceiptOf(t *testing.T, c *side, receipt, dir, prefix string, files int) {
	t.Helper()
	o := c.want(t, 0, "receipt", "show", "--json", receipt)
	seen := map[string]bool{}
	for line := range strings.Lines(o.stdout) {
		var r struct {
			Event, Path, Hash string
			PathBase64        []byte `json:"path_base64"`
			Bytes             int64
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if r.Event != "file" {
			continue
		}
		if r.Path == "" {
			r.Path = string(r.PathBase64)
		}
		rel, ok := strings.CutPrefix(r.Path, prefix)
		if !ok {
			t.Fatalf("the receipt is of %q", r.Path)
		}
		data, err := os.ReadFile(filepath.Join(dir, rel))
		if err != nil {
			t.Fatal(err)
		}
		if sum := referenceBLAKE3(data); r.Hash != hex.EncodeToString(sum[:]) || r.Bytes != int64(len(data)) {
			t.Errorf("%q: the receipt says %s, %d bytes; it is %x, %d bytes", r.Path, r.Hash, r.Bytes, sum, len(data))
		}
		seen[rel] = true
	}
	if len(seen) != files {
		t.Errorf("the receipt has %d files of %d", len(seen), files)
	}
}

// TestReceipt: what b3sum says is what the receipt says, and it tells any change of it from a good one.
func TestReceipt(t *testing.T) {
	over(t, func(t *testing.T, transport string) {
		d := acceptDaemon(t)
		c := d.enrolled()
		dir := t.TempDir()
		src, receipt := filepath.Join(dir, "file"), filepath.Join(dir, "receipt")
		data := mustRandomFile(t, src, 3, 5<<20+12345)
		c.want(t, 0, "send", "--transport", transport, "--receipt", receipt, src, d.host("a name\x1b"))
		o := c.want(t, 0, "receipt", "show", receipt).clean(t, "receipt show")
		sum := referenceBLAKE3(data)
		if hash, _, _ := strings.Cut(o.stdout, " "); hash != hex.EncodeToString(sum[:]) {
			t.Errorf("the receipt says %s, it is %x", hash, sum)
		}
		if b3sum, err := exec.LookPath("b3sum"); err == nil {
			out, err := exec.Command(b3sum, "--no-names", src).Output()
			if hash, _, _ := strings.Cut(o.stdout, " "); err != nil || hash != strings.TrimSpace(string(out)) {
				t.Errorf("b3sum says %s, %v; the receipt %s", out, err, hash)
			}
		} else {
			t.Log("b3sum is not installed")
		}
		c.want(t, 0, "receipt", "verify", receipt)
		d.want(t, 0, "receipt", "verify", receipt) // the signer itself
		newSide(t).want(t, 5, "receipt", "verify", receipt)
		c.want(t, 3, "receipt", "verify", receipt+"-none")
		good := mustRead(t, receipt)
		damaged := filepath.Join(dir, "damaged")
		for range count(20) { // in processes of their own; below all of them
			b := bytes.Clone(good)
			i := rand.IntN(len(b) * 8)
			b[i/8] ^= 1 << (i % 8)
			must(t, os.WriteFile(damaged, b, 0o600))
			if o := c.run("", "receipt", "verify", damaged).clean(t, "receipt verify"); o.code != 26 {
				t.Errorf("bit %d of %d is flipped, and verify exits %d: %s", i, len(b)*8, o.code, o.stderr)
			}
		}
		verify := func(b []byte) int {
			var out bytes.Buffer
			return cli.Main(context.Background(), cli.Env{
				Args: []string{"receipt", "verify", "-"}, Stdin: bytes.NewReader(b), Stdout: &out, Stderr: &out,
				Getenv: func(key string) string { return map[string]string{"XFER_HOME": c.home}[key] },
			})
		}
		if code := verify(good); code != 0 {
			t.Fatalf("the good one is refused: %d", code)
		}
		for i := range len(good) * 8 {
			b := bytes.Clone(good)
			b[i/8] ^= 1 << (i % 8)
			if code := verify(b); code != 26 {
				t.Errorf("bit %d of byte %d (%#02x) is flipped, and verify exits %d", i%8, i/8, good[i/8], code)
			}
		}
		for n := range len(good) {
			if code := verify(good[:n]); code != 26 {
				t.Errorf("%d of %d bytes are left, and verify exits %d", n, len(good), code)
			}
		}
		if code := verify(append(bytes.Clone(good), 0)); code != 26 {
			t.Errorf("a byte more, and verify exits %d", code)
		}
	})
}
