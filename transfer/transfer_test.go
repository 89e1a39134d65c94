package transfer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"xfer/certs/certstest"
	"xfer/crypto"
	"xfer/transfer/sink"
	"xfer/transfer/transport"
)

func TestSendFileOfEachSize(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		dir := t.TempDir()
		for _, n := range []int{0, 1, 1023, 256<<10 - 1, 256 << 10, 256<<10 + 1, 3 << 20, 9<<20 + 17} {
			src := filepath.Join(dir, fmt.Sprintf("f%d", n))
			mustWrite(t, src, randomBytes(uint64(n), n), 0o640)
			res := h.mustSend(Options{Receipts: true}, "", src)
			mustEqualFile(t, h.path(filepath.Base(src)), src)
			if res.Files != 1 || res.Bytes != int64(n) || res.BytesSent != int64(n) || len(res.Receipts) != 1 {
				t.Fatalf("%d bytes: %+v", n, res)
			}
			want := crypto.NewHasher()
			_, _ = want.Write(randomBytes(uint64(n), n))
			r := res.Receipts[0]
			if r.Root != want.Sum() || r.Size != int64(n) || r.Path != "/inbox/"+filepath.Base(src) {
				t.Fatalf("receipt %+v", r)
			}
			if id, err := r.Verify(); err != nil || id != h.server.ID() {
				t.Fatalf("receipt: %v %v", id, err)
			}
		}
	})
}

func TestUnchangedFileIsSkipped(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := filepath.Join(t.TempDir(), "f")
		mustWrite(t, src, randomBytes(1, 1<<20), 0o600)
		h.mustSend(Options{}, "x", src)
		info, _ := os.Stat(h.path("x"))
		res := h.mustSend(Options{}, "x", src)
		if res.BytesSent != 0 || res.BytesSkipped != 1<<20 {
			t.Fatalf("second run: %+v", res)
		}
		again, _ := os.Stat(h.path("x"))
		if !os.SameFile(info, again) {
			t.Fatal("it was rewritten")
		}
		// Same size and time, one byte changed: only --checksum sees it.
		data := randomBytes(1, 1<<20)
		data[77]++
		mustWrite(t, src, data, 0o600)
		if res := h.mustSend(Options{}, "x", src); res.BytesSent != 0 {
			t.Fatalf("quick check sent %d bytes", res.BytesSent)
		}
		h.mustSend(Options{Checksum: true}, "x", src)
		mustEqualFile(t, h.path("x"), src)
	})
}

// oddTree makes a tree with each kind of name and entry that is awkward.
func oddTree(t *testing.T, dir string) {
	t.Helper()
	for i, name := range []string{
		"plain", "with space", "new\nline", "\x1b[31mred", "bad\xff\xfeutf8", "-rf", strings.Repeat("n", 255), "ünï", "a:b", "\u202egnp.exe",
		"sub/deeper/file", "sub/x", "ro/inside",
	} {
		mustWrite(t, filepath.Join(dir, name), randomBytes(uint64(i), 100*i), 0o644)
	}
	mustWrite(t, filepath.Join(dir, "empty"), nil, 0o400)
	mustWrite(t, filepath.Join(dir, "exec"), []byte("#!/bin/sh\n"), 0o755)
	for _, d := range []string{"hollow", "hollow/inner", "sub/none"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o750); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"dangling": "nowhere/at all", "up": "../../etc/passwd", "abs": "/etc/passwd", "good": "plain"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "ro"), 0o555); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(dir, "ro"), 0o755) })
}

func TestTreeThereAndBack(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := filepath.Join(t.TempDir(), "tree")
		oddTree(t, src)
		h.mustSend(Options{}, "", src)
		mustEqualTree(t, h.path("tree"), src)
		h.mustSend(Options{}, "copy/of", src+"/")
		mustEqualTree(t, h.path("copy/of"), src)
		if res := h.mustSend(Options{}, "", src); res.BytesSent != 0 {
			t.Fatalf("the second run sent %d bytes", res.BytesSent)
		}
		back := filepath.Join(t.TempDir(), "back")
		h.mustGet(Options{}, back+"/", "tree")
		mustEqualTree(t, filepath.Join(back, "tree"), src)
		if _, err := os.Stat(filepath.Join(back, "tree", ".xfer")); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("get left its state: %v", err)
		}
		if res := h.mustGet(Options{}, back, "tree"); res.BytesSent != 0 {
			t.Fatalf("the second get fetched %d bytes", res.BytesSent)
		}
	})
}

func TestDestinationIsFileOrDirectory(t *testing.T) {
	h := newHost(t, transport.TCP)
	dir := t.TempDir()
	mustWrite(t, filepath.Join(dir, "f"), []byte("content"), 0o644)
	mustWrite(t, filepath.Join(dir, "d/g"), []byte("other"), 0o644)
	if err := os.Mkdir(h.path("there"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		src []string
		dst string
		out []string
	}{
		{[]string{"f"}, "there", []string{"there/f"}},
		{[]string{"f"}, "new", []string{"new"}},
		{[]string{"f"}, "made/", []string{"made/f"}},
		{[]string{"f"}, "deep/er/name", []string{"deep/er/name"}},
		{[]string{"f", "d"}, "many", []string{"many/f", "many/d/g"}},
		{[]string{"d"}, "there", []string{"there/d/g"}},
		{[]string{"d"}, "dnew", []string{"dnew/g"}},
		{[]string{"d/"}, "there", []string{"there/g"}},
	} {
		var src []string
		for _, s := range c.src {
			src = append(src, dir+"/"+s)
		}
		h.mustSend(Options{}, c.dst, src...)
		for _, o := range c.out {
			if _, err := os.Stat(h.path(o)); err != nil {
				t.Errorf("send %v to %q: %v", c.src, c.dst, err)
			}
		}
	}
	_, err := h.send(Options{}, "x", dir+"/missing")
	if KindOf(err) != KindNotFound {
		t.Errorf("missing source: %v", err)
	}
}

func TestResumeAfterCuts(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := filepath.Join(t.TempDir(), "big")
		const size = 48 << 20
		mustWrite(t, src, randomBytes(3, size), 0o644)
		h.onDial = cutAfter(12<<20, 3)
		res := h.mustSend(Options{}, "", src)
		mustEqualFile(t, h.path("big"), src)
		if res.Retries == 0 {
			t.Fatal("nothing was cut")
		}
		if over := res.BytesSent - size; over > 12<<20 {
			t.Errorf("%d bytes were sent twice", over)
		}
		h.dials.Store(0)
		h.onDial = cutAfter(12<<20, 3)
		back := filepath.Join(t.TempDir(), "back")
		h.mustGet(Options{}, back, "big")
		mustEqualFile(t, back, src)
	})
}

func TestResumeInAnotherRunAndServer(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := filepath.Join(t.TempDir(), "big")
		const size = 32 << 20
		mustWrite(t, src, randomBytes(4, size), 0o644)
		mustWrite(t, h.path("big"), []byte("the old version"), 0o644)
		h.onDial = cutAfter(16<<20, 1)
		_, err := h.send(Options{RetryFor: time.Nanosecond}, "", src)
		if err == nil {
			t.Fatal("the cut run succeeded")
		}
		if data, _ := os.ReadFile(h.path("big")); string(data) != "the old version" {
			t.Fatal("the old version is gone")
		}
		h.onDial = nil
		h.stop()
		h.start()
		res := h.mustSend(Options{}, "", src)
		mustEqualFile(t, h.path("big"), src)
		if res.BytesResumed < 1<<20 || res.BytesSent+res.BytesResumed != size {
			t.Fatalf("resumed %d, sent %d of %d", res.BytesResumed, res.BytesSent, size)
		}
	})
}

func TestSourceChangesBetweenTries(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := filepath.Join(t.TempDir(), "big")
		mustWrite(t, src, randomBytes(5, 24<<20), 0o644)
		h.onDial = cutAfter(12<<20, 1)
		if _, err := h.send(Options{RetryFor: time.Nanosecond}, "", src); err == nil {
			t.Fatal("the cut run succeeded")
		}
		h.onDial = nil
		mustWrite(t, src, randomBytes(6, 24<<20), 0o644) // same size and time
		res := h.mustSend(Options{}, "", src)
		mustEqualFile(t, h.path("big"), src)
		if res.BytesResumed != 0 {
			t.Fatalf("%d bytes of the old version were kept", res.BytesResumed)
		}
	})
}

func TestSourceChangesWhileRead(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		for _, how := range []string{"rewritten", "grown", "truncated"} {
			src := filepath.Join(t.TempDir(), how)
			mustWrite(t, src, randomBytes(7, 8<<20), 0o644)
			mustWrite(t, h.path(how), []byte("old"), 0o644)
			f, err := os.OpenFile(src, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			c := h.newClient(Options{})
			n := 0
			c.Observe = func(e Event) {
				if e.Kind != EventProgress || e.Bytes == 0 {
					return
				}
				n++
				switch how {
				case "rewritten":
					_, _ = f.WriteAt([]byte{byte(n)}, 99)
				case "grown":
					_, _ = f.WriteAt([]byte("more"), int64(8<<20+n))
				case "truncated":
					_ = f.Truncate(int64(8<<20 - n*1000))
				}
			}
			c.Options.Progress = time.Nanosecond
			_, err = c.Send(context.Background(), []Source{{Path: src}}, addrOf(""))
			_ = f.Close()
			if KindOf(err) != KindSourceChanged {
				t.Errorf("%s: %v", how, err)
			}
			if data, _ := os.ReadFile(h.path(how)); string(data) != "old" {
				t.Errorf("%s: the old version was replaced", how)
			}
		}
	})
}

func TestAppendNeverReplaces(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		h.set(func() { h.rights = sink.Put | sink.Get | sink.RList | sink.RStat | sink.RMkdir | sink.NoReplace })
		src := filepath.Join(t.TempDir(), "f")
		mustWrite(t, src, randomBytes(8, 1<<20), 0o644)
		h.mustSend(Options{}, "", src)
		later := time.Now().Add(-time.Minute)
		_ = os.Chtimes(src, later, later)
		res := h.mustSend(Options{}, "", src) // the same content again is success
		if res.BytesSent != 0 {
			t.Errorf("%d bytes sent for the same content", res.BytesSent)
		}
		old, _ := os.ReadFile(h.path("f"))
		for _, n := range []int{1 << 20, 5} {
			mustWrite(t, src, randomBytes(9, n), 0o644)
			_ = os.Chtimes(src, later, later.Add(time.Second))
			if _, err := h.send(Options{}, "", src); KindOf(err) != KindExists {
				t.Errorf("%d other bytes: %v", n, err)
			}
		}
		if now, _ := os.ReadFile(h.path("f")); !bytes.Equal(now, old) {
			t.Fatal("it was replaced")
		}
	})
}

func TestNoClobber(t *testing.T) {
	h := newHost(t, transport.TCP)
	src := filepath.Join(t.TempDir(), "f")
	mustWrite(t, src, []byte("new"), 0o644)
	mustWrite(t, h.path("f"), []byte("older"), 0o644)
	if _, err := h.send(Options{NoClobber: true}, "", src); KindOf(err) != KindExists {
		t.Fatalf("send: %v", err)
	}
	if _, err := h.get(Options{NoClobber: true}, src, "f"); KindOf(err) != KindExists {
		t.Fatalf("get: %v", err)
	}
	h.mustGet(Options{}, src, "f")
	mustEqualFile(t, src, h.path("f"))
}

func TestStdinAndStdout(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		for _, n := range []int{0, 5, 4 << 20, 4<<20 + 1, 21<<20 + 3} {
			data := randomBytes(uint64(n), n)
			h.onDial = nil
			if n > 10<<20 {
				h.onDial = cutAfter(9<<20, 1)
			}
			h.dials.Store(0)
			c := h.newClient(Options{Receipts: true})
			name := fmt.Sprintf("in%d", n)
			res, err := c.Send(context.Background(), []Source{{Stdin: bytes.NewReader(data)}}, addrOf(name))
			if err != nil {
				t.Fatalf("%d bytes: %v", n, err)
			}
			got, _ := os.ReadFile(h.path(name))
			if !bytes.Equal(got, data) {
				t.Fatalf("%d bytes arrived as %d others", n, len(got))
			}
			want := crypto.NewHasher()
			_, _ = want.Write(data)
			if len(res.Receipts) != 1 || res.Receipts[0].Root != want.Sum() {
				t.Fatalf("%d bytes: receipts %v", n, res.Receipts)
			}
			h.dials.Store(0)
			if n > 10<<20 {
				h.onDial = cutAfter(9<<20, 1)
			}
			var out bytes.Buffer
			c.Options.Receipts = false
			if _, err := c.Get(context.Background(), []Address{addrOf(name)}, "-", &out); err != nil || !bytes.Equal(out.Bytes(), data) {
				t.Fatalf("%d bytes to stdout: %v, %d bytes", n, err, out.Len())
			}
		}
	})
}

func TestStrangerIsRefused(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		h.set(func() { h.known = certstest.New(t).ID() })
		c := h.newClient(Options{})
		src := filepath.Join(t.TempDir(), "secret-name")
		mustWrite(t, src, []byte("x"), 0o600)
		began := time.Now()
		_, err := c.Send(context.Background(), []Source{{Path: src}}, addrOf(""))
		if KindOf(err) != KindTrust {
			t.Fatalf("stranger: %v", err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}

func TestServerGoneAndBack(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		h.dialErr = func(n int64) error {
			if n <= 3 {
				return &Error{Op: "dial", Kind: KindUnreachable, Err: io.ErrUnexpectedEOF}
			}
			return nil
		}
		src := filepath.Join(t.TempDir(), "f")
		mustWrite(t, src, []byte("x"), 0o600)
		if res := h.mustSend(Options{}, "", src); res.Retries != 3 {
			t.Errorf("%d retries, want 3", res.Retries)
		}
		h.dialErr = func(int64) error { return &Error{Op: "dial", Kind: KindUnreachable, Err: io.ErrUnexpectedEOF} }
		if _, err := h.send(Options{RetryFor: 500 * time.Millisecond}, "", src); KindOf(err) != KindUnreachable {
			t.Errorf("unreachable: %v", err)
		}
	})
}

func TestInterruptKeepsState(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		src := filepath.Join(t.TempDir(), "big")
		const size = 24 << 20
		mustWrite(t, src, randomBytes(11, size), 0o644)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		c := h.newClient(Options{Progress: time.Nanosecond, BWLimit: func(time.Time) (int64, int64) { return 40 << 20, 0 }})
		var stopped time.Time
		c.Observe = func(e Event) {
			if e.Kind == EventProgress && e.Bytes > 8<<20 && stopped.IsZero() {
				stopped = time.Now()
				cancel()
			}
		}
		_, err := c.Send(ctx, []Source{{Path: src}}, addrOf(""))
		if KindOf(err) != KindInterrupted {
			t.Fatalf("interrupted: %v", err)
		}
		if took := time.Since(stopped); took > 2*time.Second {
			t.Errorf("stopping took %v", took)
		}
		res := h.mustSend(Options{}, "", src)
		if res.BytesResumed < 4<<20 {
			t.Errorf("only %d bytes were kept", res.BytesResumed)
		}
		mustEqualFile(t, h.path("big"), src)
	})
}

func TestCheckFindsDifferences(t *testing.T) {
	h := newHost(t, transport.TCP)
	src := filepath.Join(t.TempDir(), "tree")
	oddTree(t, src)
	h.mustSend(Options{}, "", src)
	c := h.newClient(Options{})
	if _, err := c.Check(context.Background(), src, addrOf("tree")); err != nil {
		t.Fatalf("equal trees: %v", err)
	}
	if _, err := c.Check(context.Background(), src, Address{Root: "none", Path: []string{"tree"}}); KindOf(err) != KindNotFound {
		t.Errorf("a root that is not there: %v", err)
	}
	data := randomBytes(10, 1000)
	data[5]++
	mustWrite(t, h.path("tree/sub/deeper/file"), data, 0o644)
	_ = os.Remove(h.path("tree/plain"))
	mustWrite(t, h.path("tree/more"), nil, 0o644)
	found := map[string]string{}
	c.Observe = func(e Event) {
		if e.Kind == EventFile && e.Action != "same" {
			found[filepath.Base(e.Path)] = e.Action
		}
	}
	_, err := c.Check(context.Background(), src, addrOf("tree"))
	if KindOf(err) != KindVerify || found["file"] != "differs" || found["plain"] != "missing" || found["more"] != "extra" || len(found) != 3 {
		t.Fatalf("%v, found %v", err, found)
	}
}

func TestRemoteOperations(t *testing.T) {
	overAll(t, func(t *testing.T, h *host) {
		ctx := context.Background()
		r, err := h.newClient(Options{}).Remote(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := r.Mkdir(ctx, addrOf("a/b"), true); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, h.path("a/b/f"), []byte("hello"), 0o600)
		var names []string
		if err := r.List(ctx, addrOf("a/b"), func(e RemoteEntry) error { names = append(names, e.Name); return nil }); err != nil || len(names) != 1 {
			t.Fatalf("list: %v %v", names, err)
		}
		d, n, err := r.Hash(ctx, addrOf("a/b/f"))
		if err != nil || n != 5 || d.String() != "ea8f163db38682925e4491c5e58d4bb3506ef8c14eb78a86e908c5624a67200f" {
			t.Fatalf("hash: %v %v %v", d, n, err)
		}
		if err := r.Rename(ctx, addrOf("a/b/f"), addrOf("a/g"), false); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := r.Cat(ctx, addrOf("a/g"), &out); err != nil || out.String() != "hello" {
			t.Fatalf("cat: %q %v", out.String(), err)
		}
		if err := r.Remove(ctx, addrOf("a"), true, false); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Stat(ctx, addrOf("a")); KindOf(err) != KindNotFound {
			t.Fatalf("stat of what is gone: %v", err)
		}
	})
}

// A root of another xfer is sent, and fetched, without the state of that one.
func TestStateOfAnotherXferIsLeftAlone(t *testing.T) {
	h := newHost(t, transport.TCP)
	src := filepath.Join(t.TempDir(), "root")
	mustWrite(t, filepath.Join(src, ".xfer", "stage", "x"), []byte("state"), 0o600)
	mustWrite(t, filepath.Join(src, "f"), []byte("content"), 0o600)
	res := h.mustSend(Options{}, "", src+"/")
	if res.Files != 1 || len(res.Skipped) != 1 {
		t.Errorf("sent: %+v", res)
	}
	res = h.mustSend(Options{}, "", src) // under its own name too
	if res.Files != 1 || len(res.Skipped) != 1 {
		t.Errorf("sent: %+v", res)
	}
	mustWrite(t, h.path("root/.xfer/stage/x"), []byte("state"), 0o600)
	res = h.mustGet(Options{}, filepath.Join(t.TempDir(), "back"), "root")
	if res.Files != 1 || len(res.Skipped) != 1 {
		t.Errorf("fetched: %+v", res)
	}
}
