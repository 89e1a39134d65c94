//go:build unix

package main

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// nobody runs a command of c as a user whom modes stop, which they do not do to root.
func nobody(t *testing.T, c *side, args ...string) outcome {
	t.Helper()
	if os.Geteuid() != 0 {
		return c.run("", args...)
	}
	const uid = 65534
	dir := t.TempDir()
	program := filepath.Join(dir, "xfer")
	from, err := os.Open(builtProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); errors.Join(err, to.Close()) != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(c.home, func(name string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(name, uid, uid))
	}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Env, cmd.Dir = c.command().Env, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// What cannot be read may hide what is there: then nothing is deleted, whatever the flags say.
func TestSyncDeletesNothingAfterReadErrors(t *testing.T) {
	for what, hide := range map[string]func(src string) string{
		"a file":                     func(src string) string { return filepath.Join(src, "file") },
		"one that is the same there": func(src string) string { return filepath.Join(src, "other") }, // nothing of it would be read
		"a directory":                func(src string) string { return filepath.Join(src, "dir") },
		"a deep directory":           func(src string) string { return filepath.Join(src, "dir", "sub") },
		"a list of rules":            func(src string) string { return filepath.Join(src, "dir", ".gitignore") },
	} {
		t.Run(what, func(t *testing.T) {
			d := startDaemon(t)
			c := d.enrolled()
			src := filepath.Join(t.TempDir(), "src")
			for i, name := range []string{"file", "other", "dir/a", "dir/sub/b", "dir/.gitignore"} {
				mustRandomFile(t, filepath.Join(src, name), uint64(i), 100)
			}
			if err := os.Chmod(filepath.Join(src, "dir", ".gitignore"), 0o644); err != nil {
				t.Fatal(err)
			}
			if o := nobody(t, c, "sync", src, d.host("dst"), "--delete"); o.code != 0 {
				t.Fatalf("exit %d: %s", o.code, o.stderr)
			}
			mustRandomFile(t, d.inbox("dst/only"), 9, 10)
			mustRandomFile(t, filepath.Join(src, "file"), 10, 101)
			before := namesOf(t, d.inbox("dst"))
			hidden := hide(src)
			if err := os.Chmod(hidden, 0); err != nil {
				t.Fatal(err)
			}
			defer os.Chmod(hidden, 0o755)
			for _, flags := range [][]string{{"--delete"}, {"--delete", "--max-delete", "100%"}, {"--delete", "-n"}} {
				if strings.HasSuffix(hidden, ".gitignore") {
					flags = append(flags, "--gitignore")
				}
				o := nobody(t, c, append([]string{"sync", src, d.host("dst"), "--json"}, flags...)...)
				if o.code != 23 || !strings.Contains(o.stderr, "nothing was deleted") || !strings.Contains(o.stderr, "permission denied") {
					t.Errorf("%q: exit %d: %s", flags, o.code, o.stderr)
				}
				if now := namesOf(t, d.inbox("dst")); now != before {
					t.Errorf("%q: there is %s, before %s", flags, now, before)
				}
			}
			if err := os.Chmod(hidden, 0o755); err != nil {
				t.Fatal(err)
			}
			if o := nobody(t, c, "sync", src, d.host("dst"), "--delete"); o.code != 0 {
				t.Errorf("readable again: exit %d: %s", o.code, o.stderr)
			}
			if now := namesOf(t, d.inbox("dst")); now == before {
				t.Error("readable again, but nothing was deleted")
			}
		})
	}
}

func namesOf(t *testing.T, top string) string {
	t.Helper()
	var names []string
	if err := filepath.WalkDir(top, func(name string, _ fs.DirEntry, err error) error {
		names = append(names, strings.TrimPrefix(name, top))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, " ")
}
