//go:build linux

package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"xfer/certs/certstest"
	"xfer/crypto"
	"xfer/transfer/wire"
)

// memory reads a line of /proc/PID/status of the daemon, such as VmRSS or VmHWM, in bytes.
func (s *server) memory(t testing.TB, line string) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	must(t, err)
	for l := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(l, line+":"); ok {
			n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			must(t, err)
			return n << 10
		}
	}
	t.Fatalf("no %s in %s", line, status)
	return 0
}

// TestIdleSockets: a thousand connections that say nothing are gone after the ten seconds of a handshake, and meanwhile a client gets through, from the
// same address.
func TestIdleSockets(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: waits for the end of ten seconds")
	}
	for name, first := range map[string][]byte{
		"that say nothing":         nil,
		"that begin a handshake":   {22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3}, // a ClientHello of 512 bytes, of which no more comes
		"of something that is not": []byte("GET / HT"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := acceptDaemon(t)
			c := d.enrolled()
			before := d.memory(t, "VmRSS")
			src := filepath.Join(t.TempDir(), "file")
			data := mustRandomFile(t, src, 1, 1<<20)
			const n = 1000
			began := time.Now()
			var wg sync.WaitGroup
			var mu sync.Mutex
			var last time.Duration
			var stayed int
			for range n {
				conn, err := net.Dial("tcp", d.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				_, _ = conn.Write(first)
				_ = conn.SetReadDeadline(began.Add(40 * time.Second))
				wg.Go(func() {
					b := make([]byte, 512)
					var err error
					for err == nil {
						_, err = conn.Read(b)
					}
					mu.Lock()
					defer mu.Unlock()
					last = max(last, time.Since(began))
					if errors.Is(err, os.ErrDeadlineExceeded) {
						stayed++
					}
				})
			}
			opened := time.Since(began)
			for _, transport := range transports {
				began := time.Now()
				c.want(t, 0, "send", "--transport", transport, src, d.host(transport))
				t.Logf("a client got through by %s after %v", transport, time.Since(began).Round(time.Millisecond))
				if got := mustRead(t, d.inbox(transport)); !bytes.Equal(got, data) {
					t.Error("a wrong file")
				}
			}
			grown := d.memory(t, "VmRSS") - before
			wg.Wait()
			t.Logf("%d connections in %v, the last was gone after %v; memory grew by %d KiB", n, opened.Round(time.Millisecond), last.Round(time.Millisecond), grown>>10)
			if stayed > 0 || last > opened+20*time.Second { // ten, and what a busy machine adds
				t.Errorf("%d stayed, the last was gone after %v", stayed, last)
			}
			if grown > 64<<20 {
				t.Errorf("memory grew by %d MiB", grown>>20)
			}
			c.want(t, 0, "send", "--transport", "tcp", src, d.host("after"))
		})
	}
}

// TestManyClientsAtOnce: two hundred commands of one client at the same time, with more sessions than it may have: those wait, and all end well.
func TestManyClientsAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts 200 processes at once, for each transport")
	}
	const n = 200
	inTurn(t, func(t *testing.T, transport string) {
		d := acceptDaemon(t)
		c := d.enrolled()
		dir := t.TempDir()
		for i := range n {
			mustWrite(t, filepath.Join(dir, strconv.Itoa(i)), fmt.Sprintf("content %d", i), 0o644)
		}
		began := time.Now()
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				name := strconv.Itoa(i)
				o := c.run("", "send", "--transport", transport, filepath.Join(dir, name), d.host(name))
				if o.code != 0 {
					t.Errorf("command %d: exit %d: %s", i, o.code, o.stderr)
				}
			})
		}
		wg.Wait()
		t.Logf("%d commands in %v, the daemon's memory at most %d MiB", n, time.Since(began).Round(time.Millisecond), d.memory(t, "VmHWM")>>20)
		for i := range n {
			if got := string(mustRead(t, d.inbox(strconv.Itoa(i)))); got != fmt.Sprintf("content %d", i) {
				t.Errorf("file %d: %q", i, got)
			}
		}
	})
}

// TestHostileLengths: lengths that nobody has the memory or the disk for are refused before anything is allocated for them.
func TestHostileLengths(t *testing.T) {
	inTurn(t, func(t *testing.T, kind string) {
		d := acceptDaemon(t)
		id := d.enrolled().identity(t)
		for range 10 { // what a session costs anyway
			f := d.framerOf(t, kind, id)
			f.hello()
			_ = f.c.Close(0, "")
		}
		var before int64
		measure := func() int64 { return d.memory(t, "VmRSS") }
		header := func(ty wire.Type, length, id uint32) []byte {
			b := []byte{byte(ty), 0, 0, 0}
			b = binary.BigEndian.AppendUint32(b, length)
			return append(binary.BigEndian.AppendUint32(b, id), bytes.Repeat([]byte{0xa0}, 64)...)
		}
		before = measure()
		stranger := certstest.New(t)
		for _, who := range []struct {
			name    string
			id      *crypto.Identity
			session bool
		}{{"before HELLO", id, false}, {"of a stranger", stranger, false}, {"in a session", id, true}} {
			for ty := range 256 {
				if kind == "quic" && ty%4 != 0 && !wire.Type(ty).Known() { // an unknown type is an unknown type
					continue
				}
				for _, length := range []uint32{1<<32 - 1, 1 << 31, wire.MaxControl + 1} {
					f := d.framerOf(t, kind, who.id)
					if who.session {
						f.hello()
					}
					_, err := f.st.Write(header(wire.Type(ty), length, 2))
					must(t, err)
					if code := f.refusal(fmt.Sprintf("%v of %d bytes %s", wire.Type(ty), length, who.name)); code != 0 && code != wire.CodeLimit && code != wire.CodeProtocol && code != wire.CodeUnsupported {
						t.Errorf("%v of %d bytes %s: %v", wire.Type(ty), length, who.name, code)
					}
					_ = f.c.Close(0, "")
				}
			}
		}
		if grown := measure() - before; grown > 16<<20 {
			t.Errorf("memory grew by %d MiB", grown>>20)
		} else {
			t.Logf("memory grew by %d KiB", grown>>10)
		}

		// Files of sizes that do not exist, and of one that may.
		free := freeSpace(t, d.inbox(""))
		for _, size := range []uint64{1<<63 - 1, 1 << 63, 1<<64 - 2, wire.MaxFileSize + 1, wire.MaxFileSize, 1 << 44} {
			for _, log2 := range []uint8{18, 24} {
				f := d.framerOf(t, kind, id)
				f.hello()
				p, err := wire.NewPath("huge")
				must(t, err)
				frame := frameOf(t, 2, wire.Open{Path: p, Size: wire.UnknownSize, ChunkLog2: log2, Alg: wire.AlgBLAKE3, Fingerprint: []byte("f")})
				number := binary.BigEndian.AppendUint64([]byte{7, 0x1b}, 1<<64-1)
				at := bytes.Index(frame, number)
				if at < 0 {
					t.Fatal("no size in OPEN")
				}
				binary.BigEndian.PutUint64(frame[at+2:], size)
				_, err = f.st.Write(frame)
				must(t, err)
				if code := f.refusal(fmt.Sprintf("OPEN of %d bytes", size)); code == 0 && size <= wire.MaxFileSize {
					t.Errorf("OPEN of %d bytes ends the session", size)
				}
				_ = f.c.Close(0, "")
			}
		}
		if grown := measure() - before; grown > 32<<20 {
			t.Errorf("after OPEN memory has grown by %d MiB", grown>>20)
		} else {
			t.Logf("after OPEN memory has grown by %d KiB", grown>>10)
		}
		if used := free - freeSpace(t, d.inbox("")); used > 8<<30 {
			t.Errorf("%d bytes of the disk are gone", used)
		}
		eventually(t, "no stage is left", func() bool {
			left := 0
			_ = filepath.WalkDir(d.inbox(".xfer/stage"), func(_ string, e fs.DirEntry, err error) error {
				if err == nil && !e.IsDir() && e.Name() == "data" {
					left++
				}
				return nil
			})
			return left == 0
		})
	})
}

func freeSpace(t testing.TB, dir string) int64 {
	t.Helper()
	var st syscall.Statfs_t
	must(t, syscall.Statfs(dir, &st))
	return int64(st.Bavail) * st.Bsize
}

// TestMemoryOfTheReceiver: sixteen files at once, by one client in one session and by two in eight each, cost what is promised and no more.
func TestMemoryOfTheReceiver(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: moves 1 GiB by each transport")
	}
	const files, size, most = 16, 32 << 20, 300 << 20
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	var sums [][32]byte
	for i := range files {
		sums = append(sums, sha256.Sum256(mustRandomFile(t, filepath.Join(tree, strconv.Itoa(i)), uint64(60+i), size)))
	}
	check := func(t *testing.T, d *server, in string) {
		for i := range files {
			name := d.inbox(filepath.Join(in, strconv.Itoa(i)))
			if sha256.Sum256(mustRead(t, name)) != sums[i] {
				t.Errorf("%s is wrong", name)
			}
			must(t, os.Remove(name))
		}
		peak := d.memory(t, "VmHWM")
		t.Logf("%s: at most %d MiB", in, peak>>20)
		if peak > most {
			t.Errorf("%s: %d MiB of memory, more than %d", in, peak>>20, most>>20)
		}
	}
	inTurn(t, func(t *testing.T, transport string) {
		d := acceptDaemon(t)
		one, two := d.enrolled(), d.enrolled()
		one.want(t, 0, "send", "-j", "16", "--transport", transport, tree, d.host(""))
		check(t, d, "tree")
		must(t, os.Mkdir(d.inbox("each"), 0o755))
		var wg sync.WaitGroup
		for i := range files {
			wg.Go(func() {
				name := strconv.Itoa(i)
				if o := []*side{one, two}[i%2].run("", "send", "--transport", transport, filepath.Join(tree, name), d.host("each/"+name)); o.code != 0 {
					t.Errorf("file %d: exit %d: %s", i, o.code, o.stderr)
				}
			})
		}
		wg.Wait()
		check(t, d, "each")
	})
}
