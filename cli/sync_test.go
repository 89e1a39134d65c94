package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"xfer/transfer"
)

func TestMaxDeleteValue(t *testing.T) {
	for in, want := range map[string]maxDeleteValue{"0": {0, false}, "12": {12, false}, "0%": {0, true}, "50%": {50, true}, "100%": {100, true}} {
		var v maxDeleteValue
		if err := v.Set(in); err != nil || v != want || v.String() != in {
			t.Errorf("--max-delete %s is %+v (%s), %v", in, v, v.String(), err)
		}
	}
	for _, in := range []string{"", "%", "-1", "+1", "1.5", "101%", "-5%", "many", "1 %", "9999999999999999999"} {
		var v maxDeleteValue
		if err := v.Set(in); err == nil {
			t.Errorf("--max-delete %q is %+v", in, v)
		}
	}
}

func TestBelowValue(t *testing.T) {
	for in, want := range map[string][]string{".old": {".old"}, "a/b/": {"a", "b"}, "./a": {"a"}} {
		var v belowValue
		if err := v.Set(in); err != nil || !slices.Equal(v.parts, want) {
			t.Errorf("--backup-dir %s is %q, %v", in, v.parts, err)
		}
	}
	for _, in := range []string{"", ".", "/a", "..", "a/../b", "./", strings.Repeat("x", 300)} {
		var v belowValue
		if err := v.Set(in); err == nil {
			t.Errorf("--backup-dir %q is %q", in, v.parts)
		}
	}
}

func TestMountMemory(t *testing.T) {
	p := places{state: filepath.Join(t.TempDir(), "state")}
	m := newMountMemory(p, "/data", "nas:7419", "/backup/data")
	read := func(m *mountMemory, want ...string) {
		t.Helper()
		if got, err := m.read(); err != nil || !slices.Equal(got, want) {
			t.Errorf("remembered %q, %v, want %q", got, err, want)
		}
	}
	read(m)
	if err := m.write(nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p.state); err == nil {
		t.Error("nothing to remember left something behind")
	}
	mounts := []string{".", "/mnt", "a/b\xff", "a b\n"}
	if err := m.write(nil, mounts); err != nil {
		t.Fatal(err)
	}
	read(m, mounts...)
	read(newMountMemory(p, "/data", "nas:7419", "/backup/other"))
	read(newMountMemory(p, "/data2", "nas:7419", "/backup/data"))
	read(newMountMemory(p, "/data", "nas:7420", "/backup/data"))

	// What is damaged, or of another sync, is no memory.
	name := filepath.Join(m.dir, m.name)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"cut": string(good[:len(good)/2]), "empty": "", "other": strings.Replace(string(good), "/data", "/elsewhere", 1), "array": "[]", "null": "null",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := m.read(); err != nil || got != nil {
			t.Errorf("%s: remembered %q, %v", what, got, err)
		}
	}
	if err := m.write(mounts, nil); err != nil {
		t.Fatal(err)
	}
	read(m)
}

func TestDeletedIsToldOfSyncOnly(t *testing.T) {
	for verb, want := range map[string]bool{"sync": true, "send": false} {
		data := string(marshalLine(resultJSON(verb, "nas", transfer.Result{Deleted: 3}, "", nil)))
		if strings.Contains(data, `"deleted":3`) != want {
			t.Errorf("%s: %s", verb, data)
		}
	}
	f := &runFlags{}
	for _, c := range []struct {
		res  transfer.Result
		want string
	}{
		{transfer.Result{Files: 2, FilesSkipped: 2, Bytes: 5}, "xfer: nothing to sync: 2 files unchanged, 5 B; verified at x"},
		{transfer.Result{Files: 2, FilesSkipped: 2, Bytes: 5, Deleted: 1}, "xfer: nothing to sync: 2 files unchanged, 5 B, 1 entry deleted; verified at x"},
		{transfer.Result{Files: 2, FilesSkipped: 1, Bytes: 5, BytesSkipped: 2, Deleted: 4}, "xfer: sent 1 file, 3 B, 1 file unchanged, 4 entries deleted; verified at x"},
	} {
		if got := summaryText("sync", "sent", "at x", false, f, c.res); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// What stopped the deletions is said with what to do about it.
func TestWhatToDoWhereNothingWasDeleted(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
		want string
	}{
		{&transfer.Error{Op: "sync", Path: "src", Kind: transfer.KindMaxDelete, Err: os.ErrInvalid}, exitMaxDelete, "look at the plan with -n"},
		{&transfer.Error{Op: "sync", Path: "src", Kind: transfer.KindPartial, Err: transfer.ErrSourceEmpty}, exitPartial, "xfer rm -r"},
		{&transfer.Error{Op: "sync", Path: "src/m", Kind: transfer.KindPartial, Err: transfer.ErrMountGone}, exitPartial, "once without --delete"},
		{&transfer.Error{Op: "sync", Path: "src", Kind: transfer.KindPartial, Err: os.ErrInvalid}, exitPartial, "see to these files"},
	} {
		if got := message("sync", "nas", c.err); exitCodeOf(c.err) != c.code || !strings.Contains(got, c.want) {
			t.Errorf("exit %d: %q, want %d: %q", exitCodeOf(c.err), got, c.code, c.want)
		}
	}
}
