package sink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing"
	"time"

	"xfer/transfer/durable/crashfs"
)

// As an engine uses it: entries are taken while files arrive in two streams, and answers to hashes come from a third place.
func TestTreeInAPipeline(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		d.trees.groupFiles = min(d.trees.groupFiles, 16)
		d.trees.openFiles = min(d.trees.openFiles, 16)
		old, src := source{}, source{}
		for i := range 300 {
			p := fmt.Sprintf("d%d/e%d/f%03d", i%7, i%3, i)
			src[p] = file(fmt.Sprint("new ", i))
			switch i % 5 {
			case 1:
				old[p] = file(fmt.Sprint("new ", i))
			case 2:
				old[p] = file(fmt.Sprint("old ", i))
			case 3:
				src[p] = symlink(fmt.Sprint(i))
			}
		}
		v := d.View("alice", All)
		spec := TreeSpec{Path: mustPath(t, "top"), Compare: ByContent}
		mustSend(t, v, spec, old)
		d.trees.wanted = 60
		s := begin(t, v, spec, src)
		content := make(chan uint64, 10)
		asked := make(chan TreeEntry, 10)
		roots := sync.Map{}
		var wg sync.WaitGroup
		for range 2 {
			wg.Go(func() {
				for no := range content {
					data := []byte(src[s.paths[no]].data)
					if err := s.tree.Put(no, data, digest(data), nil); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Go(func() {
			defer close(content)
			for e := range asked {
				root, ok := roots.Load(e.No)
				if !ok {
					content <- e.No
					continue
				}
				v := s.tree.Decide(e.No, digest([]byte(src[s.paths[e.No]].data)) != root)
				if v.Code == VerdictUpdate {
					content <- e.No
				}
			}
		})
		for _, e := range s.es {
			if s.tree.Room() <= 0 {
				must(t, s.tree.Wait(context.Background()))
			}
			v := s.tree.Take(e)
			switch v.Code {
			case VerdictHash:
				roots.Store(e.No, v.Root)
				asked <- e
			case VerdictNew, VerdictUpdate:
				asked <- e
			case VerdictFailed:
				t.Fatal(v.Err)
			}
		}
		close(asked)
		wg.Wait()
		o := s.finish()
		must(t, o.err)
		wantTree(t, d.fs, "top", src)
		if r := o.result; r.Published != 180 || r.Failed+r.Missing != 0 {
			t.Errorf("%+v", r)
		}
	})
}

// Two trees at once into one directory: each name has what one of them sent, whole.
func TestTwoTreesIntoOneDirectory(t *testing.T) {
	overBoth(t, func(t *testing.T, d *Dir) {
		var sources [2]source
		for i := range sources {
			sources[i] = source{}
			for k := range 100 {
				data := string(bytes.Repeat([]byte{byte('a' + i)}, 5000))
				sources[i][fmt.Sprintf("d%d/f%02d", k%5, k)] = file(data).at(noon.Add(time.Duration(i) * time.Hour))
				sources[i][fmt.Sprintf("d%d/l%02d", k%5, k)] = symlink(fmt.Sprint(i))
			}
		}
		for range 3 {
			var wg sync.WaitGroup
			for _, src := range sources {
				wg.Go(func() {
					o := send(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top"), ID: [16]byte{1}}, src)
					if o.err != nil || o.result.Failed+o.result.Missing > 0 {
						t.Error(o.err, o.result)
					}
				})
			}
			wg.Wait()
		}
		for p := range sources[0] {
			fi := must2(d.fs.Lstat("top/" + p))
			if fi.Mode()&fs.ModeSymlink != 0 {
				continue
			}
			b, err := readAll(d.fs, "top/"+p)
			if err != nil || string(b) != sources[0][p].data && string(b) != sources[1][p].data {
				t.Errorf("%s has %d bytes of both, %v", p, len(b), err)
			}
		}
		if names := must2(d.readNames(treesDir)); len(names) > 0 {
			t.Error("left:", names)
		}
	})
}

// Finish and Close while files still arrive: each is published or refused.
func TestFinishWhileFilesArrive(t *testing.T) {
	for i := range 20 {
		d := mustOpen(t, crashfs.New(uint64(i)), Options{})
		d.trees.openFiles, d.trees.groupFiles = 2, 3
		src := numbered(40)
		s := begin(t, d.View("alice", All), TreeSpec{Path: mustPath(t, "top")}, src)
		s.take()
		var wg sync.WaitGroup
		var mu sync.Mutex
		refused := map[string]bool{}
		nos := s.wanted()
		for w := range 2 {
			wg.Go(func() {
				for k := w; k < len(nos); k += 2 {
					data := []byte(src[s.paths[nos[k]]].data)
					err := s.tree.Put(nos[k], data, digest(data), nil)
					if err == nil {
						continue
					}
					if !errors.Is(err, ErrClosed) && !errors.Is(err, ErrRange) {
						t.Error(err)
					}
					mu.Lock()
					refused[s.paths[nos[k]]] = true
					mu.Unlock()
				}
			})
		}
		if i%2 == 0 {
			if _, err := s.tree.Finish(context.Background()); err != nil {
				t.Error(err)
			}
		}
		must(t, s.tree.Close())
		wg.Wait()
		for _, no := range nos {
			p := s.paths[no]
			b, err := readAll(d.fs, "top/"+p)
			switch told, ok := s.published[p]; {
			case refused[p] && err == nil, !refused[p] && (!ok || told != nil || string(b) != src[p].data):
				t.Errorf("%q: refused %t, told %v %t, there %v", p, refused[p], told, ok, err)
			}
		}
	}
}
