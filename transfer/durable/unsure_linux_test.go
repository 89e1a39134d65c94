package durable

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A file system that may take data for a hole is not asked for holes: all is data there, and what is to be a hole still
// becomes one.
func TestFileSystemUnsureOfHoles(t *testing.T) {
	dir := t.TempDir()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	fsys, err := OpenOS(dir)
	if err != nil {
		t.Fatal(err)
	}
	open := func() File {
		t.Helper()
		f, err := fsys.OpenFile("f", os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	f := open()
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	if at, err := f.NextData(0); err != nil || at != 1<<20 {
		t.Skip("no holes here:", at, err)
	}
	unsureOfHoles[uint32(st.Type)] = true
	defer delete(unsureOfHoles, uint32(st.Type))
	f = open()
	for _, off := range []int64{0, 5000, 1<<20 - 1, 1 << 20, 1 << 21} {
		data, errD := f.NextData(off)
		hole, errH := f.NextHole(off)
		if data != off || hole != max(off, 1<<20) || errD != nil || errH != nil {
			t.Errorf("from %d: data %d, %v; hole %d, %v", off, data, errD, hole, errH)
		}
	}
	if err := f.PunchHole(0, 4096); err != nil {
		t.Error(err)
	}
	for _, magic := range []uint32{0x2fc12fc1, 0x65735546} {
		if !unsureOfHoles[magic] {
			t.Errorf("%#x is believed", magic)
		}
	}
}
