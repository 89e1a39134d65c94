//go:build unix

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// sameTimes gives a file the modification time that it had.
func sameTimes(t testing.TB, name string, as os.FileInfo) {
	t.Helper()
	must(t, os.Chtimes(name, as.ModTime(), as.ModTime()))
}

// TestSourceReplacedBetweenTries: a send is killed half-way, the source becomes another one of the same size and time, and the same command
// goes on. What arrives is the new source and nothing of the old one.
func TestSourceReplacedBetweenTries(t *testing.T) {
	const size = 12 << 20
	ways := map[string]func(t *testing.T, name string, data []byte){
		"by another file": func(t *testing.T, name string, data []byte) {
			must(t, os.WriteFile(name+".new", data, 0o644))
			must(t, os.Rename(name+".new", name))
		},
		"in place": func(t *testing.T, name string, data []byte) {
			f, err := os.OpenFile(name, os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteAt(data, 0)
			must(t, err)
			must(t, f.Close())
		},
	}
	over(t, func(t *testing.T, transport string) {
		d := acceptDaemon(t)
		c := d.enrolled()
		for way, replace := range ways {
			for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
				what := fmt.Sprintf("%s, after %v", way, sig)
				src := filepath.Join(t.TempDir(), "file")
				mustRandomFile(t, src, 1, size)
				args := []string{"send", "--transport", transport, "--bwlimit", "2M", src, d.host("file")}
				old := mustRandomFile(t, d.inbox("file"), 2, 1000)
				stop := c.begun(t, 1<<20, args...)
				was, err := os.Stat(src)
				must(t, err)
				stop(sig)
				if got := mustRead(t, d.inbox("file")); !bytes.Equal(got, old) {
					t.Fatalf("%s: an unfinished send has changed the old version", what)
				}
				fresh := make([]byte, size)
				_, _ = rand.NewChaCha8([32]byte{3}).Read(fresh)
				replace(t, src, fresh)
				sameTimes(t, src, was)
				c.want(t, 0, "send", "--transport", transport, src, d.host("file"))
				if got := mustRead(t, d.inbox("file")); !bytes.Equal(got, fresh) {
					t.Errorf("%s: what arrived is not the source as it is now", what)
				}
			}
		}
	})
}

// disturb does something to a file again and again until the returned function is called; at least once before it returns.
func disturb(t testing.TB, name string, every time.Duration, do func(f *os.File, i int) error) (stop func() (times int)) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	must(t, err)
	must(t, do(f, 0))
	quit := make(chan struct{})
	var wg sync.WaitGroup
	times := 1
	wg.Go(func() {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for ; ; times++ {
			select {
			case <-quit:
				return
			case <-tick.C:
			}
			if err := do(f, times); err != nil {
				t.Error(err)
				return
			}
		}
	})
	return sync.OnceValue(func() int {
		close(quit)
		wg.Wait()
		_ = f.Close()
		return times
	})
}

// TestSourceNeverAtRest: a source that changes all the time while it is read ends with 27, and the old version stays.
func TestSourceNeverAtRest(t *testing.T) {
	const size = 16 << 20
	ways := map[string]func(f *os.File, i int) error{
		"rewritten": func(f *os.File, i int) error {
			_, err := f.WriteAt([]byte{byte(i), byte(i >> 8)}, rand.Int64N(size-2))
			return err
		},
		"rewritten, its time put back": func(f *os.File, i int) error {
			if _, err := f.WriteAt([]byte{byte(i), byte(i >> 8)}, rand.Int64N(size-2)); err != nil {
				return err
			}
			when := time.Unix(1_600_000_000, 5)
			return os.Chtimes(f.Name(), when, when)
		},
		"grown": func(f *os.File, i int) error {
			_, err := f.WriteAt([]byte("more"), size+int64(i)*4)
			return err
		},
		"truncated": func(f *os.File, i int) error { return f.Truncate(size - int64(i)*7%(size/2)) },
	}
	over(t, func(t *testing.T, transport string) {
		d := acceptDaemon(t)
		c := d.enrolled()
		for way, do := range ways {
			t.Run(way, func(t *testing.T) {
				t.Parallel()
				mustRandomFile(t, d.inbox(way+"/file"), 2, 3<<20)
				old := takePicture(t, d.inbox(way))
				src := filepath.Join(t.TempDir(), "file")
				mustRandomFile(t, src, 1, size)
				stop := disturb(t, src, 300*time.Microsecond, do)
				// At this rate a try takes a third of a second, so there are changes in each.
				o := c.run("", "send", "--json", "--transport", transport, "--bwlimit", "48M", src, d.host(way+"/file"))
				times := stop()
				if o.code != 27 {
					t.Errorf("%d times: exit %d\n%s", times, o.code, o.stderr)
				}
				o.result(t)
				if !strings.Contains(o.stderr, "the source changed while it was read") {
					t.Errorf("it does not say why: %s", o.stderr)
				}
				old.mustEqual(t, "after 27", takePicture(t, d.inbox(way)))
			})
		}
	})
}

// TestSourceReplacedWhileRead: the name of the source leads to one whole file after the other. One of them arrives, or none.
func TestSourceReplacedWhileRead(t *testing.T) {
	const size = 2 << 20
	over(t, func(t *testing.T, transport string) {
		d := acceptDaemon(t)
		c := d.enrolled()
		src := filepath.Join(t.TempDir(), "file")
		var versions [2][]byte
		for i := range versions {
			versions[i] = mustRandomFile(t, src, uint64(i+10), size)
		}
		when := time.Unix(1_650_000_000, 1)
		stop := disturb(t, src, 30*time.Millisecond, func(_ *os.File, i int) error {
			next := src + ".next"
			if err := os.WriteFile(next, versions[i%2], 0o644); err != nil {
				return err
			}
			if err := os.Chtimes(next, when, when); err != nil {
				return err
			}
			return os.Rename(next, src)
		})
		defer stop()
		ended := map[int]int{}
		for began, n := time.Now(), 0; n < count(20) && time.Since(began) < 5*time.Second; n++ {
			o := c.run("", "send", "-c", "--transport", transport, src, d.host("file"))
			ended[o.code]++
			if o.code != 0 && o.code != 27 {
				t.Errorf("exit %d: %s", o.code, o.stderr)
			}
			got, err := os.ReadFile(d.inbox("file"))
			switch {
			case err != nil && (o.code == 0 || !os.IsNotExist(err)):
				t.Fatalf("exit %d, %v", o.code, err)
			case err == nil && !bytes.Equal(got, versions[0]) && !bytes.Equal(got, versions[1]):
				t.Fatalf("exit %d, and what arrived is neither of both: %d bytes", o.code, len(got))
			}
		}
		t.Logf("%d times replaced; runs by exit code: %v", stop(), ended)
	})
}

// TestOneByteChangedUnseen: size and time are as before, one byte is not. Only --checksum sees it, on whichever side it happened.
func TestOneByteChangedUnseen(t *testing.T) {
	over(t, func(t *testing.T, transport string) {
		d := acceptDaemon(t)
		c := d.enrolled()
		dir := t.TempDir()
		src, back := filepath.Join(dir, "src", "file"), filepath.Join(dir, "back")
		data := mustRandomFile(t, src, 1, 3<<20+2)
		must(t, os.Mkdir(back, 0o755))
		change := func(name string, at int64) []byte {
			was, err := os.Stat(name)
			must(t, err)
			f, err := os.OpenFile(name, os.O_RDWR, 0)
			must(t, err)
			var b [1]byte
			_, err = f.ReadAt(b[:], at)
			must(t, err)
			b[0] ^= 1
			_, err = f.WriteAt(b[:], at)
			must(t, err)
			must(t, f.Close())
			sameTimes(t, name, was)
			return mustRead(t, name)
		}
		send := []string{"send", "--json", "--transport", transport, filepath.Dir(src), d.host("")}
		get := []string{"get", "--json", "--transport", transport, d.host("src/file"), back}
		c.want(t, 0, send...)
		c.want(t, 0, get...)
		there, here := d.inbox("src/file"), filepath.Join(back, "file")
		for _, at := range []int64{0, 1 << 20, 3 << 20} {
			now := change(src, at)
			if o := c.want(t, 0, send...); o.result(t).BytesSkipped != int64(len(data)) {
				t.Errorf("size and time are the same, and it was not skipped: %s", o.stdout)
			}
			c.want(t, 26, "check", "--transport", transport, filepath.Dir(src)+"/", d.host("src"))
			if o := c.want(t, 0, append(send, "--checksum")...); o.result(t).BytesSent == 0 {
				t.Errorf("--checksum sent nothing: %s", o.stdout)
			}
			if !bytes.Equal(mustRead(t, there), now) {
				t.Errorf("byte %d: --checksum did not see the change here", at)
			}
			change(there, at+1)
			c.want(t, 0, append(send, "--checksum")...)
			if !bytes.Equal(mustRead(t, there), now) {
				t.Errorf("byte %d: --checksum did not see the change there", at+1)
			}
			if o := c.want(t, 0, append(send, "--checksum")...); o.result(t).BytesSent != 0 {
				t.Errorf("nothing differs, and %s", o.stdout)
			}
			c.want(t, 0, "check", "--transport", transport, filepath.Dir(src)+"/", d.host("src"))
			c.want(t, 0, append(get, "--checksum")...)
			if !bytes.Equal(mustRead(t, here), now) {
				t.Errorf("byte %d: get --checksum did not see the change", at)
			}
		}
	})
}

// TestGetKilledHalfWay: the one who gets is killed over an existing good file, and so is the daemon that it comes from.
func TestGetKilledHalfWay(t *testing.T) {
	const size = 12 << 20
	over(t, func(t *testing.T, transport string) {
		d := acceptDaemon(t)
		c := d.enrolled()
		dst := filepath.Join(t.TempDir(), "file")
		for i, whom := range []string{"client", "daemon", "client by SIGINT"} {
			old := mustRandomFile(t, dst, uint64(i+20), 2<<20)
			data := mustRandomFile(t, d.inbox("file"), uint64(i+30), size)
			stop := c.begun(t, 1<<20, "get", "--transport", transport, "--bwlimit", "2M", d.host("file"), dst)
			sig := syscall.SIGKILL
			switch whom {
			case "daemon":
				d.kill(syscall.SIGKILL)
			case "client by SIGINT":
				sig = syscall.SIGINT
			}
			if got := mustRead(t, dst); !bytes.Equal(got, old) {
				t.Errorf("%s: the old version has changed before the new one was whole", whom)
			}
			stop(sig)
			if got := mustRead(t, dst); !bytes.Equal(got, old) {
				t.Errorf("%s: the old version is gone", whom)
			}
			if whom == "daemon" {
				d.restart()
			}
			o := c.want(t, 0, "get", "--json", "--transport", transport, d.host("file"), dst)
			if r := o.result(t); r.BytesResumed == 0 || r.BytesResumed+r.BytesSent != size {
				t.Errorf("%s: %d resumed, %d sent of %d", whom, r.BytesResumed, r.BytesSent, size)
			}
			if got := mustRead(t, dst); !bytes.Equal(got, data) {
				t.Errorf("%s: a wrong file in the end", whom)
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dst), "*")); len(left) != 1 {
				t.Errorf("%s: left behind: %q", whom, left)
			}
		}
	})
}
