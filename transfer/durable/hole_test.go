package durable_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"xfer/transfer/durable"
	"xfer/transfer/durable/crashfs"
)

// dataOf lists the data of a file as the system tells it.
func dataOf(t *testing.T, f durable.File) [][2]int64 {
	t.Helper()
	fi, err := f.Stat()
	must(t, err)
	var list [][2]int64
	for at := int64(0); at < fi.Size(); {
		lo, err := f.NextData(at)
		must(t, err)
		if lo >= fi.Size() {
			break
		}
		hi, err := f.NextHole(lo)
		must(t, err)
		if lo < at || hi <= lo {
			t.Fatalf("data from %d: %d to %d", at, lo, hi)
		}
		list = append(list, [2]int64{lo, hi})
		at = hi
	}
	return list
}

// hasHoles skips a test where files have none.
func hasHoles(t *testing.T, fsys durable.FS) {
	t.Helper()
	f, err := fsys.OpenFile("probe", os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	must(t, f.Truncate(1<<20))
	at, err := f.NextData(0)
	if err := errors.Join(err, f.Close(), fsys.Remove("probe")); err != nil || at != 1<<20 {
		t.Skip("no holes here:", at, err)
	}
}

func TestHoles(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		hasHoles(t, fsys)
		f, err := fsys.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
		must(t, err)
		defer f.Close()
		must(t, f.Truncate(1<<20))
		_, err = f.WriteAt(bytes.Repeat([]byte("x"), 8192), 64<<10)
		must(t, err)
		_, err = f.WriteAt([]byte("x"), 1<<20-1)
		must(t, err)
		want := [][2]int64{{64 << 10, 72 << 10}, {1<<20 - 4096, 1 << 20}}
		if got := dataOf(t, f); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("data %v, want %v", got, want)
		}
		for _, c := range []struct{ off, data, hole int64 }{
			{0, 64 << 10, 0}, {64<<10 + 5, 64<<10 + 5, 72 << 10}, {72 << 10, 1<<20 - 4096, 72 << 10}, {1<<20 - 1, 1<<20 - 1, 1 << 20},
			{1 << 20, 1 << 20, 1 << 20}, {1 << 30, 1 << 30, 1 << 30},
		} {
			data, errD := f.NextData(c.off)
			hole, errH := f.NextHole(c.off)
			if data != c.data || hole != c.hole || errD != nil || errH != nil {
				t.Errorf("from %d: data %d, %v, want %d; hole %d, %v, want %d", c.off, data, errD, c.data, hole, errH, c.hole)
			}
		}
		if _, err := f.NextData(-1); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("NextData(-1): %v", err)
		}
		before, err := f.Stat()
		must(t, err)
		must(t, f.PunchHole(64<<10+100, 8192))
		must(t, f.PunchHole(1<<20, 0))
		must(t, f.Sync())
		p := make([]byte, 8192)
		_, err = f.ReadAt(p, 64<<10)
		must(t, err)
		if !bytes.Equal(p, append(bytes.Repeat([]byte("x"), 100), make([]byte, 8092)...)) {
			t.Error("punched at the wrong place")
		}
		after, err := f.Stat()
		must(t, err)
		if got := dataOf(t, f); len(got) != 2 || got[0] != [2]int64{64 << 10, 68 << 10} || after.Size() != 1<<20 {
			t.Errorf("after punching: %v, %d bytes", got, after.Size())
		}
		a, okA := durable.Blocks(before)
		b, okB := durable.Blocks(after)
		if !okA || !okB || b > 2*8 {
			t.Errorf("blocks: %d before, %d after", a, b)
		}
		for _, bad := range [][2]int64{{-1, 5}, {0, -1}} {
			if err := f.PunchHole(bad[0], bad[1]); !errors.Is(err, syscall.EINVAL) {
				t.Errorf("PunchHole%v: %v", bad, err)
			}
		}
	})
}

// The system and the memory agree on where data is after any writes, punches and truncations, and both on the content
// with a plain array.
func TestHolesBehaveAsTheSystems(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		real, memory := mustOpenOS(t, t.TempDir()), crashfs.New(seed)
		hasHoles(t, real)
		a, err := real.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
		must(t, err)
		defer a.Close()
		b, err := memory.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
		must(t, err)
		var model []byte
		for range 60 {
			off, n := int64(rng.IntN(40))*2048, int64(rng.IntN(10))*1024
			switch rng.IntN(4) {
			case 0:
				if grow := int(off+n) - len(model); grow > 0 {
					model = append(model, make([]byte, grow)...)
				}
				p := bytes.Repeat([]byte{byte(1 + rng.IntN(255))}, int(n))
				copy(model[off:], p)
				_, errA := a.WriteAt(p, off)
				_, errB := b.WriteAt(p, off)
				must(t, errors.Join(errA, errB))
				if n == 0 { // writes nothing and makes nothing longer
					model = model[:min(int64(len(model)), size(t, a))]
				}
			case 1:
				// Behind the end file systems round in their own ways.
				n = min(n, max(0, int64(len(model))-off))
				for i := off; i < off+n; i++ {
					model[i] = 0
				}
				must(t, errors.Join(a.PunchHole(off, n), b.PunchHole(off, n)))
			case 2:
				if off > int64(len(model)) {
					model = append(model, make([]byte, int(off)-len(model))...)
				}
				model = model[:off]
				must(t, errors.Join(a.Truncate(off), b.Truncate(off)))
			case 3:
				must(t, errors.Join(a.SyncData(), b.SyncData()))
			}
			x, y := dataOf(t, a), dataOf(t, b)
			if fmt.Sprint(x) != fmt.Sprint(y) {
				t.Fatalf("seed %d: the system has data at %v, the memory at %v", seed, x, y)
			}
		}
		for what, f := range map[string]durable.File{"system": a, "memory": b} {
			got := make([]byte, len(model)+1)
			if n, err := f.ReadAt(got, 0); n != len(model) || err != io.EOF || !bytes.Equal(got[:n], model) {
				t.Fatalf("seed %d: %s: %d bytes, %v, want %d", seed, what, n, err, len(model))
			}
		}
	}
}

func size(t *testing.T, f durable.File) int64 {
	t.Helper()
	fi, err := f.Stat()
	must(t, err)
	return fi.Size()
}

// A hole that was punched and not synced may be the old bytes after a crash, and is zeros after a sync.
func TestPunchedHolesNeedSync(t *testing.T) {
	f := crashfs.New(1)
	must(t, durable.WriteFile(f, "f", bytes.Repeat([]byte("o"), 16<<10), 0o600))
	h, err := f.OpenFile("f", os.O_RDWR, 0)
	must(t, err)
	must(t, h.PunchHole(4096, 4096))
	seen := func() map[byte]bool {
		m := map[byte]bool{}
		for seed := range uint64(100) {
			p := mustRead(t, f.Image(seed), "f")
			m[p[5000]] = true
		}
		return m
	}
	if m := seen(); !m['o'] || !m[0] || len(m) != 2 {
		t.Errorf("not synced: %v", m)
	}
	must(t, h.SyncData())
	if m := seen(); !m[0] || len(m) != 1 {
		t.Errorf("synced: %v", m)
	}
}

func TestCopyRange(t *testing.T) {
	run(t, func(t *testing.T, fsys durable.FS) {
		data := make([]byte, 300_000)
		for i := range data {
			data[i] = byte(i * 7 >> 3)
		}
		mustWrite(t, fsys, "src", string(data))
		src, err := durable.OpenRegular(fsys, "src")
		must(t, err)
		defer src.Close()
		other, err := crashfs.New(2).OpenFile("dst", os.O_RDWR|os.O_CREATE, 0o600)
		must(t, err)
		own, err := fsys.OpenFile("dst", os.O_RDWR|os.O_CREATE, 0o600)
		must(t, err)
		defer own.Close()
		for what, dst := range map[string]durable.File{"the same": own, "another": other} {
			must(t, src.CopyRange(dst, 1000, 5, 290_000))
			got := make([]byte, 290_000)
			if _, err := dst.ReadAt(got, 5); err != nil || !bytes.Equal(got, data[1000:291_000]) {
				t.Errorf("to %s file system: other bytes, %v", what, err)
			}
			must(t, src.CopyRange(dst, 0, 0, 0))
			if err := src.CopyRange(dst, 299_999, 0, 2); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("behind the end: %v", err)
			}
			for _, bad := range [][3]int64{{-1, 0, 1}, {0, -1, 1}, {0, 0, -1}} {
				if err := src.CopyRange(dst, bad[0], bad[1], bad[2]); !errors.Is(err, syscall.EINVAL) {
					t.Errorf("%v: %v", bad, err)
				}
			}
		}
	})
}

// testClone clones within src and checks what does not work.
func testClone(t *testing.T, fsys durable.FS) {
	const page = 4096
	data := make([]byte, 10*page+100)
	for i := range data {
		data[i] = byte(i*13>>4 + 1)
	}
	mustWrite(t, fsys, "src", string(data))
	src, err := durable.OpenRegular(fsys, "src")
	must(t, err)
	defer src.Close()
	dst, err := fsys.OpenFile("dst", os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer dst.Close()
	want := bytes.Repeat([]byte("d"), 12*page)
	_, err = dst.WriteAt(want, 0)
	must(t, err)
	must(t, src.CloneRange(dst, 2*page, 5*page, 3*page))
	must(t, src.CloneRange(dst, 0, 0, 0))
	copy(want[5*page:], data[2*page:5*page])
	// To the end of the source, which is the end of the target from then on.
	must(t, src.CloneRange(dst, 9*page, 11*page+page, page+100))
	want = append(want[:12*page], data[9*page:]...)
	got := make([]byte, len(want)+1)
	if n, err := dst.ReadAt(got, 0); err != io.EOF || !bytes.Equal(got[:n], want) {
		t.Errorf("%d bytes, %v, want %d", n, err, len(want))
	}
	for _, bad := range [][3]int64{{1, 0, page}, {0, 1, page}, {0, 0, 5}, {-1, 0, 1}, {0, 100 * page, 20 * page}} {
		if err := src.CloneRange(dst, bad[0], bad[1], bad[2]); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%v: %v, want EINVAL", bad, err)
		}
	}
	// A copy that was shared is not changed by writing to the other.
	_, err = dst.WriteAt([]byte("changed"), 5*page)
	must(t, err)
	if got := mustRead(t, fsys, "src"); got != string(data) {
		t.Error("the source changed with the clone")
	}
	other, err := crashfs.New(2).OpenFile("dst", os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	if err := src.CloneRange(other, 0, 0, page); err == nil {
		t.Error("cloned to another file system")
	}
}

func TestCloneInMemory(t *testing.T) { testClone(t, crashfs.New(1)) }

// Where the file system cannot clone, the file is what it was.
func TestCloneUnsupported(t *testing.T) {
	fsys := mustOpenOS(t, t.TempDir())
	mustWrite(t, fsys, "src", string(make([]byte, 8192)))
	src, err := durable.OpenRegular(fsys, "src")
	must(t, err)
	defer src.Close()
	dst, err := fsys.OpenFile("dst", os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	defer dst.Close()
	if err := src.CloneRange(dst, 0, 0, 8192); err == nil {
		t.Skip("it can")
	}
	if n := size(t, dst); n != 0 {
		t.Errorf("%d bytes after a clone that failed", n)
	}
}
