//go:build unix

package sink

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Damage to a stage that is in use, between two writes of ours, is found before anything is published or taken over: the old version
// stays, and the next attempt sends again what was damaged. Guards: watch.begin, and its answer in publish and park.
func TestLiveStageIsDisturbed(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, data string){
		"a bit": func(t *testing.T, data string) { flip(t, data, 77) },
		"a bit, and its time put back": func(t *testing.T, data string) {
			fi, err := os.Stat(data)
			must(t, err)
			flip(t, data, 77)
			must(t, os.Chtimes(data, fi.ModTime(), fi.ModTime()))
		},
		"truncated": func(t *testing.T, data string) { must(t, os.Truncate(data, 5)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			must(t, os.WriteFile(root+"/file", []byte("old"), 0o644))
			v := openDir(t, root, Options{}).View("alice", All)
			b := content(1, 3*chunk18+500)
			half := func() *Stage {
				s, _ := mustBegin(t, v, specOf(t, b, "file"))
				for i := range int64(2) {
					if held, _ := s.Held(); held <= i {
						must(t, put(s, b, i))
					}
				}
				stages, err := filepath.Glob(root + "/.xfer/stage/*/*/data")
				must(t, err)
				if len(stages) != 1 {
					t.Fatal(stages)
				}
				time.Sleep(20 * time.Millisecond) // the times of files go in steps of up to 10 ms
				damage(t, stages[0])
				return s
			}
			s := half()
			if _, err := sendRest(s, b); !errors.Is(err, ErrStageLost) {
				t.Errorf("publish: %v", err)
			}
			_ = s.Park() // says once more that it is lost
			if got, err := os.ReadFile(root + "/file"); err != nil || string(got) != "old" {
				t.Errorf("the old version is %d bytes, %v", len(got), err)
			}
			half() // is taken over while it lives
			s, found, err := v.Begin(context.Background(), specOf(t, b, "file"))
			must(t, err)
			for _, r := range found.Have {
				if r.Start == 0 {
					t.Errorf("the damaged chunk is held: %v", found.Have)
				}
			}
			if _, err := sendRest(s, b); err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(root + "/file"); err != nil || string(got) != string(b) {
				t.Errorf("a wrong file: %d bytes, %v", len(got), err)
			}
		})
	}
}
