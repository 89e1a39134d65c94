//go:build unix

package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// acceptDaemon starts a daemon of which, at the end of the test, no panic may have been caught.
func acceptDaemon(t testing.TB, args ...string) *server {
	t.Helper()
	d := startDaemon(t, args...)
	t.Cleanup(func() { d.mustBeSound(t) })
	return d
}

// mustBeSound asks a running daemon whether it caught a panic.
func (s *server) mustBeSound(t testing.TB) {
	t.Helper()
	if s.cmd.ProcessState != nil { // the test has ended it; its log is looked at anyway
		return
	}
	o := s.run("", "status", "--json")
	var st struct{ Panics *int64 }
	if err := json.Unmarshal([]byte(o.stdout), &st); err != nil || o.code != 0 || st.Panics == nil {
		t.Errorf("status: exit %d, %v\n%s%s\n%s", o.code, err, o.stdout, o.stderr, s.logs)
		return
	}
	if *st.Panics != 0 {
		t.Errorf("%d panics were caught:\n%s", *st.Panics, s.logs)
	}
}

// over runs f for each transport, side by side.
func over(t *testing.T, f func(t *testing.T, transport string)) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) { t.Parallel(); f(t, transport) })
	}
}

// inTurn runs f for each transport, one after the other: for what measures.
func inTurn(t *testing.T, f func(t *testing.T, transport string)) {
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) { f(t, transport) })
	}
}

// want runs a command that has to end with this code.
func (s *side) want(t testing.TB, code int, args ...string) outcome {
	t.Helper()
	o := s.run("", args...)
	if o.code != code {
		t.Errorf("xfer %q: exit %d, want %d\n%s%s", args, o.code, code, o.stdout, o.stderr)
	}
	return o
}

// picture is everything beneath a directory: what each name is, its mode, its content, and of files the time.
type picture map[string]string

// takePicture leaves out what is called skip at the top.
func takePicture(t testing.TB, dir string, skip ...string) picture {
	t.Helper()
	p := picture{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if slices.Contains(skip, rel) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		fi, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			p[rel] = fi.Mode().String()
		case e.Type() == fs.ModeSymlink:
			to, err := os.Readlink(name)
			p[rel] = "-> " + to
			return err
		case e.Type().IsRegular():
			data, err := os.ReadFile(name)
			p[rel] = fmt.Sprintf("%v %d %d %x", fi.Mode(), fi.ModTime().UnixNano(), len(data), sha256.Sum256(data))
			return err
		default:
			p[rel] = fi.Mode().String()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// mustEqual wants got to be as want.
func (want picture) mustEqual(t testing.TB, what string, got picture) {
	t.Helper()
	n := 0
	say := func(format string, args ...any) {
		if n++; n <= 10 {
			t.Errorf(what+": "+format, args...)
		}
	}
	for name, w := range want {
		if g, ok := got[name]; !ok {
			say("%q is missing", name)
		} else if g != w {
			say("%q is %q, want %q", name, g, w)
		}
	}
	for name, g := range got {
		if _, ok := want[name]; !ok {
			say("%q should not be there: %q", name, g)
		}
	}
	if n > 10 {
		t.Errorf("%s: %d differences in all", what, n)
	}
}

// mustBePrintable fails where text could harm a terminal or a log.
func mustBePrintable(t testing.TB, what, text string) {
	t.Helper()
	for at, r := range text {
		_, size := utf8.DecodeRuneInString(text[at:])
		if r == '\n' || !(r == utf8.RuneError && size == 1) && !unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) {
			continue
		}
		line := text[strings.LastIndexByte(text[:at], '\n')+1:]
		line, _, _ = strings.Cut(line, "\n")
		t.Errorf("%s: %U at byte %d, in %.300q", what, r, at, line)
		return
	}
}

// clean wants what a command printed to be fit for a terminal.
func (o outcome) clean(t testing.TB, what string) outcome {
	t.Helper()
	mustBePrintable(t, what+": stdout", o.stdout)
	mustBePrintable(t, what+": stderr", o.stderr)
	return o
}

// eventually waits until ok is true, and fails after a minute.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("a minute has passed, and still not: %s", what)
		}
	}
}

// begun runs a command until it has told of at least atLeast bytes of progress, and returns it, still running. stop
// kills it (or, where it has ended, does nothing) and waits.
func (s *side) begun(t testing.TB, atLeast int64, args ...string) (stop func(sig syscall.Signal)) {
	t.Helper()
	c := s.command(append(args, "--json")...)
	out := &logBuffer{}
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = c.Wait() }()
	stop = func(sig syscall.Signal) {
		_ = c.Process.Signal(sig)
		<-ended
	}
	t.Cleanup(func() { stop(syscall.SIGKILL) })
	eventually(t, fmt.Sprintf("%d bytes of progress of xfer %q", atLeast, args), func() bool {
		select {
		case <-ended:
			t.Fatalf("xfer %q has ended before %d bytes were through:\n%s", args, atLeast, out)
		default:
		}
		return acked(out.String()) >= atLeast
	})
	return stop
}

func mustWrite(t testing.TB, name, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(name, mode); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustRead(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
